"""Arrow columns beside their slow, obvious twin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from exporters.clickhouse.tables import METRICS, TABLES, parts
from pipeline import Batch, Rejected
from pipeline.kinds import Signal
from pipeline.testing import points_batch
from tests.exporters.clickhouse import messages
from tests.exporters.clickhouse.messages import Row, decoded

PICKS = st.one_of(st.none(), st.tuples(st.integers(0, 3), st.integers(0, 6), st.lists(st.booleans(), max_size=6)))
"""Rows that a processor left: a slice (which keeps offsets into its parent), then a filter."""


def plain(table: pa.Table) -> list[Row]:
    """Return rows as Python has them, times as nanoseconds."""
    columns = {}
    for field in table.schema:
        column = table.column(field.name)
        if field.type == pa.timestamp("ns"):
            column = column.cast(pa.int64())
        elif field.type == pa.list_(pa.timestamp("ns")):
            column = column.cast(pa.list_(pa.int64()))
        columns[field.name] = column
    return pa.table(columns).to_pylist()


def picked(batch: Batch, rows: Sequence[Any], picks: Any) -> tuple[Batch, list[Any]]:
    if picks is None:
        return batch, list(rows)
    start, length, mask = picks
    table, rows = batch.table.slice(start, length), list(rows)[start : start + length]
    kept = np.array([*mask, *[True] * len(rows)][: len(rows)], np.bool_)
    table = table.filter(pa.array(kept)).combine_chunks()
    return batch.with_table(table), [row for row, keep in zip(rows, kept, strict=True) if keep]


@given(messages.TRACE_REQUESTS, PICKS)
def test_spans(request: Any, picks: Any) -> None:
    """Scenario: any spans, whole, sliced, filtered. Guarantees: the columns that a reading span by span gives."""
    batch, expected = picked(decoded(Signal.TRACES, request), list(messages.span_rows(request)), picks)

    (part,) = parts(batch)

    assert plain(part.columns) == expected
    assert part.rows is None


@given(messages.LOG_REQUESTS, PICKS)
def test_logs(request: Any, picks: Any) -> None:
    """Scenario: any records, whole, sliced, filtered. Guarantees: the columns of a reading record by record."""
    batch, expected = picked(decoded(Signal.LOGS, request), list(messages.log_rows(request)), picks)

    (part,) = parts(batch)

    assert plain(part.columns) == expected


@given(messages.METRIC_REQUESTS, PICKS)
def test_metrics(request: Any, picks: Any) -> None:
    """Scenario: points of all types, whole, sliced, filtered.

    Guarantees: each table has its points in order, each part knows its rows, and no point is in two tables or in none.
    """
    batch, expected = picked(decoded(Signal.METRICS, request), list(messages.point_rows(request)), picks)

    found = parts(batch)

    assert {part.table.key: plain(part.columns) for part in found} == {
        type_: [row for of_type, row in expected if of_type == type_] for type_ in {type_ for type_, _ in expected}
    }
    for part in found:
        rows = [True] * len(expected) if part.rows is None else part.rows.to_pylist()
        assert rows == [type_ == part.table.key for type_, _ in expected]


def test_empty_tables_have_the_same_columns_as_full_ones() -> None:
    """Scenario: no rows. Guarantees: every table has its columns nevertheless, with the types of one with rows."""
    (part,) = parts(points_batch(3))

    assert METRICS["gauge"].no_rows().schema.names == part.columns.schema.names  # type: ignore[index]  # a StrEnum
    for table in TABLES:
        assert table.no_rows().num_rows == 0


def test_a_metric_without_type_is_refused() -> None:
    """Scenario: a processor made points of an unknown type. Guarantees: Rejected in the Collector's words, by name."""
    batch = points_batch(2)
    metric = batch.sides["metric"]
    position = metric.schema.get_field_index("type")
    broken = metric.set_column(position, metric.schema.field(position), pa.array([""]))

    with pytest.raises(Rejected, match=r'metrics type is unset: metric "queue\.size"'):
        parts(Batch(batch.kind, batch.table, batch.receipt, {**batch.sides, "metric": broken}))


def test_nothing_repeats_in_a_dictionary() -> None:
    """Scenario: two resources of one service. Guarantees: one text in the dictionary, which ClickHouse relies on."""
    request = ExportTraceServiceRequest()
    for host in ("a", "b"):
        group = request.resource_spans.add()
        for key, value in (("service.name", "shop"), ("host.name", host)):
            group.resource.attributes.add(key=key).value.string_value = value
        group.scope_spans.add().spans.add(name="x")

    (part,) = parts(decoded(Signal.TRACES, request))

    service: Any = part.columns.column("ServiceName").chunk(0)
    assert service.dictionary.to_pylist() == ["shop"]
    assert service.to_pylist() == ["shop", "shop"]
