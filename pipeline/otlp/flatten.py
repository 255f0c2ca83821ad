"""A request in columns -> the published columns: records in one flat table, what they share in side tables.

This is the second half of decoding, the same for protobuf and JSON: both give the request as one nested Arrow array of
the types that `descriptors.columns` names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from google.protobuf.descriptor import Descriptor

from pipeline.arrays import Column, Ints, first_sight, joined, offsets_of, parents_of, picked, unnest
from pipeline.batch import Batch
from pipeline.errors import Malformed
from pipeline.kinds import KIND_OF, METRIC, METRICS, RESOURCE, SCOPE, SHAPES, Kind, MetricType, Signal
from pipeline.otlp import descriptors
from pipeline.otlp.audit import audit_records, audit_shared
from pipeline.receipt import Receipt

_POINT_COLUMNS: Final = {
    field.name: field.type for field in METRICS if field.name not in ("resource", "scope", "metric")
}


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """What decoding gives: a batch that nobody owes yet."""

    kind: Kind
    table: pa.Table
    sides: Mapping[str, pa.Table]
    rows_per_body: npt.NDArray[np.int64]
    """How many rows each of the decoded bodies has, in their order; the rows lie in that order too."""

    def batch(self, receipt: Receipt) -> Batch:
        return Batch(self.kind, self.table, receipt, self.sides)


def flatten(signal: Signal, requests: Column) -> Columns:
    """Return the columns of `requests`: one element a body, the list of its `resource_spans` or their like.

    Raises Malformed for what google.protobuf would refuse, and audit.OneofSetTwice.
    """
    levels = descriptors.wire(signal)
    audit_records(signal, unnest(requests)[1])
    around = surroundings(signal, requests)
    records, of_record, sides = around.records, around.of_record, dict(around.sides)
    resource_of_record, scope_of_record = around.resources, around.scopes
    kind = KIND_OF[signal]
    if kind is Kind.METRICS:
        points_before, index, sides["metric"], columns = _points(records)
        resource_of_record, scope_of_record = resource_of_record[index], scope_of_record[index]
        of_record = points_before[of_record]
    else:
        columns = dict(zip(descriptors.columns(levels.records.message).names, records.flatten(), strict=True))
    columns["resource"] = pa.array(resource_of_record)
    columns["scope"] = pa.array(scope_of_record)
    schema = SHAPES[kind].schema
    table = pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)
    return Columns(kind, table, MappingProxyType(sides), np.diff(of_record))


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """The records of some requests, and what they share."""

    records: Column
    of_record: Ints
    """Offsets: the records of each request."""

    resources: npt.NDArray[np.int32]
    """The row in the side table of each record's resource."""

    scopes: npt.NDArray[np.int32]
    sides: Mapping[str, pa.Table]


def surroundings(signal: Signal, requests: Column) -> Surroundings:
    """Return what stands around records of whatever type; `requests` as for `flatten`. Raises Malformed."""
    levels = descriptors.wire(signal)
    of_body, groups = unnest(requests)
    of_group, scopes = unnest(groups.field(levels.scopes.name))
    of_scope, records = unnest(scopes.field(levels.records.name))
    resource_codes, resources = _shared(signal, descriptors.RESOURCE, groups.field("resource"), groups)
    scope_codes, scope_side = _shared(signal, descriptors.SCOPE, scopes.field("scope"), scopes)
    return Surroundings(
        records=records,
        of_record=of_scope[of_group[of_body]].astype(np.int64),
        resources=np.repeat(np.repeat(resource_codes, np.diff(of_group)), np.diff(of_scope)).astype(np.int32),
        scopes=np.repeat(scope_codes, np.diff(of_scope)).astype(np.int32),
        sides={"resource": resources, "scope": scope_side},
    )


def _shared(signal: Signal, message: Descriptor, parts: Column, senders: Column) -> tuple[Ints, pa.Table]:
    """Return the side row of each of `senders`, and the side table of their resources or scopes, given in `parts`."""
    offsets, pieces = unnest(parts)
    lengths = np.diff(offsets)
    sent, whole, urls = lengths > 0, joined(offsets, pieces), senders.field("schema_url")
    codes, firsts = first_sight([whole, urls] if sent.all() else [whole, urls, pa.array(sent)])
    distinct = picked(whole, firsts)
    # a message in several pieces may read well as a whole although its pieces do not
    checked = pieces if lengths.max(initial=0) > 1 else distinct
    key = tuple(zip(distinct.to_pylist(), picked(urls, firsts).to_pylist(), sent[firsts].tolist(), strict=True))
    small = len(key) <= _REMEMBERED_ROWS and checked.nbytes <= _REMEMBERED_BYTES
    side = _remembered_side if small else _side
    return codes, side(signal, message, tuple(checked.to_pylist()), key)


