"""What OTTL conditions may read: paths of a span, of its resource and scope, and of its events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import Column
from pipeline.columns import hex_text
from pipeline.config.words import choice
from processors.tail_sampling.ottl.values import Error, Value, of_any_values, of_column, taken
from processors.tail_sampling.spans import EventColumns, SpanColumns

Rows = SpanColumns | EventColumns

_KINDS: Final = ("Unspecified", "Internal", "Server", "Client", "Producer", "Consumer")

ENUMS: Final = {
    **{f"SPAN_KIND_{kind.upper()}": number for number, kind in enumerate(_KINDS)},
    "STATUS_CODE_UNSET": 0,
    "STATUS_CODE_OK": 1,
    "STATUS_CODE_ERROR": 2,
}

_SPAN_COLUMNS: Final = (
    "name",
    "start_time_unix_nano",
    "end_time_unix_nano",
    "trace_state",
    "dropped_attributes_count",
    "dropped_events_count",
    "dropped_links_count",
)
_EVENT_COLUMNS: Final = ("name", "time_unix_nano", "dropped_attributes_count")

_SPAN_PATHS: Final = frozenset(
    {
        *_SPAN_COLUMNS,
        "attributes",
        "kind",
        "kind.string",
        "status.code",
        "status.message",
        "trace_id.string",
        "span_id.string",
        "parent_span_id.string",
    }
)
_OUTER: Final = frozenset(
    {
        "resource.attributes",
        "scope.attributes",
        "scope.name",
        "scope.version",
        "instrumentation_scope.attributes",
        "instrumentation_scope.name",
        "instrumentation_scope.version",
    }
)

SPAN: Final = frozenset({*_SPAN_PATHS, *_OUTER, *(f"span.{name}" for name in _SPAN_PATHS)})
"""Paths where a condition is asked of spans."""

_OWN: Final = frozenset({*_EVENT_COLUMNS, "attributes"})

SPAN_EVENT: Final = frozenset(
    {*_OWN, *(f"spanevent.{name}" for name in _OWN), *_OUTER, *(f"span.{name}" for name in _SPAN_PATHS)}
)
"""Paths where it is asked of events."""


def path(names: Sequence[str], key: str | None, context: frozenset[str]) -> Callable[[Rows], tuple[Value, Error]]:
    """Return what reads a path. Raises ValueError where it is not one of the context's."""
    whole = ".".join(names)
    if whole not in context:
        raise ValueError(f'there is no path "{whole}" here{choice(whole, context)}')
    first, _, rest = whole.partition(".")
    if whole.endswith("attributes") != (key is not None):
        raise ValueError(f'path "{whole}" {"needs" if key is None else "takes no"} key in brackets')
    if first in ("resource", "scope", "instrumentation_scope"):
        side = first.removeprefix("instrumentation_")
        read = _of_span(lambda spans: _side(spans, side, rest, key))
    elif context is SPAN_EVENT and first != "span":
        return lambda rows: _event(rows, whole.removeprefix("spanevent."), key)
    else:
        read = _of_span(lambda spans: _span(spans, whole.removeprefix("span."), key))
    return read


def _of_span(value: Callable[[SpanColumns], Value]) -> Callable[[Rows], tuple[Value, Error]]:
    def read(rows: Rows) -> tuple[Value, Error]:
        found = taken(value(rows.spans), rows.parents) if isinstance(rows, EventColumns) else value(rows)
        return found, np.zeros(len(rows), np.bool_)

    return read


def _event(rows: Any, name: str, key: str | None) -> tuple[Value, Error]:
    value = of_column(rows.column(name)) if key is None else of_any_values(rows.attribute(key))
    return value, np.zeros(len(rows), np.bool_)


def _side(spans: SpanColumns, side: str, name: str, key: str | None) -> Value:
    value = of_column(spans.side_column(side, name)) if key is None else of_any_values(spans.side_attribute(side, key))
    return taken(value, spans.side(side).astype(np.int64))


def _span(spans: SpanColumns, name: str, key: str | None) -> Value:
    if key is not None:
        return of_any_values(spans.attribute(key))
    if name in _SPAN_COLUMNS or name == "kind":
        return of_column(spans.column(name))
    if name == "kind.string":
        kinds: Column = pa.array(_KINDS).take(pc.min_element_wise(spans.column("kind"), pa.scalar(5, pa.int32())))
        return of_column(kinds)
    if name.startswith("status."):
        field: Column = spans.column("status").field(name.removeprefix("status."))
        empty = "" if pa.types.is_string(field.type) else 0
        return of_column(pc.if_else(spans.column("status").is_valid(), field, pa.scalar(empty, field.type)))
    return of_column(hex_text(spans.column(name.removesuffix(".string"))))
