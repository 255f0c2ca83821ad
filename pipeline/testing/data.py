"""Small batches of every kind, made from a seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import pyarrow as pa
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from pipeline import otlp
from pipeline.alerts import Alert, AlertState, Severity, alert_batch
from pipeline.batch import Batch
from pipeline.kinds import SHAPES, Kind, Signal
from pipeline.receipt import Receipt

EPOCH_NS = 1_795_300_000_000_000_000


def _attributes(**values: str | int) -> list[KeyValue]:
    return [
        KeyValue(key=key, value=AnyValue(string_value=value) if isinstance(value, str) else AnyValue(int_value=value))
        for key, value in values.items()
    ]


def spans_batch(rows: int = 3, *, seed: int = 0, receipt: Receipt | None = None) -> Batch:
    """Return spans of one resource and scope; every tenth has an error status and an exception event."""
    random = Random(seed)  # noqa: S311 - test data
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.extend(_attributes(**{"service.name": f"shop-{seed}"}))
    scope = group.scope_spans.add()
    scope.scope.name = "testing"
    for row in range(rows):
        start = EPOCH_NS + row * 1_000_000
        span = scope.spans.add(
            trace_id=random.randbytes(16),
            span_id=random.randbytes(8),
            name=f"job {row % 3}",
            kind="SPAN_KIND_CONSUMER",
            start_time_unix_nano=start,
            end_time_unix_nano=start + 500_000,
            attributes=_attributes(row=row, queue="mail"),
        )
        if row % 10 == 9:
            span.status.code = Status.STATUS_CODE_ERROR
            span.events.add(name="exception", attributes=_attributes(**{"exception.type": "ValueError"}))
    return _decoded(Signal.TRACES, request.SerializeToString(), receipt, f"spans-{seed}")


def points_batch(rows: int = 3, *, seed: int = 0, receipt: Receipt | None = None) -> Batch:
    """Return the points of one gauge."""
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    group.resource.attributes.extend(_attributes(**{"service.name": f"shop-{seed}"}))
    metric = group.scope_metrics.add().metrics.add(name="queue.size", unit="{job}")
    for row in range(rows):
        metric.gauge.data_points.add(time_unix_nano=EPOCH_NS + row, as_int=row, attributes=_attributes(queue="mail"))
    return _decoded(Signal.METRICS, request.SerializeToString(), receipt, f"points-{seed}")


def logs_batch(rows: int = 3, *, seed: int = 0, receipt: Receipt | None = None) -> Batch:
    """Return log records of one resource."""
    request = ExportLogsServiceRequest()
    group = request.resource_logs.add()
    group.resource.attributes.extend(_attributes(**{"service.name": f"shop-{seed}"}))
    scope = group.scope_logs.add()
    for row in range(rows):
        record = scope.log_records.add(
            time_unix_nano=EPOCH_NS + row, severity_number=9, attributes=_attributes(row=row)
        )
        record.body.string_value = f"line {row}"
    return _decoded(Signal.LOGS, request.SerializeToString(), receipt, f"logs-{seed}")


def jobs_batch(rows: int = 3, *, seed: int = 0, receipt: Receipt | None = None) -> Batch:
    """Return executions of jobs; every tenth failed. What a worker need not say is null."""
    random = Random(seed)  # noqa: S311 - test data
    schema = SHAPES[Kind.JOBS].schema
    table = pa.Table.from_pylist(
        [
            {
                **dict.fromkeys(schema.names),
                "resource": 0,
                "operation": "process",
                "system": "celery",
                "job_class": f"Job{row % 3}",
                "job_id": f"{seed}-{row}",
                "timestamp": EPOCH_NS + row * 1_000_000,
                "duration": 500_000,
                "trace_id": random.randbytes(16).hex(),
                "span_id": random.randbytes(8).hex(),
                "also_span_ids": [],
                "outcome": "failed" if row % 10 == 9 else "succeeded",
                "error_type": "ValueError" if row % 10 == 9 else None,
                "is_retry_enqueue": False,
                "depends_on_job_ids": [],
                "version": 1,
                "is_deleted": False,
            }
            for row in range(rows)
        ],
        schema,
    )
    resource = spans_batch(1, seed=seed).sides["resource"]
    return Batch(Kind.JOBS, table, receipt or Receipt.issue(f"jobs-{seed}"), {"resource": resource})


def dependencies_batch(rows: int = 3, *, seed: int = 0, receipt: Receipt | None = None) -> Batch:
    """Return edges between job classes, of one interval; every third is a request's."""
    random = Random(seed)  # noqa: S311 - test data
    table = pa.Table.from_pylist(
        [
            {
                "timestamp": EPOCH_NS,
                "parent_kind": "request" if row % 3 == 2 else "job",
                "parent": "POST /orders" if row % 3 == 2 else f"Job{row}",
                "parent_service": f"shop-{seed}",
                "child_kind": "job",
                "child": f"Job{row + 1}",
                "child_service": f"shop-{seed}",
                "via": "link" if row % 2 else "parent",
                "calls": row + 1,
                "failures": row % 2,
                "executions": row + 2,
                "parents": 1,
                "fan_out_max": row + 1,
                "queue_latencies": [random.randrange(1_000_000) for _ in range(row + 2)],
                "queue_latency_weights": [1] * (row + 2),
                "durations": [random.randrange(1_000_000) for _ in range(row + 2)],
                "duration_weights": [1] * (row + 2),
                "first_seen": EPOCH_NS + row,
                "last_seen": EPOCH_NS + 2 * row,
            }
            for row in range(rows)
        ],
        SHAPES[Kind.JOB_DEPENDENCIES].schema,
    )
    return Batch(Kind.JOB_DEPENDENCIES, table, receipt or Receipt.issue(f"dependencies-{seed}"))


