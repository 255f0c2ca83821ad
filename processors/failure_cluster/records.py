"""Records: arrays of a structured type. numpy moves them field by field; as opaque bytes it does ten times better.

Fields are aligned: numpy copies those that are not before it reckons with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Records = npt.NDArray[Any]

ROW: Final = np.dtype(
    [
        ("bucket", np.int64),  # the step of time that it counts in
        ("priority", np.float64),  # as a sample; -inf: will be none, and has no queue, worker or resource
        ("start", np.int64),
        ("end", np.int64),
        ("key", np.uint64),  # (trace id, span id)
        ("version", np.int64),
        ("trace", np.uint64),
        ("queue", np.uint64),
        ("worker", np.uint64),
        ("resource", np.uint64),
        ("fingerprint", np.uint64),
        ("type", np.uint64),
        ("category", np.uint64),
        ("job", np.uint64),  # whose retries are counted; 0: not known
        ("texts", np.int64),  # row of the texts of those that failed; -1: did not fail
        ("unit", np.int32),
        ("deleted", np.bool_),
    ],
    align=True,
)
"""One execution. Texts are hashes, whose texts `Names` has; times are nanoseconds since 1970."""


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
