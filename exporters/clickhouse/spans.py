"""Spans as the columns of `otel_traces`. Pure."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from exporters.clickhouse.values import (
    attribute_map,
    child,
    filled,
    named,
    service_name,
    shared_map,
    shared_text,
    taken_apart,
    timestamps,
)
from pipeline import Batch
from pipeline.arrays import hex_text, nest

KINDS: Final = ("Unspecified", "Internal", "Server", "Client", "Producer", "Consumer")
STATUS_CODES: Final = ("Unset", "Ok", "Error")


def columns(batch: Batch) -> pa.Table:
    """Return a row a span. Scope attributes, flags, dropped counts and schema URLs have no column there."""
    start, end = batch.column("start_time_unix_nano"), batch.column("end_time_unix_nano")
    return pa.table(
        {
            "Timestamp": timestamps(start),
            "TraceId": hex_text(batch.column("trace_id")),
            "SpanId": hex_text(batch.column("span_id")),
            "ParentSpanId": hex_text(batch.column("parent_span_id")),
            "TraceState": batch.column("trace_state"),
            "SpanName": batch.column("name").dictionary_encode(),
            "SpanKind": named(batch.column("kind"), KINDS),
            "ServiceName": service_name(batch),
            "ResourceAttributes": shared_map(batch, "resource"),
            "ScopeName": shared_text(batch, "scope", "name"),
            "ScopeVersion": shared_text(batch, "scope", "version"),
            "SpanAttributes": attribute_map(batch.column("attributes")),
            "Duration": _duration(start, end),
            **_status(batch.column("status")),
            **_events(batch.column("events")),
            **_links(batch.column("links")),
        }
    )


def _duration(start: pa.Array[Any], end: pa.Array[Any]) -> pa.Array[Any]:
    """Return end - start in ns; 0 for a span that ends before it starts, where the Collector wraps around."""
    first, last = start.to_numpy(), end.to_numpy()
    return pa.array(np.where(last > first, last - first, np.uint64(0)))


def _status(status: pa.Array[Any]) -> dict[str, pa.Array[Any]]:
    # A null status has null fields, whatever lies below it.
    codes = filled(pc.struct_field(status, "code"), 0)
    messages = pc.struct_field(status, "message")
    return {
        "StatusCode": named(codes, STATUS_CODES),
        "StatusMessage": pc.fill_null(messages, "") if messages.null_count else messages,
    }


def _events(events: pa.Array[Any]) -> dict[str, pa.Array[Any]]:
    offsets, values = taken_apart(events)
    return {
        "Events.Timestamp": nest(offsets, timestamps(child(values, "time_unix_nano"))),
        "Events.Name": nest(offsets, child(values, "name").dictionary_encode()),
        "Events.Attributes": nest(offsets, attribute_map(child(values, "attributes"))),
    }


def _links(links: pa.Array[Any]) -> dict[str, pa.Array[Any]]:
    offsets, values = taken_apart(links)
    return {
        "Links.TraceId": nest(offsets, hex_text(child(values, "trace_id"))),
        "Links.SpanId": nest(offsets, hex_text(child(values, "span_id"))),
        "Links.TraceState": nest(offsets, child(values, "trace_state")),
        "Links.Attributes": nest(offsets, attribute_map(child(values, "attributes"))),
    }
