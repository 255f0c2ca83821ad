"""What arrives in a real broker, read by plain clients."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson
import pytest
from aiokafka.partitioner import murmur2 as java_murmur2
from confluent_kafka import Consumer, TopicPartition
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from pipeline import Batch, Kind, Partial, Rejected, Unavailable, otlp
from pipeline.batch import concat
from pipeline.kinds import Signal
from pipeline.receipt import Receipt
from pipeline.testing import FakeHost, sample_batch
from pipeline.testing.data import jobs_batch, logs_batch, points_batch, spans_batch
from tests.brokers import Broker, create_topic, fresh, read_all
from tests.exporters.kafka.conftest import Start

pytestmark = pytest.mark.integration


def values(batch: Batch, column: str) -> list[Any]:
    return list(batch.column(column).to_pylist())


def trace_ids(batch: Batch) -> list[str]:
    return [str(value.hex()) for value in values(batch, "trace_id")]


def spans_of(body: bytes) -> list[Any]:
    request = ExportTraceServiceRequest.FromString(body)
    return [span for group in request.resource_spans for scope in group.scope_spans for span in scope.spans]


async def test_a_batch_is_one_request_that_the_official_messages_read(broker: Broker, start: Start) -> None:
    """Scenario: one batch of each signal, default settings.

    Guarantees: one message each on its topic, no key, the rows as they were, read by the official messages.
    """
    topics = {name: await create_topic(broker, name) for name in ("traces", "metrics", "logs")}
    exporter = await start(**{name: {"topic": topic} for name, topic in topics.items()}, record_headers={"team": "a"})

    for batch in (spans_batch(7), points_batch(5), logs_batch(4)):
        await exporter.export(batch)

    (traces,) = await read_all(broker, topics["traces"], 1)
    (metrics,) = await read_all(broker, topics["metrics"], 1)
    (logs,) = await read_all(broker, topics["logs"], 1)
    assert [span.span_id for span in spans_of(traces.value)] == spans_batch(7).column("span_id").to_pylist()
    assert len(ExportMetricsServiceRequest.FromString(metrics.value).resource_metrics) == 1
    assert len(ExportLogsServiceRequest.FromString(logs.value).resource_logs) == 1
    assert [record.key for record in (traces, metrics, logs)] == [None] * 3
    assert traces.headers == (("team", b"a"),)


async def test_traces_by_id_are_a_message_each(broker: Broker, start: Start) -> None:
    """Scenario: traces in several batches with different resources, `partition_traces_by_id`.

    Guarantees: each message has the spans of one trace, its key is the id in hex, and a trace has one partition.
    """
    topic = await create_topic(broker, "traces", 5)
    exporter = await start(traces={"topic": topic}, partition_traces_by_id=True)
    batch = concat([spans_batch(30, seed=1), spans_batch(30, seed=2), spans_batch(30, seed=1)])

    await exporter.export(batch)

    distinct = sorted(set(trace_ids(batch)))
    records = await read_all(broker, topic, len(distinct))
    assert sorted(record.key.decode() for record in records) == distinct
    for record in records:
        assert {span.trace_id.hex() for span in spans_of(record.value)} == {record.key.decode()}
    assert sum(len(spans_of(record.value)) for record in records) == 90
    assert len({record.partition for record in records}) > 1
    await exporter.export(batch)
    again = await read_all(broker, topic, 2 * len(distinct))
    assert len({(record.key, record.partition) for record in again}) == len(distinct)


async def test_murmur2_chooses_as_java_does(broker: Broker, start: Start) -> None:
    """Scenario: hasher murmur2. Guarantees: the partition of each key is the one that aiokafka's own choice gives."""
    topic = await create_topic(broker, "traces", 7)
    exporter = await start(
        traces={"topic": topic}, partition_traces_by_id=True, record_partitioner={"sticky_key": {"hasher": "murmur2"}}
    )

    await exporter.export(spans_batch(40))

    records = await read_all(broker, topic, len(set(trace_ids(spans_batch(40)))))
    assert [(java_murmur2(record.key) & 0x7FFFFFFF) % 7 for record in records] == [r.partition for r in records]


