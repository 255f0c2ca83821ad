"""The views beside `jobs` on a real engine, compared with a slow reading of the same rows in plain Python."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.exporters.clickhouse.conftest import Start
from tests.exporters.clickhouse.job_rows import SECOND, Row, job_row, jobs_batch
from tests.exporters.clickhouse.servers import Store

pytestmark = pytest.mark.integration

PAGE = Path(__file__).parents[3] / "docs" / "exporters" / "clickhouse.md"
MINUTE = 60 * SECOND
NOON = 1_795_305_600 * SECOND
FAILED = ("failed", "retried")
ERRORS = (
    ("Timeout", "t-1", "timeout", True),
    ("KeyError", "k-1", "bug", False),
    ("Odd", None, None, None),
    (None,) * 4,
)


def many_rows(seed: int) -> list[Row]:
    """Return executions and enqueues of a few classes over some minutes; jobs have several attempts."""
    random = Random(seed)
    rows = []
    for number in range(300):
        enqueue = random.random() < 0.3
        outcomes = ("enqueued", "scheduled", "failed") if enqueue else (*FAILED, "succeeded", "discarded", "unknown")
        error = random.choice(ERRORS)
        outcome = random.choice(outcomes)
        wrong = outcome in {*FAILED, "discarded"}
        rows.append(
            job_row(
                operation="enqueue" if enqueue else "process",
                system=random.choice(["bullmq", "celery"]),
                queue=random.choice(["a", "b"]),
                job_class=random.choice(["Mail", "Bill", None]),
                job_id=random.choice([None, *(str(i) for i in range(20))]),
                timestamp=NOON + random.randrange(5 * MINUTE),
                duration=random.randrange(3 * SECOND),
                outcome=outcome,
                queue_latency=None if enqueue or random.random() < 0.3 else random.randrange(SECOND),
                attempt=None if enqueue else random.choice([None, 1, 2]),
                error_type=error[0] if wrong else None,
                error_fingerprint=error[1] if wrong else None,
                error_category=error[2] if wrong else None,
                error_transient=error[3] if wrong else None,
                error_message=f"message {number}" if wrong else None,
            )
        )
    return rows


def at(values: Iterable[int], level: float) -> int | None:
    """Return ClickHouse's exact quantile: the value at that share of the way, none of none."""
    ordered = sorted(values)
    return ordered[min(int(level * len(ordered)), len(ordered) - 1)] if ordered else None


def counted(rows: Sequence[Row], *outcomes: str) -> int:
    return sum(row["outcome"] in outcomes for row in rows)


def grouped(rows: Iterable[Row], key: Any) -> dict[Any, list[Row]]:
    groups: defaultdict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return groups


