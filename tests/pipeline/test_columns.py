"""Column functions against slow, obvious twins."""

from __future__ import annotations

import base64
import decimal
import json
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from pipeline.columns import any_value_text, attribute_texts, attributes, hex_text, texts_at, unnest
from pipeline.kinds import ANY_VALUE, ATTRIBUTES

TEXT = st.text(alphabet='ab"\\\n\x01é𝄞<', max_size=4)
DOUBLES = st.one_of(
    st.sampled_from(
        [0.0, -0.0, 1.0, 1e20, 1e21, -1e21, 123456789012345680.0, 1e-6, 9.9e-7, 5e-324, math.nan, -math.inf]
    ),
    st.floats(),
)
LEAVES = st.one_of(st.none(), TEXT, st.booleans(), st.integers(-(2**63), 2**63 - 1), DOUBLES, st.binary(max_size=5))
PAIRS = st.lists(st.tuples(st.sampled_from(["b", "a", "é", 'q"', ""]), st.deferred(lambda: VALUES)), max_size=4)
VALUES: st.SearchStrategy[Any] = st.recursive(
    LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=3), PAIRS.map(tuple)), max_leaves=6
)
"""None is a value without type, a tuple of pairs is a map."""


def any_value(value: Any) -> AnyValue:
    if value is None:
        return AnyValue()
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=map(any_value, value)))
    if isinstance(value, tuple):
        pairs = [KeyValue(key=key, value=any_value(inner)) for key, inner in value]
        return AnyValue(kvlist_value=KeyValueList(values=pairs))
    names = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value", bytes: "bytes_value"}
    return AnyValue(**{names[type(value)]: value})


def cell(value: Any) -> dict[str, Any]:
    """The value as a row of ANY_VALUE."""
    message = any_value(value)
    name = message.WhichOneof("value")
    if name is None:
        return {}
    content = getattr(message, name)
    return {name: content.SerializeToString() if name in ("array_value", "kvlist_value") else content}


def go_double(value: float) -> str:
    digits = f"{decimal.Decimal(repr(value)):f}" if 1e-6 <= abs(value) < 1e21 else repr(value)
    mantissa, _, exponent = digits.partition("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return mantissa + (f"e{'-' if exponent[0] == '-' else '+'}{exponent.lstrip('+-').lstrip('0')}" if exponent else "")


def go_json(value: Any) -> str:
    """Go's encoding/json of a value without HTML escapes; raises ValueError where it gives an error."""
    if isinstance(value, list):
        return f"[{','.join(map(go_json, value))}]"
    if isinstance(value, tuple):
        members = {key: go_json(inner) for key, inner in dict(value).items()}
        return "{" + ",".join(f"{go_json(key)}:{members[key]}" for key in sorted(members, key=str.encode)) + "}"
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(value)
        return go_double(value)
    if isinstance(value, bytes):
        return f'"{base64.b64encode(value).decode()}"'
    return json.dumps(value, ensure_ascii=False)


def as_string(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, float) and not math.isfinite(value):
        name = "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
        return f"json: unsupported value: {name}"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    try:
        return go_json(value)
    except ValueError:
        return ""


@settings(max_examples=200)
@given(st.lists(VALUES, max_size=6), st.integers(0, 3))
def test_any_value_text(values: list[Any], skipped: int) -> None:
    """Scenario: values of all types, nested, sliced, some null. Guarantees: the text of a value-by-value reading."""
    cells = pa.array([cell(value) for value in values] + [None], ANY_VALUE).slice(skipped)

    expected = ([as_string(value) for value in values] + [""])[skipped:]
    assert any_value_text(cells).to_pylist() == expected


@given(st.lists(VALUES | TEXT, min_size=1, max_size=6), st.booleans(), st.data())
def test_texts_at_places(values: list[Any], with_null: bool, data: st.DataObject) -> None:
    """Scenario: values of all types at any places, twice or nowhere. Guarantees: their text, null where it is empty."""
    cells = pa.array([cell(value) for value in values] + [None] * with_null, ANY_VALUE)
    places = data.draw(st.lists(st.integers(-1, len(cells) - 1)))

    texts = [*map(as_string, values), *[""] * with_null]
    expected = [(texts[place] or None) if place >= 0 else None for place in places]
    assert texts_at(cells, np.array(places, np.int64)).to_pylist() == expected


@given(
    st.lists(st.none() | st.lists(st.tuples(st.sampled_from("abc"), VALUES | TEXT), max_size=4), min_size=1), st.data()
)
def test_attribute_texts(lists: list[Any], data: st.DataObject) -> None:
    """Scenario: attributes, equal keys and null lists among them, of some rows.

    Guarantees: the first of equal keys as text, null where the row has none or has it empty.
    """
    column = pa.array(
        [None if pairs is None else [{"key": key, "value": cell(value)} for key, value in pairs] for pairs in lists],
        ATTRIBUTES,
    )
    rows = data.draw(st.lists(st.integers(0, len(lists) - 1)))

    found = attribute_texts(column, np.array(rows, np.int64), ["a", "missing", "b"])

    firsts = [{key: as_string(value) for key, value in reversed(lists[row] or [])} for row in rows]
    for key, texts in zip(("a", "missing", "b"), found, strict=True):
        assert texts.to_pylist() == [first.get(key) or None for first in firsts]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("text", "text"),
        (True, "true"),
        (-7, "-7"),
        (1.0, "1"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (0.000001, "0.000001"),
        (0.0000001, "1e-7"),
        (1.5e300, "1.5e+300"),
        (-0.0, "-0"),
        (math.nan, "json: unsupported value: NaN"),
        (b"\xff\xfe", "//4="),
        ([1, "a", None, [b""]], '[1,"a",null,[""]]'),
        ((("b", 1), ("a", "<&>"), ("b", 2)), '{"a":"<&>","b":2}'),
        ([math.inf], ""),
        (None, ""),
    ],
)
def test_texts_of_the_collector(value: Any, text: str) -> None:
    """Scenario: one value of each sort. Guarantees: the text of `pcommon.Value.AsString`, HTML escapes apart."""
    assert any_value_text(pa.array([cell(value)], ANY_VALUE)).to_pylist() == [text]
    assert as_string(value) == text


