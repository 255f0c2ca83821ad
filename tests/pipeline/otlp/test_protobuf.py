"""The protobuf codec against google.protobuf, the judge of what OTLP bytes mean."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from pipeline.batch import Batch, concat
from pipeline.errors import Malformed, TooLarge
from pipeline.kinds import KIND_OF, SHAPES, MetricType, Signal
from pipeline.otlp import Columns, audit, decode, decode_json, encode
from pipeline.otlp.descriptors import REQUESTS, parse
from tests.pipeline.otlp.messages import (
    Record,
    canonical,
    exact,
    expected_rows,
    nested,
    received,
    records,
    requests,
    shown_rows,
)

pytestmark = pytest.mark.usefixtures("both_readings")
SIGNALS = pytest.mark.parametrize("signal", Signal)


@SIGNALS
@settings(max_examples=30)
@given(data=st.data())
def test_columns_show_what_the_message_has(signal: Signal, data: st.DataObject) -> None:
    """Scenario: any request. Guarantees: published schema; each row and side row equals a field-by-field reading."""
    request = data.draw(requests(signal))

    columns = decode(signal, [exact(request)])

    assert columns.table.schema.equals(SHAPES[KIND_OF[signal]].schema)
    assert {name: side.schema for name, side in columns.sides.items()} == dict(SHAPES[columns.kind].sides)
    assert all(column.num_chunks == 1 for column in columns.table.columns)
    columns.table.validate(full=True)
    assert shown_rows(received(columns)) == expected_rows(request)


@SIGNALS
@settings(max_examples=30)
@given(data=st.data())
def test_round_trip_gives_the_canonical_form(signal: Signal, data: st.DataObject) -> None:
    """Scenario: any request, decoded and encoded. Guarantees: the same but for empty or equal groups."""
    request = data.draw(requests(signal))

    body = encode(received(decode(signal, [exact(request)])))

    assert exact(parse(REQUESTS[signal], body)) == canonical(signal, request)


@SIGNALS
@settings(max_examples=15)
@given(data=st.data())
def test_joint_decode_is_the_single_decodes_in_a_row(signal: Signal, data: st.DataObject) -> None:
    """Scenario: several requests in one call. Guarantees: their rows in order, and how many each of them has."""
    bodies = [exact(request) for request in data.draw(st.lists(requests(signal), max_size=4))]

    joint = decode(signal, bodies)
    single = [decode(signal, [body]) for body in bodies]

    assert joint.rows_per_body.dtype == np.int64
    assert joint.rows_per_body.tolist() == [columns.table.num_rows for columns in single]
    assert shown_rows(received(joint)) == [row for columns in single for row in shown_rows(received(columns))]


@SIGNALS
@settings(max_examples=30)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_encoding_what_processors_left(signal: Signal, data: st.DataObject, seed: int) -> None:
    """Scenario: batches put together, filtered, split and shuffled. Guarantees: what a record-by-record codec sends."""
    rng = random.Random(seed)
    sent = [data.draw(requests(signal)) for _ in range(2)]
    rows: list[Record] = [row for request in sent for row in records(request)]
    batch = concat([received(decode(signal, [exact(request)])) for request in sent])

    batch, rows = _treated(batch, rows, rng)

    assert exact(parse(REQUESTS[signal], encode(batch))) == exact(nested(signal, rows))


def _treated(batch: Batch, rows: list[Record], rng: random.Random) -> tuple[Batch, list[Record]]:
    for step in rng.sample(["keep", "slice", "shuffle", "double"], k=rng.randint(1, 4)):
        if step == "keep":
            mask = [rng.random() < 0.6 for _ in rows]
            batch = batch.keep(pa.array(mask, pa.bool_()), "test")
            rows = [row for row, kept in zip(rows, mask, strict=True) if kept]
        elif step == "slice" and len(rows) > 1:
            limit = rng.randint(1, len(rows) - 1)
            part = rng.randrange(-(-len(rows) // limit))
            batch = batch.split_rows(limit)[part]
            rows = rows[part * limit : (part + 1) * limit]
        elif step == "shuffle":
            order = rng.sample(range(len(rows)), k=len(rows))
            batch = batch.with_table(batch.table.take(pa.array(order, pa.int64())))
            rows = [rows[number] for number in order]
        elif step == "double":
            batch = concat(batch.copies(2))
            rows = rows + rows
    return batch, rows


@SIGNALS
def test_nothing_to_decode(signal: Signal) -> None:
    """Scenario: no body, and empty bodies. Guarantees: no rows, the schema, an empty request on the way out."""
    assert decode(signal, []).rows_per_body.tolist() == []
    columns = decode(signal, [b"", b""])

    assert columns.rows_per_body.tolist() == [0, 0]
    assert columns.table.schema.equals(SHAPES[columns.kind].schema)
    assert encode(received(columns)) == b""


def test_equal_resources_and_scopes_become_one_side_row() -> None:
    """Scenario: requests of three workers, two of them equal. Guarantees: side rows in order of first sight."""
    names = ["b", "a", "b", "a", "c"]
    columns = decode(Signal.TRACES, [exact(_trace(name)) for name in names])

    resources: list[Any] = columns.sides["resource"].column("attributes").to_pylist()
    assert [row[0]["value"]["string_value"] for row in resources] == ["b", "a", "c"]
    assert columns.table.column("resource").to_pylist() == [0, 1, 0, 1, 2]
    assert columns.sides["scope"].num_rows == 1


def test_absent_empty_and_filled_resources_stay_apart() -> None:
    """Scenario: no resource, an empty one, two schemas. Guarantees: four side rows, the same back."""
    request = ExportTraceServiceRequest()
    for resource, url in ((None, ""), (Resource(), ""), (Resource(dropped_attributes_count=1), ""), (None, "v2")):
        group = request.resource_spans.add(schema_url=url)
        if resource is not None:
            group.resource.CopyFrom(resource)
            group.resource.SetInParent()
        group.scope_spans.add().spans.add(name="s")

    columns = decode(Signal.TRACES, [exact(request)])

    assert columns.sides["resource"].column("present").to_pylist() == [False, True, True, False]
    assert encode(received(columns)) == exact(request)


def test_a_resource_sent_in_pieces_is_merged() -> None:
    """Scenario: two `resource` fields in one group. Guarantees: protobuf's merge; a cut piece is refused."""
    first, second = exact(_resource("a")), exact(_resource("b"))
    span = b"\x12\x04\x12\x02\x2a\x00"
    whole = b"\x0a" + bytes([len(first)]) + first + b"\x0a" + bytes([len(second)]) + second + span
    body = b"\x0a" + bytes([len(whole)]) + whole

    columns = decode(Signal.TRACES, [body])

    assert shown_rows(received(columns)) == expected_rows(parse(REQUESTS[Signal.TRACES], body))
    both = first + second
    cut = (
        b"\x0a"
        + bytes([len(first) - 2])
        + both[: len(first) - 2]
        + b"\x0a"
        + bytes([len(second) + 2])
        + both[len(first) - 2 :]
    )
    with pytest.raises(Malformed):
        decode(Signal.TRACES, [b"\x0a" + bytes([len(cut + span)]) + cut + span])


