"""Checks that columns cannot make on their own, so that what is accepted is what google.protobuf accepts.

Parts that stay encoded (see `descriptors`) are parsed by google.protobuf, each at the depth where it stood, because it
refuses messages nested more than 100 deep. And a oneof that was sent twice has two columns set where protobuf keeps the
last one: the request has to be put in order before it can become columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError

from pipeline.arrays import Column, unnest
from pipeline.errors import Malformed, TooLarge
from pipeline.kinds import Signal
from pipeline.otlp.descriptors import RESOURCE, Field, fields, parse, wire

LARGEST_CALL = 1 << 30
"""Bytes in one call: far over what a receiver takes at once, safely under the 2 GiB that one Arrow column can hold."""

Path = tuple[Field, ...]
"""The fields from the request down to a part of it."""


class OneofSetTwice(Exception):
    """Some message has more than one field of a oneof; only a full parse can say which was the last."""


def check_size(bodies: Sequence[bytes]) -> None:
    """Raise TooLarge for what cannot be decoded in one call."""
    size = sum(map(len, bodies))
    if size > LARGEST_CALL:
        raise TooLarge(f"{size} bytes to decode at once, at most {LARGEST_CALL} can be")


def audit_records(signal: Signal, groups: Column) -> None:
    """Check a request in columns, but for its resources and scopes; `groups` are its `resource_spans` or their like.

    Raises Malformed and OneofSetTwice.
    """
    levels = wire(signal)
    assert levels.groups.message is not None
    for path, payloads in _encoded_parts(levels.groups.message, groups, (levels.groups,)):
        _judge(signal, path, payloads)


def audit_shared(signal: Signal, message: Descriptor, pieces: Sequence[bytes], rows: Column) -> None:
    """Check resources or scopes: `pieces` as they were sent, `rows` the columns that they became.

    Raises Malformed and OneofSetTwice.
    """
    levels = wire(signal)
    path = (levels.groups,) if message is RESOURCE else (levels.groups, levels.scopes)
    (field,) = (field for field in fields(path[-1].message) if field.message is message)
    _judge(signal, (*path, field), pieces)
    for _ in _encoded_parts(message, rows, ()):
        pass  # arrays and maps in here were checked with the whole; only oneofs matter


def _encoded_parts(message: Descriptor, rows: Column, path: Path) -> Iterator[tuple[Path, list[bytes]]]:
    """Yield the distinct encoded arrays and maps of all values in `rows`, with the way to them.

    `rows` is the struct array of a message. Raises OneofSetTwice.
    """
    if len(rows) == 0:
        return
    chosen: dict[str, pa.BooleanArray] = {}
    for field in _audited(message):
        column = rows.field(field.name)
        if field.oneof is not None and column.null_count < len(column):
            valid = column.is_valid()
            before = chosen.get(field.oneof)
            if before is not None and pc.and_(before, valid).true_count:
                raise OneofSetTwice
            chosen[field.oneof] = valid if before is None else pc.or_(before, valid)
            if field.encoded:
                yield (*path, field), column.drop_null().unique().to_pylist()
        if field.message is not None and not field.encoded and column.null_count < len(column):
            yield from _encoded_parts(field.message, unnest(column)[1] if field.repeated else column, (*path, field))


@cache
def _audited(message: Descriptor) -> tuple[Field, ...]:
    return tuple(field for field in fields(message) if field.oneof or (field.message and not field.encoded))


def _judge(signal: Signal, path: Path, payloads: Sequence[bytes]) -> None:
    if not payloads:
        return
    # what is below the last repeated field stands once a payload, what is above it once
    bottom = max(depth for depth, field in enumerate(path) if field.repeated)
    skeleton = _inside(path[:bottom], b"".join(_inside(path[bottom:], payload) for payload in payloads))
    try:
        parse(wire(signal).request, skeleton)
    except DecodeError as error:
        where = ".".join(field.name for field in path)
        raise Malformed(f"not an OTLP {signal} request: {where}: {error}") from error


def _inside(path: Iterable[Field], payload: bytes) -> bytes:
    for field in reversed(tuple(path)):
        payload = _varint(field.number << 3 | 2) + _varint(len(payload)) + payload
    return payload


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
