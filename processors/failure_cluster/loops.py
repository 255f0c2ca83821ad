"""Jobs that fail again and again: the times of each job's last failures."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.hash_table import HashTable
from pipeline.hashing import Hashes

_FEWEST: Final = 1024


class Loops:
    """For each failing job when it failed last, as often as the longest rule asks; the jobs that rest longest go."""

    def __init__(self, depth: int, limit: int) -> None:
        self._depth = depth
        self._limit = limit
        self._number = 0
        self._jobs: Hashes = np.zeros(0, np.uint64)
        self._ends: npt.NDArray[np.int64] = np.zeros((0, depth), np.int64)
        self._counts: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._places = HashTable()

    def __len__(self) -> int:
        return self._number

    def failed(
        self, jobs: Hashes, ends: npt.NDArray[np.int64], needed: npt.NDArray[np.int64], windows: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_]:
        """Note failures in order of time; return which of them is its job's `needed`th or later within its window.

        A job 0 is none.
        """
        looping = np.zeros(len(jobs), np.bool_)
        rest = np.flatnonzero(jobs)
        while len(rest):
            # one failure of each job at a time; that a job fails twice in a step of time is rare
            _, first = np.unique(jobs[rest], return_index=True)
            now = rest[np.sort(first)]
            looping[now] = self._note(jobs[now], ends[now], needed[now], windows[now])
            rest = np.delete(rest, first)
        return looping

    def _note(
        self, jobs: Hashes, ends: npt.NDArray[np.int64], needed: npt.NDArray[np.int64], windows: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_]:
        if self._number + len(jobs) > self._limit:
            self._shrink(len(jobs))
        places = self._places.find(jobs)
        fresh = np.flatnonzero(places < 0)
        if len(fresh):
            places[fresh] = np.arange(self._number, self._number + len(fresh))
            self._grow(self._number + len(fresh))
            self._jobs[places[fresh]] = jobs[fresh]
            self._places.add(jobs[fresh], places[fresh])
            self._number += len(fresh)
        counts = self._counts[places]
        self._ends[places, counts % self._depth] = ends
        self._counts[places] = counts + 1
        earlier = self._ends[places, (counts + 1 - needed) % self._depth]
        looping: npt.NDArray[np.bool_] = (counts + 1 >= needed) & (ends - earlier <= windows)
        return looping

    def _grow(self, number: int) -> None:
        if number > len(self._jobs):
            more = max(_FEWEST, 2 * number) - len(self._jobs)
            self._jobs = np.concatenate([self._jobs, np.zeros(more, np.uint64)])
            self._ends = np.concatenate([self._ends, np.zeros((more, self._depth), np.int64)])
            self._counts = np.concatenate([self._counts, np.zeros(more, np.int64)])

    def _shrink(self, coming: int) -> None:
        """Forget the half whose last failure is longest ago."""
        jobs, ends, counts = self.state()
        keep = max(0, min(self._limit // 2, self._limit - coming))
        last = ends.max(axis=1, initial=0)
        newest = np.sort(np.argsort(last, kind="stable")[len(last) - min(keep, len(last)) :])
        self.load(jobs[newest], ends[newest], counts[newest])

    def state(self) -> tuple[Hashes, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return jobs, times and counts."""
        number = self._number
        return self._jobs[:number], self._ends[:number], self._counts[:number]

    def load(self, jobs: Hashes, ends: npt.NDArray[Any], counts: npt.NDArray[np.int64]) -> None:
        """Take over what `state` gave; of another depth, nothing."""
        if ends.shape[1] != self._depth:
            jobs, ends, counts = jobs[:0], np.zeros((0, self._depth), np.int64), counts[:0]
        self._number = len(jobs)
        self._jobs, self._ends, self._counts = jobs.copy(), ends.copy(), counts.copy()
        self._places = HashTable(len(jobs))
        if len(jobs):
            self._places.add(jobs, np.arange(len(jobs)))
