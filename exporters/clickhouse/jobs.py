"""Executions and enqueues of jobs as the columns of `jobs`. Pure."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from exporters.clickhouse.values import filled, shared_map, timestamps
from pipeline import Batch

VERSION: Final = ("Version", "IsDeleted")
"""Of several versions of a row the highest one counts, and hides the row if it is deleted."""

_IDS: Final = {
    "JobId": "job_id",
    "ProviderJobId": "provider_job_id",
    "EnqueueSpanId": "enqueue_span_id",
    "ErrorMessage": "error_message",
    "ExceptionStacktrace": "exception_stacktrace",
    "ParentJobId": "parent_job_id",
    "FlowParentJobId": "flow_parent_job_id",
    "BatchId": "batch_id",
}
"""Texts that seldom repeat."""

_NAMES: Final = {
    "Operation": "operation",
    "System": "system",
    "Adapter": "adapter",
    "JobClass": "job_class",
    "Queue": "queue",
    "ServiceName": "service_name",
    "Host": "host",
    "WorkerId": "worker_id",
    "Outcome": "outcome",
    "OutcomeSource": "outcome_source",
    "EnqueuedAtSource": "enqueued_at_source",
    "LinkStyle": "link_style",
    "ErrorType": "error_type",
    "ErrorSource": "error_source",
    "ErrorCategory": "error_category",
    "ErrorFingerprint": "error_fingerprint",
    "ParentJobClass": "parent_job_class",
}
"""Texts that repeat, which are sent as dictionaries."""

_AS_THEY_ARE: Final = {
    "TraceId": "trace_id",
    "SpanId": "span_id",
    "AlsoSpanIds": "also_span_ids",
    "Duration": "duration",
    "IsRetryEnqueue": "is_retry_enqueue",
    "Attempt": "attempt",
    "MaxAttempts": "max_attempts",
    "QueueLatency": "queue_latency",
    "ErrorTransient": "error_transient",
    "DependsOnJobIds": "depends_on_job_ids",
    "Version": "version",
}


def columns(batch: Batch) -> pa.Table:
    """Return a row a job row. A text that is not known is "", `BatchCount` and `AttemptInferred` then are 0."""
    return pa.table(
        {
            "Timestamp": timestamps(batch.column("timestamp")),
            **{name: batch.column(source) for name, source in _AS_THEY_ARE.items()},
            **{name: _present(batch.column(source)) for name, source in _IDS.items()},
            **{name: _present(batch.column(source)).dictionary_encode() for name, source in _NAMES.items()},
            "BatchCount": filled(batch.column("batch_count"), 0),
            "AttemptInferred": filled(batch.column("attempt_inferred"), 0),
            "EnqueuedAt": _optional_timestamps(batch.column("enqueued_at")),
            "ScheduledFor": _optional_timestamps(batch.column("scheduled_for")),
            "ResourceAttributes": shared_map(batch, "resource"),
            "IsDeleted": batch.column("is_deleted").cast(pa.uint8()),
        }
    )


def _present(texts: pa.Array[Any]) -> pa.Array[Any]:
    """Return the texts with "" for null."""
    present: pa.Array[Any] = texts.fill_null("") if texts.null_count else texts
    return present


def _optional_timestamps(nanoseconds: pa.Array[Any]) -> pa.Array[Any]:
    """Return uint64 nanoseconds as timestamps; null stays null."""
    times = timestamps(filled(nanoseconds, 0))
    if not nanoseconds.null_count:
        return times
    optional: pa.Array[Any] = pc.if_else(nanoseconds.is_valid(), times, pa.scalar(None, times.type))
    return optional
