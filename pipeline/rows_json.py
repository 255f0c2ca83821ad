"""Rows of jobsight's own kinds as JSON, one object a row: what goes to Kafka where OTLP has no form for it.

Generic over `SHAPES`. Names are those of the ClickHouse tables: `job_id` is `JobId`, the side table `resource` is
`ResourceAttributes`, an object of texts. Times are RFC 3339 in UTC with nine digits, durations integers of nanoseconds.
What is null is left out. Made by Arrow kernels, like OTLP/JSON.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import Column, nest, unnest
from pipeline.batch import Batch, one_array
from pipeline.otlp.json_text import base64_text, glued, number_text, quoted
from pipeline.otlp.values import any_value_text

_TIME: Final = re.compile(r"timestamp|.*_at|scheduled_for|(first|last)_seen")
"""The names of uint64 columns that are nanoseconds since 1970; the others are durations, counts and versions."""

_LATEST_NS: Final = np.uint64(np.iinfo(np.int64).max)


def json_rows(batch: Batch) -> Column:
    """Return the rows as texts, each a JSON object."""
    members = []
    for field in batch.table.schema:
        if field.name in batch.sides:
            lists = one_array(batch.sides[field.name].column("attributes"))
            values = _attributes(lists).take(batch.column(field.name))
            members.append(glued(f'"{_public(field.name)}Attributes":', values))
        else:
            members.append(glued(f'"{_public(field.name)}":', _json(field.name, batch.column(field.name))))
    return _objects(members, batch.rows)


def _public(name: str) -> str:
    """Return a column's name as ClickHouse has it."""
    return "".join(word.capitalize() for word in name.split("_"))


def _json(name: str, column: Column) -> Column:
    """Return values as JSON; null stays null."""
    type_ = column.type
    if pa.types.is_dictionary(type_):
        return _json(name, column.cast(type_.value_type))
    if pa.types.is_string(type_):
        return quoted(column)
    if pa.types.is_timestamp(type_):
        return _time_text(column.cast(pa.timestamp("ns")))
    if pa.types.is_uint64(type_) and _TIME.fullmatch(name):
        return _time_text(_timestamps(column))
    if pa.types.is_floating(type_):
        return number_text(column)
    if pa.types.is_binary(type_):
        return glued('"', base64_text(column), '"')
    if pa.types.is_map(type_):
        return _map(column)
    if pa.types.is_list(type_):
        offsets, values = unnest(column)
        text = glued("[", pc.binary_join(nest(offsets, _present(_json(name, values))), ","), "]")
        return _null_where(column, text)
    if pa.types.is_struct(type_):
        members = [glued(f'"{_public(child.name)}":', _json(child.name, column.field(child.name))) for child in type_]
        return _null_where(column, _objects(members, len(column)))
    return column.cast(pa.string())


def _timestamps(nanoseconds: Column) -> Column:
    """Return uint64 nanoseconds as timestamps; what is past 2262 becomes the last moment of Arrow's."""
    numbers = nanoseconds.fill_null(0).to_numpy(zero_copy_only=False)
    times = pa.array(np.minimum(numbers, _LATEST_NS).view(np.int64)).view(pa.timestamp("ns"))
    return _null_where(nanoseconds, times)


def _time_text(times: Column) -> Column:
    return glued('"', pc.strftime(times, format="%Y-%m-%dT%H:%M:%S"), 'Z"')


def _attributes(lists: Column) -> Column:
    offsets, pairs = unnest(lists)
    members = glued(quoted(pairs.field("key")), ":", quoted(any_value_text(pairs.field("value"))))
    return glued("{", pc.binary_join(nest(offsets, members), ","), "}")


def _map(column: Column) -> Column:
    entry = pa.struct([column.type.key_field, column.type.item_field])
    offsets, entries = unnest(column.cast(pa.list_(pa.field("entries", entry, nullable=False))))
    members = glued(quoted(entries.field(0)), ":", _present(_json("", entries.field(1))))
    return _null_where(column, glued("{", pc.binary_join(nest(offsets, members), ","), "}"))


def _present(texts: Column) -> Column:
    return texts.fill_null("null") if texts.null_count else texts


def _null_where(column: Column, values: Column) -> Column:
    if not column.null_count:
        return values
    return pc.if_else(column.is_valid(), values, pa.scalar(None, values.type))


def _objects(members: Sequence[Column], rows: int) -> Column:
    # the empty text in front: rows where every member is null would be left out else
    front = pa.array([""] * rows, pa.string())
    joined = pc.binary_join_element_wise(front, *members, pa.scalar(","), null_handling="skip")
    return glued("{", pc.utf8_slice_codeunits(joined, 1), "}")