def _side(
    signal: Signal, message: Descriptor, checked: tuple[bytes, ...], rows: tuple[tuple[bytes, str, bool], ...]
) -> pa.Table:
    """Return the side table of messages, each with its schema URL and whether it was sent."""
    encoded, urls, sent = zip(*rows, strict=True) if rows else ((), (), ())
    try:
        batch = descriptors.handler(message).list_to_record_batch(list(encoded))
    except ValueError as error:
        raise Malformed(f"not an OTLP {message.name}: {error}") from error
    audit_shared(signal, message, checked, batch.to_struct_array())
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    columns["present"] = pa.array(sent, pa.bool_())
    columns["schema_url"] = pa.array(urls, pa.string())
    schema = RESOURCE if message is descriptors.RESOURCE else SCOPE
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)


_REMEMBERED_ROWS: Final = 16
_REMEMBERED_BYTES: Final = 1 << 14

_remembered_side = lru_cache(maxsize=128)(_side)
"""A worker sends the same resource with every request: at most 2 MiB spare a third of a small request's time."""


def _points(metrics: Column) -> tuple[Ints, Ints, pa.Table, dict[str, Column]]:
    """Return how many points come before each metric, the metric of each point, the side table and the columns.

    Metrics without points leave no trace.
    """
    of_type = {type_: unnest(metrics.field(type_).field("data_points")) for type_ in MetricType}
    used = {type_: (offsets, points) for type_, (offsets, points) in of_type.items() if len(points)}
    lengths = np.zeros(len(metrics), np.int64)
    type_codes = np.zeros(len(metrics), np.int32)
    for code, type_ in enumerate(MetricType):
        if type_ in used:
            here = np.diff(used[type_][0])
            lengths += here
            type_codes[here > 0] = code
    points_before = offsets_of(lengths)
    index = parents_of(points_before)

    parts = [dict(zip(_names(points.type), points.flatten(), strict=True)) for _, points in used.values()]
    columns = {name: _gathered(parts, name, type_) for name, type_ in _POINT_COLUMNS.items()}
    if len(used) > 1:
        order = np.argsort(np.concatenate([parents_of(offsets) for offsets, _ in used.values()]), kind="stable")
        columns = {name: column.take(pa.array(order)) for name, column in columns.items()}
    filled = np.flatnonzero(lengths)
    columns["metric"] = pa.array((np.cumsum(lengths > 0, dtype=np.int32) - 1)[index])
    return points_before, index, _metric_side(metrics, type_codes, filled), columns


def _gathered(parts: list[dict[str, Column]], name: str, type_: Any) -> Column:
    """Return one column of all parts, null where a part has no such column."""
    arrays = [part[name] if name in part else pa.nulls(len(part["flags"]), type_) for part in parts]
    return arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays or [pa.array([], type_)])


@lru_cache
def _names(struct: pa.StructType) -> tuple[str, ...]:
    return tuple(field.name for field in struct)


def _metric_side(metrics: Column, type_codes: npt.NDArray[np.int32], filled: Ints) -> pa.Table:
    """Return the side table: a row for each metric in `filled`."""
    temporality = np.zeros(len(metrics), np.int32)
    monotonic = np.zeros(len(metrics), np.bool_)
    for code, type_ in enumerate(MetricType):
        here = type_codes == code
        data = metrics.field(type_)
        if data.null_count == len(data):
            continue
        if data.type.get_field_index("aggregation_temporality") >= 0:
            temporality[here] = data.field("aggregation_temporality").to_numpy(zero_copy_only=False)[here]
        if data.type.get_field_index("is_monotonic") >= 0:
            monotonic[here] = data.field("is_monotonic").to_numpy(zero_copy_only=False)[here]
    columns = {name: metrics.field(name) for name in ("name", "description", "unit", "metadata")}
    columns["type"] = pa.array(list(MetricType), pa.string()).take(type_codes)
    columns["aggregation_temporality"] = pa.array(temporality)
    columns["is_monotonic"] = pa.array(monotonic)
    side = pa.Table.from_arrays([columns[name] for name in METRIC.names], schema=METRIC)
    return side if len(filled) == len(metrics) else side.take(filled)
