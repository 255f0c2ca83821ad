"""Edges in the real engine: rows that add up, and quantiles over any stretch of time."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from pipeline import SHAPES, Batch, Kind, Receipt
from pipeline.testing import sample_batch
from tests.exporters.clickhouse.conftest import Start
from tests.exporters.clickhouse.servers import Store

pytestmark = pytest.mark.integration

MINUTE = 60 * 10**9
NOON = 1_795_305_600 * 10**9


def edges(*rows: dict[str, Any]) -> Batch:
    """Return rows of one edge; what is not given is one call that went well."""
    plain: dict[str, Any] = {
        "timestamp": NOON,
        "parent_kind": "job",
        "parent": "Order “now”",
        "parent_service": "shop",
        "child_kind": "job",
        "child": "Mail",
        "child_service": "mailer",
        "via": "link",
        "calls": 1,
        "failures": 0,
        "executions": 1,
        "parents": 1,
        "fan_out_max": 1,
        "queue_latencies": [],
        "queue_latency_weights": [],
        "durations": [],
        "duration_weights": [],
        "first_seen": NOON,
        "last_seen": NOON,
    }
    table = pa.Table.from_pylist([{**plain, **row} for row in rows], SHAPES[Kind.JOB_DEPENDENCIES].schema)
    return Batch(Kind.JOB_DEPENDENCIES, table, Receipt.issue(f"edges {rows}"))


async def test_the_engine_has_every_column(start: Start, store: Store, database: str) -> None:
    """Scenario: one edge with everything. Guarantees: each column has what the row has, times to the nanosecond."""
    exporter = await start()

    await exporter.export(
        edges(
            {
                "calls": 5,
                "failures": 2,
                "executions": 7,
                "parents": 3,
                "fan_out_max": 4,
                "queue_latencies": [100],
                "queue_latency_weights": [7],
                "durations": [7, 7],
                "duration_weights": [3, 4],
                "first_seen": NOON + 1,
                "last_seen": NOON + 123_456_789,
            }
        )
    )

    (row,) = store.rows(
        "SELECT * EXCEPT (Timestamp, FirstSeen, LastSeen, QueueLatency, Duration), "
        "toUnixTimestamp64Nano(Timestamp) AS at, toUnixTimestamp64Nano(FirstSeen) AS first, "
        "toUnixTimestamp64Nano(LastSeen) AS last, "
        "finalizeAggregation(QueueLatency) AS queue_latency, finalizeAggregation(Duration) AS duration "
        f"FROM {database}.job_dependencies"
    )
    assert row == {
        "ParentKind": "job",
        "Parent": "Order “now”",
        "ParentService": "shop",
        "ChildKind": "job",
        "Child": "Mail",
        "ChildService": "mailer",
        "Via": "link",
        "Calls": 5,
        "Failures": 2,
        "Executions": 7,
        "Parents": 3,
        "FanOutMax": 4,
        "at": NOON,
        "first": NOON + 1,
        "last": NOON + 123_456_789,
        "queue_latency": [100, 100, 100],
        "duration": [7, 7, 7],
    }


async def test_any_time_range_is_one_query(start: Start, store: Store, database: str) -> None:
    """Scenario: an edge in two intervals, one of them corrected later by a row with negative counts; parts are merged.

    Guarantees: sums, extremes and quantiles over the range are those of everything that was told, before and after
    the merge, and equal keys are one row after it.
    """
    exporter = await start()
    ones = [1] * 100
    await exporter.export(
        edges({"calls": 100, "failures": 9, "durations": [*range(100)], "duration_weights": ones, "fan_out_max": 9})
    )
    await exporter.export(edges({"calls": -1, "failures": -1, "executions": 0, "parents": 0, "fan_out_max": 0}))
    await exporter.export(
        edges(
            {
                "timestamp": NOON + MINUTE,
                "calls": 900,
                "durations": [1000],
                "duration_weights": [900],
                "last_seen": NOON + MINUTE + 5,
            }
        )
    )
    question = (
        "SELECT Parent, Child, sum(Calls) AS calls, sum(Failures) AS failures, max(FanOutMax) AS fan_out, "
        "toUnixTimestamp64Nano(max(LastSeen)) - toUnixTimestamp64Nano(min(FirstSeen)) AS span, "
        "arraySlice(quantilesTDigestWeightedMerge(0.5, 0.95, 0.99)(Duration), 2) AS upper "
        f"FROM {database}.job_dependencies GROUP BY Parent, Child"
    )
    expected = {
        "Parent": "Order “now”",
        "Child": "Mail",
        "calls": 999,
        "failures": 8,
        "fan_out": 9,
        "span": MINUTE + 5,
        "upper": [1000, 1000],
    }

    assert store.rows(question) == [expected]
    store.run(f"OPTIMIZE TABLE {database}.job_dependencies FINAL")
    assert store.rows(question) == [expected]
    assert store.count(f"{database}.job_dependencies") == 2
    (early,) = store.rows(question.replace(" GROUP", f" WHERE Timestamp < fromUnixTimestamp64Nano({NOON + 1}) GROUP"))
    assert early["calls"] == 99
    assert 92 <= early["upper"][0] <= 97


async def test_a_repeated_insert_is_ignored(start: Start, store: Store, database: str) -> None:
    """Scenario: a batch is exported twice, as after a lost answer. Guarantees: it counts once."""
    exporter = await start()

    for _ in range(2):
        await exporter.export(sample_batch(Kind.JOB_DEPENDENCIES, 4))

    assert store.rows(f"SELECT sum(Calls) AS calls FROM {database}.job_dependencies") == [{"calls": 1 + 2 + 3 + 4}]
