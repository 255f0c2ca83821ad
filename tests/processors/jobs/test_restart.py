"""The state that survives a restart, and what a restart may not change."""

from __future__ import annotations

from pathlib import Path
from random import Random

import orjson
import pytest

from pipeline import ComponentId, Kind, Receipt, otlp
from processors.jobs import JobsConfig, JobsProcessor
from tests.processors.jobs.telling import Log, Span, Told, raised, without_version
from tests.processors.jobs.test_fixtures import SCENARIOS, batches, check, latest, named, requests

RUN = {"celery.action": "run", "celery.task_name": "t", "messaging.message.id": "j"}
SEND = RUN | {"celery.action": "apply_async"}


def processor() -> JobsProcessor:
    return JobsProcessor(JobsConfig(), ComponentId("jobs"))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=named)
def test_a_restart_after_each_request_changes_nothing(scenario: Path) -> None:
    """Scenario: the shuffled requests of a fixture, each to a new process that restored the state of the one before.

    Guarantees: exactly the expected rows in the end.
    """
    jobs, rows = processor(), []
    incoming = batches(scenario)
    Random(7).shuffle(incoming)

    for batch in incoming:
        rows += [row for out in jobs.process(batch) if out.kind is Kind.JOBS for row in out.table.to_pylist()]
        state = jobs.state()
        jobs = processor()
        jobs.restore(state)

    check(scenario, latest(rows))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=named)
def test_edges_and_null_fields_are_as_expected(scenario: Path) -> None:
    """Scenario: all requests of a fixture, decoded together, logs before spans.

    Guarantees: each row is written once; the parent-child edges, class and id, are those of the fixture; a field that
    `expected.json` leaves out is null.
    """
    jobs, rows = processor(), []
    for signal in sorted({signal for signal, _ in requests(scenario)}):
        bodies = [body for of, body in requests(scenario) if of is signal]
        for out in jobs.process(otlp.decode(signal, bodies).batch(Receipt.issue("all"))):
            rows += out.table.to_pylist() if out.kind is Kind.JOBS else []
    expected = orjson.loads((scenario / "expected.json").read_bytes())

    assert len(rows) == len(expected["jobs"])
    assert {
        (row["parent_job_id"], row["job_id"], row["parent_job_class"], row["job_class"])
        for row in rows
        if row["parent_job_id"] is not None
    } == {(edge["parent"], edge["child"], edge["parent_class"], edge["child_class"]) for edge in expected["edges"]}
    optional: tuple[str, ...] = (
        "adapter",
        "provider_job_id",
        "outcome_source",
        "batch_count",
        "max_attempts",
        "scheduled_for",
    )
    optional += ("enqueue_span_id", "error_type", "error_message", "error_source", "flow_parent_job_id", "batch_id")
    wanted = {(row["trace_id"], row["span_id"]): row for row in expected["jobs"]}
    for row in rows:
        job = wanted[row["trace_id"], row["span_id"]]
        absent = [field for field in optional if field not in job and f"{field}_ns" not in job]
        assert {field: row[field] for field in absent} == dict.fromkeys(absent)


def test_evidence_after_a_restart_changes_rows_from_before() -> None:
    """Scenario: an execution fails, the process restarts, a log and a second execution come.

    Guarantees: the first row is written again, with a higher version, with the log's error and as retried.
    """
    told = Told().tell(
        Span(1, "s", "producer", SEND), Span(2, "r", "consumer", RUN | {"celery.state": "FAILURE"}, parent=1, start=5)
    )
    before = told.row(2)["version"]

    told.restart().tell(Log(2, {"exception.type": "Oops", "exception.message": "no"}))
    told.restart().tell(Span(3, "r", "consumer", RUN | {"celery.state": "SUCCESS"}, trace=2, start=50))

    row = told.row(2)
    assert (row["outcome"], row["outcome_source"]) == ("retried", "later_attempt")
    assert (row["error_type"], row["error_source"]) == ("Oops", "log_record")
    assert row["version"] > before
    assert told.row(3, trace=2)["attempt_inferred"] == 2


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_snapshot_stays_as_it_was(forgotten: bool) -> None:
    """Scenario: after a snapshot the window outgrows its arrays, changes and forgets rows; then it is written down.

    The window has forgotten rows that are still there, or none. Guarantees: the bytes are those of the moment when the
    snapshot was taken.
    """
    told = Told(window=100).tell(Span(1, "s", "producer", SEND | {"messaging.message.id": "old"}))
    list(told.processor.tick(0))
    told.tell(*(Span(n, "s", "producer", SEND | {"messaging.message.id": f"{n}"}, parent=999) for n in range(2, 9)))
    list(told.processor.tick(50))
    if forgotten:
        list(told.processor.tick(101))
    told.tell(Span(999, "web"))
    snapshot, then = told.processor.snapshot(), told.processor.state()

    told.tell(*(Span(n, "x", "producer", SEND | {"messaging.message.id": f"{n}"}) for n in range(1000, 3000)))
    told.tell(Span(20, "r", "consumer", RUN | {"celery.state": "FAILURE", "messaging.message.id": "2"}, start=90))
    list(told.processor.tick(151))
    assert told.processor.state() != then

    assert bytes(snapshot()) == then


def test_conventions_may_change_over_a_restart() -> None:
    """Scenario: the state knows a convention of the user's that the new configuration has not.

    Guarantees: its rows are left out, all others are known as before.
    """
    own = {
        "name": "own",
        "match": {"attributes": {"own.id": True}},
        "process": {"span_kind": "consumer"},
        "fields": {"job_id": "own.id"},
    }
    told = Told(conventions=[own]).tell(
        Span(1, "o", "consumer", {"own.id": "a"}), Span(2, "s", "producer", SEND), Span(3, "parent of 9", parent=2)
    )
    state = told.processor.state()
    told.processor = processor()
    told.processor.restore(state)

    told.tell(Span(4, "r", "consumer", RUN | {"celery.state": "SUCCESS"}, parent=3, start=9))

    assert told.row(4)["enqueue_span_id"] == f"{2:016x}"
    assert told.row(1)["system"] == "own"


@pytest.mark.parametrize("state", [b"", b"\x05\0\0\0\0\0\0\0hello", b"\xff" * 20, b"\x02\0\0\0\0\0\0\0{}"])
def test_other_bytes_are_refused(state: bytes) -> None:
    """Scenario: bytes that are no state, cut ones among them. Guarantees: a ValueError that says so."""
    with pytest.raises(ValueError, match="not a saved state of processor jobs"):
        processor().restore(state)


def test_state_of_an_error_survives() -> None:
    """Scenario: a failure with a stack, a restart, and the enqueue that comes late.

    Guarantees: the rewritten row has all texts, resource attributes included.
    """
    span = Span(
        2, "r", "consumer", RUN | {"celery.state": "FAILURE"}, parent=1, start=9, events=[raised("E", "m", "stack")]
    )
    told = Told().tell(span)
    once = without_version(told.table.rows)

    told.restart().tell(Span(1, "s", "producer", SEND))

    row = told.row(2)
    assert (row["error_type"], row["error_message"], row["exception_stacktrace"]) == ("E", "m", "stack")
    assert row["queue_latency"] == 9_000_000
    assert without_version(told.table.rows) != once
    assert row["host"] == "h"
