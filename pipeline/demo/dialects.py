"""Spans as the instrumentations of Celery, Sidekiq and BullMQ send them, quirks included.

A job's life reaches this module as facts (`Handover`, `Run`); what a span of each system then looks like was read from
payloads of the real instrumentations: opentelemetry-instrumentation-celery, opentelemetry-instrumentation-sidekiq
and bullmq-otel. The quirks matter most, because whoever reads the spans must cope with them:

- Celery: no status on a retried attempt, only `celery.retry.reason`; `celery.retries` counts from 0 and is absent at 0;
- Sidekiq: a new trace per execution, a link to the publish span; retries link to a span that nobody ever exports;
- BullMQ: no error status and no exception event at all, every attempt below the first `add`, times in milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.demo.cast import JobClass
from pipeline.demo.records import (
    Attributes,
    Enqueue,
    Execution,
    Instance,
    LogEntry,
    Mark,
    Place,
    Scope,
    Severity,
    SpanRecord,
    System,
    Thrown,
    Value,
)

CELERY = Scope("opentelemetry.instrumentation.celery", "0.66b2", "https://opentelemetry.io/schemas/1.11.0")
SIDEKIQ = Scope("OpenTelemetry::Instrumentation::Sidekiq", "0.25.7")
BULLMQ = Scope("media", "4.0.1")


@dataclass(frozen=True, slots=True)
class Handover:
    """A job on its way into a queue. `place` is the enqueue span itself, `parent` what it was enqueued from."""

    job: JobClass
    place: Place
    parent: Place | None
    start_ns: int
    end_ns: int
    fact: Enqueue


@dataclass(frozen=True, slots=True)
class Run:
    """One execution. `origin` is the enqueue span it hangs on: for Sidekiq the link's target, else the parent.

    `created_ns` and `enqueued_ns` are when the job was first made and when it last entered the queue; `due_ns` is the
    time it was put off to; `retry_in_s` the delay announced to its next attempt.
    """

    job: JobClass
    place: Place
    origin: Place
    producer: Instance
    start_ns: int
    end_ns: int
    created_ns: int
    enqueued_ns: int
    due_ns: int | None
    retry_in_s: float | None
    helper_id: int
    fact: Execution


def exception_mark(thrown: Thrown, at_ns: int, *, escaped: bool) -> Mark:
    """The event `exception` of the trace conventions; Python's SDK adds `exception.escaped`."""
    attributes: dict[str, Value] = {
        "exception.type": thrown.type,
        "exception.message": thrown.message,
        "exception.stacktrace": thrown.stacktrace,
    }
    if escaped:
        attributes["exception.escaped"] = "False"
    return Mark("exception", at_ns, attributes)


def celery_apply(handover: Handover) -> SpanRecord:
    """`apply_async/<task>`."""
    attributes = {
        "celery.action": "apply_async",
        "messaging.message.id": handover.fact.job_id,
        "celery.task_name": handover.job.name,
        "messaging.destination_kind": "queue",
        "messaging.destination": handover.job.queue,
    }
    return _handed_over(handover, f"apply_async/{handover.job.name}", CELERY, attributes)


CELERY_STATES = {"succeeded": "SUCCESS", "failed": "FAILURE", "retried": "RETRY", "discarded": "IGNORED"}


def celery_run(run: Run) -> tuple[SpanRecord, ...]:
    """`run/<task>`, child of the latest `apply_async`."""
    fact = run.fact
    attributes: dict[str, Value] = {
        "celery.action": "run",
        "celery.state": CELERY_STATES[fact.outcome],
        "messaging.conversation_id": fact.job_id,
        "messaging.destination": fact.queue,
        "celery.delivery_info": repr({"exchange": "", "routing_key": fact.queue, "priority": 0, "redelivered": False}),
        "messaging.message.id": fact.job_id,
        "celery.reply_to": run.producer.instance_id,
        "celery.hostname": f"gen{run.producer.pid}@{run.producer.host}",
        "celery.task_name": fact.job_class,
    }
    if run.due_ns is not None:
        attributes["celery.eta"] = iso_microseconds(run.due_ns)
    if fact.attempt > 1:
        attributes["celery.retries"] = fact.attempt - 1
    marks: tuple[Mark, ...] = ()
    if fact.thrown is not None and fact.outcome == "retried":
        reason = f"{fact.thrown.logged_type}({fact.thrown.message!r})"
        attributes["celery.retry.reason"] = f"Retry in {run.retry_in_s:g}s: {reason}"
    if fact.thrown is not None and fact.outcome == "failed":
        marks = (exception_mark(fact.thrown, run.end_ns - 400_000, escaped=True),)
    return (_ran(run, f"run/{fact.job_class}", CELERY, attributes, marks),)


