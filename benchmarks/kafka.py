"""`python -m benchmarks.kafka`: what a span costs the gateway and the consumer, in processor time. About a minute.

The shipped configs as real programs, a broker (Noida) and a ClickHouse (`jobsight store`) as further processes, all on
this machine. The gateway is measured while requests of 512 spans come in over gRPC, four spans a trace; the consumer
while it reads what the gateway wrote.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
            return Cost(what, total / (time.perf_counter() - began), _us(program, before, total))
    finally:
        program.stop()


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
            return Cost(what, total / (time.perf_counter() - began), _us(program, before, total))
        finally:
            program.stop()
            store.stop()


def _us(program: Program, before: float, rows: int) -> float:
    return (cpu_seconds(program.process.pid) - before) / rows * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kafka", description=__doc__)
    parser.add_argument("--requests", type=int, default=600)
    requests = parser.parse_args().requests
    with tempfile.TemporaryDirectory(prefix="jobsight-bench-") as folder:
        broker = Broker.noida(Path(folder)).start()
        try:
            topic = asyncio.run(create_topic(broker, "traces", 6))
            other = asyncio.run(create_topic(broker, "traces", 6))
            third = asyncio.run(create_topic(broker, "traces", 6))
            costs = [
                gateway(broker, topic, requests, "gateway, a message a trace"),
                gateway(broker, other, requests, "gateway, a message a batch", [UNKEYED]),
                gateway(broker, third, requests, "gateway, requests as they came", [UNKEYED, UNBATCHED]),
                gateway(broker, third, requests, "the same, not compressed", [UNKEYED, UNBATCHED, UNCOMPRESSED]),
                consumer(broker, topic, ROWS * requests, "consumer, batch only", [BATCH_ONLY]),
                consumer(broker, topic, ROWS * requests, "consumer, everything"),
            ]  # fmt: skip
        finally:
            broker.stop()
    print(f"Machine: {machine()}\n")
    print(table(["", "spans/s", "us of processor time a span"], [cost.row() for cost in costs]))


if __name__ == "__main__":
    main()
