"""The kinds of batch and the Arrow schema of each: what every component may rely on.

Columns carry OTLP's own field names and types (opentelemetry-proto 1.x), so that a batch goes back to OTLP as it came.
What many rows share (resource, scope, metric definition) stands once in a *side table*; the main table's column of the
same name holds the row number there, as in OTel-Arrow.

Not here: how OTLP becomes columns (`pipeline.otlp`), how columns become ClickHouse's (`exporters.clickhouse`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

import pyarrow as pa


class Signal(StrEnum):
    """An OTLP signal: what a pipeline is declared for (`service.pipelines.traces`)."""

    TRACES = "traces"
    METRICS = "metrics"
    LOGS = "logs"


class Kind(StrEnum):
    """What one row of a batch is."""

    SPANS = "spans"
    METRICS = "metrics"
    LOGS = "logs"
    JOBS = "jobs"
    JOB_DEPENDENCIES = "job_dependencies"
    FAILURE_CLUSTERS = "failure_clusters"
    ALERTS = "alerts"


def required(name: str, type_: pa.DataType) -> pa.Field[Any]:
    return pa.field(name, type_, nullable=False)


def list_of(type_: pa.DataType) -> pa.ListType[Any]:
    """A list without null elements, its items named as Arrow and ptars name them."""
    return pa.list_(required("item", type_))


ANY_VALUE: Final = pa.struct(
    [
        ("string_value", pa.string()),
        ("bool_value", pa.bool_()),
        ("int_value", pa.int64()),
        ("double_value", pa.float64()),
        ("array_value", pa.binary()),
        ("kvlist_value", pa.binary()),
        ("bytes_value", pa.binary()),
    ]
)
"""One AnyValue: at most one child is not null; a null struct is a value that was not sent.

Arrays and maps nest without end, so they stay in protobuf's encoding (`ArrayValue`, `KeyValueList`).
"""

ATTRIBUTES: Final = list_of(pa.struct([required("key", pa.string()), pa.field("value", ANY_VALUE)]))

EVENT: Final = pa.struct(
    [
        required("time_unix_nano", pa.uint64()),
        required("name", pa.string()),
        required("attributes", ATTRIBUTES),
        required("dropped_attributes_count", pa.uint32()),
    ]
)

LINK: Final = pa.struct(
    [
        required("trace_id", pa.binary()),
        required("span_id", pa.binary()),
        required("trace_state", pa.string()),
        required("attributes", ATTRIBUTES),
        required("dropped_attributes_count", pa.uint32()),
        required("flags", pa.uint32()),
    ]
)

STATUS: Final = pa.struct([required("message", pa.string()), required("code", pa.int32())])

EXEMPLAR: Final = pa.struct(
    [
        required("time_unix_nano", pa.uint64()),
        pa.field("as_double", pa.float64()),
        required("span_id", pa.binary()),
        required("trace_id", pa.binary()),
        pa.field("as_int", pa.int64()),
        required("filtered_attributes", ATTRIBUTES),
    ]
)

BUCKETS: Final = pa.struct([required("offset", pa.int32()), required("bucket_counts", list_of(pa.uint64()))])

QUANTILE: Final = pa.struct([required("quantile", pa.float64()), required("value", pa.float64())])

RESOURCE: Final = pa.schema(
    [
        required("present", pa.bool_()),
        required("attributes", ATTRIBUTES),
        required("dropped_attributes_count", pa.uint32()),
        required("entity_refs", list_of(pa.binary())),
        required("schema_url", pa.string()),
    ]
)
"""Side table `resource`. `present` is false where the request left the resource out. `entity_refs` stay encoded."""

SCOPE: Final = pa.schema(
    [
        required("present", pa.bool_()),
        required("name", pa.string()),
        required("version", pa.string()),
        required("attributes", ATTRIBUTES),
        required("dropped_attributes_count", pa.uint32()),
        required("schema_url", pa.string()),
    ]
)
"""Side table `scope`: the instrumentation scope and the schema URL of its ScopeSpans, ScopeMetrics or ScopeLogs."""


class MetricType(StrEnum):
    """What the data of a metric is: the name of its field in OTLP's `Metric.data`."""

    GAUGE = "gauge"
    SUM = "sum"
    HISTOGRAM = "histogram"
    EXPONENTIAL_HISTOGRAM = "exponential_histogram"
    SUMMARY = "summary"


METRIC: Final = pa.schema(
    [
        required("name", pa.string()),
        required("description", pa.string()),
        required("unit", pa.string()),
        required("metadata", ATTRIBUTES),
        required("type", pa.string()),
        required("aggregation_temporality", pa.int32()),
        required("is_monotonic", pa.bool_()),
    ]
)
"""Side table `metric`. `type` is a MetricType; temporality and monotony are 0 and false where the type has none."""

INDEX: Final = pa.int32()

