"""Counts of units over sliding windows, and each unit's own level of failures. Dense: a number a unit and step."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]


class Ring:
    """Counts over the last `window` buckets, in at most 60 steps; up to one step more than the window is counted."""

    def __init__(self, window: int) -> None:
        self.width = max(1, -(-window // 60))
        self._slots = -(-window // self.width) + (self.width > 1)
        self._counts = np.zeros((self._slots, 0), np.int32)
        self.totals: Counts = np.zeros(0, np.int64)
        self.step = 0

    def room(self, units: int) -> None:
        """Have room for so many units."""
        have = len(self.totals)
        if units > have:
            more = max(units, 2 * have, 64) - have
            self._counts = np.concatenate([self._counts, np.zeros((self._slots, more), np.int32)], axis=1)
            self.totals = np.concatenate([self.totals, np.zeros(more, np.int64)])

    def advance(self, bucket: int) -> list[Counts]:
        """Move on to a bucket; return what left the window, step by step, the oldest first."""
        step = bucket // self.width
        if self.step == 0:
            self.step = step
        left = []
        for passed in range(self.step + 1, min(step, self.step + self._slots) + 1):
            counts = self._counts[passed % self._slots]
            left.append(counts.astype(np.int64))
            self.totals -= counts
            counts[:] = 0
        self.step = max(step, self.step)
        return left

    def add(self, counts: Counts) -> None:
        """Add counts, of the first units, to now."""
        self._counts[self.step % self._slots, : len(counts)] += counts.astype(np.int32)
        self.totals[: len(counts)] += counts

    def clear(self, units: Any) -> None:
        """Forget the counts of units."""
        self._counts[:, units] = 0
        self.totals[units] = 0

    def state(self) -> tuple[npt.NDArray[np.int32], int]:
        return self._counts, self.step

    def load(self, counts: npt.NDArray[np.int32], step: int) -> None:
        """Take over counts; of another number of steps, none."""
        if counts.shape[0] == self._slots:
            self._counts, self.step = counts.copy(), step
            self.totals = counts.sum(axis=0, dtype=np.int64)


class Levels:
    """Each unit's own level: failures and executions, of which those a half-life ago count half."""

    def __init__(self, half_life: float) -> None:
        """`half_life` in steps of the rings whose counts are learned."""
        self._keep = 0.5 ** (1 / half_life)
        self.failures = np.zeros(0)
        self.executions = np.zeros(0)

    def room(self, units: int) -> None:
        more = units - len(self.failures)
        if more > 0:
            self.failures = np.concatenate([self.failures, np.zeros(more)])
            self.executions = np.concatenate([self.executions, np.zeros(more)])

    def learn(self, failures: list[Counts], executions: list[Counts], steps: int) -> None:
        """Learn what left the windows in the last `steps` steps."""
        for failed, executed in zip(failures, executions, strict=True):
            self.failures *= self._keep
            self.executions *= self._keep
            self.failures[: len(failed)] += failed
            self.executions[: len(executed)] += executed
        rest = self._keep ** max(0, steps - len(failures))
        if rest < 1:
            self.failures *= rest
            self.executions *= rest

    def clear(self, units: Any) -> None:
        self.failures[units] = 0
        self.executions[units] = 0
