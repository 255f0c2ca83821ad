"""Requests for the codec's tests: Hypothesis strategies made from the descriptors, and the slow, obvious codec.

The slow codec works on google.protobuf messages, a record at a time: `records` takes a request apart, `nested` puts
records together again, merging equal neighbours, so that `nested(records(request))` is the documented canonical form.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from pipeline.batch import Batch
from pipeline.kinds import METRICS, MetricType, Signal
from pipeline.otlp import Columns
from pipeline.otlp.descriptors import REQUESTS
from pipeline.receipt import Receipt

TEXT = st.text(alphabet=st.one_of(st.sampled_from('ab"\\\n\x01é世<&\u2028𝄞'), st.characters(codec="utf-8")), max_size=6)
BYTES = st.binary(max_size=20)
DOUBLES = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 1e20, 1e21, 1e-6, 9.9e-7, 5e-324, 0.1, math.nan, math.inf, -math.inf]),
    st.floats(allow_nan=False),
)


def _ints(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return st.one_of(st.sampled_from([0, 1, low, high]), st.integers(low, high))


SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: TEXT,
    FieldDescriptor.TYPE_BYTES: BYTES,
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_DOUBLE: DOUBLES,
    FieldDescriptor.TYPE_INT64: _ints(64, signed=True),
    FieldDescriptor.TYPE_SFIXED64: _ints(64, signed=True),
    FieldDescriptor.TYPE_UINT64: _ints(64, signed=False),
    FieldDescriptor.TYPE_FIXED64: _ints(64, signed=False),
    FieldDescriptor.TYPE_UINT32: _ints(32, signed=False),
    FieldDescriptor.TYPE_FIXED32: _ints(32, signed=False),
    FieldDescriptor.TYPE_SINT32: _ints(32, signed=True),
    FieldDescriptor.TYPE_ENUM: st.one_of(st.integers(0, 5), _ints(32, signed=True)),
}
IDS = st.one_of(st.sampled_from([b"", bytes(8), bytes(range(16))]), BYTES)


@st.composite
def requests(draw: st.DrawFn, signal: Signal) -> Message:
    """A request with any of the fields that OTLP 1.x has, at most three of anything repeated."""
    return _message(draw, REQUESTS[signal], 0)


def _message(draw: st.DrawFn, descriptor: Descriptor, depth: int) -> Message:
    message = GetMessageClass(descriptor)()
    fields = [field for field in descriptor.fields if not field.name.endswith("_strindex")]
    oneof = [field for field in fields if field.containing_oneof is not None and len(field.containing_oneof.fields) > 1]
    chosen = draw(st.sampled_from([None, *oneof])) if oneof else None
    for field in fields:
        if field in oneof:
            if field is chosen:
                _fill(draw, message, field, depth)
        elif draw(st.integers(0, 3)):
            _fill(draw, message, field, depth)
    return message


def _fill(draw: st.DrawFn, message: Message, field: FieldDescriptor, depth: int) -> None:
    deep = depth > 9
    if field.message_type is not None:
        if field.is_repeated:
            items = getattr(message, field.name)
            for _ in range(0 if deep else draw(st.sampled_from([1, 1, 2, 3, 0] if depth < 3 else [0, 1, 2]))):
                # neighbours that are equal now and then, as those of one worker are
                again = len(items) > 0 and draw(st.booleans())
                items.append(items[-1] if again else _message(draw, field.message_type, depth + 1))
        elif deep:
            getattr(message, field.name).SetInParent()
        else:
            getattr(message, field.name).CopyFrom(_message(draw, field.message_type, depth + 1))
            getattr(message, field.name).SetInParent()
        return
    value = IDS if field.name in ("trace_id", "span_id", "parent_span_id") else SCALARS[field.type]
    if field.is_repeated:
        getattr(message, field.name).extend(draw(st.lists(value, max_size=3)))
    elif field.type == FieldDescriptor.TYPE_DOUBLE and not field.has_presence:
        setattr(message, field.name, draw(value) + 0.0)  # ptars takes -0.0 for the default here: docs/otlp.md
    else:
        setattr(message, field.name, draw(value))


class Record(NamedTuple):
    """A span, log record or data point with what it stands in, each as protobuf bytes without what stands in it."""

    group: bytes
    scope: bytes
    metric: bytes
    content: bytes


def records(request: Message) -> list[Record]:
    """Take a request apart, in order."""
    return [
        Record(_shell(group, ("scope_",)), _shell(scope, ("spans", "metrics", "log_records")), metric, content)
        for group in _only_list(request)
        for scope in getattr(group, next(name for name in group.DESCRIPTOR.fields_by_name if name.startswith("scope_")))
        for metric, content in _contents(scope)
    ]


def nested(signal: Signal, rows: Iterable[Record]) -> Message:
    """Put records together, equal neighbours under one parent."""
    request = GetMessageClass(REQUESTS[signal])()
    before = Record(b"", b"", b"", b"")
    groups = _only_list(request)
    for number, row in enumerate(rows):
        new_group = number == 0 or row.group != before.group
        new_scope = new_group or row.scope != before.scope
        if new_group:
            groups.add().MergeFromString(row.group)
        scopes = getattr(groups[-1], groups[-1].DESCRIPTOR.fields[1].name)
        if new_scope:
            scopes.add().MergeFromString(row.scope)
        inside = getattr(scopes[-1], scopes[-1].DESCRIPTOR.fields[1].name)
        if signal is not Signal.METRICS:
            inside.add().MergeFromString(row.content)
        else:
            if new_scope or row.metric != before.metric:
                inside.add().MergeFromString(row.metric)
            getattr(inside[-1], inside[-1].WhichOneof("data")).data_points.add().MergeFromString(row.content)
        before = row
    return request


def canonical(signal: Signal, request: Message) -> bytes:
    """The canonical form: no empty groups, equal neighbours merged; as bytes, since NaN does not equal itself."""
    return exact(nested(signal, records(request)))


def exact(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


def _only_list(request: Message) -> Any:
    return getattr(request, request.DESCRIPTOR.fields[0].name)


def _contents(scope: Message) -> Iterable[tuple[bytes, bytes]]:
    for record in getattr(scope, scope.DESCRIPTOR.fields[1].name):
        if record.DESCRIPTOR.name != "Metric":
            yield b"", exact(record)
        elif (data := record.WhichOneof("data")) in tuple(MetricType):
            header = type(record)()
            header.CopyFrom(record)
            del getattr(header, data).data_points[:]
            getattr(header, data).SetInParent()
            for point in getattr(record, data).data_points:
                yield exact(header), exact(point)


def _shell(message: Message, without: tuple[str, ...]) -> bytes:
    shell = type(message)()
    shell.CopyFrom(message)
    for field in message.DESCRIPTOR.fields:
        if field.name.startswith(without) and field.is_repeated:
            shell.ClearField(field.name)
    return exact(shell)


def known(message: Message) -> Message:
    """Return a copy without what OTLP 1.x does not have: unknown fields, and the profiles' string-table indexes."""
    copy = type(message)()
    copy.CopyFrom(message)
    copy.DiscardUnknownFields()
    _clear_indexes(copy)
    return copy


