"""Requests taken apart and put together anew while their rows stay as they were encoded.

Who only sends spans or log records to different places, by resource or by trace, need not look into them: this costs a
quarter of decoding and encoding them, and they keep every byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final

import numpy as np
import pyarrow as pa
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from ptars import HandlerPool

from pipeline.batch import Batch
from pipeline.errors import Malformed
from pipeline.kinds import KIND_OF, Signal, required
from pipeline.otlp import descriptors
from pipeline.otlp.descriptors import Field
from pipeline.otlp.flatten import Columns, surroundings

SEALED: Final = "sealed"
"""The column of encoded rows; it stands for all columns of the kind but those of SCHEMA."""

SCHEMA: Final = pa.schema(
    [
        required("resource", pa.int32()),
        required("scope", pa.int32()),
        required("trace_id", pa.binary()),
        required(SEALED, pa.binary()),
    ]
)


def seal(signal: Signal, bodies: Sequence[bytes]) -> Columns:
    """Return the rows of protobuf requests of traces or logs in the columns of SCHEMA, with the usual side tables.

    Raises Malformed if a request, a resource or a scope does not decode; of rows only the trace id is looked at.
    """
    try:
        around = surroundings(signal, handler(signal).list_to_record_batch(list(bodies)).column(0))
        trace_ids = _trace_ids(signal).array_to_record_batch(around.records).column(0)
    except ValueError as error:
        raise Malformed(f"not an OTLP {signal} request: {error}") from error
    columns = {
        "resource": pa.array(around.resources),
        "scope": pa.array(around.scopes),
        "trace_id": trace_ids,
        SEALED: around.records,
    }
    table = pa.Table.from_arrays([columns[name] for name in SCHEMA.names], schema=SCHEMA)
    return Columns(KIND_OF[signal], table, around.sides, np.diff(around.of_record))


def is_sealed(batch: Batch) -> bool:
    """Whether these are rows that `seal` made."""
    return SEALED in batch.table.schema.names


@cache
def handler(signal: Signal) -> Any:
    """Return what turns requests into columns and back, with rows as bytes and all else as `descriptors` has it."""
    wire = descriptors.wire(signal)
    assert wire.groups.message is not None
    assert wire.scopes.message is not None
    return declared(
        f"sealed.{signal}",
        {
            "Request": [wire.groups],
            "Group": descriptors.fields(wire.groups.message),
            "Scope": descriptors.fields(wire.scopes.message),
        },
        {wire.groups: "Group", wire.scopes: "Scope"},
    )


@cache
def _trace_ids(signal: Signal) -> Any:
    """Return the handler of encoded rows that reads nothing but their trace ids."""
    wire = descriptors.wire(signal)
    assert wire.records.message is not None
    trace_id = [field for field in descriptors.fields(wire.records.message) if field.name == "trace_id"]
    return declared(f"trace_ids.{signal}", {"Record": trace_id}, {})


def declared(package: str, messages: Mapping[str, Iterable[Field]], types: Mapping[Field, str]) -> Any:
    """Return the handler of the first of `messages`, in a package of the given name.

    `messages` has the fields of each message, `types` the message of some fields; other fields of messages are bytes.
    """
    file = FileDescriptorProto(name=package, package=package, syntax="proto3")
    for message, fields in messages.items():
        declared = file.message_type.add(name=message).field
        for field in fields:
            of = types.get(field)
            scalar = FieldDescriptorProto.TYPE_BYTES if field.message is not None else field.type
            declared.add(
                name=field.name,
                number=field.number,
                label=FieldDescriptorProto.LABEL_REPEATED
                if pa.types.is_list(field.column.type)
                else FieldDescriptorProto.LABEL_OPTIONAL,
                type=scalar if of is None else FieldDescriptorProto.TYPE_MESSAGE,
                type_name=None if of is None else f".{package}.{of}",
            )
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    first = f"{package}.{next(iter(messages))}"
    return HandlerPool([pool.FindFileByName(package)]).get_for_message(pool.FindMessageTypeByName(first))
