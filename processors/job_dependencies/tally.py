"""Counts and samples of edges between two writings, and the rows that they become."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.arrays import nest, offsets_of
from pipeline.kinds import SHAPES, Kind, required
from processors.job_dependencies.facts import NodeKind, Records, Via
from processors.job_dependencies.names import Edges, Names

MOST_SAMPLES: Final = 200
"""Samples of one edge, interval and measure; more are put together, each then standing for several."""

_VALUE_BITS: Final = 44
_LARGEST: Final = float((1 << _VALUE_BITS) - 1)
"""Nanoseconds, five hours, from which on values are not ordered any more."""

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
    ]
)
"""What is to be added to an edge; `time` is when it happened, after folding the begin of the interval."""

SAMPLE: Final = np.dtype([("edge", np.int32), ("time", np.uint64), ("value", np.float64), ("weight", np.float64)])

_SUMMED: Final = ("calls", "failures", "executions", "parents")


def counts(edges: npt.NDArray[Any], times: npt.NDArray[np.uint64], **columns: npt.NDArray[Any] | int) -> Records:
    """Return records of COUNT; columns that are not given are 0."""
    records = np.zeros(len(edges), COUNT)
    records["edge"], records["time"], records["first"], records["last"] = edges, times, times, times
    for name, values in columns.items():
        records[name] = values
    return records


def samples(edges: npt.NDArray[Any], times: npt.NDArray[np.uint64], values: npt.NDArray[Any]) -> Records:
    """Return records of SAMPLE, each standing for itself; values below 0 are none."""
    kept = values >= 0
    records = np.zeros(np.count_nonzero(kept), SAMPLE)
    records["edge"], records["time"], records["value"], records["weight"] = edges[kept], times[kept], values[kept], 1.0
    return records


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

    def add(self, counted: Records, latencies: Records | None = None, durations: Records | None = None) -> None:
        """Add records, and put them together with those before if there are many."""
        for part, records in ((self.counts, counted), (self.latencies, latencies), (self.durations, durations)):
            if records is not None and len(records):
                part.append(records)
        for part, fold in (
            (self.counts, self._summed),
            (self.latencies, self._thinned),
            (self.durations, self._thinned),
        ):
            if len(part) > 1 and sum(map(len, part[1:])) > max(_FOLD_AT, len(part[0])):
                part[:] = [fold(np.concatenate(part))]

    def take(self, edges: Edges, names: Names) -> pa.Table | None:
        """Return rows of kind job_dependencies for all that was added, and begin anew; None for nothing."""
        if not self.counts:
            return None
        summed = self._summed(np.concatenate(self.counts))
        nothing = np.ones(len(summed), np.bool_)
        for name in _SUMMED:
            nothing &= summed[name] == 0
        latencies = self._thinned(_joined(self.latencies))
        durations = self._thinned(_joined(self.durations))
        self.counts, self.latencies, self.durations = [], [], []
        keys = _keys(summed, self.interval_ns)
        places = []
        for of in (latencies, durations):
            # samples never come without counts
            place = np.searchsorted(keys, _keys(of, self.interval_ns))
            nothing[place] = False
            places.append(place)
        summed = summed.compress(~nothing)
        if len(summed) == 0:
            return None
        moved = np.cumsum(~nothing) - 1
        return _table(summed, latencies, moved[places[0]], durations, moved[places[1]], edges, names)

    def _summed(self, records: Records) -> Records:
        """Return one record an edge and interval, in the order of both."""
        records["time"] -= records["time"] % np.uint64(self.interval_ns)
        groups, starts = _grouped(records, self.interval_ns)
        summed = np.zeros(len(starts), COUNT)
        if len(starts) == 0:
            return summed
        for name in ("edge", "time"):
            summed[name] = groups[name][starts]
        for name in _SUMMED:
            summed[name] = np.add.reduceat(groups[name], starts)
        summed["fan_out"] = np.maximum.reduceat(groups["fan_out"], starts)
        summed["first"] = np.minimum.reduceat(groups["first"], starts)
        summed["last"] = np.maximum.reduceat(groups["last"], starts)
        return summed

    def _thinned(self, records: Records) -> Records:
        """Return at most MOST_SAMPLES records an edge and interval, in the order of both and of the values."""
        records["time"] -= records["time"] % np.uint64(self.interval_ns)
        groups, starts = _grouped(records, self.interval_ns, by_value=True)
        sizes = np.diff(np.append(starts, len(groups)))
        if len(groups) == 0 or sizes.max() <= MOST_SAMPLES:
            return groups
        group = np.repeat(np.arange(len(starts)), sizes)
        upto = np.cumsum(groups["weight"])
        before = upto - groups["weight"]
        base = before[starts]
        total = np.add.reduceat(groups["weight"], starts)
        # each part of a group stands for about the same weight
        middle = (before + upto) / 2 - base[group]
        part = np.minimum((middle * MOST_SAMPLES / total[group]).astype(np.int64), MOST_SAMPLES - 1)
        part = np.where(sizes[group] > MOST_SAMPLES, part, np.arange(len(groups)) - starts[group])
        bounds = np.flatnonzero(np.concatenate([[True], (np.diff(group) != 0) | (np.diff(part) != 0)]))
        thinned = groups.take(bounds)
        thinned["weight"] = np.add.reduceat(groups["weight"], bounds)
        thinned["value"] = np.add.reduceat(groups["value"] * groups["weight"], bounds) / thinned["weight"]
        return thinned


def _grouped(records: Records, interval_ns: int, *, by_value: bool = False) -> tuple[Records, npt.NDArray[np.int64]]:
    """Return the records ordered by edge and interval, and where each such group begins."""
    keys = _keys(records, interval_ns)
    if by_value:
        # one number to sort by is several times cheaper than two; what is equal by it is equal enough
        _, groups = np.unique(keys, return_inverse=True)
        order = np.argsort((groups << _VALUE_BITS) | np.minimum(records["value"], _LARGEST).astype(np.int64))
    else:
        order = np.argsort(keys, kind="stable")
    ordered, keys = records.take(order), keys[order]
    if len(ordered) == 0:
        return ordered, np.zeros(0, np.int64)
    return ordered, np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))


def _keys(records: Records, interval_ns: int) -> npt.NDArray[np.int64]:
    """Return edge and interval as one number: an interval of a second or more leaves 28 bits for the edge."""
    return (records["edge"].astype(np.int64) << 35) | (records["time"] // np.uint64(interval_ns)).astype(np.int64)


def _joined(parts: list[Records]) -> Records:
    return np.concatenate(parts) if parts else np.zeros(0, SAMPLE)


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
