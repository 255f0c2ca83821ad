"""`check`, which `jobsight validate --connect` runs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from exporters.clickhouse import ClickHouseExporter
from exporters.clickhouse.config import ClickHouseConfig
from pipeline import ComponentId, Rejected, TimedOut, Unavailable
from pipeline.kinds import Kind
from pipeline.testing import logs_batch, sample_batch
from tests.exporters.clickhouse.conftest import Start
from tests.exporters.clickhouse.servers import Store

pytestmark = pytest.mark.integration


def unstarted(store: Store, database: str, **keys: Any) -> ClickHouseExporter:
    config = {"endpoint": store.url, "username": store.username, "password": store.password, "database": database}
    return ClickHouseExporter(ClickHouseConfig.model_validate({**config, **keys}), ComponentId("clickhouse"))


async def test_check_tries_without_leaving_traces(start: Start, store: Store, database: str) -> None:
    """Scenario: `validate --connect` before anything is there, and beside a full table.

    Guarantees: no error, nothing created, no row added.
    """
    await unstarted(store, database).check()
    assert store.rows(f"SELECT name FROM system.databases WHERE name = '{database}'") == []

    exporter = await start()
    for kind in (Kind.SPANS, Kind.LOGS, Kind.METRICS):
        await exporter.export(sample_batch(kind, 2))
    await unstarted(store, database, create_schema=False).check()
    assert store.count(f"{database}.otel_traces") == 2


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"password": "wrong"}, "wrong username or password"),
        ({"create_schema": False}, "does not exist"),
        ({"endpoint": "http://127.0.0.1:1"}, "cannot reach ClickHouse"),
    ],
)
async def test_check_finds_what_is_wrong(keys: dict[str, Any], words: str, store: Store, database: str) -> None:
    """Scenario: wrong password, no tables and nobody to make them, nobody there. Guarantees: one line says so."""
    with pytest.raises(Unavailable, match=words):
        await unstarted(store, database, **keys).check()


async def test_check_finds_a_table_that_cannot_be_written(start: Start, store: Store, database: str) -> None:
    """Scenario: a required column was dropped. Guarantees: `check` says which table refuses."""
    await (await start()).export(logs_batch(1))
    store.run(f"ALTER TABLE {database}.otel_logs DROP COLUMN SeverityText")

    with pytest.raises(Rejected, match=f"insert into {database}.otel_logs"):
        await unstarted(store, database).check()


async def test_check_does_not_wait_for_ever(store: Store, database: str) -> None:
    """Scenario: something accepts the connection and says nothing. Guarantees: `check` ends after `timeout`."""
    arrived: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: arrived.append(writer), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(TimedOut, match="no answer from"):
            await unstarted(store, database, endpoint=f"http://127.0.0.1:{port}", timeout="50ms").check()
        for writer in arrived:
            writer.close()
