"""`python -m benchmarks.kafka`: what a span costs the gateway and the consumer, in processor time. About a minute.

The shipped configs as real programs, a broker (Noida) and a ClickHouse (`jobsight store`) as further processes, all on
this machine. The gateway is measured while requests of 512 spans come in over gRPC, four spans a trace; the consumer
while it reads what the gateway wrote. gRPC and aiokafka alone are the floor that is left without us. Of several rounds
the best counts.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import bare_gateway, kafka_parts
from benchmarks.__main__ import machine, table
from benchmarks.end_to_end import cpu_seconds
from benchmarks.load import load
from pipeline.testing.program import Ports, Program, eventually, free_port
from tests.brokers import Broker, create_topic, fresh
from tests.e2e.stores import StoreAlone

ROWS = 512
UNKEYED = "exporters.kafka.partition_traces_by_id=false"
UNBATCHED = "service.pipelines.traces.processors=[]"
UNCOMPRESSED = "exporters.kafka.producer.compression=none"
# Noida answers at once where there is nothing to fetch: a consumer that waits for traces to end is busy with asking
SOON = "processors.tail_sampling.decision_wait=2s"
BATCH_ONLY = "service.pipelines.traces.processors=[batch]"


@dataclass(frozen=True, slots=True)
class Cost:
    what: str
    rows_per_second: float
    us: float

    def row(self) -> list[str]:
        return [self.what, f"{self.rows_per_second:,.0f}", f"{self.us:.1f}"]


def gateway(broker: Broker, topic: str, requests: int, what: str, sets: Sequence[str] = ()) -> Cost:
    """Measure a gateway from the first request to the last confirmation."""
    program = Program(
        Path("unused"),
        Ports(),
        config="configs/gateway.yaml",
        sets=[f"exporters.kafka.brokers=[{broker.bootstrap}]", f"exporters.kafka.traces.topic={topic}", *sets],
    ).started()
    try:
        with load(program.ports.grpc, rows=ROWS, requests=requests) as send:
            before, began = cpu_seconds(program.process.pid), time.perf_counter()
            send()
            total = ROWS * requests
            eventually(lambda: program.metric("otelcol_exporter_sent_spans") >= total, within=120, what="confirmations")
            return Cost(what, total / (time.perf_counter() - began), _us(program.process.pid, before, total))
    finally:
        program.stop()


def bare(broker: Broker, topic: str, requests: int, what: str, compression: str) -> Cost:
    """Measure gRPC and aiokafka, which answers when a message is confirmed."""
    total = ROWS * requests
    with (
        bare_gateway.started(broker.bootstrap, topic, compression) as (pid, port),
        load(port, rows=ROWS, requests=requests) as send,
    ):
        before, began = cpu_seconds(pid), time.perf_counter()
        send()
        return Cost(what, total / (time.perf_counter() - began), _us(pid, before, total))


def consumer(broker: Broker, topic: str, total: int, what: str, sets: Sequence[str] = ()) -> Cost:
    """Measure a consumer from its first message to the last row in ClickHouse."""
    with tempfile.TemporaryDirectory(prefix="jobsight-bench-") as folder:
        port = free_port()
        store = StoreAlone(Path(folder), port, "writer", "secret")
        program = Program(
            Path("unused"),
            Ports(clickhouse=port),
            config="configs/consumer.yaml",
            sets=[
                f"receivers.kafka.brokers=[{broker.bootstrap}]",
                f"receivers.kafka.traces.topics=[{topic}]",
                f"receivers.kafka.group_id={fresh('bench')}",
                f"exporters.clickhouse.endpoint=http://127.0.0.1:{port}",
                "exporters.clickhouse.username=writer",
                "exporters.clickhouse.password=secret",
                *sets,
            ],
        ).started()
        try:
            before, began = cpu_seconds(program.process.pid), time.perf_counter()
            eventually(lambda: program.count() >= total, within=120, what=f"{total} rows")
            return Cost(what, total / (time.perf_counter() - began), _us(program.process.pid, before, total))
        finally:
            program.stop()
            store.stop()


def measured(broker: Broker, requests: int) -> list[Cost]:
    """Measure everything once."""

    def topic() -> str:
        return asyncio.run(create_topic(broker, "traces", 6))

    keyed, total = topic(), ROWS * requests
    as_they_came = [UNKEYED, UNBATCHED]
    return [
        gateway(broker, keyed, requests, "gateway, a message a trace"),
        gateway(broker, topic(), requests, "gateway, a message a batch", [UNKEYED]),
        gateway(broker, topic(), requests, "gateway, requests as they came", as_they_came),
        gateway(broker, topic(), requests, "the same, not compressed", [*as_they_came, UNCOMPRESSED]),
        bare(broker, topic(), requests, "gRPC and aiokafka alone", "zstd"),
        bare(broker, topic(), requests, "the same, not compressed", "none"),
        consumer(broker, keyed, total, "consumer, batch only", [BATCH_ONLY]),
        consumer(broker, keyed, total, "consumer, everything", [SOON]),
    ]


def _us(pid: int, before: float, rows: int) -> float:
    return (cpu_seconds(pid) - before) / rows * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kafka", description=__doc__)
    parser.add_argument("--requests", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jobsight-bench-") as folder:
        broker = Broker.noida(Path(folder)).start()
        try:
            rounds = [measured(broker, arguments.requests) for _ in range(arguments.rounds)]
        finally:
            broker.stop()
    best = [min(costs, key=lambda cost: cost.us) for costs in zip(*rounds, strict=True)]
    print(f"Machine: {machine()}\n")
    print(table(["", "spans/s", "us of processor time a span"], [cost.row() for cost in best]))
    each = [[what, f"{us:.1f}"] for what, us in kafka_parts.rows()]
    print(table(["parts, each measured alone", "us of processor time a span"], each))


if __name__ == "__main__":
    main()
