"""What a receiver makes of the messages in a real broker."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from confluent_kafka import Producer
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pipeline import Kind
from pipeline.kinds import Signal
from pipeline.otlp import encode, encode_json
from pipeline.testing import FakeHost
from pipeline.testing.data import logs_batch, points_batch, spans_batch
from receivers.kafka import member
from tests.brokers import Broker, create, create_topic, fresh, has_committed, plain_producer, read_all, until
from tests.receivers.kafka.conftest import Start

pytestmark = pytest.mark.integration


def rows(host: FakeHost, kind: Kind = Kind.SPANS) -> int:
    return sum(batch.rows for batch in host.emitted if batch.kind is kind)


def span_ids(host: FakeHost) -> list[Any]:
    return [value for batch in host.emitted for value in batch.column("span_id").to_pylist()]


async def send(broker: Broker, topic: str, *values: bytes, partition: int | None = None, **keys: Any) -> None:
    async with plain_producer(broker) as producer:
        for value in values:
            await producer.send_and_wait(topic, value, partition=partition, **keys)


async def send_one_by_one(broker: Broker, topic: str, host: FakeHost, number: int) -> None:
    """Send messages of two spans, each once the one before came out, so that each is a batch."""
    for seed in range(number):
        await send(broker, topic, encode(spans_batch(2, seed=seed)))
        await until(partial(_emitted, host, seed + 1))


def _emitted(host: FakeHost, batches: int) -> bool:
    return len(host.emitted) == batches


async def test_every_signal_in_both_encodings(broker: Broker, start: Start) -> None:
    """Scenario: messages of each signal, protobuf and JSON. Guarantees: their rows come out, counted."""
    for encoding, write in (("otlp_proto", encode), ("otlp_json", encode_json)):
        topics = {name: await create_topic(broker, name) for name in ("traces", "metrics", "logs")}
        _, host = await start(**{name: {"topics": [topic], "encoding": encoding} for name, topic in topics.items()})
        await send(broker, topics["traces"], write(spans_batch(5)))
        await send(broker, topics["metrics"], write(points_batch(4)))
        await send(broker, topics["logs"], write(logs_batch(3)))

        await until(partial(_emitted, host, 3))

        assert [rows(host, kind) for kind in (Kind.SPANS, Kind.METRICS, Kind.LOGS)] == [5, 4, 3]
        assert 'otelcol_receiver_accepted_spans{receiver="kafka",transport="kafka"} 5.0' in str(
            host.metrics.exposition().decode()
        )


async def test_messages_of_the_official_sdk(broker: Broker, start: Start) -> None:
    """Scenario: spans of the real SDK through its own encoder, sent by librdkafka. Guarantees: they come out whole."""
    topic = await create_topic(broker, "traces")
    memory = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.create({"service.name": "worker"}))
    provider.add_span_processor(SimpleSpanProcessor(memory))
    with provider.get_tracer("tests").start_as_current_span("job", attributes={"tries": 3}):
        pass
    provider.shutdown()
    producer = Producer(broker.access.librdkafka())
    producer.produce(topic, encode_spans(memory.get_finished_spans()).SerializeToString())
    assert producer.flush(10) == 0

    _, host = await start(traces={"topics": [topic]})
    await until(lambda: rows(host) == 1)

    (batch,) = host.emitted
    assert batch.column("name").to_pylist() == ["job"]
    assert batch.sides["resource"].num_rows == 1


async def test_offsets_follow_delivery(broker: Broker, start: Start) -> None:
    """Scenario: three messages, delivered out of order, the first one last.

    Guarantees: nothing is committed past the oldest that is not delivered; at the end all is.
    """
    topic, group = await create_topic(broker, "traces", 1), fresh("group")
    receiver, host = await start(traces={"topics": [topic]}, group_id=group)
    await send_one_by_one(broker, topic, host, 3)
    assert receiver._member is not None
    (progress,) = receiver._member._progress.values()

    host.emitted[1].receipt.settle()
    host.emitted[2].receipt.settle()
    assert progress.settled == 0
    await until(lambda: has_committed(broker, group, topic, 0))
    host.emitted[0].receipt.settle()

    await until(lambda: has_committed(broker, group, topic, 3))


async def test_what_was_not_delivered_is_read_again(broker: Broker, start: Start) -> None:
    """Scenario: a receiver stops while one of two messages is owed. Guarantees: the next one gets just that."""
    topic, group = await create_topic(broker, "traces", 1), fresh("group")
    first, host = await start(traces={"topics": [topic]}, group_id=group)
    await send_one_by_one(broker, topic, host, 2)
    host.emitted[0].receipt.settle()
    await first.stop_accepting()
    await first.stop()

    _, again = await start(traces={"topics": [topic]}, group_id=group)
    await until(lambda: rows(again) >= 2)

    assert span_ids(again) == spans_batch(2, seed=1).column("span_id").to_pylist()


async def test_latest_begins_at_the_end_and_remembers_it(broker: Broker, start: Start) -> None:
    """Scenario: `latest`, a message before the group began and one while its consumer was away.

    Guarantees: the first is not read, the second is, though nothing was ever delivered.
    """
    topic, group = await create_topic(broker, "traces", 1), fresh("group")
    await send(broker, topic, encode(spans_batch(1, seed=1)))
    keys = {"traces": {"topics": [topic]}, "group_id": group, "initial_offset": "latest"}
    first, _ = await start(**keys)
    await until(lambda: has_committed(broker, group, topic, 1))
    await first.stop_accepting()
    await first.stop()
    await send(broker, topic, encode(spans_batch(1, seed=2)))

    _, host = await start(**keys)
    await until(lambda: rows(host) == 1)

    assert span_ids(host) == spans_batch(1, seed=2).column("span_id").to_pylist()


@pytest.mark.parametrize("dead_letters", [False, True])
async def test_a_poison_message_harms_nobody(broker: Broker, start: Start, dead_letters: bool) -> None:
    """Scenario: messages that do not decode among good ones, skipped or with a dead-letter topic.

    Guarantees: the good ones come out; the bad are counted, and kept with their key, headers and the reason.
    """
    topic = await create_topic(broker, "traces", 1)
    aside = await create_topic(broker, "aside", 1) if dead_letters else ""
    good = [encode(spans_batch(2, seed=seed)) for seed in range(4)]
    await send(broker, topic, *good[:2])
    await send(broker, topic, b"\xff\xffpoison", key=b"k", headers=[("h", b"1")])
    await send(broker, topic, *good[2:])

    _, host = await start(traces={"topics": [topic]}, dead_letter={"topic": aside})
    await until(lambda: rows(host) == 8)

    assert 'otelcol_kafka_receiver_unmarshal_failed_spans{receiver="kafka"} 1.0' in host.metrics.exposition().decode()
    if dead_letters:
        (letter,) = await read_all(broker, aside, 1)
        assert (letter.value, letter.key) == (b"\xff\xffpoison", b"k")
        headers = dict(letter.headers)
        assert headers["h"] == b"1"
        assert (headers["kafka.topic"], headers["kafka.partition"], headers["kafka.offset"]) == (
            topic.encode(), b"0", b"2",
        )  # fmt: skip
        assert b"not an OTLP traces request" in headers["error"]


async def test_nothing_but_poison_stops_the_program(broker: Broker, start: Start) -> None:
    """Scenario: JSON where protobuf is configured, more messages than `max_run`.

    Guarantees: the program is asked to stop with a line that says where and asks after the encoding.
    """
    topic = await create_topic(broker, "traces", 1)
    await send(broker, topic, *[encode_json(spans_batch(1))] * 12)

    _, host = await start(traces={"topics": [topic]}, dead_letter={"max_run": 10})
    await until(lambda: host.stopped_because is not None)

    assert host.stopped_because is not None
    assert topic in host.stopped_because
    assert "is the encoding right?" in host.stopped_because


async def test_a_full_pipeline_stops_the_reading(broker: Broker, start: Start) -> None:
    """Scenario: a full pipeline, 20 MB of messages, then room.

    Guarantees: only a few slices are unpacked meanwhile; then everything comes, once.
    """
    topic = await create_topic(broker, "traces", 2)
    receiver, host = await start(traces={"topics": [topic]})
    host.open.clear()
    body = encode(spans_batch(20))
    number = 20_000_000 // len(body)
    async with plain_producer(broker) as producer:
        for turn in range(number):
            await producer.send(topic, body, partition=turn % 2)
    lane = receiver._lanes[Signal.TRACES]

    await until(lambda: lane.full)
    assert lane.waiting_bytes < 10_000_000
    assert not host.emitted
    host.open.set()

    await until(lambda: rows(host) >= number * 20, within=40)
    assert rows(host) == number * 20


async def test_topics_by_expression(broker: Broker, start: Start) -> None:
    """Scenario: topics found by a regular expression, one of them excluded. Guarantees: the others are read."""
    prefix = fresh("many")
    names = [await create_topic(broker, f"{prefix}-{suffix}", 1) for suffix in ("a", "b", "secret")]
    _, host = await start(traces={"topics": [f"^{prefix}-.*"], "exclude_topics": ["secret"]})

    for number, name in enumerate(names):
        await send(broker, name, encode(spans_batch(number + 1, seed=number)))
    await until(lambda: rows(host) == 3)

    assert rows(host) == 3


async def test_a_missing_topic_is_waited_for(
    broker: Broker, start: Start, log_events: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scenario: one of two topics does not exist; it is created after the receiver has said so, and gets a message.

    The other is an expression: then all topics are asked for, and no broker creates what is asked for by name.

    Guarantees: the other one is read meanwhile; the missing one is named in the log, then read from its beginning.
    """
    monkeypatch.setattr(member, "MISSING_SECONDS", 0.2)
    topic, late = await create_topic(broker, "traces"), fresh("late")
    _, host = await start(traces={"topics": [f"^{topic}$", late]}, metadata={"refresh_interval": "500ms"})
    await send(broker, topic, encode(spans_batch(1, seed=1)))
    await until(lambda: rows(host) == 1)

    await until(lambda: any(event.get("topics") == [late] for event in log_events))
    await create(broker, late)
    await send(broker, late, encode(spans_batch(2, seed=2)))

    await until(lambda: rows(host) == 3)


