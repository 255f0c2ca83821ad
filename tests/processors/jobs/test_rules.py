"""The rules of the reference, each on the smallest story that needs it (job-conventions, sections 2-4)."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from tests.processors.jobs.senders import Attributes, celery, message, run, send
from tests.processors.jobs.telling import Event, Log, Span, Told, raised, span_hex, without_version

# recognising

RECOGNISED: list[tuple[Span, str, str]] = [
    (Span(1, "x", "producer", {"celery.action": "apply_async"}), "celery", "enqueue"),
    (Span(1, "publish q", "producer", {"rq.job.id": "1", "messaging.system": "Python RQ"}), "rq", "enqueue"),
    (Span(1, "consume q", "consumer", {"rq.job.id": "1", "messaging.system": "Python RQ"}), "rq", "process"),
    (Span(1, "x", "consumer", {"taskiq.action": "execute"}), "taskiq", "process"),
    (Span(1, "x", "producer", {"remoulade.action": "send"}), "remoulade", "enqueue"),
    (Span(1, "dramatiq.producer.a", "server", {"actor_name": "a"}, scope="x_dramatiq.src"), "dramatiq", "enqueue"),
    (Span(1, "a", "client", {"arq.job.name": "a"}), "arq", "enqueue"),
    (Span(1, "a", "server", {"arq.job.name": "a"}), "arq", "process"),
    (Span(1, "process q", "consumer", {"bullmq.queue.operation": "process"}), "bullmq", "process"),
    (
        Span(1, "x", "producer", message("bullmq", messaging__operation__name="Job.addJob")),
        "bullmq",
        "enqueue",
    ),
    (Span(1, "q publish", "producer", message("active_job")), "active_job", "enqueue"),
    (
        Span(1, "q send", "producer", message("async", messaging__active_job__executions=0)),
        "active_job",
        "enqueue",
    ),
    (Span(1, "q process", "consumer", message("sidekiq")), "sidekiq", "process"),
    (Span(1, "q process", "consumer", message("resque")), "resque", "process"),
    (Span(1, "q process", "consumer", message("delayed_job")), "delayed_job", "process"),
    (Span(1, "C publish", "producer", message("que")), "que", "enqueue"),
    (Span(1, "process q", "consumer", message("oban")), "oban", "process"),
    (Span(1, "river.work/k", "consumer", {"id": 5}, scope="github.com/x/otelriver"), "river", "process"),
    (
        Span(1, "JOB A.B", "internal", {"job.id": "5"}, scope="OpenTelemetry.Instrumentation.Hangfire"),
        "hangfire",
        "process",
    ),
    (Span(1, "process q", "consumer", {"messaging.message.job_name": "J"}), "laravel", "process"),
    (Span(1, "docket.add", "internal", {"docket.task": "t"}), "docket", "enqueue"),
    (Span(1, "t", "consumer", {"docket.task": "t"}), "docket", "process"),
    (Span(1, "create t", "producer", message("pgqueuer")), "pgqueuer", "enqueue"),
    (Span(1, "g.n", "internal", scope="io.opentelemetry.quartz-2.0"), "quartz", "process"),
    (Span(1, "execute j", "internal", scope="OpenTelemetry.Instrumentation.Quartz"), "quartz", "process"),
    (Span(1, "C.m", "internal", scope="io.opentelemetry.xxl-job-2.3"), "xxl_job", "process"),
    (Span(1, "C.m", "internal", scope="io.opentelemetry.powerjob-4.0"), "powerjob", "process"),
    (Span(1, "C.m", "internal", scope="io.opentelemetry.apache-elasticjob-3.0"), "elasticjob", "process"),
    (Span(1, "C.m", "internal", scope="io.opentelemetry.spring-scheduling-3.1"), "spring_scheduling", "process"),
    (Span(1, "BatchJob j", "internal", scope="io.opentelemetry.spring-batch-3.0"), "spring_batch", "process"),
    (Span(1, "x", "producer", {"symfony.messenger.message": "M"}), "symfony_messenger", "enqueue"),
    (Span(1, "RunActivity:a", "server", {"temporalWorkflowID": "w"}), "temporal", "process"),
    (Span(1, "StartWorkflow:w", "client", {"temporalWorkflowId": "w"}), "temporal", "enqueue"),
    (Span(1, "x", "producer", {"sentry.op": "queue.publish", "messaging.system": "redis"}), "redis", "enqueue"),
    (Span(1, "x", "consumer", {"sentry.op": "queue.task.celery"}), "celery", "process"),
    (Span(1, "x", "consumer", message("AWS.SQS", messaging__operation="process")), "aws_sqs", "process"),
    (Span(1, "x", "producer", message("kafka", messaging__operation__type="create")), "kafka", "enqueue"),
    (Span(1, "x", "consumer", message("rabbitmq", messaging__operation="receive")), "rabbitmq", "process"),
]


@pytest.mark.parametrize(("span", "system", "operation"), RECOGNISED)
def test_recognises(span: Span, system: str, operation: str) -> None:
    """Scenario: a span as each instrumentation of section 2 writes it. Guarantees: one row, of that system."""
    (row,) = Told().tell(span).rows

    assert (row["system"], row["operation"]) == (system, operation)


LOOK_ALIKES = [
    Span(1, "GET /", "server", {"http.method": "GET"}),
    Span(1, "close q", "internal", {"bullmq.queue.operation": "close"}),
    Span(1, "Sidekiq::Launcher#heartbeat", "internal", message("sidekiq")),
    Span(1, "receive q", "consumer", message("redis", messaging__message__attempts=0)),
    Span(1, "receive q", "consumer", {"messaging.message.job_name": "J"}),
    Span(1, "x", "client", message("kafka", messaging__operation__type="settle")),
    Span(1, "Plugin process", "internal", message("oban", oban__plugin="P")),
    Span(1, "send t", "client", message("pgqueuer", messaging__operation__type="send")),
    Span(1, "BatchJob j.step.Chunk", "internal", scope="io.opentelemetry.spring-batch-3.0"),
    Span(1, "step C", "internal", message("active_job", messaging__active_job__step__name="s")),
    Span(1, "db", "client", {"sentry.op": "db.query"}),
    Span(1, "a", "consumer", {"actor_name": "a"}, scope="another.library"),
    Span(0, "run/x", "consumer", {"celery.action": "run"}),
]


@pytest.mark.parametrize("span", LOOK_ALIKES)
def test_look_alikes_are_no_rows(span: Span) -> None:
    """Scenario: spans that share attributes with jobs but are none, and one without an id. Guarantees: no row."""
    assert Told().tell(span).rows == []


def test_contradictory_conventions_on_one_span() -> None:
    """Scenario: a span with the marks of three systems. Guarantees: the first in the table judges it, alone."""
    marks = {"celery.action": "run", "celery.task_name": "c", "rq.job.id": "r", "messaging.system": "sidekiq"}

    (row,) = Told().tell(Span(1, "x", "consumer", marks)).rows

    assert (row["system"], row["job_class"], row["job_id"]) == ("celery", "c", None)


def test_missing_class_and_id() -> None:
    """Scenario: executions without class and id, attributes empty. Guarantees: rows with null there, none matched."""
    bare = message("sidekiq", messaging__message_id="", messaging__sidekiq__job_class="")
    told = Told().tell(Span(1, "p", "producer", bare), Span(2, "a", "consumer", bare), Span(3, "b", "consumer", bare))

    for id_ in (2, 3):
        row = told.row(id_)
        assert (row["job_class"], row["job_id"], row["enqueue_span_id"]) == (None, None, None)
        assert row["attempt_inferred"] == 1


def test_values_of_other_types() -> None:
    """Scenario: numbers as text, text as numbers, booleans, arrays where text belongs.

    Guarantees: ids are text, counts numbers; what is no count is null.
    """
    told = Told().tell(
        Span(1, "p", "consumer", {**celery("run"), "messaging.message.id": 17, "celery.retries": "2"}),
        Span(2, "p", "consumer", {**celery("run"), "messaging.message.id": True, "celery.retries": "many"}),
        Span(3, "p", "consumer", {**celery("run"), "messaging.message.id": ["a", "b"], "celery.retries": 1.5}),
    )

    assert [told.row(id_)["job_id"] for id_ in (1, 2, 3)] == ["17", "true", '["a","b"]']
    assert [told.row(id_)["attempt"] for id_ in (1, 2, 3)] == [3, 1, 1]


def test_joined_names_stay_with_their_spans() -> None:
    """Scenario: Java jobs named by two attributes, between spans of systems that have neither, in one batch.

    Guarantees: each has its own name.
    """
    scope = "io.opentelemetry.xxl-job-2.3"
    java = [{"code.namespace": f"acme.Job{n}", "code.function": "run"} for n in (2, 4)]
    told = Told().tell(
        run(1), Span(2, "C.m", attributes=java[0], scope=scope), Span(3, "C.m", scope=scope),
        Span(4, "C.m", attributes=java[1], scope=scope),
    )  # fmt: skip

    assert [told.row(n)["job_class"] for n in (2, 3, 4)] == ["acme.Job2.run", None, "acme.Job4.run"]


# matching


def test_matches_across_traces_in_any_order() -> None:
    """Scenario: enqueue and execution in traces of their own, without a link, in both orders.

    Guarantees: matched by id; latency from the enqueue's start; link style none.
    """
    spans = [send(1, start=10, end=30), run(2, trace=2, start=25)]
    for order in permutations(spans):
        told = Told()
        for span in order:
            told.tell(span)
        row = told.row(2, trace=2)
        assert (row["enqueue_span_id"], row["queue_latency"], row["link_style"]) == (span_hex(1), 15_000_000, "none")


def test_takes_the_latest_enqueue_not_the_one_pointed_at() -> None:
    """Scenario: a job is enqueued twice, both executions hang on the first enqueue.

    Guarantees: each execution is matched with the latest enqueue before it.
    """
    told = Told().tell(
        send(1, start=0), run(2, parent=1, start=5), send(3, start=10), run(4, parent=1, start=20),
        run(5, parent=1, start=30),
    )  # fmt: skip

    assert [told.row(id_)["enqueue_span_id"] for id_ in (2, 4, 5)] == [span_hex(1), span_hex(3), None]
    assert [told.row(id_)["attempt_inferred"] for id_ in (2, 4, 5)] == [1, 2, 3]
    assert told.row(5)["queue_latency"] is None


def test_clocks_that_differ_are_clamped() -> None:
    """Scenario: the worker's clock is behind, so that the enqueue it hangs on seems to start later.

    Guarantees: matched all the same, latency 0.
    """
    told = Told().tell(send(1, start=10), run(2, parent=1, start=7))

    assert (told.row(2)["enqueue_span_id"], told.row(2)["queue_latency"]) == (span_hex(1), 0)


def test_ids_are_taken_over_both_ways() -> None:
    """Scenario: an execution without id below its enqueue; an enqueue without id that an execution links to.

    Guarantees: both have the id of the other, in any order of arrival.
    """
    taskiq = {"taskiq.action": "send", "messaging.message.id": "t1"}
    add = message("bullmq", messaging__operation__name="Queue.add", messaging__destination__name="q")
    work = message(
        "bullmq", messaging__operation__name="Worker.run", messaging__destination__name="q", messaging__message__id="9"
    )
    spans = [
        Span(1, "send", "producer", taskiq),
        Span(2, "execute", "consumer", {"taskiq.action": "execute"}, parent=1, start=5),
        Span(3, "Queue.add", "producer", add),
        Span(4, "Worker.run", "consumer", work, trace=2, start=5, links=[(1, 3)]),
    ]
    for order in permutations(spans):
        told = Told()
        for span in order:
            told.tell(span)
        assert told.row(2)["job_id"] == "t1"
        assert told.row(3)["job_id"] == "9"
        assert told.row(4, trace=2)["enqueue_span_id"] == span_hex(3)
        assert told.row(2)["queue_latency"] == 5_000_000


def test_bullmq_ids_are_of_their_queue() -> None:
    """Scenario: id 1 in two queues. Guarantees: two jobs, each with its own enqueue."""

    def of(queue: str, operation: str) -> Attributes:
        return {"bullmq.queue.name": queue, "bullmq.queue.operation": operation, "bullmq.job.id": "1"}

    told = Told().tell(
        Span(1, "add a.x", "producer", of("a", "add")), Span(2, "add b.x", "producer", of("b", "add"), start=1),
        Span(3, "p", "consumer", of("a", "process"), trace=2, start=5),
        Span(4, "p", "consumer", of("b", "process"), trace=3, start=6),
    )  # fmt: skip

    assert told.row(3, trace=2)["enqueue_span_id"] == span_hex(1)
    assert told.row(4, trace=3)["enqueue_span_id"] == span_hex(2)
    assert told.row(1)["job_class"] == "x"


def test_database_ids_are_of_their_database() -> None:
    """Scenario: job 1 of two databases, told apart by a resource attribute that is configured.

    Guarantees: two jobs; without the setting, one.
    """

    def spans() -> list[Span]:
        job = message("que", messaging__message_id=1)
        return [
            Span(1, "p", "producer", job, resource={"service.namespace": "a"}),
            Span(2, "p", "producer", job, resource={"service.namespace": "b"}, start=1),
            Span(3, "x", "consumer", job, trace=2, resource={"service.namespace": "a"}, start=5),
        ]

    apart = Told(database_attribute="service.namespace").tell(*spans())
    together = Told().tell(*spans())

    assert apart.row(3, trace=2)["enqueue_span_id"] == span_hex(1)
    assert together.row(3, trace=2)["enqueue_span_id"] == span_hex(2)


def test_without_any_id_the_link_counts() -> None:
    """Scenario: Resque sends no ids; its execution links to its enqueue. Guarantees: matched by the link."""
    job = message("resque", messaging__resque__job_class="C", messaging__destination="q")
    told = Told().tell(
        Span(1, "q publish", "producer", job),
        Span(2, "q process", "consumer", job, trace=2, start=9, links=[(1, 1)]),
    )

    row = told.row(2, trace=2)
    assert (row["enqueue_span_id"], row["link_style"], row["queue_latency"]) == (span_hex(1), "link", 9_000_000)


def test_link_styles() -> None:
    """Scenario: executions below and linked to their enqueue, linked to nothing, below other spans, and alone.

    Guarantees: each has its own style.
    """
    told = Told().tell(
        send(1, "a"), run(2, "a", parent=1, start=1),
        send(3, "b"), run(4, "b", trace=2, links=[(1, 3)], start=1),
        run(5, "c", links=[(9, 9)]),
        run(6, "d", parent=1, start=2),
        Span(7, "web"), run(8, "e", parent=7),
        run(10, "f"),
    )  # fmt: skip

    styles = [told.row(2), told.row(4, trace=2), told.row(5), told.row(6), told.row(8), told.row(10)]
    assert [row["link_style"] for row in styles] == [
        "child", "link", "dangling_link", "foreign_parent", "ambient_parent", "none",
    ]  # fmt: skip


# latency


def test_deliberate_delay_is_no_latency() -> None:
    """Scenario: a task with an eta. Guarantees: latency counts from the due time, which the row states."""
    eta = "2026-11-21T22:26:41.000000+00:00"  # a second after the epoch of these tests
    span = Span(2, "run", "consumer", {**celery("run", state="SUCCESS"), "celery.eta": eta}, parent=1, start=1004)
    told = Told().tell(send(1), span)

    row = told.row(2)
    assert (row["queue_latency"], row["scheduled_for"] - row["enqueued_at"]) == (4_000_000, 1_000_000_000)


def test_an_enqueue_that_is_due_later_is_scheduled() -> None:
    """Scenario: docket.add for later, and for now. Guarantees: outcome scheduled with the due time, and enqueued."""
    told = Told().tell(
        Span(1, "docket.add", attributes={"docket.task": "t", "docket.key": "a",
                                          "docket.when": "2026-11-21T22:27:40Z"}),
        Span(2, "docket.add", attributes={"docket.task": "t", "docket.key": "b",
                                          "docket.when": "2026-11-21T22:26:40Z"}),
    )  # fmt: skip

    assert (told.row(1)["outcome"], told.row(1)["scheduled_for"] is None) == ("scheduled", False)
    assert (told.row(2)["outcome"], told.row(2)["scheduled_for"]) == ("enqueued", None)


def test_stated_latency_wins() -> None:
    """Scenario: Sentry's latency in milliseconds beside a matched enqueue. Guarantees: the stated one."""
    job = message("redis", messaging__message__id="m", messaging__destination__name="q")
    told = Told().tell(
        Span(1, "x", "producer", {**job, "sentry.op": "queue.publish"}),
        Span(2, "x", "consumer", {**job, "sentry.op": "queue.process", "messaging.message.receive.latency": 3.5,
                                  "messaging.message.retry.count": 1}, parent=1, start=50),
    )  # fmt: skip

    row = told.row(2)
    assert (row["queue_latency"], row["attempt"]) == (3_500_000, 2)


