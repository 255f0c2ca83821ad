"""Bytes that no exporter should send: google.protobuf says which are refused, and what the others mean."""

from __future__ import annotations

import random

import orjson
import pytest
from google.protobuf.message import DecodeError, Message

from pipeline.errors import Malformed
from pipeline.kinds import Signal
from pipeline.otlp import decode, decode_json, encode
from pipeline.otlp.descriptors import REQUESTS, parse
from pipeline.otlp.warm import example_requests
from tests.pipeline.otlp.messages import canonical, exact, known, received, shown_rows
from tests.pipeline.otlp.wire import damaged, inside, leniency, part, tag, varint

pytestmark = pytest.mark.usefixtures("both_readings")
SIGNALS = pytest.mark.parametrize("signal", Signal)
SPAN = (1, 2, 2)
VALUE = (*SPAN, 9, 2)
"""The fields down to a span, and to the value of a span's attribute."""


def judged(signal: Signal, body: bytes) -> Message | None:
    try:
        return parse(REQUESTS[signal], body)
    except DecodeError:
        return None


def every_field(signal: Signal) -> bytes:
    (request,) = example_requests(signal)
    return encode(received(decode_json(signal, [orjson.dumps(request)])))


@SIGNALS
@pytest.mark.parametrize("seed", range(2))
def test_damaged_bodies(signal: Signal, seed: int) -> None:
    """Scenario: 200 damaged bodies. Guarantees: no crash, and google.protobuf's verdict but for the named errors."""
    rng = random.Random(f"{signal} {seed}")
    whole = every_field(signal)
    for body in (damaged(rng, whole) for _ in range(200)):
        message = judged(signal, body)
        try:
            columns = decode(signal, [body])
        except Malformed:
            assert message is None
            continue
        if message is None:
            assert leniency(REQUESTS[signal], body) is not None
            continue
        encoded = parse(REQUESTS[signal], encode(received(columns)))
        assert exact(known(encoded)) == canonical(signal, known(message))


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("string, then int", part(1, b"text") + tag(3, 0) + b"\x05"),
        ("int, then string", tag(3, 0) + b"\x05" + part(1, b"text")),
        ("array, then nothing but false", part(5, part(1, b"")) + tag(2, 0) + b"\x00"),
    ],
)
def test_a_oneof_sent_twice_keeps_the_last(name: str, field: bytes) -> None:
    """Scenario: a value that is sent as two types. Guarantees: the last counts, as in protobuf."""
    body = inside(SPAN, part(9, part(1, b"k") + part(2, field)) + part(9, part(1, b"l") + part(2, part(1, b"other"))))

    batch = received(decode(Signal.TRACES, [body]))

    assert exact(parse(REQUESTS[Signal.TRACES], encode(batch))) == exact(parse(REQUESTS[Signal.TRACES], body))


def test_a_metric_of_two_types_keeps_the_last() -> None:
    """Scenario: gauge and sum in one metric, and a point both double and int. Guarantees: protobuf's reading."""
    point = part(1, tag(4, 1) + bytes(8) + tag(6, 1) + bytes([1] * 8))
    body = inside((1, 2, 2), part(5, point) + part(7, point))

    batch = received(decode(Signal.METRICS, [body]))

    assert [row["as_int"] for row in shown_rows(batch)] == [0x0101010101010101]
    assert batch.sides["metric"].column("type").to_pylist() == ["sum"]
    assert exact(parse(REQUESTS[Signal.METRICS], encode(batch))) == exact(parse(REQUESTS[Signal.METRICS], body))


def test_a_resource_with_a_oneof_sent_twice() -> None:
    """Scenario: the same in an attribute of the resource. Guarantees: the last one counts."""
    value = part(1, part(1, b"k") + part(2, part(1, b"text") + tag(3, 0) + b"\x05"))
    body = part(1, part(1, value) + inside((2, 2), b""))

    batch = received(decode(Signal.TRACES, [body]))

    assert exact(parse(REQUESTS[Signal.TRACES], encode(batch))) == exact(parse(REQUESTS[Signal.TRACES], body))


