"""Attributes read all at once: encoded `KeyValue` messages -> the items of kinds.ATTRIBUTES.

Attributes are most of what a request says, and encoders write all of them in the same form: the key, then the value,
nothing twice and nothing else. In that form a few passes over the whole column find every part of every attribute, at
half the cost of reading them one by one. Any other form, and whatever is broken, is left to who reads field by field.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.arrays import Column, buffer_of
from pipeline.kinds import ANY_VALUE, ATTRIBUTES

Flags: TypeAlias = npt.NDArray[np.bool_]
Octets: TypeAlias = npt.NDArray[np.uint8]
Places: TypeAlias = npt.NDArray[np.int64]

# Tags of opentelemetry/proto/common/v1/common.proto: field number << 3 | wire type.
_KEY, _VALUE = 0x0A, 0x12
_STRING, _BOOL, _INT, _DOUBLE, _ARRAY, _MAP, _BYTES = 0x0A, 0x10, 0x18, 0x21, 0x2A, 0x32, 0x3A
_UNSET: Final = 0
"""Stands for the tag of a value without any field."""

_TAGS: Final = [_UNSET, _STRING, _BOOL, _INT, _DOUBLE, _ARRAY, _MAP, _BYTES]
_SIZED: Final = 2
"""The wire type of what has its size before it."""

_NEVER: Final = 1 << 62
"""A place that no attribute ends at."""


class OtherForm(Exception):
    """Some attribute is written in a form that is not read here; it may be right or wrong."""


def key_values(encoded: Column) -> Column:
    """Return the keys and values of encoded attributes, none of which is null. Raises OtherForm."""
    rows = len(encoded)
    _, offsets, data = encoded.buffers()
    bounds = np.frombuffer(offsets, np.int32)[encoded.offset : encoded.offset + rows + 1].astype(np.int64)
    if bounds[0] == bounds[-1]:
        raise OtherForm
    starts, ends, octets = bounds[:-1], bounds[1:], np.frombuffer(data, np.uint8)

    # Places only grow from here on: what is read beyond an attribute's end cannot end with it.
    key_sizes, keys = _numbers(octets, starts + 1)
    key_ends = keys + key_sizes
    value_sizes, values = _numbers(octets, key_ends + 1)
    _demand(octets.take(starts, mode="clip") == _KEY)
    _demand(octets.take(key_ends, mode="clip") == _VALUE)
    _demand(values + value_sizes == ends)
    _demand(min(key_sizes.min(), value_sizes.min()) >= 0)

    tags = octets.take(values, mode="clip")
    tags[value_sizes == 0] = _UNSET
    counts = np.bincount(tags, minlength=256)
    _demand(counts[_TAGS].sum() == rows)
    places = {tag: np.flatnonzero(tags == tag) for tag in (_UNSET, _BOOL, _DOUBLE) if counts[tag]}
    numbers, contents = _numbers(octets, values + 1)  # the value itself, or the size of what has one
    contents_ends = contents + numbers * ((tags & 7) == _SIZED)
    if _UNSET in places:
        contents[places[_UNSET]] = contents_ends[places[_UNSET]] = values[places[_UNSET]]
    if _BOOL in places:
        _demand(numbers[places[_BOOL]].max() <= 1)
    if _DOUBLE in places:
        contents[places[_DOUBLE]] = values[places[_DOUBLE]] + 1
        contents_ends[places[_DOUBLE]] = values[places[_DOUBLE]] + 9
    _demand((contents <= ends) & (contents_ends == ends))

    parts = _parts(data, keys, key_ends, contents, ends)

    def sized(tag: int) -> Column:
        return _chosen(parts, 2, tags == tag) if counts[tag] else pa.nulls(rows, pa.binary())

    columns = [
        _text(sized(_STRING)),
        _column(numbers == 1, tags == _BOOL) if counts[_BOOL] else pa.nulls(rows, pa.bool_()),
        _column(numbers, tags == _INT) if counts[_INT] else pa.nulls(rows, pa.int64()),
        _doubles(parts, places[_DOUBLE], rows) if counts[_DOUBLE] else pa.nulls(rows, pa.float64()),
        sized(_ARRAY),
        sized(_MAP),
        sized(_BYTES),
    ]
    names = _text(parts.take(pa.array(np.arange(0, len(parts), 4))))
    any_values = pa.StructArray.from_arrays(columns, fields=list(ANY_VALUE))
    return pa.StructArray.from_arrays([names, any_values], fields=list(ATTRIBUTES.value_type))


def _demand(holds: Flags | np.bool_) -> None:
    if not holds.all():
        raise OtherForm


def _numbers(octets: Octets, places: Places) -> tuple[Places, Places]:
    """Return the varints at `places`, as signed numbers of 64 bits, and where each of them ends.

    What is none ends at `_NEVER`.
    """
    first = octets.take(places, mode="clip")
    numbers, ends = (first & 127).astype(np.int64), places + 1
    longer = np.flatnonzero(first > 127)
    for shift in range(7, 64, 7):
        if len(longer) == 0:
            break
        octet = octets.take(ends[longer], mode="clip").astype(np.int64)
        numbers[longer] |= (octet & 127) << shift
        ends[longer] += 1
        longer = longer[octet > (127 if shift < 63 else 1)]
    ends[longer] = _NEVER
    return numbers, ends


def _parts(data: pa.Buffer, *bounds: Places) -> Column:
    """Return `data` cut at the bounds of every row, which are ascending, as one column; nothing is copied."""
    offsets = np.empty(len(bounds) * len(bounds[0]) + 1, np.int32)
    for number, bound in enumerate(bounds):
        offsets[number : -1 : len(bounds)] = bound
    offsets[-1] = offsets[-2]
    return pa.BinaryArray.from_buffers(pa.binary(), len(offsets) - 1, [None, buffer_of(offsets), data])


def _chosen(parts: Column, number: int, present: Flags) -> Column:
    """Return one of the four parts of every row, null where it is not present."""
    return parts.take(_column(np.arange(number, len(parts), 4), present))


def _text(octets: Column) -> Column:
    """Return what was sent as text. Raises OtherForm where it is not UTF-8."""
    text = octets.view(pa.string())
    data = octets.buffers()[2]
    if data is not None and np.frombuffer(data, np.uint8).max(initial=0) > 127:
        try:
            text.validate(full=True)
        except pa.ArrowInvalid as error:
            raise OtherForm from error
    return text


def _doubles(parts: Column, places: Places, rows: int) -> Column:
    values, present = np.zeros(rows), np.zeros(rows, np.bool_)
    values[places] = np.frombuffer(parts.take(pa.array(4 * places + 2)).buffers()[2], "<f8")
    present[places] = True
    return _column(values, present)


def _column(values: npt.NDArray[Any], present: Flags) -> Column:
    """Return the values as they lie, null where they are not present."""
    if values.dtype == np.bool_:
        return pa.array(values, mask=~present)
    validity = buffer_of(np.packbits(present, bitorder="little"))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [validity, buffer_of(values)])