def test_creation_times_count_once_and_absurd_ones_never() -> None:
    """Scenario: AppSignal's creation time on two attempts; a Sidekiq stamp far in the future.

    Guarantees: used for the first attempt, then null; an absurd event is ignored.
    """
    job = message(
        "bullmq", messaging__operation__name="Worker.run", messaging__destination__name="q", messaging__message__id="1",
        messaging__bullmq__job__timestamp=1_795_300_000_001,
    )  # fmt: skip
    late = Event("enqueued_at", at=30 * 3600 * 1000)
    told = Told().tell(
        Span(1, "w", "consumer", {**job, "messaging.bullmq.job.attempts": 0}, start=5),
        Span(2, "w", "consumer", {**job, "messaging.bullmq.job.attempts": 1}, trace=2, start=50),
        Span(3, "q process", "consumer", message("sidekiq", messaging__message_id="s"), events=[late]),
    )

    assert (told.row(1)["queue_latency"], told.row(1)["enqueued_at_source"]) == (
        4_000_000,
        "attribute:messaging.bullmq.job.timestamp",
    )
    assert told.row(2, trace=2)["queue_latency"] is None
    assert told.row(3)["enqueued_at"] is None


# outcomes


def test_a_later_execution_turns_failed_into_retried() -> None:
    """Scenario: three failures of one job arrive in every order.

    Guarantees: in the end the first two are retried because of a later attempt, the last one failed.
    """
    job = message("sidekiq", messaging__message_id="s")
    spans = [Span(n, "q process", "consumer", job, trace=n, start=n * 10, status="error") for n in (1, 2, 3)]
    for order in permutations(spans):
        told = Told()
        for span in order:
            told.tell(span)
        rows = [told.row(n, trace=n) for n in (1, 2, 3)]
        assert [row["outcome"] for row in rows] == ["retried", "retried", "failed"]
        assert [row["outcome_source"] for row in rows] == ["later_attempt", "later_attempt", None]
        assert [row["attempt_inferred"] for row in rows] == [1, 2, 3]


