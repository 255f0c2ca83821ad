"""Receivers for the tests of Kafka's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from pipeline import ComponentId
from pipeline.clock import SystemClock
from pipeline.config.values import WRITTEN
from pipeline.kinds import Signal
from pipeline.testing import FakeHost
from receivers.kafka import KafkaReceiver
from tests.brokers import Broker, fresh

Start = Callable[..., Awaitable[tuple[KafkaReceiver, FakeHost]]]


def receiver_of(**keys: Any) -> KafkaReceiver:
    config = KafkaReceiver.Config.model_validate(keys, context=WRITTEN)
    return KafkaReceiver(config, ComponentId("kafka"))


@pytest.fixture
async def start(broker: Broker) -> AsyncIterator[Start]:
    """Make and start receivers, each on a host of its own; the keywords are keys of their config.

    They serve the signals whose topics are given. Unless told otherwise: the session's broker, a fresh group, from the
    earliest message on, quick commits.
    """
    started: list[tuple[KafkaReceiver, FakeHost]] = []

    async def start(**keys: Any) -> tuple[KafkaReceiver, FakeHost]:
        usual = {
            **({} if "brokers" in keys else broker.access.keys()),
            "group_id": fresh("group"),
            "initial_offset": "earliest",
            "autocommit": {"interval": "50ms"},
            "session_timeout": "6s",
            "heartbeat_interval": "500ms",
        }
        signals = [signal for signal in Signal if signal in keys]
        receiver, host = receiver_of(**{**usual, **keys}), FakeHost(clock=SystemClock(), signals=signals)
        started.append((receiver, host))
        await receiver.start(host)
        return receiver, host

    yield start
    for receiver, host in started:
        await receiver.stop_accepting()
        await receiver.stop()
        await host.close()
