"""What no instrumentation should send: rows all the same, as the page says (docs/processors/jobs.md, Bad input)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.processors.jobs.senders import celery, message, run, send
from tests.processors.jobs.telling import Event, Log, Span, Told, Value, raised, span_hex, without_version

TYPES: list[tuple[Value, str]] = [
    (429, "429"),
    (True, "true"),
    (1.5, "1.5"),
    (["A", "B"], '["A","B"]'),
    ({"name": "A"}, '{"name":"A"}'),
]


@pytest.mark.parametrize(("sent", "read"), TYPES)
def test_error_types_that_are_no_text(sent: Value, read: str) -> None:
    """Scenario: types and messages are numbers, truth values, lists, maps, in an event, an attribute, a log record.

    Guarantees: rows have them as text.
    """
    event = Event("exception", 0, {"exception.type": sent, "exception.message": sent})
    told = Told().tell(
        run(1, "a", "FAILURE", events=[event]),
        Span(2, "p", "consumer", {**message("sidekiq"), "error.type": sent}, status="error"),
        run(3, "c", "FAILURE"),
        Log(3, {"exception.type": sent, "exception.message": sent}),
    )

    assert [(told.row(n)["error_type"], told.row(n)["error_message"]) for n in (1, 2, 3)] == [
        (read, read),
        (read, None),
        (read, read),
    ]


def test_the_newer_of_two_spellings_counts() -> None:
    """Scenario: one span with old and new names that contradict each other. Guarantees: the new ones."""
    names = {"messaging.message.id": "new", "messaging.message_id": "old"}
    queues = {"messaging.destination.name": "new", "messaging.destination": "old"}

    row = Told().tell(Span(1, "p", "consumer", {**message("sidekiq"), **names, **queues})).row(1)

    assert (row["job_id"], row["queue"]) == ("new", "new")


@pytest.mark.parametrize("count", [-3, "-1", "many", 10**12, "", ["1"], 0.5])
def test_counts_that_are_none(count: Any) -> None:
    """Scenario: attempts below 0, too large, or no numbers. Guarantees: null, and the row is written."""
    job = message("que", messaging__message_id=1, messaging__que__attempts=count)

    assert Told().tell(Span(1, "p", "consumer", job)).row(1)["attempt"] is None


def test_a_span_that_ends_before_it_starts() -> None:
    """Scenario: end before start, and no times at all. Guarantees: duration 0."""
    told = Told().tell(run(1, start=10, end=5), send(2, start=-1_795_300_000_000, end=-1_795_300_000_000))

    assert [told.row(n)["duration"] for n in (1, 2)] == [0, 0]


def test_huge_texts_in_many_rows_keep_their_rows() -> None:
    """Scenario: huge, short and absent texts among each other, characters of several bytes. Guarantees: each its own.

    No character is cut in the middle.
    """
    texts = ["short", "é" * 50_000, "", "€" * 50_000, "é" * 50_000]
    told = Told().tell(
        *(run(n, str(n), "FAILURE", events=[raised(f"E{n}", text, text)]) for n, text in enumerate(texts, 1))
    )

    for n, text in enumerate(texts, 1):
        row = told.row(n)
        said = row["error_message"] or ""
        assert row["error_type"] == f"E{n}"
        assert said[:5] == text[:5]
        assert set(said.partition("...")[0]) <= set(text)
        assert len(said.encode()) < 5000
        assert len((row["exception_stacktrace"] or "").encode()) < 40_000
    assert told.row(2)["error_message"] == told.row(5)["error_message"]


@pytest.mark.parametrize("logs_first", [True, False])
@pytest.mark.parametrize("with_event", [True, False])
def test_an_exception_log_is_no_second_failure(logs_first: bool, with_event: bool) -> None:
    """Scenario: an exception as log record, with and without the span's event, before and after the span, twice.

    Guarantees: one row, failed once, with one error; what the record says again changes nothing.
    """
    span = run(1, "a", "FAILURE", events=[raised("E", "m", "stack")] if with_event else [])
    log = Log(1, {"exception.type": "E", "exception.message": "m", "exception.stacktrace": "stack"})
    told = Told()
    for part in (log, span) if logs_first else (span, log):
        told.tell(part)
    before = without_version(told.table.rows)
    told.tell(log)

    (row,) = told.rows
    assert without_version(told.table.rows) == before
    assert (row["error_type"], row["error_message"], row["exception_stacktrace"]) == ("E", "m", "stack")
    assert row["error_source"] == ("span_event" if with_event else "log_record")
    assert row["outcome"] == "failed"


def test_a_stack_alone_is_an_error() -> None:
    """Scenario: an event and a log record that have a stack and nothing else. Guarantees: the rows have it."""
    told = Told().tell(
        run(1, "a", "FAILURE", status="error", message="m", events=[raised("", "", "stack")]),
        run(2, "b", "FAILURE"),
        Log(2, {"exception.stacktrace": "stack"}),
    )

    assert [(row["exception_stacktrace"], row["error_source"]) for row in told.rows] == [
        ("stack", "span_event"),
        ("stack", "log_record"),
    ]


def test_contradictions_between_spans_of_one_job() -> None:
    """Scenario: an execution that is its own parent and link, and two that are each other's parents.

    Guarantees: rows, without parents.
    """
    told = Told().tell(
        run(1, "a", parent=1, links=[(1, 1)]),
        run(2, "b", parent=3),
        Span(3, "s", "consumer", celery("run", "b"), parent=2),
    )

    assert {row["span_id"] for row in told.rows} == {span_hex(n) for n in (1, 2, 3)}
    assert {row["parent_job_id"] for row in told.rows} == {None}
