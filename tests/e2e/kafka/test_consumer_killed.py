"""A consumer dies in the middle of its work."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from pipeline.otlp import encode
from pipeline.testing.data import spans_batch
from pipeline.testing.program import Program, eventually
from tests.brokers import Broker, plain_producer
from tests.e2e.kafka.fleet import Fleet, partitions

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def test_a_consumer_killed_during_load_loses_nothing(
    groups_broker: Broker, clickhouse: int, running: list[Program], tmp_path: Path
) -> None:
    """Scenario: three consumers of one group, 200 000 spans in 10 000 messages; one dies by kill -9 half-way.

    Guarantees: every span is in ClickHouse. What is there twice, by the documented query, is at most what the dead one
    had in hand and what the living counted as handed over before it was delivered.
    """
    fleet = Fleet(groups_broker, clickhouse, running, tmp_path)
    consumers = [fleet.consumer().started() for _ in range(3)]
    eventually(lambda: [partitions(each) for each in consumers] == [6, 6, 6], within=60, what="two of each topic")

    asyncio.run(_send_traces(groups_broker, fleet.topics["traces"], 10_000))
    eventually(lambda: consumers[0].metric("otelcol_exporter_sent_spans") > 0, within=60, what="its first insert")
    consumers[0].send(signal.SIGKILL)

    distinct = "SELECT uniqExact(TraceId, SpanId) FROM otel_traces"
    eventually(lambda: fleet.number(distinct) == 200_000, within=100, what="all spans")
    twice = fleet.number("SELECT count() - uniqExact(TraceId, SpanId) FROM otel_traces")
    print(f"{twice} of 200 000 spans are there twice")  # noqa: T201 - for whoever reads the test's output
    of_the_dead = 20 * 10_000 // 3  # it had two of six partitions
    handed_over = 20 * sum(each.metric("jobsight_kafka_receiver_reread_messages") for each in consumers[1:])
    assert 0 <= twice <= of_the_dead + handed_over
    for program in consumers[1:]:
        assert program.stop() == 0
    assert fleet.number(distinct) == 200_000


async def _send_traces(broker: Broker, topic: str, number: int) -> None:
    """Send traces of twenty spans, a message each, all alike but for their id."""
    batch = spans_batch(20)
    old: bytes = batch.column("trace_id")[0].as_py()
    template = encode(batch.with_table(batch.table.set_column(
        batch.table.schema.get_field_index("trace_id"), batch.table.schema.field("trace_id"), [[old] * 20],
    )))  # fmt: skip
    async with plain_producer(broker, linger_ms=20, max_batch_size=200_000) as producer:
        for trace in range(number):
            body = template.replace(old, (trace + 1).to_bytes(16, "big"))
            await producer.send(topic, body, partition=trace % 6)
