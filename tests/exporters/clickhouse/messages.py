"""OTLP messages of every form, and what the tables should have of them: row by row, in plain Python, from protobuf.

The second half is the slow, obvious twin of `exporters.clickhouse.{spans,logs,metrics}`; it shares no code with them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.metrics.v1 import metrics_pb2 as m
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from pipeline import Batch, Receipt, otlp
from pipeline.kinds import Signal

Row = dict[str, Any]

LATEST = 2**63 - 1

TEXTS = st.sampled_from(["", "a", "é", "name with 'quotes' and \\", "x" * 300])
NANOS = st.sampled_from([0, 1, 1_795_300_000_123_456_789, LATEST, LATEST + 1, 2**64 - 1])
IDS = st.sampled_from([b"", b"\x00", b"\x0a\xff", bytes(range(8)), bytes(range(16)), bytes(20)])
UINT32 = st.sampled_from([0, 1, 255, 256, 2**32 - 1])
UINT64 = st.sampled_from([0, 1, 2**53 + 1, 2**64 - 1])
INT32 = st.sampled_from([-(2**31), -1, 0, 1, 2, 3, 4, 5, 6, 99, 2**31 - 1])
DOUBLES = st.sampled_from([0.0, 1.5, -2.0, 1e300, float("inf"), float("-inf")])

SCALARS = st.one_of(
    st.just(AnyValue()),
    TEXTS.map(lambda text: AnyValue(string_value=text)),
    st.booleans().map(lambda truth: AnyValue(bool_value=truth)),
    st.sampled_from([0, -1, 2**63 - 1, -(2**63)]).map(lambda number: AnyValue(int_value=number)),
    st.sampled_from([0.5, 2.0, -1.25]).map(lambda number: AnyValue(double_value=number)),
    st.binary(max_size=4).map(lambda data: AnyValue(bytes_value=data)),
)
VALUES = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=2).map(lambda values: AnyValue(array_value=ArrayValue(values=values))),
    st.dictionaries(st.sampled_from("abc"), SCALARS, max_size=2).map(
        lambda pairs: AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key=k, value=v) for k, v in pairs.items()]))
    ),
)
ATTRIBUTES = st.lists(
    st.builds(KeyValue, key=st.sampled_from(["", "a", "service.name", "host.name"]), value=VALUES), max_size=3
)
RESOURCES = st.one_of(st.none(), st.builds(Resource, attributes=ATTRIBUTES))
SCOPES = st.one_of(
    st.none(),
    st.builds(InstrumentationScope, name=TEXTS, version=TEXTS, attributes=ATTRIBUTES, dropped_attributes_count=UINT32),
)

SPANS = st.builds(
    Span,
    trace_id=IDS,
    span_id=IDS,
    parent_span_id=IDS,
    trace_state=TEXTS,
    name=TEXTS,
    kind=INT32,
    start_time_unix_nano=NANOS,
    end_time_unix_nano=NANOS,
    attributes=ATTRIBUTES,
    events=st.lists(st.builds(Span.Event, time_unix_nano=NANOS, name=TEXTS, attributes=ATTRIBUTES), max_size=2),
    links=st.lists(
        st.builds(Span.Link, trace_id=IDS, span_id=IDS, trace_state=TEXTS, attributes=ATTRIBUTES), max_size=2
    ),
    status=st.one_of(st.none(), st.builds(Status, message=TEXTS, code=INT32)),
)
RECORDS = st.builds(
    LogRecord,
    time_unix_nano=NANOS,
    observed_time_unix_nano=NANOS,
    severity_number=INT32,
    severity_text=TEXTS,
    body=st.one_of(st.none(), VALUES),
    attributes=ATTRIBUTES,
    flags=UINT32,
    trace_id=IDS,
    span_id=IDS,
    event_name=TEXTS,
)

_VALUE: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    DOUBLES.map(lambda number: {"as_double": number}),
    st.sampled_from([0, -1, 2**63 - 1, -(2**63)]).map(lambda number: {"as_int": number}),
)
EXEMPLARS = st.lists(
    st.builds(
        lambda value, **fields: m.Exemplar(**fields, **value),
        _VALUE,
        time_unix_nano=NANOS,
        span_id=IDS,
        trace_id=IDS,
        filtered_attributes=ATTRIBUTES,
    ),
    max_size=2,
)
_POINT = {"attributes": ATTRIBUTES, "start_time_unix_nano": NANOS, "time_unix_nano": NANOS, "flags": UINT32}
_NUMBER = st.builds(lambda value, **fields: m.NumberDataPoint(**fields, **value), _VALUE, exemplars=EXEMPLARS, **_POINT)
_OPTIONAL = st.one_of(st.none(), DOUBLES)
_HISTOGRAM = st.builds(
    m.HistogramDataPoint,
    count=UINT64,
    sum=_OPTIONAL,
    min=_OPTIONAL,
    max=_OPTIONAL,
    bucket_counts=st.lists(UINT64, max_size=3),
    explicit_bounds=st.lists(DOUBLES, max_size=3),
    exemplars=EXEMPLARS,
    **_POINT,
)
_BUCKETS = st.one_of(
    st.none(),
    st.builds(m.ExponentialHistogramDataPoint.Buckets, offset=INT32, bucket_counts=st.lists(UINT64, max_size=3)),
)
_EXPONENTIAL = st.builds(
    m.ExponentialHistogramDataPoint,
    count=UINT64,
    sum=_OPTIONAL,
    min=_OPTIONAL,
    max=_OPTIONAL,
    scale=INT32,
    zero_count=UINT64,
    positive=_BUCKETS,
    negative=_BUCKETS,
    exemplars=EXEMPLARS,
    **_POINT,
)
_SUMMARY = st.builds(
    m.SummaryDataPoint,
    count=UINT64,
    sum=DOUBLES,
    quantile_values=st.lists(
        st.builds(m.SummaryDataPoint.ValueAtQuantile, quantile=DOUBLES, value=DOUBLES), max_size=2
    ),
    **_POINT,
)


def _points(points: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(points, min_size=1, max_size=2)


_DATA = st.one_of(
    st.builds(lambda points: {"gauge": m.Gauge(data_points=points)}, _points(_NUMBER)),
    st.builds(
        lambda points, temporality, monotonic: {
            "sum": m.Sum(data_points=points, aggregation_temporality=temporality, is_monotonic=monotonic)
        },
        _points(_NUMBER),
        st.sampled_from([0, 1, 2]),
        st.booleans(),
    ),
    st.builds(
        lambda points, temporality: {"histogram": m.Histogram(data_points=points, aggregation_temporality=temporality)},
        _points(_HISTOGRAM),
        st.sampled_from([0, 1, 2]),
    ),
    st.builds(
        lambda points, temporality: {
            "exponential_histogram": m.ExponentialHistogram(data_points=points, aggregation_temporality=temporality)
        },
        _points(_EXPONENTIAL),
        st.sampled_from([0, 1, 2]),
    ),
    st.builds(lambda points: {"summary": m.Summary(data_points=points)}, _points(_SUMMARY)),
)
METRICS = st.builds(lambda data, **fields: m.Metric(**fields, **data), _DATA, name=TEXTS, description=TEXTS, unit=TEXTS)


def _requests(request: Any, group: Any, scopes: Any, items: st.SearchStrategy[Any], names: Sequence[str]) -> Any:
    """Requests of some resources with some scopes each; `names` are the fields' on the three levels."""
    of_scope = st.builds(scopes, scope=SCOPES, schema_url=TEXTS, **{names[2]: st.lists(items, max_size=3)})
    of_resource = st.builds(group, resource=RESOURCES, schema_url=TEXTS, **{names[1]: st.lists(of_scope, max_size=2)})
    return st.builds(request, **{names[0]: st.lists(of_resource, max_size=2)})


