"""A hash table whose keys and values are columns: a thousand look-ups are a dozen numpy calls.

Open addressing. Keys are hashes already (`hashing`), never 0; a table only grows, and who forgets keys makes a new one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.arrays import changes
from pipeline.hashing import Hashes

Rows = npt.NDArray[np.int64]

W = TypeVar("W", Rows, Hashes)

_FEWEST: Final = 1024

_BUCKET: Final = 8


def union(*parts: W) -> W:
    """Return the distinct values of all parts, ascending. For a few thousand half the price of numpy's own."""
    rows: W = np.sort(np.concatenate(parts))
    if len(rows) < 2:
        return rows
    distinct = np.empty(len(rows), np.bool_)
    distinct[0] = True
    np.not_equal(rows[1:], rows[:-1], out=distinct[1:])
    result: W = rows[distinct]
    return result


def without(rows: W, others: W) -> W:
    """Return the values that are not in `others`, which ascend."""
    if len(others) == 0 or len(rows) == 0:
        return rows
    places = np.minimum(np.searchsorted(others, rows), len(others) - 1)
    result: W = rows[others[places] != rows]
    return result


class HashTable:
    """64-bit key -> int64 value.

    Keys lie in buckets of eight, a cache line, and a full bucket goes on in the next one: nearly every key is found in
    the first look, which matters where a look costs a dozen numpy calls.
    """

    def __init__(self, expected: int = 0) -> None:
        self._clear(expected)

    def _clear(self, expected: int) -> None:
        buckets = _FEWEST // _BUCKET
        while buckets * _BUCKET < 2 * expected:
            buckets *= 2
        self._keys = np.zeros((buckets, _BUCKET), np.uint64)
        self._values = np.zeros(buckets * _BUCKET, np.int64)
        # small, so that much of it stays in the processor's cache
        self._filled = np.zeros(buckets, np.uint8)
        self._used = 0

    def __len__(self) -> int:
        return self._used

    @property
    def nbytes(self) -> int:
        return self._keys.nbytes + self._values.nbytes + self._filled.nbytes

    def find(self, keys: Hashes, missing: int = -1) -> Rows:
        """Return the value of each key; `missing` for unknown keys and for 0."""
        found = np.full(len(keys), missing, np.int64)
        for numbers, places in self._places(keys):
            found[numbers] = self._values[places]
        return found

    def swap(self, keys: Hashes, values: Rows) -> Rows:
        """Set the values of distinct keys, none of them 0; return the values that they had, -1 where they had none."""
        before = np.full(len(keys), -1, np.int64)
        fresh = np.ones(len(keys), np.bool_)
        for numbers, places in self._places(keys):
            before[numbers] = self._values[places]
            self._values[places] = values[numbers]
            fresh[numbers] = False
        self.add(keys[fresh], values[fresh])
        return before

    def add(self, keys: Hashes, values: Rows) -> None:
        """Add keys that are not there, none of them 0; where one is after all, its first value stays."""
        if 2 * (self._used + len(keys)) > self._keys.size:
            old_keys, old_values = self.items()
            self._clear(2 * (self._used + len(keys)))
            keys, values = np.concatenate([old_keys, keys]), np.concatenate([old_values, values])
        self._used += len(keys)
        if 2 * len(keys) > len(self._keys):
            self._insert_many(keys, values)
        else:
            self._insert(keys, values)

    def copy(self) -> HashTable:
        """Return a table that stays as this one is now."""
        other = HashTable()
        other._keys, other._values = self._keys.copy(), self._values.copy()
        other._filled, other._used = self._filled.copy(), self._used
        return other

    def items(self) -> tuple[Hashes, Rows]:
        """Return all keys and their values."""
        keys = self._keys.ravel()
        used = keys != 0
        return keys[used], self._values[used]

    def _places(self, keys: Hashes) -> Iterator[tuple[Rows, Rows]]:
        """Yield (number, place) of keys that are there."""
        if self._used == 0:
            return
        last = np.uint64(len(self._keys) - 1)
        numbers = keys.nonzero()[0]
        wanted = keys if len(numbers) == len(keys) else keys[numbers]
        buckets = (wanted & last).view(np.int64)
        while len(numbers):
            equal = self._keys.take(buckets, axis=0) == wanted[:, np.newaxis]
            # half the price of argmax along the buckets
            places = equal.ravel().nonzero()[0]
            hits, slots = places // _BUCKET, places % _BUCKET
            again = (hits[1:] == hits[:-1]).nonzero()[0] + 1
            if len(again):
                hits, slots = np.delete(hits, again), np.delete(slots, again)
            yield numbers[hits], buckets[hits] * _BUCKET + slots
            on = self._filled[buckets] == _BUCKET
            if not on.any():
                return
            on[hits] = False
            numbers, wanted, buckets = numbers[on], wanted[on], (buckets[on] + 1) & int(last)

    def _insert(self, keys: Hashes, values: Rows) -> None:
        """Add keys of which few want the same bucket."""
        last = len(self._keys) - 1
        places_of_keys = self._keys.ravel()
        buckets = (keys & np.uint64(last)).view(np.int64)
        while len(keys):
            slots = self._filled[buckets]
            full = slots == _BUCKET
            if full.any():
                buckets = np.where(full, (buckets + 1) & last, buckets)
                continue
            places = buckets * _BUCKET + slots
            # of several keys that want the same place one gets it, the others find it taken
            places_of_keys[places] = keys
            mine = places_of_keys[places] == keys
            taken = places[mine]
            self._values[taken] = values[mine]
            self._filled[buckets[mine]] = slots[mine] + 1
            on = ~mine
            keys, values, buckets = keys[on], values[on], buckets[on]

    def _insert_many(self, keys: Hashes, values: Rows) -> None:
        """Add keys of which several want the same bucket: bucket by bucket, so memory is gone through once."""
        last = len(self._keys) - 1
        places_of_keys = self._keys.ravel()
        buckets = (keys & np.uint64(last)).view(np.int64)
        while len(keys):
            # one number to sort by: it is several times cheaper than finding the order
            ordered = np.sort((buckets << 32) | np.arange(len(keys)))
            order, buckets = ordered & 0xFFFFFFFF, ordered >> 32
            keys, values = keys[order], values[order]
            bounds = changes(buckets)
            starts, sizes = bounds[:-1], np.diff(bounds)
            wanted = buckets[starts]
            filled = self._filled[wanted].astype(np.int64)
            self._filled[wanted] = np.minimum(filled + sizes, _BUCKET)
            slots = np.arange(len(keys)) + np.repeat(filled - starts, sizes)
            places = buckets * _BUCKET + slots
            on = slots >= _BUCKET
            places_of_keys[places[~on]], self._values[places[~on]] = keys[~on], values[~on]
            keys, values, buckets = keys[on], values[on], (buckets[on] + 1) & last
