"""Exporters for the tests of Kafka's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from exporters.kafka import KafkaExporter
from pipeline import ComponentId
from pipeline.clock import SystemClock
from pipeline.config.values import WRITTEN
from pipeline.testing import FakeHost
from tests.brokers import Broker

Start = Callable[..., Awaitable[KafkaExporter]]


def exporter_of(**keys: Any) -> KafkaExporter:
    """Return an exporter with these keys, as they would be written."""
    config = KafkaExporter.Config.model_validate(keys, context=WRITTEN)
    return KafkaExporter(config, ComponentId("kafka"))


@pytest.fixture
async def real_host() -> AsyncIterator[FakeHost]:
    host = FakeHost(clock=SystemClock())
    yield host
    await host.close()


@pytest.fixture
async def start(broker: Broker, real_host: FakeHost) -> AsyncIterator[Start]:
    """Make and start exporters; the keywords are keys of their config, `brokers` is the session's broker."""
    started: list[KafkaExporter] = []

    async def start(**keys: Any) -> KafkaExporter:
        exporter = exporter_of(**(keys if "brokers" in keys else broker.access.keys() | keys))
        started.append(exporter)
        await exporter.start(real_host)
        return exporter

    yield start
    for exporter in started:
        await exporter.stop()