TRACE_REQUESTS = _requests(
    ExportTraceServiceRequest, ResourceSpans, ScopeSpans, SPANS, ("resource_spans", "scope_spans", "spans")
)
LOG_REQUESTS = _requests(
    ExportLogsServiceRequest, ResourceLogs, ScopeLogs, RECORDS, ("resource_logs", "scope_logs", "log_records")
)
METRIC_REQUESTS = _requests(
    ExportMetricsServiceRequest,
    m.ResourceMetrics,
    m.ScopeMetrics,
    METRICS,
    ("resource_metrics", "scope_metrics", "metrics"),
)


def decoded(signal: Signal, request: Any, token: str = "t") -> Batch:
    return otlp.decode(signal, [request.SerializeToString()]).batch(Receipt.issue(token))


def text(value: AnyValue) -> str:
    match value.WhichOneof("value"):
        case None:
            return ""
        case "bool_value":
            return "true" if value.bool_value else "false"
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
        case "string_value" | "int_value":
            return str(value.string_value if value.HasField("string_value") else value.int_value)
        case _:
            return json.dumps(_plain(value), separators=(",", ":"), ensure_ascii=False, sort_keys=True)


def _plain(value: AnyValue) -> Any:
    match value.WhichOneof("value"):
        case None:
            return None
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
        case "double_value":
            number = value.double_value
            return int(number) if number == int(number) else number
        case "array_value":
            return [_plain(item) for item in value.array_value.values]
        case "kvlist_value":
            return {pair.key: _plain(pair.value) for pair in value.kvlist_value.values}
        case name:
            return getattr(value, name)


