"""Points of metrics as the columns of the five `otel_metrics_*` tables. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from exporters.clickhouse.values import (
    attribute_map,
    child,
    filled,
    present_lists,
    service_name,
    shared_map,
    shared_text,
    taken_apart,
    timestamps,
)
from pipeline import Batch, Rejected
from pipeline.arrays import hex_text, nest
from pipeline.batch import one_array
from pipeline.kinds import MetricType

Columns: TypeAlias = "dict[str, pa.Array[Any]]"

TYPES: Final = tuple(MetricType)


def divide(batch: Batch) -> Iterator[tuple[MetricType, pa.BooleanArray | None, Batch]]:
    """Yield each type that has points, which rows these are (None is all), and the batch of them.

    Raises Rejected for a point whose metric has no known type.
    """
    metric = batch.sides["metric"]
    found = pc.index_in(one_array(metric.column("type")), value_set=pa.array([str(type_) for type_ in TYPES]))
    codes = filled(found, -1).take(batch.column("metric")).to_numpy()
    for code in np.unique(codes):
        rows = codes == code
        if code < 0:
            name = one_array(metric.column("name"))[batch.column("metric")[int(rows.argmax())].as_py()]
            raise Rejected(f'metrics type is unset: metric "{name}" has none of {", ".join(TYPES)}')
        if rows.all():
            yield TYPES[code], None, batch
            return
        mask = pa.array(rows)
        yield TYPES[code], mask, batch.with_table(batch.table.filter(mask).combine_chunks())


def columns(batch: Batch, type_: MetricType) -> pa.Table:
    """Return a row a point; every point in `batch` is of `type_`."""
    return pa.table({**_common(batch), **_OF_TYPE[type_](batch)})


def _common(batch: Batch) -> Columns:
    return {
        "ResourceAttributes": shared_map(batch, "resource"),
        "ResourceSchemaUrl": shared_text(batch, "resource", "schema_url"),
        "ScopeName": shared_text(batch, "scope", "name"),
        "ScopeVersion": shared_text(batch, "scope", "version"),
        "ScopeAttributes": shared_map(batch, "scope"),
        "ScopeDroppedAttrCount": batch.side("scope", "dropped_attributes_count"),
        "ScopeSchemaUrl": shared_text(batch, "scope", "schema_url"),
        "ServiceName": service_name(batch),
        "MetricName": shared_text(batch, "metric", "name"),
        "MetricDescription": shared_text(batch, "metric", "description"),
        "MetricUnit": shared_text(batch, "metric", "unit"),
        "Attributes": attribute_map(batch.column("attributes")),
        "StartTimeUnix": timestamps(batch.column("start_time_unix_nano")),
        "TimeUnix": timestamps(batch.column("time_unix_nano")),
        "Flags": batch.column("flags"),
    }


def _gauge(batch: Batch) -> Columns:
    return {"Value": _number(batch.column("as_double"), batch.column("as_int")), **_exemplars(batch)}


def _sum(batch: Batch) -> Columns:
    return {**_gauge(batch), **_temporality(batch), "IsMonotonic": batch.side("metric", "is_monotonic")}


def _histogram(batch: Batch) -> Columns:
    return {
        **_totals(batch),
        **_extremes(batch),
        "BucketCounts": present_lists(batch.column("bucket_counts")),
        "ExplicitBounds": present_lists(batch.column("explicit_bounds")),
        **_exemplars(batch),
        **_temporality(batch),
    }


def _exponential_histogram(batch: Batch) -> Columns:
    return {
        **_totals(batch),
        **_extremes(batch),
        "Scale": filled(batch.column("scale"), 0),
        "ZeroCount": filled(batch.column("zero_count"), 0),
        **_buckets("Positive", batch.column("positive")),
        **_buckets("Negative", batch.column("negative")),
        **_exemplars(batch),
        **_temporality(batch),
    }


def _summary(batch: Batch) -> Columns:
    offsets, values = taken_apart(batch.column("quantile_values"))
    return {
        **_totals(batch),
        "ValueAtQuantiles.Quantile": nest(offsets, child(values, "quantile")),
        "ValueAtQuantiles.Value": nest(offsets, child(values, "value")),
    }


_OF_TYPE: Final[Mapping[MetricType, Callable[[Batch], Columns]]] = MappingProxyType(
    {
        MetricType.GAUGE: _gauge,
        MetricType.SUM: _sum,
        MetricType.HISTOGRAM: _histogram,
        MetricType.EXPONENTIAL_HISTOGRAM: _exponential_histogram,
        MetricType.SUMMARY: _summary,
    }
)


def _totals(batch: Batch) -> Columns:
    return {"Count": filled(batch.column("count"), 0), "Sum": filled(batch.column("sum"), 0)}


def _extremes(batch: Batch) -> Columns:
    return {"Min": filled(batch.column("min"), 0), "Max": filled(batch.column("max"), 0)}


def _temporality(batch: Batch) -> Columns:
    return {"AggregationTemporality": batch.side("metric", "aggregation_temporality")}


def _buckets(sign: str, buckets: pa.Array[Any]) -> Columns:
    # Absent buckets are a null struct: no offset, no counts.
    return {
        f"{sign}Offset": filled(pc.struct_field(buckets, "offset"), 0),
        f"{sign}BucketCounts": present_lists(pc.struct_field(buckets, "bucket_counts")),
    }


def _number(doubles: pa.Array[Any], ints: pa.Array[Any]) -> pa.Array[Any]:
    """Return the values as doubles, as the column is; large ints lose their last digits, a missing value is 0."""
    if ints.null_count == len(ints):
        return filled(doubles, 0)
    return filled(pc.coalesce(doubles, ints.cast(pa.float64(), safe=False)), 0)


def _exemplars(batch: Batch) -> Columns:
    offsets, values = taken_apart(batch.column("exemplars"))
    return {
        "Exemplars.FilteredAttributes": nest(offsets, attribute_map(child(values, "filtered_attributes"))),
        "Exemplars.TimeUnix": nest(offsets, timestamps(child(values, "time_unix_nano"))),
        "Exemplars.Value": nest(offsets, _number(child(values, "as_double"), child(values, "as_int"))),
        "Exemplars.SpanId": nest(offsets, _hex_or_zeros(child(values, "span_id"), 16)),
        "Exemplars.TraceId": nest(offsets, _hex_or_zeros(child(values, "trace_id"), 32)),
    }


def _hex_or_zeros(ids: pa.Array[Any], digits: int) -> pa.Array[Any]:
    """Return hex ids; zeros where there is none, as the Collector writes them here (and nowhere else)."""
    texts: pa.Array[Any] = hex_text(ids)
    filled_in: pa.Array[Any] = pc.if_else(pc.equal(texts, pa.scalar("")), pa.scalar("0" * digits), texts)
    return filled_in
