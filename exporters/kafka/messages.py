"""From a batch to messages: which rows go to which topic, together with which others, under which key. Pure.

OTLP rows are put in the order of their messages first, then all messages are encoded in one call and cut apart: a
message for each trace costs little more than one for all. Rows of our own kinds are a message each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from exporters.kafka.config import KafkaExporterConfig
from pipeline import SHAPES, Batch, Kind
from pipeline.arrays import Column, Ints, changes, hex_text, offsets_of, unnest
from pipeline.batch import one_array
from pipeline.columns import any_value_text, attributes
from pipeline.otlp import RequestBatch, encode_json_parts, encode_parts
from pipeline.rows_json import json_rows

SLICE_ROWS: Final = 4096
"""Rows encoded in one call, which holds the interpreter for some 20 ms."""

OVERHEAD_BYTES: Final = 128
"""What a record batch has besides one message: its header (61) and lengths, offsets, times of the record."""

SORTED_UNSEEN: Final = frozenset({Kind.SPANS, Kind.LOGS})
"""Kinds whose rows go to their messages without being decoded, where they came encoded; a metric has several rows."""

KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "jobs": ("job_id", "job_class"),
    "job_dependencies": ("parent", "child"),
    "failure_clusters": ("cluster_id",),
    "alerts": ("subject", "name"),
}
"""The columns that key the rows of our own kinds; the first that is not null counts."""

Encode = Callable[[Batch, Ints], Column]


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Rows for one topic, in the order of their messages."""

    topic: str
    batch: Batch
    order: Ints
    """Which row of the exported batch each row was."""

    bounds: Ints
    """Offsets: the rows of each message."""

    keys: Column
    """A key for each message, binary; null where it has none."""


@dataclass(frozen=True, slots=True, eq=False)
class Fitting:
    """The messages of a group, none over the limit."""

    values: list[bytes]
    starts: Ints
    ends: Ints
    """The rows of each message within the group."""

    keys: Column
    refused: list[tuple[int, int]]
    """Rows within the group that are too large by themselves, and their sizes."""


def as_they_came(
    batch: Batch, config: KafkaExporterConfig, limit: int, headers_bytes: int
) -> list[tuple[Group, Fitting]]:
    """Return requests that are messages as they are; nothing where there is something to make, or to cut."""
    if not isinstance(batch, RequestBatch) or not config.as_it_came(batch.kind):
        return []
    bodies = batch.requests.bodies
    if max(map(len, bodies)) > limit - OVERHEAD_BYTES - headers_bytes:
        return []
    group = _one_a_request(batch, config)
    return [(group, Fitting(list(bodies), group.bounds[:-1], group.bounds[1:], group.keys, []))]


def made(batch: Batch, config: KafkaExporterConfig, limit: int, headers_bytes: int) -> list[tuple[Group, Fitting]]:
    """Return the messages of a batch by topic, none over `limit` bytes with key and headers."""
    encode = _encoder(config, batch.kind)
    return [(group, _fitting(group, encode, limit, headers_bytes)) for group in _groups(batch, config)]


def _groups(batch: Batch, config: KafkaExporterConfig) -> list[Group]:
    """Return the rows by topic, each with its messages; a batch without keys is one message, however large."""
    if SHAPES[batch.kind].signal is None:
        return [
            Group(
                config.topic_of(batch.kind),
                batch,
                np.arange(batch.rows),
                np.arange(batch.rows + 1),
                _row_keys(batch),
            )
        ]
    if isinstance(batch, RequestBatch):
        if config.as_it_came(batch.kind):
            return [_one_a_request(batch, config)]
        if batch.kind in SORTED_UNSEEN and config.encoding_of(batch.kind) == "otlp_proto":
            batch = batch.sealed()
    topics, topic_codes = _topics(batch, config)
    keys, key_codes = _pieces(batch, config)
    codes = topic_codes * len(keys) + key_codes
    order = np.arange(batch.rows)
    if (codes[1:] < codes[:-1]).any():
        order = np.argsort(codes, kind="stable")
        batch = batch.with_table(batch.table.take(order).combine_chunks())
        codes = codes[order]
    bounds = changes(codes)
    firsts = codes[bounds[:-1]]
    topic_of_message, key_of_message = firsts // len(keys), firsts % len(keys)
    found = []
    stretches = changes(topic_of_message)
    for first, last in zip(stretches[:-1].tolist(), stretches[1:].tolist(), strict=True):
        start, end = int(bounds[first]), int(bounds[last])
        found.append(
            Group(
                topics[topic_of_message[first]],
                batch.with_table(batch.table.slice(start, end - start)),
                order[start:end],
                bounds[first : last + 1] - start,
                keys.take(pa.array(key_of_message[first:last])),
            )
        )
    return found


