"""Columns of JSON scalars -> Arrow, under protobuf's rules for JSON, with errors that name the place of the bad value.

A column whose values are all of one JSON type is converted as a whole. One by one is the way for mixed columns, and for
finding the culprit once the whole has failed.
"""

from __future__ import annotations

import binascii
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
from google.protobuf.descriptor import FieldDescriptor

from pipeline.arrays import Column, Ints, parents_of
from pipeline.errors import Malformed
from pipeline.otlp.descriptors import Field

_INTEGER: Final = re.compile(r"-?[0-9]{1,20}")
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_EXACT: Final = 2**53
"""JSON numbers with a fraction or exponent are doubles to the parser; from here on they may not be what was written."""

_NOT_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

_WORDS: Final = {
    FieldDescriptor.TYPE_STRING: "a string",
    FieldDescriptor.TYPE_BOOL: "true or false",
    FieldDescriptor.TYPE_DOUBLE: 'a number, "NaN", "Infinity" or "-Infinity"',
}
_JSON_TYPES: Final[dict[type, str]] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where the values of a column stood in the JSON: enough to name any of them, at no cost until one is bad."""

    name: str = ""
    above: Place | None = None
    rows_above: Ints | None = None
    """For each value its row in `above`; None where they are the same."""

    numbers: Ints | None = None
    """For each value its number in its list; None where it is in none."""

    depth: int = 0

    def below(self, name: str) -> Place:
        """Return the place of a member of every object here."""
        return Place(name, self, depth=self.depth + 1)

    def items(self, offsets: Ints) -> Place:
        """Return the place of the items of the lists here."""
        rows = parents_of(offsets)
        return replace(self, rows_above=rows, numbers=np.arange(len(rows)) - offsets[:-1][rows])

    def only(self, rows: Ints) -> Place:
        """Return the place of those values that are in `rows`; not for items of lists."""
        return replace(self, rows_above=rows)

    def path(self, row: int) -> str:
        """Return the name of one value, as `resourceSpans[0].scopeSpans[0].spans[3].name`."""
        if self.above is None:
            return ""
        above = self.above.path(row if self.rows_above is None else int(self.rows_above[row]))
        number = "" if self.numbers is None else f"[{self.numbers[row]}]"
        return f"{above}{'.' if above else ''}{self.name}{number}"


def check_types(place: Place, values: Sequence[Any], allowed: frozenset[type], what: str) -> None:
    """Raise Malformed for the first value of another JSON type; `what` says what would be right."""
    if set(map(type, values)) <= allowed:
        return
    row, value = next((row, value) for row, value in enumerate(values) if type(value) not in allowed)
    raise Malformed(f"{place.path(row)}: should be {what}, is {_JSON_TYPES[type(value)]}")


def scalars(field: Field, values: Sequence[Any], place: Place) -> Column:
    """Return the column of a field from its JSON values; None is absent. Raises Malformed."""
    sent = [value for value in values if value is not None]
    array = _converted(field, values if len(sent) == len(values) else sent)
    if array is None:
        one = _one_by_one(field)
        array = pa.array(
            [_checked(one, field, row, value, place) for row, value in enumerate(values)], field_type(field)
        )
    elif len(sent) < len(values):
        absent = np.array([value is None for value in values])
        array = array.take(pa.array(np.cumsum(~absent) - 1, mask=absent))
    return array if field.column.nullable or not array.null_count else array.fill_null(default_of(field))


def field_type(field: Field) -> pa.DataType:
    """Return the Arrow type of one value of a scalar field."""
    type_: pa.DataType = field.column.type.value_type if field.repeated else field.column.type
    return type_


def default_of(field: Field) -> pa.Scalar[Any]:
    """Return proto3's default value of a scalar field."""
    type_ = field_type(field)
    if pa.types.is_string(type_) or pa.types.is_binary(type_):
        return pa.scalar("" if pa.types.is_string(type_) else b"", type_)
    return pa.scalar(0).cast(type_)