def test_metrics_without_points_leave_no_trace() -> None:
    """Scenario: metrics without data, without points, and one point between. Guarantees: one row."""
    request = ExportMetricsServiceRequest()
    scope = request.resource_metrics.add().scope_metrics.add()
    scope.metrics.add(name="no data")
    scope.metrics.add(name="no points").gauge.SetInParent()
    scope.metrics.add(name="one").sum.data_points.add(as_int=3)
    scope.metrics.add(name="no points either").summary.SetInParent()

    columns = decode(Signal.METRICS, [exact(request)])

    assert columns.sides["metric"].column("name").to_pylist() == ["one"]
    assert columns.table.column("metric").to_pylist() == [0]


def test_points_keep_the_order_of_their_metrics() -> None:
    """Scenario: five types of metrics, interleaved. Guarantees: rows in the order of the request."""
    request = ExportMetricsServiceRequest()
    scope = request.resource_metrics.add().scope_metrics.add()
    types = [type_ for _ in range(3) for type_ in MetricType]
    for number, type_ in enumerate(types):
        data: Any = getattr(scope.metrics.add(name=str(number)), type_)
        for point in range(number % 3 + 1):
            data.data_points.add(time_unix_nano=number * 10 + point)

    columns = decode(Signal.METRICS, [exact(request)])

    times = [number * 10 + point for number in range(len(types)) for point in range(number % 3 + 1)]
    assert columns.table.column("time_unix_nano").to_pylist() == times
    assert columns.sides["metric"].column("type").to_pylist() == types


@pytest.mark.parametrize("ids", [(b"", b""), (b"\x01", bytes(33)), (bytes(16), bytes(8))])
def test_odd_values_are_kept(ids: tuple[bytes, bytes]) -> None:
    """Scenario: ids of any length, odd times, unknown enums, equal keys. Guarantees: all of it comes back."""
    request = ExportTraceServiceRequest()
    span: Any = request.resource_spans.add().scope_spans.add().spans.add(trace_id=ids[0], span_id=ids[1])
    span.kind, span.status.code = 77, -1
    span.start_time_unix_nano, span.end_time_unix_nano = 2**64 - 1, 1
    for value in ("first", "second"):
        span.attributes.add(key="same").value.string_value = value
    span.attributes.add(key="")

    assert encode(received(decode(Signal.TRACES, [exact(request)]))) == exact(request)


def test_ten_thousand_attributes() -> None:
    """Scenario: a span with 10 000 attributes beside a small one. Guarantees: both come back."""
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for number in range(10_000):
        if number == 0:
            spans.add(name="wide")
        spans[0].attributes.add(key=f"key {number}").value.int_value = number
    spans.add(name="small")

    assert encode(received(decode(Signal.TRACES, [exact(request)]))) == exact(request)


def test_too_much_for_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenario: bodies that together are over the limit of a call. Guarantees: refused with both numbers."""
    monkeypatch.setattr(audit, "LARGEST_CALL", 10)
    with pytest.raises(TooLarge, match="12 bytes to decode at once, at most 10 can be"):
        decode(Signal.LOGS, [bytes(6), bytes(6)])
    with pytest.raises(TooLarge, match="16 bytes"):
        decode_json(Signal.LOGS, [b'{"a": 1}', b'{"a": 1}'])


def test_one_bad_body_fails_the_call() -> None:
    """Scenario: a bad body among good ones. Guarantees: Malformed that names the signal, not half a result."""
    with pytest.raises(Malformed, match="not an OTLP traces request"):
        decode(Signal.TRACES, [exact(_trace("a")), b"\x0a\xff", exact(_trace("b"))])


def test_columns_are_handed_over_with_their_receipt() -> None:
    """Scenario: decoded columns become a batch. Guarantees: table, side tables and kind are theirs."""
    columns: Columns = decode(Signal.TRACES, [exact(_trace("a"))])
    batch = received(columns)

    assert (batch.kind, batch.rows) == (columns.kind, 1)
    assert batch.table is columns.table
    assert batch.sides is columns.sides


def _trace(service: str) -> Message:
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add(resource=_resource(service))
    group.scope_spans.add().spans.add(name=service)
    return request


def _resource(service: str) -> Resource:
    resource = Resource()
    resource.attributes.add(key="service.name").value.string_value = service
    return resource
