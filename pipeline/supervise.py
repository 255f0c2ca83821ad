"""Tasks with an owner: a crash becomes an orderly stop, and nothing runs on after its component."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from structlog.typing import FilteringBoundLogger


class Supervisor:
    """Owns the tasks of a service."""

    def __init__(self, log: FilteringBoundLogger, on_crash: Callable[[str], None]) -> None:
        self._log = log
        self._on_crash = on_crash
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, coro: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Run a task until it ends or is cancelled; its crash is logged and asks for a stop of the service."""
        task = asyncio.create_task(coro, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._log.error("Task crashed.", task=task.get_name(), exc_info=error)
            self._on_crash(f"{task.get_name()} crashed: {error!r}")

    async def cancel_all(self) -> None:
        """Cancel what still runs and wait for its end."""
        await cancel(self._tasks)


async def cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait until they have ended; their errors were reported by their owner."""
    waiting = [task for task in tasks if not task.done()]
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
