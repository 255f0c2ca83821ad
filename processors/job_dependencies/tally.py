"""Counts and samples of edges between two writings, and the rows that they become."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.arrays import Column, Ints, nest, offsets_of
from pipeline.kinds import SHAPES, Kind, required
from pipeline.records import Records, together
from processors.job_dependencies.facts import NodeKind, Via
from processors.job_dependencies.names import Edges, Names

Times = npt.NDArray[np.uint64]

MOST_SAMPLES: Final = 200
"""Samples of one edge, interval and measure; more are put together, each then standing for several."""

_VALUE_BITS: Final = 44
_LARGEST: Final = float((1 << _VALUE_BITS) - 1)
"""Nanoseconds, five hours, from which on values are not ordered any more."""

_INTERVAL_BITS: Final = 35
_INTERVALS: Final = (1 << _INTERVAL_BITS) - 1
"""The bits of a key that number the interval."""

_FLOAT_BITS_APART: Final = 16
"""Values whose floats (IEEE 754, 32 bits) differ in so many lower bits only are nearly equal: by 0.8 % at most."""

_FOLD_AT: Final = 20_000
"""Records that may wait before they are added up."""

_KINDS: Final = pa.array([kind.name.lower() for kind in NodeKind], pa.string())
_VIAS: Final = pa.array([via.name.lower() for via in Via], pa.string())

COUNT: Final = np.dtype(
    [
        ("edge", np.int32),
        ("time", np.uint64),
        ("calls", np.int64),
        ("failures", np.int64),
        ("executions", np.int64),
        ("parents", np.int64),
        ("fan_out", np.uint64),
        ("first", np.uint64),
        ("last", np.uint64),
    ],
    align=True,
)
"""What is to be added to an edge; `time` is when it happened, after folding the begin of the interval."""

SAMPLE: Final = np.dtype(
    [("edge", np.int32), ("time", np.uint64), ("value", np.float64), ("weight", np.float64)], align=True
)

_SUMMED: Final = ("calls", "failures", "executions", "parents")


@dataclass(slots=True)
class Tally:
    """Adds up; times are put into intervals of `interval_ns`."""

    interval_ns: int
    counts: list[Records] = field(default_factory=list)
    latencies: list[Records] = field(default_factory=list)
    durations: list[Records] = field(default_factory=list)

    def __len__(self) -> int:
        """Return how many records wait."""
        return sum(map(len, self.counts))

    @property
    def nbytes(self) -> int:
        return sum(records.nbytes for part in (self.counts, self.latencies, self.durations) for records in part)

    def count(self, edges: Ints, times: Times, **columns: npt.NDArray[Any] | int) -> None:
        """Add to the columns of COUNT; those that are not given stay as they are."""
        self._keep(self.counts, _summed(edges, times, self.interval_ns, columns), self._recounted)

    def sample(self, part: list[Records], edges: Ints, times: Times, values: npt.NDArray[Any]) -> None:
        """Add samples to `part`, `latencies` or `durations`, each standing for itself; values below 0 are none."""
        kept = values >= 0
        if not kept.all():
            edges, times, values = edges[kept], times[kept], values[kept]
        records = np.empty(len(values), SAMPLE)
        records["edge"], records["time"], records["value"], records["weight"] = edges, times, values, 1.0
        self._keep(part, records, self._pooled)

    def load(self, counted: Records, latencies: Records, durations: Records) -> None:
        """Take over the records of another."""
        for part, records in ((self.counts, counted), (self.latencies, latencies), (self.durations, durations)):
            if len(records):
                part.append(records)

    def _keep(self, part: list[Records], records: Records, fold: Callable[[Records], Records]) -> None:
        """Keep records, and put them together with those before if there are many."""
        if len(records) == 0:
            return
        part.append(records)
        if len(part) > 1 and sum(map(len, part[1:])) > max(_FOLD_AT, len(part[0])):
            part[:] = [fold(together(part))]

    def take(self, edges: Edges, names: Names) -> pa.Table | None:
        """Return rows of kind job_dependencies for all that was added, and begin anew; None for nothing."""
        if not self.counts:
            return None
        summed = self._recounted(together(self.counts))
        nothing = np.ones(len(summed), np.bool_)
        for name in _SUMMED:
            nothing &= summed[name] == 0
        latencies = self._thinned(_joined(self.latencies))
        durations = self._thinned(_joined(self.durations))
        self.counts, self.latencies, self.durations = [], [], []
        keys = _keys(summed["edge"], summed["time"], self.interval_ns)
        places = []
        for of in (latencies, durations):
            # samples never come without counts
            place = np.searchsorted(keys, _keys(of["edge"], of["time"], self.interval_ns))
            nothing[place] = False
            places.append(place)
        summed = summed.compress(~nothing)
        if len(summed) == 0:
            return None
        moved = np.cumsum(~nothing) - 1
        return _table(summed, latencies, moved[places[0]], durations, moved[places[1]], edges, names)

    def _recounted(self, records: Records) -> Records:
        """Return one record an edge and interval, in the order of both."""
        columns = {name: records[name] for name in (*_SUMMED, "fan_out", "first", "last")}
        return _summed(records["edge"], records["time"], self.interval_ns, columns)

    def _pooled(self, records: Records) -> Records:
        """Return the records with values that are nearly equal put together where an edge and interval have many."""
        distinct, groups = _distinct(_keys(records["edge"], records["time"], self.interval_ns))
        many = np.bincount(groups) > MOST_SAMPLES
        if not many.any():
            return records
        pooled = many[groups]
        few = records.compress(~pooled)
        if len(few):
            records, groups = records.compress(pooled), groups[pooled]
        # the upper bits of a float are its logarithm, nearly
        near = records["value"].astype(np.float32).view(np.int32) >> _FLOAT_BITS_APART
        encoded: Column = pa.array((groups << 32) | near).dictionary_encode()
        places, of_places = encoded.indices.to_numpy(), encoded.dictionary.to_numpy()
        pools = np.empty(len(of_places), SAMPLE)
        keys = distinct[of_places >> 32]
        pools["edge"] = keys >> _INTERVAL_BITS
        pools["time"] = (keys & _INTERVALS).astype(np.uint64) * np.uint64(self.interval_ns)
        pools["weight"] = np.bincount(places, records["weight"])
        pools["value"] = np.bincount(places, records["weight"] * records["value"]) / pools["weight"]
        return together([few, pools])

    def _thinned(self, records: Records) -> Records:
        """Return at most MOST_SAMPLES records an edge and interval, in the order of both and of the values."""
        if len(records) == 0:
            return records
        _, groups = _distinct(_keys(records["edge"], records["time"], self.interval_ns))
        # one number to sort by is several times cheaper than two; what is equal by it is equal enough
        order = np.argsort((groups << _VALUE_BITS) | np.minimum(records["value"], _LARGEST).astype(np.int64))
        sizes = np.bincount(groups)
        if sizes.max() <= MOST_SAMPLES:
            return records.take(order)
        values, weights = records["value"][order], records["weight"][order]
        starts = offsets_of(sizes)[:-1]
        upto = np.cumsum(weights)
        total = np.add.reduceat(weights, starts)
        # each part of a group stands for about the same weight
        middle = upto - weights / 2 - np.repeat(upto[starts] - weights[starts], sizes)
        part = (middle * np.repeat(MOST_SAMPLES / total, sizes)).astype(np.int64)
        few = np.repeat(sizes <= MOST_SAMPLES, sizes)
        part[few] = np.flatnonzero(few)
        changed = np.ones(len(part), np.bool_)
        np.not_equal(part[1:], part[:-1], out=changed[1:])
        changed[starts] = True
        bounds = np.flatnonzero(changed)
        thinned = records.take(order[bounds])
        thinned["weight"] = np.add.reduceat(weights, bounds)
        thinned["value"] = np.add.reduceat(values * weights, bounds) / thinned["weight"]
        return thinned


def _summed(edges: Ints, times: Times, interval_ns: int, columns: Mapping[str, npt.NDArray[Any] | int]) -> Records:
    """Return one record of COUNT for each edge and interval, in the order of both."""
    keys, groups = _distinct(_keys(edges, times, interval_ns))
    summed = np.zeros(len(keys), COUNT)
    summed["edge"] = keys >> _INTERVAL_BITS
    summed["time"] = (keys & _INTERVALS).astype(np.uint64) * np.uint64(interval_ns)
    summed["first"] = np.iinfo(np.uint64).max
    for name in _SUMMED:
        values = columns.get(name, 0)
        if isinstance(values, np.ndarray):
            summed[name] = np.bincount(groups, values, len(keys))
        elif values:
            summed[name] = values * np.bincount(groups, minlength=len(keys))
    for name, extreme in (("fan_out", np.maximum), ("first", np.minimum), ("last", np.maximum)):
        values = columns.get(name, 0 if name == "fan_out" else times)
        if isinstance(values, np.ndarray):
            column = summed[name].copy()
            extreme.at(column, groups, values)
            summed[name] = column
    return summed


def _distinct(keys: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the distinct keys, ascending, and the place of each key among them. There are few."""
    encoded: Column = pa.array(keys).dictionary_encode()
    distinct, places = np.unique(encoded.dictionary.to_numpy(), return_inverse=True)
    return distinct, places[encoded.indices.to_numpy()]


