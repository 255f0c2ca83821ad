"""Texts of attributes, found by layout: which keys a span has, in which order.

Spans of one instrumentation have the same keys in the same order, so a key is looked for once for each such layout, and
spans only say which one is theirs. Nothing is copied but the few texts that are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import Column, buffer_of, joined, lengths_of, offsets_of, parents_of, unnest

Numbers = npt.NDArray[np.int64]


class AttributeTexts:
    """The texts of some attributes of spans, as numbers that `text` tells; equal texts may have several numbers."""

    def __init__(self, lists: Sequence[Column], keys: Sequence[str]) -> None:
        """Look at lists of attributes (of kinds.ATTRIBUTES), one a batch, not all empty; rows are counted through."""
        unnested = [unnest(column) for column in lists]
        self._bounds = np.cumsum([0, *map(len, lists)])
        self._starts = np.concatenate([offsets[:-1] for offsets, _ in unnested])
        self._values: list[Column] = [pc.struct_field(items.field("value"), "string_value") for _, items in unnested]
        self._layouts, self._positions = _layouts([(offsets, items.field("key")) for offsets, items in unnested], keys)
        self._texts: list[str] = []

    def text(self, number: int) -> str:
        """Return the text of a number, "" for -1."""
        return "" if number < 0 else self._texts[number]

    def first(
        self, keys: Sequence[str], rows: Numbers, read: Callable[[Column], Column] = lambda texts: texts
    ) -> Numbers:
        """Return for each of `rows`, which ascend, the text of the first of `keys` that it has; -1 where it has none.

        Empty texts, and values that are no text, are none. With `read`, it is what that makes of the texts.
        """
        found = np.full(len(rows), -1, np.int64)
        layouts = self._layouts[rows]
        for key in keys:
            positions = self._positions.get(key)
            if positions is None:
                continue
            position = positions[layouts]
            wanted = np.flatnonzero((position >= 0) & (found < 0))
            if len(wanted):
                found[wanted] = self._numbered(read(self._taken(rows[wanted], position[wanted])))
        return found

    def _numbered(self, texts: Column) -> Numbers:
        """Return numbers of texts; -1 for null and for empty ones."""
        encoded = texts.dictionary_encode()
        distinct = encoded.dictionary.to_pylist()
        known = np.arange(len(self._texts), len(self._texts) + len(distinct))
        if "" in distinct:
            known[distinct.index("")] = -1
        self._texts += distinct
        places: Column = encoded.indices
        if places.null_count:
            known, places = np.append(known, -1), places.fill_null(len(known))
        numbers: Numbers = known[places.to_numpy()]
        return numbers

    def _taken(self, rows: Numbers, positions: Numbers) -> Column:
        """Return the values at `positions` in the lists of `rows`."""
        places = self._starts[rows] + positions
        cuts = np.searchsorted(rows, self._bounds).tolist()
        return pa.concat_arrays(
            [
                values.take(pa.array(places[begin:end]))
                for values, begin, end in zip(self._values, cuts, cuts[1:], strict=False)
                if end > begin
            ]
        )


def _layouts(
    lists: Sequence[tuple[npt.NDArray[Any], Column]], keys: Sequence[str]
) -> tuple[Numbers, dict[str, Numbers]]:
    """Return the number of each list's layout, and for those of `keys` that occur their place in each; -1 for none.

    Two lists have the same keys if these are the same bytes, one after the other, cut in the same places.
    """
    together, of_bytes = _encoded([joined(offsets, names) for offsets, names in lists])
    cut, of_lengths = _encoded([_lengths(offsets, names) for offsets, names in lists])
    layouts, firsts = of_bytes, _firsts(of_bytes, len(together))
    if not (of_lengths[firsts][layouts] == of_lengths).all():
        _, firsts, layouts = np.unique(of_bytes * len(cut) + of_lengths, return_index=True, return_inverse=True)
    lengths = _data(cut.take(pa.array(of_lengths[firsts])), np.int32)
    names = pa.StringArray.from_buffers(
        len(lengths),
        buffer_of(offsets_of(lengths).astype(np.int32)),
        buffer_of(_data(together.take(pa.array(of_bytes[firsts])), np.uint8)),
    )
    starts = offsets_of(lengths_of(cut)[of_lengths[firsts]] // lengths.itemsize)
    owners = parents_of(starts)
    codes = pc.index_in(names, value_set=pa.array(keys, pa.string())).fill_null(-1).to_numpy()
    positions = {}
    for code in np.unique(codes[codes >= 0]).tolist():
        # back to front, so that the first of equal keys is written last
        here = np.flatnonzero(codes == code)[::-1]
        positions[keys[code]] = np.full(len(firsts), -1)
        positions[keys[code]][owners[here]] = here - starts[owners[here]]
    return layouts, positions


def _encoded(parts: Sequence[Column]) -> tuple[Column, Numbers]:
    """Return the distinct values of all parts, and the number of each value in them."""
    chunks: list[Column] = pa.chunked_array(parts).dictionary_encode().chunks
    numbers = np.concatenate([chunk.indices.to_numpy() for chunk in chunks])
    return chunks[-1].dictionary, numbers.astype(np.int64)


def _firsts(numbers: Numbers, size: int) -> Numbers:
    """Return where each number below `size` is first."""
    firsts = np.empty(size, np.int64)
    firsts[numbers[::-1]] = np.arange(len(numbers))[::-1]
    return firsts


def _lengths(offsets: npt.NDArray[Any], names: Column) -> Column:
    """Return the lengths of the names in each list, as bytes."""
    if len(names) == 0:
        return joined(offsets, names)
    # narrow, as they lie in memory: there are ten times as many as spans
    ends = np.frombuffer(names.buffers()[1], np.int32)[names.offset : names.offset + len(names) + 1]
    lengths = np.diff(ends)
    bounds = buffer_of((offsets * lengths.itemsize).astype(np.int32))
    data = buffer_of(lengths)
    return pa.BinaryArray.from_buffers(pa.binary(), len(offsets) - 1, [None, bounds, data])


def _data(values: Column, dtype: Any) -> npt.NDArray[Any]:
    """Return what lies in an array of binary values that is no slice."""
    data = values.buffers()[2]
    return (
        np.zeros(0, dtype)
        if data is None
        else np.frombuffer(data, dtype, int(lengths_of(values).sum()) // np.dtype(dtype).itemsize)
    )
