"""`python -m benchmarks.otelcol BINARY`: the Go Collector and jobsight, one YAML, one load, one kind of ClickHouse.

BINARY is an `otelcol-contrib`, or any build with the `otlp` receiver, the `batch` processor and the `clickhouse`
exporter. Each program gets a store of its own (`jobsight store`) in a further process; both are measured from the first
request to the last row in the table.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from benchmarks.__main__ import machine, table
from benchmarks.end_to_end import TABLES, cpu_seconds, resident_mib
from benchmarks.load import load
from pipeline.testing.program import JOBSIGHT, eventually, free_port, query
from tests.e2e.stores import StoreAlone

CONFIG = """
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "127.0.0.1:{grpc}"}}
processors:
  batch: {{timeout: 200ms, send_batch_size: 20000}}
exporters:
  clickhouse:
    endpoint: http://127.0.0.1:{clickhouse}
    username: writer
    password: secret
    async_insert: false
    compress: none
    timeout: 30s
    sending_queue: {{num_consumers: 2, queue_size: 100}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], processors: [batch], exporters: [clickhouse]}}
    metrics: {{receivers: [otlp], processors: [batch], exporters: [clickhouse]}}
    logs: {{receivers: [otlp], processors: [batch], exporters: [clickhouse]}}
"""

LOADS = (("spans", 512, 1200), ("spans", 10, 12_000), ("points", 1000, 600), ("logs", 500, 800))
"""What is sent, rows a request, requests."""


def measure(command: Sequence[str], what: str, rows: int, requests: int) -> list[str]:
    """Return rows a second, processor time of the program and of the store in us a row, and the program's memory."""
    with tempfile.TemporaryDirectory(prefix="jobsight-bench-") as folder:
        grpc, clickhouse = free_port(), free_port()
        config = Path(folder) / "config.yaml"
        config.write_text(CONFIG.format(grpc=grpc, clickhouse=clickhouse), encoding="utf-8")
        store = StoreAlone(Path(folder) / "clickhouse", clickhouse, "writer", "secret")
        program = subprocess.Popen(
            [*command, "--config", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            eventually(lambda: listens(grpc), within=60, what="the program")
            with load(grpc, what=what, rows=rows, requests=requests) as send:
                before, began = [cpu_seconds(pid) for pid in (program.pid, store.pid)], time.perf_counter()
                total = int(send()["rows"])
                stored = f"SELECT count() FROM {TABLES[what]}"
                eventually(lambda: int(query(clickhouse, stored)) >= total, within=120, what=f"{total} rows")
                seconds = time.perf_counter() - began
                after = [cpu_seconds(pid) for pid in (program.pid, store.pid)]
            own, stores = ((end - start) / total * 1e6 for start, end in zip(before, after, strict=True))
            return [f"{total / seconds:,.0f}", f"{own:.1f}", f"{stores:.1f}", f"{resident_mib(program.pid):.0f}"]
        finally:
            program.terminate()
            program.wait(30)
            store.stop()


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.otelcol", description=__doc__)
    parser.add_argument("binary", metavar="BINARY", help="the Go Collector")
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    print(f"Machine: {machine()}\n")
    rows = []
    for what, size, requests in LOADS:
        for number in range(args.rounds):
            for name, command in (("Go Collector", [args.binary]), ("jobsight", [*JOBSIGHT, "run"])):
                label = f"{size} {what} a request, {name}, run {number + 1}"
                rows.append([label, *measure(command, what, size, requests)])
    head = ["OTLP over gRPC, `batch`, ClickHouse", "rows/s", "program us/row", "store us/row", "program MiB"]
    print(table(head, rows))


if __name__ == "__main__":
    main()
