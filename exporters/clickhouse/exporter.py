"""Writes batches to ClickHouse: one INSERT a table, whole or not at all, repeatable without doubling rows.

Own metrics beside those that every exporter has:

| name | type | unit | meaning |
|---|---|---|---|
| `jobsight_clickhouse_insert_duration_seconds` | histogram | s | from the first byte sent to the answer, by table |
| `jobsight_clickhouse_insert_rows` | histogram | rows | size of an INSERT, by table |
| `jobsight_clickhouse_insert_bytes` | counter | bytes | bodies sent, compressed if they are, by table |
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from exporters.clickhouse.address import Address, read_endpoint
from exporters.clickhouse.client import Client
from exporters.clickhouse.config import EMBEDDED, ClickHouseConfig, Compression
from exporters.clickhouse.errors import GONE, Refusal, classify
from exporters.clickhouse.known import KnownTables
from exporters.clickhouse.schema import Schema, insertable
from exporters.clickhouse.tables import TABLES, Part, parts
from exporters.clickhouse.wire import Body, bodies, encoded
from pipeline import Batch, Exporter, Host, Partial, Permanent, Rejected, TimedOut, Transient
from pipeline.clickhouse_endpoint import ClickHouseEndpoint
from pipeline.config.tls import client_context
from pipeline.metrics import Metrics

T = TypeVar("T")

CONNECT_SECONDS: Final = 10.0
"""The longest wait for a connection where `timeout` is 0."""

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS: Final = (10, 100, 500, 1_000, 5_000, 10_000, 20_000, 50_000, 100_000)

EMBEDDED_SETTINGS: Final = {"materialize_skip_indexes_on_insert": "0"}
"""Leave skip indexes to merges: they are nearly half of what a span costs the store (12 of 27 us (m)), and parts that
were not merged yet are small enough to do without. Not for servers, for old ones do not know the setting."""

ASYNC_ON: Final = frozenset({"1", "true"})


class ClickHouseExporter(Exporter[ClickHouseConfig]):
    """Delivers every kind that has a table there. A metrics batch may be delivered in part: it touches five tables."""

    kind = "clickhouse"
    Config = ClickHouseConfig
    handles = frozenset(table.kind for table in TABLES)

    _link: _Link | None = None

    async def start(self, host: Host) -> None:
        """Prepare; nothing is sent before the first batch, so ClickHouse may still be away."""
        if self.config.metrics_table_name:
            host.log.warning("metrics_table_name is deprecated; use metrics_tables.", exporter=str(self.ident))
        address = _address(self.config, host)
        client = _client(self.config, address)
        schema = Schema(self.config, self.config.database_of(address))
        names = self.config.table_names()
        self._link = _Link(
            client=client,
            schema=schema,
            names=names,
            known=KnownTables(client, schema, names, clock=host.clock, log=host.log),
            settings=insert_settings(self.config, address),
            compression=self.config.compression_of(address),
            # One thread: columns of one batch after the other, so that memory and processor time stay bounded.
            pool=ThreadPoolExecutor(1, thread_name_prefix=str(self.ident)),
            meters=_Meters(host.metrics, str(self.ident)),
            now=host.clock.now,
        )

    async def stop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.client.close()
            link.pool.shutdown(wait=False, cancel_futures=True)

    async def export(self, batch: Batch) -> None:
        """Insert the rows. Raises Transient or Rejected; Partial where some tables took theirs and others did not."""
        assert self._link is not None
        divided = await self._link.offload(lambda: parts(batch))
        outcomes = await asyncio.gather(
            *(self._link.insert(part, batch.receipt.token) for part in divided), return_exceptions=True
        )
        failures: list[tuple[Part, Permanent | Transient]] = []
        for part, outcome in zip(divided, outcomes, strict=True):
            if isinstance(outcome, Permanent | Transient):
                failures.append((part, outcome))
            elif outcome is not None:
                raise outcome
        if not failures:
            return
        cause = worst([error for _, error in failures])
        if len(failures) == len(divided):
            raise cause
        raise Partial(rows_of(batch, [part for part, _ in failures]), cause) from cause

    async def check(self) -> None:
        """Insert no rows into the tables that are there: address, credentials, rights and columns are tried.

        A missing table is an error where nothing would create it and none of the others is there either.
        """
        if self.config.endpoint == EMBEDDED:
            return  # made by the extension when the program starts
        address = read_endpoint(self.config.endpoint, self.config.params)
        client = _client(self.config, _with_credentials(self.config, address))
        try:
            async with asyncio.timeout(self.config.timeout or CONNECT_SECONDS):
                await _check_tables(client, self.config, Schema(self.config, self.config.database_of(address)))
        except TimeoutError as error:
            raise TimedOut(f"no answer from {', '.join(address.urls)} in time") from error
        finally:
            await client.close()


@dataclass(frozen=True, slots=True)
class _Link:
    """All that lives from start to stop."""

    client: Client
    schema: Schema
    names: dict[str, str]
    known: KnownTables
    settings: dict[str, str]
    compression: Compression
    pool: ThreadPoolExecutor
    meters: _Meters
    now: Callable[[], float]

    async def offload(self, work: Callable[[], T]) -> T:
        """Run what takes milliseconds of processor time beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, work)

    async def insert(self, part: Part, token: str) -> None:
        """Insert the rows of one table, once more if the table turns out to be gone or changed."""
        if part.columns.num_rows == 0:
            return
        name = self.names[part.table.key]
        try:
            try:
                await self._insert_once(part, name, token)
            except Refusal as refusal:
                if refusal.code not in GONE:
                    raise
                self.known.forget(part.table)
                await self._insert_once(part, name, token)
        except Refusal as refusal:
            raise classify(refusal, f"insert into {self.schema.database}.{name}") from refusal

    async def _insert_once(self, part: Part, name: str, token: str) -> None:
        columns = await self.known.writable(part.table, part.columns.column_names)
        statement = self.schema.insert(name, columns)
        chosen = part.columns.select(columns)
        made = bodies(
            chosen,
            time_column=part.table.time_column,
            version=part.table.version,
            compression=self.compression,
            token=f"{token}:{name}",
        )
        while (body := await self.offload(lambda: next(made, None))) is not None:
            began = self.now()
            settings = {**self.settings, "insert_deduplication_token": body.token}
            await self.client.insert(statement, settings, body.data, body.encoding)
            self.meters.inserted(name, body, self.now() - began)


