"""One signal's way from messages to batches: what was fetched waits here, is decoded together and handed on.

Messages of all partitions are decoded together, as many as make a slice; each slice is one intake, and the partitions'
progress moves when nothing of it is owed any more. Messages that do not decode are found by halving, and set aside.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from itertools import accumulate
from typing import Any, Final

from pipeline.component import Host
from pipeline.errors import ShuttingDown
from pipeline.kinds import Signal
from pipeline.otlp import Columns, decode, decode_json
from pipeline.receipt import Receipt
from receivers.kafka.config import Encoding
from receivers.kafka.dead_letter import DeadLetters
from receivers.kafka.progress import Progress, Stretch
from receivers.kafka.telemetry import Instruments

SLICE_BYTES: Final[dict[Encoding, int]] = {"otlp_proto": 4 << 20, "otlp_json": 256 << 10}
"""Bytes decoded at a time. Decoding holds the interpreter, and the event loop should not stand still over 50 ms."""

WAITING_SLICES: Final = 2
"""A lane is full when so much waits in it."""


class _Fetched:
    """Messages of one partition that wait, in order, with no gap to what was taken before."""

    __slots__ = ("_ends", "_taken", "progress", "records", "values")

    def __init__(self, progress: Progress, records: Sequence[Any]) -> None:
        self.progress = progress
        self.records = records
        self.values: list[bytes] = [record.value or b"" for record in records]
        self._ends = [*accumulate(map(len, self.values), initial=0)]
        self._taken = 0

    @property
    def nbytes(self) -> int:
        """Bytes of values that wait."""
        return self._ends[-1] - self._ends[self._taken]

    def take(self, nbytes: int) -> range:
        """Take messages until these have `nbytes`, at least one, at most all that wait; return their places."""
        begun = self._ends[self._taken]
        end = min(bisect_left(self._ends, begun + nbytes, self._taken + 1), len(self.records))
        places, self._taken = range(self._taken, end), end
        return places


@dataclass(frozen=True, slots=True)
class _Taken:
    """A stretch of a slice."""

    progress: Progress
    stretch: Stretch
    name: str


class Lane:
    """Works for one signal in one encoding."""

    def __init__(
        self,
        signal: Signal,
        encoding: Encoding,
        *,
        host: Host,
        instruments: Instruments,
        dead_letters: DeadLetters,
        on_room: Callable[[], None],
        on_finish: Callable[[], None],
    ) -> None:
        """`on_room` is called when messages left the lane, `on_finish` when a stretch is finished."""
        self.signal = signal
        self._decode = decode if encoding == "otlp_proto" else decode_json
        self._slice_bytes = SLICE_BYTES[encoding]
        self._emit = host.emit
        self._instruments = instruments
        self._dead_letters = dead_letters
        self._on_room = on_room
        self._on_finish = on_finish
        self._waiting: deque[_Fetched] = deque()
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.waiting_bytes = 0

    @property
    def full(self) -> bool:
        return self.waiting_bytes >= WAITING_SLICES * self._slice_bytes

    def offer(self, progress: Progress, records: Sequence[Any]) -> int:
        """Append what was fetched of a partition, at least one message; return the bytes of its values."""
        fetched = _Fetched(progress, records)
        self._waiting.append(fetched)
        self.waiting_bytes += fetched.nbytes
        self._arrived.set()
        return fetched.nbytes

    def drop(self, progresses: Container[int]) -> None:
        """Forget what waits of some partitions, given by the `id` of their progress; it is to be fetched again."""
        dropped = [fetched for fetched in self._waiting if id(fetched.progress) in progresses]
        for fetched in dropped:
            self._waiting.remove(fetched)
            self.waiting_bytes -= fetched.nbytes

    async def idle(self) -> None:
        """Return when no slice is being handed over."""
        await self._idle.wait()

    async def run(self) -> None:
        """Work until cancelled, or until the pipelines take nothing more."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                self._idle.clear()
                try:
                    await self._serve()
                except ShuttingDown:
                    self._waiting.clear()  # not taken, so not owed: the group's next owner reads it
                    return
                finally:
                    self._idle.set()
                await asyncio.sleep(0)

    async def _serve(self) -> None:
        """Take a slice, decode it, hand it on."""
        records, values, taken = self._next_slice()
        pieces = await self._decoded(records, values)
        good = [piece for piece in pieces if isinstance(piece, Columns)]
        receipt = Receipt.issue(_token(taken), partial(self._finish, taken))
        *shares, rest = receipt.split(len(good) + 1)
        for piece in pieces:
            if isinstance(piece, Columns):
                self._dead_letters.decoded()
            else:
                self._instruments.undecodable(self.signal)
                await self._dead_letters.set_aside(*piece)
        rest.settle()
        for columns, share in zip(good, shares, strict=True):
            rows = columns.table.num_rows
            if not rows:
                share.settle()
                continue
            await self._emit(columns.batch(share))
            self._instruments.accepted(self.signal, rows)

    def _next_slice(self) -> tuple[list[Any], list[bytes], list[_Taken]]:
        """Take messages from the front, as many as make the slice's bytes, and note them as read."""
        records: list[Any] = []
        values: list[bytes] = []
        taken: list[_Taken] = []
        room = self._slice_bytes
        while self._waiting and room > 0:
            fetched = self._waiting[0]
            before = fetched.nbytes
            places = fetched.take(room)
            if places.stop == len(fetched.records):
                self._waiting.popleft()
            room -= before - fetched.nbytes
            part = fetched.records[places.start : places.stop]
            first, last = part[0], part[-1]
            stretch = fetched.progress.take(first.offset, last.offset + 1, len(part))
            name = f"{first.topic}/{first.partition}/{first.offset}-{last.offset}/{first.timestamp}"
            taken.append(_Taken(fetched.progress, stretch, name))
            records += part
            values += fetched.values[places.start : places.stop]
        self.waiting_bytes -= self._slice_bytes - room
        self._on_room()
        return records, values, taken

    async def _decoded(self, records: list[Any], values: list[bytes]) -> list[Columns | tuple[Any, Exception]]:
        """Return columns of what decodes, in order, and the messages that do not, each with the reason."""
        outcome: list[Columns | tuple[Any, Exception]] = []
        parts = [(0, len(values))]
        while parts:
            start, end = parts.pop()
            if start == end:
                continue
            try:
                outcome.append(self._decode(self.signal, values[start:end]))
            except Exception as error:  # noqa: BLE001 - whatever a message does to the codec, it must not end the reading
                if end - start == 1:
                    outcome.append((records[start], error))
                else:
                    middle = (start + end) // 2
                    parts += [(middle, end), (start, middle)]
                await asyncio.sleep(0)
        return outcome

    def _finish(self, taken: Sequence[_Taken]) -> None:
        for each in taken:
            each.progress.finish(each.stretch)
        self._on_finish()


def _token(taken: Sequence[_Taken]) -> str:
    """Name the rows: a replay of the same messages has the same token, a topic made anew has another."""
    return blake2b("\n".join(each.name for each in taken).encode(), digest_size=16).hexdigest()
