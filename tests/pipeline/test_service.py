from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest

from pipeline import (
    Batch,
    Config,
    Exporter,
    Extension,
    Host,
    Kind,
    Processor,
    Receipt,
    Receiver,
    ShuttingDown,
    StartError,
    Unavailable,
)
from pipeline.config.load import load_plan
from pipeline.exporting import ExporterConfig
from pipeline.kinds import Signal
from pipeline.registry import Registry
from pipeline.service import Service
from pipeline.testing import Ledger, logs_batch, spans_batch

YAML = """yaml:
receivers: {source: }
processors: {picky: }
exporters: {sink: {retry_on_failure: {initial_interval: 60s, max_interval: 60s}, sending_queue: {queue_size: 1}}}
extensions: {aside: }
service:
  extensions: [aside]
  telemetry: {metrics: {level: none}}
  shutdown_timeout: 8s
  pipelines:
    traces: {receivers: [source], processors: [picky], exporters: [sink]}
"""


EVENTS: list[str] = []


async def nothing() -> None:
    """Do nothing."""


HOOKS: dict[str, Callable[[], Any]] = {}
"""What the sink does at `start` and `stop`."""


class Source(Receiver[Config]):
    kind = "source"
    Config = Config
    host: Host

    async def start(self, host: Host) -> None:
        self.host = host

    async def stop_accepting(self) -> None:
        EVENTS.append("source refuses")

    async def stop(self) -> None:
        EVENTS.append("source stops")


class Picky(Processor[Config]):
    """Crashes on a batch of 13 rows."""

    kind = "picky"
    Config = Config
    handles = frozenset(Kind)

    def process(self, batch: Batch) -> list[Batch]:
        if batch.rows == 13:
            raise ZeroDivisionError("thirteen")
        return [batch]


class Joint(Processor[Config]):
    """Holds everything to the end, in one instance for all pipelines."""

    kind = "joint"
    Config = Config
    handles = frozenset(Kind)
    shared = True
    held: list[Batch]

    async def start(self, host: Host) -> None:
        EVENTS.append("joint starts")
        self.held = []

    def process(self, batch: Batch) -> list[Batch]:
        self.held.append(batch)
        return []

    def drain(self) -> list[Batch]:
        EVENTS.append(f"joint drains {sorted(str(batch.kind) for batch in self.held)}")
        return self.held


class Homely(Joint):
    """Shared, and at home in traces pipelines."""

    kind = "homely"
    home_signal = Signal.TRACES


class Prompt(Processor[Config]):
    """Wants to be woken as soon as it holds something, and lets go of it then."""

    kind = "prompt"
    Config = Config
    handles = frozenset(Kind)
    shared = True
    held: list[Batch]

    async def start(self, host: Host) -> None:
        self.held = []

    def process(self, batch: Batch) -> list[Batch]:
        self.held.append(batch)
        return []

    def wake_at(self) -> float | None:
        return 0.0 if self.held else None

    def tick(self, now: float) -> list[Batch]:
        held, self.held = self.held, []
        return held


class Sink(Exporter[ExporterConfig]):
    kind = "sink"
    Config = ExporterConfig
    away: ClassVar[asyncio.Event]

    async def start(self, host: Host) -> None:
        await HOOKS["start"]()
        self.rows = 0
        self.tokens: list[str] = []

    async def export(self, batch: Batch) -> None:
        if self.away.is_set():
            raise Unavailable("away")
        self.rows += batch.rows
        self.tokens.append(batch.receipt.token)

    async def stop(self) -> None:
        EVENTS.append("sink stops")
        await HOOKS["stop"]()


class Relay(Sink):
    """Sends requests on as they came, unless they are logs."""

    kind = "relay"

    def forwards(self, kind: Kind) -> bool:
        return kind is not Kind.LOGS


class Aside(Extension[Config]):
    kind = "aside"
    Config = Config

    async def not_ready(self) -> None:
        EVENTS.append("not ready")

    async def stop(self) -> None:
        EVENTS.append("aside stops")


@pytest.fixture(autouse=True)
def _fresh() -> None:
    EVENTS.clear()
    Sink.away = asyncio.Event()
    HOOKS.update(start=nothing, stop=nothing)


def build(*sets: str) -> Service:
    return Service(
        load_plan(
            [YAML], sets, environ={}, registry=Registry.of(Source, Picky, Joint, Homely, Prompt, Sink, Relay, Aside)
        )
    )


