"""What stands around every exporter: queue, batching, time-out, retries, and the end of the receipts.

The order is the Collector's (its `exporterhelper`): queue and batch, then retry, then time-out, then the exporter.
"""

from __future__ import annotations

import asyncio
import time
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
        self.undelivered_rows = 0
        """Rows given up at shutdown."""
        self._exporter = exporter
        self._config = config
        self._clock = clock
        self._log = log
        self._random = random or Random()  # noqa: S311 - jitter, not secrets
        self._queue = BatchQueue(config.sending_queue.limits)
        self._instruments = _Instruments(metrics, str(exporter.ident))
        self._stopping = asyncio.Event()
        self._last_traceback = float("-inf")
        self._publish_queue(metrics)

    @property
    def consumers(self) -> int:
        """How many `consume` tasks the service runs."""
        return self._config.sending_queue.num_consumers if self._config.sending_queue.enabled else 1

    def handles(self, kind: Kind) -> bool:
        return kind in self._exporter.handles

    async def put(self, batch: Batch) -> None:
        """Take a batch over; waits while the queue is full."""
        await self._queue.put(batch)

    async def consume(self) -> None:
        """Send batch after batch until `finish` was called and the queue is empty."""
        carry: Batch | None = None
        while True:
            batch = carry if carry is not None else await self._queue.get()
            if batch is None:
                return
            held, carry = await self._gather(batch)
            for part in self._parts(concat(held)):
                await self._deliver(part)
            for each in held:
                self._queue.release(each)

    def finish(self) -> None:
        """Stop waiting for retries and take nothing more; what waits gets one attempt each."""
        self._stopping.set()
        self._queue.close()

    def give_up(self) -> None:
        """The time for draining is over: say what stays owed."""
        self.undelivered_rows += self._queue.items
        if self.undelivered_rows:
            self._log.error("Undelivered rows at shutdown.", rows=self.undelivered_rows)

    async def _gather(self, first: Batch) -> tuple[list[Batch], Batch | None]:
        """Return what goes into one request, and the batch of another kind that ended the gathering, if any."""
        batching = self._config.sending_queue.batch
        held = [first]
        if batching is None:
            return held, None
        deadline = self._clock.now() + batching.flush_timeout
        while sum(map(self._size, held)) < batching.min_size:
            following = await self._next_before(deadline)
            if following is None:
                break
            if following.kind != first.kind:
                return held, following
            held.append(following)
        return held, None

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
                batch.receipt.settle()
                return
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
            if self._stopping.is_set():
                self.undelivered_rows += batch.rows
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
        try:
            async with asyncio.timeout(self._config.timeout or None):
                await self._exporter.export(batch)
        except Partial as error:
            self._instruments.add("sent", batch, batch.rows - error.failed.rows)
            return error.failed, error.cause
        except (Permanent, Transient) as error:
            return batch, error
        except TimeoutError:
            return batch, TimedOut(f"no answer within {self._config.timeout:g} s")
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
        batch.receipt.settle()

    async def _sleep(self, seconds: float) -> None:
        """Wait, or return early when the service begins to stop."""
        timer = asyncio.ensure_future(self._clock.sleep_until(self._clock.now() + seconds))
        stop = asyncio.ensure_future(self._stopping.wait())
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
        metrics.gauge("otelcol_exporter_queue_capacity", "How much the queue may hold.", "exporter").labels(name).set(
            self._config.sending_queue.queue_size
        )
        metrics.gauge("jobsight_exporter_queue_bytes", "Arrow bytes that the queue holds.", "exporter").labels(
            name
        ).set_function(lambda: queue.nbytes)
