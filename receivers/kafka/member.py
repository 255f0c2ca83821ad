"""A member of a consumer group: joins, reads what the lanes have room for, commits, hands partitions over.

The consumer is made anew whenever it fails; what is known of the partitions outlives it, so that nothing that was read
is read again because of a lost connection.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from random import Random
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import (
    CommitFailedError,
    ConsumerStoppedError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from pipeline.component import Host
from pipeline.errors import Permanent, Transient
from pipeline.kafka.client import connection, start
from pipeline.kafka.errors import classify
from pipeline.kinds import Signal
from pipeline.retry import Backoff, RetryConfig
from pipeline.supervise import cancel
from receivers.kafka.config import KafkaReceiverConfig, Strategy
from receivers.kafka.lane import Lane
from receivers.kafka.progress import Progress
from receivers.kafka.telemetry import Instruments
from receivers.kafka.topics import Wanted

POLL_SECONDS: Final = 0.5
"""How long a poll waits for messages where every lane has room."""

CROWDED_POLL_SECONDS: Final = 0.05
"""The same where some lane is full and may get room any moment."""

POLL_MESSAGES: Final = 500
"""How many messages a poll takes at most; the others stay packed as they came."""

COMMIT_SECONDS: Final = 5.0
SHORTEST_COMMIT_SECONDS: Final = 0.05
LEAVE_SECONDS: Final = 5.0
MISSING_SECONDS: Final = 5.0
"""How often topics that do not exist are looked for."""

REBALANCE_MARGIN_SECONDS: Final = 10.0
"""What the group waits for us beyond `handover_timeout` when it shares its partitions anew."""

ANSWER_MARGIN_SECONDS: Final = 5.0
"""A request to join is answered when all have joined, so we wait longer for answers than the group for members."""

NEVER_IDLE_MS: Final = 2**31 - 1
"""Reading stops while pipelines are full, which must not put us out of the group: heartbeats say that we live."""

RETRY: Final = RetryConfig(initial_interval=0.5, max_interval=15.0)

ASSIGNORS: Final[Mapping[Strategy, type]] = {
    "range": RangePartitionAssignor,
    "roundrobin": RoundRobinPartitionAssignor,
    "sticky": StickyPartitionAssignor,
    "cooperative-sticky": StickyPartitionAssignor,
}


def request_seconds(config: KafkaReceiverConfig) -> float:
    """Return how long an answer may take."""
    return config.intake.handover_timeout + REBALANCE_MARGIN_SECONDS + ANSWER_MARGIN_SECONDS


class Member:
    """Reads for one receiver."""

    def __init__(
        self,
        config: KafkaReceiverConfig,
        wanted: Wanted,
        lanes: Mapping[Signal, Lane],
        *,
        host: Host,
        instruments: Instruments,
    ) -> None:
        self._config = config
        self._wanted = wanted
        self._lanes = lanes
        self._host = host
        self._instruments = instruments
        self._progress: dict[TopicPartition, Progress] = {}
        self._mine: set[TopicPartition] = set()
        self._consumer: Any = None
        self._room = asyncio.Event()
        self._finished = asyncio.Event()
        self._stopping = False

    @property
    def unfinished_messages(self) -> int:
        return sum(progress.unfinished_messages for progress in self._progress.values())

    def has_room(self) -> None:
        """A lane may have room again."""
        self._room.set()

    def has_finished(self) -> None:
        """Some stretch is finished."""
        self._finished.set()
        self._room.set()

    async def read(self) -> None:
        """Join and read until cancelled; whatever fails is said and tried again."""
        backoff = Backoff(RETRY, Random())  # noqa: S311 - jitter
        while True:
            try:
                await self._join()
                backoff = Backoff(RETRY, Random())  # noqa: S311 - jitter
                await self._poll()
            except (KafkaError, Transient, Permanent, ConsumerStoppedError, OSError) as error:
                problem = error if isinstance(error, Transient | Permanent) else classify(error, self._where())
            await self._leave()
            self._drop_waiting()
            wait = backoff.next_wait()
            self._host.log.warning("Reading from Kafka failed. Will retry.", error=str(problem), wait_s=round(wait, 2))
            await self._host.clock.sleep_until(self._host.clock.now() + wait)

    async def commit(self) -> None:
        """Commit what was delivered, every now and then, until cancelled."""
        autocommit = self._config.autocommit
        while True:
            await self._finished.wait()
            wait = autocommit.interval if autocommit.enable else SHORTEST_COMMIT_SECONDS
            await self._host.clock.sleep_until(self._host.clock.now() + wait)
            self._finished.clear()
            await self._commit(list(self._progress))

    async def close(self) -> None:
        """Commit what was delivered, and leave the group."""
        self._stopping = True
        await self._commit(list(self._progress))
        await self._leave()

    async def _join(self) -> None:
        """Connect and subscribe; partitions come later. Raises Permanent, Transient."""
        config = self._config
        consumer = AIOKafkaConsumer(
            **connection(config, request_seconds(config)),
            **config.fetching(),
            partition_assignment_strategy=tuple(dict.fromkeys(ASSIGNORS[name] for name in config.strategies)),
            enable_auto_commit=False,
            auto_offset_reset="none",
            max_poll_interval_ms=NEVER_IDLE_MS,
            rebalance_timeout_ms=round((config.intake.handover_timeout + REBALANCE_MARGIN_SECONDS) * 1000),
        )
        await start(consumer, config, request_seconds(config))
        self._consumer = consumer
        consumer.subscribe(**self._wanted.subscription(), listener=_Listener(self._revoked, self._assigned))

    async def _leave(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        # In a task of its own: when brokers are away it may hang, or end as if it were cancelled.
        goodbye = asyncio.ensure_future(consumer.stop())
        await asyncio.wait({goodbye}, timeout=LEAVE_SECONDS)
        if not goodbye.done() or goodbye.cancelled() or goodbye.exception() is not None:
            await cancel([goodbye])
            self._host.log.info("Left the group without goodbye.", group=self._config.group_id)
            await consumer._client.close()  # noqa: SLF001 - what `stop` did not come to

    async def _poll(self) -> None:
        consumer = self._consumer
        looked = -MISSING_SECONDS
        while True:
            now = time.monotonic()
            if now - looked >= MISSING_SECONDS:
                self._look_for_missing(consumer, first=looked < 0)
                looked = now
            ready = self._ready(consumer.assignment())
            if ready is None:
                self._room.clear()
                await self._room.wait()
                continue
            crowded = len(ready) < len(consumer.assignment())
            seconds = CROWDED_POLL_SECONDS if crowded else POLL_SECONDS
            try:
                fetched = await consumer.getmany(*ready, timeout_ms=round(seconds * 1000), max_records=POLL_MESSAGES)
            except NoOffsetForPartitionError as error:
                with suppress(IllegalStateError):  # it went to somebody else meanwhile
                    await self._begin(consumer, error.args[0])
                continue
            except OffsetOutOfRangeError as error:
                with suppress(IllegalStateError):
                    await self._begin_again(consumer, error.args[0])
                continue
            for place, records in fetched.items():
                self._take_in(consumer, place, records)

    def _ready(self, assignment: Iterable[TopicPartition]) -> list[TopicPartition] | None:
        """Return the partitions whose lanes have room, None for "none has"; what is fetched of others stays there."""
        places = list(assignment)
        if self.unfinished_messages >= self._config.intake.max_unfinished_messages:
            return None
        ready = [place for place in places if not self._lane(place).full]
        return None if places and not ready else ready

    def _lane(self, place: TopicPartition) -> Lane:
        signal = self._wanted.signal(place.topic)
        assert signal is not None, f"topic {place.topic} was not asked for"
        return self._lanes[signal]

    def _take_in(self, consumer: Any, place: TopicPartition, records: list[Any]) -> None:
        progress = self._progress.get(place)
        if progress is None:
            progress = self._progress[place] = Progress(records[0].offset)
        nbytes = self._lane(place).offer(progress, records)
        self._instruments.read(place.topic, len(records), nbytes)
        end = consumer.highwater(place) if place in consumer.assignment() else None
        self._instruments.position(place.topic, place.partition, records[-1].offset + 1, end)

    async def _begin(self, consumer: Any, place: TopicPartition) -> None:
        """Begin with a partition of which the group knows nothing yet, and let it know that at once.

        Otherwise a crash before the first commit would, with `latest`, begin after what came meanwhile.
        """
        seek = consumer.seek_to_beginning if self._config.initial_offset == "earliest" else consumer.seek_to_end
        await seek(place)
        self._progress[place] = Progress(await consumer.position(place), committed=False)
        self.has_finished()

    async def _begin_again(self, consumer: Any, offsets: Mapping[TopicPartition, int]) -> None:
        """The broker does not have the offset any more, or not yet: read all that is there."""
        for place, offset in offsets.items():
            await consumer.seek_to_beginning(place)
            found = await consumer.position(place)
            self._lane(place).drop({id(self._progress.get(place))})
            self._progress[place] = Progress(found, committed=False)
            self._host.log.warning(
                "Messages are gone from the broker before they were read, or the topic was made anew.",
                topic=place.topic,
                partition=place.partition,
                wanted_offset=offset,
                first_offset=found,
            )

    def _look_for_missing(self, consumer: Any, *, first: bool) -> None:
        """Ask again for topics that do not exist or may not be read, and say which."""
        missing = [name for name in sorted(self._wanted.named) if consumer.partitions_for_topic(name) is None]
        if not missing:
            return
        if not first:
            denied = consumer._client.cluster.unauthorized_topics  # noqa: SLF001 - the consumer does not tell
            for topics, problem in (
                ([name for name in missing if name not in denied], "Topics do not exist; waiting for them."),
                ([name for name in missing if name in denied], "No right to read topics; waiting for it."),
            ):
                if topics:
                    self._host.log.warning(problem, topics=topics)
        consumer._client.force_metadata_update()  # noqa: SLF001 - the consumer has no call for it

    async def _revoked(self, places: Iterable[TopicPartition]) -> None:
        """The group shares anew: stop reading, give what was read a while to be delivered, commit it."""
        mine = [place for place in places if place in self._progress]
        self._drop_waiting()
        # What is not delivered in time is read again by whoever gets the partition, if that is somebody else.
        with suppress(TimeoutError):
            async with asyncio.timeout(0 if self._stopping else self._config.intake.handover_timeout):
                while any(self._progress[place].unfinished_messages for place in mine):
                    self._finished.clear()
                    await self._finished.wait()
        await self._commit(mine)

    async def _assigned(self, places: Iterable[TopicPartition]) -> None:
        """Go on where we were with partitions that stayed; forget those that went."""
        now = set(places)
        self._drop_waiting()  # a poll may have ended with messages since
        for place in self._mine - now:
            progress = self._progress.pop(place, None)
            self._instruments.gone(
                place.topic, place.partition, 0 if progress is None else progress.unfinished_messages
            )
        self._instruments.came(len(now - self._mine))
        self._mine = now
        for place in now & self._progress.keys():
            # Somebody else may have had it in between and come further.
            committed = await self._consumer.committed(place)
            if committed is not None:
                self._consumer.seek(place, max(self._progress[place].read, committed))
        self._host.log.info("Partitions assigned.", partitions=len(now))
        self._room.set()

    def _drop_waiting(self) -> None:
        """Forget what was fetched and not taken: it is fetched again from where we, or others, go on."""
        for lane in self._lanes.values():
            lane.drop({id(progress) for progress in self._progress.values()})

    async def _commit(self, places: Iterable[TopicPartition]) -> None:
        """Commit what was delivered of some partitions; what fails is tried again with the next."""
        consumer = self._consumer
        offsets = {
            place: offset
            for place in places
            if place in self._progress and (offset := self._progress[place].to_commit()) is not None
        }
        if consumer is None or not offsets:
            return
        offsets = {place: offset for place, offset in offsets.items() if place in consumer.assignment()}
        # Not cancelled when it takes long: the library would complain about what it finds out later.
        attempt = asyncio.ensure_future(consumer.commit(offsets))
        attempt.add_done_callback(_looked_at)
        await asyncio.wait({attempt}, timeout=COMMIT_SECONDS)
        error = attempt.exception() if attempt.done() and not attempt.cancelled() else TimeoutError()
        if error is not None:
            self._finished.set()
            # While the group shares anew it takes nothing; what still is ours afterwards is committed then.
            if not isinstance(error, CommitFailedError | IllegalStateError):
                self._host.log.warning("Offsets cannot be committed yet.", error=str(classify(error, self._where())))
            return
        for place, offset in offsets.items():
            if place in self._progress:
                self._progress[place].commit(offset)
            self._instruments.committed(place.topic, place.partition, offset)

    def _where(self) -> str:
        return f"group {self._config.group_id} on {', '.join(self._config.brokers)}"


def _looked_at(attempt: asyncio.Future[None]) -> None:
    """Take note of how an attempt ended that nobody may wait for any more."""
    if not attempt.cancelled():
        attempt.exception()


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """Passes aiokafka's calls on."""

    def __init__(self, revoked: Callable[..., Any], assigned: Callable[..., Any]) -> None:
        self._revoked = revoked
        self._assigned = assigned

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._revoked(revoked)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        await self._assigned(assigned)
