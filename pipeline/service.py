"""The life of a collector: build, start from the sinks to the sources, run, drain from the sources to the sinks."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

import structlog
from structlog.typing import FilteringBoundLogger

from pipeline import otlp
from pipeline.batch import Batch
from pipeline.clock import Clock, SystemClock
from pipeline.component import Component, ComponentId, Exporter, Extension, Processor, Receiver
from pipeline.config.plan import PipelineDefinition, Plan
from pipeline.errors import StartError
from pipeline.exporting import Sender
from pipeline.flow import Pipeline
from pipeline.kinds import SHAPES, Signal
from pipeline.metrics import Metrics
from pipeline.registry import Role
from pipeline.supervise import Supervisor, cancel
from pipeline.telemetry import MetricsEndpoint, watch_event_loop

T = TypeVar("T")
OVERDUE_REPORT_SECONDS = 5.0
GC_THRESHOLD = 20_000
"""New objects between two collections of the youngest: Python's 700 is every few requests."""


class Service:
    """A plan at work. `start`, then `wait`, then `stop`; each once."""

    def __init__(self, plan: Plan, *, clock: Clock | None = None) -> None:
        """Build every component that a pipeline or `service.extensions` names; no I/O."""
        self.metrics = Metrics()
        self.clock: Clock = clock or SystemClock()
        self.exit_reason: str | None = None
        """Why the service stopped by itself, or None."""
        self._plan = plan
        self._log: FilteringBoundLogger = structlog.get_logger("jobsight")
        self._stop_requested = asyncio.Event()
        self._supervisor = Supervisor(self._log, self._stop_because)
        self._started: list[Component[Any]] = []
        self._draining = False
        self._endpoint = MetricsEndpoint(plan.telemetry, self.metrics)

        self.extensions: dict[ComponentId, Extension[Any]] = {
            ident: plan.extensions[ident].build() for ident in plan.service_extensions
        }
        self.exporters: dict[ComponentId, Exporter[Any]] = {
            ident: plan.exporters[ident].build() for ident in _named(plan.pipelines, "exporters")
        }
        self.receivers: dict[ComponentId, Receiver[Any]] = {
            ident: plan.receivers[ident].build() for ident in _named(plan.pipelines, "receivers")
        }
        self.senders = {
            ident: Sender(exporter, clock=self.clock, metrics=self.metrics, log=self._log_of(exporter))
            for ident, exporter in self.exporters.items()
        }
        self.pipelines = [self._build_pipeline(definition) for definition in plan.pipelines]
        self._consumers: list[asyncio.Task[None]] = []
        self._runners: list[asyncio.Task[None]] = []

    def _build_pipeline(self, definition: PipelineDefinition) -> Pipeline:
        processors: list[Processor[Any]] = [self._plan.processors[ident].build() for ident in definition.processors]
        return Pipeline(
            str(definition),
            definition.signal,
            processors,
            [self.senders[ident] for ident in definition.exporters],
            clock=self.clock,
            metrics=self.metrics,
            log=self._log.bind(**{"otelcol.pipeline.id": str(definition)}),
        )

    async def start(self) -> None:
        """Start everything, receivers last. Raises StartError after stopping again what had started."""
        otlp.warm_up()
        try:
            await self._endpoint.start()
            self._supervisor.spawn(watch_event_loop(self.metrics), name="event loop watch")
            for extension in self.extensions.values():
                await self._start(extension)
            for exporter in self.exporters.values():
                await self._start(exporter)
            for ident, sender in self.senders.items():
                self._consumers += [
                    self._supervisor.spawn(sender.consume(), name=f"exporter {ident} #{number}")
                    for number in range(sender.consumers)
                ]
            for pipeline in self.pipelines:
                for processor in pipeline.processors:
                    await self._start(processor)
                self._runners.append(self._supervisor.spawn(pipeline.run(), name=f"pipeline {pipeline.name}"))
            for receiver in self.receivers.values():
                await self._start(receiver)
        except StartError:
            await self.stop()
            raise
        # What lives from here to the end need not be looked at by every collection of garbage.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        for extension in self.extensions.values():
            await extension.ready()

    async def _start(self, component: Component[Any]) -> None:
        self._started.append(component)
        await component.start(_ComponentHost(self, component))
        self._log_of(component).info("Started.")

    def guide(self) -> list[tuple[str, str]]:
        """Return what a person who has just started the program wants to know, as (what, where)."""
        own = [] if self._endpoint.url is None else [("own metrics", self._endpoint.url)]
        return [*(line for component in reversed(self._started) for line in component.guide()), *own]

    def request_stop(self) -> None:
        """Ask for an orderly stop; `wait` returns."""
        self._stop_requested.set()

    def _stop_because(self, reason: str) -> None:
        if self.exit_reason is None:
            self.exit_reason = reason
        self._stop_requested.set()

    async def wait(self) -> None:
        """Return when a stop was asked for."""
        await self._stop_requested.wait()

    async def stop(self) -> None:
        """Stop in order within `service.shutdown_timeout`; every stage has a share of what is left of it."""
        deadline = self.clock.now() + self._plan.shutdown_timeout
        self._draining = True
        stages: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("receivers", self._stop_accepting),
            ("pipelines", self._drain_pipelines),
            ("exporters", self._flush_exporters),
            ("components", self._stop_components),
        ]
        for position, (name, stage) in enumerate(stages):
            share = max(0.0, deadline - self.clock.now()) * (0.5 if position < len(stages) - 1 else 1.0)
            await self._within(share, name, stage())
        await self._supervisor.cancel_all()
        await self._endpoint.stop()

    async def _within(self, seconds: float, stage: str, work: Awaitable[None]) -> None:
        """Run one stage of the shutdown; say every few seconds that it still runs, end it when its time is over."""
        task = asyncio.ensure_future(work)
        began = self.clock.now()
        while not task.done() and (left := began + seconds - self.clock.now()) > 0:
            await asyncio.wait({task}, timeout=min(left, OVERDUE_REPORT_SECONDS))
            if not task.done():
                self._log.warning("Still stopping.", stage=stage, seconds=round(self.clock.now() - began, 1))
        if not task.done():
            self._log.error("Stopping took too long; going on without.", stage=stage, allowed_s=round(seconds, 1))
            task.cancel()
        await asyncio.wait({task})
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("Stopping failed.", stage=stage, exc_info=error)

    async def _stop_accepting(self) -> None:
        for extension in self.extensions.values():
            await extension.not_ready()
        await asyncio.gather(*(r.stop_accepting() for r in self.receivers.values() if r in self._started))

    async def _drain_pipelines(self) -> None:
        for pipeline in self.pipelines:
            pipeline.inbox.close()
        await _ended(self._runners)

    async def _flush_exporters(self) -> None:
        await cancel(self._runners)
        for sender in self.senders.values():
            sender.finish()
        try:
            await _ended(self._consumers)
        finally:
            for sender in self.senders.values():
                sender.give_up()

    async def _stop_components(self) -> None:
        await cancel(self._consumers)
        for component in reversed(self._started):
            await component.stop()
            self._log_of(component).info("Stopped.")
        self._started.clear()

    def _log_of(self, component: Component[Any]) -> FilteringBoundLogger:
        role = next(role.one for role in Role if isinstance(component, role.base))
        return self._log.bind(**{"otelcol.component.id": str(component.ident), "otelcol.component.kind": role})

    def signals_of(self, component: Component[Any]) -> frozenset[Signal]:
        named = (p for p in self._plan.pipelines if component.ident in (*p.receivers, *p.exporters, *p.processors))
        return frozenset(pipeline.signal for pipeline in named)

    async def emit(self, receiver: Component[Any], batch: Batch) -> None:
        """Give a batch to every pipeline of its signal that names the receiver; see `Host.emit`."""
        signal = SHAPES[batch.kind].signal
        inboxes = [
            pipeline.inbox
            for pipeline, definition in zip(self.pipelines, self._plan.pipelines, strict=True)
            if definition.signal == signal and receiver.ident in definition.receivers
        ]
        # Room everywhere first, then no more waiting: a call that is cancelled has handed over nothing.
        while True:
            for inbox in inboxes:
                await inbox.wait_for_room(batch)
            if all(inbox.has_room(batch) for inbox in inboxes):
                break
        for inbox, copy in zip(inboxes, batch.copies(len(inboxes)), strict=True):
            inbox.put_nowait(copy)

    def spawn(self, coro: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        return self._supervisor.spawn(coro, name=name)

    def extension(self, type_: type[T]) -> T:
        for extension in self.extensions.values():
            if isinstance(extension, type_):
                return extension
        raise StartError(f"no {type_.__name__} extension is started: configure one and list it in service.extensions")


class _ComponentHost:
    """The service as one component sees it."""

    def __init__(self, service: Service, component: Component[Any]) -> None:
        self._service = service
        self._component = component
        self.clock = service.clock
        self.metrics = service.metrics
        self.log = service._log_of(component)  # noqa: SLF001 - two halves of one thing

    async def emit(self, batch: Batch) -> None:
        await self._service.emit(self._component, batch)

    def spawn(self, coro: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        return self._service.spawn(coro, name=f"{self._component.ident}: {name}")

    def extension(self, type_: type[T]) -> T:
        return self._service.extension(type_)

    def signals(self) -> frozenset[Signal]:
        return self._service.signals_of(self._component)

    def stop_service(self, reason: str) -> None:
        self._service._stop_because(reason)  # noqa: SLF001 - two halves of one thing


def _named(pipelines: Sequence[PipelineDefinition], role: str) -> Iterator[ComponentId]:
    """Yield each component that a pipeline names in this role, once, in order."""
    yield from dict.fromkeys(ident for pipeline in pipelines for ident in getattr(pipeline, role))


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    if tasks:
        await asyncio.wait(tasks)
