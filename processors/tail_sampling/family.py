"""Traces that are kept together: those of one job, and those that are linked."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline import Batch
from pipeline.arrays import parents_of, unnest
from pipeline.hashing import Hashes, combined, words_of
from processors.tail_sampling.decisions import RememberedDecisions
from processors.tail_sampling.jobs import JobRows
from processors.tail_sampling.notes import Bonds
from processors.tail_sampling.pieces import trace_keys
from processors.tail_sampling.slots import REASON, WAITING, TraceSlots

Slots = npt.NDArray[np.int64]

_REMEMBERED_JOBS = 100_000

_SPAN = np.array([0x5370616E], np.uint64)
"""Sets tokens of spans apart from those of jobs and traces."""


class Families:
    """Bonds between waiting traces, and the jobs that were kept: their later attempts are kept too."""

    def __init__(self, slots: TraceSlots, kept_traces: RememberedDecisions, *, jobs: bool, links: bool) -> None:
        self._slots = slots
        self._kept_traces = kept_traces
        self._jobs = jobs
        self._links = links
        self._bonds = Bonds()
        self.kept_jobs = RememberedDecisions(_REMEMBERED_JOBS)

    def __bool__(self) -> bool:
        return self._jobs or self._links

    @property
    def used_bytes(self) -> int:
        return self._bonds.used_bytes

    def linked(self, batch: Batch, slot_of_row: Slots) -> Slots:
        """Learn of the links of spans; return the traces that are to be kept because of a trace that was."""
        if not self._links:
            return np.zeros(0, np.int64)
        offsets, links = unnest(batch.column("links"))
        if len(links) == 0:
            return np.zeros(0, np.int64)
        slots = slot_of_row[parents_of(offsets)].astype(np.int64)
        words = words_of(links.field("trace_id"), 16)
        return self._bind(slots, trace_keys(words[:, 0], words[:, 1]), self._kept_traces)

    def told(self, rows: JobRows, slots: Slots) -> Slots:
        """Learn of the jobs of traces (slot 0: not waiting); return the traces that are to be kept."""
        if not self._jobs:
            return np.zeros(0, np.int64)
        by_enqueue = np.where(rows.enqueue & ~rows.batch, rows.span, rows.enqueue_span)
        spans = np.where(by_enqueue != 0, combined(np.repeat(_SPAN, len(slots)), by_enqueue), np.uint64(0))
        tokens, slots = np.concatenate([rows.job, spans]), np.concatenate([slots, slots])
        return self._bind(slots, tokens, self.kept_jobs)

    def _bind(self, slots: Slots, tokens: Hashes, kept: RememberedDecisions) -> Slots:
        wanted = (slots > 0) & (tokens != 0)
        pairs = np.unique(np.column_stack([slots[wanted].astype(np.uint64), tokens[wanted]]), axis=0)
        slots, tokens = pairs[:, 0].astype(np.int64), pairs[:, 1]
        self._bonds.add(slots, tokens)
        distinct, inverse = np.unique(tokens, return_inverse=True)
        known = kept.find(distinct)
        if len(known.which) == 0:
            return np.zeros(0, np.int64)
        place = np.full(len(distinct), -1)
        place[known.which] = np.arange(len(known.which))
        of_pair = place[inverse]
        found = (of_pair >= 0) & (self._slots.state[slots] == WAITING) & ~self._slots.forced[slots]
        chosen, firsts = np.unique(slots[found], return_index=True)
        for name in REASON:
            getattr(self._slots, name)[chosen] = known.record[name][of_pair[found][firsts]]
        self._slots.forced[chosen] = True
        return self.spread(chosen)

    def spread(self, kept: Slots) -> Slots:
        """Return all traces that are to be kept with some that are, these included; they are marked as forced."""
        slots, bonds = self._slots, self._bonds
        every = [kept]
        front = kept
        while len(front) and (len(bonds) or self._links):
            mask = np.zeros(slots.capacity, np.bool_)
            mask[front] = True
            rows = np.flatnonzero(mask[bonds.slot])
            tokens, origins = bonds.token[rows], bonds.slot[rows]
            if self._links:
                tokens, origins = np.concatenate([tokens, slots.key[front]]), np.concatenate([origins, front])
            tokens, firsts = np.unique(tokens, return_index=True)
            origins = origins[firsts]
            self._remember(tokens, origins)
            reached, of_token = bonds.having(tokens)
            if self._links:
                named = slots.find(tokens)
                reached = np.concatenate([reached, named])
                of_token = np.concatenate([of_token, np.arange(len(tokens))])
            new = (reached > 0) & (slots.state[reached] == WAITING) & ~slots.forced[reached] & ~mask[reached]
            front, firsts = np.unique(reached[new], return_index=True)
            for name in REASON:
                column = getattr(slots, name)
                column[front] = column[origins[of_token[new][firsts]]]
            slots.forced[front] = True
            every.append(front)
        return np.concatenate(every)

    def waiting_with(self, kept: Slots) -> Slots:
        """Return the waiting traces that are to be kept with some that are."""
        found = self.spread(kept)
        others: Slots = found[self._slots.forced[found] & (self._slots.state[found] == WAITING)]
        return others

    def _remember(self, tokens: Hashes, origins: Slots) -> None:
        self.kept_jobs.add(tokens, self._slots.reasons(origins))

    def forget(self, gone: npt.NDArray[np.bool_]) -> None:
        self._bonds.forget(gone)