def pairs(attributes: Iterable[KeyValue]) -> list[tuple[str, str]]:
    return [(pair.key, text(pair.value)) for pair in attributes]


def nanos(time: int) -> int:
    return min(time, LATEST)


def _service(resource: Resource) -> str:
    return next((text(pair.value) for pair in resource.attributes if pair.key == "service.name"), "")


def _name(names: Sequence[str], number: int) -> str:
    return names[number] if 0 <= number < len(names) else ""


def span_rows(request: ExportTraceServiceRequest) -> Iterator[Row]:
    kinds = ("Unspecified", "Internal", "Server", "Client", "Producer", "Consumer")
    for group in request.resource_spans:
        for scope in group.scope_spans:
            for span in scope.spans:
                yield {
                    "Timestamp": nanos(span.start_time_unix_nano),
                    "TraceId": span.trace_id.hex(),
                    "SpanId": span.span_id.hex(),
                    "ParentSpanId": span.parent_span_id.hex(),
                    "TraceState": span.trace_state,
                    "SpanName": span.name,
                    "SpanKind": _name(kinds, span.kind),
                    "ServiceName": _service(group.resource),
                    "ResourceAttributes": pairs(group.resource.attributes),
                    "ScopeName": scope.scope.name,
                    "ScopeVersion": scope.scope.version,
                    "SpanAttributes": pairs(span.attributes),
                    "Duration": max(span.end_time_unix_nano - span.start_time_unix_nano, 0),
                    "StatusCode": _name(("Unset", "Ok", "Error"), span.status.code),
                    "StatusMessage": span.status.message,
                    "Events.Timestamp": [nanos(event.time_unix_nano) for event in span.events],
                    "Events.Name": [event.name for event in span.events],
                    "Events.Attributes": [pairs(event.attributes) for event in span.events],
                    "Links.TraceId": [link.trace_id.hex() for link in span.links],
                    "Links.SpanId": [link.span_id.hex() for link in span.links],
                    "Links.TraceState": [link.trace_state for link in span.links],
                    "Links.Attributes": [pairs(link.attributes) for link in span.links],
                }


