"""Tells the processor of spans and logs, and keeps the rows as a table that replaces by version would have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from pipeline import Batch, ComponentId, Kind, Receipt, Signal, otlp
from processors.jobs import JobsConfig, JobsProcessor

EPOCH_NS = 1_795_300_000_000_000_000
MS = 1_000_000
KINDS = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
STATUS = {"unset": 0, "ok": 1, "error": 2}

Value = str | int | float | bool | Sequence[str] | Mapping[str, str]


@dataclass(frozen=True)
class Event:
    name: str
    at: float = 0
    """Milliseconds after the epoch of these tests."""

    attributes: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Span:
    """A span; ids are small numbers, times milliseconds after the epoch of these tests."""

    id: int
    name: str = "a span"
    kind: str = "internal"
    attributes: Mapping[str, Value] = field(default_factory=dict)
    trace: int = 1
    parent: int = 0
    start: float = 0
    end: float | None = None
    status: str = "unset"
    message: str = ""
    events: Sequence[Event] = ()
    links: Sequence[tuple[int, int]] = ()
    scope: str = "some.scope"
    resource: Mapping[str, Value] = field(default_factory=lambda: {"host.name": "h", "process.pid": 7})


@dataclass(frozen=True)
class Log:
    """A log record of a span."""

    span: int
    attributes: Mapping[str, Value]
    trace: int = 1
    at: float = 0
    event_name: str = ""


def raised(type_: str, message: str = "", stack: str = "") -> Event:
    """Return an exception event."""
    values = {"exception.type": type_, "exception.message": message, "exception.stacktrace": stack}
    return Event("exception", 0, {key: value for key, value in values.items() if value})


def ns(at: float) -> int:
    return EPOCH_NS + round(at * MS)


def trace_hex(number: int) -> str:
    return f"{number:032x}"


def span_hex(number: int) -> str:
    return f"{number:016x}"


def spans_batch(spans: Iterable[Span], token: str = "spans") -> Batch:
    request = ExportTraceServiceRequest()
    for span in spans:
        group = request.resource_spans.add()
        group.resource.attributes.extend(_attributes(span.resource))
        scope = group.scope_spans.add()
        scope.scope.name = span.scope
        end = span.start + 1 if span.end is None else span.end
        message = SpanMessage(
            trace_id=span.trace.to_bytes(16, "big"),
            span_id=span.id.to_bytes(8, "big"),
            parent_span_id=span.parent.to_bytes(8, "big") if span.parent else b"",
            name=span.name,
            kind=KINDS[span.kind],  # type: ignore[arg-type]  # an enumeration's number
            start_time_unix_nano=ns(span.start),
            end_time_unix_nano=ns(end),
            attributes=_attributes(span.attributes),
            status=Status(code=STATUS[span.status], message=span.message),  # type: ignore[arg-type]  # the same
        )
        for event in span.events:
            message.events.add(name=event.name, time_unix_nano=ns(event.at), attributes=_attributes(event.attributes))
        for trace, target in span.links:
            message.links.add(trace_id=trace.to_bytes(16, "big"), span_id=target.to_bytes(8, "big"))
        scope.spans.append(message)
    return otlp.decode(Signal.TRACES, [request.SerializeToString()]).batch(Receipt.issue(token))


def logs_batch(logs: Iterable[Log], token: str = "logs") -> Batch:
    request = ExportLogsServiceRequest()
    for log in logs:
        request.resource_logs.add().scope_logs.add().log_records.add(
            time_unix_nano=ns(log.at),
            trace_id=log.trace.to_bytes(16, "big"),
            span_id=log.span.to_bytes(8, "big"),
            attributes=_attributes(log.attributes),
            event_name=log.event_name,
        )
    return otlp.decode(Signal.LOGS, [request.SerializeToString()]).batch(Receipt.issue(token))


def _attributes(values: Mapping[str, Value]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_any(value)) for key, value in values.items()]


def _any(value: Value) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, Mapping):
        return AnyValue(kvlist_value=KeyValueList(values=_attributes(value)))
    return AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=item) for item in value]))


class Table:
    """The rows of `(trace, span)` with the highest version; `written` has every version."""

    def __init__(self) -> None:
        self.written: list[dict[str, Any]] = []
        self._rows: dict[tuple[str, str], dict[str, Any]] = {}

    def insert(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            if batch.kind is not Kind.JOBS:
                continue
            resources = batch.sides["resource"].num_rows
            for row in batch.table.to_pylist():
                assert row["resource"] < resources
                self.written.append(row)
                key = row["trace_id"], row["span_id"]
                if key not in self._rows or self._rows[key]["version"] < row["version"]:
                    self._rows[key] = row

    @property
    def rows(self) -> dict[tuple[str, str], dict[str, Any]]:
        return {key: row for key, row in sorted(self._rows.items()) if not row["is_deleted"]}


class Told:
    """A processor that is told of spans and logs, and the table of what it writes."""

    def __init__(self, **config: Any) -> None:
        self.config = JobsConfig.model_validate(config)
        self.processor = JobsProcessor(self.config, ComponentId("jobs"))
        self.table = Table()

    def tell(self, *sent: Span | Log) -> Told:
        """Tell of one batch of spans and one of logs."""
        if spans := [one for one in sent if isinstance(one, Span)]:
            self.table.insert(self.processor.process(spans_batch(spans)))
        if logs := [one for one in sent if isinstance(one, Log)]:
            self.table.insert(self.processor.process(logs_batch(logs)))
        return self

    def restart(self) -> Told:
        """Go on in a new processor that has the state of this one."""
        state = self.processor.state()
        self.processor = JobsProcessor(self.config, ComponentId("jobs"))
        self.processor.restore(state)
        return self

    @property
    def rows(self) -> list[dict[str, Any]]:
        return list(self.table.rows.values())

    def row(self, id_: int, trace: int = 1) -> dict[str, Any]:
        """Return the row of a span."""
        return self.table.rows[trace_hex(trace), span_hex(id_)]


def without_version(rows: Mapping[tuple[str, str], Mapping[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return rows as a reader sees them: neither version nor the number of the resource."""
    return {
        key: {name: value for name, value in row.items() if name not in ("version", "resource")}
        for key, row in rows.items()
    }
