"""Budgets of spans or bytes, spent by many traces at once, in their order."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from processors.tail_sampling.spans import Truths

Sizes = npt.NDArray[np.int64]


def affordable(sizes: Sizes, budget: float) -> Truths:
    """Return which are taken when each in turn is if the rest of the budget holds it; one that is not costs nothing.

    After each run that fits, only what is smaller than the first that did not can still be taken: a few rounds.
    """
    taken = np.zeros(len(sizes), np.bool_)
    left = math.floor(budget)
    candidates = np.flatnonzero(sizes <= left)
    while len(candidates):
        totals = np.cumsum(sizes[candidates])
        fits = int(np.searchsorted(totals, left, side="right"))
        taken[candidates[:fits]] = True
        left -= int(totals[fits - 1])
        candidates = candidates[fits:]
        candidates = candidates[sizes[candidates] <= left]
    return taken


class TokenBucket:
    """Fills up by `rate` a second to `capacity`, and begins full (Go's x/time/rate, which the Collector uses)."""

    def __init__(self, rate: float, capacity: float) -> None:
        self._rate = rate
        self._capacity = capacity
        self._level = capacity
        self._at: float | None = None

    def take(self, sizes: Sizes, now: float) -> Truths:
        """Return which of `sizes` were taken out, in turn."""
        if self._at is not None:
            self._level = min(self._capacity, self._level + self._rate * max(0.0, now - self._at))
        self._at = now
        taken = affordable(sizes, self._level)
        self._level -= int(sizes[taken].sum())
        return taken


class SecondBudgets:
    """Spans a second for several in turn, each with its share of a total; every second begins anew.

    With `spill` a share may be exceeded by what nobody used in the second before, as long as the total holds.
    """

    def __init__(self, shares: list[int], total: int, *, spill: bool) -> None:
        self._shares = shares
        self._total = total
        self._spill = spill
        self._second: int | None = None
        self._used = [0] * len(shares)
        self._lent = 0

    def begin(self, now: float) -> None:
        """Tell the time before `take`."""
        second = math.floor(now)
        if second != self._second:
            unused = self._total - sum(self._used) if self._second == second - 1 else self._total
            self._lent = max(0, unused) if self._spill and self._second is not None else 0
            self._used = [0] * len(self._shares)
            self._second = second

    def take(self, number: int, sizes: Sizes) -> Truths:
        """Return which of `sizes` the share `number` pays, in turn."""
        used = self._used[number]
        left = min(self._shares[number] + self._lent, self._total) - used
        if self._spill:
            left = min(left, self._total - sum(self._used))
        taken = affordable(sizes, left)
        self._used[number] = used + int(sizes[taken].sum())
        return taken