async def test_summary_equals_the_slow_twin(start: Start, store: Store, database: str) -> None:
    """Scenario: executions of three classes over five minutes, half of them written twice.

    Guarantees: each class and minute has the counts and the exact quantiles of the rows that count; enqueues add
    nothing; a class without queue latencies has none.
    """
    rows = many_rows(1)
    exporter = await start()
    old = [{**row, "outcome": "unknown", "duration": 0, "version": 0} for row in rows[::2]]
    await exporter.export(jobs_batch(old))
    await exporter.export(jobs_batch(rows))

    found = store.rows(f"SELECT * REPLACE (toUnixTimestamp(Minute) AS Minute) FROM {database}.job_summary")

    groups = grouped(
        (row for row in rows if row["operation"] == "process"),
        lambda row: (row["timestamp"] // MINUTE * 60, row["job_class"] or ""),
    )
    expected = []
    for (minute, job_class), members in groups.items():
        durations = [row["duration"] for row in members]
        latencies = [row["queue_latency"] for row in members if row["queue_latency"] is not None]
        expected.append(
            {
                "Minute": minute,
                "JobClass": job_class,
                "Executions": len(members),
                "Succeeded": counted(members, "succeeded"),
                "Failures": counted(members, *FAILED),
                "Retried": counted(members, "retried"),
                "Discarded": counted(members, "discarded"),
                **{f"DurationP{p}": at(durations, p / 100) for p in (50, 95, 99)},
                **{f"QueueLatencyP{p}": at(latencies, p / 100) for p in (50, 95, 99)},
            }
        )
    assert sorted(map(repr, found)) == sorted(map(repr, expected))
    assert len(found) == 15


async def test_quantiles_of_nothing_are_null(start: Start, store: Store, database: str) -> None:
    """Scenario: no execution says when it was enqueued. Guarantees: NULL, not a latency of 0."""
    exporter = await start()
    await exporter.export(jobs_batch([job_row(), job_row()]))

    (row, *_) = store.rows(f"SELECT QueueLatencyP50, QueueLatencyP99 FROM {database}.job_summary")

    assert row == {"QueueLatencyP50": None, "QueueLatencyP99": None}


async def test_errors_equal_the_slow_twin(start: Start, store: Store, database: str) -> None:
    """Scenario: failures with fingerprint, with a type only, with neither; discarded jobs with and without an error.

    Guarantees: a row a fingerprint, or a type where there is none; counts, first and last time, classes, and the
    latest failure as example. All failures of executions are somewhere.
    """
    rows = many_rows(2)
    exporter = await start()
    await exporter.export(jobs_batch(rows))

    found = store.rows(
        "SELECT * REPLACE (toUnixTimestamp64Nano(FirstSeen) AS FirstSeen, toUnixTimestamp64Nano(LastSeen) AS LastSeen) "
        f"FROM {database}.job_errors"
    )

    wrong = [
        row
        for row in rows
        if row["operation"] == "process"
        and (row["outcome"] in FAILED or (row["outcome"] == "discarded" and row["error_type"]))
    ]
    expected = []
    for (fingerprint, _), members in grouped(
        wrong, lambda row: (row["error_fingerprint"] or "", "" if row["error_fingerprint"] else row["error_type"])
    ).items():
        latest = max(members, key=lambda row: (row["timestamp"], row["span_id"]))
        expected.append(
            {
                "ErrorFingerprint": fingerprint,
                "FirstSeen": min(row["timestamp"] for row in members),
                "LastSeen": latest["timestamp"],
                "Failures": len(members),
                "Retried": counted(members, "retried"),
                "Discarded": counted(members, "discarded"),
                "Jobs": len({(row["system"], row["job_id"]) for row in members if row["job_id"]}),
                "JobClasses": sorted({row["job_class"] or "" for row in members}),
                "ErrorType": latest["error_type"] or "",
                "ErrorCategory": latest["error_category"] or "",
                "ErrorTransient": latest["error_transient"],
                "ExampleMessage": latest["error_message"],
                "ExampleTraceId": latest["trace_id"],
                "ExampleSpanId": latest["span_id"],
            }
        )
    assert sorted(map(repr, found)) == sorted(map(repr, expected))
    assert len(found) == 4


def events_of(rows: Iterable[Row]) -> list[tuple[str, str, int]]:
    """Return (job key, event, time) as a reading row by row gives them; an enqueue is one event however often told."""
    events: list[tuple[str, str, int]] = []
    enqueued = set()
    for row in rows:
        if not row["job_id"]:
            continue
        scope = f"{row['queue']}:" if row["system"] == "bullmq" else ""
        key = f"{row['system']}:{scope}{row['job_id']}"
        if row["operation"] == "enqueue":
            if row["outcome"] != "failed":
                enqueued.add((key, "enqueued", row["timestamp"]))
            continue
        told_by_payload = not row["enqueue_span_id"]
        if row["enqueued_at"] is not None and (told_by_payload or row["enqueued_at_source"] == "enqueue_span"):
            enqueued.add((key, "enqueued", row["enqueued_at"]))
        end = row["outcome"] if row["outcome"] in {*FAILED, "discarded"} else "completed"
        events += [(key, "started", row["timestamp"]), (key, end, row["timestamp"] + row["duration"])]
    return sorted([*events, *enqueued])


async def test_events_equal_the_slow_twin(start: Start, store: Store, database: str) -> None:
    """Scenario: enqueues and executions of a few jobs in two systems. Guarantees: every event of every job, once."""
    rows = many_rows(3)
    exporter = await start()
    await exporter.export(jobs_batch(rows))

    found = store.rows(f"SELECT JobKey, Event, toUnixTimestamp64Nano(EventTime) AS at FROM {database}.job_events")

    assert sorted((row["JobKey"], row["Event"], row["at"]) for row in found) == events_of(rows)


def a_life() -> list[Row]:
    """Return a job that is enqueued, fails, is retried by a clock of its own, and succeeds."""
    job = {"job_id": "7", "system": "sidekiq", "job_class": "Mail"}
    return [
        job_row(**job, operation="enqueue", timestamp=NOON, span_id="e" * 16),
        job_row(
            **job,
            timestamp=NOON + 2 * SECOND,
            duration=SECOND,
            outcome="retried",
            attempt_inferred=1,
            enqueued_at=NOON + 5,  # the payload's own clock says it a little later than the enqueue span
            enqueued_at_source="event:enqueued_at",
            enqueue_span_id="e" * 16,
            error_type="Timeout",
            error_message="late",
        ),
        job_row(
            **job,
            timestamp=NOON + 20 * SECOND,
            duration=4 * SECOND,
            attempt_inferred=2,
            enqueued_at=NOON + 13 * SECOND,
            enqueued_at_source="event:enqueued_at",
        ),
    ]


async def test_a_life_in_events(start: Start, store: Store, database: str) -> None:
    """Scenario: enqueued, failed, waiting to be retried, enqueued again by a scheduler without span, done.

    Guarantees: each event once, in order, with its attempt; only the failure has the error; the query of the
    exporter's page gives the time in each state.
    """
    rows = a_life()
    exporter = await start()
    await exporter.export(jobs_batch(rows))

    events = store.rows(
        "SELECT toString(Event) AS event, intDiv(toUnixTimestamp64Nano(EventTime) - "
        f"{NOON}, {SECOND}) AS second, Attempt, ErrorType FROM {database}.job_events "
        "WHERE JobId = '7' ORDER BY EventTime, Event"
    )
    (documented,) = re.findall(r"```sql\n(SELECT JobKey, State.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    states = store.rows(documented.replace("job_events", f"{database}.job_events").replace("7d3cf3f5", "7"))

    assert [tuple(event.values()) for event in events] == [
        ("enqueued", 0, None, ""),
        ("started", 2, 1, ""),
        ("retried", 3, 1, "Timeout"),
        ("enqueued", 13, 2, ""),
        ("started", 20, 2, ""),
        ("completed", 24, 2, ""),
    ]
    assert {row["State"]: row["Seconds"] for row in states} == {
        "enqueued": 9,
        "started": 5,
        "retried": 10,
        "completed": 0,
    }


async def test_an_enqueue_told_twice_is_one_event(start: Start, store: Store, database: str) -> None:
    """Scenario: the execution took its time from the enqueue span, whose row is there; and one whose row is not.

    Guarantees: one event each, for jobs enqueued in bulk, too, whose enqueue row has no job id.
    """
    found_row = job_row(job_id="1", operation="enqueue", timestamp=NOON)
    told = {"enqueued_at": NOON, "enqueued_at_source": "enqueue_span", "timestamp": NOON + SECOND}
    bulk = job_row(job_id=None, operation="enqueue", batch_count=2, timestamp=NOON)
    exporter = await start()
    await exporter.export(
        jobs_batch(
            [
                found_row,
                job_row(job_id="1", enqueue_span_id=found_row["span_id"], **told),
                bulk,
                job_row(job_id="2", enqueue_span_id=bulk["span_id"], **told),
            ]
        )
    )

    found = store.rows(f"SELECT JobId, count() AS n FROM {database}.job_events WHERE Event = 'enqueued' GROUP BY JobId")

    assert sorted(row["JobId"] for row in found) == ["1", "2"]
    assert {row["n"] for row in found} == {1}
