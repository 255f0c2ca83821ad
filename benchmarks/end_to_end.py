"""The real program under load: gRPC from a second process, the embedded ClickHouse, everything on this machine."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.load import load
from pipeline.testing.program import Ports, Program, eventually

TICK = os.sysconf("SC_CLK_TCK")
TABLES = {"spans": "otel_traces", "jobs": "otel_traces", "points": "otel_metrics_gauge", "logs": "otel_logs"}


@dataclass(frozen=True, slots=True)
class Run:
    """What is sent: `requests` requests of about `rows` rows each, `in_flight` at a time."""

    what: str
    rows: int
    requests: int
    protocol: Literal["grpc", "http"] = "grpc"
    in_flight: int = 32
    processors: str = "batch"
    """What stands in the pipelines of traces and logs."""


@dataclass(frozen=True, slots=True)
class Result:
    run: Run
    rows: int
    rows_per_second: float
    collector_us: float
    store_us: float
    load_us: float
    collector_mib: float
    store_mib: float
    refused: int
    stored: int
    lag: str
    requests_per_decode: float


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def resident_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure(run: Run) -> Result:
    """Run the program, send everything, wait until every row is in the table."""
    with tempfile.TemporaryDirectory(prefix="jobsight-bench-") as folder:
        sets = [f"service.pipelines.{signal}.processors=[{run.processors}]" for signal in ("traces", "logs")]
        program = Program(Path(folder) / "clickhouse", Ports(), sets=sets).started()
        port = program.ports.grpc if run.protocol == "grpc" else program.ports.http
        try:
            with load(
                port,
                what=run.what,
                rows=run.rows,
                requests=run.requests,
                protocol=run.protocol,
                in_flight=run.in_flight,
            ) as send:
                return _measured(run, program, send)
        finally:
            program.stop()


def _measured(run: Run, program: Program, send: Callable[[], dict[str, float]]) -> Result:
    collector, store = program.process.pid, program.store_pid()
    before = cpu_seconds(collector), cpu_seconds(store)
    began = time.perf_counter()
    sent = send()
    table = TABLES[run.what]
    rows = int(sent["rows"])
    eventually(lambda: program.count(table) >= rows, within=120, what=f"{rows} rows")
    seconds = time.perf_counter() - began
    after = cpu_seconds(collector), cpu_seconds(store)
    decodes = program.metric("jobsight_receiver_otlp_joint_decode_requests_count")
    return Result(
        run,
        rows,
        rows_per_second=rows / seconds,
        collector_us=(after[0] - before[0]) / rows * 1e6,
        store_us=(after[1] - before[1]) / rows * 1e6,
        load_us=sent["cpu_seconds"] / rows * 1e6,
        collector_mib=resident_mib(collector),
        store_mib=resident_mib(store),
        refused=int(sent["refused"]),
        stored=program.count(table),
        lag=worst_lag(program),
        requests_per_decode=run.requests / decodes if decodes else 0.0,
    )


def worst_lag(program: Program) -> str:
    """Return the bound below which the event loop was always on time, of the histogram's buckets."""
    buckets = program.samples("jobsight_event_loop_lag_seconds_bucket")
    total = max(buckets.values(), default=0.0)
    bounds = [(float(labels.split('le="')[1].split('"')[0]), count) for labels, count in buckets.items()]
    if not total:
        return "?"
    worst, *longer = sorted(bound * 1000 for bound, count in bounds if count == total)
    return f"<= {worst:g} ms" if longer else f"> {max(bound * 1000 for bound, count in bounds if count < total):g} ms"
