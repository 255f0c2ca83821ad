"""Facts -> job rows: matching, outcomes, attempts, latency, parents, errors. A pure function of what the window knows.

The result does not depend on the order in which the facts came. Rules: job-conventions, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.hash_table import Rows
from pipeline.hashing import Hashes, combined, mixed
from pipeline.records import Records
from processors.jobs.facts import ERROR_SOURCES, NO_ROW, OUTCOMES, ErrorSource, LinkStyle, Outcome, Role
from processors.jobs.merging import latest_before
from processors.jobs.ordering import Order, inferred_attempts, matches, of_whole_job, order_of
from processors.jobs.trail import Trail, trails
from processors.jobs.window import Window

Mask = npt.NDArray[np.bool_]
Times = npt.NDArray[np.uint64]

ENQUEUE_SPAN: Final = -2
"""Source of `enqueued_at`: the start of the matched enqueue. Other sources are numbers of labels, -1 is none."""

_STRENGTH: Final = np.zeros(len(OUTCOMES), np.int64)
_STRENGTH[[Outcome.FAILED, Outcome.DISCARDED, Outcome.RETRIED]] = 1, 2, 3
_FAILING: Final = np.zeros(len(OUTCOMES), np.bool_)
_FAILING[[Outcome.FAILED, Outcome.RETRIED, Outcome.DISCARDED, Outcome.UNKNOWN]] = True
_OF_STRENGTH: Final = np.array([Outcome.NONE, Outcome.FAILED, Outcome.DISCARDED, Outcome.RETRIED])


@dataclass(slots=True, eq=False)
class Derived:
    """Job rows as numbers and row numbers: one value for each of `rows`, which ascend."""

    rows: Rows
    deleted: Mask
    """Merged into another row, or no job after all."""

    merged: tuple[Rows, Rows]
    """Pairs: the place of a row, and a row that is merged into it."""

    outcome: npt.NDArray[np.int64]
    later: Mask
    """The outcome is `retried` because a later execution was seen."""

    retry: Mask
    inferred: npt.NDArray[np.int64]
    match: Rows
    link_style: npt.NDArray[np.int64]
    parent: Rows
    flow: Rows
    """The row whose job, or whose own word, is the flow parent."""

    flow_by_row: Mask
    """The flow parent is the job of `flow`, not its text."""

    queue: Rows
    error: npt.NDArray[np.int64]
    error_row: Rows
    enqueued: Times
    enqueued_source: npt.NDArray[np.int64]
    due: Times
    latency: npt.NDArray[np.int64]
    clamped: Mask
    waits: tuple[Rows, Rows]
    """Pairs: the place of a row, and the row of a job that it waits for."""


def derive(window: Window, rows: Rows) -> Derived:
    """Return the job rows of fact rows `rows` (ascending, whole jobs), enqueues, executions and others alike."""
    facts, state = window.facts.take(rows), window.state.take(rows)
    trail = trails(window, rows)
    deleted = _deleted(window, facts, state, trail)
    enqueue = (facts["role"] == Role.ENQUEUE) & ~deleted
    execution = ((facts["role"] == Role.PROCESS) | (facts["role"] == Role.RECEIVE)) & ~deleted
    order = order_of(rows, facts, state, enqueue, execution)
    match = matches(window, rows, facts, state, order)
    inferred = inferred_attempts(state, order, len(rows))

    strength, helper_error = _helped(window, rows, facts, state, trail, execution)
    requeued = np.zeros(len(rows), np.bool_)
    below = enqueue & trail.retry & (trail.execution >= 0)
    below &= window.state["key"][trail.execution] == state["key"]
    requeued[_places(rows, trail.execution[below])] = True
    outcome, later = _outcomes(facts, strength, requeued, order, execution)

    parent, flow, flow_by_row = _relations(window, rows, facts, state, trail, match, order)
    enqueued, source, due, latency, clamped = _times(window, rows, facts, match, inferred, execution)
    handed = enqueue & (facts["due"] > facts["end"])
    outcome[handed & (outcome == Outcome.ENQUEUED)] = Outcome.SCHEDULED
    due = np.where(handed, facts["due"], due)
    error, error_row = _errors(window, rows, facts, outcome, helper_error)
    merged = _merged(window, rows, facts, state)
    _remember(window, rows, deleted, match, inferred, state["primary"], merged[1], parent, error_row)
    return Derived(
        rows=rows,
        deleted=deleted,
        merged=merged,
        outcome=outcome,
        later=later,
        retry=enqueue & (trail.retry | facts["retries"]),
        inferred=inferred,
        match=match,
        link_style=_link_styles(window, rows, facts, state),
        parent=parent,
        flow=flow,
        flow_by_row=flow_by_row,
        queue=_queues(window, rows, facts, match, order),
        error=error,
        error_row=error_row,
        enqueued=enqueued,
        enqueued_source=source,
        due=due,
        latency=latency,
        clamped=clamped,
        waits=_waits(window, facts),
    )


def _deleted(window: Window, facts: Records, state: Records, trail: Trail) -> Mask:
    """Return which rows are merged into others, or are no jobs but the transport of one (section 4.6)."""
    transport = window.traits.transport[facts["convention"]] & (facts["role"] != Role.LOG)
    deleted: Mask = (state["primary"] >= 0) | (transport & ((trail.job_enqueue >= 0) | state["around"]))
    receive = np.flatnonzero(facts["role"] == Role.RECEIVE)
    if len(receive):
        deleted[receive] |= window.lanes.find(facts["lane"][receive]) >= 0
    return deleted


def _merged(window: Window, rows: Rows, facts: Records, state: Records) -> tuple[Rows, Rows]:
    """Return pairs: the place of a row, and a row merged into it."""
    into = np.flatnonzero(state["primary"] >= 0)
    wraps = np.flatnonzero(window.traits.wraps[facts["convention"]] & (facts["role"] <= Role.PROCESS))
    if len(into) == 0 and len(wraps) == 0:
        return into, wraps
    numbers, found = window.mentioning(facts["span"][wraps])
    inside = window.state["primary"][found] == rows[wraps[numbers]]
    up = state["up"][wraps]
    around = (up >= 0) & (window.state["primary"][up] == rows[wraps])
    pairs = np.concatenate([
        np.stack([state["primary"][into], rows[into]]),
        np.stack([rows[wraps[numbers[inside]]], found[inside]]),
        np.stack([rows[wraps[around]], up[around]]),
    ], axis=1)  # fmt: skip
    if pairs.shape[1] == 0:
        return pairs[0], pairs[1]
    pairs = np.unique(pairs, axis=1)
    place = _places(rows, pairs[0])
    known = rows[place] == pairs[0] if len(rows) else np.zeros(0, np.bool_)
    return place[known], pairs[1][known]


def _helped(
    window: Window, rows: Rows, facts: Records, state: Records, trail: Trail, execution: Mask
) -> tuple[npt.NDArray[np.int64], Rows]:
    """Return how strongly helper spans speak of each execution, and the helper that carries its exception."""
    strength = np.zeros(len(rows), np.int64)
    carrier = np.full(len(rows), NO_ROW)
    helper = np.flatnonzero(facts["role"] == Role.HELPER)
    if len(helper) == 0:
        return strength, carrier
    target = trail.execution[helper]
    other = (target >= 0) & (window.state["key"][target] != state["key"][helper])
    target[other | (state["key"][helper] == 0)] = NO_ROW
    # on Rails before 7.1 helpers are roots; the back end's id is that of one attempt
    lost = (target < 0) & (facts["provider_key"][helper] != 0)
    if lost.any():
        asking = np.concatenate([helper[lost], np.flatnonzero(execution & (facts["provider_key"] != 0))])
        gives = execution[asking]
        attempts = combined(state["key"][asking], facts["provider_key"][asking])
        found = latest_before(attempts, facts["start"][asking], gives, facts["span"][asking])
        found = found[: np.count_nonzero(lost)]
        target[lost] = np.where(found >= 0, rows[asking[found]], NO_ROW)
    known = target >= 0
    helper, place = helper[known], _places(rows, target[known])
    inside = rows[place] == target[known]
    helper, place = helper[inside], place[inside]
    np.maximum.at(strength, place, _STRENGTH[facts["outcome"][helper]])
    carries = facts["error"][helper] == ErrorSource.SPAN_EVENT
    helper, place = helper[carries], place[carries]
    latest = np.lexsort((facts["span"][helper], facts["start"][helper]))
    carrier[place[latest]] = rows[helper[latest]]
    return strength, carrier


def _outcomes(
    facts: Records, strength: npt.NDArray[np.int64], requeued: Mask, order: Order, execution: Mask
) -> tuple[npt.NDArray[np.int64], Mask]:
    """Return outcomes after the second pass, and which of them needed it (job-conventions, section 4.3)."""
    outcome = facts["outcome"].astype(np.int64)
    helped = execution & (strength > 0)
    outcome[helped] = _OF_STRENGTH[strength[helped]]
    unsure = execution & ((outcome == Outcome.FAILED) | (outcome == Outcome.UNKNOWN))
    outcome[unsure & requeued] = Outcome.RETRIED
    followed = np.zeros(len(facts), np.bool_)
    followed[order.place] = order.execution & (order.number < order.total)
    later = unsure & ~requeued & followed
    outcome[later] = Outcome.RETRIED
    return outcome, later


def _relations(
    window: Window, rows: Rows, facts: Records, state: Records, trail: Trail, match: Rows, order: Order
) -> tuple[Rows, Rows, Mask]:
    """Return the execution that enqueued each job, and the row that names its flow parent (section 4.5)."""
    enqueue = facts["role"] == Role.ENQUEUE
    parent = np.where(enqueue, trail.parent, NO_ROW)
    sibling = np.flatnonzero(enqueue & (parent < 0) & window.traits.sibling[facts["convention"]])
    if len(sibling):
        parent[sibling] = _sibling_parents(window, rows[sibling])
    nested = enqueue & window.traits.nested[facts["convention"]] & (trail.enqueue >= 0)
    nested &= window.facts["convention"][trail.enqueue] == facts["convention"]
    nested &= (window.state["key"][trail.enqueue] != 0) & (window.state["key"][trail.enqueue] != state["key"])
    flow = np.where(facts["has_flow_parent"], rows, np.where(nested, trail.enqueue, NO_ROW))
    by_row = ~facts["has_flow_parent"] & nested

    parent = of_whole_job(parent, order)
    flow_place = of_whole_job(np.where(flow >= 0, np.arange(len(rows)), NO_ROW), order)
    shared = (flow < 0) & (flow_place >= 0)
    flow[shared], by_row[shared] = flow[flow_place[shared]], by_row[flow_place[shared]]

    # without an enqueue row of its own a job takes the parent of the batch, or of what it was matched with
    alone = (parent < 0) & (match >= 0)
    alone &= (window.state["key"][match] == 0) | (window.facts["batch_count"][match] > 0)
    if alone.any():
        matched, inverse = np.unique(match[alone], return_inverse=True)
        parent[alone] = trails(window, matched).parent[inverse]
    return parent, flow, by_row


def _sibling_parents(window: Window, rows: Rows) -> Rows:
    """Return the execution in the same process that encloses each enqueue below its own enqueue span (rule 2)."""
    facts, state = window.facts, window.state
    parent = np.full(len(rows), NO_ROW)
    up = state["up"][rows]
    above = np.flatnonzero((up >= 0) & (facts["role"][up] == Role.ENQUEUE) & (state["key"][up] != 0))
    above = above[state["key"][up[above]] != state["key"][rows[above]]]
    numbers, found = window.of_job(state["key"][up[above]])
    child = rows[above[numbers]]
    encloses = (facts["role"][found] == Role.PROCESS) & (facts["resource"][found] == facts["resource"][child])
    encloses &= (facts["start"][found] <= facts["start"][child]) & (facts["end"][found] >= facts["end"][child])
    numbers, found = numbers[encloses], found[encloses]
    latest = np.lexsort((facts["span"][found], facts["start"][found]))
    parent[above[numbers[latest]]] = found[latest]
    return parent


def _link_styles(window: Window, rows: Rows, facts: Records, state: Records) -> npt.NDArray[np.int64]:
    style = np.where(facts["parent"] != 0, LinkStyle.AMBIENT_PARENT, LinkStyle.NONE).astype(np.int64)
    parents, links = window.targets(rows)
    style[parents >= 0] = LinkStyle.FOREIGN_PARENT
    linked = facts["link"] != 0
    style[linked] = np.where(links[linked] >= 0, LinkStyle.LINK, LinkStyle.DANGLING_LINK)
    primary = np.where(parents >= 0, window.state["primary"][parents], NO_ROW)
    parents = np.where(primary >= 0, primary, parents)
    key = window.state["key"][parents]
    own = (key == state["key"]) | (key == 0) | (state["key"] == 0) | (window.facts["batch_count"][parents] > 0)
    style[(parents >= 0) & own & (window.facts["system"][parents] == facts["system"])] = LinkStyle.CHILD
    return style


def _queues(window: Window, rows: Rows, facts: Records, match: Rows, order: Order) -> Rows:
    """Return the row whose queue a row has: its own, that of its enqueue, or of the job's first enqueue."""
    own = np.where(facts["has_queue"], rows, NO_ROW)
    enqueues = np.where(facts["role"] == Role.ENQUEUE, own, NO_ROW)
    matched = np.where((match >= 0) & window.facts["has_queue"][match], match, NO_ROW)
    shared = of_whole_job(enqueues, order)
    queue = np.where(own >= 0, own, np.where(matched >= 0, matched, shared))
    return np.where(facts["role"] == Role.ENQUEUE, own, queue)


