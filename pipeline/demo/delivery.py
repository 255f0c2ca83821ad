"""The way to the collector: the SDK's own exporters and batch processors, with a count of what they were told.

What counts as sent is what the exporter itself called a success. A collector that accepts a request and refuses some of
its spans (OTLP's partial success) is not told apart: the SDK's exporters do not look at it.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

Protocol: TypeAlias = Literal["grpc", "http"]
Signal: TypeAlias = Literal["spans", "logs", "metric points"]

DEFAULT_ENDPOINTS: dict[Protocol, str] = {"grpc": "http://localhost:4317", "http": "http://localhost:4318"}
QUEUE_ITEMS = 32_768
"""What the SDK's queues hold before they drop; the demo waits at half of it, so that a fast run drops nothing."""

BATCH_ITEMS = 512
EXPORT_EVERY_MS = 500
PATIENCE_SECONDS = 30.0
"""How long a full queue is waited for without a single successful export."""


@dataclass(slots=True)
class Tally:
    """What became of one signal. Written by the exporting thread, read by the one that plays."""

    sent: int = 0
    refused: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition, repr=False)

    def add(self, items: int, *, success: bool) -> None:
        with self.changed:
            if success:
                self.sent += items
            else:
                self.refused += items
            self.changed.notify_all()

    def wait_for_success(self, seconds: float) -> bool:
        """Whether something more was sent within that time. Call it with `changed` held."""
        before = self.sent
        return self.changed.wait_for(lambda: self.sent > before, seconds)

    def wait_until_seen(self, items: int, seconds: float) -> bool:
        """Whether the exporter has answered for that many items within that time."""
        with self.changed:
            return self.changed.wait_for(lambda: self.seen >= items, seconds)

    @property
    def seen(self) -> int:
        return self.sent + self.refused


class CountedSpans(SpanExporter):
    """Once shut down it refuses in silence: what is left then counts as dropped, not as refused by the collector."""

    def __init__(self, inner: SpanExporter, tally: Tally) -> None:
        self._inner, self._tally, self._closed = inner, tally, False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self._closed:
            return SpanExportResult.FAILURE
        result = self._inner.export(spans)
        self._tally.add(len(spans), success=result is SpanExportResult.SUCCESS)
        return result

    def shutdown(self) -> None:
        if not self._closed:
            self._closed = True
            self._inner.shutdown()


class CountedLogs(LogRecordExporter):
    """As CountedSpans."""

    def __init__(self, inner: LogRecordExporter, tally: Tally) -> None:
        self._inner, self._tally, self._closed = inner, tally, False

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        if self._closed:
            return LogRecordExportResult.FAILURE
        result = self._inner.export(batch)
        self._tally.add(len(batch), success=result is LogRecordExportResult.SUCCESS)
        return result

    def force_flush(self, timeout_millis: int = 10_000) -> bool:
        return True

    def shutdown(self) -> None:
        if not self._closed:
            self._closed = True
            self._inner.shutdown()  # type: ignore[no-untyped-call]  # the SDK's own signature has no types


class CountedMetrics(MetricExporter):
    """As CountedSpans, counting data points."""

    def __init__(self, inner: MetricExporter, tally: Tally) -> None:
        super().__init__()
        self._inner, self._tally = inner, tally
        self.offered = 0

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        points = sum(
            len(metric.data.data_points)
            for resource in metrics_data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        )
        self.offered += points
        result = self._inner.export(metrics_data, timeout_millis, **kwargs)
        self._tally.add(points, success=result is MetricExportResult.SUCCESS)
        return result

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self._inner.shutdown(timeout_millis, **kwargs)


