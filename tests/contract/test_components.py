"""What every component promises, whatever it does."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from pipeline import Batch, Component, ComponentId, Exporter, Extension, Kind, Processor, Receiver
from pipeline.clock import SystemClock
from pipeline.registry import Registry, Role
from pipeline.testing import FakeHost, Ledger, sample_batch
from tests.brokers import Broker
from tests.contract import samples

REGISTRY = Registry()
ROLES: dict[Role, dict[str, Any]] = {
    Role.RECEIVERS: dict(samples.RECEIVERS),
    Role.PROCESSORS: dict(samples.PROCESSORS),
    Role.EXPORTERS: dict(samples.EXPORTERS),
    Role.EXTENSIONS: dict(samples.EXTENSIONS),
}
CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)
ALL = [(role, kind) for role, kinds in ROLES.items() for kind in kinds]


def build(role: Role, kind: str, folder: Path, **places: str) -> Component[Any]:
    """Return the sample component; without `BROKER` and `SERVICE` it is one that is never started."""
    type_ = REGISTRY.component(role, kind)
    own = {
        "FOLDER": str(folder),
        "BROKER": places.get("BROKER", "localhost:9092"),
        "http://service": places.get("SERVICE", "http://service"),
    }
    config = type_.Config.model_validate(samples.placed(ROLES[role][kind], own))
    return type_(config, ComponentId(kind))


def keys(model: type[BaseModel]) -> Iterator[str]:
    """Yield the names of all keys of a model, nested ones too."""
    for name, field in model.model_fields.items():
        yield field.alias or name
        for type_ in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(type_, type) and issubclass(type_, BaseModel):
                yield from keys(type_)


@pytest.fixture
async def real_host(tmp_path: Path) -> AsyncIterator[FakeHost]:
    """A host with the system's clock and, for those who need it, the embedded ClickHouse."""
    host = FakeHost(clock=SystemClock())
    yield host
    await host.close()


def test_each_component_is_registered_here() -> None:
    """Scenario: the installed components. Guarantees: each has a sample, so none escapes this suite."""
    assert {role: sorted(kinds) for role, kinds in ROLES.items()} == {
        role: sorted(REGISTRY.listing()[role]) for role in ROLES
    }


@pytest.mark.parametrize(("role", "kind"), ALL)
def test_each_component_has_a_page_with_all_its_keys(role: Role, kind: str) -> None:
    """Scenario: the page of a component. Guarantees: it names every key, as code, and says what is lost when."""
    page = (Path("docs") / role / f"{kind}.md").read_text(encoding="utf-8")
    code = set(re.findall(r"\w+", " ".join(CODE.findall(page))))

    missing = [key for key in keys(REGISTRY.component(role, kind).Config) if key not in code]

    assert missing == []
    if role is not Role.EXTENSIONS:
        assert "## Guarantees" in page


@pytest.mark.parametrize(("role", "kind"), ALL)
async def test_building_does_nothing(role: Role, kind: str, tmp_path: Path) -> None:
    """Scenario: a component is built, as `validate` does, and stopped without a start.

    Guarantees: no task, no file, no error.
    """
    before = asyncio.all_tasks()

    component = build(role, kind, tmp_path)
    await component.stop()
    await component.stop()

    assert asyncio.all_tasks() == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("role", "kind"), [pair for pair in ALL if pair[1] != "clickhouse"])
async def test_starts_and_stops_twice(
    role: Role, kind: str, tmp_path: Path, real_host: FakeHost, broker: Broker
) -> None:
    """Scenario: start, for receivers the end of their intake twice, stop, stop. Guarantees: no error, no task left."""
    component = build(role, kind, tmp_path, BROKER=broker.bootstrap)

    await component.start(real_host)
    list(component.guide())
    if isinstance(component, Receiver):
        await component.stop_accepting()
        await component.stop_accepting()
    if isinstance(component, Extension):
        await component.ready()
        await component.not_ready()
    await component.stop()
    await component.stop()


@pytest.mark.parametrize("kind", samples.PROCESSORS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(seed=st.integers(0, 2**32))
def test_processors_give_back_all_they_took(kind: str, seed: int, tmp_path: Path) -> None:
    """Scenario: random batches, ticks at random times, then drain.

    Guarantees: every receipt completes, once its rows came out or were dropped.
    """
    random = Random(seed)
    processor = build(Role.PROCESSORS, kind, tmp_path)
    assert isinstance(processor, Processor)
    ledger = Ledger()
    out: list[Batch] = []
    now = 0.0
    number = random.randrange(12)
    for intake in range(number):
        receipt = ledger.receipt(str(intake))
        batch = sample_batch(
            random.choice(sorted(processor.handles)), random.randint(1, 9), seed=intake, receipt=receipt
        )
        out += processor.process(batch)
        wake = processor.wake_at()
        if wake is not None and random.random() < 0.7:
            now = max(now, wake)
            out += processor.tick(now)
    assert set(ledger.complete) <= set(map(str, range(number)))
    out += processor.drain()
    for batch in out:
        batch.receipt.settle()

    assert sorted(ledger.complete) == sorted(map(str, range(number)))
    assert processor.wake_at() is None


@pytest.fixture
async def service() -> AsyncIterator[str]:
    """An HTTP service that takes everything."""

    async def take(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=202)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", take)
    async with TestServer(application) as server:
        yield str(server.make_url("")).rstrip("/")


@pytest.mark.parametrize("kind", [kind for kind in samples.EXPORTERS if kind != "clickhouse"])
async def test_exporters_deliver_what_they_handle(
    kind: str, tmp_path: Path, real_host: FakeHost, broker: Broker, service: str
) -> None:
    """Scenario: one batch of each kind it handles.

    Guarantees: export returns, the batch and its receipt stay the engine's.
    """
    exporter = build(Role.EXPORTERS, kind, tmp_path, BROKER=broker.bootstrap, SERVICE=service)
    assert isinstance(exporter, Exporter)
    await exporter.start(real_host)

    for handled in exporter.handles:
        batch = sample_batch(Kind(handled))
        await exporter.export(batch)
        assert not batch.receipt.settled

    await exporter.stop()
