"""The spans that wait: whole batches as they came, beside them which trace each row is of.

A batch is not taken apart when it comes. When traces are decided, the rows of those that are kept are taken out; the
rows of the others die where they are, and their memory is freed when enough of it has gathered (`compact`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline import Batch, Receipt, concat
from processors.tail_sampling.fates import KEEP, REASONS

Slots = npt.NDArray[np.int32]
Rows = npt.NDArray[np.int64]

NO_SLOT = 0
"""The slot of rows that wait no more."""

_SMALL_ROWS = 4096
"""Batches below this are put together: an Arrow table of a few rows takes more for itself than for them."""

_FRESH_BATCHES = 64
_MARKS = 64
"""Segments are told apart by as many bits; those that share one are looked through together."""

_SPARE = 0.26
"""Dead rows are to have this share of the memory of those that wait at most. Copying rows to free that of others is
what deciding costs most for."""

_LITTLE_BYTES = 1 << 18
"""Dead rows of less than this are not worth looking after."""

_ENOUGH = 0.85
"""Of the bytes that dead rows may take so much is left by a compaction: the next one is not due at once."""


@dataclass(slots=True, eq=False)
class Segment:
    """A batch that waits."""

    batch: Batch
    slots: Slots
    """Of each row."""
    live: int
    """Rows that wait."""
    mark: np.uint64
    """The bit by which it is found."""

    @property
    def dead_bytes(self) -> float:
        return self.batch.nbytes * (1 - self.live / max(1, self.batch.rows))


class WaitingSpans:
    """Rows by the slot of their trace. Whoever has a row owes its receipt: it leaves by `release` only."""

    def __init__(self) -> None:
        self._segments: list[Segment] = []
        self._fresh: list[Segment] = []
        self._marks = np.zeros(1, np.uint64)
        """By slot the marks of the segments in which it has rows, or had."""
        self._fate = np.zeros(1, np.uint8)
        """By slot; not 0 while it is released."""
        self._added = 0
        self.rows = 0
        """Rows that wait."""
        self.nbytes = 0
        """Arrow's size of all that is held, dead rows included."""

    @property
    def waiting_bytes(self) -> float:
        """Arrow's size of the rows that wait, about."""
        return self.nbytes - sum(segment.dead_bytes for segment in self._every())

    def add(self, batch: Batch, slots: Slots) -> None:
        """Take over a batch; rows with NO_SLOT are not wanted, and were settled or counted by the caller."""
        segment = self._segment(batch, slots, int(np.count_nonzero(slots)))
        self.rows += segment.live
        if batch.rows >= _SMALL_ROWS:
            self._segments.append(segment)
        else:
            self._fresh.append(segment)
            if len(self._fresh) >= _FRESH_BATCHES or sum(one.batch.rows for one in self._fresh) >= 2 * _SMALL_ROWS:
                self._put_together()

    def release(self, slots: Rows, fate: npt.NDArray[np.uint8]) -> list[tuple[Batch, Slots]]:
        """Take out the rows of distinct slots; `fate` is KEEP or one of REASONS to drop rows for.

        Returns the rows to keep with their slots, in the order in which they came.
        """
        found = self._having(slots)
        self._marks[slots] = 0
        self._fate[slots] = fate
        given = [number for number in np.unique(fate).tolist() if number != KEEP]
        released = []
        for segment in found:
            of_row = self._fate[segment.slots]
            gone = int(np.count_nonzero(of_row))
            if gone == 0:
                continue
            self.rows -= gone
            segment.live -= gone
            for number in given:
                segment.batch.receipt.drop(int(np.count_nonzero(of_row == number)), REASONS[number])
            kept = np.flatnonzero(of_row == KEEP)
            if segment.live == 0:
                self.nbytes -= segment.batch.nbytes + segment.slots.nbytes
                released.append((taken(segment.batch, kept, segment.batch.receipt), segment.slots[kept]))
                continue
            if len(kept):
                own, rest = segment.batch.receipt.split(2)
                released.append((taken(segment.batch, kept, own), segment.slots[kept]))
                segment.batch = segment.batch.owing(rest)
            segment.slots[of_row > 0] = NO_SLOT
        self._fate[slots] = 0
        self._segments = [segment for segment in self._segments if segment.live]
        self._fresh = [segment for segment in self._fresh if segment.live]
        return released

    def tidy(self) -> None:
        """Free memory of dead rows where it is too much."""
        self.compact(max(_LITTLE_BYTES, _SPARE * self.waiting_bytes))

    def compact(self, spare: float = 0.0) -> None:
        """Free the memory of dead rows where they have more than `spare` bytes, beginning where there are most."""
        dead = sum(segment.dead_bytes for segment in self._every())
        if dead <= spare:
            return
        for segment in sorted(self._every(), key=lambda one: one.live / max(1, one.batch.rows)):
            if dead <= _ENOUGH * spare or segment.live == segment.batch.rows:
                break
            dead -= segment.dead_bytes
            self.nbytes -= segment.batch.nbytes + segment.slots.nbytes
            rows = np.flatnonzero(segment.slots)
            segment.batch = taken(segment.batch, rows, segment.batch.receipt)
            segment.slots = segment.slots[rows]
            self.nbytes += segment.batch.nbytes + segment.slots.nbytes

    def rows_of(self, slots: npt.NDArray[np.int64], mask: npt.NDArray[np.bool_]) -> Iterator[tuple[Segment, Rows]]:
        """Yield the rows of `slots`, which are in `mask` too, by segment; nothing is taken out."""
        for segment in self._having(slots):
            rows = np.flatnonzero(mask[segment.slots])
            if len(rows):
                yield segment, rows

    def move(self, segment: Segment, rows: Rows, slots: Slots) -> None:
        """Give rows to other slots."""
        segment.slots[rows] = slots
        self._mark(slots, segment.mark)

    def _every(self) -> list[Segment]:
        return [*self._segments, *self._fresh]

    def _segment(self, batch: Batch, slots: Slots, live: int) -> Segment:
        mark = np.uint64(1 << self._added % _MARKS)
        self._added += 1
        self._mark(slots, mark)
        self.nbytes += batch.nbytes + slots.nbytes
        return Segment(batch.held(batch.receipt), slots, live, mark)

    def _mark(self, slots: Slots, mark: np.uint64) -> None:
        self._make_room(slots)
        self._marks[slots] |= mark

    def _make_room(self, slots: npt.NDArray[np.integer[Any]]) -> None:
        old = len(self._marks)
        if (last := int(slots.max(initial=0))) >= old:
            self._marks, self._fate = np.resize(self._marks, 2 * last + 1), np.resize(self._fate, 2 * last + 1)
            self._marks[old:], self._fate[old:] = 0, 0

    def _having(self, slots: Rows) -> list[Segment]:
        """Return the segments that may have rows of these slots."""
        self._make_room(slots)
        found = np.bitwise_or.reduce(self._marks[slots])
        return [segment for segment in self._every() if segment.mark & found]

    def _put_together(self) -> None:
        parts, self._fresh = self._fresh, []
        self.nbytes -= sum(part.batch.nbytes + part.slots.nbytes for part in parts)
        slots = np.concatenate([part.slots for part in parts])
        self._segments.append(
            self._segment(concat(part.batch for part in parts), slots, sum(part.live for part in parts))
        )


def taken(batch: Batch, rows: Rows, receipt: Receipt) -> Batch:
    """Return rows under a receipt, with the rows of the side tables that they need and no others."""
    if len(rows) == batch.rows:
        return Batch(batch.kind, batch.table, receipt, batch.sides)
    table = batch.table.take(rows)
    sides = {}
    for name, side in batch.sides.items():
        used, inverse = np.unique(table.column(name).to_numpy(), return_inverse=True)
        used = used.astype(np.int64)
        if len(used) == side.num_rows:
            sides[name] = side
            continue
        sides[name] = side.take(used).combine_chunks()
        position = table.schema.get_field_index(name)
        table = table.set_column(position, table.schema.field(position), pa.array(inverse.astype(np.int32)))
    return Batch(batch.kind, table.combine_chunks(), receipt, sides)
