"""OTLP on the wire <-> columns: protobuf and JSON, traces, metrics and logs on one path."""

from pipeline.otlp.flatten import Columns
from pipeline.otlp.json_in import decode_json
from pipeline.otlp.json_out import encode_json, encode_json_parts
from pipeline.otlp.protobuf import decode, encode, encode_parts
from pipeline.otlp.requests import RequestBatch, Requests, check
from pipeline.otlp.warm import warm_up

__all__ = [
    "Columns",
    "RequestBatch",
    "Requests",
    "check",
    "decode",
    "decode_json",
    "encode",
    "encode_json",
    "encode_json_parts",
    "encode_parts",
    "warm_up",
]