class LastWords(logging.Handler):
    """Keeps what the SDK last complained of, instead of letting it write over the screen."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.words = ""
        self.closing = False

    def emit(self, record: logging.LogRecord) -> None:
        if not self.closing:  # that exporters which are shut down refuse batches is no news
            self.words = record.getMessage()


class Delivery:
    """Processors to hand spans and logs to, an exporter for metrics, and the tallies of all three."""

    def __init__(self, spans: SpanExporter, logs: LogRecordExporter, metrics: MetricExporter) -> None:
        self.tallies: dict[Signal, Tally] = {"spans": Tally(), "logs": Tally(), "metric points": Tally()}
        self._span_exporter = CountedSpans(spans, self.tallies["spans"])
        self.metrics = CountedMetrics(metrics, self.tallies["metric points"])
        self.spans = BatchSpanProcessor(
            self._span_exporter,
            max_queue_size=QUEUE_ITEMS,
            schedule_delay_millis=EXPORT_EVERY_MS,
            max_export_batch_size=BATCH_ITEMS,
        )
        self._log_exporter = CountedLogs(logs, self.tallies["logs"])
        self.logs = BatchLogRecordProcessor(
            self._log_exporter,
            max_queue_size=QUEUE_ITEMS,
            schedule_delay_millis=EXPORT_EVERY_MS,
            max_export_batch_size=BATCH_ITEMS,
        )
        self._words = LastWords()
        self._logger = logging.getLogger("opentelemetry")
        self._propagated = self._logger.propagate
        self._logger.addHandler(self._words)
        self._logger.propagate = False

    @property
    def complaint(self) -> str:
        """What the SDK last said about a failed export, in one line; empty if it never had to."""
        return " ".join(self._words.words.split())

    def check(self) -> bool:
        """Send an empty request, as a real one is sent; whether the collector took it."""
        return self._span_exporter.export([]) is SpanExportResult.SUCCESS

    def wait_for_room(self, spans_played: int) -> bool:
        """Wait while too many spans are under way. False when none of them got through for PATIENCE_SECONDS."""
        tally = self.tallies["spans"]
        with tally.changed:
            while spans_played - tally.seen > QUEUE_ITEMS // 2:
                if not tally.wait_for_success(PATIENCE_SECONDS):
                    return False
        return True

    def close(self, spans_played: int, logs_played: int, timeout_seconds: float = 15.0) -> None:
        """Wait, up to the time given, until the exporters have seen everything, then close them."""
        deadline = time.monotonic() + timeout_seconds
        played: dict[Signal, int] = {"spans": spans_played, "logs": logs_played}
        for signal, items in played.items():
            self.tallies[signal].wait_until_seen(items, max(0.0, deadline - time.monotonic()))
        self._words.closing = True
        self._span_exporter.shutdown()
        self._log_exporter.shutdown()
        self.metrics.shutdown()
        self.spans.shutdown()  # type: ignore[no-untyped-call]  # the SDK's own signature has no types
        self.logs.shutdown()  # type: ignore[no-untyped-call]  # the SDK's own signature has no types
        self._logger.removeHandler(self._words)
        self._logger.propagate = self._propagated


def address_of(endpoint: str, protocol: Protocol) -> tuple[str, int]:
    """Host and port of an endpoint; ValueError, worded for the user, if it has none."""
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    if parts.scheme not in {"http", "https"} or not _is_name(host):
        raise ValueError(f"{endpoint!r} is no endpoint: write it like {DEFAULT_ENDPOINTS[protocol]}")
    port = parts.port  # raises ValueError itself when it is no number
    if port is None:
        port = {"grpc": 4317, "http": 4318}[protocol] if parts.scheme == "http" else 443
    return host, port


def _is_name(host: str) -> bool:
    try:
        return bool(host.encode("idna"))
    except UnicodeError:
        return False


def unreachable(host: str, port: int, timeout_seconds: float = 3.0) -> str | None:
    """Why nothing can be reached there, None if something listens."""
    try:
        socket.create_connection((host, port), timeout_seconds).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def otlp_delivery(protocol: Protocol, endpoint: str) -> Delivery:
    """Deliver to a collector with the OTLP exporters of the SDK."""
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans

        return Delivery(GrpcSpans(endpoint=endpoint), GrpcLogs(endpoint=endpoint), GrpcMetrics(endpoint=endpoint))
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans

    base = endpoint.rstrip("/")
    return Delivery(
        HttpSpans(endpoint=f"{base}/v1/traces"),
        HttpLogs(endpoint=f"{base}/v1/logs"),
        HttpMetrics(endpoint=f"{base}/v1/metrics"),
    )
