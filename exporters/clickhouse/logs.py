"""Log records as the columns of `otel_logs`. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from exporters.clickhouse.values import attribute_map, narrowed, service_name, shared_map, shared_text, text, timestamps
from pipeline import Batch
from pipeline.arrays import hex_text


def columns(batch: Batch) -> pa.Table:
    """Return a row a record. `TimestampTime` is left to the table's default; dropped counts have no column there."""
    return pa.table(
        {
            "Timestamp": timestamps(_time(batch)),
            "TraceId": hex_text(batch.column("trace_id")),
            "SpanId": hex_text(batch.column("span_id")),
            "TraceFlags": pa.array(batch.column("flags").to_numpy().astype(np.uint8)),  # W3C's: the lowest eight bits
            "SeverityText": batch.column("severity_text").dictionary_encode(),
            "SeverityNumber": narrowed(batch.column("severity_number")),
            "ServiceName": service_name(batch),
            "Body": text(batch.column("body")),
            "ResourceSchemaUrl": shared_text(batch, "resource", "schema_url"),
            "ResourceAttributes": shared_map(batch, "resource"),
            "ScopeSchemaUrl": shared_text(batch, "scope", "schema_url"),
            "ScopeName": shared_text(batch, "scope", "name"),
            "ScopeVersion": shared_text(batch, "scope", "version"),
            "ScopeAttributes": shared_map(batch, "scope"),
            "LogAttributes": attribute_map(batch.column("attributes")),
            "EventName": batch.column("event_name"),
        }
    )


def _time(batch: Batch) -> pa.Array[Any]:
    """Return when it happened or, where that was not said, when it was seen."""
    time, observed = batch.column("time_unix_nano").to_numpy(), batch.column("observed_time_unix_nano").to_numpy()
    return pa.array(np.where(time == 0, observed, time))
