"""The shop told through the real SDK, into its in-memory exporters."""

from __future__ import annotations

import io
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import pytest
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.metrics.export import (
    ExponentialHistogram,
    Histogram,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
)
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from rich.console import Console

from pipeline.demo import delivery
from pipeline.demo.delivery import Delivery
from pipeline.demo.play import Ending, Heartbeat, play
from pipeline.demo.records import LogEntry, SpanRecord
from pipeline.demo.screen import Screen
from pipeline.demo.shop import Shop
from pipeline.demo.world import World

EPOCH = 1_800_000_000_000_000_000


class NoPace:
    """Every record's turn has come, until the given time."""

    def __init__(self, until_ns: int | None = None) -> None:
        self.until_ns = until_ns

    def wait_until(self, at_ns: int) -> bool:
        return self.until_ns is None or at_ns <= self.until_ns


class KeptMetrics(MetricExporter):
    """The SDK has an in-memory reader but no in-memory exporter."""

    def __init__(self) -> None:
        super().__init__()
        self.exports: list[MetricsData] = []

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: object) -> MetricExportResult:
        self.exports.append(metrics_data)
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: object) -> None:
        pass


@dataclass
class Stage:
    """A performance and everything it left behind."""

    shop: Shop
    spans: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    logs: InMemoryLogRecordExporter = field(default_factory=InMemoryLogRecordExporter)
    metrics: KeptMetrics = field(default_factory=KeptMetrics)
    shown: io.StringIO = field(default_factory=io.StringIO)
    ending: Ending | None = None
    cpu_seconds: float = 0.0

    def perform(self, spans: SpanExporter | None = None, until_ns: int | None = None) -> Ending:
        deliver = Delivery(spans or self.spans, self.logs, self.metrics)
        screen = Screen(Console(file=self.shown, width=100), self.shop.world.seconds, quiet=False)
        with screen:
            self.ending = play(self.shop, deliver, NoPace(until_ns), screen, Heartbeat(3600.0))
        screen.summary(self.ending.truth, self.ending.deliveries)
        return self.ending


def stage(rate: float = 200.0, seconds: float = 60.0, seed: int = 9) -> Stage:
    return Stage(Shop(World(seed, EPOCH, seconds), rate))


@pytest.fixture(scope="module")
def minute() -> Stage:
    performed = stage()
    before = time.process_time()
    performed.perform()
    performed.cpu_seconds = time.process_time() - before
    return performed


def test_a_simulated_minute_takes_seconds_and_loses_nothing(minute: Stage) -> None:
    """Scenario: the default minute without waiting. Guarantees: under 10 s of work, all delivered, all shown."""
    ending = minute.ending
    assert ending is not None
    assert minute.cpu_seconds < 10
    assert ending.deliveries["spans"] == (ending.truth.spans, 0, 0)
    assert ending.deliveries["logs"] == (ending.truth.logs, 0, 0)
    sent, refused, dropped = ending.deliveries["metric points"]
    assert (sent > 50, refused, dropped) == (True, 0, 0)
    assert len(minute.spans.get_finished_spans()) == ending.truth.spans > 10_000
    shown = minute.shown.getvalue()
    assert "payments-api begins to time out" in shown
    assert "ProcessOrderJob" in shown
    assert f"{ending.truth.spans:,}" in shown
    assert "50 s: " in shown


def test_spans_are_the_records(minute: Stage) -> None:
    """Scenario: the SDK's spans beside the records. Guarantees: equal ids, parents, links, times, events, status."""
    finished = {(s.context.trace_id, s.context.span_id): s for s in minute.spans.get_finished_spans() if s.context}
    records = [record for record in minute.shop.play() if isinstance(record, SpanRecord)]
    assert len(finished) == len(records)
    for record in records:
        span = finished[record.trace_id, record.span_id]
        assert span.name == record.name
        assert span.kind.name.lower() == record.kind
        assert (span.start_time, span.end_time) == (record.start_ns, record.end_ns)
        assert (span.parent.span_id if span.parent else None) == record.parent_id
        assert [(link.context.trace_id, link.context.span_id) for link in span.links] == list(record.links)
        assert [(e.name, e.timestamp) for e in span.events] == [(mark.name, mark.at_ns) for mark in record.marks]
        assert dict(span.attributes or {}) == dict(record.attributes)
        assert (span.status.status_code is StatusCode.ERROR) == (record.error is not None)
        assert span.status.description == record.error


def test_each_process_has_its_resource(minute: Stage) -> None:
    """Scenario: all spans. Guarantees: four services, each process a whole resource, the deploy's three versions."""
    resources = {tuple(sorted(span.resource.attributes.items())) for span in minute.spans.get_finished_spans()}
    assert {dict(r)["service.name"] for r in resources} == {"shop-web", "shop-workers", "mailer", "media"}
    assert {dict(r)["telemetry.sdk.language"] for r in resources} == {"python", "ruby", "nodejs"}
    for attributes in map(dict, resources):
        assert attributes.keys() >= {
            "service.version",
            "service.instance.id",
            "host.name",
            "deployment.environment.name",
            "process.pid",
        }
    assert len({dict(r)["service.instance.id"] for r in resources}) == len(resources) > 8
    assert {dict(r)["service.version"] for r in resources if dict(r)["service.name"] == "shop-workers"} == {
        "2.14.0",
        "2.15.0",
        "2.15.1",
    }


