"""Changes of failure clusters as the columns of `failure_clusters`. Pure."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from exporters.clickhouse.values import timestamps
from pipeline import Batch
from pipeline.arrays import nest, unnest
from pipeline.kinds import required

_TIMES = {"Timestamp": "timestamp", "OpenedAt": "opened_at", "LastSeenAt": "last_seen_at"}

_NAMES = {
    "State": "state",
    "Rule": "rule",
    "ErrorType": "error_type",
    "ErrorCategory": "error_category",
    "ErrorFingerprint": "error_fingerprint",
}
"""Texts that repeat, which are sent as dictionaries."""

_AS_THEY_ARE = {
    "ClusterId": "cluster_id",
    "Failures": "failures",
    "JobClasses": "job_classes",
    "Queues": "queues",
    "SampleMessages": "sample_messages",
    "SampleTraceIds": "sample_trace_ids",
}

_CAUSE = {
    "Key": "key",
    "Value": "value",
    "ShareInFailures": "share_in_failures",
    "ShareInSuccesses": "share_in_successes",
}


def columns(batch: Batch) -> pa.Table:
    """Return a row a change."""
    return pa.table(
        {
            **{name: timestamps(batch.column(source)) for name, source in _TIMES.items()},
            **{name: batch.column(source).dictionary_encode() for name, source in _NAMES.items()},
            **{name: batch.column(source) for name, source in _AS_THEY_ARE.items()},
            "Causes": _causes(batch.column("causes")),
        }
    )


def _causes(lists: pa.Array[Any]) -> pa.ListArray[Any]:
    """Return the causes under the names that the tuple has in ClickHouse."""
    offsets, causes = unnest(lists)
    fields = {name: causes.field(source) for name, source in _CAUSE.items()}
    renamed = pa.StructArray.from_arrays(list(fields.values()), list(fields))
    return nest(offsets, renamed, required("item", renamed.type))
