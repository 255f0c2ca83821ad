"""Columns -> OTLP/JSON, by Arrow kernels: each field becomes a column of `"name":value`, then the columns are joined.

The form is that of the OTLP specification ("JSON Protobuf Encoding"): lowerCamelCase names, ids in hex, enums as
numbers, 64-bit integers as strings, and as in all of protobuf's JSON no fields that have their default value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from pipeline.arrays import Column, Ints, hex_text, nest, unnest
from pipeline.batch import Batch
from pipeline.otlp import descriptors
from pipeline.otlp.descriptors import Field
from pipeline.otlp.json_text import base64_text, escaped, glued, number_text
from pipeline.otlp.nest import Shared, nested

_QUOTED: Final = frozenset(
    {
        FieldDescriptor.TYPE_INT64,
        FieldDescriptor.TYPE_UINT64,
        FieldDescriptor.TYPE_FIXED64,
        FieldDescriptor.TYPE_SFIXED64,
    }
)


def encode_json(batch: Batch) -> bytes:
    """Return the rows of an OTLP batch as one OTLP/JSON object, compact and in UTF-8, nested as by `encode`."""
    body: str = encode_json_parts(batch, np.array([0, batch.rows]))[0].as_py()
    return body.encode()


def encode_json_parts(batch: Batch, bounds: Ints) -> Column:
    """Return as text an object for each stretch of rows; `bounds` as for `encode_parts`."""
    nesting = nested(batch, bounds)
    levels = descriptors.wire(nesting.signal)
    assert levels.records.message is not None
    records = message_text(levels.records.message, nesting.records)
    scopes = _groups(descriptors.SCOPE, "scope", nesting.scopes, nesting.scope_of_group)
    scopes.append(_listed(levels.records, nesting.scope_records, records))
    groups = _groups(descriptors.RESOURCE, "resource", nesting.resources, nesting.resource_of_group)
    groups.append(_listed(levels.scopes, nesting.group_scopes, _objects(scopes, len(nesting.scope_of_group))))
    texts = _objects(groups, len(nesting.resource_of_group))
    return _objects([_listed(levels.groups, nesting.request_groups, texts)], len(bounds) - 1)


def message_text(message: Descriptor, rows: Column) -> Column:
    """Return each message as a JSON object; `rows` has the columns of `descriptors.columns`, nulls count as empty."""
    members = [_member(field, rows.field(field.name)) for field in descriptors.fields(message)]
    return _objects([member for member in members if member is not None], len(rows))


def _member(field: Field, column: Column) -> Column | None:
    """Return `"name":value` for each row, null where the field is left out; None where it is everywhere."""
    if field.repeated:
        offsets, values = unnest(column)
        return _listed(field, offsets, _value(field, values)) if len(values) else None
    if not field.column.nullable:
        column = pc.if_else(_is_default(column), pa.scalar(None, column.type), column)
    if column.null_count == len(column):
        return None
    text = _value(field, column)
    if field.message is not None and column.null_count:
        text = pc.if_else(column.is_valid(), text, pa.scalar(None, pa.string()))
    return glued(f'"{field.json_name}":', text)


def _value(field: Field, column: Column) -> Column:
    if field.message is not None:
        return _decoded_text(field.message, column) if field.encoded else message_text(field.message, column)
    if field.type == FieldDescriptor.TYPE_STRING:
        return glued('"', escaped(column), '"')
    if field.type == FieldDescriptor.TYPE_BYTES:
        return glued('"', hex_text(column) if field.is_id else base64_text(column), '"')
    if field.type == FieldDescriptor.TYPE_DOUBLE:
        return number_text(column)
    text = column.cast(pa.string())
    return glued('"', text, '"') if field.type in _QUOTED else text


def _decoded_text(message: Descriptor, encoded: Column) -> Column:
    """Return messages that the columns hold as bytes as JSON objects; each distinct one is decoded once."""
    distinct = encoded.dictionary_encode()
    rows = descriptors.handler(message).array_to_record_batch(distinct.dictionary).to_struct_array()
    return message_text(message, rows).take(distinct.indices)


def _groups(message: Descriptor, name: str, shared: Shared, rows: Ints) -> list[Column]:
    """Return the members of resource or scope groups but for their list."""
    object_ = glued(f'"{name}":', message_text(message, shared.rows))
    sent = pc.if_else(pa.array(shared.sent), object_, pa.scalar(None, pa.string()))
    urls = shared.schema_urls
    url = glued('"schemaUrl":"', escaped(pc.if_else(_is_default(urls), pa.scalar(None, pa.string()), urls)), '"')
    return [member.take(pa.array(rows)) for member in (sent, url)]


def _listed(field: Field, offsets: Ints, texts: Column) -> Column:
    """Return `"name":[...]` for each row, null where the list is empty."""
    lists = nest(offsets, texts)
    member = glued(f'"{field.json_name}":[', pc.binary_join(lists, ","), "]")
    filled = np.diff(offsets) > 0
    return member if filled.all() else pc.if_else(pa.array(filled), member, pa.scalar(None, pa.string()))


def _objects(members: Sequence[Column], rows: int) -> Column:
    if not members:
        return pa.array(["{}"] * rows, pa.string())
    empty = np.ones(rows, np.bool_)
    for member in members:
        empty &= member.is_null().to_numpy(zero_copy_only=False)
    if empty.any():
        # XXX: binary_join_element_wise(null_handling="skip") leaves out rows where everything is null
        members = [pc.if_else(pa.array(empty), pa.scalar(""), members[0]), *members[1:]]
    inner = pc.binary_join_element_wise(*members, pa.scalar(","), null_handling="skip")
    return glued("{", inner, "}")


def _is_default(column: Column) -> Column:
    if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
        return pc.equal(pc.binary_length(column), pa.scalar(0, pa.int32()))
    if pa.types.is_boolean(column.type):
        return pc.invert(column)
    if pa.types.is_floating(column.type):
        column = column.view(pa.int64())  # only +0.0 is the default, and -0.0 equals it
    return pc.equal(column, pa.scalar(0, column.type))
