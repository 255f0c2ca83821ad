"""Scalars as the text that JSON has for them, a column at a time; null stays null."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import Column, Ints

_ESCAPED: Final = np.zeros(256, np.bool_)
_ESCAPED[:32] = _ESCAPED[[ord('"'), ord("\\")]] = True
"""The bytes that may not stand in a JSON string as they are (RFC 8259, section 7)."""


def glued(*parts: str | Column) -> Column:
    """Return the parts put together row by row; null where any is."""
    texts = [pa.scalar(part) if isinstance(part, str) else part for part in parts]
    return pc.binary_join_element_wise(*texts, pa.scalar(""), null_handling="emit_null")


def escaped(strings: Column) -> Column:
    """Return strings as they stand between the quotes of JSON."""
    rows = _rows_to_escape(strings)
    if len(rows) == 0:
        return strings
    taken = mapped(strings.take(pa.array(rows)), lambda text: orjson.dumps(text)[1:-1].decode(), pa.string())
    mask = np.zeros(len(strings), np.bool_)
    mask[rows] = True
    return pc.replace_with_mask(strings, pa.array(mask), taken)


def quoted(strings: Column) -> Column:
    return glued('"', escaped(strings), '"')


def base64_text(values: Column) -> Column:
    """Return binary values in standard base64 with padding."""
    return mapped(values, lambda value: base64.b64encode(value).decode(), pa.string())


def number_text(numbers: Column) -> Column:
    """Return doubles as protobuf's JSON has them: the shortest digits that read back equal, or `"NaN"` and its like."""
    text = numbers.cast(pa.string())
    values = numbers.to_numpy(zero_copy_only=False)
    odd = ~np.isfinite(values) | ((values == 0) & np.signbit(values))
    if not odd.any():
        return text
    # JSON readers take -0 for an integer, which has no sign
    written = {"nan": '"NaN"', "inf": '"Infinity"', "-inf": '"-Infinity"', "-0": "-0.0"}
    return mapped(text, lambda number: written.get(number, number), pa.string())


def mapped(values: Column, function: Callable[[Any], Any], type_: pa.DataType) -> Column:
    """Return `function` of each value that is not null, called once a distinct value."""
    encoded = values.dictionary_encode()
    results = pa.array([function(value) for value in encoded.dictionary.to_pylist()], type_)
    return results.take(encoded.indices)


def _rows_to_escape(strings: Column) -> Ints:
    _, starts, data = strings.buffers()
    if starts is None or data is None or len(strings) == 0:
        return np.zeros(0, np.int64)
    offsets = np.frombuffer(starts, np.int32)[strings.offset : strings.offset + len(strings) + 1]
    first, last = int(offsets[0]), int(offsets[-1])
    found = np.flatnonzero(_ESCAPED[np.frombuffer(data, np.uint8, last - first, first)]) + first
    return np.unique(np.searchsorted(offsets, found, side="right") - 1)
