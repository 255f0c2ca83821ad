"""The tables: the Collector's, column by column, on a real engine, and the parts that depend on the config."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from exporters.clickhouse.config import ClickHouseConfig
from exporters.clickhouse.schema import Schema, forgets_tokens, identifier, insertable, literal, special, ttl_clause
from exporters.clickhouse.tables import JOBS, LOGS, METRICS, TABLES, TRACES, Table
from pipeline.kinds import MetricType
from tests.exporters.clickhouse.servers import Store

LC = "LowCardinality(String)"
MAP = "Map(LowCardinality(String), String)"
Z = "CODEC(ZSTD(1))"
DZ = "CODEC(Delta(8), ZSTD(1))"
TIME = "DateTime64(9)"
MADE_THERE = {"logs": {"TimestampTime"}, "job_dependencies": {"QueueLatency", "Duration"}}
"""Columns of our tables that the server fills."""

SPAN_COLUMNS = [
    ("Timestamp", TIME, DZ),
    ("TraceId", "String", Z),
    ("SpanId", "String", Z),
    ("ParentSpanId", "String", Z),
    ("TraceState", "String", Z),
    ("SpanName", LC, Z),
    ("SpanKind", LC, Z),
    ("ServiceName", LC, Z),
    ("ResourceAttributes", MAP, Z),
    ("ScopeName", "String", Z),
    ("ScopeVersion", "String", Z),
    ("SpanAttributes", MAP, Z),
    ("Duration", "UInt64", Z),
    ("StatusCode", LC, Z),
    ("StatusMessage", "String", Z),
    ("Events.Timestamp", f"Array({TIME})", Z),
    ("Events.Name", f"Array({LC})", Z),
    ("Events.Attributes", f"Array({MAP})", Z),
    ("Links.TraceId", "Array(String)", Z),
    ("Links.SpanId", "Array(String)", Z),
    ("Links.TraceState", "Array(String)", Z),
    ("Links.Attributes", f"Array({MAP})", Z),
]
TRACE_ID_COLUMNS = [
    ("TraceId", "String", Z),
    ("Start", "DateTime", "CODEC(Delta(4), ZSTD(1))"),
    ("End", "DateTime", "CODEC(Delta(4), ZSTD(1))"),
]
LOG_COLUMNS = [
    ("Timestamp", TIME, DZ),
    ("TimestampTime", "DateTime", ""),
    ("TraceId", "String", Z),
    ("SpanId", "String", Z),
    ("TraceFlags", "UInt8", ""),
    ("SeverityText", LC, Z),
    ("SeverityNumber", "UInt8", ""),
    ("ServiceName", LC, Z),
    ("Body", "String", Z),
    ("ResourceSchemaUrl", LC, Z),
    ("ResourceAttributes", MAP, Z),
    ("ScopeSchemaUrl", LC, Z),
    ("ScopeName", "String", Z),
    ("ScopeVersion", LC, Z),
    ("ScopeAttributes", MAP, Z),
    ("LogAttributes", MAP, Z),
    ("EventName", "String", Z),
]
POINT_COLUMNS = [
    ("ResourceAttributes", MAP, Z),
    ("ResourceSchemaUrl", "String", Z),
    ("ScopeName", "String", Z),
    ("ScopeVersion", "String", Z),
    ("ScopeAttributes", MAP, Z),
    ("ScopeDroppedAttrCount", "UInt32", Z),
    ("ScopeSchemaUrl", "String", Z),
    ("ServiceName", LC, Z),
    ("MetricName", "String", Z),
    ("MetricDescription", "String", Z),
    ("MetricUnit", "String", Z),
    ("Attributes", MAP, Z),
    ("StartTimeUnix", TIME, DZ),
    ("TimeUnix", TIME, DZ),
]
EXEMPLARS = [
    ("Exemplars.FilteredAttributes", f"Array({MAP})", Z),
    ("Exemplars.TimeUnix", f"Array({TIME})", Z),
    ("Exemplars.Value", "Array(Float64)", Z),
    ("Exemplars.SpanId", "Array(String)", Z),
    ("Exemplars.TraceId", "Array(String)", Z),
]
FLAGS = [("Flags", "UInt32", Z)]
TOTALS = [("Count", "UInt64", DZ), ("Sum", "Float64", Z)]
EXTREMES = [("Min", "Float64", Z), ("Max", "Float64", Z)]
TEMPORALITY = [("AggregationTemporality", "Int32", Z)]
NUMBER = [("Value", "Float64", Z), *FLAGS, *EXEMPLARS]
OF_TYPE = {
    MetricType.GAUGE: NUMBER,
    MetricType.SUM: [*NUMBER, *TEMPORALITY, ("IsMonotonic", "Bool", "CODEC(Delta(1), ZSTD(1))")],
    MetricType.HISTOGRAM: [
        *TOTALS,
        ("BucketCounts", "Array(UInt64)", Z),
        ("ExplicitBounds", "Array(Float64)", Z),
        *EXEMPLARS,
        *FLAGS,
        *EXTREMES,
        *TEMPORALITY,
    ],
    MetricType.EXPONENTIAL_HISTOGRAM: [
        *TOTALS,
        ("Scale", "Int32", Z),
        ("ZeroCount", "UInt64", Z),
        ("PositiveOffset", "Int32", Z),
        ("PositiveBucketCounts", "Array(UInt64)", Z),
        ("NegativeOffset", "Int32", Z),
        ("NegativeBucketCounts", "Array(UInt64)", Z),
        *EXEMPLARS,
        *FLAGS,
        *EXTREMES,
        *TEMPORALITY,
    ],
    MetricType.SUMMARY: [
        *TOTALS,
        ("ValueAtQuantiles.Quantile", "Array(Float64)", Z),
        ("ValueAtQuantiles.Value", "Array(Float64)", Z),
        *FLAGS,
    ],
}


OPTIONAL_INT = "Nullable(Int32)"
JOB_COLUMNS = {
    **dict.fromkeys(("Operation", "System", "Adapter", "JobClass", "Queue", "ServiceName", "Host", "WorkerId"), LC),
    **dict.fromkeys(("Outcome", "OutcomeSource", "EnqueuedAtSource", "LinkStyle", "ParentJobClass"), LC),
    **dict.fromkeys(("ErrorType", "ErrorSource", "ErrorCategory", "ErrorFingerprint"), LC),
    **dict.fromkeys(("JobId", "ProviderJobId", "TraceId", "SpanId", "EnqueueSpanId", "BatchId"), "String"),
    **dict.fromkeys(("ErrorMessage", "ExceptionStacktrace", "ParentJobId", "FlowParentJobId"), "String"),
    **dict.fromkeys(("AlsoSpanIds", "DependsOnJobIds"), "Array(String)"),
    **dict.fromkeys(("Attempt", "MaxAttempts"), OPTIONAL_INT),
    **dict.fromkeys(("EnqueuedAt", "ScheduledFor"), f"Nullable({TIME})"),
    "Timestamp": TIME,
    "Duration": "UInt64",
    "IsRetryEnqueue": "Bool",
    "BatchCount": "Int32",
    "AttemptInferred": "Int32",
    "QueueLatency": "Nullable(UInt64)",
    "ErrorTransient": "Nullable(Bool)",
    "ResourceAttributes": MAP,
    "Version": "UInt64",
    "IsDeleted": "UInt8",
}


def pair(name: str, column: str) -> list[tuple[str, str, str, int]]:
    return [
        (f"idx_{name}_key", f"mapKeys({column})", "bloom_filter(0.01)", 1),
        (f"idx_{name}_value", f"mapValues({column})", "bloom_filter(0.01)", 1),
    ]


POINT_INDEXES = [*pair("res_attr", "ResourceAttributes"), *pair("scope_attr", "ScopeAttributes")]
POINT_INDEXES += pair("attr", "Attributes")

POINT_KEY = "ServiceName, MetricName, Attributes, toUnixTimestamp64Nano(TimeUnix)"

EXPECTED: list[tuple[Table, str, list[tuple[str, str, str]], list[tuple[str, str, str, int]], tuple[str, str, str]]] = [
    (
        TRACES,
        "",
        SPAN_COLUMNS,
        [
            ("idx_trace_id", "TraceId", "bloom_filter(0.001)", 1),
            *pair("res_attr", "ResourceAttributes"),
            *pair("span_attr", "SpanAttributes"),
            ("idx_duration", "Duration", "minmax", 1),
        ],
        ("toDate(Timestamp)", "ServiceName, SpanName, toDateTime(Timestamp)", "toDateTime(Timestamp)"),
    ),
    (
        TRACES,
        "_trace_id_ts",
        TRACE_ID_COLUMNS,
        [("idx_trace_id", "TraceId", "bloom_filter(0.01)", 1)],
        ("toDate(Start)", "TraceId, Start", "toDateTime(Start)"),
    ),
    (
        LOGS,
        "",
        LOG_COLUMNS,
        [
            ("idx_trace_id", "TraceId", "bloom_filter(0.001)", 1),
            *pair("res_attr", "ResourceAttributes"),
            *pair("scope_attr", "ScopeAttributes"),
            *pair("log_attr", "LogAttributes"),
            ("idx_body", "Body", "tokenbf_v1(32768, 3, 0)", 8),
        ],
        ("toDate(TimestampTime)", "ServiceName, TimestampTime, Timestamp", "TimestampTime"),
    ),
    *(
        (
            METRICS[type_],
            "",
            [*POINT_COLUMNS, *columns],
            POINT_INDEXES,
            ("toDate(TimeUnix)", POINT_KEY, "toDateTime(TimeUnix)"),
        )
        for type_, columns in OF_TYPE.items()
    ),
]


@pytest.fixture(scope="session")
def made(store: Store) -> tuple[Schema, dict[str, str]]:
    """All tables, in a database of their own, with a TTL of three hours."""
    config = ClickHouseConfig.model_validate({"endpoint": "embedded", "database": "golden", "ttl": "3h"})
    schema = Schema(config, config.database)
    names = config.table_names()
    store.run(schema.create_database() or "")
    for table in TABLES:
        for statement in (*schema.create(table, names[table.key]), *schema.create(table, names[table.key])):
            store.run(statement)
    return schema, names


@pytest.mark.integration
@pytest.mark.parametrize(
    ("table", "suffix", "columns", "indexes", "clauses"),
    EXPECTED,
    ids=[f"{table.key}{suffix}" for table, suffix, *_ in EXPECTED],
)
def test_a_table_is_the_collectors(
    table: Table,
    suffix: str,
    columns: list[tuple[str, str, str]],
    indexes: list[tuple[str, str, str, int]],
    clauses: tuple[str, str, str],
    store: Store,
    made: tuple[Schema, dict[str, str]],
) -> None:
    """Scenario: a table is made, twice, on a real engine.

    Guarantees: columns, types, codecs, indexes, partition, sorting, TTL and settings are those of the Collector's
    exporter; the token window is ours.
    """
    name = made[1][table.key] + suffix
    where = f"database = 'golden' AND table = '{name}'"

    found = store.rows(f"SELECT name, type, compression_codec FROM system.columns WHERE {where} ORDER BY position")
    found_indexes = store.rows(
        f"SELECT name, expr, type_full, granularity FROM system.data_skipping_indices WHERE {where}"
    )
    (of_table,) = store.rows(
        "SELECT engine, partition_key, sorting_key, engine_full FROM system.tables "
        f"WHERE database = 'golden' AND name = '{name}'"
    )

    assert sorted(tuple(row.values()) for row in found) == sorted(columns)
    assert sorted(tuple(row.values()) for row in found_indexes) == sorted(indexes)
    partition, order, time = clauses
    assert (of_table["engine"], of_table["partition_key"], of_table["sorting_key"]) == ("MergeTree", partition, order)
    assert f"TTL {time} + toIntervalHour(3)" in of_table["engine_full"]
    assert of_table["engine_full"].endswith(
        "SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000"
    )


@pytest.mark.integration
def test_jobs_replace_by_version(store: Store, made: tuple[Schema, dict[str, str]]) -> None:
    """Scenario: the table of jobs is made, twice, on a real engine.

    Guarantees: its columns are those of the contract with their types; partition and sorting key are made of what all
    versions of a row have in common; TTL and the token window are those of the other tables; each view is there.
    """
    found = store.rows(
        "SELECT name, type, compression_codec FROM system.columns WHERE database = 'golden' AND table = 'jobs'"
    )
    indexes = store.rows("SELECT expr FROM system.data_skipping_indices WHERE database = 'golden' AND table = 'jobs'")
    (table,) = store.rows(
        "SELECT engine, partition_key, sorting_key, engine_full FROM system.tables "
        "WHERE database = 'golden' AND name = 'jobs'"
    )
    views = store.rows("SELECT name FROM system.tables WHERE database = 'golden' AND engine = 'View' ORDER BY name")

    assert {row["name"]: row["type"] for row in found} == JOB_COLUMNS
    assert {row["compression_codec"] for row in found} == {Z, DZ}
    assert {row["expr"] for row in indexes} >= {"TraceId", "JobId", "ProviderJobId"}
    assert (table["engine"], table["partition_key"]) == ("ReplacingMergeTree", "toDate(Timestamp)")
    assert table["sorting_key"] == "Timestamp, TraceId, SpanId"
    assert table["engine_full"].startswith("ReplacingMergeTree(Version, IsDeleted)")
    assert "TTL toDateTime(Timestamp) + toIntervalHour(3)" in table["engine_full"]
    assert table["engine_full"].endswith("non_replicated_deduplication_window = 1000")
    assert [row["name"] for row in views] == ["job_errors", "job_events", "job_summary"]


@pytest.mark.integration
def test_primary_key_and_default_of_logs(store: Store, made: tuple[Schema, dict[str, str]]) -> None:
    """Scenario: the log table. Guarantees: its shorter primary key, and the second that is worked out."""
    (row,) = store.rows("SELECT primary_key FROM system.tables WHERE database = 'golden' AND name = 'otel_logs'")
    (column,) = store.rows(
        "SELECT default_kind, default_expression FROM system.columns "
        "WHERE database = 'golden' AND table = 'otel_logs' AND name = 'TimestampTime'"
    )

    assert row["primary_key"] == "ServiceName, TimestampTime"
    assert tuple(column.values()) == ("DEFAULT", "toDateTime(Timestamp)")


@pytest.mark.integration
def test_every_column_that_is_written_is_there(store: Store, made: tuple[Schema, dict[str, str]]) -> None:
    """Scenario: our columns beside the tables'. Guarantees: all are written but those with a default."""
    schema, names = made

    for table in TABLES:
        there = insertable(store.run(schema.describe(names[table.key])))
        assert there - set(table.no_rows().column_names) == MADE_THERE.get(table.key, set())
        assert set(table.no_rows().column_names) <= there


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, ""),
        (1, "TTL t + toIntervalSecond(1)"),
        (90, "TTL t + toIntervalSecond(90)"),
        (120, "TTL t + toIntervalMinute(2)"),
        (5400, "TTL t + toIntervalMinute(90)"),
        (7200, "TTL t + toIntervalHour(2)"),
        (72 * 3600, "TTL t + toIntervalDay(3)"),
    ],
)
def test_ttl_in_the_largest_unit(seconds: int, expected: str) -> None:
    """Scenario: durations. Guarantees: the clause that the Collector would write."""
    assert ttl_clause("t", seconds) == expected