async def test_two_consumers_share_and_hand_over(groups_broker: Broker, start: Start) -> None:
    """Scenario: a second consumer joins, later the first one leaves; everything is delivered at once.

    Guarantees: every message is read, none twice.
    """
    broker = groups_broker
    topic, group = await create_topic(broker, "traces", 4), fresh("group")
    keys = {**broker.access.keys(), "traces": {"topics": [topic]}, "group_id": group}
    first, one = await start(**keys)
    settled: set[int] = set()

    hosts = [one]

    def settled_rows() -> int:
        for batch in (batch for host in hosts for batch in host.emitted if id(batch) not in settled):
            settled.add(id(batch))
            batch.receipt.settle()
        return sum(map(rows, hosts))

    def shared(partitions: int) -> bool:
        settled_rows()
        return _partitions(two) == partitions

    async def send_all(seeds: range) -> None:
        for seed in seeds:
            await send(broker, topic, encode(spans_batch(1, seed=seed)), partition=seed % 4)

    await send_all(range(8))
    await until(lambda: settled_rows() == 8)
    _, two = await start(**keys)

    hosts.append(two)
    await until(lambda: shared(2), within=40)
    await send_all(range(8, 24))
    await until(lambda: settled_rows() == 24)
    assert rows(two) == 8
    await first.stop_accepting()
    await first.stop()
    await until(lambda: shared(4), within=40)
    await send_all(range(24, 32))

    await until(lambda: settled_rows() >= 32)
    expected = sorted(spans_batch(1, seed=seed).column("span_id")[0].as_py() for seed in range(32))
    assert sorted(span_ids(one) + span_ids(two)) == expected


def _partitions(host: FakeHost) -> int:
    text = host.metrics.exposition().decode()
    counts = {
        name: sum(
            float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"otelcol_kafka_receiver_{name}{{")
        )
        for name in ("partition_start", "partition_close")
    }
    return int(counts["partition_start"] - counts["partition_close"])
