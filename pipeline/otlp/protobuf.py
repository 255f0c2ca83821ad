"""OTLP protobuf <-> columns; many requests in one call, both ways."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import numpy as np
import pyarrow as pa
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError

from pipeline.arrays import Column, Ints, nest, offsets_of, unnest
from pipeline.batch import Batch
from pipeline.errors import Malformed
from pipeline.kinds import Signal, required
from pipeline.otlp import descriptors
from pipeline.otlp.audit import OneofSetTwice, check_size
from pipeline.otlp.descriptors import Field
from pipeline.otlp.flatten import Columns, flatten
from pipeline.otlp.key_values import OtherForm, key_values
from pipeline.otlp.nest import Shared, nested
from pipeline.otlp.sealed import handler, is_sealed

LARGE: Final = 1 << 19
"""Bytes of a call from which on attributes are read apart, and all at once where there are so `MANY`: that takes longer
to begin with and less for each."""

MANY: Final = 1 << 11

_PIECE: Final = required("item", pa.binary())


def decode(signal: Signal, bodies: Sequence[bytes]) -> Columns:
    """Decode protobuf `Export*ServiceRequest`s of one signal into one set of columns.

    Raises Malformed if any of the bodies is (decode them one by one to find out which), TooLarge if together they are
    over audit.LARGEST_CALL. What google.protobuf refuses is refused; docs/otlp.md has the few exceptions.
    """
    check_size(bodies)
    try:
        return _decode(signal, bodies)
    except OneofSetTwice:
        return _decode(signal, [_in_order(signal, body) for body in bodies])


def encode(batch: Batch) -> bytes:
    """Return the rows of an OTLP batch as one protobuf `Export*ServiceRequest`, in their order.

    Equal neighbours are put together (see `nest`): that, and what docs/otlp.md says is dropped, is all that can differ
    from the requests that were decoded.
    """
    body: bytes = encode_parts(batch, np.array([0, batch.rows]))[0].as_py()
    return body


def encode_parts(batch: Batch, bounds: Ints) -> pa.BinaryArray:
    """Return a request for each stretch of rows; `bounds` are its offsets, from 0 to the number of rows.

    One call for many small requests costs little more than one for a large one.
    """
    nesting = nested(batch, bounds)
    levels = descriptors.wire(nesting.signal)
    request = handler(nesting.signal) if is_sealed(batch) else descriptors.handler(levels.request)
    column = request.schema().field(0)
    group = column.type.value_type
    scope = group.field(levels.scopes.name).type.value_type
    scopes = _message(
        scope,
        {
            "scope": _sent(nesting.scopes, nesting.scope_of_group),
            "schema_url": nesting.scopes.schema_urls.take(pa.array(nesting.scope_of_group)),
            levels.records.name: _nested(nesting.scope_records, nesting.records, scope, levels.records),
        },
    )
    groups = _message(
        group,
        {
            "resource": _sent(nesting.resources, nesting.resource_of_group),
            "schema_url": nesting.resources.schema_urls.take(pa.array(nesting.resource_of_group)),
            levels.scopes.name: _nested(nesting.group_scopes, scopes, group, levels.scopes),
        },
    )
    requests = nest(nesting.request_groups, groups, column.type.value_field)
    rows = pa.RecordBatch.from_arrays([requests], schema=pa.schema([column]))
    bodies: pa.BinaryArray = request.record_batch_to_array(rows)
    return bodies


def _nested(offsets: Ints, values: Column, message: pa.StructType, field: Field) -> Column:
    return nest(offsets, values, message.field(field.name).type.value_field)


def _message(type_: pa.StructType, columns: dict[str, Column]) -> Column:
    return pa.StructArray.from_arrays([columns[child.name] for child in type_], fields=list(type_))


def _sent(shared: Shared, rows: Ints) -> Column:
    """Return for each row the list of its encoded message, empty where it was not sent."""
    sent = shared.sent[rows]
    return nest(offsets_of(sent), shared.encoded.take(pa.array(rows[sent])), _PIECE)


def _decode(signal: Signal, bodies: Sequence[bytes]) -> Columns:
    message = descriptors.wire(signal).request
    large = sum(map(len, bodies)) >= LARGE
    try:
        reader = descriptors.handler(message, attributes_encoded=large)
        requests = reader.list_to_record_batch(list(bodies)).to_struct_array()
        if large:
            requests = _with_attributes(message, requests)
    except ValueError as error:
        raise Malformed(f"not an OTLP {signal} request: {error}") from error
    return flatten(signal, requests.field(0))


def _with_attributes(message: Descriptor, rows: Column) -> Column:
    """Return messages whose attributes are encoded in the columns of `descriptors.columns`. Raises ValueError."""
    if message is descriptors.KEY_VALUE:
        return _attributes(rows)
    if not descriptors.has_attributes(message):
        return rows
    columns = [_field_with_attributes(field, rows.field(field.name)) for field in descriptors.fields(message)]
    mask = rows.is_null() if rows.null_count else None
    return pa.StructArray.from_arrays(columns, fields=list(descriptors.columns(message)), mask=mask)


def _field_with_attributes(field: Field, column: Column) -> Column:
    if field.message is None or field.encoded:
        return column
    if not field.repeated:
        return _with_attributes(field.message, column)
    offsets, items = unnest(column)
    return nest(offsets, _with_attributes(field.message, items), field.column.type.value_field)


def _attributes(encoded: Column) -> Column:
    if len(encoded) >= MANY:
        with suppress(OtherForm):
            return key_values(encoded)
    return descriptors.handler(descriptors.KEY_VALUE).array_to_record_batch(encoded).to_struct_array()


def _in_order(signal: Signal, body: bytes) -> bytes:
    """Return the body with every field at most once, as google.protobuf reads it."""
    try:
        return descriptors.parse(descriptors.wire(signal).request, body).SerializeToString()
    except DecodeError as error:
        raise Malformed(f"not an OTLP {signal} request: {error}") from error
