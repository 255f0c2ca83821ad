"""What stands above a row: the way up by parent spans, from enqueue to execution to enqueue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.hash_table import Rows
from processors.jobs.facts import NO_ROW, Outcome, Role
from processors.jobs.window import Window

MAX_STEPS: Final = 64
"""Rows between a row and the execution above it: retries of one job hang below each other."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Trail:
    """One value for each row that was asked for."""

    parent: Rows
    """The first execution of another job."""

    execution: Rows
    """The first execution, of whatever job."""

    enqueue: Rows
    """The first enqueue below any execution, of whatever job."""

    job_enqueue: Rows
    """The first such enqueue of a job system, transports left out."""

    retry: Mask
    """Whether an execution of the same job, or its announcement of a retry, stands above."""


def trails(window: Window, rows: Rows) -> Trail:
    """Walk up from `rows` (job-conventions, section 4.5, rule 1)."""
    facts, state, transport = window.facts, window.state, window.traits.transport
    parent, execution, enqueue, job_enqueue = (np.full(len(rows), NO_ROW) for _ in range(4))
    retry = np.zeros(len(rows), np.bool_)
    own = state["key"][rows]
    walking = np.flatnonzero(state["up"][rows] >= 0)
    at = state["up"][rows][walking]
    for _ in range(MAX_STEPS):
        if len(walking) == 0:
            break
        role = facts["role"][at]
        same = (state["key"][at] == own[walking]) & (own[walking] != 0)
        executed = (role == Role.PROCESS) & ~state["around"][at]
        receive = (role == Role.RECEIVE).nonzero()[0]
        if len(receive):
            lanes = facts["lane"][at[receive]]
            executed[receive] = ~state["around"][at[receive]] & (window.lanes.find(lanes) < 0)
        retry[walking] |= same & (executed | ((role == Role.HELPER) & (facts["outcome"][at] == Outcome.RETRIED)))
        enqueued = (role == Role.ENQUEUE) & (execution[walking] < 0)
        _set_first(enqueue, walking[enqueued], at[enqueued])
        enqueued &= ~transport[facts["convention"][at]]
        _set_first(job_enqueue, walking[enqueued], at[enqueued])
        _set_first(execution, walking[executed], at[executed])
        ended = executed & ~same
        parent[walking[ended]] = at[ended]
        on = ~ended & (state["up"][at] >= 0)
        walking, at = walking[on], state["up"][at][on]
    # an adapter's execution stands for that of the abstraction layer
    primary = np.where(parent >= 0, state["primary"][parent], NO_ROW)
    return Trail(np.where(primary >= 0, primary, parent), execution, enqueue, job_enqueue, retry)


def _set_first(found: Rows, places: Rows, values: Rows) -> None:
    unset = found[places] < 0
    found[places[unset]] = values[unset]
