"""The exporter itself: connects when there is something to send, sends, and says what became of which rows."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from exporters.kafka.config import KafkaExporterConfig
from exporters.kafka.messages import SORTED_UNSEEN, Fitting, Group, as_they_came, made
from exporters.kafka.outbox import Outbox, Outcome
from exporters.kafka.partitioning import PartitionChoice
from exporters.kafka.telemetry import Instruments
from pipeline import Batch, ComponentId, Exporter, Host, Kind, Partial, Permanent, Rejected, Transient, Unavailable
from pipeline.arrays import Ints, hex_text
from pipeline.errors import TooLarge
from pipeline.kafka.client import connection, start
from pipeline.kafka.errors import classify
from pipeline.kafka.logs import calm_library

T = TypeVar("T")

REQUEST_SHARE: Final = 0.8
"""The client gives up after this share of `timeout`, so that its answer is heard before the attempt is cut off."""

DEFAULT_REQUEST_SECONDS: Final = 40.0
"""Where `timeout` is 0."""

SMALLEST_LIMIT: Final = 1024
FLUSH_SECONDS: Final = 2.0
NAMED_ROWS: Final = 3
"""How many refused rows a message tells of."""

BROKEN: Final = frozenset(
    {"ProducerClosed", "ProducerFenced", "OutOfOrderSequenceNumber", "UnknownProducerId", "InvalidProducerIdMapping",
     "KafkaError"}
)  # fmt: skip
"""After these errors a producer can do nothing more and a new one is made."""


class KafkaExporter(Exporter[KafkaExporterConfig]):
    """Delivers every kind. Rows are delivered when the brokers confirmed their messages as `required_acks` asks."""

    kind = "kafka"
    Config = KafkaExporterConfig

    def __init__(self, config: KafkaExporterConfig, ident: ComponentId) -> None:
        super().__init__(config, ident)
        self._headers = [(name, value.encode()) for name, value in config.record_headers.items()]
        self._headers_bytes = sum(len(name) + len(value) + 10 for name, value in self._headers)
        self._request_seconds = config.timeout * REQUEST_SHARE or DEFAULT_REQUEST_SECONDS
        self._choose = PartitionChoice(config.record_partitioner)
        self._attempts: dict[Batch, asyncio.Task[None]] = {}
        self._connecting = asyncio.Lock()
        self._link: _Link | None = None
        self._host: Host | None = None

    async def start(self, host: Host) -> None:
        """Prepare and try to connect; brokers that are away hold up nothing."""
        calm_library()
        self._host = host
        self._instruments = Instruments(host.metrics, str(self.ident))
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=str(self.ident))
        connection(self.config, self._request_seconds)  # certificates are read, or the start fails
        host.spawn(self._greet(host), name="connect")

    async def _greet(self, host: Host) -> None:
        try:
            await self._linked()
        except (Permanent, Transient) as error:
            host.log.warning("Kafka cannot be reached yet.", error=str(error))

    async def stop(self) -> None:
        for attempt in self._attempts.values():
            attempt.cancel()
        await asyncio.gather(*self._attempts.values(), return_exceptions=True)
        if self._host is not None:
            self._host = None
            self._pool.shutdown(wait=False, cancel_futures=True)
        async with self._connecting:
            await self._unlink()

    def forwards(self, kind: Kind) -> bool:
        """Requests that need no key and no topic of their own are messages as they came; rows are sorted unseen."""
        return self.config.as_it_came(kind) or (kind in SORTED_UNSEEN and self.config.encoding_of(kind) == "otlp_proto")

    async def export(self, batch: Batch) -> None:
        """Send every row. Raises Transient, Rejected, or Partial where only some rows have to be sent again.

        An attempt that was cut off goes on behind the scenes. When the same batch comes again meanwhile, its outcome is
        waited for: sending anew would store the rows twice.
        """
        attempt = self._attempts.get(batch)
        if attempt is None:
            attempt = asyncio.ensure_future(self._deliver(batch))
            self._attempts[batch] = attempt
            attempt.add_done_callback(lambda task: self._forget(batch, task))
        await asyncio.shield(attempt)

    def _forget(self, batch: Batch, attempt: asyncio.Task[None]) -> None:
        self._attempts.pop(batch, None)
        if not attempt.cancelled():
            attempt.exception()  # looked at, for whoever waited for it may be gone

    async def check(self) -> None:
        """Connect, and ask for the topics."""
        producer = AIOKafkaProducer(**self._arguments())
        await start(producer, self.config, self._request_seconds)
        try:
            if not self.config.producer.allow_auto_topic_creation:
                for topic in sorted({self.config.topic_of(kind) for kind in Kind}):
                    await _partitions(producer, topic, create=False)
        finally:
            await producer.stop()

    async def _deliver(self, batch: Batch) -> None:
        link = await self._linked()
        tally = _Tally(batch)
        rows: Ints | None = None
        limit = self.config.producer.max_message_bytes
        while rows is None or len(rows):
            rows = await self._attempt(link, tally, rows, limit)
            # What the broker finds too large, though it is within our limit, is tried again in smaller messages.
            limit = max(limit // 2, SMALLEST_LIMIT)
        if tally.refused:
            self._instruments.refused(len(tally.refused))
        if tally.broken:
            await self._discard(link)
        tally.settle(self.config.producer.max_message_bytes)

    async def _attempt(self, link: _Link, tally: _Tally, rows: Ints | None, limit: int) -> Ints:
        """Send some rows of the batch, all for None; return those that the broker found too large."""
        batch = tally.batch
        if rows is not None:
            batch = batch.with_table(batch.table.take(rows).combine_chunks())
        wanted = batch, self.config, limit, self._headers_bytes
        messages = as_they_came(*wanted) or await self._offload(partial(made, *wanted))
        sent: list[tuple[Group, Fitting, list[asyncio.Future[Outcome]]]] = []
        for group, fit in messages:
            tally.refuse(group, fit, rows)
            try:
                partitions = await link.partitions(group.topic)
            except (KafkaError, Transient) as error:
                tally.fail(_rows_of(group.order, rows), _classified(error, group.topic), error)
                continue
            sent.append((group, fit, self._post(link, group.topic, fit, partitions, limit)))
        futures = {future for _, _, outcomes in sent for future in outcomes}
        if futures:
            await asyncio.wait(futures)
        too_large: list[Ints] = []
        for group, fit, outcomes in sent:
            for first, last, outcome in _stretches(fit, outcomes):
                failed = _rows_of(group.order[first:last], rows)
                cause = None if outcome is None else _classified(outcome, group.topic)
                if isinstance(cause, TooLarge):
                    if limit > SMALLEST_LIMIT:
                        too_large.append(failed)
                    else:
                        tally.refused += [(row, limit) for row in failed.tolist()]
                elif cause is not None:
                    tally.fail(failed, cause, outcome)
        return np.concatenate(too_large) if too_large else np.zeros(0, np.int64)

    def _post(
        self, link: _Link, topic: str, fit: Fitting, partitions: int, limit: int
    ) -> list[asyncio.Future[Outcome]]:
        """Put messages into the record batches of their partitions; return the outcome of each, in order."""
        if not fit.values:
            return []
        assert self._host is not None
        now_ms = self._host.clock.time_ns() // 1_000_000
        chosen = self._choose(fit.keys, partitions)
        order = np.argsort(chosen, kind="stable")
        bounds = np.searchsorted(chosen[order], np.arange(partitions + 1))
        keys = fit.keys.to_pylist()
        outcomes: list[Any] = [None] * len(keys)
        for partition in np.unique(chosen).tolist():
            numbers = order[bounds[partition] : bounds[partition + 1]].tolist()
            messages = [(keys[number], fit.values[number]) for number in numbers]
            for number, future in zip(
                numbers, link.outbox.put((topic, partition), messages, limit, now_ms), strict=True
            ):
                outcomes[number] = future
        return outcomes

    async def _offload(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def _arguments(self) -> dict[str, Any]:
        producer = self.config.producer
        return {
            **connection(self.config, self._request_seconds),
            "acks": producer.acks,
            "enable_idempotence": producer.idempotence,
            "compression_type": None if producer.compression == "none" else producer.compression,
            "max_batch_size": producer.max_message_bytes,
            "max_request_size": producer.max_message_bytes,
        }

    async def _linked(self) -> _Link:
        """Return the connection, made if there is none. Raises Permanent, Transient."""
        async with self._connecting:
            if self._link is not None:
                return self._link
            if self._host is None:
                raise Unavailable("the exporter is not started")
            producer = AIOKafkaProducer(**self._arguments())
            await start(producer, self.config, self._request_seconds)
            outbox = Outbox(
                producer,
                linger=self.config.producer.linger,
                headers=self._headers,
                instruments=self._instruments,
            )
            self._link = _Link(producer, outbox, self.config.producer.allow_auto_topic_creation)
            return self._link

    async def _discard(self, link: _Link) -> None:
        """Give up a producer that can do nothing more."""
        async with self._connecting:
            if self._link is link:
                await self._unlink()

    async def _unlink(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.close()


@dataclass(frozen=True, slots=True)
class _Link:
    """A producer and what goes through it."""

    producer: Any
    outbox: Outbox
    create_topics: bool

    async def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has. Raises KafkaError, Unavailable."""
        return await _partitions(self.producer, topic, create=self.create_topics)

    async def close(self) -> None:
        """Send what can be sent in a moment, and release everything."""
        self.outbox.flush()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_SECONDS):
                await self.producer.flush()
        await self.outbox.close()
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await self.producer.stop()
        except TimeoutError:
            # Brokers are away and aiokafka would wait for them: only its parts can be closed without that.
            await self.producer._sender.close()  # noqa: SLF001 - see above
            self._forget_unsent()
            await self.producer.client.close()

    def _forget_unsent(self) -> None:
        """End the wait for what was not sent; whoever exported it was told before."""
        accumulator = self.producer._message_accumulator  # noqa: SLF001 - aiokafka has no way to give up
        pending = accumulator._pending_batches  # noqa: SLF001 - as above
        pending.update(batch for batches in accumulator._batches.values() for batch in batches)  # noqa: SLF001 - as above
        for batch in list(pending):
            batch.done_noack()