def _keys(edges: Ints, times: Times, interval_ns: int) -> npt.NDArray[np.int64]:
    """Return edge and interval as one number: an interval of a second or more leaves 28 bits for the edge."""
    return (edges.astype(np.int64) << _INTERVAL_BITS) | (times // np.uint64(interval_ns)).astype(np.int64)


def _joined(parts: list[Records]) -> Records:
    return together(parts) if parts else np.zeros(0, SAMPLE)


def _lists(place: npt.NDArray[np.int64], rows: int, values: npt.NDArray[np.float64]) -> Any:
    """Return for each of `rows` its values, which are in the order of the rows."""
    offsets = offsets_of(np.bincount(place, minlength=rows))
    return nest(offsets, pa.array(np.rint(values).astype(np.uint64)), required("item", pa.uint64()))


def _table(
    summed: Records,
    latencies: Records,
    of_latencies: npt.NDArray[np.int64],
    durations: Records,
    of_durations: npt.NDArray[np.int64],
    edges: Edges,
    names: Names,
) -> pa.Table:
    """Return the rows; `of_latencies` and `of_durations` are the rows of the samples."""
    rows = len(summed)
    edge = edges.table.take(summed["edge"])
    columns = {
        "timestamp": pa.array(summed["time"]),
        "parent_kind": _KINDS.take(pa.array(edge["parent_kind"])),
        "parent": names.column(edge["parent"]),
        "parent_service": names.column(edge["parent_service"]),
        "child_kind": _KINDS.take(pa.array(edge["child_kind"])),
        "child": names.column(edge["child"]),
        "child_service": names.column(edge["child_service"]),
        "via": _VIAS.take(pa.array(edge["via"])),
        **{name: pa.array(summed[name]) for name in _SUMMED},
        "fan_out_max": pa.array(summed["fan_out"]),
        "queue_latencies": _lists(of_latencies, rows, latencies["value"]),
        "queue_latency_weights": _lists(of_latencies, rows, latencies["weight"]),
        "durations": _lists(of_durations, rows, durations["value"]),
        "duration_weights": _lists(of_durations, rows, durations["weight"]),
        "first_seen": pa.array(summed["first"]),
        "last_seen": pa.array(summed["last"]),
    }
    schema = SHAPES[Kind.JOB_DEPENDENCIES].schema
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)
