"""google.protobuf's own JSON reader, made to read OTLP/JSON: slow, and right."""

from __future__ import annotations

import base64
from typing import Any

import orjson
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from pipeline.kinds import Signal
from pipeline.otlp.descriptors import REQUESTS

_IDS = {"traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id"}


def read_json(signal: Signal, body: bytes) -> Message:
    """Raises json_format.ParseError and ValueError."""
    message = GetMessageClass(REQUESTS[signal])()
    return json_format.ParseDict(_base64_ids(orjson.loads(body)), message, ignore_unknown_fields=True)


def write_json(request: Message, *, names: bool, enum_names: bool) -> bytes:
    """Write OTLP/JSON: with the names of the .proto files or in lowerCamelCase, enums as names or numbers."""
    value = json_format.MessageToDict(request, preserving_proto_field_name=names, use_integers_for_enums=not enum_names)
    return orjson.dumps(_hex_ids(value))


def _base64_ids(value: Any) -> Any:
    return _with_ids(value, lambda text: base64.b64encode(bytes.fromhex(text)).decode())


def _hex_ids(value: Any) -> Any:
    return _with_ids(value, lambda text: base64.b64decode(text).hex().upper())


def _with_ids(value: Any, change: Any) -> Any:
    if isinstance(value, list):
        return [_with_ids(item, change) for item in value]
    if isinstance(value, dict):
        return {
            key: change(item) if key in _IDS and isinstance(item, str) else _with_ids(item, change)
            for key, item in value.items()
        }
    return value
