"""How many failures there were: of which unit, with which fault, when. Sums over it are what the rules judge."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.hashing import Hashes, combined
from pipeline.records import Records, appended, copied, together

ENTRY: Final = np.dtype(
    [
        ("bucket", np.int64),
        ("fingerprint", np.uint64),
        ("unit", np.int32),
        ("count", np.int32),
        ("covered", np.bool_),  # they belong to a cluster, so they open no other
    ],
    align=True,
)

OTHER_FAULTS: Final = np.uint64(1)
"""Stands for the rarest faults when there are too many."""


class Ledger:
    """Entries by time. Bounded: beyond the limit, faults that were seen once in a step are put together."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries = np.zeros(1024, ENTRY)
        self._number = 0

    @property
    def entries(self) -> Records:
        return self._entries[: self._number]

    def __len__(self) -> int:
        return self._number

    def add(self, bucket: int, units: npt.NDArray[np.int32], faults: Hashes, covered: npt.NDArray[np.bool_]) -> None:
        """Add failures of one step of time, one a row."""
        pairs = combined(units.astype(np.uint64), faults, covered.astype(np.uint64))
        _, first, counts = np.unique(pairs, return_index=True, return_counts=True)
        entries = np.zeros(len(first), ENTRY)
        entries["bucket"], entries["count"] = bucket, counts
        entries["unit"], entries["fingerprint"], entries["covered"] = units[first], faults[first], covered[first]
        self._append(entries)
        if self._number > self._limit:
            self._shrink()

    def uncovered(self, since: int, units: int) -> npt.NDArray[np.int64]:
        """Return the failures of each unit that belong to no cluster, from bucket `since` on."""
        entries = self.entries
        open_ = (entries["bucket"] >= since) & ~entries["covered"]
        totals = np.bincount(entries["unit"][open_], weights=entries["count"][open_], minlength=units)
        return totals.astype(np.int64)

    def faults_of(self, unit: int, since: int) -> tuple[Hashes, npt.NDArray[np.int64], int, int]:
        """Return the unit's faults that belong to no cluster, most frequent first, with counts; first and last bucket.

        Of equal counts the fault that came first is first.
        """
        entries = self.entries
        chosen = entries.compress((entries["unit"] == unit) & (entries["bucket"] >= since) & ~entries["covered"])
        if len(chosen) == 0:
            return np.zeros(0, np.uint64), np.zeros(0, np.int64), since, since
        faults, inverse = np.unique(chosen["fingerprint"], return_inverse=True)
        counts = np.bincount(inverse, weights=chosen["count"]).astype(np.int64)
        begun = np.full(len(faults), np.iinfo(np.int64).max)
        np.minimum.at(begun, inverse, chosen["bucket"])
        # what stands for many faults is none itself
        order = np.lexsort((faults, begun, -counts, faults == OTHER_FAULTS))
        return faults[order], counts[order], int(chosen["bucket"].min()), int(chosen["bucket"].max())

    def cover(self, unit: int, faults: Hashes | None, since: int) -> int:
        """Mark failures as belonging to a cluster (`faults` None: all of the unit); return how many that were."""
        entries = self.entries
        mask = (entries["unit"] == unit) & (entries["bucket"] >= since) & ~entries["covered"]
        if faults is not None:
            mask &= np.isin(entries["fingerprint"], faults)
        places = np.flatnonzero(mask)
        self._entries["covered"][places] = True
        return int(self._entries["count"][places].sum())

    def take_back(self, failures: Records) -> None:
        """Count failures (of dtype FAILED) no longer, as far as they are still here."""
        entries = self.entries
        for failure in failures:  # few: rows that were said to have failed, and then had not
            same = np.flatnonzero(
                (entries["bucket"] == failure["bucket"])
                & (entries["unit"] == failure["unit"])
                & (entries["fingerprint"] == failure["fingerprint"])
                & (entries["count"] > 0)
            )
            if len(same):
                self._entries["count"][same[0]] -= 1

    def expire(self, before: int) -> None:
        """Forget what was before a bucket."""
        old = int(np.count_nonzero(self.entries["bucket"] < before))
        if 2 * old >= self._number and old:
            entries = self.entries
            self.load(entries.compress(entries["bucket"] >= before))

    def coarsen(self, before: int, width: int) -> None:
        """Put entries before a bucket into steps of `width` buckets: long windows need no fine steps."""
        entries = self.entries
        old = entries["bucket"] < before
        older = entries.compress(old)
        # the end of the step, so that a window has rather more than less
        older["bucket"] = np.minimum(older["bucket"] // width * width + width - 1, before - 1)
        self.load(together([_merged(older), entries.compress(~old)]))

    def retire(self, units: npt.NDArray[np.int64]) -> None:
        """Forget units."""
        entries = self.entries
        self.load(entries.compress(~np.isin(entries["unit"], units)))

    def load(self, entries: npt.NDArray[Any]) -> None:
        self._entries, self._number = appended(np.zeros(1024, ENTRY), 0, entries), len(entries)

    def _append(self, entries: Records) -> None:
        self._entries = appended(self._entries, self._number, entries)
        self._number += len(entries)

    def _shrink(self) -> None:
        """Put the rarest faults together, until half of the room is free."""
        entries = copied(self.entries)
        for least in (1, 2, 4, 8, 16, 2**31 - 1):
            rare = entries["count"] <= least
            entries["fingerprint"][rare] = OTHER_FAULTS
            entries = _merged(entries)
            if 2 * len(entries) <= self._limit:
                break
        else:
            # units alone are too many: the oldest go
            entries = entries[-self._limit // 2 :]
        self.load(entries)


def _merged(entries: Records) -> Records:
    """Return the entries with those of one step, unit, fault and cover put together, in order of time."""
    if len(entries) == 0:
        return entries
    keys = combined(
        entries["bucket"].astype(np.uint64),
        entries["unit"].astype(np.uint64),
        entries["fingerprint"],
        entries["covered"].astype(np.uint64),
    )
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    merged = entries.take(first)
    merged["count"] = np.bincount(inverse, weights=entries["count"]).astype(np.int32)
    return merged.take(np.lexsort((merged["fingerprint"], merged["unit"], merged["bucket"])))
