"""The conventions as data: which spans are jobs, and which attributes say what. The table is `conventions.yaml`.

Inside: the model of a convention, which is also what users write under `conventions:`, and the shipped table. How a
convention is applied to columns is in `looking` and `recognise`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BeforeValidator, Field, TypeAdapter, model_validator

from pipeline import Config
from pipeline.config.values import listed

SpanKind = Literal["unspecified", "internal", "server", "client", "producer", "consumer"]
KINDS: Final[tuple[SpanKind, ...]] = ("unspecified", "internal", "server", "client", "producer", "consumer")

Wanted = bool | str | int | Annotated[tuple[str, ...], Field(strict=False)]
"""What an attribute must be: `true` any value at all, text or a number that value, `text*` what begins so, a list one
of several."""

Unit = Literal["s", "ms", "us", "ns", "iso"]


class Condition(Config):
    """What a span must be; every key that is given must hold."""

    attributes: Mapping[str, Wanted] = Field(default_factory=dict)
    """Attribute name and its value: `true` for any value, text, a number, `text*` for what begins so, or a list of
    texts of which one will do."""

    attribute_prefix: str | None = None
    """Some attribute's name begins so."""

    scope: str | None = None
    """The name of the instrumentation scope contains this, in any case of letters."""

    scope_ends: str | None = None
    """The name of the instrumentation scope ends so."""

    span_kind: Annotated[tuple[SpanKind, ...], BeforeValidator(listed)] = ()
    """One of these span kinds."""

    span_name: str | None = None
    """A regular expression (RE2) that is found in the span's name."""

    event: str | None = None
    """The span has an event of this name."""

    status: Literal["unset", "ok", "error"] | None = None
    """The status code of the span."""

    error_type: str | None = None
    """The exception that the span carries has this type."""


Conditions = Annotated[tuple[Condition, ...], BeforeValidator(listed)]
"""One condition or a list of them, of which one must hold."""


class Source(Config):
    """Where a field comes from. Text alone stands for `{attribute: text}`."""

    attribute: str | None = None
    """The value of this attribute."""

    joined: tuple[str, ...] = ()
    """The values of these attributes, those that are there, joined by `separator`."""

    separator: str = "."

    pattern: str | None = None
    """A regular expression (RE2): its group `value` is taken, from the attribute or else from the span's name."""

    only_value: bool = False
    """The attribute is an array: take its value if all its elements are equal."""

    event: str | None = None
    """The time of the event of this name; for times."""

    constant: str | None = None
    """This text."""

    plus: int = 0
    """Added to a number, for counts that begin at 0."""

    zero_is: int | None = None
    """What the number 0 stands for."""

    unit: Unit = "iso"
    """Of a time or a latency: seconds, milliseconds, ... (since 1970 for times), or ISO 8601."""

    after: str | None = None
    """A time counted from the time in this attribute, in the same unit."""

    rows: Literal["enqueue", "process", "both"] = "both"
    """The rows that take the field from here."""

    when: Condition | None = None
    """Only spans like this take the field from here."""

    @model_validator(mode="after")
    def _check(self) -> Source:
        origins = [self.attribute is not None, bool(self.joined), self.event is not None, self.constant is not None]
        if sum(origins) > 1:
            raise ValueError("give one of 'attribute', 'joined', 'event' and 'constant'")
        if not any(origins) and self.pattern is None:
            raise ValueError("give 'attribute', 'joined', 'event', 'constant' or 'pattern'")
        if self.pattern is not None and "(?P<value>" not in self.pattern:
            raise ValueError("'pattern' needs a group named value: (?P<value>...)")
        return self

    @property
    def label(self) -> str:
        """What `enqueued_at_source` says of a time from here."""
        return f"event:{self.event}" if self.event else f"attribute:{self.attribute}"


def _source(value: Any) -> Any:
    return tuple({"attribute": one} if isinstance(one, str) else one for one in listed(value))


Sources = Annotated[tuple[Source, ...], BeforeValidator(_source)]
"""One source or a list of them; the first one that has a value counts. Empty text is no value."""


class Fields(Config):
    """Where each field of a row comes from."""

    system: Sources = ()
    """For conventions that serve several systems; otherwise the convention's `system`."""

    adapter: Sources = ()
    """The back end under an abstraction layer."""

    job_class: Sources = ()
    queue: Sources = ()
    job_id: Sources = ()
    provider_job_id: Sources = ()
    attempt: Sources = ()
    """From 1; `plus: 1` for counts from 0."""

    max_attempts: Sources = ()
    retries: Sources = ()
    """On enqueue rows: how often the job was tried before; more than 0 makes it a retry."""

    batch_count: Sources = ()
    """Jobs in one enqueue span; 0 and 1 are no batch."""

    batch_id: Sources = ()
    flow_parent_job_id: Sources = ()
    worker_id: Sources = ()
    """Without a source or a value: `host.name:process.pid`, else `service.instance.id`."""

    latency: Sources = ()
    """Time in the queue as the payload states it."""

    available_at: Sources = ()
    """When this very execution became available: a time that retries move."""

    created_at: Sources = ()
    """When the job was created: says nothing about later executions, and is not used for them."""

    inserted_at: Sources = ()
    """When the job was created; for all executions, where retries move a due time that is stated with it."""

    due_at: Sources = ()
    """When a delayed job or a retry is due."""

    first_due_at: Sources = ()
    """When a delayed job is due, not moved by retries."""

    failure_message: Sources = ()
    """Error message in an attribute of the event `failure_event`."""

    retry_reason: Sources = ()
    """Error message of an execution that will be tried again; groups `type` and `value` of a pattern divide it."""


