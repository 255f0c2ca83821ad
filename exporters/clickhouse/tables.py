"""The tables that the exporter writes: for each kind of batch, what is created and how its columns are made.

A table for a new kind of batch is one entry in `TABLES`, a module with its columns, and a file in `sql/`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import pyarrow as pa

from exporters.clickhouse import alerts, failure_clusters, job_dependencies, jobs, logs, metrics, spans
from pipeline import SHAPES, Batch, Kind, Receipt
from pipeline.kinds import MetricType


@dataclass(frozen=True, slots=True)
class Template:
    """A file of `sql/` that makes `<table><suffix>`; a materialized view writes to `<table><target>`."""

    file: str
    suffix: str = ""
    ttl_column: str = ""
    target: str = ""
    singular: bool = False
    """Drop a final "s" of the table's name before the suffix: `jobs` has the view `job_summary`."""

    def name(self, table: str) -> str:
        """Return the name of what it makes beside a table of this name."""
        return (table.removesuffix("s") if self.singular else table) + self.suffix


@dataclass(frozen=True, slots=True)
class Table:
    """One table. Its name is configured; `key` is what the rest of the exporter calls it."""

    key: str
    kind: Kind
    templates: tuple[Template, ...]
    columns: Callable[[Batch], pa.Table]
    """Makes ClickHouse's columns of a batch whose rows all belong to this table."""

    time_column: str = "Timestamp"
    """The column that the table is partitioned by, by day."""

    optional: frozenset[str] = frozenset()
    """Columns that older tables lack; without them the others are written."""

    version: tuple[str, ...] = ()
    """Arguments of a replacing engine, by which a newer row takes the place of an older one. None: rows only add up."""

    aggregating: bool = False
    """Rows with equal keys become one whose columns are aggregated."""

    def no_rows(self) -> pa.Table:
        """Return the columns of a batch without rows."""
        shape = SHAPES[self.kind]
        sides = {name: schema.empty_table() for name, schema in shape.sides.items()}
        return self.columns(Batch(self.kind, shape.schema.empty_table(), Receipt.issue(""), sides))


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of a batch that go to one table: which they are (None is all), and ClickHouse's columns of them."""

    table: Table
    rows: pa.BooleanArray | None
    columns: pa.Table


TRACES: Final = Table(
    "traces",
    Kind.SPANS,
    (
        Template("traces.sql", ttl_column="toDateTime(Timestamp)"),
        Template("traces_trace_id_ts.sql", suffix="_trace_id_ts", ttl_column="toDateTime(Start)"),
        Template("traces_trace_id_ts_mv.sql", suffix="_trace_id_ts_mv", target="_trace_id_ts"),
    ),
    spans.columns,
)

LOGS: Final = Table(
    "logs",
    Kind.LOGS,
    (Template("logs.sql", ttl_column="TimestampTime"),),
    logs.columns,
    optional=frozenset({"EventName"}),
)

METRICS: Final = {
    type_: Table(
        str(type_),
        Kind.METRICS,
        (Template(f"{type_}.sql", ttl_column="toDateTime(TimeUnix)"),),
        partial(metrics.columns, type_=type_),
        time_column="TimeUnix",
    )
    for type_ in MetricType
}

JOBS: Final = Table(
    "jobs",
    Kind.JOBS,
    (
        Template("jobs.sql", ttl_column="toDateTime(Timestamp)"),
        Template("job_summary.sql", suffix="_summary", singular=True),
        Template("job_errors.sql", suffix="_errors", singular=True),
        Template("job_events.sql", suffix="_events", singular=True),
    ),
    jobs.columns,
    version=jobs.VERSION,
)


def _one_file(key: str, kind: Kind, columns: Callable[[Batch], pa.Table], *, aggregating: bool = False) -> Table:
    """Return a table whose file has its key for a name."""
    templates = (Template(f"{key}.sql", ttl_column="toDateTime(Timestamp)"),)
    return Table(key, kind, templates, columns, aggregating=aggregating)


JOB_DEPENDENCIES: Final = _one_file(
    "job_dependencies", Kind.JOB_DEPENDENCIES, job_dependencies.columns, aggregating=True
)
FAILURE_CLUSTERS: Final = _one_file("failure_clusters", Kind.FAILURE_CLUSTERS, failure_clusters.columns)
ALERTS: Final = _one_file("alerts", Kind.ALERTS, alerts.columns)

TABLES: Final = (TRACES, LOGS, *METRICS.values(), JOBS, JOB_DEPENDENCIES, FAILURE_CLUSTERS, ALERTS)

_WHOLE: Final = {table.kind: table for table in TABLES if table.kind is not Kind.METRICS}


def parts(batch: Batch) -> list[Part]:
    """Return what goes to which table. Raises Rejected for rows that belong to none."""
    if batch.kind is not Kind.METRICS:
        table = _WHOLE[batch.kind]
        return [Part(table, None, table.columns(batch))]
    return [Part(METRICS[type_], rows, METRICS[type_].columns(points)) for type_, rows, points in metrics.divide(batch)]