def schema(**keys: Any) -> Schema:
    config = ClickHouseConfig.model_validate({"endpoint": "http://db", **keys})
    return Schema(config, config.database)


def test_clusters_and_engines() -> None:
    """Scenario: a replicated cluster.

    Guarantees: ON CLUSTER in every CREATE, the engine with its parameters in every table, Replicated's own window.
    """
    chosen = schema(
        database="otel",
        cluster_name="{cluster}",
        table_engine={"name": "ReplicatedMergeTree", "params": "'/tables/{shard}/{table}', '{replica}'"},
    )

    statements = [chosen.create_database() or "", *(text for table in TABLES for text in chosen.create(table, "x"))]

    assert statements[0] == "CREATE DATABASE IF NOT EXISTS `otel` ON CLUSTER '{cluster}'"
    assert all("ON CLUSTER '{cluster}'" in text for text in statements)
    tables = [text for text in statements if text.startswith("CREATE TABLE")]
    engines = Counter(text.partition("ENGINE = ")[2].partition("\n")[0] for text in tables)
    assert engines == {
        "ReplicatedMergeTree('/tables/{shard}/{table}', '{replica}')": 10,
        "ReplicatedReplacingMergeTree('/tables/{shard}/{table}', '{replica}', Version, IsDeleted)": 1,
        "ReplicatedAggregatingMergeTree('/tables/{shard}/{table}', '{replica}')": 1,
    }
    assert all("replicated_deduplication_window_seconds = 604800" in text for text in tables)
    assert not any("non_replicated" in text for text in tables)


