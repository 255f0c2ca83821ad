"""Hash tables from a key to many rows, and from spans to their parents; keys and values are columns.

Keys are hashes already (`pipeline.hashing`), never 0; tables only grow, and the window makes new ones when it forgets
rows.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from pipeline.arrays import changes
from pipeline.hash_table import HashTable, Rows
from pipeline.hashing import Hashes, order_of

_FEWEST: Final = 1024


class Blocks:
    """Rows in blocks, each of which may go on in an earlier one: following takes as many rounds as chains are long."""

    def __init__(self) -> None:
        self._starts = np.zeros(_FEWEST, np.int64)
        self._counts = np.zeros(_FEWEST, np.int64)
        self._nexts = np.zeros(_FEWEST, np.int64)
        self._blocks = 0
        self._members = np.zeros(_FEWEST, np.int64)
        self._size = 0

    @property
    def nbytes(self) -> int:
        return 3 * self._starts.nbytes + self._members.nbytes

    def add(self, rows: Rows, starts: Rows) -> Rows:
        """Add `rows` as blocks that begin at `starts`; return the numbers of the blocks, for `chain`."""
        blocks = np.arange(self._blocks, self._blocks + len(starts))
        self._members = _with_room(self._members, self._size + len(rows))
        for name in ("_starts", "_counts", "_nexts"):
            setattr(self, name, _with_room(getattr(self, name), self._blocks + len(starts)))
        self._members[self._size : self._size + len(rows)] = rows
        self._starts[blocks] = starts + self._size
        self._counts[blocks] = np.diff(np.append(starts, len(rows)))
        self._blocks += len(starts)
        self._size += len(rows)
        return blocks

    def chain(self, blocks: Rows, nexts: Rows) -> None:
        """Let each of new `blocks` go on in another, -1 for none."""
        self._nexts[blocks] = nexts

    def follow(self, blocks: Rows) -> tuple[Rows, Rows]:
        """Return `(number, row)` pairs: the rows of each chain that begins with one of `blocks`, and its number there.

        A block -1 has no rows.
        """
        numbers, found = [], []
        asked = (blocks >= 0).nonzero()[0]
        blocks = blocks[asked]
        while len(blocks):
            counts = self._counts[blocks]
            ends = np.cumsum(counts)
            places = np.repeat(self._starts[blocks] - ends + counts, counts) + np.arange(ends[-1])
            numbers.append(np.repeat(asked, counts))
            found.append(self._members[places])
            blocks = self._nexts[blocks]
            on = blocks >= 0
            asked, blocks = asked[on], blocks[on]
        if len(found) == 1:
            return numbers[0], found[0]
        if not found:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        return np.concatenate(numbers), np.concatenate(found)


class MultiTable:
    """64-bit key -> many rows.

    What one call adds under one key is a block, and blocks of a key are chained: finding takes as many rounds as there
    were calls that added to the key, not as there are rows.
    """

    def __init__(self) -> None:
        self._heads = HashTable()
        self._blocks = Blocks()

    @property
    def nbytes(self) -> int:
        return self._heads.nbytes + self._blocks.nbytes

    def add(self, keys: Hashes, rows: Rows) -> None:
        """Add `rows`, each under its key; a key 0 adds nothing."""
        if not keys.all():
            present = keys != 0
            keys, rows = keys[present], rows[present]
        if len(keys) == 0:
            return
        order = order_of(keys)
        keys = keys[order]
        starts = changes(keys)[:-1]
        blocks = self._blocks.add(rows[order], starts)
        self._blocks.chain(blocks, self._heads.swap(keys[starts], blocks))

    def find(self, keys: Hashes) -> tuple[Rows, Rows]:
        """Return `(number, row)` pairs: each row under one of `keys`, and that key's number in them."""
        return self._blocks.follow(self._heads.find(keys))

    def rows(self, keys: Hashes) -> Rows:
        """Return the rows under any of `keys`."""
        return self.find(keys)[1]


class Lineage:
    """Parent of each ordinary span, for walking up from a job; forgets the older half when it is full or old."""

    def __init__(self) -> None:
        self._young, self._old = HashTable(), HashTable()

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    @property
    def nbytes(self) -> int:
        return self._young.nbytes + self._old.nbytes

    def add(self, spans: Hashes, parents: Hashes) -> None:
        """Remember the parents of spans; roots need not be told."""
        # a span that is sent twice has the same parent twice: nothing to look for
        self._young.add(spans, parents.view(np.int64))

    def parents(self, spans: Hashes) -> Hashes:
        """Return the parent of each span; 0 where it is not known."""
        found = self._young.find(spans, missing=0)
        if len(self._old):
            unknown = np.flatnonzero(found == 0)
            found[unknown] = self._old.find(spans[unknown], missing=0)
        return found.view(np.uint64)

    def forget_half(self) -> None:
        """Forget what was told before the last call of this."""
        self._old, self._young = self._young, HashTable()

    def copy(self) -> Lineage:
        """Return a lineage that stays as this one is now."""
        other = Lineage()
        # nothing is added to the older half
        other._young, other._old = self._young.copy(), self._old
        return other

    def items(self) -> tuple[Hashes, Hashes]:
        """Return all spans and their parents."""
        pairs = [table.items() for table in (self._old, self._young)]
        return np.concatenate([spans for spans, _ in pairs]), np.concatenate([p.view(np.uint64) for _, p in pairs])


def _with_room(array: Rows, size: int) -> Rows:
    if size <= len(array):
        return array
    grown = np.zeros(max(size, 2 * len(array)), array.dtype)
    grown[: len(array)] = array
    return grown
