"""A host for one component under test: it keeps what was emitted and owns the tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

import structlog

from pipeline.batch import Batch
from pipeline.clock import Clock, SystemClock
from pipeline.errors import StartError
from pipeline.kinds import Signal
from pipeline.metrics import Metrics
from pipeline.supervise import cancel

T = TypeVar("T")


class FakeHost:
    """Holds state instead of being mocked: `emitted`, `extensions`, `stopped_because`."""

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        extensions: tuple[object, ...] = (),
        signals: Iterable[Signal] = Signal,
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self.metrics = Metrics()
        self.log = structlog.get_logger("test")
        self.emitted: list[Batch] = []
        self.extensions = extensions
        self.stopped_because: str | None = None
        self.open = asyncio.Event()
        """Cleared, `emit` waits: the pipeline is full."""
        self.open.set()
        self._signals = frozenset(signals)
        self._tasks: list[asyncio.Task[None]] = []

    async def emit(self, batch: Batch) -> None:
        await self.open.wait()
        self.emitted.append(batch)

    def spawn(self, coro: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(coro, name=name)
        self._tasks.append(task)
        return task

    def extension(self, type_: type[T]) -> T:
        for extension in self.extensions:
            if isinstance(extension, type_):
                return extension
        raise StartError(f"no {type_.__name__} extension is started")

    def signals(self) -> frozenset[Signal]:
        return self._signals

    def needs_columns(self, signal: Signal) -> bool:
        return True

    def stop_service(self, reason: str) -> None:
        self.stopped_because = reason

    async def close(self) -> None:
        """Cancel the component's tasks, as the service does after `stop`."""
        await cancel(self._tasks)
