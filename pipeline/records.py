"""Records: arrays of a structured type, a record a row, in which processors remember what flowed by.

numpy copies records field by field where they are indexed or assigned, and as a block of bytes where they are picked
with `take` and `compress` or are opaque to it: ten to thirty times as fast. So pick with those, and copy with these.
Types are aligned (`align=True`): numpy copies a column that is not before it reckons with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Records: TypeAlias = npt.NDArray[Any]
"""An array of a structured type without gaps between its records."""


def appended(records: Records, used: int, more: Records) -> Records:
    """Return the first `used` records and `more` after them, with room to grow: the same array if they fit in it.

    Beyond that, records are anything, but for the last: -1 may stand in an index whose result is not used.
    """
    size = used + len(more)
    if size > len(records):
        grown = np.empty(max(size, 2 * len(records)), records.dtype)
        grown[-1:] = np.zeros(1, records.dtype)
        _opaque(grown)[:used] = _opaque(records[:used])
        records = grown
    _opaque(records)[used:size] = _opaque(more)
    return records


def together(parts: Sequence[Records]) -> Records:
    """Return the records of all parts (at least one), in order; the only part itself."""
    if len(parts) == 1:
        return parts[0]
    joined: Records = np.concatenate([_opaque(part) for part in parts]).view(parts[0].dtype)
    return joined


def copied(records: Records) -> Records:
    """Return a copy."""
    copy: Records = _opaque(records).copy().view(records.dtype)
    return copy


def _opaque(records: Records) -> Records:
    return records.view(np.dtype((np.void, records.dtype.itemsize)))
