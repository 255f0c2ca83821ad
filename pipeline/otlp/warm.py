"""The first calls of Arrow's kernels cost a process a quarter of a second: better before there is traffic."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from pipeline.arrays import hex_text
from pipeline.batch import concat
from pipeline.kinds import Signal
from pipeline.otlp import descriptors
from pipeline.otlp.descriptors import Field
from pipeline.otlp.json_in import decode_json
from pipeline.otlp.json_out import encode_json
from pipeline.otlp.protobuf import LARGE, decode, encode
from pipeline.otlp.requests import check
from pipeline.otlp.values import any_value_text, attributes
from pipeline.receipt import Receipt


def warm_up() -> None:
    """Do once what traffic will need: decode, filter, put together, look into attributes, and encode every signal."""
    for signal in Signal:
        (request,) = example_requests(signal)
        from_json = decode_json(signal, [orjson.dumps(request)]).batch(Receipt.issue("warm-up"))
        body = encode(from_json)
        decode(signal, [body] * (LARGE // len(body) + 1))
        both = concat([from_json, decode(signal, [body, body]).batch(Receipt.issue("warm-up"))])
        batch = both.keep(pa.array(np.arange(both.rows) % 2 == 0), "warm-up")
        for values in attributes(batch.column("attributes"), ["text"]).values():
            any_value_text(values)
        if "trace_id" in batch.table.column_names:
            hex_text(batch.column("trace_id"))
        encode(batch)
        encode_json(batch)
        asis = check(signal, [body]).batch(Receipt.issue("warm-up"))
        if signal is not Signal.METRICS:
            encode(asis.sealed())


def example_requests(signal: Signal) -> list[dict[str, Any]]:
    """Return OTLP/JSON that has every field of the signal's messages, each field of a oneof in an object of its own."""
    return _examples(descriptors.REQUESTS[signal], nested_values=2)


def _examples(message: Descriptor, nested_values: int) -> list[dict[str, Any]]:
    values = {
        field: _values(field, nested_values - (message is descriptors.ANY)) for field in descriptors.fields(message)
    }
    plain = [field for field in values if field.oneof is None]
    choices = [{field.json_name: value} for field in values if field.oneof for value in values[field]] or [{}]
    rows = max([len(choices), *(len(values[field]) for field in plain)])
    return [
        {field.json_name: values[field][row % len(values[field])] for field in plain} | choices[row % len(choices)]
        for row in range(rows)
    ]


def _values(field: Field, nested_values: int) -> list[Any]:
    if field.message is not None:
        if nested_values == 0 and field.message in (descriptors.ARRAY, descriptors.MAP):
            return []
        objects = _examples(field.message, nested_values)
        return [objects] if field.repeated else objects
    if field.type == FieldDescriptor.TYPE_STRING:
        value: Any = "text"
    elif field.type == FieldDescriptor.TYPE_BYTES:
        value = "0badcafe" if field.is_id else "dGV4dA=="
    elif field.type == FieldDescriptor.TYPE_BOOL:
        value = True
    else:
        value = 1.5 if field.type == FieldDescriptor.TYPE_DOUBLE else 2
    return [[value]] if field.repeated else [value]
