"""Who has to be looked at again, and when: jobs by key, and calls to the outside."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.hash_table import union
from pipeline.hashing import Hashes
from pipeline.records import Records, together
from processors.job_dependencies.facts import CLIENT

Times = npt.NDArray[np.float64]


class Waiting:
    """Two calendars whose days are `step` seconds long."""

    def __init__(self, step: float) -> None:
        self._step = step
        self._jobs: defaultdict[int, list[Hashes]] = defaultdict(list)
        self._clients: defaultdict[int, list[Records]] = defaultdict(list)
        self._client_count = 0
        self._job_count = 0

    def __len__(self) -> int:
        """Return how many wait; a job that was told of again counts again."""
        return self._job_count + self._client_count

    @property
    def nbytes(self) -> int:
        return 8 * self._job_count + CLIENT.itemsize * self._client_count

    def add_jobs(self, keys: Hashes, times: Times | float) -> None:
        """Look at jobs at some times, or all at one."""
        self._job_count += len(keys)
        self._put(self._jobs, keys, times)

    def add_clients(self, clients: Records, times: Times | float) -> None:
        """Look at calls at some times, or all at one."""
        self._client_count += len(clients)
        self._put(self._clients, clients, times)

    def _put(self, calendar: defaultdict[int, list[Any]], items: npt.NDArray[Any], times: Times | float) -> None:
        if len(items) == 0:
            return
        if isinstance(times, float):
            calendar[math.ceil(times / self._step)].append(items)
            return
        days = np.ceil(times / self._step).astype(np.int64)
        for day in np.unique(days).tolist():
            calendar[day].append(items.compress(days == day))

    def next(self) -> float:
        """Return when the first is due; somebody waits."""
        return min((*self._jobs, *self._clients)) * self._step

    def due(self, now: float) -> tuple[Hashes, Records]:
        """Take out and return the distinct jobs and the calls that are due."""
        today = int(now // self._step)
        return self._take(lambda day: day <= today)

    def everything(self) -> tuple[Hashes, Records]:
        """Take out and return all."""
        return self._take(lambda _day: True)

    def _take(self, chosen: Any) -> tuple[Hashes, Records]:
        keys = [part for day in sorted(filter(chosen, self._jobs)) for part in self._jobs.pop(day)]
        clients = [part for day in sorted(filter(chosen, self._clients)) for part in self._clients.pop(day)]
        self._job_count -= sum(map(len, keys))
        calls = together(clients) if clients else np.zeros(0, CLIENT)
        self._client_count -= len(calls)
        return union(*keys) if keys else np.zeros(0, np.uint64), calls

    def shrink(self, limit: int) -> Records:
        """Take out and return the calls that would be due first, until half of `limit` bytes is left."""
        parts: list[Records] = []
        if self.nbytes <= limit:
            return np.zeros(0, CLIENT)
        while self._clients and self.nbytes > limit // 2:
            taken = self._clients.pop(min(self._clients))
            parts += taken
            self._client_count -= sum(map(len, taken))
        return together(parts) if parts else np.zeros(0, CLIENT)

    def shift(self, seconds: float) -> None:
        """Move every time by `seconds`."""
        keys, key_times, clients, client_times = self.whole()
        self._jobs.clear()
        self._clients.clear()
        self._job_count = self._client_count = 0
        clients["told"] += seconds
        self.add_jobs(keys, key_times + seconds)
        self.add_clients(clients, client_times + seconds)

    def whole(self) -> tuple[Hashes, Times, Records, Times]:
        """Return all with their times, and leave them in."""
        keys = [(day, part) for day, parts in self._jobs.items() for part in parts]
        clients = [(day, part) for day, parts in self._clients.items() for part in parts]
        return (
            np.concatenate([np.zeros(0, np.uint64), *(part for _, part in keys)]),
            np.concatenate([np.zeros(0), *(np.full(len(part), day * self._step) for day, part in keys)]),
            together([np.zeros(0, CLIENT), *(part for _, part in clients)]),
            np.concatenate([np.zeros(0), *(np.full(len(part), day * self._step) for day, part in clients)]),
        )
