"""Layouts of attributes: which keys a list has, in which order.

Spans of one instrumentation have the same keys in the same order, so a key is looked for once for each such layout, and
rows only say which one is theirs. Several components ask for attributes of the same rows: `layouts_of` remembers.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.arrays import Column, Ints, buffer_of, joined, lengths_of, offsets_of, unnest
from pipeline.batch import Batch
from pipeline.hashing import Hashes, order_of, text_hash, text_hashes
from pipeline.kinds import ANY_VALUE

Numbers = npt.NDArray[np.int64]


class Positions:
    """Where keys are in layouts, which lie one after the other in `keys` and begin at `bounds`."""

    def __init__(self, keys: Column, bounds: Numbers) -> None:
        self._keys, self._bounds = keys, bounds
        self._found: dict[str, Numbers | None] = {}

    @cached_property
    def _sorted(self) -> tuple[Hashes, Numbers]:
        """The hashes of all keys, ascending, and where each is: there may be as many keys as attributes."""
        hashes = text_hashes(self._keys)
        order = order_of(hashes)
        return hashes[order], order

    def of(self, key: str) -> Numbers | None:
        """Return for each layout where in it the key is first, -1 where it is not; None if it is in no layout."""
        if key not in self._found:
            hashes, order = self._sorted
            first, last = (np.searchsorted(hashes, np.uint64(text_hash(key)), side) for side in ("left", "right"))
            self._found[key] = self._positions(order[first:last]) if last > first else None
        return self._found[key]

    def _positions(self, places: Numbers) -> Numbers:
        # back to front, so that the first of equal keys is written last
        places = np.sort(places)[::-1]
        layouts = np.searchsorted(self._bounds, places, side="right") - 1
        positions = np.full(len(self._bounds) - 1, -1)
        positions[layouts] = places - self._bounds[layouts]
        return positions


class Layouts:
    """The layouts of some lists of attributes (of kinds.ATTRIBUTES).

    Two lists have the same keys if these are the same bytes, one after the other, cut in the same places.
    """

    offsets: Ints
    """Where each list begins in `values`, and the end."""

    values: Column
    """The ANY_VALUEs of all lists, one list after the other."""

    numbers: Numbers
    """The layout of each list."""

    keys: Column
    """The keys of all layouts, one layout after the other."""

    bounds: Numbers
    """Where each layout begins in `keys`, and the end."""

    def __init__(self, lists: Column) -> None:
        self.offsets, items = unnest(lists)
        self.values = items.field("value")
        names = items.field("key")
        together, of_bytes = _encoded(joined(self.offsets, names))
        cuts, of_cuts = _encoded(_lengths(self.offsets, names))
        self.numbers, firsts = of_bytes, _firsts(of_bytes, len(together))
        if not (of_cuts[firsts][of_bytes] == of_cuts).all():
            _, firsts, self.numbers = np.unique(of_bytes * len(cuts) + of_cuts, return_index=True, return_inverse=True)
        lengths = _data(cuts.take(pa.array(of_cuts[firsts])), np.int32)
        self.bounds = offsets_of(lengths_of(cuts)[of_cuts[firsts]] // lengths.itemsize)
        self.keys = pa.StringArray.from_buffers(
            len(lengths),
            buffer_of(offsets_of(lengths).astype(np.int32)),
            buffer_of(_data(together.take(pa.array(of_bytes[firsts])), np.uint8)),
        )
        self._positions = Positions(self.keys, self.bounds)

    def __len__(self) -> int:
        """Return how many layouts there are."""
        return len(self.bounds) - 1

    def positions(self, key: str) -> Numbers | None:
        """Return for each layout where in it the key is first, -1 where it is not; None if it is in no layout."""
        return self._positions.of(key)

    def places(self, key: str) -> Numbers | None:
        """Return for each list where in `values` its first attribute of a key is, -1 for none; None if none has it."""
        positions = self.positions(key)
        if positions is None:
            return None
        position = positions[self.numbers]
        return np.where(position >= 0, self.offsets[:-1] + position, -1)

    def any_values(self, key: str) -> Column:
        """Return the ANY_VALUE of each list's first attribute of a key, null where it has none."""
        places = self.places(key)
        if places is None:
            return pa.nulls(len(self.numbers), ANY_VALUE)
        return self.values.take(pa.array(places, mask=places < 0))


def layouts_of(batch: Batch) -> Layouts:
    """Return the layouts of the attributes of a batch's rows."""
    return batch.once(_layouts)


def _layouts(batch: Batch) -> Layouts:
    return Layouts(batch.column("attributes"))


def _encoded(values: Column) -> tuple[Column, Numbers]:
    """Return the distinct values, and the number of each value in them."""
    encoded = values.dictionary_encode()
    return encoded.dictionary, encoded.indices.to_numpy().astype(np.int64)


def _firsts(numbers: Numbers, size: int) -> Numbers:
    """Return where each number below `size` is first."""
    firsts = np.empty(size, np.int64)
    firsts[numbers[::-1]] = np.arange(len(numbers))[::-1]
    return firsts


def _lengths(offsets: Ints, names: Column) -> Column:
    """Return the lengths of the names in each list, as bytes."""
    if len(names) == 0:
        return joined(offsets, names)
    # narrow, as they lie in memory: there are ten times as many as spans
    ends = np.frombuffer(names.buffers()[1], np.int32)[names.offset : names.offset + len(names) + 1]
    lengths = np.diff(ends)
    bounds = buffer_of((offsets * lengths.itemsize).astype(np.int32))
    return pa.BinaryArray.from_buffers(pa.binary(), len(offsets) - 1, [None, bounds, buffer_of(lengths)])


def _data(values: Column, dtype: Any) -> npt.NDArray[Any]:
    """Return what lies in an array of binary values that is no slice."""
    data = values.buffers()[2]
    return (
        np.zeros(0, dtype)
        if data is None
        else np.frombuffer(data, dtype, int(lengths_of(values).sum()) // np.dtype(dtype).itemsize)
    )