def _times(
    window: Window, rows: Rows, facts: Records, match: Rows, inferred: npt.NDArray[np.int64], execution: Mask
) -> tuple[Times, npt.NDArray[np.int64], Times, npt.NDArray[np.int64], Mask]:
    """Return when each execution became available and what says so, its due time and its latency (section 4.2)."""
    first = execution & (inferred == 1) & (facts["attempt"] <= 1)
    available, source = facts["available"].copy(), facts["available_source"].astype(np.int64)
    wraps = np.flatnonzero(execution & (available == 0) & window.traits.wraps[facts["convention"]])
    if len(wraps):
        _from_adapter(window, rows, wraps, available, source)
    matched = match >= 0
    said = window.facts["outcome"][match]
    told = matched & ((said == Outcome.ENQUEUED) | (said == Outcome.FAILED) | (window.facts["due"][match] > 0))
    for times, labels, holds in (
        (facts["inserted"], facts["inserted_source"], execution),
        (facts["created"], facts["created_source"], first),
        (window.facts["start"][match], np.full(len(rows), ENQUEUE_SPAN), told),
    ):
        taken = (available == 0) & holds & (times > 0)
        available[taken], source[taken] = times[taken], labels[taken]
    due = np.where((facts["due"] == 0) & first, facts["first_due"], facts["due"])
    # a time of this very attempt says all that the enqueue's due time could
    inherits = matched & (due == 0) & (facts["available"] == 0)
    due = np.where(inherits, window.facts["due"][match], due)
    due = np.where(execution & (due > available), due, 0)

    since = np.maximum(available, due)
    waited = facts["start"].astype(np.int64) - since.astype(np.int64)
    clamped = execution & (since > 0) & (waited < 0) & (facts["latency"] < 0)
    latency = np.where(since > 0, np.maximum(waited, 0), -1)
    latency = np.where(facts["latency"] >= 0, facts["latency"], latency)
    none = ~execution
    available[none], source[none], latency[none] = 0, -1, -1
    return available, source, due, latency, clamped