@pytest.mark.parametrize(
    ("engine", "params", "expected"),
    [
        ("", "", "ReplacingMergeTree(Version, IsDeleted)"),
        ("MergeTree", "1", "ReplacingMergeTree(Version, IsDeleted)"),
        ("SummingMergeTree", "'x'", "ReplacingMergeTree(Version, IsDeleted)"),
        ("ReplicatedMergeTree", "", "ReplicatedReplacingMergeTree(Version, IsDeleted)"),
        (
            "ReplicatedMergeTree",
            " '/a,b''c', '{r}' ",
            "ReplicatedReplacingMergeTree('/a,b''c', '{r}', Version, IsDeleted)",
        ),
        (
            "ReplicatedReplacingMergeTree",
            r"'/it\'s', '{r}', Timestamp",
            r"ReplicatedReplacingMergeTree('/it\'s', '{r}', Version, IsDeleted)",
        ),
        ("SharedMergeTree", "'/x', 'r'", "SharedReplacingMergeTree('/x', 'r', Version, IsDeleted)"),
    ],
)
def test_our_own_tables_are_as_replicated_as_the_rest(engine: str, params: str, expected: str) -> None:
    """Scenario: `table_engine` of every sort. Guarantees: path and replica are kept, what is ours is always there."""
    assert special("Replacing", engine, params, ("Version", "IsDeleted")) == expected
    aggregating = expected.replace("Replacing", "Aggregating").replace("Version, IsDeleted", "").replace(", )", ")")
    assert special("Aggregating", engine, params) == aggregating


