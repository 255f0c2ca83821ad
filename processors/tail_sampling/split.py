"""One huge trace, decided job by job: a request that enqueued 60 000 jobs is not all or nothing.

A job's part is its execution's span, all below it up to the executions of other jobs, and the enqueue right above it.
The rest (the request, its queries, the enqueues of several jobs) is the trunk, which is kept where one of the jobs is.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline import Batch, Receipt, concat
from pipeline.hash_table import HashTable
from pipeline.hashing import Hashes, combined, words_of
from processors.tail_sampling.notes import Notes
from processors.tail_sampling.pieces import NEVER, Questions, ask_windows, grouped
from processors.tail_sampling.segments import WaitingSpans, taken
from processors.tail_sampling.slots import REASON, TraceSlots

Slots = npt.NDArray[np.int64]

_MOST_ROUNDS = 64
"""Of pointer doubling: a depth of 2**64, or a cycle."""

_NONE = -1


def crowded(slots: Slots, notes: Notes, capacity: int, least: int) -> Slots:
    """Return those traces that have at least so many executions."""
    mask = np.zeros(capacity, np.bool_)
    mask[slots] = True
    _, of_note, spans, enqueue, _ = notes.jobs_of(mask)
    pairs = np.unique(np.column_stack([of_note[~enqueue].astype(np.uint64), spans[~enqueue]]), axis=0)
    executions = np.bincount(pairs[:, 0].astype(np.int64), minlength=capacity)
    return slots[executions[slots] >= least]


def split_by_job(
    wanted: Slots, slots: TraceSlots, waiting: WaitingSpans, notes: Notes, questions: Questions
) -> tuple[Slots, Slots]:
    """Give each job of the traces in `wanted` a slot of its own, and its spans and notes to it.

    Returns the new slots, and for each the trace that it came from, whose slot keeps the trunk.
    """
    mask = np.zeros(slots.capacity, np.bool_)
    mask[wanted] = True
    found = list(waiting.rows_of(wanted, mask))
    sample = Receipt.issue("split")  # the rows stay where they are; nobody is owed this copy
    shares = sample.split(len(found)) if found else []
    whole = concat(taken(part.batch, rows, share) for (part, rows), share in zip(found, shares, strict=True))
    trace = np.concatenate([part.slots[rows] for part, rows in found]).astype(np.int64)

    which, note_slot, note_span, enqueue, several = notes.jobs_of(mask)
    spans = _named(slots.key[trace], words_of(whole.column("span_id"), 8)[:, 0])
    root = _roots(whole, slots, trace, spans, _named(slots.key[note_slot], note_span), enqueue, several)

    of_job = root != _NONE
    words = np.column_stack([slots.high[trace], slots.low[trace]])
    words[of_job, 1] ^= spans[root[of_job]]
    keys = slots.key[trace]
    keys[of_job] = combined(keys[of_job], spans[root[of_job]])
    parts = grouped(whole, keys, words, questions)
    rows_of_part = np.unique(parts.number, return_index=True)[1]
    origin = trace[rows_of_part]
    is_job = of_job[rows_of_part]

    new = slots.open(parts.keys[is_job], parts.high[is_job], parts.low[is_job])
    slots.sequence[new] = slots.sequence[origin[is_job]]
    slots.seen[new], slots.due[new] = slots.seen[origin[is_job]], slots.due[origin[is_job]]
    slots.spans[wanted] = slots.nbytes[wanted] = 0
    slots.first[wanted], slots.last[wanted] = NEVER, 0
    slots.hits[wanted] = False
    of_part = origin.copy()
    of_part[is_job] = new
    ask_windows(parts, questions.tests, slots.first[of_part], slots.last[of_part])
    slots.absorb(of_part, parts, np.arange(len(parts)))

    of_row = of_part[parts.number]
    start = 0
    for part, rows in found:
        waiting.move(part, rows, of_row[start : start + len(rows)].astype(np.int32))
        start += len(rows)
    index = _index(spans)
    row_of_note = index.find(_named(slots.key[note_slot], note_span))
    notes.move(which[row_of_note >= 0], of_row[row_of_note[row_of_note >= 0]])
    return new, origin[is_job]


def like_their_jobs(table: TraceSlots, trunks: Slots, jobs: Slots, traces: Slots) -> None:
    """Give trunks the reason of their first job; `traces` are those that `jobs` came from."""
    if len(trunks):
        distinct, firsts = np.unique(traces, return_index=True)
        first = jobs[firsts[np.searchsorted(distinct, trunks)]]
        for name in REASON:
            column = getattr(table, name)
            column[trunks] = column[first]


def _named(trace: Hashes, span: Hashes) -> Hashes:
    """Return a hash of each span in its trace; 0 where it has no id."""
    named = combined(trace, span)
    named[span == 0] = 0
    return named


def _index(spans: Hashes) -> HashTable:
    index = HashTable(len(spans))
    distinct, firsts = np.unique(spans, return_index=True)
    index.add(distinct[distinct != 0], firsts[distinct != 0])
    return index


def _roots(
    batch: Batch,
    slots: TraceSlots,
    trace: Slots,
    spans: Hashes,
    noted: Hashes,
    enqueue: npt.NDArray[np.bool_],
    several: npt.NDArray[np.bool_],
) -> Slots:
    """Return for each row the row of the execution that it belongs to; _NONE for the trunk."""
    index = _index(spans)
    above = index.find(_named(slots.key[trace], words_of(batch.column("parent_span_id"), 8)[:, 0]))
    root = np.full(len(spans), _NONE)
    executions = index.find(noted[~enqueue])
    executions = executions[executions >= 0]
    root[executions] = executions
    enqueues = index.find(noted[enqueue & ~several])
    is_enqueue = np.zeros(len(spans), np.bool_)
    is_enqueue[enqueues[enqueues >= 0]] = True
    over = above[executions]
    theirs = (over >= 0) & is_enqueue[over] & (root[over] == _NONE)
    root[over[theirs]] = executions[theirs]
    for _ in range(_MOST_ROUNDS):
        open_ = np.flatnonzero((root == _NONE) & (above >= 0))
        if len(open_) == 0:
            break
        found = root[above[open_]]
        further = above[above[open_]]
        root[open_] = found
        above[open_[found == _NONE]] = further[found == _NONE]
    return root