def sidekiq_publish(handover: Handover) -> SpanRecord:
    """`<queue> publish`."""
    attributes = _sidekiq_attributes(handover.job.name, handover.fact.job_id, handover.job.queue)
    marks = (Mark("created_at", handover.start_ns - 60_000),)
    return _handed_over(handover, f"{handover.job.queue} publish", SIDEKIQ, attributes, marks)


def sidekiq_process(run: Run) -> tuple[SpanRecord, ...]:
    """`<queue> process`, in a trace of its own."""
    fact = run.fact
    attributes = _sidekiq_attributes(fact.job_class, fact.job_id, fact.queue) | {"messaging.operation": "process"}
    marks = [Mark("created_at", run.created_ns), Mark("enqueued_at", run.enqueued_ns)]
    if fact.thrown is not None:
        marks.append(exception_mark(fact.thrown, run.end_ns - 30_000, escaped=False))
    return (_ran(run, f"{fact.queue} process", SIDEKIQ, attributes, tuple(marks)),)


def _sidekiq_attributes(job_class: str, job_id: str, queue: str) -> dict[str, Value]:
    return {
        "messaging.system": "sidekiq",
        "messaging.sidekiq.job_class": job_class,
        "messaging.message_id": job_id,
        "messaging.destination": queue,
        "messaging.destination_kind": "queue",
    }


def bullmq_add(handover: Handover) -> SpanRecord:
    """`add <queue>.<job>`."""
    job = handover.job
    attributes = {
        "bullmq.queue.name": job.queue,
        "bullmq.queue.operation": "add",
        "bullmq.job.name": job.name,
        "bullmq.job.id": handover.fact.job_id,
    }
    return _handed_over(handover, f"add {job.queue}.{job.name}", BULLMQ, attributes)


def bullmq_process(run: Run) -> tuple[SpanRecord, ...]:
    """`process <queue>` and, below it, what then became of the job: `complete`, `delay` or `fail`."""
    fact, place = run.fact, run.place
    common: dict[str, Value] = {
        "bullmq.queue.name": fact.queue,
        "bullmq.job.name": fact.job_class,
        "bullmq.job.id": fact.job_id,
    }
    attributes: dict[str, Value] = common | {
        "bullmq.queue.operation": "process",
        "bullmq.worker.id": place.instance.instance_id,
        "bullmq.worker.name": f"{fact.queue}-{place.instance.host}",
        "bullmq.job.attempts.made": fact.attempt,
        "bullmq.job.attempt_finished_timestamp": run.end_ns // 1_000_000,
        "bullmq.job.processed.timestamp": run.start_ns // 1_000_000,
    }
    if fact.thrown is None:
        operation, mark = "complete", Mark("job completed", run.end_ns - 50_000, {"bullmq.job.result": '{"ok":true}'})
    else:
        operation = "delay" if fact.outcome == "retried" else "fail"
        mark = Mark("job failed", run.end_ns - 50_000, {"bullmq.job.failed.reason": fact.thrown.message})
    helper_start = _whole_ms(max(run.start_ns, run.end_ns - 2_000_000))
    helper = SpanRecord(
        name=f"{operation} {fact.queue}",
        kind="internal",
        scope=BULLMQ,
        instance=place.instance,
        trace_id=place.trace_id,
        span_id=run.helper_id,
        parent_id=place.span_id,
        start_ns=helper_start,
        end_ns=max(helper_start, run.end_ns - 60_000),
        attributes=common | {"bullmq.queue.operation": operation},
        job_class=fact.job_class,
    )
    return helper, _ran(run, f"process {fact.queue}", BULLMQ, attributes, (mark,))