def _converted(field: Field, values: Sequence[Any]) -> Column | None:
    """Return the column, or None if its values are of several JSON types or one of them is bad."""
    kinds = set(map(type, values))
    if field.type == FieldDescriptor.TYPE_DOUBLE and kinds == {int, float}:
        kinds = {float}
    if len(kinds) > 1:
        return None
    (kind,) = kinds or {type(None)}
    try:
        return pa.array(_whole(field, kind, values), field_type(field)) if kind in _accepted(field) else None
    except (ValueError, OverflowError, pa.ArrowInvalid):
        return None


def _whole(field: Field, kind: type, values: Sequence[Any]) -> Sequence[Any]:
    if field.type == FieldDescriptor.TYPE_BYTES and values:
        return list(map(_hex if field.is_id else _base64, values))
    if kind is str and field.type != FieldDescriptor.TYPE_STRING:
        if field.type == FieldDescriptor.TYPE_DOUBLE or not _all_digits(values):
            return list(map(_one_by_one(field), values))
        return list(map(int, values))
    if kind is float and field.type != FieldDescriptor.TYPE_DOUBLE:
        return list(map(_integer, values))
    return values


def _all_digits(texts: Sequence[str]) -> bool:
    together = "".join(texts)
    return together.isascii() and together.isdigit() and max(map(len, texts)) <= 20


def _accepted(field: Field) -> frozenset[type]:
    if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
        return frozenset({str, type(None)})
    if field.type == FieldDescriptor.TYPE_BOOL:
        return frozenset({bool, type(None)})
    return frozenset({int, float, str, type(None)})


def _one_by_one(field: Field) -> Callable[[Any], Any]:
    """Return what converts one value of the field; it raises ValueError."""
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _hex if field.is_id else _base64
    if field.type == FieldDescriptor.TYPE_DOUBLE:
        return _double
    if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BOOL):
        return lambda value: value
    names = field.enum or {}
    return lambda value: names[value] if value in names else _integer(value)


def _checked(one: Callable[[Any], Any], field: Field, row: int, value: Any, place: Place) -> Any:
    if value is None:
        return None
    try:
        converted = _of_type(one, field, value)
    except (ValueError, OverflowError, pa.ArrowInvalid) as error:
        shown = _JSON_TYPES[type(value)] if isinstance(value, dict | list) else repr(value)[:100]
        raise Malformed(f"{place.path(row)}: should be {_what(field)}, is {shown}") from error
    return converted


def _of_type(one: Callable[[Any], Any], field: Field, value: Any) -> Any:
    if type(value) not in _accepted(field):
        raise ValueError(value)
    converted = one(value)
    pa.scalar(converted, field_type(field))  # raises where the value is out of range
    return converted


def _what(field: Field) -> str:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return "hex digits, two a byte" if field.is_id else "base64"
    if field.enum is not None:
        return f"a number or one of {', '.join(field.enum)}"
    return _WORDS.get(field.type) or f"an integer of type {field_type(field)}"


def _hex(text: str) -> bytes:
    return binascii.unhexlify(text)


def _base64(text: str) -> bytes:
    """Read standard and URL-safe base64, with and without padding (the protobuf JSON mapping accepts all four)."""
    standard = text.translate({ord("-"): "+", ord("_"): "/"}).rstrip("=")
    return binascii.a2b_base64(standard + "=" * (-len(standard) % 4), strict_mode=True)


def _integer(value: Any) -> int:
    if isinstance(value, str):
        if not _INTEGER.fullmatch(value):
            raise ValueError(value)
    elif isinstance(value, float) and not (value.is_integer() and abs(value) <= _EXACT):
        raise ValueError(value)
    return int(value)


def _double(value: float | str) -> float:
    if not isinstance(value, str):
        return float(value)
    if value in _NOT_FINITE:
        return _NOT_FINITE[value]
    if not _NUMBER.fullmatch(value) or math.isinf(float(value)):
        raise ValueError(value)
    return float(value)
