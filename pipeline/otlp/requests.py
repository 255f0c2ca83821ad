"""Requests handed on as they came, for pipelines where nobody looks into them: from OTLP to Kafka, say.

They are checked and their rows counted, which costs a third of decoding them. Whoever wants columns after all gets
them, made at that moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from google.protobuf.message import DecodeError

from pipeline.arrays import offsets_of, unnest
from pipeline.batch import Batch
from pipeline.errors import Malformed
from pipeline.kinds import KIND_OF, MetricType, Signal
from pipeline.otlp import descriptors
from pipeline.otlp.audit import check_size
from pipeline.otlp.flatten import Columns
from pipeline.otlp.protobuf import decode
from pipeline.otlp.sealed import declared, seal
from pipeline.receipt import Receipt

JOINED_BYTES: Final = 1 << 19
"""Requests that are put together become one up to this size, which is half of what a Kafka message may have."""


@dataclass(frozen=True, slots=True, eq=False)
class Requests:
    """Protobuf `Export*ServiceRequest`s of one signal that google.protobuf can read."""

    signal: Signal
    bodies: tuple[bytes, ...]
    rows_per_body: npt.NDArray[np.int64]

    def batch(self, receipt: Receipt) -> RequestBatch:
        """Return a batch of those that have rows."""
        filled = np.flatnonzero(self.rows_per_body)
        bodies = tuple(self.bodies[position] for position in filled.tolist())
        return RequestBatch(Requests(self.signal, bodies, self.rows_per_body[filled]), receipt)

    @classmethod
    def joined(cls, parts: Sequence[Requests]) -> Requests:
        """Return all in their order. Requests one after another are one request: protobuf appends repeated fields."""
        bodies = [body for part in parts for body in part.bodies]
        ends = np.cumsum([len(body) for body in bodies])
        rows = np.concatenate([part.rows_per_body for part in parts])
        starts = [0]
        while (end := int(ends[starts[-1]]) + JOINED_BYTES - len(bodies[starts[-1]])) < ends[-1]:
            starts.append(max(int(np.searchsorted(ends, end, side="right")), starts[-1] + 1))
        together = [b"".join(bodies[start:end]) for start, end in pairwise([*starts, len(bodies)])]
        return cls(parts[0].signal, tuple(together), np.add.reduceat(rows, starts))


class RequestBatch(Batch):
    """Rows that are still encoded. Asked for `table` or `sides` it decodes; what is made of these is a plain batch."""

    requests: Requests

    def __init__(self, requests: Requests, receipt: Receipt) -> None:
        # Batch is frozen, and its own __init__ wants columns.
        for name, value in {
            "kind": KIND_OF[requests.signal],
            "receipt": receipt,
            "nbytes": sum(map(len, requests.bodies)),
            "_made": {},
            "requests": requests,
        }.items():
            object.__setattr__(self, name, value)

    @property
    def rows(self) -> int:
        return int(self.requests.rows_per_body.sum())

    @property
    def table(self) -> pa.Table:
        return self._columns.table

    @property
    def sides(self) -> Mapping[str, pa.Table]:
        return self._columns.sides

    def owing(self, receipt: Receipt) -> RequestBatch:
        return RequestBatch(self.requests, receipt)

    def sealed(self) -> Batch:
        """Return the rows of traces or logs, each still encoded (`pipeline.otlp.sealed`)."""
        return seal(self.requests.signal, self.requests.bodies).batch(self.receipt)

    @classmethod
    def joined(cls, parts: Sequence[Batch]) -> Batch:
        requests = [part.requests for part in parts if isinstance(part, RequestBatch)]
        if len(requests) < len(parts):
            return Batch.joined(parts)
        return RequestBatch(Requests.joined(requests), Receipt.merge(part.receipt for part in parts))

    @cached_property
    def _columns(self) -> Columns:
        return decode(self.requests.signal, self.requests.bodies)


def check(signal: Signal, bodies: Sequence[bytes]) -> Requests:
    """Return the requests as they are, once it is sure that they can be decoded.

    Raises Malformed if google.protobuf refuses any of them, TooLarge if together they are over audit.LARGEST_CALL.
    """
    check_size(bodies)
    request = descriptors.REQUESTS[signal]
    try:
        for body in bodies:
            descriptors.parse(request, body)
    except DecodeError as error:
        raise Malformed(f"not an OTLP {signal} request: {error}") from error
    return Requests(signal, tuple(bodies), _rows(signal, bodies))


def _rows(signal: Signal, bodies: Sequence[bytes]) -> npt.NDArray[np.int64]:
    """Return how many rows each body has: the lengths of lists whose elements stay encoded."""
    wire = descriptors.wire(signal)
    offsets, parts = unnest(_skeleton(signal).list_to_record_batch(list(bodies)).column(0))
    for field in (wire.scopes, wire.records):
        inner, parts = unnest(parts.field(field.name))
        offsets = inner[offsets]
    if signal is Signal.METRICS:
        points = [np.diff(unnest(parts.field(type_).field("data_points"))[0]) for type_ in MetricType]
        offsets = offsets_of(np.sum(points, axis=0))[offsets]
    return np.diff(offsets).astype(np.int64)


@cache
def _skeleton(signal: Signal) -> Any:
    """Return the handler of the signal's requests with rows declared as `bytes`, and nothing but the way to them."""
    wire = descriptors.wire(signal)
    messages = {"Request": [wire.groups], "Group": [wire.scopes], "Scope": [wire.records]}
    types = {wire.groups: "Group", wire.scopes: "Scope"}
    if signal is Signal.METRICS:
        data = [field for field in descriptors.fields(descriptors.METRIC) if field.name in set(MetricType)]
        assert data[0].message is not None
        messages["Metric"] = data
        messages["Data"] = [field for field in descriptors.fields(data[0].message) if field.name == "data_points"]
        types |= {wire.records: "Metric", **dict.fromkeys(data, "Data")}
    return declared(f"skeleton.{signal}", messages, types)
