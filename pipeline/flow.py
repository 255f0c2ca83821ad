"""One pipeline at work: a bounded inbox, processors called in turn, and the senders at its end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pipeline.batch import Batch
from pipeline.clock import Clock
from pipeline.component import Processor
from pipeline.exporting import Sender
from pipeline.kinds import Kind, Signal
from pipeline.metrics import Metrics
from pipeline.queueing import BatchQueue, Limits

INBOX = Limits(items=100_000, nbytes=64 * 1024 * 1024)
"""What may wait before the first processor; beyond it receivers ask their callers to try again."""


class Pipeline:
    """Runs batches through processors, one at a time, and hands what comes out to every sender of its kind.

    One task owns the processors, so they need no locks. It also wakes them when they asked for it.
    """

    def __init__(
        self,
        name: str,
        signal: Signal,
        processors: Sequence[Processor[Any]],
        senders: Sequence[Sender],
        *,
        visiting: Sequence[Processor[Any]] = (),
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self.name = name
        self.signal = signal
        self.inbox = BatchQueue(INBOX)
        self.visitors: list[Pipeline] = []
        """Pipelines that use a shared processor of this one; it is drained after they have ended."""
        self.homes: list[Pipeline] = []
        """Pipelines whose shared processors this one uses."""
        self.visited = asyncio.Event()
        """A visitor called a shared processor, which may want to be woken at another time now."""
        self.ended = asyncio.Event()
        self.drained = False
        """Whether everything that came was handed to the senders, after the end."""
        self.processors = processors
        self._senders = senders
        self._resident = [
            (position, processor) for position, processor in enumerate(processors) if processor not in visiting
        ]
        """The processors that are woken and drained here, with their place; the others have their home elsewhere."""
        self._clock = clock
        inbox = metrics.gauge("jobsight_pipeline_inbox_rows", "Rows that wait for the processors.", "pipeline")
        inbox.labels(name).set_function(lambda: self.inbox.items)
        labels = ("processor", "otel_signal")
        self._incoming = metrics.counter("otelcol_processor_incoming_items", "Rows handed to the processor.", *labels)
        self._outgoing = metrics.counter("otelcol_processor_outgoing_items", "Rows that the processor let on.", *labels)
        self._dropped = metrics.counter(
            "jobsight_pipeline_dropped_items", "Rows dropped on purpose.", "pipeline", "kind", "reason"
        )

    def needs_columns(self, kind: Kind) -> bool:
        """Whether a processor or a sender looks into rows of that kind."""
        handled = any(kind in processor.handles for processor in self.processors)
        return handled or any(sender.handles(kind) and not sender.forwards(kind) for sender in self._senders)

    async def run(self) -> None:
        """Work until the inbox is closed and empty, then drain the processors in order."""
        try:
            await self._work()
        finally:
            # After a crash nobody would take what is put there: callers are to be told instead.
            self.inbox.close()
            self.ended.set()
        self.drained = True

    async def _work(self) -> None:
        while True:
            batch, ended = await self._next()
            if ended:
                break
            if batch is not None:
                await self._pass_on((batch,), 0)
                self.inbox.release(batch)
                for home in self.homes:
                    home.visited.set()
            self.visited.clear()
            await self._tick()
            await asyncio.sleep(0)  # while there is work and room nothing above waits, and others want the loop too
        for visitor in self.visitors:
            await visitor.ended.wait()
        for position, processor in self._resident:
            await self._pass_on(self._counted(processor, processor.drain()), position + 1)

    async def _next(self) -> tuple[Batch | None, bool]:
        """Return the next batch, or None when a processor is or may be due, and whether the inbox has ended."""
        wakes = [wake for _, processor in self._resident if (wake := processor.wake_at()) is not None]
        if not wakes and not self.visitors:
            batch = await self.inbox.get()
            return batch, batch is None
        get = asyncio.ensure_future(self.inbox.get())
        others: list[asyncio.Future[Any]] = []
        if wakes:
            others.append(asyncio.ensure_future(self._clock.sleep_until(min(wakes))))
        if self.visitors:
            others.append(asyncio.ensure_future(self.visited.wait()))
        try:
            await asyncio.wait({get, *others}, return_when=asyncio.FIRST_COMPLETED)
            return (get.result(), get.result() is None) if get.done() else (None, False)
        finally:
            get.cancel()
            for other in others:
                other.cancel()

    async def _tick(self) -> None:
        for position, processor in self._resident:
            now = self._clock.now()
            wake = processor.wake_at()
            if wake is not None and wake <= now:
                await self._pass_on(self._counted(processor, processor.tick(now)), position + 1)

    async def _pass_on(self, batches: Iterable[Batch], position: int) -> None:
        """Take batches in order through the processors from `position` on, and what comes out to the senders."""
        for batch in batches:
            await asyncio.sleep(0)  # a processor may have held the loop for some time, and the next one will
            number = next(
                (at for at in range(position, len(self.processors)) if batch.kind in self.processors[at].handles), None
            )
            if number is None:
                await self._deliver(batch)
                continue
            processor = self.processors[number]
            self._incoming.labels(str(processor.ident), self.signal).inc(batch.rows)
            await self._pass_on(self._counted(processor, processor.process(batch)), number + 1)

    def _counted(self, processor: Processor[Any], batches: Iterable[Batch]) -> Iterator[Batch]:
        outgoing = self._outgoing.labels(str(processor.ident), self.signal)
        for batch in batches:
            outgoing.inc(batch.rows)
            yield batch

    async def _deliver(self, batch: Batch) -> None:
        """Hand a batch to every sender of its kind; it waits while a queue is full."""
        senders = [sender for sender in self._senders if sender.handles(batch.kind)]
        if batch.rows and not senders:
            batch.receipt.drop(batch.rows, "no_exporter")
        for reason, rows in batch.receipt.dropped.items():
            self._dropped.labels(self.name, batch.kind, reason).inc(rows)
        batch.receipt.dropped.clear()
        if not batch.rows or not senders:
            batch.receipt.settle()
            return
        for sender, copy in zip(senders, batch.copies(len(senders)), strict=True):
            await sender.put(copy)
