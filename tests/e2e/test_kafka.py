"""The shipped gateway and consumers as real programs, with a broker and a ClickHouse between and behind them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.otlp import encode
from pipeline.testing.data import spans_batch
from pipeline.testing.program import Ports, Program, eventually, free_port, query
from tests.brokers import Broker, create_topic, fresh, plain_producer
from tests.e2e.clients import post_json
from tests.e2e.stores import StoreAlone

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


@pytest.fixture
def running() -> Iterator[list[Program]]:
    """Programs of the test, ended with it whatever happens."""
    programs: list[Program] = []
    yield programs
    for program in programs:
        if program.process.poll() is None:
            program.send(signal.SIGKILL)
        program.exit_code()


@pytest.fixture
def clickhouse(tmp_path: Path) -> Iterator[int]:
    """The port of a ClickHouse that users writer and reader may use."""
    port = free_port()
    store = StoreAlone(tmp_path / "clickhouse", port, "writer", "secret")
    yield port
    store.stop()


class Fleet:
    """Topics of six partitions, a group, and the programs on both sides."""

    def __init__(self, broker: Broker, clickhouse: int, running: list[Program], folder: Path) -> None:
        self.broker = broker
        self.topics = {signal: asyncio.run(create_topic(broker, signal, 6)) for signal in ("traces", "metrics", "logs")}
        self.group = fresh("group")
        self.clickhouse = clickhouse
        self._running = running
        self._folder = folder

    def gateway(self, *sets: str) -> Program:
        program = self._program(
            "gateway",
            *self.broker.access.sets("exporters.kafka"),
            *(f"exporters.kafka.{signal}.topic={topic}" for signal, topic in self.topics.items()),
            "exporters.kafka.retry_on_failure.initial_interval=200ms",
            *sets,
        )
        return program.started()

    def consumer(self, database: str = "default") -> Program:
        return self._program(
            "consumer",
            *self.broker.access.sets("receivers.kafka"),
            *(f"receivers.kafka.{signal}.topics=[{topic}]" for signal, topic in self.topics.items()),
            f"receivers.kafka.group_id={self.group}",
            "receivers.kafka.session_timeout=6s",
            "receivers.kafka.heartbeat_interval=1s",
            f"exporters.clickhouse.endpoint=http://127.0.0.1:{self.clickhouse}",
            "exporters.clickhouse.username=writer",
            "exporters.clickhouse.password=secret",
            f"exporters.clickhouse.database={database}",
        )

    def _program(self, name: str, *sets: str) -> Program:
        program = Program(self._folder / "unused", Ports(), sets=sets, config=f"configs/{name}.yaml")
        self._running.append(program)
        return program

    def number(self, sql: str) -> int:
        answer = query(self.clickhouse, sql).strip()
        return int(answer) if answer.isdigit() else -1


def spans(traces: range, part: int) -> list[dict[str, object]]:
    """Return one span of each trace."""
    return [
        {
            "traceId": f"{trace + 1:032x}",
            "spanId": f"{trace * 100 + part + 1:016x}",
            "name": f"part {part}",
            "startTimeUnixNano": "1795300000000000000",
            "endTimeUnixNano": "1795300000100000000",
        }
        for trace in traces
    ]


def test_every_trace_is_whole_on_one_consumer(
    groups_broker: Broker, clickhouse: int, running: list[Program], tmp_path: Path
) -> None:
    """Scenario: configs/gateway.yaml, three times configs/consumer.yaml; 300 traces, their six spans in six requests.

    Guarantees: every consumer has work, every trace is in the tables of exactly one of them, with all its spans.
    """
    fleet = Fleet(groups_broker, clickhouse, running, tmp_path)
    # Tansu knows no idempotent producers; with the gateway's own setting: test_a_broker_restarts_during_load.
    gateway = fleet.gateway("exporters.kafka.producer.idempotence=false")
    consumers = [fleet.consumer(f"consumer_{number}").started() for number in range(3)]
    eventually(lambda: [_partitions(each) for each in consumers] == [6, 6, 6], within=60, what="two of each topic")

    for part in range(6):
        for first in range(0, 300, 50):
            post_json(gateway.ports, spans(range(first, first + 50), part))
    tables = [f"consumer_{number}.otel_traces" for number in range(3)]
    everything = " UNION ALL ".join(f"SELECT {n} AS Consumer, TraceId, SpanId FROM {t}" for n, t in enumerate(tables))
    eventually(lambda: fleet.number(f"SELECT count() FROM ({everything})") == 1800, within=60, what="all spans")

    assert fleet.number(f"SELECT uniqExact(Consumer) FROM ({everything})") == 3
    split = f"SELECT TraceId FROM ({everything}) GROUP BY TraceId HAVING uniqExact(Consumer) > 1 OR count() != 6"
    assert fleet.number(f"SELECT count() FROM ({split})") == 0
    for program in [gateway, *consumers]:
        assert program.stop() == 0


def _partitions(program: Program) -> int:
    return int(
        program.metric("otelcol_kafka_receiver_partition_start")
        - program.metric("otelcol_kafka_receiver_partition_close")
    )


def test_a_consumer_killed_during_load_loses_nothing(
    groups_broker: Broker, clickhouse: int, running: list[Program], tmp_path: Path
) -> None:
    """Scenario: three consumers of one group, 200 000 spans in 10 000 messages; one dies by kill -9 half-way.

    Guarantees: every span is in ClickHouse. What is there twice, by the documented query, is at most what the dead one
    had in hand and what the living counted as handed over before it was delivered.
    """
    fleet = Fleet(groups_broker, clickhouse, running, tmp_path)
    consumers = [fleet.consumer().started() for _ in range(3)]
    eventually(lambda: [_partitions(each) for each in consumers] == [6, 6, 6], within=60, what="two of each topic")

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


# a broker that comes back may wait the whole rebalance timeout for members that it believes to have had
@pytest.mark.timeout(360)
def test_a_broker_restarts_during_load(clickhouse: int, running: list[Program], tmp_path: Path) -> None:
    """Scenario: gateway and consumer at work; the broker is stopped and started again while 40 000 spans come in.

    Guarantees: every request is answered with success, and every span is in ClickHouse.
    """
    folder = tmp_path / "broker"
    folder.mkdir()
    broker = Broker.noida(folder).start()
    try:
        fleet = Fleet(broker, clickhouse, running, tmp_path)
        gateway, consumer = fleet.gateway(), fleet.consumer().started()
        for part in range(20):
            if part == 5:
                broker.stop()
            if part == 12:
                broker.start()
            assert post_json(gateway.ports, spans(range(2000), part)) == 200

        distinct = "SELECT uniqExact(TraceId, SpanId) FROM otel_traces"
        eventually(lambda: fleet.number(distinct) == 40_000, within=240, what="all spans")
        assert gateway.metric("otelcol_exporter_send_failed_spans") == 0
        twice = fleet.number("SELECT count() - uniqExact(TraceId, SpanId) FROM otel_traces")
        print(f"{twice} of 40 000 spans are there twice")  # noqa: T201 - for whoever reads the test's output
        assert gateway.stop() == 0
        assert consumer.stop() == 0
    finally:
        broker.stop()