def test_a_success_stays_one() -> None:
    """Scenario: an id is used again after a success. Guarantees: the success is not turned into a retry."""
    told = Told().tell(run(1), run(2, start=50))

    assert [row["outcome"] for row in told.rows] == ["succeeded", "succeeded"]


def test_rq_tells_of_failures_on_a_child_and_of_retries_below() -> None:
    """Scenario: consume is OK, perform failed, and a schedule of the same id below consume announces a retry.

    Guarantees: failed with the child's exception; retried once the schedule is known, which is a retry enqueue.
    """
    job = {"rq.job.id": "r", "rq.job.function": "f"}
    consume = Span(2, "consume q", "consumer", job, parent=1, start=5, end=20, status="ok")
    perform = Span(3, "perform", "client", job, parent=2, start=6, status="error", events=[raised("E", "m")])
    again = Span(4, "schedule q", "producer", {**job, "messaging.operation.name": "schedule"}, parent=2, start=15)
    for order in permutations([consume, perform, again]):
        told = Told()
        for span in order:
            told.tell(span)
        row = told.row(2)
        assert (row["outcome"], row["error_type"], row["error_source"]) == ("retried", "E", "child_span_event")
        assert (told.row(4)["outcome"], told.row(4)["is_retry_enqueue"]) == ("scheduled", True)

    told = Told().tell(consume)
    assert told.row(2)["outcome"] == "succeeded"
    assert told.tell(perform).row(2)["outcome"] == "failed"


