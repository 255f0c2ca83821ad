"""The official client against the store, as writer and as reader."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import clickhouse_connect
import pyarrow as pa
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

from tests.extensions.embedded_clickhouse.stores import Store

ROWS = [[number, f"text {number}", {"k": str(number)}] for number in range(20_000)]
COLUMNS = ["a", "b", "m"]
DDL = (
    "CREATE OR REPLACE TABLE client (a UInt64, b String, m Map(LowCardinality(String), String)) "
    "ENGINE = MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 100"
)


def connect(store: Store, *, writer: bool, compress: bool | str = True) -> Client:
    return clickhouse_connect.get_client(
        host="localhost",
        port=store.port,
        compress=compress,
        dedicated_pool=True,
        username="jobsight" if writer else None,
        password="s3cret" if writer else "",
    )


@pytest.fixture
def reader(store: Store) -> Iterator[Client]:
    client = connect(store, writer=False)
    yield client
    client.close()


@pytest.mark.parametrize("compress", [True, False, "lz4", "zstd", "gzip"])
def test_round_trip(store: Store, compress: bool | str) -> None:
    """Scenario: DDL, inserts of rows and of Arrow, every way to read, in each compression.

    Guarantees: all rows, equal.
    """
    client = connect(store, writer=True, compress=compress)
    client.command(DDL)

    assert client.insert("client", ROWS, column_names=COLUMNS).written_rows == len(ROWS)
    more = pa.table({"a": pa.array([20_000], pa.uint64()), "b": ["x"]})
    assert client.insert_arrow("client", more).written_rows == 1

    assert [list(row) for row in client.query("SELECT * FROM client ORDER BY a LIMIT 20000").result_rows] == ROWS
    with client.query_row_block_stream("SELECT a FROM client ORDER BY a") as blocks:
        assert [row[0] for block in blocks for row in block] == list(range(20_001))
    assert client.query_arrow("SELECT a, b FROM client").num_rows == 20_001
    assert client.query_df("SELECT a, b FROM client").shape == (20_001, 2)
    assert client.raw_query("SELECT count() FROM client", fmt="CSV") == b"20001\n"
    client.close()


async def test_async_client(store: Store) -> None:
    """Scenario: the asynchronous client, four inserts at once. Guarantees: all rows are there."""
    client = await clickhouse_connect.get_async_client(
        host="localhost", port=store.port, username="jobsight", password="s3cret"
    )
    await client.command(DDL)
    await asyncio.gather(
        *(client.insert("client", ROWS[start : start + 500], column_names=COLUMNS) for start in range(0, 2000, 500))
    )
    result = await client.query("SELECT count() FROM client")
    await client.close()

    assert result.result_rows == [(2000,)]


def test_a_token_with_the_client(store: Store) -> None:
    """Scenario: an insert is repeated with its deduplication token. Guarantees: its rows are there once."""
    client = connect(store, writer=True)
    client.command(DDL)
    for _ in range(2):
        client.insert(
            "client", ROWS[:10], column_names=COLUMNS, settings={"insert_deduplication_token": "t", "async_insert": 0}
        )

    assert client.query("SELECT count() FROM client").result_rows == [(10,)]
    client.close()


def test_reader_queries(reader: Client) -> None:
    """Scenario: a client without credentials: parameters, settings, metadata. Guarantees: it reads as from a server."""
    bound = reader.query(
        "SELECT {n:Int32} + 1, {s:String}, {l:Array(String)}", parameters={"n": 3, "s": "a'b\\\t", "l": ["x'", "y"]}
    )
    assert bound.result_rows == [(4, "a'b\\\t", ["x'", "y"])]
    assert reader.query("SELECT %(s)s", parameters={"s": "it's"}).result_rows == [("it's",)]
    assert reader.query("SELECT number FROM numbers(9)", settings={"limit": 2}).row_count == 2
    assert reader.command("SELECT currentDatabase()") == "default"
    assert reader.command("SELECT version()") == reader.server_version


def test_reader_cannot_write(reader: Client) -> None:
    """Scenario: a client without credentials inserts or drops. Guarantees: errors with ClickHouse's code."""
    for statement in ("DROP TABLE client", "INSERT INTO client (a) VALUES (1)"):
        with pytest.raises(DatabaseError) as caught:
            reader.command(statement)
        assert caught.value.code == 164


def test_error_codes(reader: Client) -> None:
    """Scenario: an unknown table. Guarantees: the client's error carries the code."""
    with pytest.raises(DatabaseError, match="UNKNOWN_TABLE") as caught:
        reader.query("SELECT * FROM nowhere")

    assert caught.value.code == 60


def test_an_error_after_the_first_rows(reader: Client) -> None:
    """Scenario: a streamed query fails at row 300 000.

    Guarantees: the client raises; it does not end early in silence.
    """
    with (
        pytest.raises(ClickHouseError, match=r"THROW_IF|throwIf"),
        reader.query_row_block_stream("SELECT number, throwIf(number = 300000) FROM numbers(900000)") as blocks,
    ):
        assert sum(len(block) for block in blocks) < 900_000


def test_wrong_password(store: Store) -> None:
    """Scenario: a wrong password. Guarantees: code 516 at once."""
    with pytest.raises(DatabaseError, match="516"):
        clickhouse_connect.get_client(host="localhost", port=store.port, username="jobsight", password="no")