def log_rows(request: ExportLogsServiceRequest) -> Iterator[Row]:
    for group in request.resource_logs:
        for scope in group.scope_logs:
            for record in scope.log_records:
                yield {
                    "Timestamp": nanos(record.time_unix_nano or record.observed_time_unix_nano),
                    "TraceId": record.trace_id.hex(),
                    "SpanId": record.span_id.hex(),
                    "TraceFlags": record.flags % 256,
                    "SeverityText": record.severity_text,
                    "SeverityNumber": max(0, min(record.severity_number, 255)),
                    "ServiceName": _service(group.resource),
                    "Body": text(record.body),
                    "ResourceSchemaUrl": group.schema_url,
                    "ResourceAttributes": pairs(group.resource.attributes),
                    "ScopeSchemaUrl": scope.schema_url,
                    "ScopeName": scope.scope.name,
                    "ScopeVersion": scope.scope.version,
                    "ScopeAttributes": pairs(scope.scope.attributes),
                    "LogAttributes": pairs(record.attributes),
                    "EventName": record.event_name,
                }


def point_rows(request: ExportMetricsServiceRequest) -> Iterator[tuple[str, Row]]:
    """Yield the type of each point and its row."""
    for group in request.resource_metrics:
        for scope in group.scope_metrics:
            for metric in scope.metrics:
                type_ = metric.WhichOneof("data")
                assert type_ is not None
                data = getattr(metric, type_)
                for point in data.data_points:
                    yield (
                        type_,
                        {
                            "ResourceAttributes": pairs(group.resource.attributes),
                            "ResourceSchemaUrl": group.schema_url,
                            "ScopeName": scope.scope.name,
                            "ScopeVersion": scope.scope.version,
                            "ScopeAttributes": pairs(scope.scope.attributes),
                            "ScopeDroppedAttrCount": scope.scope.dropped_attributes_count,
                            "ScopeSchemaUrl": scope.schema_url,
                            "ServiceName": _service(group.resource),
                            "MetricName": metric.name,
                            "MetricDescription": metric.description,
                            "MetricUnit": metric.unit,
                            "Attributes": pairs(point.attributes),
                            "StartTimeUnix": nanos(point.start_time_unix_nano),
                            "TimeUnix": nanos(point.time_unix_nano),
                            "Flags": point.flags,
                            **_data(type_, data, point),
                        },
                    )


def _data(type_: str, data: Any, point: Any) -> Row:
    row: Row = {}
    if type_ in ("gauge", "sum"):
        row |= {"Value": _number(point)}
    else:
        row |= {"Count": point.count, "Sum": point.sum}
    if type_ == "sum":
        row |= {"IsMonotonic": data.is_monotonic}
    if type_ in ("sum", "histogram", "exponential_histogram"):
        row |= {"AggregationTemporality": data.aggregation_temporality}
    if type_ in ("histogram", "exponential_histogram"):
        row |= {"Min": point.min, "Max": point.max}
    if type_ == "histogram":
        row |= {"BucketCounts": list(point.bucket_counts), "ExplicitBounds": list(point.explicit_bounds)}
    if type_ == "exponential_histogram":
        row |= {
            "Scale": point.scale,
            "ZeroCount": point.zero_count,
            "PositiveOffset": point.positive.offset,
            "PositiveBucketCounts": list(point.positive.bucket_counts),
            "NegativeOffset": point.negative.offset,
            "NegativeBucketCounts": list(point.negative.bucket_counts),
        }
    if type_ == "summary":
        row |= {
            "ValueAtQuantiles.Quantile": [value.quantile for value in point.quantile_values],
            "ValueAtQuantiles.Value": [value.value for value in point.quantile_values],
        }
        return row
    return row | {
        "Exemplars.FilteredAttributes": [pairs(exemplar.filtered_attributes) for exemplar in point.exemplars],
        "Exemplars.TimeUnix": [nanos(exemplar.time_unix_nano) for exemplar in point.exemplars],
        "Exemplars.Value": [_number(exemplar) for exemplar in point.exemplars],
        "Exemplars.SpanId": [exemplar.span_id.hex() or "0" * 16 for exemplar in point.exemplars],
        "Exemplars.TraceId": [exemplar.trace_id.hex() or "0" * 32 for exemplar in point.exemplars],
    }


def _number(point: Any) -> float:
    return point.as_double if point.WhichOneof("value") == "as_double" else float(point.as_int)
