"""Edges between jobs, requests and what they call as the columns of `job_dependencies`. Pure.

The samples of queue latency and duration go into ephemeral columns, of which the server makes the quantiles' states
itself: no state of ClickHouse's is built here, and no view stands between the insert and its table.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from exporters.clickhouse.values import timestamps
from pipeline import Batch

_NAMES: Final = {
    "ParentKind": "parent_kind",
    "Parent": "parent",
    "ParentService": "parent_service",
    "ChildKind": "child_kind",
    "Child": "child",
    "ChildService": "child_service",
    "Via": "via",
}

_AS_THEY_ARE: Final = {
    "Calls": "calls",
    "Failures": "failures",
    "Executions": "executions",
    "Parents": "parents",
    "FanOutMax": "fan_out_max",
    "QueueLatencySamples": "queue_latencies",
    "QueueLatencyWeights": "queue_latency_weights",
    "DurationSamples": "durations",
    "DurationWeights": "duration_weights",
}

_TIMES: Final = {"Timestamp": "timestamp", "FirstSeen": "first_seen", "LastSeen": "last_seen"}


def columns(batch: Batch) -> pa.Table:
    """Return a row an edge and interval."""
    return pa.table(
        {
            **{name: timestamps(batch.column(source)) for name, source in _TIMES.items()},
            **{name: batch.column(source).dictionary_encode() for name, source in _NAMES.items()},
            **{name: batch.column(source) for name, source in _AS_THEY_ARE.items()},
        }
    )