def failure_clusters_batch(rows: int = 3, *, seed: int = 0, receipt: Receipt | None = None) -> Batch:
    """Return changes of clusters of failures; every third is over."""
    table = pa.Table.from_pylist(
        [
            {
                "timestamp": EPOCH_NS + (row + 60) * 1_000_000_000,
                "cluster_id": f"{seed:08x}{row:08x}",
                "state": "resolved" if row % 3 == 2 else "opened",
                "rule": "threshold",
                "opened_at": EPOCH_NS + 60 * 1_000_000_000,
                "last_seen_at": EPOCH_NS + (row + 59) * 1_000_000_000,
                "failures": 11 + row,
                "job_classes": [f"Job{row}", "Job9"],
                "queues": ["mail"],
                "error_type": "ValueError",
                "error_category": "validation",
                "error_fingerprint": f"1:{seed:016x}",
                "causes": [
                    {"key": "dependency", "value": "mail-api", "share_in_failures": 0.95, "share_in_successes": 0.0},
                    {"key": "queue", "value": "mail", "share_in_failures": 1.0, "share_in_successes": None},
                ],
                "sample_messages": ["no such customer"],
                "sample_trace_ids": [f"{seed:016x}{row:016x}"],
            }
            for row in range(rows)
        ],
        SHAPES[Kind.FAILURE_CLUSTERS].schema,
    )
    return Batch(Kind.FAILURE_CLUSTERS, table, receipt or Receipt.issue(f"clusters-{seed}"))


def alerts_batch(rows: int = 3, *, seed: int = 0, receipt: Receipt | None = None) -> Batch:
    """Return alerts about job classes; every third is over."""
    alerts = [
        Alert(
            name="FailureCluster",
            severity=Severity.WARNING,
            subject=f"Job{row}",
            text=f"{row + 10} failures of Job{row} within 1 h.",
            timestamp=EPOCH_NS + row * 1_000_000,
            state=AlertState.RESOLVED if row % 3 == 2 else AlertState.FIRING,
            labels={"job_class": f"Job{row}", "queue": "mail"},
            trace_ids=(f"{seed:016x}{row:016x}",),
        )
        for row in range(rows)
    ]
    return alert_batch(alerts, receipt or Receipt.issue(f"alerts-{seed}"))


def _decoded(signal: Signal, body: bytes, receipt: Receipt | None, token: str) -> Batch:
    return otlp.decode(signal, [body]).batch(receipt or Receipt.issue(token))


_SAMPLES: Mapping[Kind, Callable[..., Batch]] = {
    Kind.SPANS: spans_batch,
    Kind.METRICS: points_batch,
    Kind.LOGS: logs_batch,
    Kind.JOBS: jobs_batch,
    Kind.JOB_DEPENDENCIES: dependencies_batch,
    Kind.FAILURE_CLUSTERS: failure_clusters_batch,
    Kind.ALERTS: alerts_batch,
}


def sample_batch(kind: Kind, rows: int = 3, **how: Any) -> Batch:
    """Return a batch of any kind; `how` as for the kind's own function."""
    return _SAMPLES[kind](rows, **how)
