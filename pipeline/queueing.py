"""A queue of batches bounded by requests, rows and bytes. Back-pressure is waiting for room in it."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from pipeline.batch import Batch
from pipeline.errors import ShuttingDown


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a queue holds, counting what waits and what is being worked on; None is no limit."""

    requests: int | None = None
    items: int | None = None
    nbytes: int | None = None


class BatchQueue:
    """First in, first out. What `get` returns counts until it is released.

    An empty queue has room for any one batch, so that one over the limits is slow but not stuck. Whoever waits for room
    holds `turn` meanwhile, or small batches would pass a large one for ever.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.requests = 0
        self.items = 0
        self.nbytes = 0
        self.turn = asyncio.Lock()
        self._waiting: deque[Batch] = deque()
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._closed = False

    def has_room(self, batch: Batch) -> bool:
        limits = self.limits
        return self.requests == 0 or (
            (limits.requests is None or self.requests < limits.requests)
            and (limits.items is None or self.items + batch.rows <= limits.items)
            and (limits.nbytes is None or self.nbytes + batch.nbytes <= limits.nbytes)
        )

    async def wait_for_room(self, batch: Batch) -> None:
        """Return when the batch may be put, without reserving. Raises ShuttingDown once the queue is closed."""
        while not self._closed and not self.has_room(batch):
            self._room.clear()
            await self._room.wait()
        if self._closed:
            raise ShuttingDown("the collector is stopping")

    def put_nowait(self, batch: Batch) -> None:
        """Append, whether there is room or not."""
        self.requests += 1
        self.items += batch.rows
        self.nbytes += batch.nbytes
        self._waiting.append(batch)
        self._arrived.set()

    async def put(self, batch: Batch) -> None:
        """Append when there is room. If the wait is cancelled the queue does not have the batch."""
        async with self.turn:
            await self.wait_for_room(batch)
            self.put_nowait(batch)

    async def get(self) -> Batch | None:
        """Return the oldest batch, or None once the queue is closed and empty."""
        while not self._waiting and not self._closed:
            self._arrived.clear()
            await self._arrived.wait()
        return self._waiting.popleft() if self._waiting else None

    def release(self, batch: Batch) -> None:
        """The work on a batch that `get` returned is over; its room is free."""
        self.requests -= 1
        self.items -= batch.rows
        self.nbytes -= batch.nbytes
        self._room.set()

    def close(self) -> None:
        """Take nothing more; what waits can still be got."""
        self._closed = True
        self._arrived.set()
        self._room.set()