class _Meters:
    """The instruments of the table at the top of this file."""

    def __init__(self, metrics: Metrics, exporter: str) -> None:
        labels = ("exporter", "table")
        self._exporter = exporter
        self._seconds = metrics.histogram(
            "jobsight_clickhouse_insert_duration_seconds",
            "From the first byte sent to the answer.",
            SECONDS,
            *labels,
        )
        self._rows = metrics.histogram("jobsight_clickhouse_insert_rows", "Rows of an INSERT.", ROWS, *labels)
        self._bytes = metrics.counter("jobsight_clickhouse_insert_bytes", "Bytes of bodies sent.", *labels)

    def inserted(self, table: str, body: Body, seconds: float) -> None:
        self._seconds.labels(self._exporter, table).observe(seconds)
        self._rows.labels(self._exporter, table).observe(body.rows)
        self._bytes.labels(self._exporter, table).inc(len(body.data))


def insert_settings(config: ClickHouseConfig, address: Address) -> dict[str, str]:
    """Return the server settings of every INSERT; what the user set wins.

    Batches are whole, so asynchronous inserts are off, which newer servers have on, and with them the loss of tokens.
    """
    given = dict(address.settings)
    asynchronous = given.get("async_insert", "1" if config.async_insert else "0") in ASYNC_ON
    chosen = (
        # A view's own deduplication and asynchronous inserts exclude each other (code 344).
        {"async_insert": "1", "wait_for_async_insert": "1", "async_insert_deduplicate": "1"}
        if asynchronous
        # An insert that reached the table but not the view behind it is finished, not skipped, when it is repeated.
        else {"async_insert": "0", "deduplicate_blocks_in_dependent_materialized_views": "1"}
    )
    if config.endpoint == EMBEDDED:
        chosen |= EMBEDDED_SETTINGS
    return {**chosen, **given}


def worst(errors: list[Permanent | Transient]) -> Permanent | Transient:
    """Return what to say of several failures: that it may work later if one of them says so."""
    transient = [error for error in errors if isinstance(error, Transient)]
    relevant = transient or errors
    if len(relevant) == 1:
        return relevant[0]
    text = "; ".join(dict.fromkeys(map(str, relevant)))
    if not transient:
        return Rejected(text)
    return Transient(text, max((error.retry_after or 0.0 for error in transient), default=0.0) or None)


def rows_of(batch: Batch, failed: list[Part]) -> Batch:
    """Return the rows that belong to `failed`, in order, under the batch's receipt."""
    rows: pa.BooleanArray | None = None
    for part in failed:
        if part.rows is None:
            return batch
        rows = part.rows if rows is None else pc.or_(rows, part.rows)
    assert rows is not None
    return batch.with_table(batch.table.filter(rows).combine_chunks())


def _address(config: ClickHouseConfig, host: Host) -> Address:
    if config.endpoint != EMBEDDED:
        return _with_credentials(config, read_endpoint(config.endpoint, config.params))
    store = host.extension(ClickHouseEndpoint)  # type: ignore[type-abstract]  # asked for by what it can do
    return Address((store.endpoint_url,), store.username, store.password, settings=config.params)


def _with_credentials(config: ClickHouseConfig, address: Address) -> Address:
    if not config.username:
        return address
    return address.as_user(config.username, config.password.get_secret_value())


def _client(config: ClickHouseConfig, address: Address) -> Client:
    return Client(
        address,
        tls=client_context(config.tls) if config.tls is not None and address.encrypted else None,
        server_name=config.tls.server_name_override if config.tls is not None else "",
        connect_seconds=config.timeout / len(address.urls) if config.timeout else CONNECT_SECONDS,
    )


async def _check_tables(client: Client, config: ClickHouseConfig, schema: Schema) -> None:
    names = config.table_names()
    found = 0
    missing = None
    for table in TABLES:
        name, empty = names[table.key], table.no_rows()
        try:
            there = insertable(await client.execute(schema.describe(name), {}))
            columns = [column for column in empty.column_names if column in there or column not in table.optional]
            body, _ = encoded(empty.select(columns), "none")
            await client.insert(schema.insert(name, columns), {"async_insert": "0"}, body, None)
            found += 1
        except Refusal as refusal:
            error = classify(refusal, f"insert into {schema.database}.{name}")
            if refusal.code not in GONE - {16}:
                raise error from refusal
            missing = missing or error
    if missing is not None and not found and not config.create_schema:
        raise missing
