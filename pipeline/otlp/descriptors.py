"""What the codec knows of OTLP's messages, all of it derived from the official descriptors.

Columns cannot hold a message that contains itself, so a few fields stay in protobuf's encoding. `_KEPT` names them; the
pool of *trimmed* descriptors declares them as `bytes`, which is the same on the wire, and everything else as it is:

- arrays and maps of AnyValue, so that values nested to any depth come back exactly;
- `resource` and `scope`, as *repeated* bytes: no part is a message that was not sent, and several parts are one message
  in pieces, which protobuf merges by joining them;
- `entity_refs`, which nobody here looks into.

Not declared, hence dropped like any unknown field: the string-table indexes, which only the profiles signal uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import pyarrow as pa
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from ptars import HandlerPool

from pipeline.arrays import Column
from pipeline.kinds import Signal

REQUESTS: Final[Mapping[Signal, Descriptor]] = {
    Signal.TRACES: ExportTraceServiceRequest.DESCRIPTOR,
    Signal.METRICS: ExportMetricsServiceRequest.DESCRIPTOR,
    Signal.LOGS: ExportLogsServiceRequest.DESCRIPTOR,
}
ANY: Final = AnyValue.DESCRIPTOR
ARRAY: Final = ArrayValue.DESCRIPTOR
MAP: Final = KeyValueList.DESCRIPTOR
KEY_VALUE: Final = KeyValue.DESCRIPTOR
METRIC: Final = Metric.DESCRIPTOR
RESOURCE: Final = Resource.DESCRIPTOR
SCOPE: Final = InstrumentationScope.DESCRIPTOR

_KEPT: Final = {
    ("AnyValue", "array_value"): False,
    ("AnyValue", "kvlist_value"): False,
    ("Resource", "entity_refs"): True,
    **{(f"Resource{signal}", "resource"): True for signal in ("Spans", "Metrics", "Logs")},
    **{(f"Scope{signal}", "scope"): True for signal in ("Spans", "Metrics", "Logs")},
}
"""Fields that stay encoded, and whether they are repeated in the trimmed descriptors."""

_IDS: Final = frozenset({"trace_id", "span_id", "parent_span_id"})
"""OTLP/JSON has these in hex; other bytes are base64 (OTLP specification, "JSON Protobuf Encoding")."""


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """One field of a message: how it is declared officially, and how its column looks."""

    name: str
    json_name: str
    number: int
    type: int
    """A `FieldDescriptor.TYPE_*`."""

    repeated: bool
    message: Descriptor | None
    """The official message, for a field of one."""

    encoded: bool
    """Whether the column holds the message's bytes instead of its fields."""

    is_id: bool
    oneof: str | None
    """The oneof it belongs to; `optional` is none."""

    enum: Mapping[str, int] | None
    column: pa.Field[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Wire:
    """The four levels of a signal's request: its message, and the fields that lead down to the records."""

    request: Descriptor
    groups: Field
    """`resource_spans` and its like."""

    scopes: Field
    """`scope_spans` and its like."""

    records: Field
    """`spans`, `metrics` or `log_records`."""


@cache
def wire(signal: Signal) -> Wire:
    request = REQUESTS[signal]
    (groups,) = fields(request)
    assert groups.message is not None
    scopes = next(field for field in fields(groups.message) if field.name.startswith("scope_"))
    assert scopes.message is not None
    records = next(field for field in fields(scopes.message) if field.message is not None and not field.encoded)
    return Wire(request, groups, scopes, records)


@cache
def fields(message: Descriptor) -> tuple[Field, ...]:
    """Return the fields of an official message in the order of its columns."""
    kept = {field.name: field for field in _trimmed(False).FindMessageTypeByName(message.full_name).fields}
    return tuple(_field(message.fields_by_name[column.name], kept[column.name], column) for column in columns(message))


@cache
def columns(message: Descriptor) -> pa.Schema:
    """Return the columns that the message becomes."""
    schema: pa.Schema = handler(message).schema()
    return schema


@cache
def handler(message: Descriptor, *, attributes_encoded: bool = False) -> Any:
    """Return what turns this message's bytes into columns (`list_to_record_batch`) and back.

    With `attributes_encoded` every attribute is the bytes of its `KeyValue`, other than `columns` says.
    """
    return _handlers(attributes_encoded).get_for_message(
        _trimmed(attributes_encoded).FindMessageTypeByName(message.full_name)
    )


def encoded(message: Descriptor, rows: Column) -> Column:
    """Return messages as protobuf; `rows` has the columns of `columns(message)`."""
    bodies: Column = handler(message).record_batch_to_array(pa.RecordBatch.from_struct_array(rows))
    return bodies


def parse(message: Descriptor, body: bytes) -> Message:
    """Parse with google.protobuf under the official descriptor. Raises its DecodeError."""
    return GetMessageClass(message).FromString(body)


def _field(official: FieldDescriptor, kept: FieldDescriptor, column: pa.Field[Any]) -> Field:
    oneof = official.containing_oneof
    return Field(
        name=official.name,
        json_name=official.json_name,
        number=official.number,
        type=official.type,
        repeated=official.is_repeated,
        message=official.message_type,
        encoded=official.type != kept.type,
        is_id=official.name in _IDS,
        oneof=oneof.name if oneof is not None and len(oneof.fields) > 1 else None,
        enum={value.name: value.number for value in official.enum_type.values} if official.enum_type else None,
        column=column,
    )


@cache
def has_attributes(message: Descriptor) -> bool:
    """Whether there are attributes in the columns of the message, at any depth."""
    return any(
        field.message is KEY_VALUE
        or (field.message is not None and not field.encoded and has_attributes(field.message))
        for field in fields(message)
    )


@cache
def _handlers(attributes_encoded: bool) -> HandlerPool:
    pool = _trimmed(attributes_encoded)
    return HandlerPool([pool.FindFileByName(request.file.name) for request in REQUESTS.values()])


@cache
def _trimmed(attributes_encoded: bool) -> DescriptorPool:
    pool = DescriptorPool()
    added: set[str] = set()
    for request in REQUESTS.values():
        _add(pool, request.file, added, attributes_encoded)
    return pool


def _add(pool: DescriptorPool, file: FileDescriptor, added: set[str], attributes_encoded: bool) -> None:
    if file.name in added:
        return
    for dependency in file.dependencies:
        _add(pool, dependency, added, attributes_encoded)
    copy = FileDescriptorProto()
    file.CopyToProto(copy)
    for message in copy.message_type:
        _trim(message, attributes_encoded)
    pool.AddSerializedFile(copy.SerializeToString())
    added.add(file.name)


def _trim(message: DescriptorProto, attributes_encoded: bool) -> None:
    declared = [field for field in message.field if not field.name.endswith("_strindex")]
    for field in declared:
        repeated = _KEPT.get((message.name, field.name))
        if repeated is None and attributes_encoded and field.type_name == f".{KEY_VALUE.full_name}":
            repeated = True
        if repeated is not None:
            field.type = FieldDescriptorProto.TYPE_BYTES
            field.ClearField("type_name")
            field.label = FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
    del message.field[:]
    message.field.extend(declared)
    for nested in message.nested_type:
        _trim(nested, attributes_encoded)