def test_rq_dependencies() -> None:
    """Scenario: `setup dependencies` links to the publishes of two jobs, one known later.

    Guarantees: outcome deferred; both ids, sorted, once both are known.
    """

    def publish(id_: int, job: str) -> Span:
        return Span(id_, "publish q", "producer", {"rq.job.id": job})

    waiting = Span(3, "setup dependencies q", "producer", {"rq.job.id": "w"}, links=[(1, 2), (1, 1)])
    told = Told().tell(publish(1, "a"), waiting)
    assert (told.row(3)["outcome"], told.row(3)["depends_on_job_ids"]) == ("deferred", ["a"])

    told.restart().tell(publish(2, "b"))

    assert told.row(3)["depends_on_job_ids"] == ["a", "b"]


def test_dramatiq_children_hang_on_the_enqueue_of_their_parent() -> None:
    """Scenario: a child's enqueue below its parent's enqueue, inside the parent's execution in the same process.

    Guarantees: the parent job is found, in any order; an enqueue outside of the execution has none.
    """

    def actor(name: str, job: str) -> Attributes:
        return {"actor_name": name, "message_id": job, "queue_name": "q"}

    scope = "opentelemetry_instrumentor_dramatiq.src"
    spans = [
        Span(1, "dramatiq.producer.p", "server", actor("p", "P"), scope=scope),
        Span(2, "dramatiq.worker.WorkerThread", "consumer", actor("p", "P"), parent=1, start=10, end=50, scope=scope),
        Span(3, "dramatiq.producer.c", "server", actor("c", "C"), parent=1, start=20, end=21, scope=scope),
        Span(4, "dramatiq.producer.o", "server", actor("o", "O"), parent=1, start=70, end=71, scope=scope),
    ]
    for order in permutations(spans):
        told = Told()
        for span in order:
            told.tell(span)
        assert (told.row(3)["parent_job_id"], told.row(3)["parent_job_class"]) == ("P", "p")
        assert told.row(4)["parent_job_id"] is None


