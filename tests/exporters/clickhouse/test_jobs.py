"""Job rows: their columns, and what the real engine has of them when rows are written again."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from exporters.clickhouse.tables import JOBS, parts
from pipeline import SHAPES, Kind
from tests.exporters.clickhouse.conftest import Start
from tests.exporters.clickhouse.job_rows import ROWS, SECOND, Row, expected, job_row, jobs_batch
from tests.exporters.clickhouse.servers import Store
from tests.exporters.clickhouse.test_columns import PICKS, picked, plain

TIMES = ("Timestamp", "EnqueuedAt", "ScheduledFor")


def stored(store: Store, table: str) -> list[Row]:
    """Return all columns of the rows that count, in order of their time, times in ns."""
    times = ", ".join(f"toUnixTimestamp64Nano({name}) AS `n:{name}`" for name in TIMES)
    found = store.rows(f"SELECT * EXCEPT ({', '.join(TIMES)}), {times} FROM {table} FINAL ORDER BY Timestamp, SpanId")
    return [{name.removeprefix("n:"): value for name, value in row.items()} for row in found]


def spelled(row: Row) -> Row:
    """Return a row with pairs of maps as lists, as JSON and Python spell them differently."""
    pairs = [[p["keys"], p["values"]] if isinstance(p, dict) else list(p) for p in row["ResourceAttributes"]]
    return {**row, "ResourceAttributes": pairs}


@given(st.lists(ROWS, max_size=6), PICKS)
def test_columns_equal_the_slow_twin(rows: list[Row], picks: Any) -> None:
    """Scenario: any rows, nulls everywhere, whole, sliced, filtered. Guarantees: what a reading row by row gives."""
    batch, wanted = picked(jobs_batch(rows), [expected(row) for row in rows], picks)

    (part,) = parts(batch)

    assert (part.table, part.rows) == (JOBS, None)
    assert [spelled(row) for row in plain(part.columns)] == [spelled(row) for row in wanted]


def test_every_field_of_the_kind_has_a_column() -> None:
    """Scenario: the kind's published schema. Guarantees: no field is forgotten, enumerations go as dictionaries."""
    columns = JOBS.no_rows()

    assert set(columns.column_names) == set(expected(dict.fromkeys(SHAPES[Kind.JOBS].schema.names, 0)))
    for name in ("Operation", "System", "JobClass", "Queue", "Outcome", "ErrorFingerprint"):
        assert pa.types.is_dictionary(columns.schema.field(name).type)


@pytest.mark.integration
@settings(
    max_examples=8,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(ROWS, min_size=8, max_size=8))
async def test_every_column_comes_back(start: Start, store: Store, database: str, rows: list[Row]) -> None:
    """Scenario: odd values, nulls and arrays in every column. Guarantees: the engine has them as documented."""
    exporter = await start(jobs_table_name="any")
    distinct = [
        {**row, "span_id": f"{number:016x}", "timestamp": 2**40 + number, "is_deleted": False}
        for number, row in enumerate(rows)
    ]
    await exporter.export(jobs_batch([job_row(timestamp=1)]))
    store.run(f"TRUNCATE TABLE {database}.any")  # of what the example before left

    await exporter.export(jobs_batch(distinct))

    assert [spelled(row) for row in stored(store, f"{database}.any")] == [spelled(expected(row)) for row in distinct]


@pytest.mark.integration
async def test_the_highest_version_counts(start: Start, store: Store, database: str) -> None:
    """Scenario: a failed row is written again as retried, with another class, and its versions arrive in disorder.

    Guarantees: `FINAL` has one row, the one of the highest version, before and after the parts are merged.
    """
    exporter = await start()
    first = job_row(outcome="failed", job_class=None, version=1)
    latest = {**first, "outcome": "retried", "job_class": "Mail", "version": 3}
    between = {**first, "outcome": "unknown", "version": 2}

    for row in (first, latest, between):
        await exporter.export(jobs_batch([row]))

    assert [spelled(row) for row in stored(store, f"{database}.jobs")] == [spelled(expected(latest))]
    store.run(f"OPTIMIZE TABLE {database}.jobs FINAL")
    assert store.rows(f"SELECT Outcome, Version FROM {database}.jobs") == [{"Outcome": "retried", "Version": 3}]


@pytest.mark.integration
async def test_rewritten_rows_of_one_intake_are_not_taken_for_repetitions(
    start: Start, store: Store, database: str
) -> None:
    """Scenario: rows of one intake come twice: unchanged, then with a higher version, then marked deleted.

    Guarantees: what is unchanged is ignored, what has another version is stored, though times and token are the same.
    """
    exporter = await start()
    row = job_row(outcome="failed")

    for again in (row, row, {**row, "outcome": "retried", "version": 2}):
        await exporter.export(jobs_batch([again], token="intake-1"))
    assert store.count(f"{database}.jobs") == 2
    await exporter.export(jobs_batch([{**row, "version": 2, "is_deleted": True}], token="intake-1"))

    assert store.count(f"{database}.jobs") == 3


@pytest.mark.integration
async def test_deleted_rows_vanish(start: Start, store: Store, database: str) -> None:
    """Scenario: a row turns out to be part of another one; a late old version of it follows.

    Guarantees: it is gone from the table's truth and from every view; a still higher version brings it back.
    """
    exporter = await start()
    gone, stays = job_row(version=1), job_row(version=1)

    await exporter.export(jobs_batch([gone, stays]))
    await exporter.export(jobs_batch([{**gone, "version": 5, "is_deleted": True}]))
    await exporter.export(jobs_batch([{**gone, "version": 4}]))

    found = store.rows(f"SELECT SpanId FROM {database}.jobs FINAL")
    assert found == [{"SpanId": stays["span_id"]}]
    assert store.rows(f"SELECT sum(Executions) AS n FROM {database}.job_summary") == [{"n": 1}]
    assert store.rows(f"SELECT DISTINCT JobId FROM {database}.job_events") == [{"JobId": stays["job_id"]}]

    await exporter.export(jobs_batch([{**gone, "version": 6}]))
    assert store.count(f"{database}.jobs FINAL") == 2


@pytest.mark.integration
async def test_rows_of_many_days_are_whole(start: Start, store: Store, database: str) -> None:
    """Scenario: rows of 120 days in one batch, written twice with rising versions. Guarantees: each day's row, once."""
    exporter = await start()
    rows = [job_row(timestamp=(20_000 + day) * 86_400 * SECOND) for day in range(120)]

    await exporter.export(jobs_batch(rows))
    await exporter.export(jobs_batch([{**row, "version": 2, "outcome": "retried"} for row in rows]))

    assert store.rows(f"SELECT Outcome, count() AS n FROM {database}.jobs FINAL GROUP BY Outcome") == [
        {"Outcome": "retried", "n": 120}
    ]
