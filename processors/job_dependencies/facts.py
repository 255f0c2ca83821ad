"""The words of this processor, and the records that it keeps, as numpy types."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pipeline import Batch
from pipeline.arrays import Column
from pipeline.batch import one_array
from pipeline.records import Records

NONE: Final = -1
"""No row, no edge."""

ROOT: Final = np.int64(-1)
"""In the place of a span's parent: it has none."""


class NodeKind(IntEnum):
    """What an end of an edge is; the lower-case name is the word in the table."""

    UNKNOWN = 0
    JOB = 1
    REQUEST = 2
    EXTERNAL = 3


class Via(IntEnum):
    """How a job hangs on what enqueued it: its trace goes on, or the job has a trace of its own and a link."""

    PARENT = 0
    LINK = 1


ROW: Final = np.dtype(
    [
        ("span", np.uint64),  # hash of trace and span id: the name of the row
        ("key", np.uint64),  # which job it is about
        ("name_key", np.uint64),  # hash of class and id, by which children name their parent
        ("parent_key", np.uint64),  # the parent's name_key; 0: not said
        ("own_id", np.uint64),  # hash of the span id alone
        ("match", np.uint64),  # hash of the span id of the enqueue that it was matched with; 0: none
        ("trace_hi", np.uint64),
        ("trace_lo", np.uint64),
        ("time", np.uint64),
        ("duration", np.uint64),
        ("latency", np.int64),  # -1: not known
        ("version", np.uint64),
        ("job_class", np.int32),
        ("parent_class", np.int32),
        ("service", np.int32),
        ("execution", np.bool_),
        ("has_parent", np.bool_),
        ("deleted", np.bool_),
        ("retry", np.bool_),  # an enqueue by which the job put itself back
        ("unsent", np.bool_),  # an enqueue that is no call: it failed, or stands for several jobs
        ("failed", np.bool_),
        ("link", np.bool_),
        # what was made of it
        ("alias", np.int32),  # the row that this one was merged into
        ("edge", np.int32),  # the edge that its execution was counted on
        ("counted_failure", np.bool_),
        ("sampled", np.bool_),
    ],
    align=True,
)
"""One version of a job row: the newest that was told. Texts are numbers of `names`, 0 where not known."""

TOLD: Final = ROW.names[: ROW.names.index("alias")] if ROW.names else ()
"""The columns of ROW that a newer version replaces."""

JOB: Final = np.dtype(
    [
        ("key", np.uint64),
        ("name_key", np.uint64),
        ("parent_key", np.uint64),  # name_key of the job that enqueued it; 0: none is known
        ("told", np.float64),  # when it was first told of, on the engine's clock; nan: since the last tick
        ("stamp", np.int64),  # the last tick that had news of it
        ("block", np.int64),  # where its rows begin in the index of the book
        ("job_class", np.int32),
        ("service", np.int32),
        ("trace_hi", np.uint64),
        ("trace_lo", np.uint64),
        ("ran", np.bool_),
        # what was counted of it
        ("edge", np.int32),
        ("time", np.uint64),
        ("instance", np.uint64),  # the execution or request that made the call
    ],
    align=True,
)
"""A job, whatever number of rows it has."""

CLIENT: Final = np.dtype(
    [
        ("span", np.uint64),
        ("at", np.uint64),  # the span at which the way up goes on
        ("told", np.float64),
        ("time", np.uint64),
        ("duration", np.uint64),
        ("target", np.int32),
        ("service", np.int32),
        ("failed", np.bool_),
    ],
    align=True,
)
"""A span that calls something outside and waits for its caller to be known."""


def blank(rows: int, dtype: np.dtype[Any]) -> Records:
    """Return records in which nothing is known and nothing was counted."""
    records = np.zeros(rows, dtype)
    for name in ("alias", "edge", "latency", "block"):
        if dtype.names and name in dtype.names:
            records[name] = NONE
    return records


def columns_of(batches: Sequence[Batch], names: Sequence[str]) -> dict[str, Column]:
    """Return columns of batches of one kind, each as one array; a single batch is not copied."""
    if len(batches) == 1:
        return {name: batches[0].column(name) for name in names}
    table = pa.concat_tables([batch.table for batch in batches]).select(names).combine_chunks()
    return {name: one_array(table.column(place)) for place, name in enumerate(names)}