KEYS = st.sampled_from(["a", "b", "c", ""])
ROWS = st.lists(
    st.one_of(st.none(), st.lists(st.tuples(KEYS, st.one_of(st.just("absent"), LEAVES)), max_size=4)), max_size=6
)


def attribute_lists(rows: list[Any]) -> Any:
    return pa.array(
        [
            row
            if row is None
            else [{"key": key, "value": None if value == "absent" else cell(value)} for key, value in row]
            for row in rows
        ],
        ATTRIBUTES,
    )


@settings(max_examples=150)
@given(ROWS, st.integers(0, 3), st.integers(0, 6))
def test_attributes(rows: list[Any], skipped: int, taken: int) -> None:
    """Scenario: rows with equal keys, none, null rows; sliced. Guarantees: the first value of each key, or null."""
    lists = attribute_lists(rows).slice(skipped, taken)

    found = attributes(lists, ["b", "", "nowhere"])

    assert list(found) == ["b", "", "nowhere"]
    for key, values in found.items():
        assert values.type == ANY_VALUE
        firsts = [
            next((item for item in row or [] if item["key"] == key), {"value": None}) for row in lists.to_pylist()
        ]
        assert repr(values.to_pylist()) == repr([first["value"] for first in firsts])


def test_no_keys_no_rows() -> None:
    """Scenario: nothing asked for, and nothing to look in. Guarantees: nothing, and columns without rows."""
    assert attributes(attribute_lists([None]), []) == {}
    assert attributes(attribute_lists([]), ["a"])["a"].to_pylist() == []


@settings(max_examples=150)
@given(st.lists(st.one_of(st.none(), st.binary(max_size=20)), max_size=8), st.integers(0, 4), st.integers(0, 8))
def test_hex_text(ids: list[bytes | None], skipped: int, taken: int) -> None:
    """Scenario: ids of any length, null ones, slices. Guarantees: the hex digits, and a valid array."""
    array = pa.array(ids, pa.binary()).slice(skipped, taken)

    text = hex_text(array)

    text.validate(full=True)
    assert text.to_pylist() == [None if value is None else value.hex() for value in ids[skipped : skipped + taken]]


@settings(max_examples=150)
@given(
    st.lists(st.one_of(st.none(), st.lists(st.integers(0, 9), max_size=3)), max_size=8),
    st.integers(0, 4),
    st.integers(0, 8),
)
def test_unnest(rows: list[list[int] | None], skipped: int, taken: int) -> None:
    """Scenario: lists, null ones, slices. Guarantees: offsets from 0, and exactly the values that are in the rows."""
    lists = pa.array(rows, pa.list_(pa.int64())).slice(skipped, taken)

    offsets, values = unnest(lists)

    shown = [values.to_pylist()[start:end] for start, end in pairwise(offsets)]
    assert shown == [row or [] for row in rows[skipped : skipped + taken]]
    assert offsets[0] == 0
    assert offsets[-1] == len(values)


def test_unnest_of_null_lists_that_cover_values() -> None:
    """Scenario: a null list with values beneath it, as filters leave them. Guarantees: they are left out."""
    lists = pa.ListArray.from_arrays(
        pa.array([0, 2, 4, 5], pa.int32()), pa.array([1, 2, 3, 4, 5]), mask=pa.array([False, True, False])
    )
    for part, expected in ((lists, ([0, 2, 2, 3], [1, 2, 5])), (lists.slice(1), ([0, 0, 1], [5]))):
        offsets, values = unnest(part)
        assert (np.asarray(offsets).tolist(), values.to_pylist()) == expected