def _from_adapter(window: Window, rows: Rows, wraps: Rows, available: Times, source: npt.NDArray[np.int64]) -> None:
    """Take the times of the adapter's executions that are merged into these (section 4.6)."""
    numbers, found = window.of_job(window.facts["provider_key"][rows[wraps]])
    merged = window.state["primary"][found] == rows[wraps[numbers]]
    merged &= window.facts["available"][found] > 0
    places, found = wraps[numbers[merged]], found[merged]
    # of several the last one counts, which is written last
    order = np.lexsort((window.facts["span"][found], window.facts["start"][found]))
    places, found = places[order], found[order]
    available[places] = window.facts["available"][found]
    source[places] = window.facts["available_source"][found]


def _errors(
    window: Window, rows: Rows, facts: Records, outcome: npt.NDArray[np.int64], helper: Rows
) -> tuple[npt.NDArray[np.int64], Rows]:
    """Return where each row's error comes from, and the row that has its texts (section 4.4)."""
    rank = np.where(facts["error"] == 0, len(ERROR_SOURCES), facts["error"]).astype(np.int64)
    row = rows.copy()
    helped = (helper >= 0) & (rank > ErrorSource.CHILD_SPAN_EVENT)
    rank[helped], row[helped] = ErrorSource.CHILD_SPAN_EVENT, helper[helped]
    log = _logs(window, facts)
    logged = (log >= 0) & (rank > ErrorSource.LOG_RECORD)
    rank[logged], row[logged] = ErrorSource.LOG_RECORD, log[logged]
    none = ~_FAILING[outcome] | (rank == len(ERROR_SOURCES)) | (facts["role"] == Role.HELPER)
    rank[none], row[none] = ErrorSource.NONE, NO_ROW
    return rank, row


