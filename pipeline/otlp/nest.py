"""The published columns -> the nesting of requests: the first half of encoding, the same for protobuf and JSON.

Neighbouring rows with equal resource and schema URL share a `ResourceSpans` (or its like), those with equal scope as
well a `ScopeSpans`, points of equal metrics a `Metric`. Equal is what has equal content, not what has the same side
row: side tables of batches that were put together hold the same resource several times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.descriptor import Descriptor

from pipeline.arrays import Column, Ints, changes, first_sight, nest, offsets_of, parents_of
from pipeline.batch import Batch, one_array
from pipeline.kinds import SHAPES, Kind, MetricType, Signal
from pipeline.otlp import descriptors
from pipeline.otlp.sealed import SEALED, is_sealed


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """Resources or scopes: a distinct one for each element."""

    rows: Column
    """Their fields, in the columns of `descriptors.columns`."""

    encoded: Column
    """The same as protobuf."""

    sent: npt.NDArray[np.bool_]
    """False where the message is left out of the request."""

    schema_urls: Column


@dataclass(frozen=True, slots=True, eq=False)
class Nesting:
    """Requests, level by level; offsets as `arrays.unnest` gives them."""

    signal: Signal
    resources: Shared
    scopes: Shared
    request_groups: Ints
    """Offsets: the resource groups of each request."""

    resource_of_group: Ints
    group_scopes: Ints
    """Offsets: the scope groups of each resource group."""

    scope_of_group: Ints
    scope_records: Ints
    """Offsets: the records of each scope group."""

    records: Column
    """Spans, log records or metrics, in the columns of `descriptors.columns`."""


def nested(batch: Batch, bounds: Ints) -> Nesting:
    """Return the rows of an OTLP batch (filtered, sliced, put together or not), nested, in their order.

    `bounds` are offsets of rows: every request has the rows of one stretch.
    """
    signal = SHAPES[batch.kind].signal
    assert signal is not None
    request_codes: Ints = parents_of(bounds)
    resource_codes, resources = _shared(batch, "resource", descriptors.RESOURCE)
    scope_codes, scopes = _shared(batch, "scope", descriptors.SCOPE)
    if batch.kind is Kind.METRICS:
        runs, records = _metrics(batch, request_codes, resource_codes, scope_codes)
        request_codes, resource_codes, scope_codes = (
            codes[runs[:-1]] for codes in (request_codes, resource_codes, scope_codes)
        )
    elif is_sealed(batch):
        records = batch.column(SEALED)
    else:
        message = descriptors.wire(signal).records.message
        assert message is not None
        records = _struct(message, {name: batch.column(name) for name in descriptors.columns(message).names})
    scope_records = changes(request_codes, resource_codes, scope_codes)
    request_of_scope, resource_of_scope = request_codes[scope_records[:-1]], resource_codes[scope_records[:-1]]
    group_scopes = changes(request_of_scope, resource_of_scope)
    request_of_group = request_of_scope[group_scopes[:-1]]
    return Nesting(
        signal=signal,
        resources=resources,
        scopes=scopes,
        request_groups=offsets_of(np.bincount(request_of_group, minlength=len(bounds) - 1)),
        resource_of_group=resource_of_scope[group_scopes[:-1]],
        group_scopes=group_scopes,
        scope_of_group=scope_codes[scope_records[:-1]],
        scope_records=scope_records,
        records=records,
    )


def _shared(batch: Batch, name: str, message: Descriptor) -> tuple[Ints, Shared]:
    """Return for each row the number of its resource or scope, and the distinct ones that rows refer to."""
    used, inverse = np.unique(_numbers(batch, name), return_inverse=True)
    side = batch.sides[name].take(used)
    columns: dict[str, Column] = {column: one_array(side.column(column)) for column in side.column_names}
    rows = _struct(message, columns)
    encoded = descriptors.encoded(message, rows)
    codes, firsts = first_sight([encoded, columns["present"], columns["schema_url"]])
    distinct = pa.array(firsts)
    shared = Shared(
        rows=rows.take(distinct),
        encoded=encoded.take(distinct),
        sent=columns["present"].to_numpy(zero_copy_only=False)[firsts],
        schema_urls=columns["schema_url"].take(distinct),
    )
    return codes[inverse], shared


def _metrics(batch: Batch, request_codes: Ints, resource_codes: Ints, scope_codes: Ints) -> tuple[Ints, Column]:
    """Return offsets of the points of each metric in its request, and these metrics."""
    used, of_row = np.unique(_numbers(batch, "metric"), return_inverse=True)
    side = batch.sides["metric"].take(used)
    columns: dict[str, Column] = {name: one_array(side.column(name)) for name in side.column_names}
    types = pa.array(list(MetricType), pa.string())
    numbered: Column = pc.index_in(columns["type"], value_set=types)
    type_codes = numbered.to_numpy()

    without_points = _with_data(columns, type_codes, {})
    metric_codes, _ = first_sight([descriptors.encoded(descriptors.METRIC, without_points)])
    bounds = changes(request_codes, resource_codes, scope_codes, metric_codes[of_row])
    metric_of_run = of_row[bounds[:-1]]
    type_of_run, type_of_row = type_codes[metric_of_run], type_codes[of_row]
    points = {}
    for code in np.unique(type_of_row):
        rows = batch.table if (type_of_row == code).all() else batch.table.filter(pa.array(type_of_row == code))
        lengths = np.where(type_of_run == code, np.diff(bounds), 0)
        points[int(code)] = offsets_of(lengths), rows.combine_chunks()
    taken = {name: column.take(pa.array(metric_of_run)) for name, column in columns.items()}
    return bounds, _with_data(taken, type_of_run, points)


def _with_data(columns: dict[str, Column], type_codes: Ints, points: Mapping[int, tuple[Ints, pa.Table]]) -> Column:
    """Return Metric messages from columns of the side table.

    `points` has for each type, by its number, the offsets and rows of the metrics' points.
    """
    columns = dict(columns)
    for code, type_ in enumerate(MetricType):
        (field,) = (field for field in descriptors.fields(descriptors.METRIC) if field.name == type_)
        assert field.message is not None
        mask = pa.array(type_codes != code)
        data = {name: columns[name] for name in ("aggregation_temporality", "is_monotonic")}
        point = descriptors.columns(field.message).field("data_points").type.value_field
        if code in points:
            offsets, rows = points[code]
            values = [one_array(rows.column(child.name)) for child in point.type]
            data["data_points"] = nest(offsets, pa.StructArray.from_arrays(values, fields=list(point.type)), point)
        else:
            data["data_points"] = nest(np.zeros(len(type_codes) + 1, np.int32), pa.array([], point.type), point)
        schema = descriptors.columns(field.message)
        columns[type_] = pa.StructArray.from_arrays(
            [data[name] for name in schema.names], fields=list(schema), mask=mask
        )
    return _struct(descriptors.METRIC, columns)


def _numbers(batch: Batch, name: str) -> npt.NDArray[np.int32]:
    """Return the side row of each row."""
    numbers: npt.NDArray[np.int32] = batch.column(name).to_numpy()
    return numbers


def _struct(message: Descriptor, columns: dict[str, Column]) -> Column:
    schema = descriptors.columns(message)
    return pa.StructArray.from_arrays([columns[name] for name in schema.names], fields=list(schema))
