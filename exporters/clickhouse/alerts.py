"""Alerts as the columns of `job_alerts`. Pure."""

from __future__ import annotations

import pyarrow as pa

from exporters.clickhouse.values import timestamps
from pipeline import Batch


def columns(batch: Batch) -> pa.Table:
    """Return a row an alert."""
    return pa.table(
        {
            "Timestamp": timestamps(batch.column("timestamp")),
            **{name.capitalize(): batch.column(name).dictionary_encode() for name in ("name", "severity", "state")},
            **{name.capitalize(): batch.column(name) for name in ("subject", "text", "labels", "runbook")},
            "TraceIds": batch.column("trace_ids"),
        }
    )
