"""Counts the requests in flight, so that a listener closes only when all are answered.

`grpc.aio.Server.stop(grace)` does not wait for handlers that aborted their call.
"""

from __future__ import annotations

import asyncio
from types import TracebackType


class Calls:
    """A context manager to be in while a request is answered."""

    __slots__ = ("_all_answered", "open")

    def __init__(self) -> None:
        self.open = 0
        self._all_answered = asyncio.Event()

    def __enter__(self) -> None:
        self.open += 1

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.open -= 1
        if not self.open:
            self._all_answered.set()

    async def answered(self) -> None:
        """Return when no request is in flight."""
        while self.open:
            self._all_answered.clear()
            await self._all_answered.wait()
