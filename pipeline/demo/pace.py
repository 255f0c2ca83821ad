"""Waiting in a program that people stop with Ctrl-C."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Protocol, Self

Handler = Callable[[int, FrameType | None], object] | int | None


class Pace(Protocol):
    """When a record's turn has come."""

    def wait_until(self, at_ns: int) -> bool:
        """Return True at that time since 1970; False, at once, when the user wants to stop."""


class WallPace:
    """Real time. The first SIGINT or SIGTERM ends waiting, the second is raised as KeyboardInterrupt.

    A pipe and not an event: a signal handler may not take the lock that its own thread could be holding.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._previous: dict[int, Handler] = {}

    def __enter__(self) -> Self:
        self._read, self._write = os.pipe()
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)

    def wait_until(self, at_ns: int) -> bool:
        while not self.stopped and (left := (at_ns - time.time_ns()) / 1e9) > 0:
            select.select([self._read], [], [], left)
        return not self.stopped

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        if self.stopped:
            raise KeyboardInterrupt
        self.stopped = True
        os.write(self._write, b"!")
