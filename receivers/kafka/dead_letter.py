"""What becomes of messages that do not decode: to a topic of their own as they came, or skipped; never too many."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from pipeline.component import Host
from pipeline.errors import Permanent, Transient
from pipeline.kafka.client import connection, start
from pipeline.kafka.errors import classify
from pipeline.retry import Backoff, RetryConfig
from receivers.kafka.config import KafkaReceiverConfig
from receivers.kafka.telemetry import Instruments

REQUEST_SECONDS: Final = 10.0
REPORT_SECONDS: Final = 10.0
RETRY: Final = RetryConfig(initial_interval=0.5, max_interval=10.0)
LARGEST_BYTES: Final = 64 << 20
"""A message that came from a broker goes back to one, whatever its size."""

HEADERS: Final = ("kafka.topic", "kafka.partition", "kafka.offset", "error")
"""What a dead letter has besides the headers that it came with."""


class DeadLetters:
    """Sets aside messages of one receiver."""

    def __init__(self, config: KafkaReceiverConfig, host: Host, instruments: Instruments) -> None:
        self._config = config
        self._host = host
        self._instruments = instruments
        self._producer: Any = None
        self._run = 0
        self._reported = float("-inf")
        self._unreported = 0
        self._sending = asyncio.Lock()

    def decoded(self) -> None:
        """Note that messages decoded: what comes now is no run any more."""
        self._run = 0

    async def set_aside(self, record: Any, error: Exception) -> None:
        """Return when the message need not be kept; waits while the dead-letter topic cannot be written."""
        self._run += 1
        topic, limit = self._config.dead_letter.topic, self._config.dead_letter.max_run
        where = f"topic {record.topic}, partition {record.partition}, offset {record.offset}"
        if limit and self._run > limit:
            reason = (
                f"{limit} messages in a row do not decode, the last in {where}: {error}; is the encoding right? "
                "(dead_letter.max_run)"
            )
            self._host.stop_service(reason)
            await asyncio.Event().wait()  # nothing more is set aside; the service stops us
        self._report(where, error, topic)
        if topic:
            async with self._sending:
                await self._insist(topic, record, error)
            self._instruments.dead_letters.inc()

    async def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    def _report(self, where: str, error: Exception, topic: str) -> None:
        """Log the first, then one every ten seconds with the number of those in between."""
        now = self._host.clock.now()
        if now - self._reported < REPORT_SECONDS:
            self._unreported += 1
            return
        self._reported = now
        action = f"sent to {topic}" if topic else "skipped"
        self._host.log.warning(
            "A message does not decode.", where=where, error=str(error), action=action, more=self._unreported
        )
        self._unreported = 0

    async def _insist(self, topic: str, record: Any, error: Exception) -> None:
        backoff = Backoff(RETRY, Random())  # noqa: S311 - jitter
        while (problem := await self._attempt(topic, record, error)) is not None:
            wait = backoff.next_wait()
            self._host.log.warning(
                "The dead letter cannot be sent. Will retry.", error=str(problem), wait_s=round(wait, 2)
            )
            await self._host.clock.sleep_until(self._host.clock.now() + wait)

    async def _attempt(self, topic: str, record: Any, error: Exception) -> Exception | None:
        """Return why the message could not be sent, None where it was."""
        values = (record.topic, str(record.partition), str(record.offset), str(error))
        headers = [*record.headers, *((name, value.encode()) for name, value in zip(HEADERS, values, strict=True))]
        try:
            producer = await self._started()
            await producer.send_and_wait(topic, value=record.value, key=record.key, headers=headers)
        except KafkaError as failure:
            return classify(failure, f"topic {topic}")
        except (Permanent, Transient) as failure:
            return failure
        return None

    async def _started(self) -> Any:
        if self._producer is None:
            producer = AIOKafkaProducer(
                **connection(self._config, REQUEST_SECONDS), acks="all", max_request_size=LARGEST_BYTES
            )
            await start(producer, self._config, REQUEST_SECONDS)
            self._producer = producer
        return self._producer
