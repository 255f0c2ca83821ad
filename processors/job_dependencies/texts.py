"""Texts of attributes of spans, as numbers: nothing is copied but the few texts that are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.arrays import Column, child, offsets_of
from pipeline.columns import Layouts, Positions

Numbers = npt.NDArray[np.int64]


class AttributeTexts:
    """The texts of some attributes of spans, as numbers that `text` tells; equal texts may have several numbers."""

    def __init__(self, parts: Sequence[Layouts]) -> None:
        """Look at the attributes of some batches; rows are counted through."""
        self._bounds = np.cumsum([0, *(len(part.numbers) for part in parts)])
        shifts = np.cumsum([0, *map(len, parts)])
        self._starts = np.concatenate([part.offsets[:-1] for part in parts])
        self._layouts = np.concatenate([part.numbers + shift for part, shift in zip(parts, shifts, strict=False)])
        bounds = offsets_of(np.concatenate([np.diff(part.bounds) for part in parts]))
        self._positions = Positions(pa.concat_arrays([part.keys for part in parts]), bounds)
        self._values = [child(part.values, "string_value") for part in parts]
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
            positions = self._positions.of(key)
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
