"""Records: arrays of a structured type. numpy moves them field by field; as opaque bytes it does ten times better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Records = npt.NDArray[Any]


def taken(records: Records, places: npt.NDArray[np.integer[Any]] | npt.NDArray[np.bool_]) -> Records:
    """Return the records at places, or where a mask is true."""
    if places.dtype == np.bool_:
        places = np.flatnonzero(places)
    found: Records = _opaque(records).take(places).view(records.dtype)
    return found


def together(parts: Sequence[Records]) -> Records:
    """Return the records of all parts (at least one), in order."""
    if len(parts) == 1:
        return parts[0]
    joined: Records = np.concatenate([_opaque(part) for part in parts]).view(parts[0].dtype)
    return joined


def _opaque(records: Records) -> Records:
    opaque: Records = np.ascontiguousarray(records).view(np.dtype((np.void, records.dtype.itemsize)))
    return opaque
