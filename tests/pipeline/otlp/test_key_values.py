"""Attributes read all at once, against the reading field by field."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from pipeline.kinds import ATTRIBUTES
from pipeline.otlp.descriptors import KEY_VALUE, handler
from pipeline.otlp.key_values import OtherForm, key_values
from tests.pipeline.otlp.messages import TEXT
from tests.pipeline.otlp.wire import damaged, part, tag, varint

LONG = st.sampled_from(["x" * 126, "x" * 127, "x" * 128, "é" * 70, "y" * 20_000])
VALUES = st.one_of(
    st.builds(AnyValue),
    st.builds(AnyValue, string_value=st.one_of(TEXT, LONG)),
    st.builds(AnyValue, bool_value=st.booleans()),
    st.builds(AnyValue, int_value=st.integers(-(2**63), 2**63 - 1)),
    st.builds(AnyValue, double_value=st.floats(allow_nan=False)),
    st.builds(AnyValue, bytes_value=st.binary(max_size=200)),
    st.just(AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=1), AnyValue()]))),
    st.just(AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="k", value=AnyValue(string_value="v"))]))),
)
ITEMS = st.lists(st.builds(KeyValue, key=st.one_of(TEXT.filter(bool), LONG), value=VALUES), min_size=1, max_size=12)


def column(encoded: list[bytes]) -> Any:
    return pa.array(encoded, pa.binary())


def one_by_one(encoded: Any) -> Any:
    """The reading field by field; None where it refuses."""
    try:
        return handler(KEY_VALUE).array_to_record_batch(encoded).to_struct_array()
    except ValueError:
        return None


@given(items=ITEMS, before=st.integers(0, 3), after=st.integers(0, 3))
def test_equals_the_reading_one_by_one(items: list[KeyValue], before: int, after: int) -> None:
    """Scenario: any attributes with key and value, in a slice of a column. Guarantees: the published type; the same."""
    encoded = [item.SerializeToString() for item in items]

    read = key_values(column([b"?"] * before + encoded + [b"?"] * after).slice(before, len(encoded)))

    assert read.type == ATTRIBUTES.value_type
    read.validate(full=True)
    assert read.equals(one_by_one(column(encoded)))


@given(items=ITEMS, seed=st.integers(0, 1 << 32))
def test_damaged_attributes(items: list[KeyValue], seed: int) -> None:
    """Scenario: some of many attributes are damaged. Guarantees: what is read at all, is read as it is one by one."""
    rng = random.Random(seed)
    encoded = [item.SerializeToString() for item in items]
    for _ in range(5):
        place = rng.randrange(len(encoded))
        damaged_too = column([*encoded[:place], damaged(rng, encoded[place]), *encoded[place + 1 :]])
        try:
            read = key_values(damaged_too)
        except OtherForm:
            continue
        read.validate(full=True)
        assert read.equals(one_by_one(damaged_too))


WHOLE = part(1, b"key") + part(2, part(1, b"text"))


@pytest.mark.parametrize(
    "form",
    [
        b"",
        part(1, b"key"),
        part(2, part(1, b"text")),
        part(2, part(1, b"text")) + part(1, b"key"),
        WHOLE + WHOLE,
        WHOLE + part(3, b"unknown"),
        part(1, b"key") + part(2, part(1, b"text") + tag(3, 0) + b"\x01"),
        part(1, b"key") + part(2, part(9, b"unknown")),
        part(1, b"key") + part(2, b"\x00\x00"),
        part(1, b"key") + part(2, tag(2, 0) + b"\x02"),
        part(1, b"key") + part(2, tag(3, 0) + b"\xff" * 9 + b"\x02"),
        part(1, b"key") + part(2, tag(3, 0) + b"\xff" * 10 + b"\x01"),
        part(1, b"key") + part(2, tag(4, 1) + bytes(7)),
        part(1, b"key") + part(2, tag(1, 2) + b"\xff" * 9 + b"\x01"),
        part(1, b"key") + tag(2, 2) + varint(200) + part(1, b"text"),
        tag(1, 2) + b"\xff" * 9 + b"\x01",
        b"\x0a\xff",
        part(1, b"\xff"),
        part(1, b"k") + part(2, part(1, b"\xc3")),
    ],
)
@pytest.mark.parametrize("neighbours", [0, 1])
def test_other_forms_are_left_alone(form: bytes, neighbours: int) -> None:
    """Scenario: an attribute as encoders do not write it, right or wrong. Guarantees: it is not read here."""
    with pytest.raises(OtherForm):
        key_values(column([WHOLE] * neighbours + [form] + [WHOLE] * neighbours))


def test_a_character_does_not_span_two_texts() -> None:
    """Scenario: a character begins in one text and ends in the next. Guarantees: it is not taken for text."""
    halves = [part(1, b"k") + part(2, part(1, text)) for text in (b"\xc3", b"\xa9")]

    with pytest.raises(OtherForm):
        key_values(column(halves))