TEXT_FIELDS: Final = (
    "adapter",
    "job_class",
    "queue",
    "job_id",
    "provider_job_id",
    "worker_id",
    "batch_id",
    "flow_parent_job_id",
)
NUMBER_FIELDS: Final = ("attempt", "max_attempts", "retries", "batch_count")
TIME_FIELDS: Final = ("available_at", "created_at", "inserted_at", "due_at", "first_due_at")

ProcessOutcome = Literal["succeeded", "failed", "retried", "discarded", "unknown"]


class OutcomeRule(Config):
    """An outcome and what says so."""

    outcome: ProcessOutcome | Literal["scheduled", "deferred"]
    when: Condition


class Helper(Config):
    """Spans beside an execution that are no rows but say how it ended, or carry its exception."""

    when: Condition
    outcome: Literal["failed", "retried", "discarded"] | None = None
    """What the execution's outcome is because of this span; none if the span only carries the exception."""


class Convention(Config):
    """How one instrumentation writes jobs down."""

    name: str
    """Names the convention; a convention of your own with the name of a shipped one takes its place."""

    system: str = ""
    """Canonical name of the job system, lower case."""

    match: Conditions
    """Spans that this convention, and no later one, judges."""

    enqueue: Conditions = ()
    process: Conditions = ()
    helpers: tuple[Helper, ...] = ()
    receive: Conditions = ()
    """Spans that are executions only where the same instrumentation never writes a process span."""

    fields: Fields = Fields()
    enqueue_outcomes: tuple[OutcomeRule, ...] = ()
    """Outcomes of enqueue rows other than `enqueued`, and `failed` for the status error."""

    outcomes: tuple[OutcomeRule, ...] = ()
    """Outcomes of executions, the first that holds; then `failed` for the status error, then `otherwise`."""

    otherwise: ProcessOutcome = "succeeded"
    failure_event: str | None = None

    key_with_queue: bool = False
    """Ids are unique inside a queue only."""

    database_ids: bool = False
    """Ids are numbers of a database: see `database_attribute`."""

    recurring_ids: bool = False
    """The id names a schedule, not one job: executions with the same id are not attempts of one job."""

    enqueue_takes_id: bool = True
    """An enqueue row without id takes that of the execution that points at it."""

    links_are_dependencies: Conditions = ()
    """Enqueue spans whose links name the jobs that this one waits for."""

    nested_enqueue_waits: bool = False
    """An enqueue span below another one is a job that the upper one waits for."""

    sibling_parents: bool = False
    """Executions never become the current span: what they enqueue hangs on their own enqueue span."""

    transport: bool = False
    """Messaging spans of any kind: below an enqueue or around an execution of a job system they are no jobs."""


CANONICAL: Final[Mapping[str, str]] = {"python rq": "rq", "aws.sqs": "aws_sqs"}
"""Names of systems that are sent otherwise, in lower case (job-conventions, section 2)."""

_CONVENTIONS: Final = TypeAdapter(tuple[Convention, ...])


@cache
def shipped() -> tuple[Convention, ...]:
    """Return the conventions of `conventions.yaml`, in the order in which they are tried."""
    text = resources.files(__package__).joinpath("conventions.yaml").read_text(encoding="utf-8")
    return _CONVENTIONS.validate_python(tuple(yaml.safe_load(text)))


def in_force(own: Sequence[Convention], aliases: Fields) -> tuple[Convention, ...]:
    """Return the table in force: `own` before the shipped ones, `aliases` behind the sources of every convention."""
    names = {convention.name for convention in own}
    table = (*own, *(convention for convention in shipped() if convention.name not in names))
    extra = {name: getattr(aliases, name) for name in aliases.model_fields_set}
    if not extra:
        return table
    return tuple(
        convention.model_copy(
            update={
                "fields": convention.fields.model_copy(
                    update={name: (*getattr(convention.fields, name), *sources) for name, sources in extra.items()}
                )
            }
        )
        for convention in table
    )


def sources_of(convention: Convention) -> Iterator[tuple[str, Source]]:
    """Yield each source with the name of its field."""
    for name in Fields.model_fields:
        for source in getattr(convention.fields, name):
            yield name, source


def conditions_of(convention: Convention) -> Iterator[Condition]:
    """Yield every condition, wherever it stands."""
    yield from convention.match
    yield from convention.enqueue
    yield from convention.process
    yield from convention.receive
    yield from convention.links_are_dependencies
    yield from (helper.when for helper in convention.helpers)
    yield from (rule.when for rule in (*convention.outcomes, *convention.enqueue_outcomes))
    yield from (source.when for _, source in sources_of(convention) if source.when is not None)