@pytest.mark.parametrize(
    ("signal", "path"),
    [
        (Signal.TRACES, VALUE),
        (Signal.TRACES, (*SPAN, 11, 3, 2)),
        (Signal.TRACES, (*SPAN, 13, 4, 2)),
        (Signal.TRACES, (1, 1, 1, 2)),
        (Signal.TRACES, (1, 2, 1, 3, 2)),
        (Signal.LOGS, (1, 2, 2, 5)),
        (Signal.METRICS, (1, 2, 2, 5, 1, 5, 7, 2)),
    ],
)
def test_nesting_is_bounded_exactly(signal: Signal, path: tuple[int, ...]) -> None:
    """Scenario: values 40 to 54 arrays deep, wherever values are. Guarantees: refused from protobuf's own depth on."""
    verdicts = []
    for depth in range(40, 55):
        body = inside(path, inside((5, 1) * depth, b""))
        verdicts.append(judged(signal, body) is not None)
        if verdicts[-1]:
            decode(signal, [body])
        else:
            with pytest.raises(Malformed):
                decode(signal, [body])
    assert verdicts[0]
    assert not verdicts[-1]


@pytest.mark.parametrize(
    "body",
    [
        b"\x0a",
        b"\x0a\x05\x12",
        inside(SPAN, part(5, b"\xff\xfe")),
        inside(SPAN, part(9, part(1, b"\xc3("))),
        inside(VALUE, part(5, b"\x0a\x02\x0a")),
        inside(VALUE, part(6, inside((1,), part(1, b"\xff")))),
        part(1, part(1, b"\x0a\x7f")),
        part(1, part(1, inside((3,), part(2, b"\xff")))),
        inside((1, 2), part(1, part(1, b"\xff"))),
        inside(SPAN, tag(0, 0) + b"\x01"),
        inside(SPAN, tag(20, 3)),
        inside(SPAN, tag(6, 0) + b"\x80" * 10 + b"\x01"),
    ],
)
def test_refused_bytes(body: bytes) -> None:
    """Scenario: cut, not UTF-8, or broken in what stays encoded. Guarantees: refused as by google.protobuf."""
    assert judged(Signal.TRACES, body) is None
    with pytest.raises(Malformed, match="not an OTLP"):
        decode(Signal.TRACES, [body])


@pytest.mark.parametrize(
    ("reason", "signal", "body"),
    [
        ("mismatched group", Signal.TRACES, inside(SPAN, tag(20, 3) + tag(21, 4))),
        ("field number too large", Signal.TRACES, inside(SPAN, varint(1 << 33 | 2) + b"\x00")),
        ("length too long", Signal.TRACES, inside(SPAN, tag(5, 2) + b"\x81\x80\x80\x80\x80\x00x")),
        ("packed numbers cut short", Signal.METRICS, inside((1, 2, 2, 9, 1), part(6, bytes(7)))),
    ],
)
def test_errors_that_pass(reason: str, signal: Signal, body: bytes) -> None:
    """Scenario: the four errors of docs/otlp.md. Guarantees: accepted, and what goes on is a valid request."""
    assert judged(signal, body) is None
    assert leniency(REQUESTS[signal], body) == reason

    columns = decode(signal, [body])

    assert columns.table.num_rows == 1
    assert judged(signal, encode(received(columns))) is not None


def test_an_array_sent_twice_in_one_value_keeps_the_last() -> None:
    """Scenario: `array_value` twice in a value. Guarantees: the documented difference, protobuf joins the arrays."""
    one, two = part(1, part(1, b"one")), part(1, part(1, b"two"))

    batch = received(decode(Signal.TRACES, [inside(VALUE, part(5, one) + part(5, two))]))

    assert encode(batch) == inside(VALUE, part(5, two))


def test_negative_zero_where_zero_is_the_default() -> None:
    """Scenario: -0.0 as the sum of a summary. Guarantees: the documented difference: kept in columns, sent as 0.0."""
    body = inside((1, 2, 2, 11, 1), tag(5, 1) + bytes(7) + b"\x80")

    batch = received(decode(Signal.METRICS, [body]))

    assert shown_rows(batch)[0]["sum"] == (-0.0).hex()
    assert encode(batch) == inside((1, 2, 2, 11, 1), b"")
