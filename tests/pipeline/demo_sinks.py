"""Collectors for the demo's tests: real OTLP servers on loopback that keep what they are sent, or refuse it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass
class Sink:
    """What arrived. `refuse` is asked for each request with spans in it; `arrived` is called after each."""

    endpoint: str = ""
    traces: list[ExportTraceServiceRequest] = field(default_factory=list)
    logs: list[ExportLogsServiceRequest] = field(default_factory=list)
    metrics: list[ExportMetricsServiceRequest] = field(default_factory=list)
    refuse: Callable[[], bool] = lambda: False
    arrived: Callable[[], None] = lambda: None

    @property
    def spans(self) -> int:
        return sum(
            len(scope.spans) for r in self.traces for resource in r.resource_spans for scope in resource.scope_spans
        )

    @property
    def log_records(self) -> int:
        return sum(len(s.log_records) for r in self.logs for resource in r.resource_logs for s in resource.scope_logs)

    @property
    def metric_names(self) -> set[str]:
        return {
            metric.name
            for request in self.metrics
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def take(self, request: Any) -> bool:
        """Keep a request; False to refuse it."""
        if isinstance(request, ExportTraceServiceRequest):
            if request.resource_spans and self.refuse():
                return False
            self.traces.append(request)
            if request.resource_spans:
                self.arrived()
        elif isinstance(request, ExportLogsServiceRequest):
            self.logs.append(request)
        else:
            self.metrics.append(request)
        return True


SERVICES: dict[str, tuple[str, Any, Any]] = {
    "/v1/traces": (
        "opentelemetry.proto.collector.trace.v1.TraceService",
        ExportTraceServiceRequest,
        ExportTraceServiceResponse,
    ),
    "/v1/logs": (
        "opentelemetry.proto.collector.logs.v1.LogsService",
        ExportLogsServiceRequest,
        ExportLogsServiceResponse,
    ),
    "/v1/metrics": (
        "opentelemetry.proto.collector.metrics.v1.MetricsService",
        ExportMetricsServiceRequest,
        ExportMetricsServiceResponse,
    ),
}


@contextmanager
def grpc_sink() -> Iterator[Sink]:
    sink = Sink()
    server = grpc.server(ThreadPoolExecutor(2))

    def export(answer: Any) -> Callable[[Any, grpc.ServicerContext], Any]:
        def take(request: Any, context: grpc.ServicerContext) -> Any:
            if not sink.take(request):
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "spans are not welcome")
            return answer()

        return take

    for service, request, answer in SERVICES.values():
        method = grpc.unary_unary_rpc_method_handler(export(answer), request.FromString, answer.SerializeToString)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sink.endpoint = f"http://127.0.0.1:{port}"
    try:
        yield sink
    finally:
        server.stop(None).wait()


@contextmanager
def http_sink() -> Iterator[Sink]:
    sink = Sink()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["content-length"]))
            status, body = 404, b"no such path"
            if self.path in SERVICES:
                _, request, answer = SERVICES[self.path]
                taken = sink.take(request.FromString(sent))
                status, body = (200, answer().SerializeToString()) if taken else (400, b"spans are not welcome")
            self.send_response(status)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    sink.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield sink
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


SINKS = {"grpc": grpc_sink, "http": http_sink}