@dataclass(slots=True)
class _Tally:
    """What is known of the rows of a batch that were not delivered."""

    batch: Batch
    failed: list[Ints] = field(default_factory=list)
    causes: list[Permanent | Transient] = field(default_factory=list)
    refused: list[tuple[int, int]] = field(default_factory=list)
    """Rows of the batch that are too large, and their sizes."""

    broken: bool = False
    """Whether the producer can do nothing more."""

    def fail(self, rows: Ints, cause: Permanent | Transient, error: BaseException | None) -> None:
        self.failed.append(rows)
        self.causes.append(cause)
        self.broken = self.broken or type(error).__name__ in BROKEN

    def refuse(self, group: Group, fit: Fitting, rows: Ints | None) -> None:
        for row, size in fit.refused:
            (number,) = _rows_of(group.order[row : row + 1], rows).tolist()
            self.refused.append((number, size))

    def settle(self, limit: int) -> None:
        """Return if every row was delivered, else raise what is to be done about the others."""
        causes = [*self.causes, self._too_large(limit)] if self.refused else self.causes
        if not causes:
            return
        rows = np.unique(np.concatenate([*self.failed, np.array([row for row, _ in self.refused], np.int64)]))
        cause = _worst(causes)
        if len(rows) == self.batch.rows:
            raise cause
        raise Partial(self.batch.with_table(self.batch.table.take(rows).combine_chunks()), cause) from cause

    def _too_large(self, limit: int) -> Rejected:
        named = [self._name(row, size) for row, size in self.refused[:NAMED_ROWS]]
        more = len(self.refused) - len(named)
        text = ", ".join(named) + (f" and {more} more" if more else "")
        return Rejected(f"too large for a message (producer.max_message_bytes: {limit}, or the broker's limit): {text}")

    def _name(self, row: int, size: int) -> str:
        """Say which row it is: of what trace, if it has one."""
        batch = self.batch
        what = {Kind.SPANS: "span", Kind.LOGS: "log record", Kind.METRICS: "data point"}.get(batch.kind, "row")
        columns = batch.table.schema.names
        if "trace_id" not in columns:
            return f"a {what} of {size} bytes"
        value = batch.column("trace_id").slice(row, 1)
        trace = value[0].as_py() if pa.types.is_string(value.type) else hex_text(value)[0].as_py()
        return f"a {what} of {size} bytes in trace {trace}"


