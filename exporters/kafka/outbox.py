"""Record batches that are being filled and sent, one open for each partition.

Exports put their messages in; a record batch leaves when it is full or has waited for `linger`, and every export learns
what became of the record batches that hold its messages. This goes around aiokafka's own accumulator, which makes a
future for every message: ten times the cost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from exporters.kafka.messages import OVERHEAD_BYTES
from exporters.kafka.telemetry import Instruments

Place = tuple[str, int]
"""Topic and partition."""

Outcome = BaseException | None
"""What became of a record batch: None is delivered."""


@dataclass(slots=True, eq=False)
class _Open:
    """A record batch that still takes messages."""

    builder: Any
    limit: int
    outcome: asyncio.Future[Outcome]
    nbytes: int = 0
    timer: asyncio.TimerHandle | None = field(default=None)


class Outbox:
    """Sends through one aiokafka producer."""

    def __init__(
        self,
        producer: Any,
        *,
        linger: float,
        headers: Sequence[tuple[str, bytes]],
        instruments: Instruments,
    ) -> None:
        self._producer = producer
        self._linger = linger
        self._headers = list(headers)
        self._headers_bytes = sum(len(name) + len(value) + 10 for name, value in headers)
        self._instruments = instruments
        self._open: dict[Place, _Open] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def put(
        self, place: Place, messages: Sequence[tuple[bytes | None, bytes]], limit: int, time_ms: int
    ) -> list[asyncio.Future[Outcome]]:
        """Add messages, (key, value), for a partition; return for each the outcome of its record batch.

        None of them is over `limit`, the largest record batch.
        """
        outcomes = []
        headers, overhead = self._headers, self._headers_bytes + OVERHEAD_BYTES // 2
        current = self._open.get(place)
        for key, value in messages:
            needed = len(value) + len(key or b"") + overhead
            if current is not None and (current.nbytes + needed > limit or current.limit != limit):
                self._dispatch(place)
                current = None
            if current is None:
                current = self._open[place] = _Open(
                    self._producer.create_batch(), limit, self._loop.create_future(), OVERHEAD_BYTES // 2
                )
            current.builder.append(timestamp=time_ms, key=key, value=value, headers=headers)
            current.nbytes += needed
            outcomes.append(current.outcome)
        if place in self._open:
            if not self._linger:
                self._dispatch(place)
            elif self._open[place].timer is None:
                self._open[place].timer = self._loop.call_later(self._linger, self._dispatch, place)
        return outcomes

    def flush(self) -> None:
        """Send what waits."""
        for place in list(self._open):
            self._dispatch(place)

    async def close(self) -> None:
        """Give up what was not delivered; nobody waits for it any more."""
        for current in self._open.values():
            if current.timer is not None:
                current.timer.cancel()
        self._open.clear()
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    def _dispatch(self, place: Place) -> None:
        current = self._open.pop(place)
        if current.timer is not None:
            current.timer.cancel()
        current.builder.close()
        task = self._loop.create_task(self._send(place, current))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, place: Place, batch: _Open) -> None:
        began = self._loop.time()
        topic, partition = place
        records = batch.builder.record_count()
        outcome: Outcome = None
        try:
            await (await self._producer.send_batch(batch.builder, topic, partition=partition))
        except asyncio.CancelledError:
            batch.outcome.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - nobody but the export that waits can tell of it
            outcome = error
        self._instruments.sent(place, records, batch.nbytes, self._loop.time() - began, delivered=outcome is None)
        if not batch.outcome.done():
            batch.outcome.set_result(outcome)
