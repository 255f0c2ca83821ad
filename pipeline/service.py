"""The life of a collector: build, start from the sinks to the sources, run, drain from the sources to the sinks."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import structlog
from structlog.typing import FilteringBoundLogger

from pipeline import otlp
from pipeline.batch import Batch
from pipeline.clock import Clock, SystemClock
from pipeline.component import Component, ComponentId, Exporter, Extension, Processor, Receiver
from pipeline.config.plan import PipelineDefinition, Plan
from pipeline.durable import Durable, StateKeeper, owner_of, storage_of
from pipeline.errors import StartError
from pipeline.exporting import Sender
from pipeline.flow import Pipeline
from pipeline.kinds import KIND_OF, SHAPES, Signal
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
        self._keepers: dict[ComponentId, StateKeeper] = {}
        self.undelivered_rows = 0
        """Rows that were accepted and not delivered when the time for stopping was over."""
        self.overdue = False
        """Whether a stage of the shutdown had to be cut off; threads may hang."""
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
        self._shared: dict[ComponentId, tuple[Processor[Any], Pipeline]] = {}
        built = {
            definition: self._build_pipeline(definition) for definition in sorted(plan.pipelines, key=self._is_guest)
        }
        self.pipelines = [built[definition] for definition in plan.pipelines]
        self._consumers: list[asyncio.Task[None]] = []
        self._runners: list[asyncio.Task[None]] = []

    def _is_guest(self, definition: PipelineDefinition) -> bool:
        """Tell whether a processor there is at home in pipelines of another signal: those are built first.

        A pipeline visits only what was built before it, so that no two of them wait for each other's end.
        """
        homes = (self._plan.processors[ident].component.home_signal for ident in definition.processors)
        return any(home not in (None, definition.signal) for home in homes)

    def _build_pipeline(self, definition: PipelineDefinition) -> Pipeline:
        processors: list[Processor[Any]] = []
        homes: list[Pipeline] = []
        visiting: list[Processor[Any]] = []
        for ident in definition.processors:
            if ident in self._shared and self._shared[ident][0].home_signal is not definition.signal:
                processor, home = self._shared[ident]
                homes.append(home)
                visiting.append(processor)
            else:
                processor = self._plan.processors[ident].build()
            processors.append(processor)
        pipeline = Pipeline(
            str(definition),
            definition.signal,
            processors,
            [self.senders[ident] for ident in definition.exporters],
            visiting=visiting,
            clock=self.clock,
            metrics=self.metrics,
        )
        for processor in processors:
            if processor.shared and processor not in visiting:
                self._shared.setdefault(processor.ident, (processor, pipeline))
        for home in homes:
            home.visitors.append(pipeline)
            pipeline.homes.append(home)
        return pipeline

    async def start(self) -> None:
        """Start everything, receivers last. Raises StartError after stopping again what had started."""
        otlp.warm_up()
        try:
            await self._start_all()
        except BaseException:
            await self.stop()
            raise
        # What lives from here to the end need not be looked at by every collection of garbage.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)

    async def _start_all(self) -> None:
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
                if processor not in self._started:
                    await self._start(processor)
            self._runners.append(self._supervisor.spawn(pipeline.run(), name=f"pipeline {pipeline.name}"))
        for receiver in self.receivers.values():
            await self._start(receiver)
        for extension in self.extensions.values():
            await extension.ready()

    async def _start(self, component: Component[Any]) -> None:
        self._started.append(component)
        log = self._log_of(component)
        try:
            await self._restore(component)
            await component.start(_ComponentHost(self, component))
        except StartError:
            raise
        except Exception as error:
            log.exception("Start failed.")
            raise StartError(f"{component.ident}: {error!r}") from error
        log.info("Started.")

    async def _restore(self, component: Component[Any]) -> None:
        """Give a component that has a storage its state back, and save it from now on."""
        storage = storage_of(component, self.extensions)
        if storage is None or not isinstance(component, Durable):
            return
        owner = owner_of(_role_of(component).one, component.ident)
        keeper = StateKeeper(
            component, owner, storage, clock=self.clock, metrics=self.metrics, log=self._log_of(component)
        )
        await keeper.restore()
        self._keepers[component.ident] = keeper
        self._supervisor.spawn(keeper.keep(), name=f"{component.ident}: state")

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
        self._deadline = self.clock.now() + self._plan.shutdown_timeout
        await self._within(self._share(), "receivers", self._stop_accepting())
        await self._within(self._share(), "pipelines", self._drain_pipelines())
        await self._within(self._share(), "exporters", self._flush_exporters())
        self._report_undelivered()
        await cancel(self._consumers)
        for component in reversed(self._started):
            if await self._within(self._share(), str(component.ident), self._stop(component)):
                self._log_of(component).info("Stopped.")
        self._started.clear()
        await self._supervisor.cancel_all()
        await self._endpoint.stop()

    async def _stop(self, component: Component[Any]) -> None:
        keeper = self._keepers.get(component.ident)
        if keeper is not None and isinstance(component, Durable):
            await keeper.save()
        await component.stop()

    def _share(self) -> float:
        """Return half of the time that is left, so that whoever comes later has some too."""
        return max(0.0, self._deadline - self.clock.now()) / 2

    async def _within(self, seconds: float, stage: str, work: Coroutine[Any, Any, None]) -> bool:
        """Run one stage of the shutdown; say every few seconds that it still runs, end it when its time is over.

        Returns whether it did all its work.
        """
        task = asyncio.ensure_future(work)
        began = self.clock.now()
        while not task.done() and (left := began + seconds - self.clock.now()) > 0:
            await asyncio.wait({task}, timeout=min(left, OVERDUE_REPORT_SECONDS))
            if not task.done():
                self._log.warning("Still stopping.", stage=stage, seconds=round(self.clock.now() - began, 1))
        if not task.done():
            self.overdue = True
            self._log.error("Stopping took too long; going on without.", stage=stage, allowed_s=round(seconds, 1))
            task.cancel()
        await asyncio.wait({task})
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._log.error("Stopping failed.", stage=stage, exc_info=error)
        return error is None and not task.cancelled()

    async def _stop_accepting(self) -> None:
        await self._all(extension.not_ready() for extension in self.extensions.values() if extension in self._started)
        await self._all(receiver.stop_accepting() for receiver in self.receivers.values() if receiver in self._started)

    async def _all(self, calls: Iterable[Coroutine[Any, Any, None]]) -> None:
        """Run calls side by side; one that fails is logged and holds up nobody."""
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(outcome, Exception):
                self._log.error("Stopping failed.", exc_info=outcome)

    async def _drain_pipelines(self) -> None:
        for sender in self.senders.values():
            sender.hurry()
        for pipeline in self.pipelines:
            pipeline.inbox.close()
        await _ended(self._runners)

    async def _flush_exporters(self) -> None:
        await cancel(self._runners)
        for sender in self.senders.values():
            sender.finish()
        await _ended(self._consumers)

    def _report_undelivered(self) -> None:
        for pipeline in self.pipelines if self._runners else ():
            if not pipeline.drained:
                self.undelivered_rows += pipeline.inbox.items
                self._log.error(
                    "The pipeline was not drained: what its processors held is lost, too.",
                    pipeline=pipeline.name,
                    undelivered_rows=pipeline.inbox.items,
                )
        for ident, sender in self.senders.items():
            if sender.owed_rows:
                self.undelivered_rows += sender.owed_rows
                self._log.error("Rows were not delivered.", exporter=str(ident), undelivered_rows=sender.owed_rows)

    def _log_of(self, component: Component[Any]) -> FilteringBoundLogger:
        role = _role_of(component)
        return self._log.bind(**{"otelcol.component.id": str(component.ident), "otelcol.component.kind": role.one})

    def signals_of(self, component: Component[Any]) -> frozenset[Signal]:
        named = (p for p in self._plan.pipelines if component.ident in (*p.receivers, *p.exporters, *p.processors))
        return frozenset(pipeline.signal for pipeline in named)

    def needs_columns(self, receiver: Component[Any], signal: Signal) -> bool:
        return any(pipeline.needs_columns(KIND_OF[signal]) for pipeline in self._fed_by(receiver, signal))

    def _fed_by(self, receiver: Component[Any], signal: Signal | None) -> list[Pipeline]:
        return [
            pipeline
            for pipeline, definition in zip(self.pipelines, self._plan.pipelines, strict=True)
            if definition.signal == signal and receiver.ident in definition.receivers
        ]

    async def emit(self, receiver: Component[Any], batch: Batch) -> None:
        """Give a batch to every pipeline of its signal that names the receiver; see `Host.emit`."""
        signal = SHAPES[batch.kind].signal
        inboxes = [pipeline.inbox for pipeline in self._fed_by(receiver, signal)]
        # Room everywhere first, then no more waiting: a call that is cancelled has handed over nothing.
        async with AsyncExitStack() as turns:
            for inbox in inboxes:
                await turns.enter_async_context(inbox.turn)
            for inbox in inboxes:
                await inbox.wait_for_room(batch)
            for inbox, branch in zip(inboxes, batch.branches(len(inboxes)), strict=True):
                inbox.put_nowait(branch)

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

    def needs_columns(self, signal: Signal) -> bool:
        return self._service.needs_columns(self._component, signal)

    def stop_service(self, reason: str) -> None:
        self._service._stop_because(reason)  # noqa: SLF001 - two halves of one thing


def _role_of(component: Component[Any]) -> Role:
    return next(role for role in Role if isinstance(component, role.base))


def _named(pipelines: Sequence[PipelineDefinition], role: str) -> Iterator[ComponentId]:
    """Yield each component that a pipeline names in this role, once, in order."""
    yield from dict.fromkeys(ident for pipeline in pipelines for ident in getattr(pipeline, role))


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    if tasks:
        await asyncio.wait(tasks)
