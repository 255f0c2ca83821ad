"""Streams of executions with known truth, made from a seed, as job rows and as the spans of failed calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from pipeline import Batch, ComponentId, Kind, Receipt, Signal, otlp
from pipeline.hashing import hex_of, mixed
from pipeline.kinds import FAILURE_CLUSTERS, JOBS, RESOURCE
from processors.failure_cluster import FailureCluster, FailureClusterConfig

START = 1_795_298_400  # a full hour
SECOND = 1_000_000_000

Record = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """One way to fail; `peer`: the dependency whose call fails."""

    name: str
    category: str = "bug"
    peer: str = ""


@dataclass(frozen=True)
class Worker:
    host: str = "w1"
    version: str = "1.0"
    service: str = "shop"

    @property
    def attributes(self) -> tuple[tuple[str, str], ...]:
        return (("service.name", self.service), ("service.version", self.version), ("host.name", self.host))


@dataclass
class Stream:
    """Executions; `at` and times in seconds since START, which is when they end."""

    seed: int = 0
    records: list[Record] = field(default_factory=list)
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def add(self, at: float, job_class: str, fault: Fault | None = None, **more: Any) -> Record:
        """Add one execution."""
        record: Record = {
            "at": float(at),
            "job_class": job_class,
            "fault": fault,
            "outcome": "succeeded" if fault is None else "failed",
            "queue": "default",
            "worker": Worker(),
            "job_id": "",
            "trace": self.rng.bytes(16),
            "span": self.rng.bytes(8),
            "version": 1,
            "is_deleted": False,
            "system": "celery",
            **more,
        }
        self.records.append(record)
        return record

    def runs(
        self,
        job_class: str,
        per_hour: float,
        begin: float,
        end: float,
        *,
        share: float = 0.0,
        fault: Fault | None = None,
        workers: Sequence[Worker] = (Worker(), Worker("w2"), Worker("w3")),
        **more: Any,
    ) -> None:
        """Add executions at random times (Poisson), of which a share fails."""
        number = self.rng.poisson(per_hour * (end - begin) / 3600)
        times = np.sort(self.rng.uniform(begin, end, number))
        failed = self.rng.random(number) < share
        places = self.rng.integers(len(workers), size=number)
        for at, fails, place in zip(times.tolist(), failed.tolist(), places.tolist(), strict=True):
            self.add(at, job_class, fault if fails else None, worker=workers[place], **more)

    def sorted(self) -> list[Record]:
        return sorted(self.records, key=lambda record: record["at"])


def jobs_of(records: Sequence[Record], token: str = "jobs") -> Batch:
    """Return executions as a batch of kind jobs."""
    workers = list(dict.fromkeys(record["worker"] for record in records))
    numbers = {worker: number for number, worker in enumerate(workers)}
    rows = len(records)
    columns: dict[str, Any] = {name: pa.nulls(rows, JOBS.field(name).type) for name in JOBS.names}
    faults = [record["fault"] for record in records]
    columns |= {
        "resource": pa.array([numbers[record["worker"]] for record in records], pa.int32()),
        "operation": pa.array(["process"] * rows),
        "system": pa.array([record["system"] for record in records]),
        "job_class": pa.array([record["job_class"] for record in records], pa.string()),
        "queue": pa.array([record["queue"] for record in records], pa.string()),
        "job_id": pa.array([record["job_id"] or record["span"].hex() for record in records]),
        "host": pa.array([record["worker"].host for record in records]),
        "worker_id": pa.array([f"{record['worker'].host}:1" for record in records]),
        "timestamp": pa.array([nanoseconds(record["at"]) - SECOND // 2 for record in records], pa.uint64()),
        "duration": pa.array([SECOND // 2] * rows, pa.uint64()),
        "trace_id": pa.array([record["trace"].hex() for record in records]),
        "span_id": pa.array([record["span"].hex() for record in records]),
        "also_span_ids": pa.array([[]] * rows, JOBS.field("also_span_ids").type),
        "outcome": pa.array([record["outcome"] for record in records]),
        "is_retry_enqueue": pa.array([False] * rows),
        "error_type": pa.array([fault.name if fault else None for fault in faults], pa.string()),
        "error_message": pa.array([f"{fault.name}: it broke" if fault else None for fault in faults], pa.string()),
        "error_category": pa.array([fault.category if fault else None for fault in faults], pa.string()),
        "error_fingerprint": pa.array([f"1:{fault.name}" if fault else None for fault in faults], pa.string()),
        "depends_on_job_ids": pa.array([[]] * rows, JOBS.field("depends_on_job_ids").type),
        "version": pa.array([record["version"] for record in records], pa.uint64()),
        "is_deleted": pa.array([record["is_deleted"] for record in records]),
    }
    resources = pa.Table.from_pylist(
        [
            {
                "present": True,
                "attributes": [{"key": key, "value": {"string_value": value}} for key, value in worker.attributes],
                "dropped_attributes_count": 0,
                "entity_refs": [],
                "schema_url": "",
            }
            for worker in workers
        ],
        RESOURCE,
    )
    table = pa.table({name: columns[name] for name in JOBS.names}, JOBS)
    return Batch(Kind.JOBS, table, Receipt.issue(token), {"resource": resources})


def flood(parts: int, rows: int, classes: int, seconds: float) -> Iterator[Batch]:
    """Yield batches of failures, evenly over a time and over classes, of which each has a fault of its own."""
    one = jobs_of([Stream().add(0, "Job", Fault("Own"))])
    for part in range(parts):
        numbers = np.arange(part * rows, (part + 1) * rows, dtype=np.uint64)
        first, second = mixed(numbers), mixed(numbers + np.uint64(2**40))
        columns: dict[str, Any] = {
            "job_class": pa.array([f"Job{number % classes}" for number in numbers.tolist()]),
            "job_id": hex_of(second, first),
            "timestamp": pa.array(START * SECOND + (numbers * (seconds * SECOND / (parts * rows))).astype(np.uint64)),
            "trace_id": hex_of(first, second),
            "span_id": hex_of(first),
            "error_message": hex_of(second, second),
            "error_fingerprint": hex_of(second),
        }
        table = one.table.take(np.zeros(rows, np.int64)).combine_chunks()
        for name, values in columns.items():
            table = table.set_column(JOBS.get_field_index(name), JOBS.field(name), values)
        yield Batch(Kind.JOBS, table, Receipt.issue(f"flood-{part}"), one.sides)


def calls_of(records: Iterable[Record]) -> Batch | None:
    """Return the failed client spans of the executions whose fault names a peer."""
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for record in records:
        if record["fault"] is not None and record["fault"].peer:
            end = nanoseconds(record["at"]) - SECOND // 10
            scope.spans.add(
                trace_id=record["trace"],
                span_id=b"calling!",
                parent_span_id=record["span"],
                name="POST",
                kind=Span.SPAN_KIND_CLIENT,
                start_time_unix_nano=end - SECOND // 10,
                end_time_unix_nano=end,
                status=Status(code=Status.STATUS_CODE_ERROR),
                attributes=[KeyValue(key="peer.service", value=AnyValue(string_value=record["fault"].peer))],
            )
    if not scope.spans:
        return None
    return otlp.decode(Signal.TRACES, [request.SerializeToString()]).batch(Receipt.issue("calls"))


def nanoseconds(at: float) -> int:
    return START * SECOND + round(at * SECOND)


def processor(**config: Any) -> FailureCluster:
    return FailureCluster(FailureClusterConfig.model_validate(config), ComponentId("failure_cluster"))


def fed(watcher: FailureCluster, records: Sequence[Record], sizes: Iterable[int] = ()) -> Iterator[Batch]:
    """Feed executions in the given order, in batches of the given sizes (then 500), and yield what is told."""
    place, steps = 0, iter(sizes)
    while place < len(records):
        size = max(1, next(steps, 500))
        part = records[place : place + size]
        place += size
        calls = calls_of(part)
        if calls is not None:
            assert list(watcher.process(calls)) == [calls]
        passed, *more = watcher.process(jobs_of(part))
        assert passed.rows == len(part)
        yield from more


def told(batches: Iterable[Batch]) -> list[Record]:
    """Return the changes of clusters among batches, as rows."""
    rows: list[Record] = []
    for batch in batches:
        if batch.kind is Kind.FAILURE_CLUSTERS:
            assert batch.table.schema == FAILURE_CLUSTERS
            rows += batch.table.to_pylist()
    return rows


def watched(records: Sequence[Record], sizes: Iterable[int] = (), **config: Any) -> list[Record]:
    """Return what is told of a whole stream."""
    watcher = processor(**config)
    return told([*fed(watcher, records, sizes), *watcher.drain()])


Times = npt.NDArray[np.float64]