async def test_otlp_json_is_read_by_the_official_json(broker: Broker, start: Start) -> None:
    """Scenario: encoding otlp_json, by trace. Guarantees: an OTLP/JSON object for each trace."""
    topic = await create_topic(broker, "traces")
    exporter = await start(traces={"topic": topic, "encoding": "otlp_json"}, partition_traces_by_id=True)

    await exporter.export(spans_batch(12))

    records = await read_all(broker, topic, len(set(trace_ids(spans_batch(12)))))
    for record in records:
        groups = orjson.loads(record.value)["resourceSpans"]
        ids = {span["traceId"] for group in groups for scope in group["scopeSpans"] for span in scope["spans"]}
        assert ids == {record.key.decode()}


async def test_job_rows_are_json_keyed_by_job(broker: Broker, start: Start) -> None:
    """Scenario: job rows. Guarantees: one JSON object a row with ClickHouse's names, keyed by the job's id."""
    topic = await create_topic(broker, "jobs")
    exporter = await start(jobs={"topic": topic})

    await exporter.export(jobs_batch(11))

    records = await read_all(broker, topic, 11)
    rows = {record.key.decode(): orjson.loads(record.value) for record in records}
    assert sorted(rows) == sorted(values(jobs_batch(11), "job_id"))
    row = rows["0-9"]
    assert row["JobId"] == "0-9"
    assert row["Outcome"] == "failed"
    assert row["Timestamp"].endswith("Z")
    assert row["ResourceAttributes"]["service.name"] == "shop-0"


async def test_metrics_and_logs_by_resource(broker: Broker, start: Start) -> None:
    """Scenario: two resources in a batch, partitioned by resource attributes.

    Guarantees: a message for each resource, its key 16 bytes that are equal for equal attributes.
    """
    topics = {name: await create_topic(broker, name) for name in ("metrics", "logs")}
    exporter = await start(
        **{name: {"topic": topic} for name, topic in topics.items()},
        partition_metrics_by_resource_attributes=True,
        partition_logs_by_resource_attributes=True,
    )

    for make in (points_batch, logs_batch):
        await exporter.export(concat([make(3, seed=1), make(3, seed=2), make(3, seed=1)]))

    metrics = await read_all(broker, topics["metrics"], 2)
    logs = await read_all(broker, topics["logs"], 2)
    assert len(metrics) == len(logs) == 2
    assert {len(record.key) for record in metrics + logs} == {16}
    assert {record.key for record in metrics} == {record.key for record in logs}