@asynccontextmanager
async def running(*sets: str) -> AsyncIterator[tuple[Service, Source, Sink]]:
    service = build(*sets)
    await service.start()
    (source,), (sink,) = service.receivers.values(), service.exporters.values()
    assert isinstance(source, Source)
    assert isinstance(sink, Sink)
    yield service, source, sink
    await service.stop()


async def test_the_order_of_the_end() -> None:
    """Scenario: start and stop. Guarantees: health first, then receivers refuse, exporters stop, extensions last."""
    async with running() as (service, source, sink):
        await source.host.emit(spans_batch(3))

    assert EVENTS == ["not ready", "source refuses", "source stops", "sink stops", "aside stops"]
    assert (sink.rows, service.undelivered_rows, service.overdue) == (3, 0, False)


async def test_a_full_pipeline_is_delivered_when_the_backend_is_back() -> None:
    """Scenario: the backend is away, everything is full, and it comes back while the service stops.

    Guarantees: all rows are delivered although the waits between attempts are a minute.
    """
    ledger = Ledger()
    async with running("exporters.sink.sending_queue.num_consumers=1") as (service, source, sink):
        sink.away.set()
        for number in range(20):
            await source.host.emit(spans_batch(10, receipt=ledger.receipt(str(number))))
        asyncio.get_running_loop().call_later(0.3, sink.away.clear)

    assert sink.rows == 200
    assert len(ledger.complete) == 20
    assert service.undelivered_rows == 0


async def test_what_cannot_be_delivered_is_said() -> None:
    """Scenario: the backend stays away while the service stops.

    Guarantees: every accepted row is reported, none settled.
    """
    ledger = Ledger()
    async with running("exporters.sink.sending_queue.num_consumers=1", "service.shutdown_timeout=2s") as parts:
        service, source, sink = parts
        sink.away.set()
        for number in range(20):
            await source.host.emit(spans_batch(10, receipt=ledger.receipt(str(number))))

    assert service.undelivered_rows + sink.rows == 200
    assert ledger.complete == []


async def test_after_a_crash_callers_are_told() -> None:
    """Scenario: a processor crashes. Guarantees: the service asks to stop and says why, later rows are refused."""
    async with running() as (service, source, _):
        await source.host.emit(spans_batch(13))
        await service.wait()
        with pytest.raises(ShuttingDown):
            await source.host.emit(spans_batch(1))

    assert service.exit_reason is not None
    assert "pipeline traces crashed: ZeroDivisionError('thirteen')" in service.exit_reason
    assert service.undelivered_rows == 13


async def fail() -> None:
    raise ValueError("broken")


async def hang() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("trouble", [fail, hang])
async def test_one_that_does_not_stop_holds_up_nobody(trouble: Callable[[], Any]) -> None:
    """Scenario: an exporter's stop fails, or hangs. Guarantees: extensions are stopped all the same."""
    HOOKS["stop"] = trouble
    # What only fails needs no short time, which a busy machine may use up.
    async with running(f"service.shutdown_timeout={'1s' if trouble is hang else '30s'}") as (service, _, _):
        pass

    assert EVENTS[-1] == "aside stops"
    assert service.overdue == (trouble is hang)


async def test_a_failed_start_stops_what_had_started() -> None:
    """Scenario: an exporter fails to start, with an error of no class of ours.

    Guarantees: StartError that names it, all stopped.
    """
    HOOKS["start"] = fail

    with pytest.raises(StartError, match=r"sink: ValueError\('broken'\)"):
        await build().start()
    assert EVENTS == ["not ready", "sink stops", "aside stops"]


async def test_a_start_can_be_given_up() -> None:
    """Scenario: the start is cancelled while an exporter hangs in it. Guarantees: what had started is stopped."""
    HOOKS["start"] = hang
    starting = asyncio.create_task(build().start())
    await asyncio.sleep(0)
    while "aside stops" not in EVENTS:
        starting.cancel()
        await asyncio.wait({starting}, timeout=0.2)

    assert starting.cancelled()


async def test_two_pipelines_have_tokens_of_their_own() -> None:
    """Scenario: one receiver, two pipelines, one exporter.

    Guarantees: two copies with different tokens, the intake completes once.
    """
    ledger = Ledger()
    second = "service.pipelines.traces/2={receivers: [source], exporters: [sink]}"
    async with running(second) as (_, source, sink):
        await source.host.emit(spans_batch(3, receipt=ledger.receipt("a")))

    assert sink.rows == 6
    assert len(set(sink.tokens)) == 2
    assert ledger.complete == ["a"]


