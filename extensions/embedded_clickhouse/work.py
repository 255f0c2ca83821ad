"""The engine's work in threads: who runs, who waits, who is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from extensions.embedded_clickhouse.failures import ABORTED, TOO_MANY_SIMULTANEOUS_QUERIES, QueryFailed

if TYPE_CHECKING:
    from extensions.embedded_clickhouse.engine import Done, Engine

_WRITE_THREADS: Final = 2
"""One insert is read while another one is written; more of them only make smaller shares of the processor."""

_QUEUE_SECONDS: Final = 10.0
_KILL_AGAIN_SECONDS: Final = 0.2


class Work:
    """Runs calls that block in threads: queries in some, changes in others, so that neither holds up the other."""

    def __init__(self, engine: Engine, max_concurrent_queries: int) -> None:
        self._engine = engine
        self._queries = ThreadPoolExecutor(max_concurrent_queries, "query")
        self._writes = ThreadPoolExecutor(_WRITE_THREADS, "write")
        self._control = ThreadPoolExecutor(1, "control")
        self._slots = asyncio.Semaphore(max_concurrent_queries)
        self._running: dict[asyncio.Future[Done], str] = {}
        self._changes: set[asyncio.Future[Done]] = set()
        self._killers: set[asyncio.Task[None]] = set()
        self._stopping = False

    @asynccontextmanager
    async def query(self, tag: str, call: Callable[[], Done]) -> AsyncIterator[asyncio.Future[Done]]:
        """Run a query; if the block is left before it ends, it is killed. Shield the future when waiting for it.

        `call` may be left out, if this raises: QueryFailed when the store stops, or stays busy for some seconds.
        """
        try:
            async with asyncio.timeout(_QUEUE_SECONDS):
                await self._slots.acquire()
        except TimeoutError:
            raise QueryFailed.of(
                TOO_MANY_SIMULTANEOUS_QUERIES,
                f"Too many simultaneous queries: none of {len(self._running)} ended within {_QUEUE_SECONDS:g} s",
            ) from None
        try:
            future = self._begin(self._queries, tag, call)
        except QueryFailed:
            self._slots.release()
            raise
        future.add_done_callback(lambda _: self._slots.release())
        try:
            yield future
        finally:
            if not future.done():
                self._kill(tag, future)

    def write(self, tag: str, call: Callable[[], Done]) -> Awaitable[Done]:
        """Begin a change, which goes on to its end also when whoever waits for it is cancelled.

        Raises QueryFailed at once, if `call` is not going to run.
        """
        future = self._begin(self._writes, tag, call)
        self._changes.add(future)
        future.add_done_callback(self._changes.discard)
        return asyncio.shield(future)

    async def stop(self, write_seconds: float) -> None:
        """Refuse new work, kill the queries, give changes `write_seconds` to end, kill them too, join all threads."""
        self._stopping = True
        for future, tag in list(self._running.items()):
            if future not in self._changes:
                self._kill(tag, future)
        if self._running:
            await asyncio.wait(self._running, timeout=write_seconds)
        for future, tag in list(self._running.items()):
            self._kill(tag, future)
        if self._killers:
            await asyncio.wait(self._killers)
        for pool in (self._queries, self._writes, self._control):
            pool.shutdown()

    def _begin(self, pool: ThreadPoolExecutor, tag: str, call: Callable[[], Done]) -> asyncio.Future[Done]:
        if self._stopping:
            raise QueryFailed.of(ABORTED, "the store is shutting down")
        future = asyncio.get_running_loop().run_in_executor(pool, call)
        self._running[future] = tag
        future.add_done_callback(self._ended)
        return future

    def _ended(self, future: asyncio.Future[Done]) -> None:
        del self._running[future]
        if not future.cancelled():
            future.exception()  # seen: whoever asked may have gone

    def _kill(self, tag: str, future: asyncio.Future[Done]) -> None:
        task = asyncio.get_running_loop().create_task(self._kill_until_done(tag, future), name=f"kill {tag}")
        self._killers.add(task)
        task.add_done_callback(self._killers.discard)

    async def _kill_until_done(self, tag: str, future: asyncio.Future[Done]) -> None:
        loop = asyncio.get_running_loop()
        while not future.done():
            # a query that has not reached the engine's list of processes yet is missed, so once is not enough
            with suppress(QueryFailed):  # no memory for a handle, for one; the next round may have it
                await loop.run_in_executor(self._control, self._engine.kill, tag)
            await asyncio.wait({future}, timeout=_KILL_AGAIN_SECONDS)
