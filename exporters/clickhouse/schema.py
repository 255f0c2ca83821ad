"""The statements that make and describe tables. Pure: text in, text out; the templates are in `sql/`.

The tables of OTLP's signals are those of the Collector's ClickHouse exporter, with one setting more: the window in
which ClickHouse remembers the tokens of inserts, so that a repeated insert is ignored. The others are our own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from exporters.clickhouse.config import ClickHouseConfig
from exporters.clickhouse.tables import Table

WINDOW: Final = 1000
"""Inserts that a table remembers: ten million rows at batches of ten thousand."""

REPLICATED_WINDOW_SECONDS: Final = 7 * 24 * 3600

_FAMILY: Final = re.compile(r"(Replicated|Shared)?\w*MergeTree")
_REPLICA: Final = re.compile(r"\s*'(?:[^'\\]|\\.|'')*'(?:\s*,\s*'(?:[^'\\]|\\.|'')*')?", re.DOTALL)
"""The arguments of Replicated engines that come first: path in Keeper and name of the replica, both text."""

_UNITS: Final = ((86400, "toIntervalDay"), (3600, "toIntervalHour"), (60, "toIntervalMinute"), (1, "toIntervalSecond"))


@dataclass(frozen=True, slots=True)
class Schema:
    """Writes the statements for one configuration. `database` is the one that counts (URL or key)."""

    config: ClickHouseConfig
    database: str

    def create_database(self) -> str | None:
        """Return the statement, or None for `default`, which is always there."""
        if self.database == "default":
            return None
        return " ".join(f"CREATE DATABASE IF NOT EXISTS {identifier(self.database)} {self._on_cluster}".split())

    def create(self, table: Table, name: str) -> Iterator[str]:
        """Yield the statements that make `table` under `name`, with what belongs to it, in order."""
        for template in table.templates:
            yield _template(template.file).format(
                table=self.qualified(template.name(name)),
                source=self.qualified(name),
                target=self.qualified(name + template.target),
                on_cluster=self._on_cluster,
                engine=self._engine(table),
                ttl=ttl_clause(template.ttl_column, self.config.ttl),
                deduplication=self._deduplication,
            )

    def describe(self, name: str) -> str:
        """Return the statement whose answer is a line a column: name, type (of several lines, escaped), default, ..."""
        return f"DESCRIBE TABLE {self.qualified(name)} FORMAT TabSeparated"

    def engine_of(self, name: str) -> str:
        """Return the statement whose answer is the engine with its settings."""
        return (
            "SELECT engine_full FROM system.tables "  # noqa: S608 - both values are quoted
            f"WHERE database = {literal(self.database)} AND name = {literal(name)} FORMAT TabSeparatedRaw"
        )

    def insert(self, name: str, columns: list[str]) -> str:
        """Return the statement whose data follow as an Arrow stream."""
        return f"INSERT INTO {self.qualified(name)} ({', '.join(map(identifier, columns))}) FORMAT ArrowStream"

    def remember_tokens(self, name: str) -> str:
        """Return the statement that gives a table of other making its window."""
        return f"ALTER TABLE {self.qualified(name)} MODIFY SETTING non_replicated_deduplication_window = {WINDOW}"

    def qualified(self, name: str) -> str:
        return f"{identifier(self.database)}.{identifier(name)}"

    @property
    def _on_cluster(self) -> str:
        return f"ON CLUSTER {literal(self.config.cluster_name)}" if self.config.cluster_name else ""

    def _engine(self, table: Table) -> str:
        engine = self.config.table_engine
        if table.version:
            return special("Replacing", engine.name, engine.params if engine.name else "", table.version)
        if table.aggregating:
            return special("Aggregating", engine.name, engine.params if engine.name else "")
        return f"{engine.name}({engine.params})" if engine.name else "MergeTree()"

    @property
    def _deduplication(self) -> str:
        if self.config.table_engine.name.startswith("Replicated"):
            return (
                f"replicated_deduplication_window = {WINDOW}, "
                f"replicated_deduplication_window_seconds = {REPLICATED_WINDOW_SECONDS}"
            )
        return f"non_replicated_deduplication_window = {WINDOW}"


def forgets_tokens(engine_full: str) -> bool:
    """Return whether a table with this engine clause would store a repeated insert twice."""
    engine = engine_full.partition("(")[0].partition(" ")[0]
    plain = engine.endswith("MergeTree") and not engine.startswith(("Replicated", "Shared"))
    return plain and "non_replicated_deduplication_window" not in engine_full


def special(family: str, engine: str, params: str, arguments: tuple[str, ...] = ()) -> str:
    """Return the `Replacing` or `Aggregating` engine that is as replicated as `engine`.

    Of `params` only path and replica are kept: the rest belongs to the engine that was asked for.
    """
    known = _FAMILY.fullmatch(engine)
    prefix = (known[1] or "") if known else ""
    replica = _REPLICA.match(params) if prefix else None
    return f"{prefix}{family}MergeTree({', '.join([*([replica[0].strip()] if replica else []), *arguments])})"


def ttl_clause(column: str, seconds: float) -> str:
    """Return the TTL clause in the largest unit that divides `seconds`; empty for 0."""
    whole = int(seconds)
    for size, function in _UNITS:
        if whole and whole % size == 0:
            return f"TTL {column} + {function}({whole // size})"
    return ""


def insertable(description: str) -> frozenset[str]:
    """Return the names of the columns that an INSERT may list, from the answer to `describe`."""
    rows = (line.split("\t") for line in description.splitlines())
    return frozenset(row[0] for row in rows if len(row) < 3 or row[2] not in ("MATERIALIZED", "ALIAS"))


def identifier(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


@cache
def _template(file: str) -> str:
    return files("exporters.clickhouse").joinpath("sql", file).read_text(encoding="utf-8")
