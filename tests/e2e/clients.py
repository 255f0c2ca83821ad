"""Real OpenTelemetry SDK clients for the end-to-end tests."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterable
from typing import Any, Literal

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanKind, StatusCode

from pipeline.testing.program import Ports

Protocol = Literal["grpc", "http"]


class Worker:
    """A job worker with the real SDK and its OTLP exporter."""

    def __init__(self, ports: Ports, protocol: Protocol, service: str = "worker") -> None:
        exporter = (
            GrpcExporter(endpoint=f"http://127.0.0.1:{ports.grpc}", insecure=True)
            if protocol == "grpc"
            else HttpExporter(endpoint=f"http://127.0.0.1:{ports.http}/v1/traces")
        )
        self._provider = TracerProvider(resource=Resource.create({"service.name": service, "host.name": "worker-1"}))
        self._provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=100))
        self.tracer = self._provider.get_tracer("tests", "1.0")

    def run_jobs(self, number: int) -> None:
        """Make `number` traces of two spans each: an enqueue and the execution, which fails every fifth time."""
        for job in range(number):
            with self.tracer.start_as_current_span("mail publish", kind=SpanKind.PRODUCER) as enqueue:
                link = Link(enqueue.get_span_context(), {"link.kind": "enqueue"})
                with self.tracer.start_as_current_span("SendMail", kind=SpanKind.CONSUMER, links=[link]) as span:
                    span.set_attributes({"messaging.system": "celery", "job": job, "ratio": 0.5, "tags": ["a", "b"]})
                    if job % 5 == 0:
                        span.record_exception(TimeoutError("no answer"))
                        span.set_status(StatusCode.ERROR, "no answer")

    def close(self) -> None:
        """Flush; raises if the SDK could not deliver in time."""
        assert self._provider.force_flush(15_000)
        self._provider.shutdown()


def post_json(ports: Ports, spans: Iterable[dict[str, Any]], service: str = "json") -> int:
    """Send OTLP/JSON as a browser or a script would, and return the HTTP status."""
    body = {
        "resourceSpans": [
            {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
                "scopeSpans": [{"scope": {"name": "tests"}, "spans": list(spans)}],
            }
        ]
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{ports.http}/v1/traces", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return int(answer.status)
