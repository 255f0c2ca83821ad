"""The exporter against a real engine: what is sent is what is there, once, whatever happens in between."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from exporters.clickhouse import ClickHouseExporter
from exporters.clickhouse.config import ClickHouseConfig
from exporters.clickhouse.tables import TABLES
from pipeline import Batch, ComponentId, Extension, Partial, Receipt, Rejected, TimedOut, Unavailable
from pipeline.clickhouse_endpoint import ClickHouseEndpoint
from pipeline.kinds import Kind, Signal
from pipeline.testing import FakeClock, FakeHost, logs_batch, points_batch, sample_batch, spans_batch
from tests.exporters.clickhouse import messages
from tests.exporters.clickhouse.conftest import Start
from tests.exporters.clickhouse.messages import decoded
from tests.exporters.clickhouse.servers import Request, Store, forward, ok, refusal, serve

pytestmark = pytest.mark.integration

DAY_NS = 86_400_000_000_000


@pytest.mark.parametrize("kind", [Kind.SPANS, Kind.METRICS, Kind.LOGS])
async def test_a_repeated_insert_is_ignored(kind: Kind, start: Start, store: Store, database: str) -> None:
    """Scenario: a batch is exported twice (a lost answer, a replay), then the same rows of another intake.

    Guarantees: the repetition adds nothing, neither in the table nor behind the view; other rows are added.
    """
    exporter = await start()
    tables = {Kind.SPANS: "otel_traces", Kind.METRICS: "otel_metrics_gauge", Kind.LOGS: "otel_logs"}
    table = f"{database}.{tables[kind]}"

    for _ in range(2):
        await exporter.export(sample_batch(kind, 5))
    assert store.count(table) == 5
    if kind is Kind.SPANS:
        assert store.count(f"{table}_trace_id_ts") == 5

    await exporter.export(sample_batch(kind, 5, receipt=Receipt.issue("another")))
    assert store.count(table) == 10


async def test_other_rows_of_the_same_intake_are_not_ignored(start: Start, store: Store, database: str) -> None:
    """Scenario: two pipelines bring different rows of one intake. Guarantees: all of them are there."""
    exporter = await start()
    batch = spans_batch(10)
    one, other = batch.with_table(batch.table.slice(0, 5)), batch.with_table(batch.table.slice(5))

    await exporter.export(one)
    await exporter.export(other)

    assert store.count(f"{database}.otel_traces") == 10


async def test_an_insert_that_did_not_reach_the_view_is_finished(start: Start, store: Store, database: str) -> None:
    """Scenario: the view's table disappears, so that an insert fails half done, and is repeated.

    Guarantees: the table is made again; table and view have each row once.
    """
    exporter = await start()
    await exporter.export(spans_batch(5, seed=1))
    store.run(f"DROP TABLE {database}.otel_traces_trace_id_ts SYNC")

    await exporter.export(spans_batch(5, seed=2))
    await exporter.export(spans_batch(5, seed=2))

    assert store.count(f"{database}.otel_traces") == 10
    assert store.count(f"{database}.otel_traces_trace_id_ts") == 5


async def test_asynchronous_inserts_are_deduplicated_too(start: Start, store: Store, database: str) -> None:
    """Scenario: async_insert is on, a batch is repeated. Guarantees: it is there when export returns, and once."""
    exporter = await start(async_insert=True)

    for _ in range(2):
        await exporter.export(logs_batch(5))

    assert store.count(f"{database}.otel_logs") == 5


@pytest.mark.parametrize("compress", ["none", "lz4", "zstd", "gzip", "deflate", "br"])
async def test_every_compression_is_understood(compress: str, start: Start, store: Store, database: str) -> None:
    """Scenario: each value of `compress`, a body of some size. Guarantees: all rows arrive."""
    exporter = await start(compress=compress)

    await exporter.export(spans_batch(3000))

    assert store.count(f"{database}.otel_traces") == 3000


async def test_rows_of_more_days_than_one_insert_may_have(start: Start, store: Store, database: str) -> None:
    """Scenario: a batch over 250 days, exported twice; the server refuses more than 100 days in one INSERT.

    Guarantees: all rows are there, once.
    """
    exporter = await start()
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    for day in range(250):
        records.add(time_unix_nano=messages.LATEST // 2 + day * DAY_NS)

    for _ in range(2):
        await exporter.export(decoded(Signal.LOGS, request, "days"))

    assert store.count(f"{database}.otel_logs") == 250


async def test_clickhouse_is_away_at_the_start(start: Start, store: Store, database: str, unused_port: int) -> None:
    """Scenario: nobody listens when the program starts and the first batch comes; then ClickHouse is there.

    Guarantees: start succeeds; the batch waits, with a line that names the address; then table and rows are there.
    """
    exporter = await start(endpoint=f"http://127.0.0.1:{unused_port}")
    batch = spans_batch(5)

    with pytest.raises(Unavailable, match=f"cannot reach ClickHouse at http://127.0.0.1:{unused_port}"):
        await exporter.export(batch)
    async with forward(unused_port, store.url):
        await exporter.export(batch)
        await exporter.stop()

    assert store.count(f"{database}.otel_traces") == 5


async def test_an_optional_column_comes_and_goes(
    start: Start, store: Store, database: str, clock: FakeClock, log_events: list[structlog.typing.EventDict]
) -> None:
    """Scenario: EventName is dropped while we run, and added again later.

    Guarantees: no batch is lost; a warning says what is not written; once the column is back, it is written again.
    """
    exporter = await start()
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add(event_name="job.failed", time_unix_nano=1)
    await exporter.export(decoded(Signal.LOGS, request, "1"))

    store.run(f"ALTER TABLE {database}.otel_logs DROP COLUMN EventName")
    await exporter.export(decoded(Signal.LOGS, request, "2"))
    (warning,) = [event for event in log_events if event["event"].startswith("Table lacks optional columns")]
    assert warning["columns"] == ["EventName"]

    store.run(f"ALTER TABLE {database}.otel_logs ADD COLUMN EventName String")
    await exporter.export(decoded(Signal.LOGS, request, "3"))
    await clock.advance(60)
    await exporter.export(decoded(Signal.LOGS, request, "4"))

    assert sorted(row["EventName"] for row in store.rows(f"SELECT EventName FROM {database}.otel_logs")) == [
        "",
        "",
        "",
        "job.failed",
    ]


async def test_a_required_column_is_missing(start: Start, store: Store, database: str) -> None:
    """Scenario: a column is dropped while we run. Guarantees: Rejected, naming the table and the column."""
    exporter = await start()
    await exporter.export(spans_batch(1, seed=1))
    store.run(f"ALTER TABLE {database}.otel_traces DROP COLUMN StatusMessage, DROP COLUMN TraceState")

    with pytest.raises(Rejected, match=f"table {database}.otel_traces lacks the columns TraceState, StatusMessage"):
        await exporter.export(spans_batch(1, seed=2))


async def test_a_table_of_another_form(start: Start, store: Store, database: str) -> None:
    """Scenario: somebody's own table with a column of a type that cannot take ours. Guarantees: Rejected, its words."""
    columns = next(table for table in TABLES if table.key == "logs").no_rows().column_names
    store.run(f"CREATE DATABASE {database}")
    types = ", ".join(f"`{name}` {'Array(UInt8)' if name == 'Timestamp' else 'String'}" for name in columns)
    store.run(f"CREATE TABLE {database}.otel_logs ({types}) ENGINE = MergeTree ORDER BY tuple()")
    exporter = await start(create_schema=False)

    with pytest.raises(Rejected, match=f"insert into {database}.otel_logs: ClickHouse refused the rows"):
        await exporter.export(logs_batch(1))


