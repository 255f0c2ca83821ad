"""Quantiles of durations, a sketch a job class: counts in bins whose bounds grow by 5 %, so that 2.5 % is the error.

Source of the idea: DDSketch (Masson, Rim, Lee 2019). Old observations fade: when a class has had enough of them, all
its counts are halved.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.hashing import Hashes

_GROWTH: Final = 1.05
_SHORTEST_NS: Final = 1_000.0
_BINS: Final = 640
"""From 1 us to over a year."""

_FADE_AT: Final = 20_000
_MOST_CLASSES: Final = 4096
"""Beyond it those seen first are forgotten; 10 MiB."""


class DurationSketches:
    def __init__(self) -> None:
        self._counts: dict[int, npt.NDArray[np.int32]] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def items(self) -> tuple[Hashes, npt.NDArray[np.int32]]:
        """Return classes, and the counts of each in its bins."""
        counts = np.zeros((0, _BINS), np.int32) if not self._counts else np.stack(list(self._counts.values()))
        return np.fromiter(self._counts, np.uint64, len(self._counts)), counts

    def load(self, classes: Hashes, counts: npt.NDArray[np.int32]) -> None:
        """Take over what `items` gave; of other bins nothing."""
        if counts.shape[1] == _BINS:
            self._counts = dict(zip(classes.tolist(), counts.copy(), strict=True))

    def thresholds(self, classes: Hashes, quantile: float) -> npt.NDArray[np.float64]:
        """Return the quantile of each class in nanoseconds; infinity until it has seen enough to tell it.

        Enough is a handful of observations beyond the quantile: 500 for p99.
        """
        found = np.full(len(classes), np.inf)
        distinct, inverse = np.unique(classes, return_inverse=True)
        for number, one in enumerate(distinct.tolist()):
            counts = self._counts.get(one)
            if counts is None:
                continue
            total = int(counts.sum())
            if total * (1 - quantile) < 5:
                continue
            place = int(np.searchsorted(np.cumsum(counts), quantile * total))
            found[inverse == number] = _SHORTEST_NS * _GROWTH ** (place + 0.5)
        return found

    def add(self, classes: Hashes, durations: npt.NDArray[np.uint64]) -> None:
        """Count durations, nanoseconds, each for its class."""
        scaled = np.log(np.maximum(durations.astype(np.float64), _SHORTEST_NS) / _SHORTEST_NS) / np.log(_GROWTH)
        bins = np.minimum(scaled.astype(np.int64), _BINS - 1)
        for one in np.unique(classes).tolist():
            counts = self._counts.get(one)
            if counts is None:
                if len(self._counts) >= _MOST_CLASSES:
                    del self._counts[next(iter(self._counts))]
                counts = self._counts[one] = np.zeros(_BINS, np.int32)
            counts += np.bincount(bins[classes == one], minlength=_BINS).astype(np.int32)
            if counts.sum() > _FADE_AT:
                counts //= 2