def test_logs_belong_to_spans(minute: Stage) -> None:
    """Scenario: the log records. Guarantees: each is in a span of the same process; failures carry the exception."""
    by_id = {(s.context.trace_id, s.context.span_id): s for s in minute.spans.get_finished_spans() if s.context}
    logs = minute.logs.get_finished_logs()
    severities: Counter[str] = Counter()
    for entry in logs:
        record = entry.log_record
        span = by_id[record.trace_id or 0, record.span_id or 0]
        assert span.resource.attributes == entry.resource.attributes
        assert record.timestamp is not None
        assert span.start_time is not None
        assert span.end_time is not None
        assert span.start_time <= record.timestamp <= span.end_time
        severities[record.severity_text or ""] += 1
        attributes = record.attributes or {}
        assert ("exception.type" in attributes) == (record.severity_text in {"WARN", "ERROR"})
        assert ("exception.stacktrace" in attributes) == ("exception.type" in attributes)
    assert len(logs) == sum(isinstance(record, LogEntry) for record in minute.shop.play())
    assert severities.keys() == {"INFO", "WARN", "ERROR"}


def test_metrics_agree_with_the_truth(minute: Stage) -> None:
    """Scenario: the last export of each resource. Guarantees: counts as in the truth, queues empty, right types."""
    assert minute.ending is not None
    executed: Counter[tuple[str, str]] = Counter()
    observed: Counter[str] = Counter()
    shapes: dict[str, type] = {}
    rest: list[float] = []
    services: dict[str, set[str]] = {}
    for data in minute.metrics.exports:
        for resource in data.resource_metrics:
            for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                shapes[metric.name] = type(metric.data)
                services.setdefault(metric.name, set()).add(str(resource.resource.attributes["service.name"]))
                for point in metric.data.data_points:
                    attributes = point.attributes or {}
                    if not isinstance(point, NumberDataPoint):
                        observed[metric.name] += point.count
                    elif metric.name == "jobs.executed":
                        executed[str(attributes["job.class"]), str(attributes["job.outcome"])] += int(point.value)
                    elif metric.name in {"jobs.in_flight", "jobs.queue.size"}:
                        rest.append(point.value)
    jobs = minute.ending.truth.jobs
    assert executed == {(name, outcome): n for name, job in jobs.items() for outcome, n in job.outcomes.items()}
    assert sum(observed.values()) == sum(job.executions for job in jobs.values())
    assert set(rest) == {0}
    assert shapes["messaging.process.duration"] is ExponentialHistogram
    assert shapes["flower.task.runtime.seconds"] is shapes["bullmq.job.duration"] is Histogram
    assert services["process.cpu.time"] == services["process.memory.usage"] == {"jobsight-demo"}
    assert services["jobs.queue.latency"] == {"queue-exporter"}


def test_a_stopped_run_delivers_what_it_played() -> None:
    """Scenario: the user stops halfway. Guarantees: said so, truth and collector agree on what was played by then."""
    performed = stage(seconds=12.0)
    world = performed.shop.world

    ending = performed.perform(until_ns=world.start_ns + 8_000_000_000)

    assert ending.interrupted
    assert not ending.gave_up
    assert len(performed.spans.get_finished_spans()) == ending.truth.spans == ending.deliveries["spans"][0]
    assert max(span.end_time or 0 for span in performed.spans.get_finished_spans()) <= world.start_ns + 8_000_000_000


class Moody(SpanExporter):
    """Refuses every other batch."""

    def __init__(self) -> None:
        self.batches = 0
        self.taken = 0

    def export(self, spans: object) -> SpanExportResult:
        assert isinstance(spans, (list, tuple))
        self.batches += 1
        if self.batches % 2:
            return SpanExportResult.FAILURE
        self.taken += len(spans)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        pass


def test_refusals_are_counted() -> None:
    """Scenario: a collector that refuses some batches. Guarantees: sent and refused as it saw them, no more lost."""
    moody = Moody()
    ending = stage(seconds=8.0).perform(moody)

    sent, refused, dropped = ending.deliveries["spans"]
    assert sent == moody.taken > 0
    assert refused > 0
    assert dropped == 0
    assert sent + refused == ending.truth.spans


class Crashing(SpanExporter):
    """Raises, as an exporter with a bug does; the batch is lost to everybody."""

    def export(self, spans: object) -> SpanExportResult:
        raise RuntimeError("no")

    def shutdown(self) -> None:
        pass


def test_what_vanishes_counts_as_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenario: batches disappear without an answer. Guarantees: they count as dropped, not as sent."""
    original = Delivery.close
    monkeypatch.setattr(Delivery, "close", lambda self, spans, logs: original(self, spans, logs, timeout_seconds=0.2))
    ending = stage(seconds=2.0, rate=100.0).perform(Crashing())

    assert ending.deliveries["spans"] == (0, 0, ending.truth.spans)


def small_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "QUEUE_ITEMS", 256)
    monkeypatch.setattr(delivery, "BATCH_ITEMS", 64)


def test_a_fast_play_waits_for_a_slow_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenario: many more spans than the SDK's queue holds, played at once. Guarantees: none is dropped."""
    small_queues(monkeypatch)

    ending = stage(seconds=6.0).perform()

    assert ending.truth.spans > 1000
    assert ending.deliveries["spans"] == (ending.truth.spans, 0, 0)


class Stuck(SpanExporter):
    """Never answers until it is shut down."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def export(self, spans: object) -> SpanExportResult:
        self.over.wait()
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self.over.set()


def test_a_collector_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenario: the collector never answers. Guarantees: the play ends long before its end, and admits what is lost."""
    small_queues(monkeypatch)
    monkeypatch.setattr(delivery, "PATIENCE_SECONDS", 0.05)
    original = Delivery.close
    monkeypatch.setattr(Delivery, "close", lambda self, spans, logs: original(self, spans, logs, timeout_seconds=0.1))

    ending = stage().perform(Stuck())

    assert ending.gave_up
    assert ending.truth.spans < 1000
    sent, refused, dropped = ending.deliveries["spans"]
    assert (sent, refused + dropped) == (0, ending.truth.spans)
