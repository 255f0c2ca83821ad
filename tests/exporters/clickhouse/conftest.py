"""A real ClickHouse for the tests of its exporter: the embedded store, in its own process, one for the session."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from typing import Any

import pytest

from exporters.clickhouse import ClickHouseExporter
from exporters.clickhouse.config import ClickHouseConfig
from extensions.embedded_clickhouse.config import EmbeddedClickHouseConfig
from extensions.embedded_clickhouse.settings import Credentials
from pipeline import ComponentId
from pipeline.testing import FakeHost
from tests.exporters.clickhouse.servers import Store

Start = Callable[..., Any]

_numbers = count()


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    config = EmbeddedClickHouseConfig(path=str(tmp_path_factory.mktemp("store")), endpoint="127.0.0.1:0")
    settings = config.store(Credentials("writer", "write:pässword", ""))
    command = [sys.executable, "-m", "extensions.embedded_clickhouse.process"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(settings.to_json().encode() + b"\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        yield Store(f"http://127.0.0.1:{answer['port']}", "writer", "write:pässword")
        process.stdin.close()
        process.wait(30)


@pytest.fixture
def database() -> str:
    """A database of the test's own, not made yet."""
    return f"test_{next(_numbers)}"


@pytest.fixture
async def start(store: Store, database: str, host: FakeHost) -> AsyncIterator[Start]:
    """Make and start exporters that write to the test's database; the keywords are keys of their config."""
    started: list[ClickHouseExporter] = []

    async def start(**keys: Any) -> ClickHouseExporter:
        config = {
            "endpoint": store.url,
            "username": store.username,
            "password": store.password,
            "database": database,
            **keys,
        }
        exporter = ClickHouseExporter(ClickHouseConfig.model_validate(config), ComponentId("clickhouse"))
        await exporter.start(host)
        started.append(exporter)
        return exporter

    yield start
    for exporter in started:
        await exporter.stop()
        await exporter.stop()


@pytest.fixture
def unused_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
