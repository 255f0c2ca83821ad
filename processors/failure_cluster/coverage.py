"""Which cluster a failure belongs to: looked up for all failures of a step at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.hash_table import Rows
from pipeline.hashing import Hashes, combined
from pipeline.records import Records
from processors.failure_cluster.causes import has
from processors.failure_cluster.clusters import Cluster
from processors.failure_cluster.names import Names


class Coverage:
    """The clusters that are not over, as sorted keys. Where two of them could take a failure, the older one does."""

    def __init__(self, clusters: Sequence[Cluster]) -> None:
        pairs: dict[tuple[int, int], int] = {}
        whole: dict[int, int] = {}
        everywhere: dict[int, int] = {}
        for number, cluster in enumerate(clusters):
            for pair in cluster.pairs:
                pairs.setdefault(pair, number)
            for unit in cluster.whole:
                whole.setdefault(unit, number)
            for fault in cluster.everywhere:
                everywhere.setdefault(fault, number)
        self._pairs = _table(combined(*_columns(pairs)) if pairs else _NONE, list(pairs.values()))
        self._whole = _table(np.array(list(whole), np.uint64), list(whole.values()))
        self._everywhere = _table(np.array(list(everywhere), np.uint64), list(everywhere.values()))
        self._shared = [(attribute, number) for number, c in enumerate(clusters) for attribute in c.shared]
        self._empty = not clusters

    def of(self, failures: Records, names: Names) -> Rows:
        """Return the number of the cluster that each failure (of dtype SAMPLE) belongs to, -1 for none."""
        found = np.full(len(failures), -1, np.int64)
        if self._empty or len(failures) == 0:
            return found
        units = failures["unit"].astype(np.uint64)
        faults = np.ascontiguousarray(failures["fingerprint"])
        for table, keys in (
            (self._pairs, combined(units, faults)),
            (self._everywhere, faults),
            (self._whole, units),
        ):
            rest = np.flatnonzero(found < 0)
            found[rest] = _find(table, keys[rest])
        for attribute, number in self._shared:
            rest = np.flatnonzero(found < 0)
            if len(rest) == 0:
                break
            found[rest[has(failures[rest], attribute, names)]] = number
        return found


Table = tuple[Hashes, Rows]

_NONE = np.zeros(0, np.uint64)


def _columns(pairs: dict[tuple[int, int], int]) -> tuple[Hashes, Hashes]:
    units, faults = zip(*pairs, strict=True)
    return np.array(units, np.uint64), np.array(faults, np.uint64)


def _table(keys: Hashes, numbers: list[int]) -> Table:
    order = np.argsort(keys, kind="stable")
    return keys[order], np.array(numbers, np.int64)[order]


def _find(table: Table, keys: npt.NDArray[np.uint64]) -> Rows:
    known, numbers = table
    if len(known) == 0:
        return np.full(len(keys), -1, np.int64)
    places = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return np.where(known[places] == keys, numbers[places], -1)