def _encoder(config: KafkaExporterConfig, kind: Kind) -> Encode:
    """Return what makes values of rows; an Encode gets a batch and the offsets of its messages."""
    return {"otlp_proto": encode_parts, "otlp_json": encode_json_parts, "json": _one_a_row}[config.encoding_of(kind)]


def _fitting(group: Group, encode: Encode, limit: int, headers_bytes: int) -> Fitting:
    """Return the messages of a group, split by rows where they would be over `limit` bytes with key and headers."""
    key_lengths: Column = pc.binary_length(group.keys)
    longest_key: int = pc.max(key_lengths).as_py() or 0
    room = limit - OVERHEAD_BYTES - headers_bytes - longest_key
    bounds = _narrowed(group, room)
    values = [
        value for first, last in _slices(bounds) for value in _encoded(group.batch, encode, bounds[first : last + 1])
    ]
    owners = np.searchsorted(group.bounds, bounds[:-1], side="right") - 1
    if max(map(len, values)) <= room:
        return Fitting(values, bounds[:-1], bounds[1:], group.keys.take(pa.array(owners)), [])
    pieces = [
        part
        for piece in map(_Piece, values, bounds[:-1].tolist(), bounds[1:].tolist(), owners.tolist())
        for part in _cut(group.batch, encode, piece, room)
    ]
    kept = [piece for piece in pieces if len(piece.value) <= room]
    return Fitting(
        [piece.value for piece in kept],
        np.array([piece.start for piece in kept], np.int64),
        np.array([piece.end for piece in kept], np.int64),
        group.keys.take(pa.array([piece.owner for piece in kept], pa.int64())),
        [(piece.start, len(piece.value)) for piece in pieces if len(piece.value) > room],
    )


def _one_a_request(batch: RequestBatch, config: KafkaExporterConfig) -> Group:
    bounds = offsets_of(batch.requests.rows_per_body)
    keys = pa.nulls(len(bounds) - 1, pa.binary())
    return Group(config.topic_of(batch.kind), batch, np.arange(batch.rows), bounds, keys)


def _topics(batch: Batch, config: KafkaExporterConfig) -> tuple[list[str], Ints]:
    """Return topics, and for each row the number of its own."""
    usual = config.topic_of(batch.kind)
    if not config.topic_from_attribute:
        return [usual], np.zeros(batch.rows, np.int64)
    lists = one_array(batch.sides["resource"].column("attributes"))
    values: Column = attributes(lists, [config.topic_from_attribute])[config.topic_from_attribute]
    texts: Column = values.field("string_value")
    named = [text or usual for text in pc.if_else(values.is_valid(), texts, pa.scalar(None, pa.string())).to_pylist()]
    topics = list(dict.fromkeys(named))
    numbers = {topic: number for number, topic in enumerate(topics)}
    codes = np.fromiter((numbers[topic] for topic in named), np.int64, len(named))
    return topics, codes[batch.column("resource").to_numpy()]


