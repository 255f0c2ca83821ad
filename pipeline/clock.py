"""Time as the engine hands it out, so that tests can drive every wait."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Two readings and one wait."""

    def now(self) -> float:
        """Seconds that only grow; for waits, windows and deadlines."""

    def time_ns(self) -> int:
        """Nanoseconds since 1970, as telemetry counts."""

    async def sleep_until(self, when: float) -> None:
        """Return once `now()` is at least `when`."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        return time.monotonic()

    def time_ns(self) -> int:
        return time.time_ns()

    async def sleep_until(self, when: float) -> None:
        await asyncio.sleep(max(0.0, when - time.monotonic()))