@pytest.mark.parametrize(
    ("table", "views"),
    [("jobs", ["job_summary", "job_errors", "job_events"]), ("work", ["work_summary", "work_errors", "work_events"])],
)
def test_views_are_named_after_their_table(table: str, views: list[str]) -> None:
    """Scenario: the table's usual name and another. Guarantees: views beside it that read from it, never another's."""
    made = list(schema(database="d").create(JOBS, table))

    assert [text.split()[5] for text in made] == [f"`d`.`{name}`" for name in (table, *views)]
    assert all(f"FROM `d`.`{table}`" in text for text in made[1:])


def test_engine_parameters_without_name_are_ignored() -> None:
    """Scenario: `params` alone. Guarantees: MergeTree(), as in the Collector."""
    chosen = schema(table_engine={"params": "1"})

    assert all("ENGINE = MergeTree()" in text for text in chosen.create(LOGS, "x"))
    assert chosen.create_database() is None


def test_names_cannot_break_out() -> None:
    """Scenario: names with quotes and backslashes. Guarantees: they stay names."""
    assert identifier("a`; DROP TABLE b; --\\") == "`a\\`; DROP TABLE b; --\\\\`"
    assert literal("o'neil\\") == "'o\\'neil\\\\'"


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        ("MergeTree PARTITION BY toDate(Timestamp) SETTINGS index_granularity = 8192", True),
        ("ReplacingMergeTree(Version) ORDER BY a", True),
        ("MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 1000", False),
        ("ReplicatedMergeTree('/x', 'r') ORDER BY a", False),
        ("SharedMergeTree ORDER BY a", False),
        ("Distributed('c', 'd', 't')", False),
        ("", False),
    ],
)
def test_tables_without_memory_for_tokens(engine: str, expected: bool) -> None:
    """Scenario: engine clauses of tables that others made. Guarantees: only those that would double rows."""
    assert forgets_tokens(engine) is expected
