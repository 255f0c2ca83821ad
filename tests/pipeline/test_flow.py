from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import Batch, ComponentId, Config, Exporter, Kind, Processor, Signal
from pipeline.exporting import Sender
from pipeline.flow import Pipeline
from pipeline.supervise import cancel
from pipeline.testing import FakeClock, FakeHost, Ledger, logs_batch, spans_batch


class Sink(Exporter[Config]):
    kind = "sink"
    Config = Config

    def __init__(self, kinds: frozenset[Kind] = frozenset(Kind)) -> None:
        super().__init__(Config(), ComponentId("sink"))
        self.handles = kinds  # type: ignore[misc]  # per instance, for the test
        self.batches: list[Batch] = []
        self.open = asyncio.Event()
        self.open.set()

    async def export(self, batch: Batch) -> None:
        await self.open.wait()
        self.batches.append(batch)


class Sorter(Processor[Config]):
    """Drops the spans of `job 0`, holds those of `job 1` until the tick, lets the rest pass."""

    kind = "sorter"
    Config = Config
    handles = frozenset({Kind.SPANS})

    def __init__(self) -> None:
        super().__init__(Config(), ComponentId("sorter"))
        self.held: list[Batch] = []

    def process(self, batch: Batch) -> Iterable[Batch]:
        number = pc.utf8_slice_codeunits(batch.column("name"), 4).cast(pa.int32())
        go, wait = batch.copies(2)
        held = pc.equal(number, pa.scalar(1))
        self.held.append(wait.with_table(wait.table.filter(held)))
        dropped = pc.equal(number.filter(pc.invert(held)), pa.scalar(0))
        yield go.with_table(go.table.filter(pc.invert(held))).keep(pc.invert(dropped), "job_0")

    def wake_at(self) -> float | None:
        return 1010.0 if self.held else None

    def tick(self, now: float) -> Iterable[Batch]:
        return self.drain()

    def drain(self) -> Iterable[Batch]:
        held, self.held = self.held, []
        return held


class Passing(Processor[Config]):
    """Says that it was called, and lets everything pass."""

    kind = "passing"
    Config = Config
    handles = frozenset(Kind)

    def __init__(self, events: list[str]) -> None:
        super().__init__(Config(), ComponentId("passing"))
        self._events = events

    def process(self, batch: Batch) -> Iterable[Batch]:
        self._events.append("processor")
        return [batch]


@asynccontextmanager
async def flowing(host: FakeHost, processors: list[Processor[Any]], *sinks: Sink) -> AsyncIterator[Pipeline]:
    senders = [Sender(sink, clock=host.clock, metrics=host.metrics, log=host.log) for sink in sinks]
    pipeline = Pipeline("traces", Signal.TRACES, processors, senders, clock=host.clock, metrics=host.metrics)
    tasks = [asyncio.create_task(task) for task in (pipeline.run(), *(sender.consume() for sender in senders))]
    yield pipeline
    pipeline.inbox.close()
    await tasks[0]
    for sender in senders:
        sender.finish()
    await asyncio.gather(*tasks[1:])
    await cancel(tasks)


def names(sink: Sink) -> list[Any]:
    spans = (batch for batch in sink.batches if batch.kind == Kind.SPANS)
    return [name for batch in spans for name in batch.column("name").to_pylist()]


async def test_processors_see_their_kinds_and_are_woken(host: FakeHost, clock: FakeClock) -> None:
    """Scenario: spans and logs through a processor of spans that drops, holds and passes.

    Guarantees: logs pass by, held rows come at the tick, drops are counted by reason.
    """
    sink = Sink()
    async with flowing(host, [Sorter()], sink) as pipeline:
        await pipeline.inbox.put(spans_batch(6))
        await pipeline.inbox.put(logs_batch(2))
        await clock.advance(9.9)
        assert [(batch.kind, batch.rows) for batch in sink.batches] == [(Kind.SPANS, 2), (Kind.LOGS, 2)]
        await clock.advance(0.1)
        assert names(sink)[:2] == ["job 2", "job 2"]
        assert [batch.rows for batch in sink.batches] == [2, 2, 2]

    text = host.metrics.exposition().decode()
    assert 'jobsight_pipeline_dropped_items{kind="spans",pipeline="traces",reason="job_0"} 2.0' in text
    assert 'otelcol_processor_incoming_items{otel_signal="traces",processor="sorter"} 6.0' in text
    assert 'otelcol_processor_outgoing_items{otel_signal="traces",processor="sorter"} 4.0' in text


