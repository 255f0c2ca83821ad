"""Job rows that come before the first span of their trace, as those made from logs may: kept until it comes.

A row is remembered for at least as long as a trace waits. Rows come in generations: what the older one has is forgotten
when the younger one is as old as that, or full.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pipeline.hash_table import HashTable
from pipeline.hashing import Hashes
from processors.tail_sampling.jobs import JobRows
from processors.tail_sampling.notes import Columns

_MOST_ROWS = 50_000
"""Of a generation; about 60 bytes each."""

_WORDS = ("high", "low", "job_class", "fingerprint", "job", "span", "enqueue_span")
_FLAGS = ("enqueue", "batch")

Matches = npt.NDArray[np.bool_]


class _Generation:
    def __init__(self, policies: int) -> None:
        self.columns = Columns(
            key=(np.uint64, ()),
            matches=(np.bool_, (policies,)),
            **dict.fromkeys(_WORDS, (np.uint64, ())),
            **dict.fromkeys(_FLAGS, (np.bool_, ())),
        )
        self.keys = HashTable()


class EarlyRows:
    """Rows by the key of their trace; `wait` is in seconds."""

    def __init__(self, policies: int, wait: float) -> None:
        self._policies = policies
        self._wait = wait
        self._young, self._old = _Generation(policies), _Generation(policies)
        self._began = -np.inf

    def __len__(self) -> int:
        return len(self._young.columns) + len(self._old.columns)

    def add(self, keys: Hashes, rows: JobRows, matches: Matches, which: npt.NDArray[np.int64]) -> None:
        """Remember rows `which`; `keys` are those of their traces."""
        if len(which) == 0:
            return
        if len(self._young.columns) + len(which) > _MOST_ROWS:
            self._rotate()
        named = {name: getattr(rows, name)[which] for name in (*_WORDS, *_FLAGS)}
        self._young.columns.append(key=keys, matches=matches[which], **named)
        distinct = np.unique(keys)
        self._young.keys.swap(distinct, np.ones(len(distinct), np.int64))

    def of(self, keys: Hashes) -> Iterator[tuple[JobRows, Matches]]:
        """Yield the rows of traces, with what policies find in them."""
        for generation in (self._old, self._young):
            known = keys[generation.keys.find(keys) > 0]
            if len(known) == 0:
                continue
            columns = generation.columns
            which = np.flatnonzero(np.isin(columns["key"], known))
            named = {name: columns[name][which] for name in (*_WORDS, *_FLAGS)}
            yield JobRows(**named, columns={}), columns["matches"][which]

    def pass_time(self, now: float) -> None:
        if now - self._began >= self._wait:
            if len(self):
                self._rotate()
            self._began = now

    def _rotate(self) -> None:
        self._young, self._old = _Generation(self._policies), self._young