async def test_a_table_is_dropped_by_hand(start: Start, store: Store, database: str) -> None:
    """Scenario: a table, then the whole database, is dropped while we run. Guarantees: made again, no row lost."""
    exporter = await start()
    await exporter.export(logs_batch(1, seed=1))

    store.run(f"DROP TABLE {database}.otel_logs SYNC")
    await exporter.export(logs_batch(2, seed=2))
    assert store.count(f"{database}.otel_logs") == 2

    store.run(f"DROP DATABASE {database} SYNC")
    await exporter.export(logs_batch(3, seed=3))
    assert store.count(f"{database}.otel_logs") == 3


async def test_without_create_schema_rows_wait_for_their_table(start: Start, store: Store, database: str) -> None:
    """Scenario: create_schema is off and the table is not there yet.

    Guarantees: nothing is created; the rows wait, with a line that says what to do, until somebody makes the table.
    """
    exporter = await start(create_schema=False)
    batch = points_batch(2)

    with pytest.raises(Unavailable, match="does not exist; create it or set create_schema: true"):
        await exporter.export(batch)
    assert store.rows(f"SELECT name FROM system.databases WHERE name = '{database}'") == []

    await (await start()).export(points_batch(1, seed=9))
    await exporter.export(batch)
    assert store.count(f"{database}.otel_metrics_gauge") == 3


