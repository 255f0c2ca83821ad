"""The spans that wait: whole batches as they came, beside them which trace each row is of.

A batch is not taken apart when it comes. When traces are decided, the rows of those that are kept are taken out; the
rows of the others die where they are, and their memory is freed when enough of it has gathered (`compact`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline import Batch, Receipt, concat

Slots = npt.NDArray[np.int32]

NO_SLOT = 0
"""The slot of rows that wait no more."""

_SMALL_ROWS = 4096
"""Batches below this are put together: an Arrow table of a few rows takes more for itself than for them."""

_FRESH_BATCHES = 64
_SPARE = 0.26
_LEAST_SPARE = 0.08
"""What is held beside the rows that wait, dead rows and the columns of traces, is to have these shares of their memory
at most. Copying rows to free that of others is what deciding costs most for."""

_LITTLE_BYTES = 1 << 18
"""Dead rows of less than this are not worth looking after."""

_ENOUGH = 0.85
"""Of the bytes that dead rows may take so much is left by a compaction: the next one is not due at once."""


@dataclass(slots=True, eq=False)
class _Segment:
    batch: Batch
    slots: Slots
    live: int

    @property
    def dead_bytes(self) -> float:
        return self.batch.nbytes * (1 - self.live / max(1, self.batch.rows))


class WaitingSpans:
    """Rows by the slot of their trace. Whoever has a row owes its receipt: it leaves by `release` only."""

    def __init__(self) -> None:
        self._segments: list[_Segment] = []
        self._fresh: list[_Segment] = []
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
        live = int(np.count_nonzero(slots))
        segment = _Segment(batch, slots, live)
        self.rows += live
        self.nbytes += batch.nbytes + slots.nbytes
        if batch.rows >= _SMALL_ROWS:
            self._segments.append(segment)
        else:
            self._fresh.append(segment)
            if len(self._fresh) >= _FRESH_BATCHES or sum(one.batch.rows for one in self._fresh) >= 2 * _SMALL_ROWS:
                self._put_together()

    def release(self, wanted: npt.NDArray[np.uint8], reasons: dict[int, str]) -> Iterable[tuple[Batch, Slots]]:
        """Take out rows: `wanted[slot]` is 0 to wait on, 1 to keep, and a number of `reasons` to be dropped.

        Yields the rows to keep with their slots, in the order in which they came.
        """
        left = []
        given = [number for number in reasons if (wanted == number).any()]
        for segment in self._every():
            fate = wanted[segment.slots]
            gone = int(np.count_nonzero(fate))
            if gone == 0:
                left.append(segment)
                continue
            self.rows -= gone
            for number in given:
                segment.batch.receipt.drop(int(np.count_nonzero(fate == number)), reasons[number])
            kept = np.flatnonzero(fate == 1)
            slots = segment.slots[kept]
            segment.live -= gone
            if segment.live == 0:
                self.nbytes -= segment.batch.nbytes + segment.slots.nbytes
                yield taken(segment.batch, kept, segment.batch.receipt), slots
                continue
            segment.slots[fate > 0] = NO_SLOT
            left.append(segment)
            if len(kept):
                own, rest = segment.batch.receipt.split(2)
                yield taken(segment.batch, kept, own), slots
                segment.batch = Batch(segment.batch.kind, segment.batch.table, rest, segment.batch.sides)
        fresh = set(map(id, self._fresh))
        self._fresh = [segment for segment in left if id(segment) in fresh]
        self._segments = [segment for segment in left if id(segment) not in fresh]

    def tidy(self, *, beside: int) -> None:
        """Free memory of dead rows where it is too much; `beside` is what else is held for those that wait."""
        waiting = self.waiting_bytes
        self.compact(max(_LITTLE_BYTES, _LEAST_SPARE * waiting, _SPARE * waiting - beside))

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

    def rows_of(self, wanted: npt.NDArray[np.bool_]) -> Iterable[tuple[int, Batch, npt.NDArray[np.int64]]]:
        """Yield (number of the segment, its batch, rows there) of the slots in `wanted`; nothing is taken out."""
        for number, segment in enumerate(self._every()):
            rows = np.flatnonzero(wanted[segment.slots])
            if len(rows):
                yield number, segment.batch, rows

    def slots_of(self, number: int, rows: npt.NDArray[np.int64]) -> Slots:
        """Return the slots of rows of a segment, as `rows_of` numbers it."""
        return self._every()[number].slots[rows]

    def move(self, number: int, rows: npt.NDArray[np.int64], slots: Slots) -> None:
        """Give rows of a segment, as `rows_of` numbers it, to other slots."""
        self._every()[number].slots[rows] = slots

    def _every(self) -> list[_Segment]:
        return [*self._segments, *self._fresh]

    def _put_together(self) -> None:
        parts, self._fresh = self._fresh, []
        self.nbytes -= sum(part.batch.nbytes + part.slots.nbytes for part in parts)
        batch = concat(part.batch for part in parts)
        whole = _Segment(batch, np.concatenate([part.slots for part in parts]), sum(part.live for part in parts))
        self.nbytes += batch.nbytes + whole.slots.nbytes
        self._segments.append(whole)


def taken(batch: Batch, rows: npt.NDArray[np.int64], receipt: Receipt) -> Batch:
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
