"""Where each system keeps each field (job-conventions, section 3): the first source counts, counts begin at 1."""

from __future__ import annotations

from typing import Any

import pytest

from tests.processors.jobs.senders import Attributes, message
from tests.processors.jobs.telling import EPOCH_NS, Span, Told

ISO = "2026-11-21T22:26:41.500000Z"
"""A second and a half after the epoch of these tests."""

S, MS = 10**9, 10**6
PID: dict[str, Any] = {"host.name": "h", "process.pid": 7}
SPRING = {"code.namespace": "a.B", "code.function": "c"}


def execution(values: Attributes, name: str = "x", kind: str = "consumer", scope: str = "s", **how: Any) -> Span:
    return Span(1, name, kind, values, scope=scope, resource=PID, start=5000, **how)


def enqueue(values: Attributes, name: str = "x", kind: str = "producer", scope: str = "s") -> Span:
    return Span(1, name, kind, values, scope=scope, resource=PID, start=0)


FIELDS: list[tuple[str, Span, dict[str, Any]]] = [
    (
        "celery", execution({
            "celery.action": "run", "celery.task_name": "t", "messaging.destination": "q",
            "messaging.message_id": "old", "messaging.message.id": "new", "celery.retries": 2, "celery.eta": ISO,
            "celery.hostname": "gen1@producer",
        }),
        {"job_class": "t", "queue": "q", "job_id": "new", "attempt": 3, "worker_id": "h:7"},
    ),
    ("celery, first", execution({"celery.action": "run"}), {"attempt": 1, "outcome": "unknown"}),
    ("celery, due", enqueue({"celery.action": "apply_async", "celery.eta": ISO}), {
        "scheduled_for": EPOCH_NS + 1500 * MS, "outcome": "scheduled", "attempt": None, "worker_id": None,
    }),
    ("rq", execution({
        "rq.job.id": "r", "rq.job.function": "f", "messaging.destination.name": "q",
        "messaging.consumer.group.name": "w", "messaging.client.id": "host", "messaging.system": "Python RQ",
    }), {"job_class": "f", "queue": "q", "job_id": "r", "worker_id": "w", "system": "rq"}),
    ("taskiq, failed", execution({
        "taskiq.action": "execute", "taskiq.task_name": "t", "taskiq._retries": 2, "taskiq.retry.reason": "busy",
        "taskiq.max_retries": 3, "taskiq.retry_on_error": "True",
    }), {"job_class": "t", "attempt": 2, "max_attempts": 3, "outcome": "failed"}),
    ("taskiq", execution({
        "taskiq.action": "execute", "taskiq._retries": "2", "taskiq.max_retries": 3, "taskiq.retry_on_error": "False",
    }), {"attempt": 3, "max_attempts": None}),
    ("taskiq, sent again", enqueue({"taskiq.action": "send", "taskiq._retries": "1"}), {
        "is_retry_enqueue": True, "attempt": None,
    }),
    ("remoulade", execution({
        "remoulade.action": "run", "remoulade.actor_name": "a", "remoulade.retry_count": 1, "messaging.message.id": "m",
    }), {"job_class": "a", "attempt": 2, "job_id": "m", "outcome": "unknown"}),
    ("dramatiq", execution({"actor_name": "a", "message_id": "m"}, scope="dramatiq"), {
        "job_class": "a", "job_id": "m", "outcome": "unknown", "attempt": None,
    }),
    ("arq", execution({
        "arq.job.name": "a", "arq.job.id": "i", "arq.job.try": 2, "arq.job.score": EPOCH_NS // MS + 4000,
    }, kind="server"), {
        "job_class": "a", "job_id": "i", "attempt": 2, "queue_latency": S,
        "enqueued_at_source": "attribute:arq.job.score",
    }),
    ("bullmq", execution({
        "bullmq.queue.operation": "process", "bullmq.job.name": "n", "bullmq.queue.name": "q",
        "bullmq.job.id": f"repeat:x:{EPOCH_NS // MS + 3000}", "bullmq.job.attempts.made": 1, "bullmq.worker.id": "w",
        "bullmq.worker.name": "named", "bullmq.job.failedReason": "of the attempt before",
    }), {"job_class": "n", "queue": "q", "attempt": 1, "worker_id": "w", "queue_latency": 2 * S,
        "error_message": None}),
    ("bullmq, by name", enqueue({"bullmq.queue.operation": "add", "bullmq.job.id": 4}, name="add video.shrink.hd"), {
        "job_class": "shrink.hd", "job_id": "4",
    }),
    ("appsignal", execution(message(
        "bullmq", messaging__operation__name="Worker.run", messaging__bullmq__job__name="n",
        messaging__destination__name="q", messaging__message__id="1", messaging__bullmq__job__attempts=0,
        messaging__bullmq__job__opts__attempts=0, messaging__bullmq__job__timestamp=EPOCH_NS // MS,
        messaging__bullmq__job__delay=2000, messaging__client__id="q",
    )), {
        "job_class": "n", "queue": "q", "job_id": "1", "attempt": 1, "max_attempts": 1, "queue_latency": 3 * S,
        "enqueued_at_source": "attribute:messaging.bullmq.job.timestamp", "worker_id": "h:7",
    }),
    ("active_job", execution(message(
        "active_job", code__namespace="J", messaging__destination="q", messaging__message__id="a",
        messaging__active_job__adapter__name="sidekiq", messaging__active_job__message__provider_job_id="s",
    )), {"adapter": "sidekiq", "job_class": "J", "queue": "q", "job_id": "a", "provider_job_id": "s", "attempt": None}),
    ("active_job before 0.7", execution(message(
        "async", messaging__active_job__executions=2, messaging__message_id="a",
        messaging__active_job__scheduled_at=EPOCH_NS / S + 3,
    )), {"system": "active_job", "adapter": "async", "attempt": 2, "job_id": "a"}),
    ("sidekiq", execution(message(
        "sidekiq", messaging__sidekiq__job_class="J", messaging__destination="q", messaging__message_id="s",
    )), {"job_class": "J", "queue": "q", "job_id": "s", "attempt": None}),
    ("resque", execution(message("resque", messaging__resque__job_class="J", messaging__destination="q")), {
        "job_class": "J", "queue": "q", "job_id": None,
    }),
    ("delayed_job", execution(message(
        "delayed_job", messaging__delayed_job__name="J", messaging__destination="q", messaging__message_id="7",
        messaging__delayed_job__attempts=1, messaging__delayed_job__locked_by="host:h pid:1",
    )), {"job_class": "J", "queue": "q", "job_id": "7", "attempt": 2, "worker_id": "host:h pid:1"}),
    ("que", execution(message(
        "que", messaging__que__job_class="J", messaging__destination="q", messaging__message_id=12,
        messaging__que__attempts=0,
    )), {"job_class": "J", "queue": "q", "job_id": "12", "attempt": 1}),
    ("oban", execution(message(
        "oban", oban__job__worker="W", messaging__destination__name="q", oban__job__queue="other", oban__job__job_id=9,
        messaging__message__id=8, oban__job__attempt=2, oban__job__max_attempts=20, oban__job__inserted_at=ISO,
        oban__job__scheduled_at=ISO, oban__job__queue_time_us=2500, messaging__client__id="W",
        oban__job__workflow_id="flow",
    )), {
        "job_class": "W", "queue": "q", "job_id": "9", "attempt": 2, "max_attempts": 20, "queue_latency": 2500 * 1000,
        "enqueued_at": EPOCH_NS + 1500 * MS, "worker_id": "h:7", "batch_id": "flow",
    }),
    ("river", execution({
        "kind": "k", "queue": "q", "id": 5, "attempt": 2, "created_at": ISO, "scheduled_at": ISO, "status": "ok",
    }, name="river.work/k", scope="github.com/riverqueue/rivercontrib/otelriver"), {
        "job_class": "k", "queue": "q", "job_id": "5", "attempt": 2, "queue_latency": 3500 * MS,
    }),
    ("river, many", enqueue({"kinds": ["k", "k"]}, name="river.insert_many", scope="x/otelriver"), {
        "job_class": "k", "job_id": None,
    }),
    ("river, mixed", enqueue({"kinds": ["k", "l"]}, name="river.insert_many", scope="x/otelriver"), {
        "job_class": None,
    }),
    ("hangfire", execution(
        {"job.id": 3, "job.createdat": "2026-11-21T22:26:41.5000000Z"}, name="JOB A.Run", kind="internal",
        scope="OpenTelemetry.Instrumentation.Hangfire",
    ), {"job_class": "A.Run", "job_id": "3", "queue_latency": 3500 * MS}),
    ("laravel", execution(message(
        "redis", messaging__message__job_name="J", messaging__destination__name="queues:q", messaging__message__id="l",
        messaging__message__attempts=1, messaging__message__max_tries=4,
        messaging__message__delivery_timestamp=EPOCH_NS // S,
    ), name="process queues:q"), {
        "system": "laravel", "job_class": "J", "queue": "queues:q", "job_id": "l", "attempt": 2, "max_attempts": 4,
    }),
    ("docket", execution({
        "docket.task": "t", "docket.name": "d", "docket.key": "k", "docket.attempt": 2, "docket.when": ISO,
        "docket.worker": "w", "code.function.name": "m.t",
    }), {
        "job_class": "t", "queue": "d", "job_id": "k", "attempt": 2, "worker_id": "w", "queue_latency": 3500 * MS,
        "enqueued_at_source": "attribute:docket.when",
    }),
    ("pgqueuer", execution(message("pgqueuer", messaging__destination__name="entry", messaging__message__id=4)), {
        "job_class": "entry", "queue": "entry", "job_id": "4", "outcome": "unknown",
    }),
    ("quartz, java", execution({"code.function.name": "a.B.execute"}, kind="internal", scope="io.x.quartz-2.0"), {
        "job_class": "a.B", "job_id": None,
    }),
    ("quartz, java, old", execution(SPRING, kind="internal", scope="io.x.quartz-2.0"), {"job_class": "a.B"}),
    ("quartz, .net", execution({"job.name": "n"}, name="execute n", kind="internal", scope="x.Quartz"), {
        "job_class": "n", "outcome": "succeeded",
    }),
    ("quartz, veto", execution({"job.name": "n"}, name="veto n", kind="internal", scope="x.Quartz"), {
        "outcome": "discarded",
    }),
    ("spring", execution(SPRING, kind="internal", scope="io.x.spring-scheduling-3.1"), {
        "job_class": "a.B.c", "attempt_inferred": 1,
    }),
    ("powerjob", execution(
        {**SPRING, "scheduling.powerjob.job.id": 6}, kind="internal", scope="io.x.powerjob-4.0",
    ), {"job_class": "a.B.c", "job_id": "6"}),
    ("symfony", execution({"symfony.messenger.message": "M", "symfony.messenger.transport": "t"}), {
        "job_class": "M", "queue": "t",
    }),
    ("temporal", execution(
        {"temporalWorkflowID": "w", "temporalActivityID": "3", "temporalActivityType": "other"}, name="RunActivity:Pay",
        kind="server",
    ), {"job_class": "Pay", "job_id": "w/3"}),
    ("temporal, javascript", execution({"temporalWorkflowId": "w"}, name="RunWorkflow:Ship", kind="server"), {
        "job_class": "Ship", "job_id": "w",
    }),
    ("sentry", execution({
        "sentry.op": "queue.process", "messaging.system": "celery", "messaging.destination.name": "q",
        "messaging.message.id": "m", "messaging.message.retry.count": 2, "messaging.message.receive.latency": 1.5,
    }, name="t"), {"job_class": "t", "queue": "q", "job_id": "m", "attempt": 3, "queue_latency": 1500 * 1000}),
    ("by hand", execution(message(
        "rabbitmq", messaging__operation__type="process", code__function__name="f", job__name="other", job__queue="q",
        job__id="i", job__attempt=2, job__retry_count=7, job__max_attempts=5, job__enqueued_at=ISO, worker__id="w",
    )), {
        "job_class": "f", "queue": "q", "job_id": "i", "attempt": 2, "max_attempts": 5, "worker_id": "w",
        "queue_latency": 3500 * MS, "enqueued_at_source": "attribute:job.enqueued_at",
    }),
    ("by hand, counts of retries", execution(message(
        "x", messaging__operation="process", retry_count=1, workflow__task__name="w", worker_id="w2",
        messaging__destination="old", messaging__destination__name="new",
    )), {"job_class": "w", "attempt": 2, "worker_id": "w2", "queue": "new"}),
    ("by hand, no more than a name", execution(message("x", messaging__operation="process"), name="do it"), {
        "job_class": "do it", "worker_id": "h:7", "attempt": None, "queue_latency": None,
    }),
]  # fmt: skip


@pytest.mark.parametrize(("span", "expected"), [case[1:] for case in FIELDS], ids=[case[0] for case in FIELDS])
def test_fields_of_each_system(span: Span, expected: dict[str, Any]) -> None:
    """Scenario: a span as each instrumentation writes it, misleading attributes beside. Guarantees: section 3's row."""
    (row,) = Told().tell(span).rows

    assert {name: row[name] for name in expected} == expected


def test_a_worker_without_a_process_is_its_instance() -> None:
    """Scenario: the resource names neither host nor process. Guarantees: worker_id is service.instance.id."""
    span = Span(1, "x", "consumer", {"celery.action": "run"}, resource={"service.instance.id": "i-1"})

    assert Told().tell(span).row(1)["worker_id"] == "i-1"