async def test_a_statement_of_ours_that_is_refused_rejects_no_rows(start: Start) -> None:
    """Scenario: the engine's parameters are wrong SQL. Guarantees: rows wait for a person, they are not dropped."""
    exporter = await start(table_engine={"name": "ReplacingMergeTree", "params": "NoSuchColumn"})

    with pytest.raises(Unavailable, match=r"create .*otel_logs: .*NoSuchColumn"):
        await exporter.export(logs_batch(1))


async def test_a_wrong_password(start: Start) -> None:
    """Scenario: the password is wrong. Guarantees: the rows wait, the line says why and does not show it."""
    exporter = await start(password="hush")

    with pytest.raises(Unavailable, match="wrong username or password") as caught:
        await exporter.export(logs_batch(1))

    assert "hush" not in str(caught.value)


def describing(request: Request) -> web.Response:
    """Answer as a server with all the tables that takes everything."""
    for table in TABLES:
        if request.statement.startswith("DESCRIBE") and f"{table.key}`" in request.statement:
            return ok("".join(f"{name}\tString\t\t\n" for name in table.no_rows().column_names))
    return ok()


def mixed_points(token: str = "mixed") -> Batch:
    """Return two points of a gauge, one of a sum, two of a summary."""
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    gauge, summary = metrics.add(name="g"), metrics.add(name="s")
    for second in (1, 2):
        gauge.gauge.data_points.add(as_int=second, time_unix_nano=second)
        summary.summary.data_points.add(count=second, time_unix_nano=second)
    metrics.add(name="c").sum.data_points.add(as_double=1.5, time_unix_nano=3)
    return decoded(Signal.METRICS, request, token)


async def test_only_the_failed_table_is_repeated(start: Start, database: str) -> None:
    """Scenario: of three tables one is short of memory, then has it again.

    Guarantees: Partial with that table's rows under the same receipt; the repetition inserts these only, with the token
    of the first attempt.
    """
    short = True

    def answer(request: Request) -> web.Response:
        if short and request.statement.startswith("INSERT") and "otel_metrics_sum`" in request.statement:
            return refusal(241, "too much")
        return describing(request)

    async with serve(answer) as script:
        exporter = await start(endpoint=script.url, create_schema=False)
        batch = mixed_points()
        with pytest.raises(Partial) as caught:
            await exporter.export(batch)

        failed, first = caught.value.failed, [request for request in script.inserts if "_sum`" in request.statement]
        assert type(caught.value.cause) is Unavailable
        assert "short of memory" in str(caught.value)
        assert failed.receipt is batch.receipt
        assert failed.rows == 1
        assert failed.column("as_double").to_pylist() == [1.5]
        assert len(script.inserts) == 3

        short = False
        await exporter.export(failed)
        again = script.inserts[3:]
        assert [request.params["insert_deduplication_token"] for request in again] == [
            request.params["insert_deduplication_token"] for request in first
        ]
        assert [request.body for request in again] == [request.body for request in first]
        await exporter.stop()


@pytest.mark.parametrize(
    ("codes", "expected", "rows"),
    [
        ({"gauge": 241, "sum": 53, "summary": 0}, Unavailable, 3),
        ({"gauge": 53, "sum": 16, "summary": 0}, Rejected, 3),
        ({"gauge": 0, "sum": 319, "summary": 0}, TimedOut, 1),
        ({"gauge": 53, "sum": 53, "summary": 53}, Rejected, None),
        ({"gauge": 241, "sum": 53, "summary": 53}, Unavailable, None),
    ],
)
async def test_several_failures(
    codes: dict[str, int], expected: type[Exception], rows: int | None, start: Start
) -> None:
    """Scenario: tables fail in different ways.

    Guarantees: what may work later wins, so that no row is dropped that another attempt would have delivered; all
    failed is no Partial.
    """

    def answer(request: Request) -> web.Response:
        key = request.statement.partition("otel_metrics_")[2].partition("`")[0]
        code = codes.get(key, 0) if request.statement.startswith("INSERT") else 0
        return refusal(code) if code else describing(request)

    async with serve(answer) as script:
        exporter = await start(endpoint=script.url, create_schema=False)
        if rows is None:
            with pytest.raises(expected):
                await exporter.export(mixed_points())
        else:
            with pytest.raises(Partial) as caught:
                await exporter.export(mixed_points())
            assert type(caught.value.cause) is expected
            assert caught.value.failed.rows == rows
        await exporter.stop()


