"""The rows of each job in order: which execution is which, which enqueue belongs to it, who starts before whom.

Rules: job-conventions, section 4.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.hash_table import Rows, union
from pipeline.hashing import mixed
from pipeline.records import Records
from processors.jobs.facts import NO_ROW
from processors.jobs.window import Window

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """Enqueues and executions job by job, by start; `place` is where they stand among the rows."""

    place: Rows
    execution: Mask
    first: Rows
    """Where the job begins."""

    last_enqueue: Rows
    """The last enqueue of the job up to here, NO_ROW without one."""

    previous: Rows
    """The execution of the job before this row."""

    number: npt.NDArray[np.int64]
    """Executions of the job up to here."""

    total: npt.NDArray[np.int64]
    """Executions of the job."""


def order_of(rows: Rows, facts: Records, state: Records, enqueue: Mask, execution: Mask) -> Order:
    live = np.flatnonzero(enqueue | execution)
    nameless = state["key"][live] == 0
    # rows without id are jobs of their own; where that hash meets a key, as rare as two equal hashes
    group = np.where(nameless, mixed(facts["span"][live]), state["key"][live])
    place = live[np.lexsort((facts["span"][live], execution[live], facts["start"][live], group))]
    group = np.where(state["key"][place] == 0, mixed(facts["span"][place]), state["key"][place])
    numbers = np.arange(len(place))
    begins = np.ones(len(place), np.bool_)
    begins[1:] = group[1:] != group[:-1]
    first = np.maximum.accumulate(np.where(begins, numbers, 0))
    is_execution = execution[place]
    last_enqueue = np.maximum.accumulate(np.where(is_execution, NO_ROW, numbers))
    last_execution = np.maximum.accumulate(np.where(is_execution, numbers, NO_ROW))
    previous = np.concatenate([[NO_ROW], last_execution[:-1]]) if len(place) else last_execution
    count = np.cumsum(is_execution)
    number: npt.NDArray[np.int64] = count - (count[first] - is_execution[first])
    ends = np.append(np.flatnonzero(begins)[1:], len(place)) - 1
    total: npt.NDArray[np.int64] = (
        np.repeat(number[ends], np.diff(np.append(np.flatnonzero(begins), len(place)))) if len(place) else number
    )
    return Order(
        place, is_execution, first, np.where(last_enqueue >= first, last_enqueue, NO_ROW),
        np.where(previous >= first, previous, NO_ROW), number, total,
    )  # fmt: skip


def matches(window: Window, rows: Rows, facts: Records, state: Records, order: Order) -> Rows:
    """Return the enqueue row of each execution (job-conventions, section 4.1)."""
    match = np.full(len(rows), NO_ROW)
    place, start = order.place, facts["start"][order.place]
    before, previous = order.last_enqueue, order.previous
    fits = order.execution & (before >= 0)
    fits &= (previous < 0) | (start[before] >= start[previous])
    match[place[fits]] = rows[place[before[fits]]]

    left = np.flatnonzero(order.execution & ~fits)
    if len(left) == 0:
        return match
    places = place[left]
    parents, links = window.targets(rows[places])
    for target in (parents, links):
        known = target >= 0
        target[known & (window.facts["system"][target] != facts["system"][places])] = NO_ROW
    target = np.where(parents >= 0, parents, links)
    keys, others = state["key"][places], window.state["key"][target]
    batch = window.facts["batch_count"][target] > 0
    first = previous[left] < 0
    begun = window.facts["start"][target]
    # for a batch or without ids the pointer itself counts, but no enqueue serves two executions of one job
    pointed = (keys == 0) | batch
    pointed &= first | (begun >= start[np.maximum(previous[left], 0)])
    # an enqueue that seems to begin after its execution: clocks differ, and the pointer says that it is the one
    skewed = first & (keys != 0) & (others == keys)
    taken = (target >= 0) & (pointed | skewed)
    match[places[taken]] = target[taken]
    return match


def inferred_attempts(state: Records, order: Order, rows: int) -> npt.NDArray[np.int64]:
    """Return which execution of its job that was seen each row is, 0 for others.

    Where executions of the job are forgotten, never less than was written before.
    """
    inferred = np.zeros(rows, np.int64)
    bereft = order.execution & state["bereft"][order.place]
    lost = np.where(bereft, state["inferred"][order.place] - order.number, 0)
    if (lost > 0).any():
        starts = union(order.first)
        most = np.maximum.reduceat(lost, starts)
        lost = np.repeat(most, np.diff(np.append(starts, len(lost))))
    number = order.number + np.maximum(lost, 0)
    inferred[order.place] = np.where(order.execution, number, 0)
    return inferred


def of_whole_job(values: Rows, order: Order) -> Rows:
    """Return the values with those of each job's first row that has one, for all rows of the job."""
    if len(order.place) == 0:
        return values
    ranked = values[order.place]
    numbers = np.arange(len(ranked))
    starts = union(order.first)
    first = np.minimum.reduceat(np.where(ranked >= 0, numbers, len(ranked)), starts)
    some = np.append(ranked, NO_ROW)[first]
    result = values.copy()
    result[order.place] = np.repeat(some, np.diff(np.append(starts, len(ranked))))
    return result