def _pieces(batch: Batch, config: KafkaExporterConfig) -> tuple[Column, Ints]:
    """Return keys, and for each row the number of its own; rows of equal number make a message."""
    by_trace = {Kind.SPANS: config.partition_traces_by_id, Kind.LOGS: config.partition_logs_by_trace_id}
    by_resource = {
        Kind.METRICS: config.partition_metrics_by_resource_attributes,
        Kind.LOGS: config.partition_logs_by_resource_attributes,
    }
    if by_trace.get(batch.kind):
        encoded: Column = batch.column("trace_id").dictionary_encode()
        texts: Column = hex_text(encoded.dictionary)
        keys = pc.if_else(pc.equal(texts, pa.scalar("")), pa.scalar(None, pa.string()), texts)
        return keys.cast(pa.binary()), encoded.indices.to_numpy().astype(np.int64)
    if by_resource.get(batch.kind):
        digests = pa.array(_digests(one_array(batch.sides["resource"].column("attributes"))), pa.binary())
        encoded = digests.dictionary_encode()
        return encoded.dictionary, encoded.indices.to_numpy().astype(np.int64)[batch.column("resource").to_numpy()]
    return pa.array([None], pa.binary()), np.zeros(batch.rows, np.int64)


def _digests(lists: Column) -> list[bytes]:
    """Return 16 bytes for each resource that depend on its attributes and not on their order."""
    offsets, pairs = unnest(lists)
    keys, values = pairs.field("key").to_pylist(), any_value_text(pairs.field("value")).to_pylist()
    return [
        blake2b(repr(sorted(zip(keys[start:end], values[start:end], strict=True))).encode(), digest_size=16).digest()
        for start, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
    ]


def _row_keys(batch: Batch) -> Column:
    columns = [batch.column(name) for name in KEYS.get(batch.kind, ()) if name in batch.table.schema.names]
    texts = [column.cast(pa.string()) for column in columns]
    return (
        pc.coalesce(*texts, pa.scalar(None, pa.string())).cast(pa.binary())
        if texts
        else pa.nulls(batch.rows, pa.binary())
    )


def _one_a_row(batch: Batch, bounds: Ints) -> Column:
    return json_rows(batch)


def _narrowed(group: Group, room: int) -> Ints:
    """Return bounds that also cut what is surely too large: Arrow's size of a row is about that of its encoding."""
    rows = max(1, int(room * group.batch.rows / max(1, group.batch.nbytes)))
    if (np.diff(group.bounds) <= rows).all():
        return group.bounds
    extra = [
        np.arange(start, end, rows)
        for start, end in zip(group.bounds[:-1].tolist(), group.bounds[1:].tolist(), strict=True)
    ]
    return np.concatenate([*extra, group.bounds[-1:]])


def _slices(bounds: Ints) -> Iterator[tuple[int, int]]:
    """Yield stretches of messages with at most SLICE_ROWS rows together, or a single message."""
    first = 0
    while first < len(bounds) - 1:
        last = int(np.searchsorted(bounds, bounds[first] + SLICE_ROWS, side="right")) - 1
        last = max(last, first + 1)
        yield first, last
        first = last


class _Piece(NamedTuple):
    """The encoding of some rows of a group."""

    value: bytes
    start: int
    end: int
    owner: int
    """The message of the group that they belong to."""


def _encoded(batch: Batch, encode: Encode, bounds: Ints) -> list[bytes]:
    """Return the encoding of the rows between neighbouring bounds."""
    start, end = int(bounds[0]), int(bounds[-1])
    part = batch.with_table(batch.table.slice(start, end - start))
    values: list[bytes] = encode(part, bounds - start).cast(pa.binary()).to_pylist()
    return values


def _cut(batch: Batch, encode: Encode, piece: _Piece, room: int) -> Iterator[_Piece]:
    """Yield a piece in parts that fit, or are single rows."""
    rows = piece.end - piece.start
    if len(piece.value) <= room or rows == 1:
        yield piece
        return
    parts = min(rows, max(2, -(-len(piece.value) * 11 // (room * 10))))
    bounds = np.unique(np.linspace(piece.start, piece.end, parts + 1).astype(np.int64))
    starts, ends = bounds[:-1].tolist(), bounds[1:].tolist()
    for value, start, end in zip(_encoded(batch, encode, bounds), starts, ends, strict=True):
        yield from _cut(batch, encode, _Piece(value, start, end, piece.owner), room)
