"""OTLP/JSON -> columns: one message type at a time, all its objects of all bodies at once, field by field.

The form is that of the OTLP specification ("JSON Protobuf Encoding"): ids in hex of any case, names in lowerCamelCase
or as in the .proto files, enums as numbers or names, 64-bit integers as numbers or strings; null is absent, unknown
fields are ignored. What comes out goes the way of protobuf from there on (`flatten`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, Final, cast

import numpy as np
import orjson
import pyarrow as pa
from google.protobuf.descriptor import Descriptor

from pipeline.arrays import Column, nest, offsets_of
from pipeline.errors import Malformed
from pipeline.kinds import Signal
from pipeline.otlp import descriptors
from pipeline.otlp.audit import check_size
from pipeline.otlp.descriptors import Field
from pipeline.otlp.flatten import Columns, flatten
from pipeline.otlp.json_values import Place, check_types, default_of, scalars

_DEEPEST = 100
"""Messages inside messages, as in google.protobuf; `flatten` looks closer."""

Object = dict[str, Any]
_OBJECT: Final[frozenset[type]] = frozenset({dict})
_OBJECT_OR_NULL: Final[frozenset[type]] = frozenset({dict, type(None)})
_LIST_OR_NULL: Final[frozenset[type]] = frozenset({list, type(None)})
_SCALAR: Final[frozenset[type]] = frozenset({str, int, float, bool})


def decode_json(signal: Signal, bodies: Sequence[bytes]) -> Columns:
    """Decode OTLP/JSON requests of one signal into one set of columns.

    Raises TooLarge as `decode` does, and Malformed if any of the bodies is; the message names the place, as in
    `resourceSpans[0].scopeSpans[0].spans[3].startTimeUnixNano`.
    """
    check_size(bodies)
    message = descriptors.wire(signal).request
    requests = _rows(message, [_request(body) for body in bodies], Place())
    return flatten(signal, requests.field(0))


def _request(body: bytes) -> Object:
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"not JSON: {error}") from error
    if type(request) is not dict:
        raise Malformed(
            f"an OTLP/JSON request is an object, this is {str(orjson.dumps(request)[:40], 'utf-8', 'replace')}"
        )
    return request


def _rows(message: Descriptor, objects: Sequence[Object | None], place: Place) -> Column:
    """Return the columns of messages; None becomes a null row."""
    if place.depth > _DEEPEST:
        raise Malformed(f"{place.path(0)}: nested more than {_DEEPEST} messages deep")
    absent = np.fromiter((object_ is None for object_ in objects), np.bool_, len(objects))
    present = [object_ or {} for object_ in objects] if absent.any() else cast("Sequence[Object]", objects)
    names: set[str] = set().union(*present)
    fields = descriptors.fields(message)
    columns = [_column(field, present, names, place) for field in fields]
    _check_oneofs(fields, columns, place)
    mask = pa.array(absent) if absent.any() else None
    return pa.StructArray.from_arrays(columns, fields=list(descriptors.columns(message)), mask=mask)


def _column(field: Field, objects: Sequence[Object], names: set[str], place: Place) -> Column:
    spelled = [name for name in dict.fromkeys((field.json_name, field.name)) if name in names]
    if not spelled:
        return _unset(field, len(objects))
    values = [object_.get(spelled[0]) for object_ in objects]
    if len(spelled) > 1:
        values = [
            object_.get(spelled[1]) if value is None else value for object_, value in zip(objects, values, strict=True)
        ]
    below = place.below(field.json_name)
    if field.repeated:
        return _lists(field, values, below)
    if field.message is None:
        return scalars(field, values, below)
    return _pieces(field, values, below) if field.encoded else _messages(field, values, below)


def _lists(field: Field, values: Sequence[Any], place: Place) -> Column:
    check_types(place, values, _LIST_OR_NULL, "a list")
    lists = [value or () for value in values]
    offsets = offsets_of(np.fromiter(map(len, lists), np.int64, len(lists)))
    items, below = list(chain.from_iterable(lists)), place.items(offsets)
    check_types(below, items, _OBJECT if field.message else _SCALAR, "an object" if field.message else "a single value")
    column = _messages(field, items, below) if field.message else scalars(field, items, below)
    return nest(offsets, column, field.column.type.value_field)


def _messages(field: Field, values: Sequence[Any], place: Place) -> Column:
    assert field.message is not None
    check_types(place, values, _OBJECT_OR_NULL, "an object")
    rows = _rows(field.message, values, place)
    return descriptors.encoded(field.message, rows) if field.encoded else rows


def _pieces(field: Field, values: Sequence[Any], place: Place) -> Column:
    """Return the column of a single message that stays encoded: bytes or null, or a list of one piece or none."""
    sent = np.array([value is not None for value in values], np.bool_)
    encoded = _messages(field, [value for value in values if value is not None], place.only(np.flatnonzero(sent)))
    if pa.types.is_list(field.column.type):
        return nest(offsets_of(sent), encoded, field.column.type.value_field)
    return encoded.take(pa.array(np.cumsum(sent) - 1, mask=~sent))


def _unset(field: Field, rows: int) -> Column:
    """Return the column of a field that no object has."""
    if field.column.nullable:
        return pa.nulls(rows, field.column.type)
    if pa.types.is_list(field.column.type):
        return nest(
            np.zeros(rows + 1, np.int32), pa.array([], field.column.type.value_type), field.column.type.value_field
        )
    default: Any = default_of(field)
    return pa.repeat(default, rows)


def _check_oneofs(fields: Sequence[Field], columns: Sequence[Column], place: Place) -> None:
    """Refuse objects that have several fields of a oneof, as protobuf's own JSON reader does."""
    chosen: dict[str, tuple[Field, np.ndarray[Any, np.dtype[np.bool_]]]] = {}
    for field, column in zip(fields, columns, strict=True):
        if field.oneof is None or column.null_count == len(column):
            continue
        valid = column.is_valid().to_numpy(zero_copy_only=False)
        if field.oneof in chosen:
            other, before = chosen[field.oneof]
            if (before & valid).any():
                where = place.path(int(np.argmax(before & valid)))
                raise Malformed(f"{where}: has {field.json_name} beside {other.json_name} or the like; it can have one")
            valid = valid | before
        chosen[field.oneof] = field, valid