async def test_pipelines_share_a_processor_that_looks_across_signals() -> None:
    """Scenario: one shared processor in a traces and a logs pipeline.

    Guarantees: one instance, started and drained once, with both.
    """
    pipelines = (
        "{traces: {receivers: [source], processors: [joint], exporters: [sink]},"
        " logs: {receivers: [source], processors: [joint], exporters: [sink]}}"
    )
    async with running("processors.joint={}", f"service.pipelines={pipelines}") as (_, source, sink):
        await source.host.emit(spans_batch(3))
        await source.host.emit(logs_batch(2))

    assert [event for event in EVENTS if event.startswith("joint")] == [
        "joint starts",
        "joint drains ['logs', 'spans']",
    ]
    assert sink.rows == 5


async def test_a_shared_processor_at_home_in_one_signal() -> None:
    """Scenario: a logs and two traces pipelines with a processor at home in traces, and one at home anywhere.

    Guarantees: each traces pipeline has its own instance, the logs go to the first, which ends after them.
    """
    pipelines = (
        "{logs: {receivers: [source], processors: [homely, joint], exporters: [sink]},"
        " traces: {receivers: [source], processors: [homely], exporters: [sink]},"
        " traces/2: {receivers: [source], processors: [joint, homely], exporters: [sink]}}"
    )
    async with running("processors={joint: {}, homely: {}}", f"service.pipelines={pipelines}") as (_, source, sink):
        await source.host.emit(spans_batch(3))
        await source.host.emit(logs_batch(2))

    assert sorted(event for event in EVENTS if event.startswith("joint drains")) == [
        "joint drains ['logs', 'spans']",
        "joint drains ['spans']",
        "joint drains ['spans']",
    ]
    assert sink.rows == 8


async def test_a_visitor_wakes_a_shared_processor_at_home() -> None:
    """Scenario: only the second pipeline that names a shared processor has work; the first, its home, is idle.

    Guarantees: the processor is woken when it wants, not when its home has work or ends.
    """
    pipelines = (
        "{traces: {receivers: [source], processors: [prompt], exporters: [sink]},"
        " logs: {receivers: [source], processors: [prompt], exporters: [sink]}}"
    )
    ledger = Ledger()
    delivered = asyncio.Event()
    async with running("processors.prompt={}", f"service.pipelines={pipelines}") as (_, source, sink):
        for number in range(3):
            receipt = Receipt.issue(str(number), delivered.set)
            await source.host.emit(logs_batch(2, receipt=receipt))
            await asyncio.wait_for(delivered.wait(), 5)
            delivered.clear()
        assert sink.rows == 6
        await source.host.emit(spans_batch(3, receipt=ledger.receipt("spans")))

    assert sink.rows == 9
    assert ledger.complete == ["spans"]


RELAY = "{receivers: [source], processors: [], exporters: [relay]}"


@pytest.mark.parametrize(
    ("sets", "needed"),
    [
        (f"traces={RELAY}", False),
        (f"logs={RELAY}", True),
        ("traces={receivers: [source], processors: [picky], exporters: [relay]}", True),
        ("traces={receivers: [source], exporters: [relay, sink]}", True),
        (f"traces/2={RELAY}", True),
        (f"metrics={RELAY}", False),
    ],
    ids=["relay only", "a kind that is not relayed", "processor", "exporter", "pipeline", "another signal"],
)
async def test_who_needs_columns(sets: str, needed: bool) -> None:
    """Scenario: a relay alone, and beside each thing that looks into rows. Guarantees: the receiver hears whether."""
    signal, _, _ = sets.partition("=")
    service = build("exporters.relay={}", f"service.pipelines.{sets}")
    (source,) = service.receivers.values()

    assert service.needs_columns(source, Signal(signal.partition("/")[0])) == needed


@pytest.mark.parametrize(("enabled", "needed"), [(True, True), (False, False)])
async def test_putting_batches_together_needs_columns(enabled: bool, needed: bool) -> None:
    """Scenario: `sending_queue.batch`, the queue on and off. Guarantees: columns only where batches are merged."""
    service = build(
        f"exporters.relay={{sending_queue: {{enabled: {enabled}, batch: {{min_size: 1}}}}}}",
        f"service.pipelines.traces={RELAY}",
    )
    (source,) = service.receivers.values()

    assert service.needs_columns(source, Signal.TRACES) == needed
