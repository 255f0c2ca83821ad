"""From request bodies to batches: what arrives while the pipeline works is decoded together, like a group commit.

Columns are dear for ten rows and cheap for thousands. So a request does not decode itself: it waits in a list, and one
task for each signal and encoding decodes what has come together, a slice at a time, and emits one batch for it. Every
caller gets an answer of its own; a body that does not decode harms none of its neighbours.

An idle receiver decodes a request at once. Only under load, right after a decode, it waits a few milliseconds for more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import Histogram

from pipeline.component import Host
from pipeline.errors import JobsightError, Overloaded, ShuttingDown
from pipeline.kinds import Signal
from pipeline.otlp import Columns, Requests
from pipeline.receipt import Receipt
from receivers.otlp.config import IntakeConfig
from receivers.otlp.refusals import Refusals
from receivers.otlp.status import InternalFault
from receivers.otlp.telemetry import Encoding, Meter

Decode = Callable[[Signal, Sequence[bytes]], Columns | Requests]

SLICE_BYTES: Final[dict[Encoding, int]] = {"protobuf": 2 << 20, "json": 256 << 10}
"""Bytes decoded at a time. Decoding holds the interpreter, and the event loop should not stand still over 50 ms.

A single body over this is decoded in one piece.
"""

_LULL_SECONDS: Final = 0.02
"""A request that comes so long after the last decode is not expected to have company and is decoded at once."""

_QUIET_SECONDS: Final = 0.001
"""When nobody has arrived for so long, nobody is waited for; about three times what gRPC takes for a call."""

_LONGEST_GATHERING_SECONDS: Final = 0.02
"""Or a steady stream of small requests would wait until they fill a slice."""


@dataclass(slots=True, eq=False)
class _Caller:
    """A request that waits. Its answer is the number of its rows, or why it was refused."""

    body: bytes
    meter: Meter
    deadline: float
    answer: asyncio.Future[int | JobsightError]
    rows: int = field(default=0)


class JointDecoder:
    """Takes the requests of one signal in one encoding."""

    def __init__(
        self,
        signal: Signal,
        encoding: Encoding,
        decode: Decode,
        limits: IntakeConfig,
        *,
        host: Host,
        boot: str,
        joint: Histogram,
        refusals: Refusals,
    ) -> None:
        """`boot` is a text that no other start of any collector has; tokens of receipts begin with it."""
        self.signal = signal
        self.encoding = encoding
        self._decode = decode
        self._slice_bytes = SLICE_BYTES[encoding]
        self._limits = limits
        self._emit = host.emit
        self._token = f"{boot}/{signal}/{encoding}"
        self._slices = 0
        self._joint = joint
        self._refusals = refusals
        self._pending: deque[_Caller] = deque()
        self._arrived = asyncio.Event()
        self._closed = False
        self._decoded_at = -_LULL_SECONDS
        self._loop = asyncio.get_running_loop()
        self.pending_bytes = 0

    @property
    def pending_requests(self) -> int:
        return len(self._pending)

    async def take(self, body: bytes, meter: Meter) -> int:
        """Return the number of rows once the pipelines have them; 0 for an empty request, which they never see.

        Raises Malformed for a body that does not decode, Overloaded where too much waits or no room came in time,
        ShuttingDown, InternalFault, or what the pipelines raised. Cancelled before its turn, the request is forgotten.
        """
        if not body:
            return 0
        self.check_room(len(body))
        caller = _Caller(body, meter, self._loop.time() + self._limits.max_wait, self._loop.create_future())
        self._pending.append(caller)
        self.pending_bytes += len(body)
        self._arrived.set()
        answer = await caller.answer
        if isinstance(answer, JobsightError):
            raise answer
        return answer

    def check_room(self, nbytes: int) -> None:
        """Raise Overloaded where a body of `nbytes` has no room to wait, ShuttingDown after `close`."""
        if self._closed:
            raise ShuttingDown("the collector is stopping")
        if not self._pending:
            return
        limits = self._limits
        if len(self._pending) >= limits.max_pending_requests:
            raise Overloaded(f"{len(self._pending)} {self.signal} requests wait: intake.max_pending_requests")
        if self.pending_bytes + nbytes > limits.max_pending_size:
            raise Overloaded(f"{self.pending_bytes} bytes of {self.signal} wait: intake.max_pending_size")

    async def run(self) -> None:
        """Serve callers until cancelled; then those that still wait are told that we stop."""
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while self._pending:
                    await self._let_others_join()
                    await self._serve(self._next_slice())
                    await asyncio.sleep(0)  # where the pipelines have room, nothing above waits
        finally:
            self.close()

    def close(self) -> None:
        """Take no more requests and refuse those that wait."""
        self._closed = True
        _tell(self._pending, ShuttingDown("the collector is stopping"))
        self._pending.clear()
        self.pending_bytes = 0

    async def _let_others_join(self) -> None:
        """Give requests that are being read the time to arrive, when there are likely to be some.

        gRPC hands over one call in a turn of the loop, so the others of a burst come a little later. Under load it pays
        to wait for them: a decode of one small request costs nearly as much as one of twenty.
        """
        began = self._loop.time()
        if began - self._decoded_at > _LULL_SECONDS:
            return
        before = 0
        while before < len(self._pending) and self.pending_bytes < self._slice_bytes:
            before = len(self._pending)
            await asyncio.sleep(_QUIET_SECONDS)
            if self._loop.time() - began > _LONGEST_GATHERING_SECONDS:
                break

    def _next_slice(self) -> list[_Caller]:
        """Take from the front of the queue what is decoded at once: at most the slice's bytes, or a single body."""
        callers: list[_Caller] = []
        size = 0
        now = self._loop.time()
        while self._pending and (not callers or size + len(self._pending[0].body) <= self._slice_bytes):
            caller = self._pending.popleft()
            self.pending_bytes -= len(caller.body)
            if caller.answer.done():
                continue
            if caller.deadline <= now:
                caller.answer.set_result(self._full())
                continue
            callers.append(caller)
            size += len(caller.body)
        return callers

    async def _serve(self, callers: list[_Caller]) -> None:
        """Answer every caller. Where they do not decode together, halves do, down to the bad ones."""
        parts = [callers] if callers else []
        try:
            while parts:
                part = parts.pop()
                try:
                    columns = self._decode(self.signal, [caller.body for caller in part])
                except Exception as error:  # noqa: BLE001 - a protocol's edge: any bug may refuse its own request only
                    if len(part) == 1:
                        _tell(part, self._classified(error))
                    else:
                        middle = len(part) // 2
                        parts += [part[middle:], part[:middle]]
                    await asyncio.sleep(0)
                    continue
                self._joint.observe(len(part))
                self._decoded_at = self._loop.time()
                await self._hand_over(part, columns)
        finally:
            _tell(callers, ShuttingDown("the collector is stopping"))

    async def _hand_over(self, callers: list[_Caller], columns: Columns | Requests) -> None:
        """Emit the rows as one batch and tell the callers how it went."""
        total = 0
        for caller, rows in zip(callers, columns.rows_per_body.tolist(), strict=True):
            caller.rows = rows
            total += rows
        refusal: JobsightError | None = None
        if total:
            self._slices += 1
            batch = columns.batch(Receipt.issue(f"{self._token}/{self._slices}"))
            patience = asyncio.timeout_at(min(caller.deadline for caller in callers))
            try:
                async with patience:
                    await self._emit(batch)
            except TimeoutError as error:
                refusal = self._full() if patience.expired() else self._classified(error)
            except Exception as error:  # noqa: BLE001 - a protocol's edge: callers get an answer whatever happens
                refusal = self._classified(error)
            self._count(callers, refusal)
        _tell(callers, refusal)

    def _count(self, callers: list[_Caller], refusal: JobsightError | None) -> None:
        rows: dict[Meter, int] = {}
        for caller in callers:
            rows[caller.meter] = rows.get(caller.meter, 0) + caller.rows
        for meter, number in rows.items():
            if refusal is None:
                meter.accepted.inc(number)
            elif isinstance(refusal, InternalFault):
                meter.failed.inc(number)
            else:
                meter.refused_rows.inc(number)

    def _full(self) -> Overloaded:
        return Overloaded(f"the {self.signal} pipelines had no room for {self._limits.max_wait:g} s")

    def _classified(self, error: Exception) -> JobsightError:
        if isinstance(error, JobsightError):
            return error
        self._refusals.fault(error)
        return InternalFault()


def _tell(callers: Sequence[_Caller] | deque[_Caller], refusal: JobsightError | None) -> None:
    """Answer those who have no answer yet and are still there."""
    for caller in callers:
        if not caller.answer.done():
            # An error is a result here: asyncio would complain about an exception that a caller, just gone, never read.
            caller.answer.set_result(caller.rows if refusal is None else refusal)
