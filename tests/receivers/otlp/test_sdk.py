"""The real SDK's exporters against a real receiver."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GRPCLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GRPCMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GRPCSpanExporter
from opentelemetry.exporter.otlp.proto.http import Compression as HTTPCompression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HTTPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HTTPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HTTPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter

from pipeline.errors import Malformed, Overloaded, Unavailable
from pipeline.kinds import Kind
from tests.receivers.otlp.rig import Host, Served

RESOURCE = Resource({"service.name": "shop-worker"})
Make = Callable[[Served], Any]


def send_spans(exporter: SpanExporter, *names: str) -> None:
    """Make spans, each exported as it ends; blocks."""
    provider = TracerProvider(resource=RESOURCE)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    for name in names:
        with tracer.start_as_current_span(name, attributes={"queue": "mail"}):
            pass
    provider.shutdown()


def send_points(exporter: Any) -> None:
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=1e6)
    provider = MeterProvider([reader], RESOURCE)
    counter = provider.get_meter("test").create_counter("jobs.done")
    counter.add(3, {"queue": "mail"})
    counter.add(4, {"queue": "slow"})
    provider.shutdown()


def send_records(exporter: Any) -> None:
    provider = LoggerProvider(RESOURCE)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    provider.get_logger("test").emit(body="done", severity_text="INFO", event_name="job.done")
    provider.shutdown()


def over_grpc(type_: Any, **how: Any) -> Make:
    return lambda served: type_(endpoint=served.grpc_endpoint, insecure=True, **how)


def over_http(type_: Any, path: str, **how: Any) -> Make:
    return lambda served: type_(endpoint=f"http://{served.http_endpoint}{path}", **how)


SPAN_EXPORTERS = {
    "grpc": over_grpc(GRPCSpanExporter),
    "grpc-gzip": over_grpc(GRPCSpanExporter, compression=grpc.Compression.Gzip),
    "http": over_http(HTTPSpanExporter, "/v1/traces"),
    "http-gzip": over_http(HTTPSpanExporter, "/v1/traces", compression=HTTPCompression.Gzip),
    "http-deflate": over_http(HTTPSpanExporter, "/v1/traces", compression=HTTPCompression.Deflate),
}


@pytest.mark.parametrize("make", SPAN_EXPORTERS.values(), ids=SPAN_EXPORTERS)
async def test_spans(host: Host, served: Served, make: Make) -> None:
    """Scenario: the SDK sends spans, each in a request. Guarantees: every span arrives once, with its resource."""
    await asyncio.to_thread(send_spans, make(served), "charge", "ship", "mail")

    assert host.names() == ["charge", "ship", "mail"]
    resource = {entry["key"]: entry["value"] for entry in host.emitted[0].side("resource", "attributes")[0].as_py()}
    assert resource["service.name"]["string_value"] == "shop-worker"


@pytest.mark.parametrize(
    ("make", "send", "kind", "rows"),
    [
        (over_grpc(GRPCMetricExporter), send_points, Kind.METRICS, 2),
        (over_http(HTTPMetricExporter, "/v1/metrics"), send_points, Kind.METRICS, 2),
        (over_grpc(GRPCLogExporter), send_records, Kind.LOGS, 1),
        (over_http(HTTPLogExporter, "/v1/logs"), send_records, Kind.LOGS, 1),
    ],
    ids=["metrics-grpc", "metrics-http", "logs-grpc", "logs-http"],
)
async def test_metrics_and_logs(
    host: Host, served: Served, make: Make, send: Callable[[Any], None], kind: Kind, rows: int
) -> None:
    """Scenario: the SDK sends metrics and logs. Guarantees: they arrive as their kind."""
    await asyncio.to_thread(send, make(served))

    assert {batch.kind for batch in host.emitted} == {kind}
    assert sum(batch.rows for batch in host.emitted) == rows


@pytest.mark.parametrize("make", [over_grpc(GRPCSpanExporter), over_http(HTTPSpanExporter, "/v1/traces")])
@pytest.mark.parametrize("refusal", [Overloaded("full"), Unavailable("away"), KeyError("a bug of ours")])
async def test_what_is_temporary_is_sent_again(host: Host, served: Served, make: Make, refusal: Exception) -> None:
    """Scenario: the pipeline refuses for a moment. Guarantees: the SDK waits as told and the span arrives once."""
    host.raises_next = [refusal]
    await asyncio.to_thread(send_spans, make(served), "charge")

    assert host.names() == ["charge"]


@pytest.mark.parametrize("make", [over_grpc(GRPCSpanExporter), over_http(HTTPSpanExporter, "/v1/traces")])
async def test_what_is_final_is_not_sent_again(host: Host, served: Served, make: Make) -> None:
    """Scenario: the request is refused for good. Guarantees: the SDK drops it at once and goes on."""
    host.raises_next = [Malformed("never"), Malformed("never again")]
    await asyncio.to_thread(send_spans, make(served), "bad", "worse", "good")

    assert host.raises_next == []
    assert host.names() == ["good"]
