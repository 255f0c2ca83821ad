"""Executions to compare: of each unit some that failed and some that did not, recent ones rather than old ones.

Each execution has a priority, a random number that its key decides plus its time in half-lives, and of each unit those
of the highest priorities are kept. That is sampling without replacement with weights that decay with age (P. Efraimidis
and P. Spirakis, Weighted random sampling with a reservoir, 2006, with Gumbel noise as their exponents' logarithm). What
is kept is a function of the set of executions, so order and batches do not matter.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.arrays import changes
from pipeline.hashing import mixed
from pipeline.records import Records, together
from processors.failure_cluster.executions import ROW

_COMMON: Final = (
    "bucket",
    "priority",
    "start",
    "end",
    "key",
    "trace",
    "queue",
    "worker",
    "resource",
    "fingerprint",
    "type",
    "category",
    "unit",
)

SAMPLE: Final = np.dtype([*((name, ROW[name]) for name in _COMMON), ("peer", np.uint64)], align=True)

FADES_SECONDS: Final = 600.0
"""Of two executions this far apart the newer one is e times as likely to be kept."""


def sampled(rows: Records) -> Records:
    """Return executions (of dtype ROW) as candidates."""
    samples = np.zeros(len(rows), SAMPLE)
    for name in _COMMON:
        samples[name] = rows[name]
    return samples


def priorities(keys: npt.NDArray[np.uint64], ends: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the priority of executions."""
    uniform = ((mixed(keys) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    return ends / (FADES_SECONDS * 1e9) - np.log(-np.log(uniform))


class Samples:
    """At most `each` executions of a unit, and at most `limit` in all."""

    def __init__(self, each: int, limit: int) -> None:
        self._each, self._limit = each, limit
        self._kept = np.zeros(0, SAMPLE)
        self._units = np.zeros(0, np.int32)
        """Of those that are kept."""
        self._fresh: list[Records] = []
        self._waiting = 0
        self._floor = np.zeros(0)

    def welcome(self, units: npt.NDArray[np.int32], priority: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Return which executions may be kept; the others are not worth offering."""
        most = int(units.max(initial=-1)) + 1
        if most > len(self._floor):
            self._floor = np.concatenate([self._floor, np.full(max(most, 2 * len(self._floor)), -np.inf)])
        return priority > self._floor[units]

    def offer(self, samples: Records) -> None:
        """Keep what is among the first of its unit."""
        if len(samples):
            self._fresh.append(samples)
            self._waiting += len(samples)
            if self._waiting > max(4000, len(self._kept) // 2):
                self._settle()

    @property
    def rows(self) -> Records:
        """All that are kept, unit by unit."""
        self._settle()
        return self._kept

    def of(self, units: Iterable[int]) -> Records:
        """Return what is kept of some distinct units."""
        rows = self.rows
        wanted = np.sort(np.fromiter(units, np.int32))
        firsts, lasts = (np.searchsorted(self._units, wanted, side) for side in ("left", "right"))
        spans = [rows[first:last] for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True) if last > first]
        return together(spans) if spans else rows[:0]

    def retire(self, units: npt.NDArray[np.int64]) -> None:
        """Forget units."""
        rows = self.rows
        self.load(rows.compress(~np.isin(rows["unit"], units)))

    def drop(self, keys: npt.NDArray[np.uint64]) -> None:
        """Forget executions."""
        rows = self.rows
        self.load(rows.compress(~np.isin(rows["key"], keys)))

    def load(self, rows: npt.NDArray[Any]) -> None:
        self._kept, self._floor = np.zeros(0, SAMPLE), np.zeros(0)
        self._fresh, self._waiting = [rows], len(rows)
        self._settle()

    def _settle(self) -> None:
        if not self._fresh:
            return
        rows = together([self._kept, *self._fresh])
        self._fresh, self._waiting = [], 0
        # by unit, then by falling priority; equal priorities are equal keys
        rank = np.empty(len(rows), np.int64)
        rank[np.argsort(-rows["priority"])] = np.arange(len(rows))
        rows = rows.take(np.argsort(rows["unit"] * np.int64(len(rows)) + rank))
        starts = changes(rows["unit"])[:-1]
        each = max(2, min(self._each, self._limit // max(1, len(starts))))
        rank = np.arange(len(rows)) - np.repeat(starts, np.diff(np.append(starts, len(rows))))
        last = rows.compress(rank == each - 1)
        self._kept = rows.compress(rank < each)
        self._units = np.ascontiguousarray(self._kept["unit"])
        self.welcome(last["unit"], last["priority"])
        self._floor[last["unit"]] = last["priority"]