async def test_drains_what_processors_hold(host: FakeHost, clock: FakeClock) -> None:
    """Scenario: the inbox closes before the tick. Guarantees: held rows are delivered and every receipt completes."""
    sink, ledger = Sink(), Ledger()
    async with flowing(host, [Sorter(), Sorter()], sink) as pipeline:
        for number in range(3):
            await pipeline.inbox.put(spans_batch(6, receipt=ledger.receipt(str(number))))
        await clock.advance(0)

    assert sorted(names(sink)) == ["job 1"] * 6 + ["job 2"] * 6
    assert sorted(ledger.complete) == ["0", "1", "2"]


async def test_every_exporter_gets_its_kinds(host: FakeHost, clock: FakeClock) -> None:
    """Scenario: one exporter of spans, one of everything, and logs that only one takes.

    Guarantees: completion waits for both copies.
    """
    spans_only, everything, ledger = Sink(frozenset({Kind.SPANS})), Sink(), Ledger()
    spans_only.open.clear()
    async with flowing(host, [], spans_only, everything) as pipeline:
        await pipeline.inbox.put(spans_batch(2, receipt=ledger.receipt("spans")))
        await pipeline.inbox.put(logs_batch(1, receipt=ledger.receipt("logs")))
        await clock.advance(0)
        assert [batch.kind for batch in everything.batches] == [Kind.SPANS, Kind.LOGS]
        assert ledger.complete == ["logs"]
        spans_only.open.set()

    assert ledger.complete == ["logs", "spans"]
    assert [batch.kind for batch in spans_only.batches] == [Kind.SPANS]


async def test_rows_that_no_exporter_takes_are_counted(host: FakeHost, clock: FakeClock) -> None:
    """Scenario: logs reach a pipeline whose exporter takes spans.

    Guarantees: dropped with a reason, receipt complete.
    """
    ledger = Ledger()
    async with flowing(host, [], Sink(frozenset({Kind.SPANS}))) as pipeline:
        await pipeline.inbox.put(logs_batch(4, receipt=ledger.receipt("logs")))
        await clock.advance(0)

    assert ledger.complete == ["logs"]
    assert 'kind="logs",pipeline="traces",reason="no_exporter"} 4.0' in host.metrics.exposition().decode()


async def test_a_full_exporter_fills_the_inbox(host: FakeHost, clock: FakeClock) -> None:
    """Scenario: the exporter stands still.

    Guarantees: its queue, then the inbox fill up to their bounds; all rows come once it moves.
    """
    sink = Sink()
    sink.open.clear()
    async with flowing(host, [], sink) as pipeline:
        accepted = 0
        while pipeline.inbox.has_room(batch := spans_batch(400)) and accepted < 2000:
            pipeline.inbox.put_nowait(batch)
            accepted += 1
            await clock.settle()
        assert accepted < 2000
        sink.open.set()

    assert len(names(sink)) == accepted * 400


async def test_the_loop_turns_between_processors(host: FakeHost, clock: FakeClock) -> None:
    """Scenario: a batch through three processors while another task wants every turn of the loop.

    Guarantees: the other task runs between any two of them, so that their times do not add up to one standstill.
    """
    events: list[str] = []

    async def other() -> None:
        while True:
            events.append("other")
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    async with flowing(host, [Passing(events) for _ in range(3)], Sink()) as pipeline:
        await pipeline.inbox.put(spans_batch(6))
    await cancel([task])

    first, second, third = (position for position, event in enumerate(events) if event == "processor")
    assert "other" in events[first:second]
    assert "other" in events[second:third]
