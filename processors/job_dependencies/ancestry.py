"""What is above a span: its parents for a while, and which of them are requests that came in from outside."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.hash_table import HashTable, Rows
from pipeline.hashing import Hashes
from processors.job_dependencies.facts import ROOT
from processors.job_dependencies.runs import ENTRY_BYTES, SortedRuns

UNKNOWN: Final = 0
"""Nothing is known of a span's parent."""

_EXPECTED: Final = 30_000
"""Entries that there is room for from the beginning."""


class _Generations:
    """A hash table that forgets its older half."""

    def __init__(self) -> None:
        self.young, self.old = HashTable(_EXPECTED), HashTable()

    @property
    def nbytes(self) -> int:
        return self.young.nbytes + self.old.nbytes

    def find(self, keys: Hashes, missing: int) -> Rows:
        found = self.young.find(keys, missing)
        if len(self.old):
            unknown = np.flatnonzero(found == missing)
            found[unknown] = self.old.find(keys[unknown], missing)
        return found

    def forget_half(self) -> None:
        # as much room as was needed before, so that it is not made again and again
        self.old, self.young = self.young, HashTable(len(self.young))

    def items(self) -> tuple[Hashes, Rows]:
        pairs = [table.items() for table in (self.old, self.young)]
        return np.concatenate([keys for keys, _ in pairs]), np.concatenate([values for _, values in pairs])


class Ancestry:
    """Parents of spans, and names of the spans that are requests; forgets its older half beyond `limit` bytes.

    All spans are told of, and few are asked for.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parents = SortedRuns(largest=limit // ENTRY_BYTES // 2)
        self._requests = _Generations()

    @property
    def nbytes(self) -> int:
        return self._parents.nbytes + self._requests.nbytes

    def add(self, spans: Hashes, parents: Hashes) -> None:
        """Remember the parents of spans; a parent 0 says that the span has none."""
        self._parents.add(spans, np.where(parents == 0, ROOT, parents.view(np.int64)))
        self._shrink()

    def add_requests(self, spans: Hashes, names: npt.NDArray[np.int32], services: npt.NDArray[np.int32]) -> None:
        """Remember which spans are requests, their names and services."""
        self._requests.young.add(spans, (names.astype(np.int64) << 32) | services)
        self._shrink()

    def _shrink(self) -> None:
        if self.nbytes > self._limit:
            self._parents.forget_half()
            self._requests.forget_half()

    def parents(self, spans: Hashes) -> Rows:
        """Return the hash of each span's parent, to be viewed as one; ROOT where it has none, UNKNOWN."""
        return self._parents.find(spans, UNKNOWN)

    def requests(self, spans: Hashes) -> Rows:
        """Return the request that each span is, for `name_and_service`; below 0 for other spans."""
        return self._requests.find(spans, -1)

    def items(self) -> tuple[tuple[Hashes, Rows], tuple[Hashes, Rows]]:
        """Return everything, for `load`: spans and parents, requests and their names."""
        return self._parents.items(), self._requests.items()

    def load(self, parents: tuple[Hashes, Rows], requests: tuple[Hashes, Rows]) -> None:
        """Take over what `items` gave."""
        self.add(parents[0], parents[1].view(np.uint64))
        self._requests.young.add(*requests)


def name_and_service(requests: Rows) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return the numbers of a request's name and service."""
    return (requests >> 32).astype(np.int32), (requests & 0xFFFFFFFF).astype(np.int32)
