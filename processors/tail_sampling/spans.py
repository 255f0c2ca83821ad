"""A batch of spans as conditions read it: columns by name, attributes by key, each worked out once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline import Batch
from pipeline.arrays import Column, parents_of, unnest
from pipeline.batch import one_array
from pipeline.columns import attributes, layouts_of

Truths = npt.NDArray[np.bool_]


class SpanColumns:
    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self._attributes: dict[str, Column] = {}
        self._sides: dict[tuple[str, str], Column] = {}
        self._once: dict[object, Any] = {}

    def __len__(self) -> int:
        return self.batch.rows

    def column(self, name: str) -> Column:
        return self.batch.column(name)

    def once(self, what: object, compute: Callable[[], Any]) -> Any:
        """Return what `compute` gives, computed at the first call for `what`."""
        if what not in self._once:
            self._once[what] = compute()
        return self._once[what]

    def attribute(self, key: str) -> Column:
        """Return the ANY_VALUE of each span; null where it has none."""
        if key not in self._attributes:
            self._attributes[key] = layouts_of(self.batch).any_values(key)
        return self._attributes[key]

    def side(self, name: str) -> npt.NDArray[np.int32]:
        """Return the row of each span in the side table `resource` or `scope`."""
        rows: npt.NDArray[np.int32] = self.column(name).to_numpy()
        return rows

    def side_column(self, side: str, column: str) -> Column:
        """Return a column of a side table, a value a row there."""
        return one_array(self.batch.sides[side].column(column))

    def side_attribute(self, side: str, key: str) -> Column:
        """Return an attribute of the rows of a side table."""
        if (side, key) not in self._sides:
            self._sides[side, key] = attributes(self.side_column(side, "attributes"), (key,))[key]
        return self._sides[side, key]

    def where_side(self, side: str, of_side_rows: Callable[[], Truths]) -> Truths:
        """Return for each span what is true of its row in a side table."""
        found = of_side_rows()
        return found[self.side(side)] if found.any() else np.zeros(len(self), np.bool_)


class EventColumns:
    """The events of a batch of spans, a row an event."""

    def __init__(self, spans: SpanColumns) -> None:
        self.spans = spans
        offsets, self._items = unnest(spans.column("events"))
        self.parents = parents_of(offsets)
        """The row of each event's span."""

    def __len__(self) -> int:
        return len(self.parents)

    def column(self, name: str) -> Column:
        return self._items.field(name)

    def attribute(self, key: str) -> Column:
        return attributes(self._items.field("attributes"), (key,))[key]


def truths(mask: Any) -> Truths:
    """Return an Arrow mask as numpy's; null is false."""
    filled = mask.fill_null(False) if mask.null_count else mask
    result: Truths = filled.to_numpy(zero_copy_only=False)
    return result
