"""OTLP request bodies to measure with: made once, the same for the same arguments, shaped like a shop's job workers.

A span is about 500 bytes with 10 attributes, and every fifth carries an exception event; a gauge point is about 140
bytes with 4 attributes; a log record is about 270 bytes with 5 attributes. Ids are unique within what one call makes.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

START_NS = 1_795_300_000_000_000_000
_JOBS = ("orders.Charge", "orders.Ship", "mail.Receipt", "images.Resize", "search.Reindex", "reports.Daily")
_QUEUES = ("default", "mail", "images", "low")
_SERVICES = ("shop-web", "shop-worker", "mail-worker", "image-worker")
_GAUGES = ("jobs.queue.size", "jobs.queue.latency", "process.memory.usage", "process.cpu.utilization")
_TRACE = "Traceback (most recent call last):\n" + "".join(
    f'  File "/app/shop/{name}.py", line {line}, in {name}\n    raise_for_status(reply)\n'
    for name, line in (("worker", 88), ("charge", 131), ("gateway", 42))
)


def make_spans(requests: int, spans: int) -> list[bytes]:
    """Return `requests` trace requests of `spans` spans each; a trace is four spans of one request."""
    rng = random.Random(f"spans {requests} {spans}")
    return [_trace_request(rng, number, spans) for number in range(requests)]


def make_points(requests: int, points: int) -> list[bytes]:
    """Return `requests` metric requests of `points` gauge points each, 50 points a metric at most."""
    rng = random.Random(f"points {requests} {points}")
    return [_metric_request(rng, number, points) for number in range(requests)]


def make_logs(requests: int, records: int) -> list[bytes]:
    """Return `requests` log requests of `records` records each."""
    rng = random.Random(f"logs {requests} {records}")
    return [_log_request(rng, number, records) for number in range(requests)]


def _trace_request(rng: random.Random, number: int, spans: int) -> bytes:
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add(resource=_resource(number))
    scope = group.scope_spans.add()
    scope.scope.name, scope.scope.version = "opentelemetry.instrumentation.celery", "0.66b1"
    trace_id = parent = b""
    for row in range(spans):
        if row % 4 == 0:
            trace_id, parent = rng.randbytes(16), b""
        span_id, job, start = rng.randbytes(8), rng.choice(_JOBS), START_NS + row * 1_000_000 + rng.randrange(900_000)
        span = scope.spans.add(
            trace_id=trace_id,
            span_id=span_id,
            parent_span_id=parent,
            flags=0x100,
            name=f"run/{job}",
            kind=Span.SPAN_KIND_CONSUMER,
            start_time_unix_nano=start,
            end_time_unix_nano=start + rng.randrange(1_000_000, 900_000_000),
            attributes=_attributes(
                {
                    "celery.action": "run",
                    "celery.state": "SUCCESS" if row % 5 else "FAILURE",
                    "messaging.system": "celery",
                    "messaging.destination.name": rng.choice(_QUEUES),
                    "messaging.message.id": f"{rng.getrandbits(128):032x}",
                    "celery.task_name": job,
                    "celery.retries": rng.randrange(3),
                    "celery.hostname": f"celery@worker-{rng.randrange(8)}",
                    "shop.order_id": rng.randrange(10_000_000),
                    "shop.amount": round(rng.uniform(1, 500), 2),
                }
            ),
        )
        if row % 5 == 0:
            span.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message="gateway answered 503"))
            span.events.add(
                time_unix_nano=start + 500_000,
                name="exception",
                attributes=_attributes(
                    {
                        "exception.type": "shop.errors.GatewayError",
                        "exception.message": f"gateway answered 503 for order {rng.randrange(10_000_000)}",
                        "exception.stacktrace": _TRACE,
                    }
                ),
            )
        parent = span_id
    return request.SerializeToString()


def _metric_request(rng: random.Random, number: int, points: int) -> bytes:
    request = ExportMetricsServiceRequest()
    scope = request.resource_metrics.add(resource=_resource(number)).scope_metrics.add()
    scope.scope.name = "shop.jobs"
    for first in range(0, points, 50):
        metric = scope.metrics.add(
            name=_GAUGES[first // 50 % len(_GAUGES)], unit="1", description="State of the workers"
        )
        for row in range(first, min(first + 50, points)):
            metric.gauge.data_points.add(
                time_unix_nano=START_NS + row * 1_000_000,
                as_double=rng.uniform(0, 1000),
                attributes=_attributes(
                    {
                        "messaging.system": "celery",
                        "messaging.destination.name": rng.choice(_QUEUES),
                        "job.class": rng.choice(_JOBS),
                        "worker.number": row % 16,
                    }
                ),
            )
    return request.SerializeToString()


def _log_request(rng: random.Random, number: int, records: int) -> bytes:
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add(resource=_resource(number)).scope_logs.add()
    scope.scope.name = "shop.worker"
    for row in range(records):
        job = rng.choice(_JOBS)
        scope.log_records.add(
            time_unix_nano=START_NS + row * 1_000_000,
            observed_time_unix_nano=START_NS + row * 1_000_000 + 30_000,
            severity_number="SEVERITY_NUMBER_INFO",
            severity_text="INFO",
            body=AnyValue(
                string_value=f"Task {job}[{rng.getrandbits(64):016x}] took {rng.randrange(900)} ms, no retry"
            ),
            attributes=_attributes(
                {
                    "code.function": "trace_task",
                    "code.lineno": rng.randrange(300),
                    "celery.task_name": job,
                    "messaging.destination.name": rng.choice(_QUEUES),
                    "shop.order_id": rng.randrange(10_000_000),
                }
            ),
            flags=1,
            trace_id=rng.randbytes(16),
            span_id=rng.randbytes(8),
        )
    return request.SerializeToString()


def _resource(number: int) -> Resource:
    return Resource(
        attributes=_attributes(
            {
                "service.name": _SERVICES[number % len(_SERVICES)],
                "service.version": "4.2.0",
                "host.name": f"worker-{number % 3}",
                "process.pid": 4000 + number % 3,
                "telemetry.sdk.language": "python",
            }
        )
    )


def _attributes(values: Mapping[str, str | int | float]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_any_value(value)) for key, value in values.items()]


def _any_value(value: str | float) -> AnyValue:
    if isinstance(value, str):
        return AnyValue(string_value=value)
    return AnyValue(int_value=value) if isinstance(value, int) else AnyValue(double_value=value)
