"""What the simulated shop tells of itself: plain records, in the order in which they become known.

Times are nanoseconds since 1970, ids are integers as the OpenTelemetry API has them. A span's `fact` says what the span
means for jobs (so truth and telemetry come from one and the same record and cannot disagree).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Value: TypeAlias = str | bool | int | float | Sequence[str]
Attributes: TypeAlias = Mapping[str, Value]
SpanKind: TypeAlias = Literal["internal", "server", "client", "producer", "consumer"]
System: TypeAlias = Literal["celery", "sidekiq", "bullmq"]
Outcome: TypeAlias = Literal["succeeded", "failed", "retried", "discarded"]
Severity: TypeAlias = Literal["DEBUG", "INFO", "WARN", "ERROR"]


@dataclass(frozen=True, slots=True)
class Instance:
    """One process of a service: what its resource says."""

    service: str
    version: str
    host: str
    pid: int
    instance_id: str
    language: Literal["python", "ruby", "nodejs"]


@dataclass(frozen=True, slots=True)
class Scope:
    """The instrumentation a span comes from."""

    name: str
    version: str
    schema_url: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A span as the parent of others: where the code that runs now is, and in which process."""

    trace_id: int
    span_id: int
    instance: Instance


@dataclass(frozen=True, slots=True)
class Mark:
    """A span event."""

    name: str
    at_ns: int
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Thrown:
    """An exception as its runtime prints it. `logged_type` is how a log record names it, without the module path."""

    type: str
    message: str
    stacktrace: str
    logged_type: str


@dataclass(frozen=True, slots=True)
class Parent:
    """Who enqueued a job: the job or web request nearest above it, or nobody (a timer)."""

    kind: Literal["job", "request", "none"]
    name: str


@dataclass(frozen=True, slots=True)
class Enqueue:
    """A job was handed to its queue."""

    job_class: str
    system: System
    queue: str
    job_id: str
    parent: Parent
    is_retry: bool = False


@dataclass(frozen=True, slots=True)
class Execution:
    """A job ran once. `waited_ns` is the queue latency the payload can tell, None where it cannot.

    `retried` means: failed, and the shop will run it again.
    """

    job_class: str
    system: System
    queue: str
    job_id: str
    attempt: int
    outcome: Outcome
    waited_ns: int | None
    thrown: Thrown | None


@dataclass(frozen=True, slots=True)
class Call:
    """A job or request called something outside: a database, an API, another service."""

    caller: Parent
    peer: str
    failed: bool


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """A finished span; known when it ends. `error` is the message of an error status, None leaves the status unset."""

    name: str
    kind: SpanKind
    scope: Scope
    instance: Instance
    trace_id: int
    span_id: int
    parent_id: int | None
    start_ns: int
    end_ns: int
    attributes: Attributes
    marks: tuple[Mark, ...] = ()
    links: tuple[tuple[int, int], ...] = ()
    remote_parent: bool = False
    error: str | None = None
    job_class: str | None = None
    fact: Enqueue | Execution | Call | None = None

    @property
    def at_ns(self) -> int:
        return self.end_ns


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A log record of the shop's code, written inside a span."""

    at_ns: int
    instance: Instance
    logger: str
    severity: Severity
    body: str
    attributes: Attributes
    trace_id: int
    span_id: int


@dataclass(frozen=True, slots=True)
class Moved:
    """A job came to a queue, or went from it to a worker, or left the worker: by how much the two counts changed."""

    at_ns: int
    instance: Instance
    system: System
    queue: str
    waiting: int
    running: int


Record: TypeAlias = SpanRecord | LogEntry | Moved
