"""How each system says that an execution ended (job-conventions, section 4.3)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.processors.jobs.senders import Attributes, celery, message, run
from tests.processors.jobs.telling import Event, Span, Told, raised


def bullmq(id_: int, operation: str, **how: Any) -> Span:
    values = {"bullmq.queue.operation": operation, "bullmq.queue.name": "q", "bullmq.job.id": "1"}
    return Span(id_, f"{operation} q", "consumer" if operation == "process" else "internal", values, **how)


def river(**values: str | bool) -> Span:
    return Span(1, "river.work", "consumer", {"id": 1, **values}, scope="x/otelriver", status="unset")


def laravel(**values: bool) -> Attributes:
    return {"messaging.message.job_name": "J", **{f"messaging.message.{key}": value for key, value in values.items()}}


FAILED = Event("job failed", 0, {"bullmq.job.failed.reason": "why"})

OUTCOMES: list[tuple[str, list[Span], str]] = [
    ("celery SUCCESS", [run(1, state="SUCCESS")], "succeeded"),
    ("celery FAILURE", [run(1, state="FAILURE")], "failed"),
    ("celery RETRY, unset", [run(1, state="RETRY")], "retried"),
    ("celery REJECTED", [run(1, state="REJECTED")], "discarded"),
    ("celery IGNORED", [run(1, state="IGNORED")], "discarded"),
    ("celery killed", [Span(1, "run", "consumer", celery("run"))], "unknown"),
    ("taskiq", [Span(1, "x", "consumer", {"taskiq.action": "execute"})], "succeeded"),
    ("taskiq, error", [Span(1, "x", "consumer", {"taskiq.action": "execute"}, status="error")], "failed"),
    (
        "taskiq, sent again below",
        [
            Span(0x9, "send", "producer", {"taskiq.action": "send", "messaging.message.id": "t"}),
            Span(1, "x", "consumer", {"taskiq.action": "execute", "taskiq.retry.reason": "r"}, parent=9, start=1),
            Span(2, "send", "producer", {"taskiq.action": "send", "messaging.message.id": "t"}, parent=1, start=2),
        ],
        "retried",
    ),
    ("remoulade", [Span(1, "x", "consumer", {"remoulade.action": "run"}, status="ok")], "unknown"),
    (
        "remoulade, sent again below",
        [
            Span(1, "x", "consumer", {"remoulade.action": "run", "messaging.message.id": "m"}),
            Span(2, "x", "producer", {"remoulade.action": "send", "messaging.message.id": "m"}, parent=1),
        ],
        "retried",
    ),
    ("dramatiq", [Span(1, "x", "consumer", {"actor_name": "a"}, scope="dramatiq", status="ok")], "unknown"),
    ("dramatiq broke", [Span(1, "x", "consumer", {"actor_name": "a"}, scope="dramatiq", status="error")], "failed"),
    ("pgqueuer", [Span(1, "x", "consumer", message("pgqueuer"), status="ok")], "unknown"),
    ("arq", [Span(1, "x", "server", {"arq.job.name": "a"}, status="ok")], "succeeded"),
    ("arq, error", [Span(1, "x", "server", {"arq.job.name": "a"}, status="error", events=[raised("E")])], "failed"),
    (
        "arq, Retry",
        [Span(1, "x", "server", {"arq.job.name": "a"}, status="error", events=[raised("arq.worker.Retry")])],
        "retried",
    ),
    ("bullmq", [bullmq(1, "process")], "succeeded"),
    ("bullmq, failed, unset", [bullmq(1, "process", events=[FAILED])], "failed"),
    ("bullmq, fail", [bullmq(1, "process"), bullmq(2, "fail", parent=1)], "failed"),
    ("bullmq, delay", [bullmq(1, "process", events=[FAILED]), bullmq(2, "delay", parent=1)], "retried"),
    ("bullmq, retry", [bullmq(1, "process", events=[FAILED]), bullmq(2, "retry", parent=1)], "retried"),
    ("laravel", [Span(1, "process q", "consumer", laravel(released=True))], "succeeded"),
    ("laravel, error", [Span(1, "process q", "consumer", laravel(released=False), status="error")], "failed"),
    ("laravel, released", [Span(1, "process q", "consumer", laravel(released=True), status="error")], "retried"),
    ("river ok", [river(status="ok")], "succeeded"),
    ("river error", [river(status="error")], "failed"),
    ("river panic", [river(status="panic")], "failed"),
    ("river snooze", [river(status="ok", snooze=True)], "retried"),
    ("river cancel", [river(status="error", cancel=True)], "discarded"),
    ("others", [Span(1, "x", "consumer", message("sidekiq"), status="unset")], "succeeded"),
    ("others, error", [Span(1, "x", "consumer", message("sidekiq"), status="error")], "failed"),
]


@pytest.mark.parametrize(("spans", "outcome"), [case[1:] for case in OUTCOMES], ids=[case[0] for case in OUTCOMES])
def test_outcomes_of_each_system(spans: list[Span], outcome: str) -> None:
    """Scenario: an execution and its helpers, in both orders. Guarantees: the outcome of section 4.3."""
    for order in (spans, spans[::-1]):
        told = Told()
        for span in order:
            told.tell(span)
        assert told.row(1)["outcome"] == outcome


def test_an_unknown_end_that_is_followed_was_a_failure() -> None:
    """Scenario: dramatiq runs a message twice; neither span says how it ended. Guarantees: the first was retried."""
    job = {"actor_name": "a", "message_id": "m"}
    told = Told().tell(*(Span(n, "x", "consumer", job, scope="dramatiq", start=n, trace=n) for n in (1, 2)))

    assert [row["outcome"] for row in told.rows] == ["retried", "unknown"]