async def test_own_metrics(start: Start, host: FakeHost) -> None:
    """Scenario: one insert. Guarantees: rows, bytes and duration are counted, by exporter and table."""
    exporter = await start()

    await exporter.export(logs_batch(7))

    labels = {"exporter": "clickhouse", "table": "otel_logs"}
    value = host.metrics.registry.get_sample_value
    assert value("jobsight_clickhouse_insert_rows_sum", labels) == 7
    assert value("jobsight_clickhouse_insert_duration_seconds_count", labels) == 1
    assert (value("jobsight_clickhouse_insert_bytes_total", labels) or 0) > 100


async def test_tables_of_other_making_are_warned_of(
    start: Start, store: Store, database: str, log_events: list[structlog.typing.EventDict]
) -> None:
    """Scenario: the Collector made the table, without a window for tokens.

    Guarantees: rows are written, a warning says that repetitions would double them, and its remedy works.
    """
    await (await start()).export(logs_batch(1, seed=1))
    store.run(f"ALTER TABLE {database}.otel_logs RESET SETTING non_replicated_deduplication_window")

    await (await start()).export(logs_batch(1, seed=2))

    (warning,) = [event for event in log_events if event["event"].startswith("Table does not remember")]
    store.run(warning["remedy"])
    for _ in range(2):
        await (await start()).export(logs_batch(1, seed=3))
    assert store.count(f"{database}.otel_logs") == 3


async def test_the_deprecated_prefix_is_warned_of(start: Start, log_events: list[structlog.typing.EventDict]) -> None:
    """Scenario: metrics_table_name. Guarantees: a warning at the start names what to use."""
    await start(metrics_table_name="m")

    assert ["metrics_tables" in event["event"] for event in log_events if event["log_level"] == "warning"] == [True]


class SomeStore(Extension[Any], ClickHouseEndpoint):
    """Stands for the embedded store's extension."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def endpoint_url(self) -> str:
        return self._store.url

    @property
    def username(self) -> str:
        return self._store.username

    @property
    def password(self) -> str:
        return self._store.password


async def test_the_embedded_store(store: Store, host: FakeHost, database: str) -> None:
    """Scenario: `endpoint: embedded`.

    Guarantees: address and credentials are the extension's; skip indexes, left out by inserts, come with a merge.
    """
    host.extensions = (SomeStore(store),)
    config = ClickHouseConfig.model_validate({"endpoint": "embedded", "database": database})
    exporter = ClickHouseExporter(config, ComponentId("clickhouse"))
    await exporter.start(host)
    for seed in range(2):
        await exporter.export(spans_batch(10, seed=seed))
    await exporter.check()
    await exporter.stop()
    sizes = (
        "SELECT sum(secondary_indices_compressed_bytes) AS size FROM system.parts "
        f"WHERE active AND database = '{database}' AND table = 'otel_traces'"
    )
    before = store.rows(sizes)[0]["size"]

    store.run(f"OPTIMIZE TABLE {database}.otel_traces FINAL")

    assert store.count(f"{database}.otel_traces") == 20
    assert before == 0
    assert store.rows(sizes)[0]["size"] > 0


CERTS = Path(__file__).parents[2] / "pipeline" / "config" / "certs"


@pytest.fixture
def server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTS / "server.pem", CERTS / "server.key")
    return context


async def test_https(start: Start, server_tls: ssl.SSLContext) -> None:
    """Scenario: an https:// endpoint, whose authority is configured, unknown, or not asked for.

    Guarantees: rows are sent where it is trusted or not asked for; else they wait, and the line says why.
    """
    async with serve(describing, server_tls) as script:
        trusted = await start(
            endpoint=script.url, tls={"ca_file": str(CERTS / "ca.pem"), "server_name_override": "server.example"}
        )
        await trusted.export(logs_batch(1))
        assert len(script.inserts) == 1

        careless = await start(endpoint=script.url, tls={"insecure_skip_verify": True})
        await careless.export(logs_batch(1))
        assert len(script.inserts) == 2

        with pytest.raises(Unavailable, match="the certificate is not trusted"):
            await (await start(endpoint=script.url)).export(logs_batch(1))
        for exporter in (trusted, careless):
            await exporter.stop()
