"""What stands around every exporter: queue, batching, time-out, retries, and the end of the receipts.

The order is the Collector's (its `exporterhelper`): queue and batch, then retry, then time-out, then the exporter.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator
from structlog.typing import FilteringBoundLogger

from pipeline.batch import Batch, concat
from pipeline.clock import Clock
from pipeline.component import Exporter
from pipeline.config import Config
from pipeline.config.values import ByteSize, Duration
from pipeline.errors import Partial, Permanent, TimedOut, Transient
from pipeline.kinds import Kind
from pipeline.metrics import Metrics
from pipeline.queueing import BatchQueue, Limits
from pipeline.retry import Backoff, RetryConfig

HURRIED_SECONDS = 1.0
"""The longest wait between attempts while pipelines drain into a full queue."""

Sizer = Literal["requests", "items", "bytes"]


class QueueBatchConfig(Config):
    """`sending_queue.batch`: merge what waits into larger requests."""

    flush_timeout: Duration = Field(0.2, gt=0)
    """Send what there is after this long."""

    min_size: int = Field(8192, ge=0)
    """Send as soon as this much is there."""

    max_size: int = Field(0, ge=0)
    """Split larger requests; 0 never splits."""

    sizer: Literal["items", "bytes"] | None = None
    """The unit of the sizes: the queue's where that is items or bytes, else items."""

    unsupported_keys: ClassVar[Mapping[str, str]] = {
        "partition": "request metadata does not travel with batches",
    }

    @model_validator(mode="after")
    def _check(self) -> QueueBatchConfig:
        if 0 < self.max_size < self.min_size:
            raise ValueError("'max_size' must be greater than or equal to 'min_size'")
        return self


class QueueConfig(Config):
    """`sending_queue`: where batches wait for the exporter."""

    enabled: bool = True
    """Off: one request at a time, and the pipeline waits for each."""

    queue_size: int = Field(1000, gt=0)
    """How much the queue holds, waiting and in flight, in units of `sizer`."""

    sizer: Sizer = "requests"

    queue_bytes: ByteSize = Field(512 * 1024 * 1024, gt=0)
    """In every case no more than this much memory (jobsight's own key; the Collector has one bound only)."""

    num_consumers: int = Field(10, gt=0)
    """How many requests are sent at a time."""

    block_on_overflow: bool = False
    """Both values are the same here: a full queue holds up its pipeline, and receivers then ask their callers to try
    again. Nothing is dropped."""

    batch: QueueBatchConfig | None = None

    unsupported_keys: ClassVar[Mapping[str, str]] = {
        "storage": "there is no persistent queue yet",
        "wait_for_result": "the answer is given when the pipeline has the data",
    }

    @model_validator(mode="after")
    def _check(self) -> QueueConfig:
        if self.batch is not None and self.batch_sizer == self.sizer and self.batch.min_size > self.queue_size:
            raise ValueError("'batch.min_size' must be less than or equal to 'queue_size'")
        return self

    @property
    def batch_sizer(self) -> Sizer:
        if self.batch is not None and self.batch.sizer is not None:
            return self.batch.sizer
        return "bytes" if self.sizer == "bytes" else "items"

    @property
    def limits(self) -> Limits:
        if not self.enabled:
            return Limits(requests=1)
        return Limits(
            requests=self.queue_size if self.sizer == "requests" else None,
            items=self.queue_size if self.sizer == "items" else None,
            nbytes=min(self.queue_size, self.queue_bytes) if self.sizer == "bytes" else self.queue_bytes,
        )


class ExporterConfig(Config):
    """The keys that every exporter with a network behind it has."""

    timeout: Duration = 5.0
    """How long one attempt may take; 0 is no limit."""

    retry_on_failure: RetryConfig = RetryConfig()
    sending_queue: QueueConfig = QueueConfig()


_LOCAL = ExporterConfig.model_validate({"timeout": 0, "sending_queue": {"queue_size": 100, "num_consumers": 1}})
"""For exporters whose config does not have these keys: they write to this machine, in order."""


@dataclass(frozen=True, slots=True)
class _Instruments:
    """The Collector's exporter metrics, for one exporter."""

    metrics: Metrics
    exporter: str

    def add(self, event: Literal["sent", "send_failed"], batch: Batch, rows: int) -> None:
        name = f"otelcol_exporter_{event}_{batch.items}"
        meaning = "Rows delivered." if event == "sent" else "Rows dropped because they could not be delivered."
        self.metrics.counter(name, meaning, "exporter").labels(self.exporter).inc(rows)

    def retried(self) -> None:
        name = "jobsight_exporter_retries"
        self.metrics.counter(name, "Attempts that failed and will be repeated.", "exporter").labels(self.exporter).inc()


