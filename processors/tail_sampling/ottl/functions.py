"""The functions of OTTL that conditions may call; source: the Collector's `pkg/ottl/ottlfuncs`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.hashing import words_of
from processors.tail_sampling.ottl.paths import Rows
from processors.tail_sampling.ottl.values import Error, Value
from processors.tail_sampling.spans import EventColumns, Truths, truths

Expression = Callable[[Rows], tuple[Value, Error]]
_Function = Callable[[Sequence[Expression], Sequence[str | None]], Expression]


def _bools(found: Truths) -> Value:
    return Value(len(found), bools=found, is_bool=np.ones(len(found), np.bool_))


def _number_of(name: str, arguments: Sequence[Expression], wanted: int) -> None:
    if len(arguments) != wanted:
        raise ValueError(f'function "{name}" takes {wanted} argument{"s" * (wanted != 1)}, has {len(arguments)}')


def _as_text(value: Value) -> Any:
    """Return text as it is and numbers and truth values written out; null for the rest."""
    text = value.text if value.text is not None else pa.nulls(value.rows, pa.string())
    for mask, numbers in (("is_int", value.ints), ("is_double", value.doubles), ("is_bool", value.bools)):
        if numbers is not None and value.mask(mask).any():
            text = pc.if_else(pa.array(value.mask(mask)), pa.array(numbers).cast(pa.string()), text)
    return text


def _is_match(arguments: Sequence[Expression], raw: Sequence[str | None]) -> Expression:
    _number_of("IsMatch", arguments, 2)
    pattern = raw[1]
    if pattern is None:
        raise ValueError('the second argument of "IsMatch" must be a pattern in quotes')
    try:
        pc.match_substring_regex(pa.array([""]), pattern=pattern)
    except pa.ArrowInvalid as error:
        raise ValueError(str(error).rstrip(".")) from error

    def is_match(rows: Rows) -> tuple[Value, Error]:
        value, error = arguments[0](rows)
        return _bools(truths(pc.match_substring_regex(_as_text(value), pattern=pattern))), error

    return is_match


def _text_test(name: str, test: Callable[..., Any]) -> _Function:
    def make(arguments: Sequence[Expression], raw: Sequence[str | None]) -> Expression:
        _number_of(name, arguments, 2)
        part = raw[1]
        if part is None:
            raise ValueError(f'the second argument of "{name}" must be text in quotes')

        def found(rows: Rows) -> tuple[Value, Error]:
            value, error = arguments[0](rows)
            text = value.text if value.text is not None else pa.nulls(value.rows, pa.string())
            return _bools(truths(test(text, pattern=part))), error | ~value.is_text

        return found

    return make


def _type_test(name: str, mask: Callable[[Value], Truths]) -> _Function:
    def make(arguments: Sequence[Expression], raw: Sequence[str | None]) -> Expression:
        _number_of(name, arguments, 1)

        def is_of_type(rows: Rows) -> tuple[Value, Error]:
            value, error = arguments[0](rows)
            return _bools(mask(value)), error

        return is_of_type

    return make


def _text_change(name: str, change: Callable[[Any], Any]) -> _Function:
    def make(arguments: Sequence[Expression], raw: Sequence[str | None]) -> Expression:
        _number_of(name, arguments, 1)

        def changed(rows: Rows) -> tuple[Value, Error]:
            value, error = arguments[0](rows)
            text = value.text if value.text is not None else pa.nulls(value.rows, pa.string())
            return Value(value.rows, text=change(text)), error | ~value.is_text

        return changed

    return make


def _len(arguments: Sequence[Expression], raw: Sequence[str | None]) -> Expression:
    _number_of("Len", arguments, 1)

    def length(rows: Rows) -> tuple[Value, Error]:
        value, error = arguments[0](rows)
        text = value.text if value.text is not None else pa.nulls(value.rows, pa.string())
        lengths = pc.binary_length(text).fill_null(0).to_numpy().astype(np.int64)
        return Value(value.rows, ints=lengths, is_int=value.is_text), error | ~value.is_text

    return length


def _is_root_span(arguments: Sequence[Expression], raw: Sequence[str | None]) -> Expression:
    _number_of("IsRootSpan", arguments, 0)

    def is_root(rows: Rows) -> tuple[Value, Error]:
        spans = rows.spans if isinstance(rows, EventColumns) else rows
        roots = words_of(spans.column("parent_span_id"), 8)[:, 0] == 0
        found = roots[rows.parents] if isinstance(rows, EventColumns) else roots
        return _bools(found), np.zeros(len(rows), np.bool_)

    return is_root


FUNCTIONS: Final[Mapping[str, _Function]] = {
    "HasPrefix": _text_test("HasPrefix", pc.starts_with),
    "HasSuffix": _text_test("HasSuffix", pc.ends_with),
    "IsBool": _type_test("IsBool", lambda value: value.mask("is_bool")),
    "IsDouble": _type_test("IsDouble", lambda value: value.mask("is_double")),
    "IsInt": _type_test("IsInt", lambda value: value.mask("is_int")),
    "IsMatch": _is_match,
    "IsRootSpan": _is_root_span,
    "IsString": _type_test("IsString", lambda value: value.is_text),
    "Len": _len,
    "ToLowerCase": _text_change("ToLowerCase", pc.utf8_lower),
    "ToUpperCase": _text_change("ToUpperCase", pc.utf8_upper),
}
