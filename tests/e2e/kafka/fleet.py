"""The shipped gateway and consumers as real programs, with a broker and a ClickHouse between and behind them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pipeline.testing.program import Ports, Program, query
from tests.brokers import Broker, create_topic, fresh


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

    def consumer(self, *sets: str, database: str = "default") -> Program:
        """Start a consumer that holds traces for a second only, unless `sets` say something else."""
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
            "processors.tail_sampling.decision_wait=1s",
            *sets,
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


def partitions(program: Program) -> int:
    """Return how many partitions a consumer reads."""
    return int(
        program.metric("otelcol_kafka_receiver_partition_start")
        - program.metric("otelcol_kafka_receiver_partition_close")
    )
