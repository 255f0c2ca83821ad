"""Requests that go to the broker as they came."""

from __future__ import annotations

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from pipeline import Kind, otlp
from pipeline.arrays import hex_text
from pipeline.kinds import Signal
from pipeline.receipt import Receipt
from pipeline.testing import spans_batch
from tests.brokers import Broker, create_topic, read_all
from tests.exporters.kafka.conftest import Start, exporter_of

BODIES = [otlp.encode(spans_batch(rows, seed=rows)) + b"\xf8\x07\x01" for rows in (5, 40, 7)]
"""Each with a field that OTLP does not have: it is lost by whoever takes a request apart."""


def requests() -> otlp.RequestBatch:
    return otlp.check(Signal.TRACES, BODIES).batch(Receipt.issue("test"))


@pytest.mark.parametrize(
    ("keys", "forwarded"),
    [
        ({}, {Kind.SPANS, Kind.METRICS, Kind.LOGS}),
        ({"partition_traces_by_id": True}, {Kind.METRICS, Kind.LOGS}),
        ({"partition_metrics_by_resource_attributes": True}, {Kind.SPANS, Kind.LOGS}),
        ({"partition_logs_by_trace_id": True}, {Kind.SPANS, Kind.METRICS}),
        ({"partition_logs_by_resource_attributes": True}, {Kind.SPANS, Kind.METRICS}),
        ({"traces": {"encoding": "otlp_json"}}, {Kind.METRICS, Kind.LOGS}),
        ({"topic_from_attribute": "tenant"}, set()),
    ],
    ids=lambda value: next(iter(value), "none") if isinstance(value, dict) else "",
)
def test_what_can_be_forwarded(keys: dict[str, object], forwarded: set[Kind]) -> None:
    """Scenario: keys that need to look into requests. Guarantees: those kinds are not forwarded, the others are."""
    exporter = exporter_of(**keys)

    assert {kind for kind in Kind if exporter.forwards(kind)} == forwarded


@pytest.mark.integration
async def test_bodies_arrive_byte_for_byte(broker: Broker, start: Start) -> None:
    """Scenario: three requests, no keys. Guarantees: three messages, the very bytes that came in."""
    topic = await create_topic(broker, "traces")
    exporter = await start(traces={"topic": topic})

    await exporter.export(requests())

    records = await read_all(broker, topic, 3)
    assert sorted(record.value for record in records) == sorted(BODIES)
    assert {record.key for record in records} == {None}


@pytest.mark.integration
async def test_a_body_over_the_limit_is_split_by_rows(broker: Broker, start: Start) -> None:
    """Scenario: a request is over `max_message_bytes`. Guarantees: all spans, in smaller messages."""
    topic = await create_topic(broker, "traces")
    limit = len(BODIES[1]) // 2
    exporter = await start(traces={"topic": topic}, producer={"max_message_bytes": limit})

    await exporter.export(requests())

    records = await read_all(broker, topic, 4)
    assert max(len(record.value) for record in records) < limit
    arrived = [
        span.span_id
        for record in records
        for group in ExportTraceServiceRequest.FromString(record.value).resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    ]
    assert set(arrived) == set(requests().column("span_id").to_pylist())
    assert len(arrived) == requests().rows


@pytest.mark.integration
async def test_another_form_is_made_of_a_forwarded_batch(broker: Broker, start: Start) -> None:
    """Scenario: a batch of requests reaches an exporter that keys by trace. Guarantees: a message for each trace."""
    topic = await create_topic(broker, "traces")
    exporter = await start(traces={"topic": topic}, partition_traces_by_id=True)

    await exporter.export(requests())

    traces = set(hex_text(requests().column("trace_id")).to_pylist())
    records = await read_all(broker, topic, len(traces))
    assert {record.key.decode() for record in records} == traces
