"""What is kept of an execution until it is counted."""

from __future__ import annotations

from typing import Final

import numpy as np

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
