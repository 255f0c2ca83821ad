"""Arrow and numpy primitives that every codec of ours builds on; they know nothing of OTLP.

Offsets are numpy arrays that start at 0 and are one longer than the rows they describe.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Ints: TypeAlias = npt.NDArray[np.integer[Any]]

Column: TypeAlias = Any
"""An Arrow array whose type is known at run time only: pyarrow-stubs has the kernels for static types alone."""

_HEX = np.frombuffer("".join(f"{byte:02x}" for byte in range(256)).encode(), np.uint16)
"""The two hex digits of a byte, as they lie in memory."""


def unnest(lists: Column) -> tuple[Ints, Column]:
    """Return `(offsets, values)` of a list array: row i has the values from offsets[i] to offsets[i + 1].

    Slices are honoured, null lists are empty and what they cover is left out; without null lists nothing is copied.
    """
    if lists.null_count:
        lengths: Column = pc.list_value_length(lists).fill_null(0)
        return offsets_of(lengths.to_numpy()), lists.flatten()
    if len(lists) == 0:
        return np.zeros(1, np.int32), lists.values.slice(0, 0)
    offsets = lists.offsets.to_numpy()
    first, last = int(offsets[0]), int(offsets[-1])
    values = lists.values
    if first == 0:
        return offsets, values if len(values) == last else values.slice(0, last)
    return offsets - first, values.slice(first, last - first)


def nest(offsets: Ints, values: Column, item: pa.Field[Any] | None = None) -> pa.ListArray[Any]:
    """Return the list array that `unnest` takes apart, its items named and typed as `item` if given."""
    type_ = None if item is None else pa.list_(item)
    bounds: Column = pa.array(offsets.astype(np.int32, copy=False))
    return pa.ListArray.from_arrays(bounds, values, type=type_)


def joined(offsets: Ints, values: Column) -> Column:
    """Return the concatenation of each list of binary values; they lie side by side already, so nothing is copied."""
    _, starts, data = values.buffers()
    if starts is None:
        return pa.array([b""] * (len(offsets) - 1), pa.binary())
    bounds = np.frombuffer(starts, np.int32)[values.offset : values.offset + len(values) + 1]
    return pa.BinaryArray.from_buffers(pa.binary(), len(offsets) - 1, [None, buffer_of(bounds[offsets]), data])


def child(structs: Column, name: str) -> Column:
    """Return a field of a struct array, null where the struct is."""
    return pc.struct_field(structs, name) if structs.null_count else structs.field(name)


def picked(array: Column, rows: Ints) -> Column:
    """Return the values at ascending `rows`; the array itself if these are all."""
    return array if len(rows) == len(array) else array.take(pa.array(rows))


def offsets_of(lengths: npt.NDArray[np.integer[Any] | np.bool_]) -> npt.NDArray[np.int64]:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def lengths_of(values: Column) -> npt.NDArray[np.int64]:
    """Return how many bytes each text or binary value has; 0 for null."""
    if len(values) == 0:
        return np.zeros(0, np.int64)
    bounds = np.frombuffer(values.buffers()[1], np.int32)[values.offset : values.offset + len(values) + 1]
    lengths = np.diff(bounds).astype(np.int64)
    if values.null_count:
        lengths[~values.is_valid().to_numpy(zero_copy_only=False)] = 0
    return lengths


def without_empty(texts: Column) -> Column:
    """Return the texts with null for the empty ones: empty text is absent."""
    empty = lengths_of(texts) == 0
    if np.count_nonzero(empty) == texts.null_count:
        return texts
    return pc.if_else(pa.array(empty), pa.scalar(None, texts.type), texts)


def parents_of(offsets: Ints) -> npt.NDArray[np.int64]:
    """Return the row number of each value."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def ranges(offsets: Ints, rows: Ints) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the places of all values in the lists of `rows`, and for each the number of its row in `rows`."""
    starts = offsets[rows]
    counts = offsets[rows + 1] - starts
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts - ends + counts, counts) + np.arange(total), np.repeat(np.arange(len(rows)), counts)


def first_sight(columns: Sequence[Column]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Number distinct rows in order of first sight.

    `columns` are of one length and of types that dictionary-encode; null equals null. Returns the number of each row,
    and for each number the first row that has it.
    """
    rows = len(columns[0])
    codes, distinct = np.zeros(rows, np.int64), min(rows, 1)
    for column in columns:
        if column.type == pa.string() and _all_empty(column):
            continue
        encoded = column.dictionary_encode(null_encoding="encode")
        values = len(encoded.dictionary)
        if values <= 1:
            continue
        indices = encoded.indices.to_numpy()
        if distinct > 1:
            encoded = pa.array(codes * values + indices).dictionary_encode()
            values, indices = len(encoded.dictionary), encoded.indices.to_numpy()
        # a dictionary has its values in order of first sight
        codes, distinct = indices.astype(np.int64), values
    firsts = np.zeros(distinct, np.int64)
    firsts[codes[::-1]] = np.arange(rows - 1, -1, -1)
    return codes, firsts


def buffer_of(values: npt.NDArray[Any]) -> pa.Buffer:
    """Return the array as it lies in memory."""
    return pa.py_buffer(values)  # type: ignore[arg-type]  # arrays are buffers, which numpy's types do not say on 3.11


def _all_empty(strings: Column) -> bool:
    bounds = np.frombuffer(strings.buffers()[1], np.int32)
    return not strings.null_count and bounds[strings.offset] == bounds[strings.offset + len(strings)]


def changes(*codes: Ints) -> npt.NDArray[np.int64]:
    """Return offsets of the runs of rows that are equal in every one of `codes`."""
    rows = len(codes[0])
    if rows == 0:
        return np.zeros(1, np.int64)
    differs = np.zeros(rows - 1, np.bool_)
    for column in codes:
        differs |= column[1:] != column[:-1]
    return np.concatenate([[0], np.flatnonzero(differs) + 1, [rows]])


def hex_text(ids: Column) -> pa.StringArray:
    """Return the lower-case hex digits of binary values of any length; null stays null."""
    if len(ids) == 0:
        return pa.array([], pa.string())
    validity, offsets_buffer, data = ids.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)[ids.offset : ids.offset + len(ids) + 1]
    first, last = int(offsets[0]), int(offsets[-1])
    digits = _HEX[np.frombuffer(data, np.uint8, last - first, first)] if last > first else _HEX[:0]
    # twice as many characters as bytes: 1 GiB of ids would overflow the offsets, far over any batch
    doubled = (offsets - first) * 2
    mask = None
    if ids.null_count:
        mask = validity if ids.offset == 0 else ids.is_valid().buffers()[1]
    return pa.StringArray.from_buffers(len(ids), buffer_of(doubled), buffer_of(digits), mask, ids.null_count)
