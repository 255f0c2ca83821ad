"""The error of a span and that of its job row are one: `jobs` and `error_type` read and cut alike."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline import ComponentId, Kind
from processors.error_type import ErrorType
from processors.error_type.config import ErrorTypeConfig
from tests.processors.error_type.traces import TRACES, Trace
from tests.processors.jobs.senders import celery, message, run
from tests.processors.jobs.telling import Event, Span, Told, raised, spans_batch

HUGE = 300_000
FIELDS = ("type", "category", "transient", "fingerprint")


def both_errors(span: Span, **config: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the error that `error_type` finds on a span, and the one it finds in the span's job row."""
    error_type = ErrorType(ErrorTypeConfig.model_validate(config), ComponentId("error_type"))
    found = {}
    for batch in Told().processor.process(spans_batch([span])):
        (out,) = error_type.process(batch)
        (row,) = out.table.to_pylist()
        if out.kind is Kind.JOBS:
            found["job"] = {name: row[f"error_{name}"] for name in FIELDS}
        else:
            values = {pair["key"]: pair["value"] for pair in row["attributes"]}
            texts = {key: next(v for v in value.values() if v is not None) for key, value in values.items()}
            found["span"] = {
                "type": texts.get("error.type"),
                **{name: texts.get(f"job.error.{name}") for name in FIELDS[1:]},
            }
    return found["span"], found["job"]


def long_stack(trace: Trace) -> str:
    """Return the stack with every frame that is not at an end many times."""
    lines = trace.text.split("\n")
    frame = next(number for number, line in enumerate(lines) if line.startswith(("\t", " ", "#")))
    # a frame may be two lines
    return "\n".join([*lines[:frame], *lines[frame : frame + 2] * (HUGE // 80), *lines[frame + 2 :]])


def variants(trace: Trace) -> dict[str, tuple[str, str, str]]:
    said, stack = trace.messages[0], trace.text
    many = "\n".join([*stack.split("\n")[:-1], ""]) * (HUGE // len(stack))
    huge = (said or "m") + "é" * HUGE
    return {
        "as it is": (trace.types[0], said, stack),
        "huge stack": (trace.types[0], said, long_stack(trace)),
        "many stacks": (trace.types[0], said, many),
        "huge message": (trace.types[0], huge, stack),
        "huge message in the stack": (trace.types[0], huge, stack.replace(said, huge, 1) if said else stack),
        "huge message in a huge stack": (
            trace.types[0], huge, long_stack(trace).replace(said, huge, 1) if said else many,
        ),
        "message of many lines": (trace.types[0], "é\n" * HUGE, stack.replace(said or "\0", "é\n" * HUGE, 1)),
        "no type": ("", said, long_stack(trace)),
        "a stack alone": ("", "", long_stack(trace)),
        "huge type": ("T" * HUGE, said, stack),
    }  # fmt: skip


@pytest.mark.parametrize("config", [{}, {"max_message_bytes": 300, "max_stacktrace_bytes": 1000, "cause": "innermost"}])
@pytest.mark.parametrize("trace", TRACES, ids=lambda trace: trace.name)
def test_huge_errors_of_span_and_job_have_one_fingerprint(trace: Trace, config: dict[str, Any]) -> None:
    """Scenario: stacks of all formats, with huge messages, stacks and types; `error_type` with smaller limits, too.

    Guarantees: the span and its job row have the same type, category and fingerprint.
    """
    for name, (type_, said, stack) in variants(trace).items():
        span, job = both_errors(run(1, "a", "FAILURE", status="error", events=[raised(type_, said, stack)]), **config)

        assert job["fingerprint"] is not None, name
        assert span == job, name


SOURCES = {
    "an event and all the rest": run(
        1, state="FAILURE", status="error", message="ValueError: x", events=[raised("E", "m"), raised("KeyError", "k")]
    ),
    "an event without a message": run(
        1, state="FAILURE", status="error", message="ValueError: x", events=[raised("E")]
    ),
    "bullmq": Span(
        1, "p", "consumer", {"bullmq.queue.operation": "process", "error.type": "T"},
        events=[Event("job failed", 0, {"bullmq.job.failed.reason": "connection refused"})],
    ),
    "celery's retry": Span(1, "r", "consumer", celery(
        "run", state="RETRY", **{"retry.reason": "Retry in 1s: ConnectionError('it\\'s\\nrefused')"}
    )),
    "celery's empty retry": Span(1, "r", "consumer", celery("run", state="RETRY", **{"retry.reason": "Retry: E()"})),
    "taskiq's retry": Span(1, "p", "consumer", {"taskiq.action": "execute", "taskiq.retry.reason": "busy"}),
    "error.type": Span(
        1, "p", "consumer", {**message("sidekiq"), "error.type": "504"}, status="error", message="ValueError: x"
    ),
    "ruby's status": Span(
        1, "p", "consumer", message("sidekiq"), status="error", message="Unhandled exception of type: Net::ReadTimeout"
    ),
    "python's status": run(1, state="FAILURE", status="error", message="app.Oops: card 5 declined"),
    "a status that looks like it": run(1, state="FAILURE", status="error", message="Order: 5 is missing"),
    "nothing": run(1, state="FAILURE", status="error"),
    "an error type that is a list": Span(
        1, "p", "consumer", {**message("sidekiq"), "error.type": ["A", "B"]}, status="error"
    ),
    "an error type that is a number": run(
        1, state="FAILURE", status="error", events=[Event("exception", 0, {"exception.type": 429})]
    ),
    "an error type that is a truth value": run(
        1, state="FAILURE", status="error",
        events=[Event("exception", 0, {"exception.type": True, "exception.message": 1.5})],
    ),
    "an empty error type": Span(
        1, "p", "consumer", {**message("sidekiq"), "error.type": ""}, status="error", message="late"
    ),
}  # fmt: skip


@pytest.mark.parametrize("source", SOURCES)
def test_span_and_job_read_the_same_source(source: str) -> None:
    """Scenario: errors told in every way, more than one way at a time, and types that are no text.

    Guarantees: what `error_type` makes of the span is what it makes of the job row, but for an `error.type` that
    stays on the span as it was sent.
    """
    span, job = both_errors(SOURCES[source])

    assert {name: span[name] for name in FIELDS[1:]} == {name: job[name] for name in FIELDS[1:]}
    if "error.type" not in SOURCES[source].attributes:
        assert span["type"] == job["type"]
