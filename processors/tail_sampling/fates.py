"""What becomes of pieces when they come, of rows when their traces are decided, and how the dry run hears of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.hashing import Hashes

HOLD, PASS, FORGET = 0, 1, 2
"""What becomes of a piece when it comes."""

KEEP, NOT_SAMPLED, DROPPED, TOO_LARGE, SHUTDOWN = 1, 2, 3, 4, 5
REASONS = {NOT_SAMPLED: "not_sampled", DROPPED: "dropped", TOO_LARGE: "trace_too_large", SHUTDOWN: "shutdown"}


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What was decided, a row a trace (or a job of one that was split)."""

    high: Hashes
    low: Hashes
    decision: npt.NDArray[np.int8]
    policy: npt.NDArray[np.int16]
    """Number of the first policy that sampled; -1 for none."""