def test_bullmq_flows_wait() -> None:
    """Scenario: addNode below addNode.

    Guarantees: the upper job is the flow parent, of enqueue and execution; it is no parent job.
    """

    def node(id_: int, job: str, operation: str, **how: Any) -> Span:
        values = {"bullmq.queue.name": "q", "bullmq.queue.operation": operation, "bullmq.job.id": job}
        kind = "consumer" if operation == "process" else "producer"
        return Span(id_, f"{operation} q", kind, values, **how)

    spans = [
        node(1, "up", "addNode"), Span(2, "addFlow between", parent=1), node(3, "down", "addNode", parent=2),
        node(4, "down", "process", trace=2, start=9),
    ]  # fmt: skip
    for order in permutations(spans):
        told = Told()
        for span in order:
            told.tell(span)
        assert [told.row(3)["flow_parent_job_id"], told.row(4, trace=2)["flow_parent_job_id"]] == ["up", "up"]
        assert [told.row(1)["flow_parent_job_id"], told.row(3)["parent_job_id"]] == [None, None]


def test_parents_through_ordinary_spans_and_retries() -> None:
    """Scenario: job a enqueues b below two ordinary spans; b retries itself; b's retry enqueues c.

    Guarantees: a is the parent of all rows of b, b of c; a retry is no edge; in any order.
    """
    spans = [
        run(1, "a", start=0, end=90), Span(2, "work", parent=1), Span(3, "more work", parent=2),
        send(4, "b", parent=3, start=10), run(5, "b", "RETRY", parent=4, start=20, end=30),
        send(6, "b", parent=5, start=25), run(7, "b", parent=6, start=40, end=60), send(8, "c", parent=7, start=50),
    ]  # fmt: skip
    for order in (spans, spans[::-1], [*spans[4:], *spans[:4]], [*spans[::2], *spans[1::2]]):
        told = Told()
        for span in order:
            told.tell(span)
        assert [told.row(n)["parent_job_id"] for n in (4, 5, 6, 7)] == ["a"] * 4
        assert [told.row(n)["is_retry_enqueue"] for n in (4, 6, 8)] == [False, True, False]
        assert (told.row(8)["parent_job_id"], told.row(8)["parent_job_class"]) == ("b", "tasks.b")


