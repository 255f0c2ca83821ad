"""What was decided of traces that are gone, for the spans that come late. Costs about 60 bytes a trace."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.hash_table import HashTable
from pipeline.hashing import Hashes
from pipeline.records import Records, appended, together

Rows = npt.NDArray[np.int64]

_RECORD = np.dtype(
    [("policy", "i2"), ("sub", "i2"), ("by_chance", "?"), ("probability", "f8"), ("at", "f8")], align=True
)


def records(number: int) -> Records:
    """Return empty records: what is remembered of a decision."""
    return np.zeros(number, _RECORD)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """`which` of the keys that were asked for are known, and what is known of them."""

    which: Rows
    record: Records


class _Generation:
    def __init__(self) -> None:
        self.index = HashTable()
        self.record = records(1024)
        self.used = 0

    def add(self, keys: Hashes, record: Records) -> None:
        self.record = appended(self.record, self.used, record)
        self.index.swap(keys, np.arange(self.used, self.used + len(keys)))
        self.used += len(keys)


class RememberedDecisions:
    """Remembers at least the last `size` traces that were decided or asked for, and at most twice as many.

    Two generations: when the young one is full the old one is forgotten. What is found in the old one is used, so it is
    put into the young one: about what a least-recently-used cache does, at the cost of columns.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._young, self._old = _Generation(), _Generation()

    def __len__(self) -> int:
        return len(self._young.index) + len(self._old.index)

    def items(self) -> tuple[Hashes, Records]:
        """Return distinct keys and what is remembered of them, the older generation first, for `add`."""
        keys, rows = self._old.index.items()
        # what was asked for is in both
        gone = self._young.index.find(keys) < 0
        young, young_rows = self._young.index.items()
        return (
            np.concatenate([keys[gone], young]),
            together([self._old.record.take(rows[gone]), self._young.record.take(young_rows)]),
        )

    def add(self, keys: Hashes, record: Records) -> None:
        """Remember distinct keys."""
        for start in range(0, len(keys), max(self._size, 1)):
            part = slice(start, start + max(self._size, 1))
            if self._young.used + len(keys[part]) > self._size:
                self._young, self._old = _Generation(), self._young
            self._young.add(keys[part], record[part])

    def find(self, keys: Hashes) -> Found:
        """Return what is known of distinct keys."""
        young = self._young.index.find(keys)
        record = self._young.record.take(young)
        missing = np.flatnonzero(young < 0)
        if len(self._old.index) and len(missing):
            old = self._old.index.find(keys[missing])
            again = missing[old >= 0]
            record[again] = self._old.record.take(old[old >= 0])
            young[again] = 0
            if len(again):
                self.add(keys[again], record[again])
        which = np.flatnonzero(young >= 0)
        return Found(which, record.take(which))


@dataclass(frozen=True, slots=True, eq=False)
class Late:
    """Pieces of traces that were decided before."""

    which: Rows
    sampled: npt.NDArray[np.bool_]
    record: Records


class DecisionCaches:
    """The decisions on traces that were sampled, and on those that were not."""

    def __init__(self, sampled: int, not_sampled: int) -> None:
        self.sampled = RememberedDecisions(sampled)
        self.not_sampled = RememberedDecisions(not_sampled)

    def find(self, keys: Hashes) -> Late:
        """Return which of distinct keys were decided, and how; what was sampled once counts as sampled."""
        kept = self.sampled.find(keys)
        left = np.ones(len(keys), np.bool_)
        left[kept.which] = False
        others = np.flatnonzero(left)
        lost = self.not_sampled.find(keys[others])
        which = np.concatenate([kept.which, others[lost.which]])
        sampled = np.arange(len(which)) < len(kept.which)
        return Late(which, sampled, together([kept.record, lost.record]))

    def unknown(self, keys: Hashes) -> npt.NDArray[np.bool_]:
        """Return of which keys, distinct or not, nothing was decided."""
        distinct, inverse = np.unique(keys, return_inverse=True)
        left = np.ones(len(distinct), np.bool_)
        left[self.find(distinct).which] = False
        found: npt.NDArray[np.bool_] = left[inverse]
        return found

    def add(self, keys: Hashes, record: Records, sampled: npt.NDArray[np.bool_]) -> None:
        """Remember decisions on distinct keys."""
        self.sampled.add(keys[sampled], record.compress(sampled))
        self.not_sampled.add(keys[~sampled], record.compress(~sampled))
