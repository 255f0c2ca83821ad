"""Batch: what flows. An immutable Arrow table of one kind, its side tables and its receipt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.kinds import SHAPES, Kind
from pipeline.receipt import Receipt

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Rows of one kind.

    `table` has the kind's schema, every column in one chunk. `sides` holds what rows share; the column of the same name
    in `table` is the row number there. Whoever has the batch owes its receipt.
    """

    kind: Kind
    table: pa.Table
    receipt: Receipt
    sides: Mapping[str, pa.Table] = field(default_factory=lambda: MappingProxyType({}))
    nbytes: int = field(init=False)
    """Arrow's size of rows and side tables."""
    _made: dict[Callable[[Batch], Any], Any] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "nbytes", self.table.nbytes + sum(side.nbytes for side in self.sides.values()))

    @property
    def rows(self) -> int:
        return self.table.num_rows

    @property
    def items(self) -> str:
        """What the Collector's own metrics call a row: `spans`, `metric_points`, `log_records`."""
        return SHAPES[self.kind].items

    def column(self, name: str) -> pa.Array[Any]:
        """Return a column as one array."""
        return one_array(self.table.column(name))

    def side(self, name: str, column: str) -> pa.Array[Any]:
        """Return a column of a side table, one value a row of this batch."""
        return one_array(self.sides[name].column(column)).take(self.column(name))

    def once(self, make: Callable[[Batch], T]) -> T:
        """Return what `make` makes of the rows: made once, however many components ask in turn.

        It is not in `nbytes`; who keeps rows for longer keeps them as `held`.
        """
        if make not in self._made:
            self._made[make] = make(self)
        made: T = self._made[make]
        return made

    def owing(self, receipt: Receipt) -> Batch:
        """Return the same rows under another receipt; unlike a new batch they are not measured again."""
        other = copy(self)
        object.__setattr__(other, "receipt", receipt)
        return other

    def held(self, receipt: Receipt) -> Batch:
        """Return the same rows like `owing`, without what was made of them `once`."""
        other = self.owing(receipt)
        object.__setattr__(other, "_made", {})
        return other

    def keep(self, mask: pa.BooleanArray | pa.ChunkedArray[Any], reason: str) -> Batch:
        """Return the rows where `mask` is true; the others are dropped on purpose, counted under `reason`."""
        kept = self.table.filter(mask)
        self.receipt.drop(self.rows - kept.num_rows, reason)
        return Batch(self.kind, kept, self.receipt, self.sides)

    def with_table(self, table: pa.Table) -> Batch:
        """Return the batch with other rows or values under the same receipt."""
        return Batch(self.kind, table, self.receipt, self.sides)

    def split_rows(self, limit: int) -> list[Batch]:
        """Return parts of at most `limit` rows, in order; nothing is copied."""
        return self.split_at(range(limit, self.rows, limit))

    def split_at(self, bounds: Sequence[int]) -> list[Batch]:
        """Return the parts between the row numbers in `bounds`, in order; nothing is copied."""
        if not bounds:
            return [self]
        starts, ends = [0, *bounds], [*bounds, self.rows]
        receipts = self.receipt.split(len(starts))
        return [
            Batch(self.kind, self.table.slice(start, end - start), receipt, self.sides)
            for start, end, receipt in zip(starts, ends, receipts, strict=True)
        ]

    def copies(self, number: int) -> list[Batch]:
        """Return the same rows `number` times, each copy owing its own share; all keep the token."""
        return [self.held(receipt) for receipt in self.receipt.copies(number)]

    def branches(self, number: int) -> list[Batch]:
        """Return the same rows for `number` flows that may change them: each has a token of its own."""
        return [self.owing(receipt) for receipt in self.receipt.split(number)]

    @classmethod
    def joined(cls, parts: Sequence[Batch]) -> Batch:
        """Return one batch with the rows of all, for `concat`."""
        first = parts[0]
        tables = [part.table for part in parts]
        sides = {}
        for name in first.sides:
            lengths = [part.sides[name].num_rows for part in parts]
            shifts = np.concatenate([[0], np.cumsum(lengths[:-1])])
            tables = [_shifted(table, name, int(shift)) for table, shift in zip(tables, shifts, strict=True)]
            sides[name] = pa.concat_tables([part.sides[name] for part in parts]).combine_chunks()
        table = pa.concat_tables(tables).combine_chunks()
        return Batch(first.kind, table, Receipt.merge(part.receipt for part in parts), sides)


def one_array(column: pa.ChunkedArray[Any]) -> pa.Array[Any]:
    """Return the column as one array; free where it has one chunk."""
    # pyarrow-stubs calls the result of combine_chunks() a ChunkedArray
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()  # type: ignore[return-value]


def concat(batches: Iterable[Batch]) -> Batch:
    """Return one batch with the rows of all (at least one, all of one kind), in order."""
    parts = list(batches)
    return parts[0] if len(parts) == 1 else type(parts[0]).joined(parts)


def _shifted(table: pa.Table, name: str, shift: int) -> pa.Table:
    if shift == 0:
        return table
    position = table.schema.get_field_index(name)
    moved = pc.add(table.column(position), pa.scalar(shift, pa.int32()))
    return table.set_column(position, table.schema.field(position), moved)