SPANS: Final = pa.schema(
    [
        required("resource", INDEX),
        required("scope", INDEX),
        required("trace_id", pa.binary()),
        required("span_id", pa.binary()),
        required("trace_state", pa.string()),
        required("parent_span_id", pa.binary()),
        required("flags", pa.uint32()),
        required("name", pa.string()),
        required("kind", pa.int32()),
        required("start_time_unix_nano", pa.uint64()),
        required("end_time_unix_nano", pa.uint64()),
        required("attributes", ATTRIBUTES),
        required("dropped_attributes_count", pa.uint32()),
        required("events", list_of(EVENT)),
        required("dropped_events_count", pa.uint32()),
        required("links", list_of(LINK)),
        required("dropped_links_count", pa.uint32()),
        pa.field("status", STATUS),
    ]
)

LOGS: Final = pa.schema(
    [
        required("resource", INDEX),
        required("scope", INDEX),
        required("time_unix_nano", pa.uint64()),
        required("observed_time_unix_nano", pa.uint64()),
        required("severity_number", pa.int32()),
        required("severity_text", pa.string()),
        pa.field("body", ANY_VALUE),
        required("attributes", ATTRIBUTES),
        required("dropped_attributes_count", pa.uint32()),
        required("flags", pa.uint32()),
        required("trace_id", pa.binary()),
        required("span_id", pa.binary()),
        required("event_name", pa.string()),
    ]
)

METRICS: Final = pa.schema(
    [
        required("resource", INDEX),
        required("scope", INDEX),
        required("metric", INDEX),
        required("attributes", ATTRIBUTES),
        required("start_time_unix_nano", pa.uint64()),
        required("time_unix_nano", pa.uint64()),
        required("flags", pa.uint32()),
        pa.field("exemplars", list_of(EXEMPLAR)),
        pa.field("as_double", pa.float64()),
        pa.field("as_int", pa.int64()),
        pa.field("count", pa.uint64()),
        pa.field("sum", pa.float64()),
        pa.field("min", pa.float64()),
        pa.field("max", pa.float64()),
        pa.field("bucket_counts", list_of(pa.uint64())),
        pa.field("explicit_bounds", list_of(pa.float64())),
        pa.field("scale", pa.int32()),
        pa.field("zero_count", pa.uint64()),
        pa.field("zero_threshold", pa.float64()),
        pa.field("positive", BUCKETS),
        pa.field("negative", BUCKETS),
        pa.field("quantile_values", list_of(QUANTILE)),
    ]
)
"""One row a data point of any type; a column that the point's type does not have is null."""

JOBS: Final = pa.schema(
    [
        required("resource", INDEX),
        required("operation", pa.string()),
        required("system", pa.string()),
        pa.field("adapter", pa.string()),
        pa.field("job_class", pa.string()),
        pa.field("queue", pa.string()),
        pa.field("job_id", pa.string()),
        pa.field("provider_job_id", pa.string()),
        pa.field("service_name", pa.string()),
        pa.field("host", pa.string()),
        required("timestamp", pa.uint64()),
        required("duration", pa.uint64()),
        required("trace_id", pa.string()),
        required("span_id", pa.string()),
        required("also_span_ids", list_of(pa.string())),
        required("outcome", pa.string()),
        pa.field("outcome_source", pa.string()),
        required("is_retry_enqueue", pa.bool_()),
        pa.field("batch_count", pa.int32()),
        pa.field("attempt", pa.int32()),
        pa.field("attempt_inferred", pa.int32()),
        pa.field("max_attempts", pa.int32()),
        pa.field("enqueued_at", pa.uint64()),
        pa.field("enqueued_at_source", pa.string()),
        pa.field("scheduled_for", pa.uint64()),
        pa.field("queue_latency", pa.uint64()),
        pa.field("link_style", pa.string()),
        pa.field("enqueue_span_id", pa.string()),
        pa.field("error_type", pa.string()),
        pa.field("error_message", pa.string()),
        pa.field("error_source", pa.string()),
        pa.field("exception_stacktrace", pa.string()),
        pa.field("error_category", pa.string()),
        pa.field("error_transient", pa.bool_()),
        pa.field("error_fingerprint", pa.string()),
        pa.field("parent_job_id", pa.string()),
        pa.field("parent_job_class", pa.string()),
        pa.field("flow_parent_job_id", pa.string()),
        required("depends_on_job_ids", list_of(pa.string())),
        pa.field("batch_id", pa.string()),
        pa.field("worker_id", pa.string()),
        required("version", pa.uint64()),
        required("is_deleted", pa.bool_()),
    ]
)
"""One row is one execution of a job (`operation` is `process`) or one act of enqueueing it (`enqueue`).

`(trace_id, span_id)`, lower-case hex, names the row; of several versions of a row the highest `version` is the truth,
and `is_deleted` in it says that the row was merged into another one, or that its span was no job after all. Times are
nanoseconds since 1970, `duration` and `queue_latency` nanoseconds. Null is what the telemetry does not say.
"""

