"""Values of OTTL expressions, a column at a time, and how two of them compare.

Source: the Collector's `pkg/ottl`, LANGUAGE.md, section "Comparison Rules".
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import Column
from processors.tail_sampling.spans import Truths, truths

Error = Truths
"""Rows where the expression cannot be evaluated."""

_OPERATORS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """One value a row; a row is of one of the types, or nil where all masks are false."""

    rows: int
    text: Column | None = None
    """Null where the row is no text."""
    ints: npt.NDArray[np.int64] | None = None
    is_int: Truths | None = None
    doubles: npt.NDArray[np.float64] | None = None
    is_double: Truths | None = None
    bools: Truths | None = None
    is_bool: Truths | None = None
    is_other: Truths | None = None
    """Bytes, lists and maps: they are there, and equal to nothing."""

    @property
    def is_text(self) -> Truths:
        return np.zeros(self.rows, np.bool_) if self.text is None else truths(self.text.is_valid())

    def mask(self, name: str) -> Truths:
        found = getattr(self, name)
        return np.zeros(self.rows, np.bool_) if found is None else found

    @property
    def is_nil(self) -> Truths:
        there = self.is_text
        for name in ("is_int", "is_double", "is_bool", "is_other"):
            there = there | self.mask(name)
        return ~there

    @property
    def is_number(self) -> Truths:
        return self.mask("is_int") | self.mask("is_double")

    def as_doubles(self) -> npt.NDArray[np.float64]:
        """Return the numbers; 0 where there is none."""
        numbers = np.zeros(self.rows)
        if self.ints is not None:
            numbers[self.mask("is_int")] = self.ints[self.mask("is_int")]
        if self.doubles is not None:
            numbers[self.mask("is_double")] = self.doubles[self.mask("is_double")]
        return numbers


def constant(value: str | bool | float | None, rows: int) -> Value:
    every = np.ones(rows, np.bool_)
    match value:
        case None:
            return Value(rows)
        case bool():
            return Value(rows, bools=np.full(rows, value), is_bool=every)
        case str():
            return Value(rows, text=pa.repeat(value, rows))
        case int():
            return Value(rows, ints=np.full(rows, value, np.int64), is_int=every)
        case float():
            return Value(rows, doubles=np.full(rows, value), is_double=every)


def of_any_values(values: Column) -> Value:
    """Return ANY_VALUEs as they are."""
    rows = len(values)
    if values.null_count == rows:
        return Value(rows)
    valid = truths(values.is_valid())

    def child(name: str) -> tuple[Column, Truths]:
        column = values.field(name)
        return column, truths(column.is_valid()) & valid

    text, is_text = child("string_value")
    ints, is_int = child("int_value")
    doubles, is_double = child("double_value")
    bools, is_bool = child("bool_value")
    other = np.zeros(rows, np.bool_)
    for name in ("array_value", "kvlist_value", "bytes_value"):
        other |= child(name)[1]
    return Value(
        rows,
        text if values.null_count == 0 else pc.if_else(pa.array(is_text), text, pa.scalar(None, pa.string())),
        ints.fill_null(0).to_numpy(),
        is_int,
        doubles.fill_null(0.0).to_numpy(),
        is_double,
        truths(bools),
        is_bool,
        other,
    )


def of_column(column: Column) -> Value:
    """Return a column of texts or numbers."""
    if pa.types.is_string(column.type):
        return Value(len(column), text=column)
    numbers = column.fill_null(0).to_numpy().astype(np.int64)
    return Value(len(column), ints=numbers, is_int=np.ones(len(column), np.bool_))


def taken(value: Value, rows: npt.NDArray[np.int64]) -> Value:
    """Return the values at `rows`."""

    def part(array: Any) -> Any:
        return None if array is None else array[rows]

    return Value(
        len(rows),
        None if value.text is None else value.text.take(pa.array(rows)),
        part(value.ints),
        part(value.is_int),
        part(value.doubles),
        part(value.is_double),
        part(value.bools),
        part(value.is_bool),
        part(value.is_other),
    )


def compared(left: Value, sign: str, right: Value) -> Truths:
    """Return left `sign` right. Values of different types are unequal, and neither is the larger one."""
    compare = _OPERATORS[sign]
    result = np.full(left.rows, sign == "!=")
    both_nil = left.is_nil & right.is_nil
    result[both_nil] = sign in ("==", "<=", ">=")
    if left.text is not None and right.text is not None:
        both = left.is_text & right.is_text
        by_text = {"==": pc.equal, "!=": pc.not_equal, "<": pc.less, "<=": pc.less_equal, ">": pc.greater}
        compared_text = truths(by_text.get(sign, pc.greater_equal)(left.text, right.text))
        result[both] = compared_text[both]
    if left.ints is not None and right.ints is not None:
        both = left.mask("is_int") & right.mask("is_int")
        result[both] = compare(left.ints[both], right.ints[both])
    mixed = left.is_number & right.is_number & ~(left.mask("is_int") & right.mask("is_int"))
    if mixed.any():
        result[mixed] = compare(left.as_doubles()[mixed], right.as_doubles()[mixed])
    if left.bools is not None and right.bools is not None:
        both = left.mask("is_bool") & right.mask("is_bool")
        result[both] = compare(left.bools[both], right.bools[both])
    return result


def calculated(left: Value, sign: str, right: Value) -> tuple[Value, Error]:
    """Return left `sign` right of numbers: ints stay ints; anything else, and a division by 0, is an error."""
    error = ~(left.is_number & right.is_number)
    whole = left.mask("is_int") & right.mask("is_int")
    ints = np.zeros(left.rows, np.int64)
    doubles = np.zeros(left.rows)
    with np.errstate(all="ignore"):
        if left.ints is not None and right.ints is not None:
            a, b = left.ints, right.ints
            if sign == "/":
                error = error | (whole & (b == 0))
                divisor = np.where(b == 0, 1, b)
                # Go truncates toward 0
                ints = np.sign(a) * np.sign(divisor) * (np.abs(a) // np.abs(divisor))
            else:
                ints = {"+": a + b, "-": a - b, "*": a * b}[sign]
        x, y = left.as_doubles(), right.as_doubles()
        doubles = {"+": x + y, "-": x - y, "*": x * y, "/": np.divide(x, np.where(y == 0, 1, y))}[sign]
        if sign == "/":
            error = error | (~whole & (y == 0))
    return Value(left.rows, ints=ints, is_int=whole & ~error, doubles=doubles, is_double=~whole & ~error), error
