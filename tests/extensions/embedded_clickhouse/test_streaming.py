"""Large results, failures on the way, clients that go, and the limits of readers."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import aiohttp
import pytest

from extensions.embedded_clickhouse.settings import ReaderLimits
from tests.extensions.embedded_clickhouse.stores import Store, running_store, store_settings


async def running_queries(store: Store, marker: str) -> int:
    # split so that this query does not count itself
    sql = f"SELECT count() FROM system.processes WHERE position(query, concat('{marker[:3]}', '{marker[3:]}')) > 0"
    return int((await store.read(sql)).text)


async def drain(response: aiohttp.ClientResponse, into: bytearray) -> None:
    async for chunk in response.content.iter_any():
        into += chunk


async def until_running(store: Store, marker: str, *, running: bool) -> None:
    async with asyncio.timeout(20):
        while bool(await running_queries(store, marker)) is not running:
            pass  # each turn is a query, so this waits on the engine, not on a clock


async def test_memory_stays_flat(tmp_path: Path) -> None:
    """Scenario: a result of 400 MB, read as it comes.

    Guarantees: it is whole, and the store's memory does not grow with it.
    """
    limits = ReaderLimits(max_execution_time=60.0, max_result_rows=0)
    with running_store(store_settings(tmp_path, limits=limits)) as store:
        await store.read("SELECT number FROM numbers(1000000) FORMAT RowBinary", max_threads="1")
        before = store.resident_bytes()
        peak = received = 0
        async with store.open_query("SELECT number FROM numbers(50000000) FORMAT RowBinary") as response:
            async for chunk in response.content.iter_chunked(1 << 20):
                received += len(chunk)
                if received % 37 == 0:
                    peak = max(peak, store.resident_bytes())
        peak = max(peak, store.resident_bytes())

    assert received == 400_000_000
    assert peak - before < 60_000_000


async def test_a_late_failure(store: Store) -> None:
    """Scenario: a query fails after megabytes have been sent.

    Guarantees: ClickHouse's block at the end, under the tag that the headers announced, and a body that is visibly
    incomplete.
    """
    sql = "SELECT number, throwIf(number = 900000) FROM numbers(950000) FORMAT TSV"
    async with store.open_query(sql) as response:
        assert response.status == 200
        received = bytearray()
        with pytest.raises(aiohttp.ClientPayloadError):
            await drain(response, received)
    tag = response.headers["X-ClickHouse-Exception-Tag"]
    head, _, rest = bytes(received).partition(f"\r\n__exception__\r\n{tag}\r\n".encode())
    block = re.fullmatch(rf"(Code: 395\. .*\n)(\d+) {tag}\r\n__exception__\r\n", rest.decode(), re.DOTALL)

    assert head.startswith(b"0\t0\n1\t0\n")
    assert block is not None, rest
    assert len(block[1]) == int(block[2])


async def test_waiting_for_the_end_of_the_query(store: Store) -> None:
    """Scenario: the same with `wait_end_of_query=1`. Guarantees: the status and the code say it, no row is sent."""
    sql = "SELECT number, throwIf(number = 900000) FROM numbers(950000)"
    answer = await store.read(sql, wait_end_of_query="1")

    assert (answer.status, answer.code) == (500, "395")
    assert answer.text.startswith("Code: 395")


async def test_a_large_result_waited_for(store: Store) -> None:
    """Scenario: 40 MB with `wait_end_of_query=1`. Guarantees: all of it, with a complete summary."""
    answer = await store.read("SELECT number, repeat('x', 40) FROM numbers(900000)", wait_end_of_query="1")

    assert len(answer.body.splitlines()) == 900_000
    assert answer.summary["read_rows"] == "900000"


@pytest.mark.parametrize(
    ("sql", "settings"),
    [
        ("SELECT sum(sipHash64(number)) /* gone-early */ FROM numbers(100000000000)", {}),
        ("SELECT sleepEachRow(0.05) /* gone-early */ FROM numbers(1000)", {"max_block_size": "1"}),
    ],
    ids=["computing", "sleeping"],
)
async def test_a_query_ends_with_its_client(store: Store, sql: str, settings: dict[str, str]) -> None:
    """Scenario: the client goes while its query computes or sleeps. Guarantees: the query is killed."""
    asking = asyncio.create_task(store.read(sql, **settings))
    await until_running(store, "gone-early", running=True)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    await until_running(store, "gone-early", running=False)


async def test_a_query_ends_with_its_reader(store: Store) -> None:
    """Scenario: the client goes in the middle of a large result.

    Guarantees: the query is running until then (it waits for the client to read), and is killed after.
    """
    sql = "SELECT repeat('x', 1000) /* gone-midway */ FROM numbers(100000000000)"
    async with store.open_query(sql, max_block_size="1000") as response:
        assert response.status == 200
        await response.content.readany()
        await until_running(store, "gone-midway", running=True)

    await until_running(store, "gone-midway", running=False)


@pytest.mark.parametrize(
    ("sql", "parameters", "code"),
    [
        ("SELECT sum(sipHash64(number)) FROM numbers(100000000000)", {}, "159"),
        ("SELECT sum(sipHash64(number)) FROM numbers(100000000000)", {"max_execution_time": "0"}, "159"),
        ("SELECT sum(sipHash64(number)) FROM numbers(100000000000)", {"max_execution_time": "1000"}, "159"),
        ("SELECT groupArray(toString(number)) FROM numbers(100000000)", {}, "241"),
        ("SELECT groupArray(toString(number)) FROM numbers(100000000)", {"max_memory_usage": "0"}, "241"),
        ("SELECT number FROM numbers(2000)", {}, "396"),
        ("SELECT number FROM numbers(2000)", {"max_result_rows": "0"}, "396"),
        ("SELECT number FROM numbers(20)", {"max_result_rows": "10"}, "396"),
    ],
)
async def test_limits(limited: Store, sql: str, parameters: dict[str, str], code: str) -> None:
    """Scenario: a reader's query takes too long, too much memory, too many rows, and asks for more room.

    Guarantees: the store's own limits hold, or a stricter one that the reader asked for; the store goes on.
    """
    answer = await limited.read(sql, **parameters)

    assert answer.code == code, answer.text
    assert (await limited.read("SELECT 1")).text == "1\n"


async def test_too_many_queries_wait_their_turn(limited: Store) -> None:
    """Scenario: more queries than may run at a time. Guarantees: all are answered; inserts do not wait for them."""
    await limited.write("CREATE TABLE IF NOT EXISTS beside (a UInt8) ENGINE = Memory")
    reading = [asyncio.create_task(limited.read("SELECT sleep(0.2)")) for _ in range(6)]
    await limited.write("INSERT INTO beside FORMAT CSV", b"1\n")
    finished_before = sum(task.done() for task in reading)
    answers = await asyncio.gather(*reading)

    assert [answer.status for answer in answers] == [200] * 6
    assert finished_before < 6


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> object:
    limits = ReaderLimits(max_execution_time=1.0, max_memory_usage=50_000_000, max_result_rows=1000)
    settings = store_settings(tmp_path_factory.mktemp("limited"), limits=limits, max_concurrent_queries=2)
    with running_store(settings) as running:
        yield running