CAUSE: Final = pa.struct(
    [
        required("key", pa.string()),
        required("value", pa.string()),
        required("share_in_failures", pa.float64()),
        pa.field("share_in_successes", pa.float64()),
    ]
)
"""What failures have in common: an attribute of theirs, and how many of the failures and of the successes have it.

`share_in_successes` is null where no success is known to compare with.
"""

FAILURE_CLUSTERS: Final = pa.schema(
    [
        required("timestamp", pa.uint64()),
        required("cluster_id", pa.string()),
        required("state", pa.string()),
        required("rule", pa.string()),
        required("opened_at", pa.uint64()),
        required("last_seen_at", pa.uint64()),
        required("failures", pa.uint64()),
        required("job_classes", list_of(pa.string())),
        required("queues", list_of(pa.string())),
        required("error_type", pa.string()),
        required("error_category", pa.string()),
        required("error_fingerprint", pa.string()),
        required("causes", list_of(CAUSE)),
        required("sample_messages", list_of(pa.string())),
        required("sample_trace_ids", list_of(pa.string())),
    ]
)
"""One row is a change in the life of a cluster of failures; the last row of a `cluster_id` says how it is now.

Times are those of the jobs. `error_*` are the commonest error's, empty where nobody names errors.
"""

JOB_DEPENDENCIES: Final = pa.schema(
    [
        required("timestamp", pa.uint64()),
        required("parent_kind", pa.string()),
        required("parent", pa.string()),
        required("parent_service", pa.string()),
        required("child_kind", pa.string()),
        required("child", pa.string()),
        required("child_service", pa.string()),
        required("via", pa.string()),
        required("calls", pa.int64()),
        required("failures", pa.int64()),
        required("executions", pa.int64()),
        required("parents", pa.int64()),
        required("fan_out_max", pa.uint64()),
        required("queue_latencies", list_of(pa.uint64())),
        required("queue_latency_weights", list_of(pa.uint64())),
        required("durations", list_of(pa.uint64())),
        required("duration_weights", list_of(pa.uint64())),
        required("first_seen", pa.uint64()),
        required("last_seen", pa.uint64()),
    ]
)
"""One row is what was learnt of one edge in the interval that began at `timestamp`: parent -> child, kinds `job`,
`request`, `external`, `unknown`; `via` is `parent` or `link`.

Rows add up, over rows of one interval and over intervals: `calls` (jobs enqueued, requests sent), `failures` of the
child, its `executions`, and `parents`, the executions that called at least once. Each can be negative: a row takes back
what an earlier one said too much. `fan_out_max` is the most calls that one parent execution made, as far as is known.
Queue latencies and durations of the child are samples in nanoseconds, each standing for as many as its weight says.
Times are nanoseconds since 1970; a text that is not known is empty.
"""


ALERTS: Final = pa.schema(
    [
        required("timestamp", pa.uint64()),
        required("name", pa.string()),
        required("severity", pa.string()),
        required("state", pa.string()),
        required("subject", pa.string()),
        required("text", pa.string()),
        required("labels", pa.map_(pa.string(), pa.string())),
        required("runbook", pa.string()),
        required("trace_ids", list_of(pa.string())),
    ]
)
"""One row is something that a person should know, or that it is over: see `pipeline.alerts`."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The published form of a kind."""

    schema: pa.Schema
    items: str
    """What the Collector's own metrics call a row: `otelcol_exporter_sent_<items>`."""

    sides: Mapping[str, pa.Schema] = field(default_factory=lambda: MappingProxyType({}))
    signal: Signal | None = None
    """The OTLP signal that carries it, or None for kinds of our own."""


_SHARED: Final = {"resource": RESOURCE, "scope": SCOPE}

SHAPES: Final[Mapping[Kind, Shape]] = MappingProxyType(
    {
        Kind.SPANS: Shape(SPANS, "spans", MappingProxyType(_SHARED), Signal.TRACES),
        Kind.METRICS: Shape(METRICS, "metric_points", MappingProxyType({**_SHARED, "metric": METRIC}), Signal.METRICS),
        Kind.LOGS: Shape(LOGS, "log_records", MappingProxyType(_SHARED), Signal.LOGS),
        Kind.JOBS: Shape(JOBS, "jobs", MappingProxyType({"resource": RESOURCE})),
        Kind.JOB_DEPENDENCIES: Shape(JOB_DEPENDENCIES, "job_dependencies"),
        Kind.FAILURE_CLUSTERS: Shape(FAILURE_CLUSTERS, "failure_clusters"),
        Kind.ALERTS: Shape(ALERTS, "alerts"),
    }
)

KIND_OF: Final[Mapping[Signal, Kind]] = MappingProxyType(
    {shape.signal: kind for kind, shape in SHAPES.items() if shape.signal is not None}
)
