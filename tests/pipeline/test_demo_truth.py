"""The truth equals what a reader of the spans finds who knows nothing but the conventions of the three systems."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.demo.records import SpanRecord
from pipeline.demo.shop import Shop
from pipeline.demo.truth import Times, Truth
from pipeline.demo.world import World

EPOCH = 1_800_000_000_000_000_000


@dataclass
class Row:
    """An execution as the conventions have it."""

    job_class: str
    outcome: str
    attempt: int | None
    took_ns: int
    waited_ns: int | None
    key: tuple[str, ...]
    error: str | None


@dataclass
class Read:
    """What the slow reader makes of a list of spans."""

    rows: list[Row] = field(default_factory=list)
    enqueues: Counter[str] = field(default_factory=Counter)
    retry_enqueues: Counter[str] = field(default_factory=Counter)
    edges: Counter[tuple[str, str, str]] = field(default_factory=Counter)


def text(span: SpanRecord, key: str) -> str:
    value = span.attributes[key]
    assert isinstance(value, str)
    return value


def event(span: SpanRecord, name: str) -> Any:
    return next((mark for mark in span.marks if mark.name == name), None)


def job_of(span: SpanRecord) -> tuple[str, str, str, str] | None:
    """(operation, class, system, id within the system), by attributes and kind only."""
    attributes = span.attributes
    if "celery.action" in attributes:
        operation = {"run": "process", "apply_async": "enqueue"}[text(span, "celery.action")]
        return operation, text(span, "celery.task_name"), "celery", text(span, "messaging.message.id")
    if attributes.get("messaging.system") == "sidekiq":
        operation = {"producer": "enqueue", "consumer": "process"}[span.kind]
        return operation, text(span, "messaging.sidekiq.job_class"), "sidekiq", text(span, "messaging.message_id")
    operation = {"add": "enqueue", "process": "process"}.get(str(attributes.get("bullmq.queue.operation")), "")
    if operation:
        job_id = f"{text(span, 'bullmq.queue.name')}/{text(span, 'bullmq.job.id')}"
        return operation, text(span, "bullmq.job.name"), "bullmq", job_id
    return None


def read(spans: list[SpanRecord]) -> Read:
    """Rows by the rules for Celery, Sidekiq and BullMQ; whole-list lookups, no shortcuts."""
    found = Read()
    by_id = {(span.trace_id, span.span_id): span for span in spans}
    enqueued: dict[tuple[str, str], list[int]] = {}
    for span in spans:
        job = job_of(span)
        if job is None or job[0] != "enqueue":
            continue
        _, name, system, job_id = job
        above = span
        parent = ("none", "")
        retry = False
        while above.parent_id is not None:
            above = by_id[above.trace_id, above.parent_id]
            upper = job_of(above)
            if upper and upper[0] == "process":
                if upper[1:] == job[1:]:
                    retry = True
                else:
                    parent = ("job", upper[1])
                break
            if above.kind == "server" and parent[0] == "none":
                parent = ("request", above.name)
        enqueued.setdefault((system, job_id), []).append(span.start_ns)
        if retry:
            found.retry_enqueues[name] += 1
        else:
            found.enqueues[name] += 1
            found.edges[(*parent, name)] += 1
    for span in spans:
        job = job_of(span)
        if job is not None and job[0] == "process":
            found.rows.append(row_of(span, job, spans, enqueued))
    later = Counter(row.key for row in found.rows)
    seen: Counter[tuple[str, ...]] = Counter()
    for row in found.rows:
        seen[row.key] += 1
        if row.outcome == "failed" and seen[row.key] < later[row.key]:
            row.outcome = "retried"
    return found


def row_of(
    span: SpanRecord,
    job: tuple[str, str, str, str],
    spans: list[SpanRecord],
    enqueued: dict[tuple[str, str], list[int]],
) -> Row:
    _, name, system, job_id = job
    took = span.end_ns - span.start_ns
    mark = event(span, "exception")
    error = str(mark.attributes["exception.type"]) if mark else None
    if system == "celery":
        states = {"SUCCESS": "succeeded", "FAILURE": "failed", "RETRY": "retried", "IGNORED": "discarded"}
        retries = span.attributes.get("celery.retries", 0)
        assert isinstance(retries, int)
        before = max(start for start in enqueued[system, job_id] if start <= span.start_ns)
        due = nanoseconds(text(span, "celery.eta")) if "celery.eta" in span.attributes else 0
        outcome = states[text(span, "celery.state")]
        if outcome == "retried":
            error = text(span, "celery.retry.reason").split(": ", 1)[1].split("(")[0]
        return Row(name, outcome, retries + 1, took, span.start_ns - max(before, due), (system, job_id), error)
    if system == "sidekiq":
        outcome = "failed" if span.error else "succeeded"
        return Row(name, outcome, None, took, span.start_ns - event(span, "enqueued_at").at_ns, (system, job_id), error)
    made = span.attributes["bullmq.job.attempts.made"]
    assert isinstance(made, int)
    helpers = {
        str(s.attributes["bullmq.queue.operation"])
        for s in spans
        if s.parent_id == span.span_id and "bullmq.job.id" in s.attributes and s.kind == "internal"
    }
    outcome = "succeeded"
    if event(span, "job failed"):
        outcome = "retried" if "delay" in helpers else "failed"
        assert helpers in ({"delay"}, {"fail"})
    waited = span.start_ns - enqueued[system, job_id][0] if made == 1 else None
    return Row(name, outcome, made, took, waited, (system, job_id), None)


def nanoseconds(iso: str) -> int:
    moment = datetime.fromisoformat(iso)
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000


def played(seed: int = 5, rate: float = 100.0, seconds: float = 30.0) -> tuple[Truth, list[SpanRecord]]:
    truth = Truth()
    spans = []
    for record in Shop(World(seed, EPOCH, seconds), rate).play():
        truth.note(record)
        if isinstance(record, SpanRecord):
            spans.append(record)
    return truth, spans


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_truth_is_what_the_conventions_read(seed: int) -> None:
    """Scenario: a day, read from its spans alone. Guarantees: executions, outcomes, waits, edges as in the truth."""
    truth, spans = played(seed)
    found = read(spans)

    assert len(spans) == truth.spans
    assert {name: job.executions for name, job in truth.jobs.items()} == Counter(row.job_class for row in found.rows)
    assert {(name, outcome): n for name, job in truth.jobs.items() for outcome, n in job.outcomes.items()} == Counter(
        (row.job_class, row.outcome) for row in found.rows
    )
    assert {name: job.enqueues for name, job in truth.jobs.items()} == found.enqueues
    assert {name: job.retry_enqueues for name, job in truth.jobs.items() if job.retry_enqueues} == found.retry_enqueues
    assert truth.edges == found.edges
    for name, job in truth.jobs.items():
        rows = [row for row in found.rows if row.job_class == name]
        assert job.duration.sum_ns == sum(row.took_ns for row in rows)
        waits = [row.waited_ns for row in rows if row.waited_ns is not None]
        assert all(wait >= 0 for wait in waits)
        assert (job.waited.count, job.waited.sum_ns) == (len(waits), sum(waits))


def test_errors_are_named_where_the_system_names_them() -> None:
    """Scenario: failures of Celery and Sidekiq jobs. Guarantees: the type of each is in the payload as in the truth."""
    truth, spans = played()
    found = read(spans)
    for name, job in truth.jobs.items():
        if job.system != "bullmq":
            short = Counter({kind.rsplit(".", 1)[-1]: n for kind, n in job.errors.items()})
            read_types = Counter(
                row.error.rsplit(".", 1)[-1] for row in found.rows if row.job_class == name and row.error
            )
            assert short == read_types


def test_links_of_sidekiq() -> None:
    """Scenario: first runs, retries, scheduled jobs. Guarantees: only first runs link to an exported publish span."""
    _, spans = played(rate=200.0)
    ids = {(span.trace_id, span.span_id): span for span in spans}
    attempts: Counter[str] = Counter()
    resolved: Counter[tuple[bool, bool]] = Counter()
    for span in spans:
        job = job_of(span)
        if job and job[0] == "process" and job[2] == "sidekiq":
            (link,) = span.links
            first = attempts[job[3]] == 0 and job[1] != "SendReminder"
            attempts[job[3]] += 1
            target = ids.get(link)
            resolved[first, target is not None] += 1
            assert target is None or job_of(target) == ("enqueue", *job[1:])
    assert resolved.keys() == {(True, True), (False, False)}


def test_a_cut_off_day_says_what_is_open() -> None:
    """Scenario: the play stops halfway. Guarantees: jobs not run and retries not made are counted, none below 0."""
    truth = Truth()
    world = World(5, EPOCH, 60.0)
    for record in Shop(world, 200.0).play():
        if world.share(record.at_ns) > 0.5:
            break
        truth.note(record)
    parts = truth.as_json()["jobs"]
    assert all(job["never_run"] >= 0 and job["awaiting_retry"] >= 0 for job in parts.values())
    assert parts["ChargePayment"]["awaiting_retry"] > 0
    assert sum(job["never_run"] for job in parts.values()) > 0


def test_json() -> None:
    """Scenario: the truth as a file. Guarantees: it is JSON, its sums agree, a whole day has nothing open."""
    truth, spans = played()
    told = json.loads(json.dumps(truth.as_json()))
    assert (
        told["spans"] == len(spans) == sum(told["spans_by_service"].values()) == sum(told["spans_by_version"].values())
    )
    assert told["traces"] == len({span.trace_id for span in spans})
    for job in told["jobs"].values():
        assert job["executions"] == sum(job[o] for o in ("succeeded", "failed", "retried", "discarded"))
        assert (job["never_run"], job["awaiting_retry"]) == (0, 0)
        assert job["executions"] == job["duration"]["count"]
    assert sum(edge["count"] for edge in told["edges"]) == sum(job["enqueues"] for job in told["jobs"].values())


@given(st.lists(st.integers(0, 10**12), min_size=1), st.sampled_from([0.01, 0.5, 0.95, 0.99, 1.0]))
def test_quantiles(values: list[int], share: float) -> None:
    """Scenario: any values. Guarantees: a quantile is one of them; that share does not exceed it, and less would."""
    times = Times()
    for value in values:
        times.add(value)
    quantile = times.quantile(share)
    assert quantile in values
    assert sum(v <= quantile for v in values) >= share * len(values)
    assert sum(v < quantile for v in values) < share * len(values)
    assert (times.count, times.sum_ns, times.min_ns, times.max_ns) == (
        len(values),
        sum(values),
        min(values),
        max(values),
    )


def test_no_values() -> None:
    """Scenario: a class whose waits nobody can tell. Guarantees: no numbers are invented."""
    assert Times().as_json() == dict.fromkeys(("min_ns", "max_ns", "p50_ns", "p95_ns", "p99_ns")) | {
        "count": 0,
        "sum_ns": 0,
    }