def _logs(window: Window, facts: Records) -> Rows:
    """Return the last exception log of each span."""
    log = np.full(len(facts), NO_ROW)
    if not window.has_logs:
        return log
    numbers, logs = window.mentioning(facts["span"])
    ours = (window.facts["role"][logs] == Role.LOG) & (facts["span"][numbers] != 0)
    numbers, logs = numbers[ours], logs[ours]
    window.touch(logs)
    window.state["matched"][logs] = True
    last = np.lexsort((window.facts["span_id"][logs], window.facts["start"][logs]))
    log[numbers[last]] = logs[last]
    return log


def _waits(window: Window, facts: Records) -> tuple[Rows, Rows]:
    waiting = np.flatnonzero(facts["waits"])
    if len(waiting) == 0:
        return waiting, waiting
    numbers, spans = window.waited_for(facts["span"][waiting])
    found = window.rows_of(spans)
    known = (found >= 0) & (window.state["key"][found] != 0)
    return waiting[numbers[known]], found[known]


def _remember(
    window: Window, rows: Rows, deleted: Mask, match: Rows, inferred: npt.NDArray[Any], *refers: Rows
) -> None:
    """Keep with the rows what later derivations need, and as long as them what they refer to."""
    state = window.state
    state["deleted"][rows] = deleted
    state["inferred"][rows] = inferred
    matched = match >= 0
    state["matched"][rows[matched]] = True
    state["matched"][match[matched]] = True
    for others in (match, *refers):
        window.touch(others)


