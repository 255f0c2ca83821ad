"""Rows taken out of nested columns, at a third of the price of Arrow's own `take`.

That takes a struct's children one by one, and of the seven kinds of value that an attribute may have most are null in
every row: those are not copied but made.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.arrays import Column, nest, offsets_of, unnest
from pipeline.batch import one_array

Rows = npt.NDArray[np.int64]


def gathered(array: Column, rows: Rows) -> Column:
    """Return the values at `rows`, in that order."""
    if array.null_count == len(array):
        return pa.nulls(len(rows), array.type)
    if pa.types.is_list(array.type) and not array.null_count:
        offsets, items = unnest(array)
        starts = offsets[rows].astype(np.int64)
        lengths = offsets[rows + 1] - starts
        bounds = offsets_of(lengths)
        inner = np.repeat(starts - bounds[:-1], lengths) + np.arange(bounds[-1])
        return nest(bounds, gathered(items, inner), array.type.value_field)
    if pa.types.is_struct(array.type):
        children = [gathered(array.field(number), rows) for number in range(array.type.num_fields)]
        mask = pa.array(~array.is_valid().to_numpy(zero_copy_only=False)[rows]) if array.null_count else None
        return pa.StructArray.from_arrays(children, fields=list(array.type), mask=mask)
    return array.take(pa.array(rows))


def gathered_table(table: pa.Table, rows: Rows) -> pa.Table:
    """Return rows of a table whose columns have one chunk each."""
    columns = [gathered(one_array(column), rows) for column in table.itercolumns()]
    return pa.Table.from_arrays(columns, schema=table.schema)
