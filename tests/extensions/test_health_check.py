from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from extensions.health_check import HealthCheck, HealthCheckConfig
from pipeline import ComponentId, StartError
from pipeline.testing import FakeHost


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def build(**keys: Any) -> HealthCheck:
    return HealthCheck(
        HealthCheckConfig.model_validate({"endpoint": "127.0.0.1:0", **keys}), ComponentId("health_check")
    )


async def test_healthy_only_while_pipelines_run(host: FakeHost, http: aiohttp.ClientSession) -> None:
    """Scenario: starting, running, stopping. Guarantees: 503, 200, 503, with the Collector's words."""
    health = build()
    await health.start(host)
    ((address, port),) = health.addresses
    seen = []
    for turn in (None, health.ready, health.not_ready):
        if turn is not None:
            await turn()
        async with http.get(f"http://{address}:{port}/") as answer:
            seen.append((answer.status, (await answer.json())["status"]))
    await health.stop()

    assert seen == [(503, "Server not available"), (200, "Server available"), (503, "Server not available")]


async def test_own_path_and_texts(host: FakeHost, http: aiohttp.ClientSession) -> None:
    """Scenario: a path and bodies of one's own. Guarantees: they are answered and told of; other paths are 404."""
    health = build(path="/up", response_body={"healthy": "fine", "unhealthy": "wait"})
    await health.start(host)
    ((address, port),) = health.addresses
    texts = []
    async with http.get(f"http://{address}:{port}/up") as answer:
        texts.append(await answer.text())
    assert list(health.guide()) == [("health", f"http://127.0.0.1:{port}/up")]
    await health.ready()
    async with http.get(f"http://{address}:{port}/up") as answer:
        texts.append(await answer.text())
    async with http.get(f"http://{address}:{port}/") as answer:
        assert answer.status == 404
    await health.stop()

    assert texts == ["wait", "fine"]


async def test_a_port_in_use(host: FakeHost) -> None:
    """Scenario: two on one port. Guarantees: the second says which address is taken."""
    first = build()
    await first.start(host)
    ((address, port),) = first.addresses

    with pytest.raises(StartError, match=f"cannot listen on {address}:{port}: address already in use"):
        await build(endpoint=f"{address}:{port}").start(host)
    await first.stop()
