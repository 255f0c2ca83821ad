"""Texts and edges as small numbers, so that everything that is kept for a while has a fixed width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.arrays import Column
from pipeline.hash_table import HashTable
from pipeline.hashing import Hashes, mixed
from pipeline.records import Records, together
from processors.job_dependencies.facts import NodeKind

Codes = npt.NDArray[np.int32]

LONGEST: Final = 200
"""Characters of a name that are kept: names are for people, and for grouping."""

OTHER: Final = 1
"""The number of `(other)`, in the place of what is one too many."""

_FIRST: Final = ("", "(other)")


class Names:
    """Each distinct text once, in order of first sight; 0 is the empty text, which stands for not known."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.texts: list[str] = []
        self._numbers: dict[str, int] = {}
        self.nbytes = 0
        for text in _FIRST:
            self._add(text)

    def __len__(self) -> int:
        return len(self.texts)

    def number(self, text: str | None) -> int:
        """Return the number of a text."""
        text = (text or "")[:LONGEST]
        number = self._numbers.get(text)
        if number is not None:
            return number
        return self._add(text) if len(self.texts) < self._limit else OTHER

    def numbers(self, texts: Column) -> Codes:
        """Return the number of each text of a column; 0 for null. Costs a look-up a distinct text."""
        if texts.null_count == len(texts):
            return np.zeros(len(texts), np.int32)
        encoded = texts.dictionary_encode()
        of_distinct: Codes = np.array([self.number(text) for text in encoded.dictionary.to_pylist()] or [0], np.int32)
        places: Column = encoded.indices
        codes: Codes = np.take(of_distinct, (places.fill_null(0) if texts.null_count else places).to_numpy())
        if texts.null_count:
            codes[places.is_null().to_numpy(zero_copy_only=False)] = 0
        return codes

    def column(self, numbers: Codes) -> pa.Array[Any]:
        """Return the texts of numbers."""
        places: Column = pa.array(numbers)
        return pa.array(self.texts, pa.string()).take(places)

    def load(self, texts: Sequence[str]) -> None:
        """Take over all texts of another, in its order."""
        for text in texts[len(self) :]:
            self._add(text)

    def _add(self, text: str) -> int:
        number = self._numbers[text] = len(self.texts)
        self.texts.append(text)
        self.nbytes += 150 + len(text)
        return number


EDGE: Final = np.dtype(
    [
        ("parent_kind", np.int32),
        ("parent", np.int32),
        ("parent_service", np.int32),
        ("child_kind", np.int32),
        ("child", np.int32),
        ("child_service", np.int32),
        ("via", np.int32),
    ]
)


_FACTORS: Final = mixed(np.arange(1, len(EDGE.names or ()) + 1).astype(np.uint64)) | np.uint64(1)
"""Odd numbers without pattern: sums of small numbers times these do not meet."""


class Edges:
    """Each distinct edge once, in order of first sight."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._numbers = HashTable()
        self.table: Records = np.zeros(0, EDGE)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def nbytes(self) -> int:
        return self._numbers.nbytes + self.table.nbytes

    def numbers(self, edges: Records) -> Codes:
        """Return the number of each of `edges`. One too many is counted between nodes called `(other)`."""
        hashes = _hashes(edges)
        found = self._numbers.find(hashes)
        unknown = np.flatnonzero(found < 0)
        if len(unknown):
            distinct, firsts = np.unique(hashes[unknown], return_index=True)
            # at most so many, and in the order of the rows
            firsts = np.sort(firsts)[: max(self._limit - len(self), 0)]
            self.add(edges.take(unknown[firsts]))
            if len(firsts) < len(distinct):
                found = self._numbers.find(hashes)
                edges = edges.copy()
                edges[found < 0] = _merged(edges[found < 0])
                hashes = _hashes(edges)
                rest = edges.compress(found < 0)
                _, some = np.unique(_hashes(rest), return_index=True)
                self.add(rest[np.sort(some)])
            found = self._numbers.find(hashes)
        return found.astype(np.int32)

    def add(self, edges: Records) -> None:
        """Add distinct edges; those that are there already are left out."""
        hashes = _hashes(edges)
        new = self._numbers.find(hashes) < 0
        self._numbers.add(hashes[new], np.arange(len(self), len(self) + np.count_nonzero(new)))
        self.table = together([self.table, edges.compress(new)])


def edges_of(columns: Sequence[npt.NDArray[Any] | int], rows: int) -> Records:
    """Return edges from the columns of EDGE, in order; a number stands for a column of it."""
    edges = np.zeros(rows, EDGE)
    for name, values in zip(EDGE.names or (), columns, strict=True):
        edges[name] = values
    return edges


def _merged(edges: Records) -> Records:
    """Return edges whose names are `(other)`; kinds stay, and there are so few of those that they always fit."""
    merged = edges.copy()
    for kind, name, service in (("parent_kind", "parent", "parent_service"), ("child_kind", "child", "child_service")):
        merged[name] = np.where(edges[kind] == NodeKind.UNKNOWN, 0, OTHER)
        merged[service] = 0
    return merged


def _hashes(edges: Records) -> Hashes:
    total = np.zeros(len(edges), np.uint64)
    for name, factor in zip(EDGE.names or (), _FACTORS, strict=True):
        total += edges[name].astype(np.uint64) * factor
    return np.maximum(mixed(total), np.uint64(1))
