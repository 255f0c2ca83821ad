"""What is known of the tables: made before their first insert, looked at, looked at again when it may have changed."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from structlog.typing import FilteringBoundLogger

from exporters.clickhouse.client import Client
from exporters.clickhouse.errors import Refusal, classify
from exporters.clickhouse.schema import Schema, forgets_tokens, insertable
from exporters.clickhouse.tables import Table
from pipeline.clock import Clock
from pipeline.errors import Permanent, Rejected, Unavailable

LOOK_AGAIN_SECONDS: Final = 60.0
"""How soon a column that was added to a table by hand is written."""


@dataclass(frozen=True, slots=True)
class _Known:
    columns: frozenset[str]
    seen_at: float


class KnownTables:
    """Makes tables and remembers their columns. Nothing happens before somebody wants to insert.

    So a ClickHouse that is away at the start of the program stops nothing: making a table fails like an insert and is
    repeated like an insert.
    """

    def __init__(
        self, client: Client, schema: Schema, names: Mapping[str, str], *, clock: Clock, log: FilteringBoundLogger
    ) -> None:
        self._client = client
        self._schema = schema
        self._names = names
        self._clock = clock
        self._log = log
        self._known: dict[str, _Known] = {}
        self._looking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def writable(self, table: Table, columns: Sequence[str]) -> list[str]:
        """Return which of `columns` an INSERT may list: all, or all but optional ones that the table lacks.

        Makes the table first if that has not happened. Raises Transient where that fails, Rejected where the table
        lacks columns that it must have.
        """
        known = self._known.get(table.key)
        if known is None or self._stale(table, known):
            async with self._looking[table.key]:
                known = self._known.get(table.key)
                if known is None or self._stale(table, known):
                    known = await self._look(table, first=known is None)
        missing = [name for name in columns if name not in known.columns]
        required = [name for name in missing if name not in table.optional]
        if required:
            raise Rejected(
                f"table {self._schema.database}.{self._names[table.key]} lacks the columns {', '.join(required)}; "
                "compare it with the table that create_schema makes and add them"
            )
        return [name for name in columns if name not in missing]

    def forget(self, table: Table) -> None:
        """Make and look at the table again before the next insert: the server says it is not what it was."""
        self._known.pop(table.key, None)

    def _stale(self, table: Table, known: _Known) -> bool:
        return not table.optional <= known.columns and self._clock.now() - known.seen_at >= LOOK_AGAIN_SECONDS

    async def _look(self, table: Table, *, first: bool) -> _Known:
        name = self._names[table.key]
        if first and self._schema.config.create_schema:
            await self._create(table, name)
        description = await self._ask(self._schema.describe(name), f"look at {self._schema.database}.{name}")
        known = self._known[table.key] = _Known(insertable(description), self._clock.now())
        lacking = sorted(table.optional - known.columns)
        if first and lacking:
            self._log.warning("Table lacks optional columns; they are not written.", table=name, columns=lacking)
        if first:
            await self._warn_of_doubles(name)
        return known

    async def _create(self, table: Table, name: str) -> None:
        where = f"create {self._schema.database}.{name}"
        database = self._schema.create_database()
        if database is not None:
            await self._ask(database, f"create database {self._schema.database}")
        for statement in self._schema.create(table, name):
            await self._ask(statement, where)

    async def _warn_of_doubles(self, name: str) -> None:
        # Only advice: a user who may not read system.tables goes without.
        with suppress(Refusal, Unavailable):
            engine = await self._client.execute(self._schema.engine_of(name), {})
            if forgets_tokens(engine):
                self._log.warning(
                    "Table does not remember insert tokens, so a repeated insert would double its rows.",
                    table=name,
                    remedy=self._schema.remember_tokens(name),
                )

    async def _ask(self, statement: str, where: str) -> str:
        try:
            return await self._client.execute(statement, {})
        except Refusal as refusal:
            error = classify(refusal, where)
            if isinstance(error, Permanent):
                # A statement of ours was refused, not somebody's rows: they wait until a person has put it right.
                raise Unavailable(f"{where}: {refusal.text.strip()}") from refusal
            raise error from refusal
