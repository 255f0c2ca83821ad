"""What the demo really sent, counted from the records themselves, so that anybody's tables can be compared with it."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pipeline.demo.records import Call, Enqueue, Execution, LogEntry, Record, SpanRecord, System

QUANTILE_VALUES = 1_000_000
"""Quantiles are of the first million values of a class; counts, sums and extremes are of all."""


@dataclass(slots=True)
class Times:
    """Exact count, sum and extremes of nanosecond values, and their quantiles."""

    count: int = 0
    sum_ns: int = 0
    min_ns: int | None = None
    max_ns: int | None = None
    _values: array[int] = field(default_factory=lambda: array("q"))

    def add(self, value_ns: int) -> None:
        self.count += 1
        self.sum_ns += value_ns
        self.min_ns = value_ns if self.min_ns is None else min(self.min_ns, value_ns)
        self.max_ns = value_ns if self.max_ns is None else max(self.max_ns, value_ns)
        if len(self._values) < QUANTILE_VALUES:
            self._values.append(value_ns)

    def quantile(self, share: float) -> int | None:
        """The smallest value that at least `share` of the values do not exceed; None without values."""
        ordered = sorted(self._values)
        return ordered[max(0, -int(-share * len(ordered) // 1) - 1)] if ordered else None

    def as_json(self) -> dict[str, int | None]:
        return {
            "count": self.count,
            "sum_ns": self.sum_ns,
            "min_ns": self.min_ns,
            "max_ns": self.max_ns,
            "p50_ns": self.quantile(0.5),
            "p95_ns": self.quantile(0.95),
            "p99_ns": self.quantile(0.99),
        }


@dataclass(slots=True)
class ClassTruth:
    """One job class. `enqueues` leaves out `retry_enqueues`, the spans by which a job put itself back."""

    system: System
    queue: str
    spans: int = 0
    enqueues: int = 0
    retry_enqueues: int = 0
    executions: int = 0
    first_attempts: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    duration: Times = field(default_factory=Times)
    waited: Times = field(default_factory=Times)

    @property
    def never_run(self) -> int:
        """Jobs enqueued and not run when the demo stopped; 0 when it was not interrupted."""
        return self.enqueues - self.first_attempts

    @property
    def awaiting_retry(self) -> int:
        """Retries announced and not run when the demo stopped; 0 when it was not interrupted."""
        return self.outcomes["retried"] - (self.executions - self.first_attempts)

    def as_json(self) -> dict[str, Any]:
        return {
            "system": self.system,
            "queue": self.queue,
            "spans": self.spans,
            "enqueues": self.enqueues,
            "retry_enqueues": self.retry_enqueues,
            "executions": self.executions,
            **{outcome: self.outcomes[outcome] for outcome in ("succeeded", "failed", "retried", "discarded")},
            "never_run": self.never_run,
            "awaiting_retry": self.awaiting_retry,
            "errors": dict(sorted(self.errors.items())),
            "duration": self.duration.as_json(),
            "queue_latency": self.waited.as_json(),
        }


@dataclass(slots=True)
class Truth:
    """The whole run. `note` takes each record at the moment it is handed to the SDK."""

    spans: int = 0
    logs: int = 0
    traces: int = 0
    jobs: dict[str, ClassTruth] = field(default_factory=dict)
    services: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    requests: Counter[tuple[str, str, bool]] = field(default_factory=Counter)
    edges: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    calls: Counter[tuple[str, str, str, bool]] = field(default_factory=Counter)

    def note(self, record: Record) -> None:
        if isinstance(record, LogEntry):
            self.logs += 1
        if not isinstance(record, SpanRecord):
            return
        self.spans += 1
        self.traces += record.parent_id is None
        self.services[record.instance.service] += 1
        self.versions[f"{record.instance.service} {record.instance.version}"] += 1
        if record.kind == "server":
            self.requests[record.instance.service, record.name, record.error is not None] += 1
        match record.fact:
            case Enqueue() as fact:
                job = self._class(fact)
                if fact.is_retry:
                    job.retry_enqueues += 1
                else:
                    job.enqueues += 1
                    self.edges[fact.parent.kind, fact.parent.name, fact.job_class] += 1
            case Execution() as fact:
                job = self._class(fact)
                job.executions += 1
                job.first_attempts += fact.attempt == 1
                job.outcomes[fact.outcome] += 1
                job.duration.add(record.end_ns - record.start_ns)
                if fact.waited_ns is not None:
                    job.waited.add(fact.waited_ns)
                if fact.thrown is not None and fact.outcome != "discarded":
                    job.errors[fact.thrown.type] += 1
            case Call() as fact:
                self.calls[fact.caller.kind, fact.caller.name, fact.peer, fact.failed] += 1
        if record.job_class in self.jobs:
            self.jobs[record.job_class].spans += 1

    def _class(self, fact: Enqueue | Execution) -> ClassTruth:
        if fact.job_class not in self.jobs:
            self.jobs[fact.job_class] = ClassTruth(fact.system, fact.queue)
        return self.jobs[fact.job_class]

    def as_json(self) -> dict[str, Any]:
        """The parts that `--truth` writes, ready for a JSON encoder; keys in a fixed order."""
        return {
            "spans": self.spans,
            "traces": self.traces,
            "logs": self.logs,
            "spans_by_service": dict(sorted(self.services.items())),
            "spans_by_version": dict(sorted(self.versions.items())),
            "jobs": {name: job.as_json() for name, job in sorted(self.jobs.items())},
            "requests": [
                {"service": service, "name": name, "failed": failed, "count": count}
                for (service, name, failed), count in sorted(self.requests.items())
            ],
            "edges": [
                {"parent_kind": kind, "parent": parent, "child": child, "count": count}
                for (kind, parent, child), count in sorted(self.edges.items())
            ],
            "calls": [
                {"caller_kind": kind, "caller": caller, "peer": peer, "failed": failed, "count": count}
                for (kind, caller, peer, failed), count in sorted(self.calls.items())
            ],
        }
