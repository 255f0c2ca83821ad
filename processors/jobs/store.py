"""Where the window keeps what is not a number: texts of fact rows in segments, and each distinct resource once."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import Batch
from pipeline.arrays import Column, unnest, without_empty
from pipeline.batch import one_array
from pipeline.columns import any_value_text, attributes
from pipeline.hash_table import Rows, union
from pipeline.hashing import Hashes, combined, mixed, text_hashes
from pipeline.kinds import RESOURCE
from processors.jobs.facts import TEXTS


class TextStore:
    """Texts of rows 0, 1, 2, ...: appended in segments, which are put together so that there are few."""

    def __init__(self) -> None:
        self._segments: list[pa.Table] = []
        self._sizes: list[int] = []
        self._bounds = np.zeros(1, np.int64)
        self.nbytes = 0

    def append(self, texts: pa.Table) -> None:
        """Add rows at the end."""
        segments, merged = self._segments, [texts]
        # each row is copied once a doubling, not once a batch
        while segments and 2 * sum(segment.num_rows for segment in merged) > segments[-1].num_rows:
            merged.insert(0, segments.pop())
        segments.append(_one_chunk(merged))
        self._sizes[len(segments) - 1 :] = [segments[-1].nbytes]
        self._measure()

    def at(self, rows: Rows) -> TextsAt:
        """Return the texts of `rows`, to be read column by column; null for rows below 0."""
        if len(rows) == 0 or rows.max() < 0:
            return TextsAt([], None, len(rows))
        ascending = len(rows) < 2 or bool((rows[1:] > rows[:-1]).all())
        if ascending and rows[0] >= 0:
            return TextsAt(self._parts(rows), None, len(rows))
        distinct = union(rows[rows >= 0])
        places = np.searchsorted(distinct, rows)
        return TextsAt(self._parts(distinct), pa.array(places, mask=rows < 0), len(rows))

    def _parts(self, rows: Rows) -> list[tuple[pa.Table, Column | None]]:
        """Return segments and places in them, None for all places, of ascending rows."""
        cuts = np.searchsorted(rows, self._bounds)
        parts: list[tuple[pa.Table, Column | None]] = []
        for segment, start, first, last in zip(self._segments, self._bounds, cuts, cuts[1:], strict=False):
            if last - first == segment.num_rows:
                parts.append((segment, None))
            elif last > first and rows[last - 1] - rows[first] == last - first - 1:
                parts.append((segment.slice(int(rows[first] - start), int(last - first)), None))
            elif last > first:
                parts.append((segment, pa.array(rows[first:last] - start)))
        return parts

    def whole(self) -> pa.Table:
        """Return all rows, a chunk for each segment: nothing is copied."""
        return pa.concat_tables(self._segments) if self._segments else TEXTS.empty_table()

    def keep(self, mask: npt.NDArray[np.bool_]) -> None:
        """Forget the rows where `mask` is false; the others move up."""
        kept = self.whole().filter(pa.array(mask))
        self._segments = [_one_chunk([kept])] if kept.num_rows else []
        self._sizes = [segment.nbytes for segment in self._segments]
        self._measure()

    def _measure(self) -> None:
        self._bounds = np.cumsum([0, *(segment.num_rows for segment in self._segments)])
        self.nbytes = sum(self._sizes)


class TextsAt:
    """Texts of some rows; where they stand was looked up once for all columns."""

    def __init__(self, parts: list[tuple[pa.Table, Column | None]], places: Column | None, rows: int) -> None:
        self._parts = parts
        self._places = places
        self._rows = rows

    def column(self, name: str) -> Column:
        """Return one column."""
        arrays = []
        for segment, places in self._parts:
            array = one_array(segment.column(name))
            arrays.append(array if places is None else array.take(places))
        if not arrays:
            return pa.nulls(self._rows, pa.string())
        if self._places is None:
            # a copy also of one part, which may be a slice: it would keep all of its segment
            return pa.concat_arrays(arrays)
        return (arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays)).take(self._places)


_WORKER_KEYS: Final = ("service.name", "host.name", "process.pid", "service.instance.id")


_REMEMBERED: Final = 128
"""Side tables whose numbers are at hand."""


class Resources:
    """Each distinct resource once, with what rows take from it. Resources are equal if their attributes are."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        # decoding gives small side tables out again; an entry keeps its table, so that no other has its id
        self._seen: dict[int, tuple[pa.Table, npt.NDArray[np.int32]]] = {}
        self._last_side = (np.zeros(0, np.int64), RESOURCE.empty_table())
        self._table = RESOURCE.empty_table()
        self.texts = _resource_texts(self._table)
        """Columns `service`, `host` and `worker` (host and process, or the instance), a row for each resource."""

        self.nbytes = 0

    def __len__(self) -> int:
        return self._table.num_rows

    @property
    def table(self) -> pa.Table:
        """All resources, of schema RESOURCE."""
        return self._table

    def numbers(self, batch: Batch) -> npt.NDArray[np.int32]:
        """Return the number of each resource in the side table of `batch`; new ones are added."""
        side = batch.sides["resource"]
        seen = self._seen.get(id(side))
        if seen is not None:
            return seen[1]
        numbers = self.add(side)
        if len(self._seen) >= _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._seen[id(side)] = (side, numbers)
        return numbers

    def add(self, side: pa.Table) -> npt.NDArray[np.int32]:
        """Return the number of each resource of a side table; new ones are added."""
        hashes = _content(side).tolist()
        new = []
        for row, content in enumerate(hashes):
            if content not in self._numbers:
                self._numbers[content] = len(self._numbers)
                new.append(row)
        if new:
            added = side.take(new)
            self._table = _one_chunk([self._table, added])
            self.texts = _one_chunk([self.texts, _resource_texts(added)])
            self.nbytes = self._table.nbytes + self.texts.nbytes
        return np.array([self._numbers[content] for content in hashes], np.int32)

    def side(self, used: npt.NDArray[np.int32]) -> tuple[pa.Table, npt.NDArray[np.int32]]:
        """Return a side table of the resources `used`, and their numbers in it; the same table while it will do."""
        told = np.zeros(len(self), np.bool_)
        told[used] = True
        kept = told.nonzero()[0]
        if not np.array_equal(kept, self._last_side[0]):
            self._last_side = (kept, _one_chunk([self._table.take(kept)]))
        return self._last_side[1], (np.cumsum(told, dtype=np.int32) - 1)[used]

    def keep(self, used: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """Forget all resources but those `used`; return the new number of each old one."""
        self._seen.clear()
        self._last_side = (np.zeros(0, np.int64), RESOURCE.empty_table())
        kept = np.unique(used)
        numbers = np.full(len(self), -1, np.int32)
        numbers[kept] = np.arange(len(kept))
        contents = np.array(list(self._numbers), np.uint64)[kept].tolist()
        self._numbers = {content: number for number, content in enumerate(contents)}
        self._table = _one_chunk([self._table.take(kept)])
        self.texts = _one_chunk([self.texts.take(kept)])
        self.nbytes = self._table.nbytes + self.texts.nbytes
        return numbers


def _resource_texts(side: pa.Table) -> pa.Table:
    lists = one_array(side.column("attributes"))
    texts = {}
    for key, values in attributes(lists, _WORKER_KEYS).items():
        texts[key] = without_empty(any_value_text(values))
    process: Any = pc.binary_join_element_wise(texts["host.name"], texts["process.pid"], ":")
    worker = pc.coalesce(process, texts["service.instance.id"])
    return pa.table({"service": texts["service.name"], "host": texts["host.name"], "worker": worker})


def _content(side: pa.Table) -> Hashes:
    """Return the hash of each resource's attributes, in whatever order they stand, and of its schema URL."""
    offsets, items = unnest(one_array(side.column("attributes")))
    keys, values = text_hashes(items.field("key")), text_hashes(any_value_text(items.field("value")))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(combined(keys, values), dtype=np.uint64)])
    # sums of 64 bits may run over: differences are right all the same
    return mixed((sums[offsets[1:]] - sums[offsets[:-1]]) ^ text_hashes(one_array(side.column("schema_url"))))


def _one_chunk(tables: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables).combine_chunks()