def _places(rows: Rows, wanted: Rows) -> Rows:
    """Return where `wanted` stand in ascending `rows`; for others some place that holds another row."""
    return np.minimum(np.searchsorted(rows, wanted), max(len(rows) - 1, 0))


def digests(window: Window, derived: Derived) -> Hashes:
    """Return a hash of everything in each row that later evidence can change; never 0."""
    span, span_id = window.facts["span"], window.facts["span_id"]

    def of_row(rows: Rows) -> Hashes:
        return np.where(rows >= 0, span[rows] | np.uint64(1), np.uint64(0))

    def of_error(rows: Rows) -> Hashes:
        # logs are no spans, but each says something else
        said = np.where(span[rows] != 0, span[rows], span_id[rows])
        return np.where(rows >= 0, said | np.uint64(1), np.uint64(0))

    def of_pairs(pairs: tuple[Rows, Rows]) -> Hashes:
        total = np.zeros(len(derived.rows), np.uint64)
        if len(pairs[0]) == 0:
            return total
        np.add.at(total, pairs[0], mixed(span[pairs[1]]) + window.state["key"][pairs[1]])
        return total

    key = window.state["key"]
    parts = (
        key[derived.rows],
        derived.deleted, derived.outcome, derived.later, derived.retry, derived.inferred, derived.link_style,
        of_row(derived.match), of_row(derived.parent), np.where(derived.parent >= 0, key[derived.parent], 0),
        of_row(derived.flow), np.where(derived.flow_by_row, key[derived.flow], 0),
        of_row(derived.queue), derived.error, of_error(derived.error_row), derived.enqueued, derived.enqueued_source,
        derived.due, derived.latency, of_pairs(derived.merged), of_pairs(derived.waits),
    )  # fmt: skip
    total = np.zeros(len(derived.rows), np.uint64)
    factor = np.uint64(0x9E3779B97F4A7C15)
    for part in parts:
        total = (total ^ part.astype(np.uint64)) * factor
        total ^= total >> np.uint64(29)
    return mixed(total) | np.uint64(1)
