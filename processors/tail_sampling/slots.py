"""What is known of each trace that is not decided yet: a row of columns, found by the key of its id."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.hash_table import HashTable
from pipeline.hashing import Hashes
from pipeline.records import Records
from processors.tail_sampling.decisions import records
from processors.tail_sampling.pieces import NEVER, Pieces
from processors.tail_sampling.policies import JobNotes, Traces

Slots = npt.NDArray[np.int64]

FREE, WAITING, RELEASED = 0, 1, 2
"""States of a slot; RELEASED: it is known that it is kept, and its spans pass at once."""

REASON = ("policy", "sub", "probability", "by_chance")
"""The columns that say why a trace is kept."""

_COLUMNS: dict[str, Any] = {
    "key": np.uint64,
    "high": np.uint64,
    "low": np.uint64,
    "spans": np.int64,
    "nbytes": np.int64,
    "first": np.uint64,
    "last": np.uint64,
    "seen": np.float64,
    "due": np.float64,
    "sequence": np.int64,
    "state": np.int8,
    "rooted": np.bool_,
    "policy": np.int16,
    "sub": np.int16,
    "probability": np.float64,
    "by_chance": np.bool_,
    "forced": np.bool_,
    "dropped": np.bool_,
}


_COLUMN_BYTES: int = sum(np.dtype(type_).itemsize for type_ in _COLUMNS.values())
_INDEX_BYTES = 34
"""Of a hash table that is half full, a key."""


class TraceSlots:
    """Columns by name (`slots.due[...]`); slot 0 is never used."""

    key: Hashes
    high: Hashes
    low: Hashes
    spans: npt.NDArray[np.int64]
    nbytes: npt.NDArray[np.int64]
    first: npt.NDArray[np.uint64]
    last: npt.NDArray[np.uint64]
    seen: npt.NDArray[np.float64]
    due: npt.NDArray[np.float64]
    """When it is decided; infinity until the time of its first span is known, and for free slots."""
    sequence: npt.NDArray[np.int64]
    """Grows from trace to trace in the order of their first spans."""
    state: npt.NDArray[np.int8]
    rooted: npt.NDArray[np.bool_]
    policy: npt.NDArray[np.int16]
    sub: npt.NDArray[np.int16]
    probability: npt.NDArray[np.float64]
    by_chance: npt.NDArray[np.bool_]
    forced: npt.NDArray[np.bool_]
    """Kept because of another trace, or of a piece of its own."""
    dropped: npt.NDArray[np.bool_]
    """Dropped because of a piece of its own."""

    def __init__(self, tests: int, expected: int = 0) -> None:
        size = max(1024, expected)
        for name, type_ in _COLUMNS.items():
            setattr(self, name, np.zeros(size, type_))
        self.hits = np.zeros((size, tests), np.bool_)
        self.due[:] = np.inf
        self.first[0] = NEVER
        self._index = HashTable(expected)
        self._free = np.arange(size - 1, 0, -1)
        """A stack; the last is taken next."""
        self._next = 0
        self.live = 0

    @property
    def capacity(self) -> int:
        return len(self.key)

    @property
    def row_bytes(self) -> int:
        """Memory that a trace needs, its place in the index included."""
        return _COLUMN_BYTES + self.hits.shape[1] + _INDEX_BYTES

    @property
    def used_bytes(self) -> int:
        return self.live * self.row_bytes

    @property
    def allocated_bytes(self) -> int:
        columns = sum(int(getattr(self, name).nbytes) for name in _COLUMNS)
        return columns + self.hits.nbytes + self._index.nbytes

    def find(self, keys: Hashes) -> Slots:
        """Return the slot of each key; 0 where there is none."""
        slots = self._index.find(keys, missing=0)
        # the index forgets late: a slot may have another trace by now
        slots[(self.key[slots] != keys) | (self.state[slots] == FREE)] = 0
        return slots

    def open(self, keys: Hashes, high: Hashes, low: Hashes) -> Slots:
        """Return new slots for distinct keys that have none."""
        number = len(keys)
        if number > len(self._free):
            self._grow(number)
        slots = self._free[len(self._free) - number :][::-1].copy()
        self._free = self._free[: len(self._free) - number]
        self.key[slots], self.high[slots], self.low[slots] = keys, high, low
        self.first[slots] = NEVER
        for name in ("spans", "nbytes", "last", "rooted", "forced", "dropped", "by_chance"):
            getattr(self, name)[slots] = 0
        self.due[slots] = self.seen[slots] = np.inf
        self.policy[slots] = self.sub[slots] = -1
        self.probability[slots] = 1.0
        self.hits[slots] = False
        self.state[slots] = WAITING
        self.sequence[slots] = np.arange(self._next, self._next + number)
        self._next += number
        self.live += number
        if len(self._index) > 2 * self.live + 4096:
            self._index = HashTable(2 * self.live)
            lives = np.flatnonzero(self.state)
            self._index.add(self.key[lives], lives)
        else:
            self._index.swap(keys, slots)
        return slots

    def absorb(self, slots: Slots, pieces: Pieces, which: Slots) -> None:
        """Add what pieces say of their traces; `slots` are distinct, `which` are their pieces."""
        self.spans[slots] += pieces.spans[which]
        self.nbytes[slots] += pieces.nbytes[which]
        self.first[slots] = np.minimum(self.first[slots], pieces.first[which])
        self.last[slots] = np.maximum(self.last[slots], pieces.last[which])
        if self.hits.shape[1]:
            self.hits[slots] |= pieces.hits[which]

    def close(self, slots: Slots) -> None:
        """Forget traces."""
        self.state[slots] = FREE
        self.due[slots] = np.inf
        self._free = np.concatenate([self._free, slots[::-1]])
        self.live -= len(slots)

    def alive(self) -> Slots:
        """Return the slots in use, the oldest trace first."""
        return self.oldest_first(np.flatnonzero(self.state))

    def oldest_first(self, slots: Slots) -> Slots:
        return slots[np.argsort(self.sequence[slots])]

    def view(self, slots: Slots, now: float, notes: JobNotes | None = None) -> Traces:
        """Return what policies read."""
        return Traces(
            self.high[slots],
            self.low[slots],
            self.spans[slots],
            self.nbytes[slots],
            self.first[slots],
            self.last[slots],
            self.hits[slots],
            now,
            notes,
        )

    def reasons(self, slots: Slots) -> Records:
        """Return why traces are kept."""
        found = records(len(slots))
        for name in REASON:
            found[name] = getattr(self, name)[slots]
        return found

    def _grow(self, number: int) -> None:
        old = self.capacity
        size = max(2 * old, old + number)
        for name in _COLUMNS:
            column = getattr(self, name)
            grown = np.zeros(size, column.dtype)
            grown[:old] = column
            setattr(self, name, grown)
        self.due[old:] = np.inf
        hits = np.zeros((size, self.hits.shape[1]), np.bool_)
        hits[:old] = self.hits
        self.hits = hits
        self._free = np.concatenate([np.arange(size - 1, old - 1, -1), self._free])