class Sender:
    """Takes batches for one exporter and sees each to its end: delivered, or dropped and counted.

    A batch whose delivery is given up at shutdown stays owed: its receipt is not settled.
    """

    def __init__(
        self,
        exporter: Exporter[Any],
        *,
        clock: Clock,
        metrics: Metrics,
        log: FilteringBoundLogger,
        random: Random | None = None,
    ) -> None:
        config = exporter.config if isinstance(exporter.config, ExporterConfig) else _LOCAL
        self.ident = exporter.ident
        self.owed_rows = 0
        """Rows taken over and neither delivered nor dropped yet."""
        self._exporter = exporter
        self._config = config
        self._clock = clock
        self._log = log
        self._random = random or Random()  # noqa: S311 - jitter, not secrets
        self._queue = BatchQueue(config.sending_queue.limits)
        self._instruments = _Instruments(metrics, str(exporter.ident))
        self._aside: deque[Batch] = deque()
        self._gathering = asyncio.Lock()
        self._hurried = asyncio.Event()
        self._finishing = asyncio.Event()
        self._last_traceback = float("-inf")
        self._publish_queue(metrics)

    @property
    def consumers(self) -> int:
        """How many `consume` tasks the service runs."""
        return self._config.sending_queue.num_consumers if self._config.sending_queue.enabled else 1

    def handles(self, kind: Kind) -> bool:
        return kind in self._exporter.handles

    def forwards(self, kind: Kind) -> bool:
        """Whether a `RequestBatch` goes through without being decoded; putting batches together would decode them."""
        queue = self._config.sending_queue
        return self._exporter.forwards(kind) and not (queue.enabled and queue.batch)

    async def put(self, batch: Batch) -> None:
        """Take a batch over; waits while the queue is full."""
        await self._queue.put(batch)
        self.owed_rows += batch.rows

    async def consume(self) -> None:
        """Send batch after batch until `finish` was called and the queue is empty."""
        while held := await self._gather():
            for part in self._parts(concat(held)):
                await self._deliver(part)
            for each in held:
                self._queue.release(each)
            await asyncio.sleep(0)  # an exporter that never waits must not keep everybody else from the event loop

    def hurry(self) -> None:
        """The service is stopping and pipelines drain into us: no long waits between attempts any more."""
        self._hurried.set()

    def finish(self) -> None:
        """Stop waiting for retries and take nothing more; what waits gets one attempt each."""
        self._hurried.set()
        self._finishing.set()
        self._queue.close()

    async def _gather(self) -> list[Batch]:
        """Return what goes into one request, all of one kind; nothing once the queue is closed and empty.

        One consumer gathers at a time, or arrivals would spread over all of them.
        """
        async with self._gathering:
            first = self._aside.popleft() if self._aside else await self._queue.get()
            if first is None:
                return []
            held = [first]
            queue = self._config.sending_queue
            if queue.batch is None or not queue.enabled:
                return held
            for batch in [batch for batch in self._aside if batch.kind == first.kind]:
                self._aside.remove(batch)
                held.append(batch)
            deadline = self._clock.now() + queue.batch.flush_timeout
            while sum(map(self._size, held)) < queue.batch.min_size:
                following = await self._next_before(deadline)
                if following is None:
                    break
                (held if following.kind == first.kind else self._aside).append(following)
            return held

    async def _next_before(self, deadline: float) -> Batch | None:
        get = asyncio.ensure_future(self._queue.get())
        timer = asyncio.ensure_future(self._clock.sleep_until(deadline))
        try:
            await asyncio.wait({get, timer}, return_when=asyncio.FIRST_COMPLETED)
            return get.result() if get.done() else None
        finally:
            get.cancel()
            timer.cancel()

    def _size(self, batch: Batch) -> int:
        return batch.nbytes if self._config.sending_queue.batch_sizer == "bytes" else batch.rows

    def _parts(self, batch: Batch) -> list[Batch]:
        batching = self._config.sending_queue.batch
        if batching is None or not 0 < batching.max_size < self._size(batch):
            return [batch]
        if self._config.sending_queue.batch_sizer == "items":
            return batch.split_rows(batching.max_size)
        return batch.split_rows(max(1, batch.rows * batching.max_size // batch.nbytes))

    async def _deliver(self, batch: Batch) -> None:
        """Attempt until delivered, refused for good, out of time, or told to stop."""
        retry = self._config.retry_on_failure
        backoff = Backoff(retry, self._random)
        began = self._clock.now()
        attempt = 0
        while True:
            attempt += 1
            failure = await self._attempt(batch)
            if failure is None:
                self._settle(batch)
                return
            self.owed_rows -= batch.rows - failure[0].rows
            batch, error = failure
            if isinstance(error, Permanent):
                self._drop(batch, "Not retryable. Dropping data.", error)
                return
            if not retry.enabled:
                self._drop(batch, "Delivery failed and retries are off. Dropping data.", error)
                return
            wait = backoff.next_wait(error.retry_after)
            if retry.max_elapsed_time and self._clock.now() + wait - began > retry.max_elapsed_time:
                self._drop(batch, "No more retries left. Dropping data.", error)
                return
            if self._finishing.is_set():
                self._log.warning("Delivery failed during shutdown.", rows=batch.rows, error=str(error))
                return
            self._instruments.retried()
            self._log.warning(
                "Delivery failed. Will retry.",
                kind=str(batch.kind),
                rows=batch.rows,
                attempt=attempt,
                wait_s=round(wait, 2),
                error=str(error),
            )
            await self._sleep(wait)

    async def _attempt(self, batch: Batch) -> tuple[Batch, Permanent | Transient] | None:
        """Return what is still to be delivered and why, or None when nothing is."""
        bounded = self._config.timeout > 0 and not self._exporter.times_requests
        patience = asyncio.timeout(self._config.timeout if bounded else None)
        try:
            async with patience:
                await self._exporter.export(batch)
        except Partial as error:
            self._instruments.add("sent", batch, batch.rows - error.failed.rows)
            return error.failed, error.cause
        except (Permanent, Transient) as error:
            return batch, error
        except TimeoutError as error:
            own = f"no answer within {self._config.timeout:g} s"
            return batch, TimedOut(own if patience.expired() else str(error) or "timed out")
        except Exception as error:  # noqa: BLE001 - the supervisor's edge: an unclassified error is our bug, data stays
            self._report_bug(error)
            return batch, Transient(f"internal error: {error!r}")
        self._instruments.add("sent", batch, batch.rows)
        return None

    def _report_bug(self, error: Exception) -> None:
        now = time.monotonic()
        if now - self._last_traceback >= 10:
            self._last_traceback = now
            self._log.error("Internal error in exporter; the batch is kept.", exc_info=error)

    def _drop(self, batch: Batch, why: str, error: Exception) -> None:
        self._instruments.add("send_failed", batch, batch.rows)
        self._log.error(why, kind=str(batch.kind), dropped_rows=batch.rows, error=str(error))
        self._settle(batch)

    def _settle(self, batch: Batch) -> None:
        self.owed_rows -= batch.rows
        batch.receipt.settle()

    async def _sleep(self, seconds: float) -> None:
        """Wait; less once the service drains, and not at all once it wants to end."""
        hurried = self._hurried.is_set()
        wait = min(seconds, HURRIED_SECONDS) if hurried else seconds
        timer = asyncio.ensure_future(self._clock.sleep_until(self._clock.now() + wait))
        stop = asyncio.ensure_future((self._finishing if hurried else self._hurried).wait())
        try:
            await asyncio.wait({timer, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            stop.cancel()

    def _publish_queue(self, metrics: Metrics) -> None:
        queue, name = self._queue, str(self.ident)
        size = {"requests": lambda: queue.requests, "items": lambda: queue.items, "bytes": lambda: queue.nbytes}
        sizer = self._config.sending_queue.sizer
        metrics.gauge("otelcol_exporter_queue_size", "What the queue holds, in units of its sizer.", "exporter").labels(
            name
        ).set_function(size[sizer])
        limits = queue.limits
        capacity = {"requests": limits.requests, "items": limits.items, "bytes": limits.nbytes}[sizer]
        metrics.gauge("otelcol_exporter_queue_capacity", "How much the queue may hold.", "exporter").labels(name).set(
            capacity or 0
        )
        metrics.gauge("jobsight_exporter_queue_bytes", "Arrow bytes that the queue holds.", "exporter").labels(
            name
        ).set_function(lambda: queue.nbytes)