def _clear_indexes(message: Message) -> None:
    for field, value in message.ListFields():
        if field.name.endswith("_strindex"):
            message.ClearField(field.name)
        elif field.message_type is not None:
            for inner in value if field.is_repeated else [value]:
                _clear_indexes(inner)


KEPT_ENCODED = {"array_value", "kvlist_value", "entity_refs"}


def plain(message: Message) -> dict[str, Any]:
    """Return a message as the columns should show it: names to Python values, doubles as text (`exact_floats`)."""
    return {
        field.name: exact_floats(_plain_field(message, field))
        for field in message.DESCRIPTOR.fields
        if not field.name.endswith("_strindex")
    }


def _plain_field(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.message_type is not None:
        read = exact if field.name in KEPT_ENCODED else plain
        if field.is_repeated:
            return [read(item) for item in value]
        return read(value) if message.HasField(field.name) else None
    if field.is_repeated:
        return list(value)
    return value if not field.has_presence or message.HasField(field.name) else None


def exact_floats(value: Any) -> Any:
    """Return the value with doubles as text that tells all of them apart, -0.0 and NaN included."""
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, list):
        return [exact_floats(item) for item in value]
    return {key: exact_floats(item) for key, item in value.items()} if isinstance(value, dict) else value


def expected_rows(request: Message) -> list[dict[str, Any]]:
    """Return what the columns of a request should show: a dict for each row, with its side rows in place of numbers."""
    rows = []
    for group in _only_list(request):
        resource = {"present": group.HasField("resource"), "schema_url": group.schema_url, **plain(group.resource)}
        for scope in getattr(group, group.DESCRIPTOR.fields[1].name):
            shared = {
                "resource": resource,
                "scope": {"present": scope.HasField("scope"), "schema_url": scope.schema_url, **plain(scope.scope)},
            }
            for record in getattr(scope, scope.DESCRIPTOR.fields[1].name):
                if record.DESCRIPTOR.name != "Metric":
                    rows.append(shared | plain(record))
                elif data := record.WhichOneof("data"):
                    rows.extend(row | shared for row in _expected_points(record, data))
    return rows


def _expected_points(metric: Any, data: str) -> Iterable[dict[str, Any]]:
    holder = getattr(metric, data)
    side = plain(metric)
    definition = {name: side[name] for name in ("name", "description", "unit", "metadata")} | {
        "type": data,
        "aggregation_temporality": getattr(holder, "aggregation_temporality", 0),
        "is_monotonic": getattr(holder, "is_monotonic", False),
    }
    for point in holder.data_points:
        yield dict.fromkeys(METRICS.names) | plain(point) | {"metric": definition}


def shown_rows(batch: Batch) -> list[dict[str, Any]]:
    """Return a batch in the form of `expected_rows`."""
    sides = {name: [exact_floats(row) for row in side.to_pylist()] for name, side in batch.sides.items()}
    return [
        {name: sides[name][value] if name in sides else exact_floats(value) for name, value in row.items()}
        for row in batch.table.to_pylist()
    ]


def received(columns: Columns) -> Batch:
    """Return what was decoded as a batch that somebody owes."""
    return columns.batch(Receipt.issue("test"))
