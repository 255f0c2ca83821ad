"""Fixtures of the otlp receiver's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import structlog

from tests.receivers.otlp.rig import Host, Served, serving


@pytest.fixture(autouse=True)
def log_events(log_events: list[structlog.typing.EventDict]) -> list[structlog.typing.EventDict]:
    """What was logged; for every test here, because printing a traceback in colours takes a second."""
    return log_events


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    host = Host()
    yield host
    await host.close()


@pytest.fixture
async def served(host: Host) -> AsyncIterator[Served]:
    """A receiver with the defaults on free ports."""
    async with serving(host) as served:
        yield served
