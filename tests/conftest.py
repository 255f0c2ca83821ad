"""Fixtures for all tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import structlog
from hypothesis import settings

from pipeline.testing import FakeClock, FakeHost
from tests.brokers import FOREIGN, Broker

# Arrow's first kernel call of a process takes a quarter of a second, which is no fault of an example.
settings.register_profile("jobsight", deadline=None)
settings.load_profile("jobsight")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def host(clock: FakeClock) -> AsyncIterator[FakeHost]:
    """A host on the fake clock; its tasks are ended with the test."""
    host = FakeHost(clock=clock)
    yield host
    await host.close()


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One Kafka broker for all tests that make topics and groups of their own."""
    broker = (
        Broker.elsewhere(FOREIGN) if FOREIGN.bootstrap else Broker.noida(tmp_path_factory.mktemp("noida"))
    ).start()
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def groups_broker() -> Iterator[Broker]:
    """One whose groups share anew as Kafka's do; Noida waits for the whole rebalance timeout."""
    broker = (Broker.elsewhere(FOREIGN) if FOREIGN.bootstrap else Broker.tansu()).start()
    yield broker
    broker.stop()


@pytest.fixture
def log_events() -> Iterator[list[structlog.typing.EventDict]]:
    """What was logged during the test."""
    with structlog.testing.capture_logs() as events:
        yield events


@pytest.fixture(autouse=True)
async def _no_task_left() -> AsyncIterator[None]:
    """Every test ends without running tasks."""
    before = asyncio.all_tasks()
    yield
    left = {task for task in asyncio.all_tasks() - before if not task.done() and task is not asyncio.current_task()}
    assert not left, f"tasks left over: {[task.get_name() for task in left]}"


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their argument: gzip's hold the time, and all processes of a run must find the same tests."""
    return argname if isinstance(val, bytes) else None