async def test_topic_from_an_attribute_of_the_resource(broker: Broker, start: Start) -> None:
    """Scenario: `topic_from_attribute` names the service. Guarantees: the rows of each resource go to its topic."""
    exporter = await start(topic_from_attribute="service.name")
    one = time.time_ns() // 1000 % 10**9  # of which the service's name is made; a broker may have those of earlier runs

    await exporter.export(concat([spans_batch(4, seed=one), spans_batch(6, seed=one + 1), spans_batch(1, seed=one)]))

    (first,) = await read_all(broker, f"shop-{one}", 1)
    (second,) = await read_all(broker, f"shop-{one + 1}", 1)
    assert len(spans_of(first.value)) == 5
    assert len(spans_of(second.value)) == 6


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
async def test_librdkafka_reads_every_compression(broker: Broker, start: Start, compression: str) -> None:
    """Scenario: each codec; librdkafka with assigned partitions on the other side. Guarantees: it reads all spans."""
    topic = await create_topic(broker, "traces", 3)
    exporter = await start(
        traces={"topic": topic}, partition_traces_by_id=True, producer={"compression": compression, "linger": "0s"}
    )
    await exporter.export(spans_batch(60))
    consumer = Consumer({**broker.access.librdkafka(), "group.id": fresh("g"), "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, number, 0) for number in range(3)])

    spans = 0
    for _ in range(200):
        for message in consumer.consume(100, timeout=0.1):
            assert message.error() is None
            spans += len(spans_of(message.value() or b""))
        if spans >= 60:
            break
    consumer.close()

    assert spans == 60


async def test_a_batch_over_the_limit_is_split(broker: Broker, start: Start, real_host: FakeHost) -> None:
    """Scenario: 400 spans, messages of at most 8 KiB, by trace and not.

    Guarantees: every span arrives, no message is over the limit.
    """
    for by_trace in (False, True):
        topic = await create_topic(broker, "traces")
        exporter = await start(
            traces={"topic": topic}, producer={"max_message_bytes": 8192}, partition_traces_by_id=by_trace
        )
        one_trace = spans_batch(400)

        await exporter.export(one_trace)

        records = await read_all(broker, topic, 5)
        assert sum(len(spans_of(record.value)) for record in records) == 400
        assert max(len(record.value) for record in records) <= 8192


async def test_a_span_too_large_by_itself_is_refused_with_its_trace_id(broker: Broker, start: Start) -> None:
    """Scenario: one span of a batch is larger than any message may be.

    Guarantees: the others arrive; the error says which trace, and is for good, so that it is counted and not repeated.
    """
    topic = await create_topic(broker, "traces")
    exporter = await start(traces={"topic": topic}, producer={"max_message_bytes": 4096})
    batch = concat([spans_batch(5), large_span(10_000), spans_batch(5, seed=3)])

    with pytest.raises(Partial) as refused:
        await exporter.export(batch)

    assert isinstance(refused.value.cause, Rejected)
    assert large_span(10_000).column("trace_id")[0].as_py().hex() in str(refused.value)
    assert "max_message_bytes" in str(refused.value)
    assert refused.value.failed.column("name").to_pylist() == ["x" * 10_000]
    records = await read_all(broker, topic, 3)
    assert sum(len(spans_of(record.value)) for record in records) == 10
    with pytest.raises(Rejected):
        await exporter.export(large_span(10_000))


async def test_all_kinds_at_once(broker: Broker, start: Start) -> None:
    """Scenario: every kind from ten tasks at a time, small record batches and linger.

    Guarantees: exactly the rows that were exported are there.
    """
    topic = await create_topic(broker, "traces")
    exporter = await start(traces={"topic": topic}, partition_traces_by_id=True, producer={"linger": "20ms"})

    await asyncio.gather(*(exporter.export(spans_batch(20, seed=seed)) for seed in range(10)))

    expected = sorted(span for seed in range(10) for span in values(spans_batch(20, seed=seed), "span_id"))
    records = await read_all(broker, topic, len({i for s in range(10) for i in trace_ids(spans_batch(20, seed=s))}))
    assert sorted(span.span_id for record in records for span in spans_of(record.value)) == expected


async def test_no_broker_is_unavailable_and_says_which(start: Start) -> None:
    """Scenario: nothing listens. Guarantees: the start succeeds; an export may be tried again, and names the broker."""
    exporter = await start(brokers=["127.0.0.1:1"], timeout="2s")

    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1: connection refused"):
        await exporter.export(spans_batch(1))
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
        await exporter.check()


async def test_a_missing_topic_is_said(broker: Broker, start: Start) -> None:
    """Scenario: a topic that is not there, creation off. Guarantees: the error names it and says what to do."""
    topic = fresh("missing")
    exporter = await start(traces={"topic": topic}, producer={"allow_auto_topic_creation": False})

    with pytest.raises(Unavailable, match=f"topic {topic}: the topic does not exist; create it"):
        await exporter.export(spans_batch(1))


@pytest.mark.parametrize("kind", list(Kind))
async def test_every_kind_has_a_topic(broker: Broker, start: Start, kind: Kind, real_host: FakeHost) -> None:
    """Scenario: a batch of each kind there is, default topics. Guarantees: it is delivered and counted."""
    exporter = await start()

    await exporter.export(sample_batch(kind))

    assert exporter.config.topic_of(kind) in real_host.metrics.exposition().decode()


def large_span(size: int) -> Batch:
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.trace_id, span.span_id, span.name = b"\xab" * 16, b"\xcd" * 8, "x" * size
    return otlp.decode(Signal.TRACES, [request.SerializeToString()]).batch(Receipt.issue("large"))