def _rows_of(order: Ints, rows: Ints | None) -> Ints:
    """Return which rows of the whole batch these are, where only `rows` of it were sent."""
    return order if rows is None else rows[order]


def _stretches(fit: Fitting, outcomes: Sequence[asyncio.Future[Outcome]]) -> list[tuple[int, int, Outcome]]:
    """Return the rows and the failure of each message that was not delivered."""
    return [
        (first, last, future.result())
        for first, last, future in zip(fit.starts.tolist(), fit.ends.tolist(), outcomes, strict=True)
        if future.result() is not None
    ]


def _classified(error: BaseException, topic: str) -> Permanent | Transient:
    return error if isinstance(error, Transient) else classify(error, f"topic {topic}")


def _worst(causes: Sequence[Permanent | Transient]) -> Permanent | Transient:
    """Return what to say of several failures: that it may work later if one of them says so."""
    transient = [cause for cause in causes if isinstance(cause, Transient)]
    text = "; ".join(dict.fromkeys(map(str, causes)))
    if not transient:
        return Rejected(text)
    return type(transient[0])(text) if len(set(map(type, transient))) == 1 else Transient(text)


async def _partitions(producer: Any, topic: str, *, create: bool) -> int:
    known = producer.client.cluster.partitions_for_topic(topic)
    if known is None and not create:
        # Asking for one topic creates it where brokers do that; asking for all does not.
        cluster = await producer.client.fetch_all_metadata()
        if cluster.partitions_for_topic(topic) is None:
            raise UnknownTopicOrPartitionError
    found = await producer.partitions_for(topic)
    return len(found)