def test_active_job_helpers_of_rails_7() -> None:
    """Scenario: process ends with ERROR and no event, its helper below it has the exception and announces a retry.

    Guarantees: retried, with the helper's error; a discard of an execution that is OK makes it discarded.
    """

    def job(id_: str) -> Attributes:
        return message("active_job", messaging__message__id=id_, code__namespace="J")

    told = Told().tell(
        Span(1, "q process", "consumer", job("a"), status="error"),
        Span(2, "q enqueue_retry", "internal", job("a"), parent=1, events=[raised("Limit", "m")]),
        Span(3, "q process", "consumer", job("b"), status="ok"),
        Span(4, "q discard", "internal", job("b"), parent=3, events=[raised("Gone")]),
    )

    assert (told.row(1)["outcome"], told.row(1)["error_type"]) == ("retried", "Limit")
    assert (told.row(3)["outcome"], told.row(3)["error_type"]) == ("discarded", "Gone")
    assert len(told.rows) == 2


def test_double_instrumentation_is_one_row() -> None:
    """Scenario: ActiveJob and Sidekiq both write spans of one job, each in a batch of its own, in every order.

    Guarantees: ActiveJob's rows stay, with Sidekiq's spans and its time; what was written of Sidekiq is taken back.
    """
    active = message("active_job", messaging__message__id="A", messaging__active_job__adapter__name="sidekiq")
    sidekiq = message("sidekiq", messaging__message_id="S", messaging__sidekiq__job_class="J")
    provider = {"messaging.active_job.message.provider_job_id": "S"}
    spans = [
        Span(1, "q publish", "producer", active),
        Span(2, "q publish", "producer", sidekiq, parent=1),
        Span(3, "q process", "consumer", sidekiq, start=9, end=30, links=[(1, 2)], events=[Event("enqueued_at", 4)]),
        Span(4, "q process", "consumer", {**active, **provider}, trace=2, start=10, links=[(1, 1)]),
    ]
    for order in permutations(spans):
        told = Told()
        for span in order:
            told.tell(span)
        assert [row["system"] for row in told.rows] == ["active_job", "active_job"]
        row = told.row(4, trace=2)
        assert (row["also_span_ids"], row["enqueued_at_source"]) == ([span_hex(3)], "event:enqueued_at")
        assert (row["queue_latency"], row["enqueue_span_id"]) == (6_000_000, span_hex(1))
        assert told.row(1)["also_span_ids"] == [span_hex(2)]


