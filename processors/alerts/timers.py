"""Moments to come back to something, the nearest first."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Generic, TypeVar

K = TypeVar("K")


class Timers(Generic[K]):
    """One moment a key, in nanoseconds. Whoever is woken too early asks again."""

    def __init__(self) -> None:
        self._due: dict[K, int] = {}
        self._heap: list[tuple[int, int, K]] = []
        self._number = 0

    def wake(self, key: K, at: int) -> None:
        """Come back to `key` at this moment, or before if that was asked for."""
        if self._due.get(key, at + 1) <= at:
            return
        self._due[key] = at
        self._number += 1
        heapq.heappush(self._heap, (at, self._number, key))

    def forget(self, key: K) -> None:
        self._due.pop(key, None)

    def due(self, now: int) -> Iterator[K]:
        """Yield the keys whose moment has come, each once."""
        while (at := self.next()) is not None and at <= now:
            _, _, key = heapq.heappop(self._heap)
            del self._due[key]
            yield key

    def next(self) -> int | None:
        """Return the nearest moment."""
        while self._heap:
            at, _, key = self._heap[0]
            if self._due.get(key) == at:
                return at
            heapq.heappop(self._heap)  # it was moved or forgotten
        return None
