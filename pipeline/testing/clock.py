"""A clock that moves only when a test moves it."""

from __future__ import annotations

import asyncio


class FakeClock:
    """Starts at 1000 s; `advance` wakes whoever's time has come and lets them run."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self._now

    def time_ns(self) -> int:
        return 1_795_300_000_000_000_000 + round((self._now - 1000.0) * 1e9)

    async def sleep_until(self, when: float) -> None:
        if when <= self._now:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((when, future))
        await future

    async def advance(self, seconds: float) -> None:
        """Move time on, in steps from sleeper to sleeper, and let every task run until it waits again."""
        end = self._now + seconds
        await self.settle()
        while due := [when for when, future in self._sleepers if when <= end and not future.done()]:
            self._now = max(self._now, min(due))
            for when, future in self._sleepers:
                if when <= self._now and not future.done():
                    future.set_result(None)
            self._sleepers = [(when, future) for when, future in self._sleepers if not future.done()]
            await self.settle()
        self._now = end
        await self.settle()

    async def settle(self) -> None:
        """Let tasks run; enough turns of the loop for a chain of awaits to end."""
        for _ in range(50):
            await asyncio.sleep(0)