def test_transport_under_a_job_system_is_no_job() -> None:
    """Scenario: a broker's spans below a Celery enqueue and around its execution, in every order.

    Guarantees: the Celery rows alone; the same spans without Celery are rows.
    """
    pika = "opentelemetry.instrumentation.pika"
    publish = Span(2, "q send", "producer", message("rabbitmq", messaging__operation="publish"), parent=1, scope=pika)
    receive = Span(3, "q receive", "consumer", message("rabbitmq", messaging__operation="receive"), scope=pika, end=90)
    spans = [send(1), publish, receive, run(4, parent=3, start=5)]
    for order in permutations(spans):
        told = Told()
        for span in order:
            told.tell(span)
        assert [row["system"] for row in told.rows] == ["celery", "celery"]

    assert len(Told().tell(publish, receive).rows) == 2


def test_receive_is_an_execution_only_where_nothing_else_is() -> None:
    """Scenario: an instrumentation that receives, and later turns out to write process spans too.

    Guarantees: the receive row is written, then taken back, and no later one is written.
    """
    told = Told().tell(Span(1, "r", "consumer", message("kafka", messaging__operation="receive")))
    assert [row["operation"] for row in told.rows] == ["process"]

    told.tell(Span(2, "p", "consumer", message("kafka", messaging__operation="process")))
    told.tell(Span(3, "r", "consumer", message("kafka", messaging__operation="receive")))

    assert [row["span_id"] for row in told.rows] == [span_hex(2)]
    assert len(told.table.written) == 3


# errors


def test_sources_of_errors_in_order() -> None:
    """Scenario: failures with ever fewer signs. Guarantees: the first source of section 4.4 that says something."""
    two = [raised("First", "1"), raised("Last", "2", "stack")]
    told = Told().tell(
        run(1, "a", "FAILURE", events=two, status="error", message="X: y"),
        Span(2, "p", "consumer", {"bullmq.queue.operation": "process", "error.type": "T"},
             events=[Event("job failed", 0, {"bullmq.job.failed.reason": "why"})]),
        Span(3, "p", "consumer", {"taskiq.action": "execute", "taskiq.retry.reason": "busy", "error.type": "T"}),
        Span(4, "p", "consumer", {**celery("run", "d", state="FAILURE"), "error.type": "T"}, status="error",
             message="m"),
        run(5, "e", "FAILURE", status="error", message="app.Oops: text"),
        run(6, "f", "FAILURE", status="error", message="plain text"),
        run(7, "g", "FAILURE"),
    )  # fmt: skip

    errors = [(row["error_source"], row["error_type"], row["error_message"]) for row in map(told.row, range(1, 8))]
    assert errors == [
        ("span_event", "Last", "2"),
        ("event_attribute", None, "why"),
        ("retry_reason", None, "busy"),
        ("attribute", "T", "m"),
        ("status_message", "app.Oops", "text"),
        ("status_message", None, "plain text"),
        (None, None, None),
    ]
    assert told.row(1)["exception_stacktrace"] == "stack"


@pytest.mark.parametrize(
    ("type_", "status", "message", "error"),
    [
        ("shop.Declined", "error", "card expired", "card expired"),
        ("shop.Declined", "error", "shop.Declined: card expired", "card expired"),
        ("Declined", "error", "shop.Declined: card expired", "card expired"),
        ("500", "error", "shop.Declined: card expired", "shop.Declined: card expired"),
        ("Declined", "error", "Unhandled exception of type: Shop::Declined", None),
        ("Declined", "error", "", None),
        ("Declined", "ok", "all is well", None),
    ],
)
def test_the_status_describes_the_error_whose_type_is_an_attribute(
    type_: str, status: str, message: str, error: str | None
) -> None:
    """Scenario: a failure with `error.type` and a status message, as OpenTelemetry's conventions have it.

    Guarantees: the message of the error is that of the status, without the type if it repeats it.
    """
    attributes = {**celery("run", "a", state="FAILURE"), "error.type": type_}

    row = Told().tell(Span(1, "p", "consumer", attributes, status=status, message=message)).row(1)

    assert (row["error_source"], row["error_type"], row["error_message"]) == ("attribute", type_, error)


def test_a_rescued_exception_is_no_failure() -> None:
    """Scenario: a success with an exception event and an exception log. Guarantees: succeeded, no error fields."""
    told = Told().tell(run(1, events=[raised("E", "m")]), Log(1, {"exception.type": "E"}))

    row = told.row(1)
    assert (row["outcome"], row["error_type"], row["error_source"]) == ("succeeded", None, None)


