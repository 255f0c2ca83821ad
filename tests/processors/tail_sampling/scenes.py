"""Traces in a few words, and a sampler with its clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from pipeline import Batch, ComponentId, Kind, Receipt
from pipeline.columns import hex_text
from pipeline.kinds import SHAPES, Signal
from pipeline.otlp import decode
from processors.tail_sampling.fates import Outcome
from processors.tail_sampling.processor import TailSampling

T0: Final = 1_795_300_000_000_000_000
MS: Final = 1_000_000
STATUS: Final = {"UNSET": 0, "OK": 1, "ERROR": 2}


@dataclass(frozen=True)
class S:
    """A span; `trace` and `span` are numbers, times are milliseconds."""

    trace: int = 1
    span: int = 0
    """0: numbered by itself."""
    parent: int = 0
    start: float = 0
    end: float = 1
    status: str = "UNSET"
    attrs: Mapping[str, Any] = field(default_factory=dict)
    resource: Mapping[str, Any] = field(default_factory=dict)
    state: str = ""
    flags: int = 0
    name: str = "span"
    kind: int = 1
    events: Sequence[tuple[str, Mapping[str, Any]]] = ()
    links: Sequence[int] = ()
    scope: str = "scope"


def trace_id(number: int) -> bytes:
    # spread, so that hashes of neighbours are not alike
    return number.to_bytes(8, "big") + (number * 0x9E3779B97F4A7C15 % (1 << 64)).to_bytes(8, "big")


def any_value(value: Any) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case bytes():
            return AnyValue(bytes_value=value)
        case list():
            found = AnyValue()
            found.array_value.values.extend(any_value(one) for one in value)
            return found
        case None:
            return AnyValue()
    return AnyValue(string_value=value)


def pairs(values: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=any_value(value)) for key, value in values.items()]


def request_of(spans: Iterable[S]) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    for number, one in enumerate(spans, 1):
        group = request.resource_spans.add()
        group.resource.attributes.extend(pairs(one.resource))
        scope = group.scope_spans.add()
        scope.scope.name = one.scope
        span = scope.spans.add(
            trace_id=trace_id(one.trace),
            span_id=(one.span or one.trace * 100_000 + number).to_bytes(8, "big"),
            parent_span_id=one.parent.to_bytes(8, "big") if one.parent else b"",
            start_time_unix_nano=T0 + round(one.start * MS),
            end_time_unix_nano=T0 + round(one.end * MS),
            attributes=pairs(one.attrs),
            trace_state=one.state,
            flags=one.flags,
            name=one.name,
            kind=one.kind,
        )
        if one.status != "UNSET":
            span.status.code = STATUS[one.status]  # type: ignore[assignment] # as above
        for name, attrs in one.events:
            span.events.add(name=name, attributes=pairs(attrs))
        for link in one.links:
            span.links.add(trace_id=trace_id(link), span_id=b"12345678")
    return request


def batch_of(spans: Iterable[S], receipt: Receipt | None = None) -> Batch:
    body = request_of(spans).SerializeToString()
    return decode(Signal.TRACES, [body]).batch(receipt or Receipt.issue("spans"))


def jobs_of(rows: Sequence[Mapping[str, Any]], receipt: Receipt | None = None) -> Batch:
    """Return job rows; `trace` and `span` are numbers as in `S`, the rest are columns."""
    schema = SHAPES[Kind.JOBS].schema
    made = []
    for row in rows:
        given = dict(row)
        trace, span = given.pop("trace"), given.pop("span", 1)
        made.append(
            {
                **dict.fromkeys(schema.names),
                "resource": 0,
                "operation": "process",
                "system": "celery",
                "job_class": "Mail",
                "timestamp": T0,
                "duration": MS,
                "trace_id": trace_id(trace).hex(),
                "span_id": span.to_bytes(8, "big").hex(),
                "also_span_ids": [],
                "outcome": "succeeded",
                "is_retry_enqueue": False,
                "depends_on_job_ids": [],
                "version": 1,
                "is_deleted": False,
            }
            | given
        )
    resource = batch_of([S()]).sides["resource"]
    table = pa.Table.from_pylist(made, schema).combine_chunks()
    return Batch(Kind.JOBS, table, receipt or Receipt.issue("jobs"), {"resource": resource})


def policy(type_: str, name: str = "", **settings: Any) -> dict[str, Any]:
    """Return a policy as it is written, the map of its type left out where it has no keys."""
    return {"name": name or type_, "type": type_} | ({type_: settings} if settings else {})


class Scene:
    """A sampler under a clock that the test moves; `out` has the spans that came out."""

    def __init__(self, *policies: Mapping[str, Any], wait: str = "10s", **keys: Any) -> None:
        config = TailSampling.Config.model_validate({"decision_wait": wait, "policies": list(policies), **keys})
        self.sampler = TailSampling(config, ComponentId("tail_sampling"))
        self.now = 1000.0
        self.batches: list[Batch] = []
        self.dropped: Counter[str] = Counter()
        """Rows that were dropped, by reason, of batches of which nothing was kept."""
        self.times: dict[int, float] = {}
        """When the first span of each trace came out."""
        self.outcomes: list[Outcome] = []
        self.sampler.decided = self.outcomes.append

    def take(self, *spans: S, receipt: Receipt | None = None) -> Scene:
        return self.feed(batch_of(spans, receipt))

    def jobs(self, *rows: Mapping[str, Any], receipt: Receipt | None = None) -> Scene:
        return self.feed(jobs_of(rows, receipt))

    def feed(self, *batches: Batch) -> Scene:
        """As the engine does: hand over what comes together, and wake what wants to be woken."""
        for batch in batches:
            self._out(self.sampler.process(batch))
        self._due()
        return self

    def advance(self, seconds: float) -> Scene:
        end = self.now + seconds
        while (wake := self.sampler.wake_at()) is not None and wake <= end:
            self.now = max(self.now, wake)
            self._out(self.sampler.tick(self.now))
        self.now = end
        return self

    def drain(self) -> Scene:
        self._out(self.sampler.drain())
        return self

    def _due(self) -> None:
        wake = self.sampler.wake_at()
        if wake is not None and wake <= self.now:
            self._out(self.sampler.tick(self.now))

    def _out(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            if batch.kind is not Kind.SPANS or batch.rows == 0:
                # as the engine does with what has no rows, and an exporter with the rest
                self.dropped += batch.receipt.dropped
                batch.receipt.settle()
                continue
            self.batches.append(batch)
            for trace in hex_text(batch.column("trace_id")).to_pylist():
                self.times.setdefault(int(str(trace)[:16] or "0", 16), self.now)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The spans that came out, trace id in hex."""
        return [
            row | {"trace": trace}
            for batch in self.batches
            for row, trace in zip(batch.table.to_pylist(), hex_text(batch.column("trace_id")).to_pylist(), strict=True)
        ]

    @property
    def kept(self) -> list[int]:
        """The numbers of the traces that came out, each once for each span, in order."""
        return sorted(int(row["trace"][:16], 16) for row in self.rows)

    def decision(self, trace: int = 1) -> int:
        """Return the last decision on a trace."""
        high = int.from_bytes(trace_id(trace)[:8], "big")
        found = [
            int(decision)
            for outcome in self.outcomes
            for word, decision in zip(outcome.high.tolist(), outcome.decision.tolist(), strict=True)
            if word == high
        ]
        return found[-1]

    def attribute(self, key: str) -> list[Any]:
        """Return one attribute of every span that came out."""
        return [
            next(
                (
                    next((value for value in item["value"].values() if value is not None), None)
                    for item in row["attributes"]
                    if item["key"] == key
                ),
                None,
            )
            for row in self.rows
        ]
