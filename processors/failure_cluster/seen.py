"""Which executions were counted, so that a row that comes again, changed or not, is not counted again."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.hash_table import HashTable, Rows
from pipeline.hashing import Hashes
from pipeline.records import Records, appended

FAILED: Final = np.dtype(
    [("key", np.uint64), ("version", np.int64), ("bucket", np.int64), ("fingerprint", np.uint64), ("unit", np.int32)],
    align=True,
)
"""A failure that was counted: where to take it back."""


class Seen:
    """Versions of executions by their key; forgets the older half when it is full."""

    def __init__(self, limit: int) -> None:
        self._half = max(1, limit // 2)
        self._young, self._old = _Table(self._half), _Table(self._half)

    def versions(self, keys: Hashes) -> Rows:
        """Return the version of each key, -1 where it is not known."""
        versions = self._young.find(keys)
        if len(self._old):
            missing = np.flatnonzero(versions < 0)
            versions[missing] = self._old.find(keys[missing])
        return versions

    def note(self, keys: Hashes, versions: Rows, fresh: npt.NDArray[np.bool_]) -> None:
        """Remember versions of distinct keys; `fresh` says of which none was known."""
        self._young.add(keys[fresh], versions[fresh])
        if not fresh.all():
            self._young.put(keys[~fresh], versions[~fresh])
        if len(self._young) >= self._half:
            self._old, self._young = self._young, _Table(self._half)

    def items(self) -> tuple[Hashes, Rows]:
        old, young = self._old.items(), self._young.items()
        return np.concatenate([old[0], young[0]]), np.concatenate([old[1], young[1]])

    def load(self, keys: Hashes, versions: Rows) -> None:
        self._old, self._young = _Table(max(self._half, len(keys))), _Table(self._half)
        self._old.put(keys, versions)


class _Table:
    """64-bit key -> version. A key has two places to be; the few that find both taken go to a hash table.

    A third of the price of the hash table alone, where nearly every key is new.
    """

    def __init__(self, expected: int) -> None:
        size = 1024
        while size < 4 * expected:
            size *= 2
        self._mask = np.uint64(size - 1)
        self._shift = np.uint64(65 - size.bit_length())
        self._keys = np.zeros(size, np.uint64)
        self._versions = np.zeros(size, np.int64)
        self._crowded = HashTable()
        self._used = 0

    def __len__(self) -> int:
        return self._used + len(self._crowded)

    def find(self, keys: Hashes) -> Rows:
        versions = np.full(len(keys), -1, np.int64)
        if len(self) == 0:
            return versions
        places = self._first(keys)
        here = self._keys.take(places)
        hit = np.flatnonzero(here == keys)
        versions[hit] = self._versions.take(places[hit])
        # whose first place is free is nowhere else
        rest = np.flatnonzero((here != 0) & (here != keys))
        places = self._second(keys[rest])
        hit = self._keys.take(places) == keys[rest]
        versions[rest[hit]] = self._versions.take(places[hit])
        if len(self._crowded):
            rest = rest[~hit]
            versions[rest] = self._crowded.find(keys[rest])
        return versions

    def put(self, keys: Hashes, versions: Rows) -> None:
        """Set the versions of keys that may be there."""
        for places_of in (self._first, self._second):
            places = places_of(keys)
            hit = self._keys.take(places) == keys
            self._versions[places[hit]] = versions[hit]
            keys, versions = keys[~hit], versions[~hit]
        self.add(keys, versions)

    def add(self, keys: Hashes, versions: Rows) -> None:
        """Set the versions of keys that are not there."""
        for places_of in (self._first, self._second):
            places = places_of(keys)
            free = np.flatnonzero(self._keys.take(places) == 0)
            self._keys[places[free]] = keys[free]
            # of several keys that want the same place one gets it
            mine = self._keys.take(places) == keys
            self._versions[places[mine]] = versions[mine]
            self._used += int(np.count_nonzero(mine))
            keys, versions = keys[~mine], versions[~mine]
            if len(keys) == 0:
                return
        self._crowded.swap(keys, versions)

    def items(self) -> tuple[Hashes, Rows]:
        used = np.flatnonzero(self._keys)
        keys, versions = self._crowded.items()
        return np.concatenate([self._keys[used], keys]), np.concatenate([self._versions[used], versions])

    def _first(self, keys: Hashes) -> Rows:
        # by the highest bits: keys come in order, and so do the places
        return (keys >> self._shift).view(np.int64)

    def _second(self, keys: Hashes) -> Rows:
        return (keys & self._mask).view(np.int64)


class Failures:
    """The last failures that were counted, by key."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rows = np.zeros(0, FAILED)
        self._number = 0
        self._places = HashTable()

    def find(self, keys: Hashes) -> Rows:
        """Return the place of each key's failure, -1 where there is none."""
        return self._places.find(keys)

    def at(self, places: Rows) -> Records:
        return self._rows.take(places)

    def note(self, failures: Records) -> None:
        """Remember failures; one that is known already is replaced."""
        if self._number + len(failures) > self._limit:
            self._keep(self._rows[: self._number][-(self._limit // 2) :])
        self._rows = appended(self._rows, self._number, failures)
        places = np.arange(self._number, self._number + len(failures))
        self._number += len(failures)
        self._places.swap(failures["key"], places)

    def forget(self, places: Rows) -> None:
        """Forget that these failed: they were taken back."""
        self._places.swap(self._rows["key"][places], np.full(len(places), -1))

    def expire(self, bucket: int) -> None:
        """Forget what was counted before `bucket`."""
        rows = self.rows
        old = np.count_nonzero(rows["bucket"] < bucket)
        if 2 * old > self._number:
            self._keep(rows.compress(rows["bucket"] >= bucket))

    @property
    def rows(self) -> Records:
        """All that are remembered, the oldest first."""
        rows = self._rows[: self._number]
        live: Records = rows.compress(self._places.find(rows["key"]) == np.arange(len(rows)))
        return live

    def _keep(self, rows: npt.NDArray[Any]) -> None:
        self.load(rows.compress(self._places.find(rows["key"]) >= 0))

    def load(self, rows: npt.NDArray[Any]) -> None:
        self._rows, self._number, self._places = np.zeros(0, FAILED), 0, HashTable(len(rows))
        if len(rows):
            _, last = np.unique(rows["key"][::-1], return_index=True)
            self.note(rows.take(np.sort(len(rows) - 1 - last)))