@pytest.mark.parametrize("spans_first", [True, False])
def test_exception_logs_join_their_execution(spans_first: bool) -> None:
    """Scenario: exceptions as log records, before and after their spans; one span has the event too.

    Guarantees: the last record counts where the span has none; a record that says the same changes nothing.
    """
    spans = [run(1, "a", "FAILURE"), run(2, "b", "FAILURE", events=[raised("mod.E", "m")])]
    logs = [
        Log(1, {"exception.type": "Early", "exception.message": "e"}, at=1),
        Log(1, {"exception.type": "Late", "exception.message": "l"}, at=2, event_name="messaging.process.exception"),
        Log(2, {"exception.type": "E", "exception.message": "m"}, at=1),
        Log(1, {"note": "no exception"}, at=5),
        Log(1, {"exception.type": "Other"}, at=9, event_name="device.crash"),
        Log(0, {"exception.type": "Nobody's"}, at=9),
    ]
    told = Told()
    for part in (spans, logs) if spans_first else (logs, spans):
        told.tell(*part)

    assert [(told.row(n)["error_type"], told.row(n)["error_source"]) for n in (1, 2)] == [
        ("Late", "log_record"),
        ("mod.E", "span_event"),
    ]
    assert len(told.rows) == 2


def test_huge_messages_and_stacks_are_cut() -> None:
    """Scenario: an exception over the limits. Guarantees: both ends, and a mark that says how much is gone."""
    span = run(1, "a", "FAILURE", events=[raised("E" * 300, "m" * 100, "s" * 100)])

    row = Told(max_message_bytes="10B", max_stacktrace_bytes="20B").tell(span).row(1)

    assert row["error_message"] == "mmmmm... [90 bytes cut] ...\nmmmmm"
    assert row["exception_stacktrace"] == "ssssssssss... [80 bytes cut] ...\nssssssssss"
    assert row["error_type"] == "E" * 199 + "…"


def test_recurring_ids_are_no_attempts() -> None:
    """Scenario: XXL-Job names its schedule in the id; it fails and runs again on time.

    Guarantees: both rows have the id, the failure stays one.
    """
    scope = "io.opentelemetry.xxl-job-2.3"
    tick: dict[str, str | int] = {"scheduling.xxl-job.job.id": 5, "code.namespace": "a.B", "code.function": "c"}
    told = Told().tell(
        Span(1, "B.c", attributes=tick, scope=scope, status="error"), Span(2, "B.c", attributes=tick, scope=scope)
    )

    assert [(row["job_id"], row["outcome"], row["job_class"]) for row in told.rows] == [
        ("5", "failed", "a.B.c"),
        ("5", "succeeded", "a.B.c"),
    ]


def test_a_batch_serves_all_its_executions() -> None:
    """Scenario: addBulk of three, run as children, one of them twice.

    Guarantees: each first execution has the batch as its enqueue, the second execution has none.
    """
    bulk: dict[str, Any] = {"bullmq.queue.name": "q", "bullmq.queue.operation": "addBulk", "bullmq.job.bulk.count": 3,
            "bullmq.job.bulk.names": ["x", "x", "x"]}  # fmt: skip

    def process(id_: int, job: str, start: float) -> Span:
        values: dict[str, str | int] = {
            "bullmq.queue.name": "q",
            "bullmq.queue.operation": "process",
            "bullmq.job.id": job,
        }
        return Span(id_, "process q", "consumer", values, parent=1, start=start)

    told = Told().tell(
        Span(1, "addBulk q", "producer", bulk), process(2, "1", 5), process(3, "2", 6), process(4, "1", 50)
    )

    assert (told.row(1)["batch_count"], told.row(1)["job_class"], told.row(1)["job_id"]) == (3, "x", None)
    assert [told.row(n)["enqueue_span_id"] for n in (2, 3, 4)] == [span_hex(1), span_hex(1), None]


def test_the_end_does_not_depend_on_the_way() -> None:
    """Scenario: a story with retry, child, log and receive, told in one batch and span by span backwards.

    Guarantees: the same rows.
    """
    story: list[Span | Log] = [
        send(1, "a"), run(2, "a", "FAILURE", parent=1, start=5), send(3, "b", parent=2, start=6),
        run(4, "b", parent=3, start=9), run(5, "a", parent=1, start=60), Log(2, {"exception.type": "E"}),
        Span(6, "r", "consumer", message("kafka", messaging__operation="receive")),
        Span(7, "p", "consumer", message("kafka", messaging__operation="process"), start=3),
    ]  # fmt: skip
    at_once, backwards = Told().tell(*story), Told()
    for one in story[::-1]:
        backwards.tell(one)

    assert without_version(at_once.table.rows) == without_version(backwards.table.rows)
