"""How large spans are as OTLP: what `bytes_limiting` and `maximum_trace_size_bytes` count.

Worked out from lengths and values, a span to the byte, without encoding it. Field numbers below 16 take one byte of
tag, and a field that has its default is not sent (protobuf, "Encoding"). The groups around spans have lengths of their
own, which are counted as if what they share were alone in them: a few bytes a trace too few.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline import Batch
from pipeline.arrays import Column, lengths_of, unnest
from pipeline.batch import one_array
from pipeline.otlp import descriptors
from processors.tail_sampling.spans import truths

_Sizes = npt.NDArray[np.int64]

_FIXED64 = 9
_SHARED = {"resource": descriptors.RESOURCE, "scope": descriptors.SCOPE}
_VARINT_BOUNDS = np.array([1 << 7 * digits for digits in range(1, 10)], np.uint64)


def otlp_sizes(batch: Batch, number: npt.NDArray[np.int64]) -> _Sizes:
    """Return the bytes of each span in a request of its trace alone; `number` says which trace it is of.

    Resource and scope are counted at the first span of a trace that has them, as they are sent once for all. What
    comes in several batches counts them again: the Collector's buffer does, too.
    """
    sizes = _framed(_spans(batch))
    for side, shared in _SHARED.items():
        of_side = _side_sizes(batch, side, shared)
        row = batch.column(side).to_numpy().astype(np.int64)
        _, firsts = np.unique(number * len(of_side) + row, return_index=True)
        sizes[firsts] += of_side[row[firsts]]
    return sizes


def _spans(batch: Batch) -> _Sizes:
    column = batch.column
    sizes = _lists(column("attributes"), _key_values)
    sizes += _lists(column("events"), _events)
    sizes += _lists(column("links"), _links)
    for name in ("trace_id", "span_id", "trace_state", "parent_span_id", "name"):
        sizes += _texts(column(name))
    for name in ("kind", "dropped_attributes_count", "dropped_events_count", "dropped_links_count"):
        sizes += _numbers(column(name))
    for name in ("start_time_unix_nano", "end_time_unix_nano"):
        sizes += _FIXED64 * (column(name).to_numpy() != 0)
    # field 16: two bytes of tag
    sizes += 6 * (column("flags").to_numpy() != 0)
    status: Column = column("status")
    inside = _texts(status.field("message")) + _numbers(status.field("code"))
    sizes += np.where(truths(status.is_valid()), _framed(inside), 0)
    return sizes


def _events(events: Column) -> _Sizes:
    sizes = _lists(events.field("attributes"), _key_values) + _numbers(events.field("dropped_attributes_count"))
    sizes += _texts(events.field("name"))
    sizes += _FIXED64 * (events.field("time_unix_nano").to_numpy() != 0)
    return sizes


def _links(links: Column) -> _Sizes:
    sizes = _lists(links.field("attributes"), _key_values) + _numbers(links.field("dropped_attributes_count"))
    for name in ("trace_id", "span_id", "trace_state"):
        sizes += _texts(links.field(name))
    sizes += 5 * (links.field("flags").to_numpy() != 0)
    return sizes


def _key_values(items: Column) -> _Sizes:
    values = items.field("value")
    sizes = np.zeros(len(values), np.int64)
    for name in ("string_value", "array_value", "kvlist_value", "bytes_value"):
        child = values.field(name)
        if child.null_count < len(child):
            # an empty text is sent: it says which kind the value is
            sizes += np.where(truths(child.is_valid()), _framed(lengths_of(child)), 0)
    for name, size in (("bool_value", 2), ("double_value", _FIXED64)):
        if values.field(name).null_count < len(values):
            sizes += size * truths(values.field(name).is_valid())
    whole = values.field("int_value")
    if whole.null_count < len(whole):
        rows = np.flatnonzero(truths(whole.is_valid()))
        sizes[rows] += 1 + _varints(whole.drop_null().to_numpy())
    framed = _framed(sizes)
    if values.null_count:
        framed[~truths(values.is_valid())] = 0
    return _texts(items.field("key")) + framed


def _lists(lists: Column, sizes_of: Any) -> _Sizes:
    """Return the bytes of a repeated message in each row."""
    offsets, items = unnest(lists)
    if len(items) == 0:
        return np.zeros(len(lists), np.int64)
    totals = np.zeros(len(items) + 1, np.int64)
    np.cumsum(_framed(sizes_of(items)), out=totals[1:])
    ends = totals[offsets]
    return ends[1:] - ends[:-1]


def _texts(values: Column) -> _Sizes:
    lengths = lengths_of(values)
    return np.where(lengths > 0, _framed(lengths), 0)


def _numbers(values: Column) -> _Sizes:
    numbers = (values.fill_null(0) if values.null_count else values).to_numpy().astype(np.int64)
    return np.where(numbers != 0, 1 + _varints(numbers), 0) if numbers.any() else np.zeros(len(numbers), np.int64)


def _varints(numbers: npt.NDArray[np.int64]) -> _Sizes:
    """Return the bytes of numbers; what is negative takes ten."""
    return np.searchsorted(_VARINT_BOUNDS, numbers.view(np.uint64), side="right") + 1


def _framed(sizes: _Sizes) -> _Sizes:
    """Return sizes with tag and length in front, as a field has them."""
    framed = sizes + 2
    bound = 1 << 7
    largest = int(sizes.max(initial=0))
    while bound <= largest:
        framed += sizes >= bound
        bound <<= 7
    return framed


def _side_sizes(batch: Batch, side: str, message: Any) -> _Sizes:
    """Return what the rows of a side table add to a request: the message, and the schema URL beside it."""
    table = batch.sides[side].combine_chunks()
    rows = table.select(descriptors.columns(message).names).to_struct_array().combine_chunks()
    return _framed(
        _framed(lengths_of(descriptors.encoded(message, rows))) + _texts(one_array(table.column("schema_url")))
    )
