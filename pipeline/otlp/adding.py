"""Adds attributes to some rows of a list column; the others keep theirs. No loop over rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.arrays import nest, offsets_of, unnest
from pipeline.kinds import ANY_VALUE, ATTRIBUTES

Group: TypeAlias = Sequence[tuple[str, str | bool | float]]
"""Attributes that some rows get: keys with text, truth values or numbers (an int is an integer, a float a double)."""

_ITEM: Final = ATTRIBUTES.value_field


def with_attributes(lists: Any, rows: npt.NDArray[Any], numbers: npt.NDArray[Any], groups: Sequence[Group]) -> Any:
    """Return `lists` (of kinds.ATTRIBUTES) where row `rows[i]` has `groups[numbers[i]]` behind its own attributes.

    `rows` are distinct and ascend.
    """
    offsets, items = unnest(lists)
    fresh = _items(groups)
    bounds = offsets_of(np.array([len(group) for group in groups], np.int64))
    growth = np.diff(bounds)[numbers]
    added = np.zeros(len(lists), np.int64)
    added[rows] = growth
    lengths = np.diff(offsets)
    grown = offsets_of(lengths + added)

    source = np.empty(int(grown[-1]), np.int64)
    old = np.arange(len(items))
    source[old + np.repeat(offsets_of(added)[:-1], lengths)] = old
    within = np.arange(int(growth.sum())) - np.repeat(offsets_of(growth)[:-1], growth)
    source[np.repeat(grown[1:][rows] - growth, growth) + within] = (
        len(items) + np.repeat(bounds[:-1][numbers], growth) + within
    )
    return nest(grown, _taken(items, fresh, pa.array(source)), _ITEM)


def _items(groups: Sequence[Group]) -> Any:
    """Return the attributes of all groups, one after the other; they are few, as verdicts are."""
    pairs = [pair for group in groups for pair in group]
    children_of: dict[str, tuple[type, Any]] = {
        "string_value": (str, pa.string()),
        "bool_value": (bool, pa.bool_()),
        "int_value": (int, pa.int64()),
        "double_value": (float, pa.float64()),
    }
    set_: dict[str, Any] = {
        name: pa.array([value if type(value) is kind else None for _, value in pairs], type_)
        for name, (kind, type_) in children_of.items()
    }
    children = [set_.get(field.name, pa.nulls(len(pairs), field.type)) for field in ANY_VALUE]
    values = pa.StructArray.from_arrays(children, fields=list(ANY_VALUE))
    return pa.StructArray.from_arrays(
        [pa.array([key for key, _ in pairs], pa.string()), values], fields=list(_ITEM.type)
    )


def _taken(old: Any, fresh: Any, source: Any) -> Any:
    """Return rows of `old` and `fresh` as if one stood behind the other; of structs child by child.

    Nearly every child of ANY_VALUE is null from end to end, and such a child costs nothing.
    """
    type_ = old.type
    if old.null_count == len(old) and fresh.null_count == len(fresh):
        return pa.nulls(len(source), type_)
    if not pa.types.is_struct(type_):
        return pa.concat_arrays([old, fresh]).take(source)
    children = [_taken(old.field(field.name), fresh.field(field.name), source) for field in type_]
    mask = None
    if old.null_count or fresh.null_count:
        mask = pa.concat_arrays([old.is_null(), fresh.is_null()]).take(source)
    return pa.StructArray.from_arrays(children, fields=list(type_), mask=mask)
