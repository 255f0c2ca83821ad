"""Brokers that are slow, away, choosy: what of a batch arrives, and how often."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import Unavailable
from pipeline.testing.data import spans_batch
from tests.brokers import Broker, create_topic, read_all, until
from tests.exporters.kafka.conftest import Start
from tests.exporters.kafka.test_exporter import spans_of

pytestmark = pytest.mark.integration


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker of the test's own, to be ill-treated."""
    broker = Broker.noida(tmp_path).start()
    yield broker
    broker.stop()


async def _delivered(exporter: object, batch: object) -> bool:
    try:
        await exporter.export(batch)  # type: ignore[attr-defined]  # an exporter and its batch
    except Unavailable:
        return False
    return True


async def test_a_cut_off_attempt_is_joined_not_repeated(own_broker: Broker, start: Start) -> None:
    """Scenario: the broker stands still, the attempt is cut off; the same batch comes again, and the broker goes on.

    Guarantees: the second attempt returns, and every span is there once, though nothing is idempotent.
    """
    topic = await create_topic(own_broker, "traces", 1)
    exporter = await start(brokers=[own_broker.bootstrap], traces={"topic": topic}, timeout="20s")
    await exporter.export(spans_batch(1, seed=1))
    batch = spans_batch(50)
    own_broker.freeze()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await exporter.export(batch)
    own_broker.thaw()
    await exporter.export(batch)

    await exporter.export(spans_batch(1, seed=2))
    records = await read_all(own_broker, topic, 3)
    assert [len(spans_of(record.value)) for record in records] == [1, 50, 1]


async def test_a_broker_that_restarts(own_broker: Broker, start: Start) -> None:
    """Scenario: exports while the broker is stopped; it comes back. Guarantees: what was refused goes through then."""
    topic = await create_topic(own_broker, "traces", 1)
    exporter = await start(
        brokers=[own_broker.bootstrap], traces={"topic": topic}, timeout="2s",
        producer={"required_acks": "all", "idempotence": True},
    )  # fmt: skip
    await exporter.export(spans_batch(5, seed=1))
    own_broker.stop()
    batch = spans_batch(6, seed=2)

    async def refused() -> bool:
        try:
            async with asyncio.timeout(3):
                return not await _delivered(exporter, batch)
        except TimeoutError:
            return True

    assert await refused()
    own_broker.start()
    await until(lambda: _delivered(exporter, batch), within=40)

    records = await read_all(own_broker, topic, 2)
    assert sorted({len(spans_of(record.value)) for record in records}) == [5, 6]


async def test_a_topic_that_takes_less_than_we_send(broker: Broker, start: Start) -> None:
    """Scenario: the topic's max.message.bytes is a fortieth of our limit. Guarantees: smaller messages, every span."""
    topic = await create_topic(broker, "traces", 1, **{"max.message.bytes": "25000"})
    exporter = await start(traces={"topic": topic})

    await exporter.export(spans_batch(500))

    records = await read_all(broker, topic, 4)
    assert sum(len(spans_of(record.value)) for record in records) == 500
    assert max(len(record.value) for record in records) <= 25_000


@pytest.mark.parametrize("idempotence", [False, True])
async def test_stops_though_the_broker_is_gone(own_broker: Broker, start: Start, idempotence: bool) -> None:
    """Scenario: an export that nobody answers, then stop. Guarantees: it ends soon, and leaves no task behind."""
    topic = await create_topic(own_broker, "traces", 1)
    producer = {"required_acks": "all", "idempotence": idempotence}
    exporter = await start(brokers=[own_broker.bootstrap], traces={"topic": topic}, timeout="20s", producer=producer)
    await exporter.export(spans_batch(1))
    own_broker.kill()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await exporter.export(spans_batch(2))
    async with asyncio.timeout(10):
        await exporter.stop()