def _handed_over(
    handover: Handover, name: str, scope: Scope, attributes: Attributes, marks: tuple[Mark, ...] = ()
) -> SpanRecord:
    place, parent = handover.place, handover.parent
    return SpanRecord(
        name=name,
        kind="producer",
        scope=scope,
        instance=place.instance,
        trace_id=place.trace_id,
        span_id=place.span_id,
        parent_id=parent.span_id if parent else None,
        start_ns=handover.start_ns,
        end_ns=handover.end_ns,
        attributes=attributes,
        marks=marks,
        job_class=handover.job.name,
        fact=handover.fact,
    )


def _ran(run: Run, name: str, scope: Scope, attributes: Attributes, marks: tuple[Mark, ...]) -> SpanRecord:
    fact, place = run.fact, run.place
    linked = fact.system == "sidekiq"
    error = None
    if fact.thrown is not None and fact.system == "sidekiq":
        error = f"Unhandled exception of type: {fact.thrown.type}"
    elif fact.thrown is not None and fact.system == "celery" and fact.outcome == "failed":
        error = fact.thrown.message
    return SpanRecord(
        name=name,
        kind="consumer",
        scope=scope,
        instance=place.instance,
        trace_id=place.trace_id,
        span_id=place.span_id,
        parent_id=None if linked else run.origin.span_id,
        start_ns=run.start_ns,
        end_ns=run.end_ns,
        attributes=attributes,
        marks=marks,
        links=((run.origin.trace_id, run.origin.span_id),) if linked else (),
        remote_parent=not linked,
        error=error,
        job_class=fact.job_class,
        fact=fact,
    )


def iso_microseconds(at_ns: int) -> str:
    """`2026-11-21T23:22:21.248089+00:00`: how Celery words a due time. The nanoseconds below a microsecond are cut."""
    seconds, rest = divmod(at_ns, 1_000_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000).isoformat(timespec="microseconds")


def _whole_ms(at_ns: int) -> int:
    return at_ns - at_ns % 1_000_000


HANDOVERS: dict[System, Callable[[Handover], SpanRecord]] = {
    "celery": celery_apply,
    "sidekiq": sidekiq_publish,
    "bullmq": bullmq_add,
}
RUNS: dict[System, Callable[[Run], tuple[SpanRecord, ...]]] = {
    "celery": celery_run,
    "sidekiq": sidekiq_process,
    "bullmq": bullmq_process,
}

LOGGERS: dict[System, str] = {"celery": "celery.app.trace", "sidekiq": "sidekiq", "bullmq": "media.worker"}


def log_of(run: Run) -> LogEntry:
    """The line the worker writes when an execution is over; with `exception.*` where it failed."""
    fact = run.fact
    seconds = (run.end_ns - run.start_ns) / 1e9
    attributes: dict[str, Value] = {
        "job.class": fact.job_class,
        "job.id": fact.job_id,
        "job.queue": fact.queue,
        "job.attempt": fact.attempt,
        "job.outcome": fact.outcome,
        "job.duration": round(seconds, 6),
    }
    severity: Severity = "INFO"
    if fact.thrown is not None:
        severity = "WARN" if fact.outcome == "retried" else "ERROR"
        attributes |= {
            "exception.type": fact.thrown.logged_type,
            "exception.message": fact.thrown.message,
            "exception.stacktrace": fact.thrown.stacktrace,
        }
    return LogEntry(
        at_ns=run.end_ns - 20_000,
        instance=run.place.instance,
        logger=LOGGERS[fact.system],
        severity=severity,
        body=_line(fact, seconds),
        attributes=attributes,
        trace_id=run.place.trace_id,
        span_id=run.place.span_id,
    )


def _line(fact: Execution, seconds: float) -> str:
    error = f"{fact.thrown.logged_type}({fact.thrown.message!r})" if fact.thrown else ""
    if fact.system == "celery":
        ending = {
            "succeeded": f"succeeded in {seconds:.6f}s: None",
            "failed": f"raised unexpected: {error}",
            "retried": f"retry: {error}",
            "discarded": "ignored",
        }[fact.outcome]
        return f"Task {fact.job_class}[{fact.job_id}] {ending}"
    if fact.system == "sidekiq":
        return f"fail: {error}" if fact.thrown else f"done: {seconds:.3f} sec"
    return (
        f"job {fact.job_id} of {fact.queue} failed: {error}"
        if fact.thrown
        else f"job {fact.job_id} of {fact.queue} done"
    )
