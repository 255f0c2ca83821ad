"""A 64-bit key -> 64-bit value, for much that is told and little that is asked for.

What comes together is sorted and put beside what came before; now and then runs of like size become one (a
log-structured merge tree, O'Neil et al. 1996). Adding costs a fraction of what a hash table does, whose every entry is
a cache miss; looking up is a binary search in each run, from the newest on, for the keys that were not found yet.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from pipeline.hash_table import Rows
from pipeline.hashing import Hashes, order_of

ENTRY_BYTES: Final = 16

_FAN_IN: Final = 8
"""So many runs of like size become one."""


class SortedRuns:
    """Keys are hashes, never 0. Of a key that was added more than once one value is found.

    Runs do not grow over `largest` keys by being put together: so much is forgotten at a time.
    """

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._runs: list[tuple[int, Hashes, Rows]] = []
        """How often it was merged, keys ascending, values; the oldest first."""
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def nbytes(self) -> int:
        return ENTRY_BYTES * self._size

    def add(self, keys: Hashes, values: Rows) -> None:
        """Add keys; a key 0 is left out."""
        if not keys.all():
            keys, values = keys[keys != 0], values[keys != 0]
        if len(keys) == 0:
            return
        self._size += len(keys)
        self._runs.append(_sorted(keys, values))
        while len(self._runs) >= _FAN_IN and self._runs[-_FAN_IN][0] == self._runs[-1][0]:
            levels, parts, of_parts = zip(*self._runs[-_FAN_IN:], strict=True)
            if sum(map(len, parts)) > self._largest:
                return
            self._runs[-_FAN_IN:] = [_merged(levels[0] + 1, np.concatenate(parts), np.concatenate(of_parts))]

    def find(self, keys: Hashes, missing: int) -> Rows:
        """Return the value of each key; `missing` for unknown keys and for 0."""
        found = np.full(len(keys), missing, np.int64)
        # ascending keys lie near each other in a run, too
        left = np.argsort(keys)
        wanted = keys[left]
        for _, run, values in reversed(self._runs):
            if len(wanted) == 0:
                break
            places = run.searchsorted(wanted)
            places[places == len(run)] = 0
            hit = run[places] == wanted
            found[left[hit]] = values[places[hit]]
            left, wanted = left[~hit], wanted[~hit]
        return found

    def forget_half(self) -> None:
        """Forget the oldest runs, until at most half is left."""
        most = self._size // 2
        while self._size > most:
            self._size -= len(self._runs.pop(0)[1])

    def items(self) -> tuple[Hashes, Rows]:
        """Return all keys and their values, the oldest first."""
        keys = [run for _, run, _ in self._runs]
        values = [of_run for *_, of_run in self._runs]
        return np.concatenate([np.zeros(0, np.uint64), *keys]), np.concatenate([np.zeros(0, np.int64), *values])


def _sorted(keys: Hashes, values: Rows) -> tuple[int, Hashes, Rows]:
    order = order_of(keys)
    return 0, keys[order], values[order]


def _merged(level: int, keys: Hashes, values: Rows) -> tuple[int, Hashes, Rows]:
    """Return one run of several that lie one behind the other: timsort finds them again."""
    order = np.argsort(keys, kind="stable")
    return level, keys[order], values[order]
