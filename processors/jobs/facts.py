"""What a span or a log record says about a job, in columns: numbers in one structured array, texts in an Arrow table.

A fact row is an enqueue, an execution, a helper span, a receive or an exception log. Facts are what was sent; what
follows from them is in `derive`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.hashing import Hashes
from pipeline.records import Records
from processors.jobs.conventions import TEXT_FIELDS


class Role:
    """What a fact row is. Plain numbers, here and below: members of an enum make numpy seven times as slow."""

    ENQUEUE: Final = 0
    PROCESS: Final = 1
    HELPER: Final = 2
    RECEIVE: Final = 3
    """An execution if its instrumentation writes no process spans."""

    LOG: Final = 4
    """An exception log record; it belongs to the span in `parent`."""


class Outcome:
    """Outcomes of both kinds of row; NONE for what is no row."""

    NONE: Final = 0
    ENQUEUED: Final = 1
    SCHEDULED: Final = 2
    DEFERRED: Final = 3
    FAILED: Final = 4
    SUCCEEDED: Final = 5
    RETRIED: Final = 6
    DISCARDED: Final = 7
    UNKNOWN: Final = 8


class ErrorSource:
    """Where error type and message come from, in order of precedence (job-conventions, section 4.4)."""

    NONE: Final = 0
    SPAN_EVENT: Final = 1
    CHILD_SPAN_EVENT: Final = 2
    LOG_RECORD: Final = 3
    EVENT_ATTRIBUTE: Final = 4
    RETRY_REASON: Final = 5
    ATTRIBUTE: Final = 6
    STATUS_MESSAGE: Final = 7


class LinkStyle:
    """How an execution hangs on its enqueue."""

    CHILD: Final = 0
    LINK: Final = 1
    DANGLING_LINK: Final = 2
    FOREIGN_PARENT: Final = 3
    AMBIENT_PARENT: Final = 4
    NONE: Final = 5


def _names(numbers: type) -> tuple[str, ...]:
    """Return the names of 0, 1, 2, ... in lower case."""
    return tuple(name.lower() for name in vars(numbers) if name.isupper())


OUTCOMES: Final = _names(Outcome)
ERROR_SOURCES: Final = _names(ErrorSource)
LINK_STYLES: Final = _names(LinkStyle)

NO_ROW: Final = -1

FACT: Final = np.dtype(
    [
        ("span", np.uint64),  # hash of trace and span id; 0 for logs
        ("parent", np.uint64),
        ("link", np.uint64),  # of the first link
        ("trace_hi", np.uint64),
        ("trace_lo", np.uint64),
        ("span_id", np.uint64),  # of logs: hash of what it says
        ("start", np.uint64),
        ("end", np.uint64),
        ("system", np.uint64),
        ("adapter", np.uint64),
        ("lane", np.uint64),  # hash of system and scope: who writes receive spans also writes process spans, or never
        ("own_key", np.uint64),  # hash of the job's key; 0 without id
        ("provider_key", np.uint64),  # what the adapter's own rows of this job have for own_key
        ("available", np.uint64),
        ("created", np.uint64),
        ("inserted", np.uint64),
        ("due", np.uint64),
        ("first_due", np.uint64),
        ("latency", np.int64),
        ("attempt", np.int32),
        ("max_attempts", np.int32),
        ("batch_count", np.int32),
        ("resource", np.int32),
        ("convention", np.int16),
        ("available_source", np.int16),
        ("created_source", np.int16),
        ("inserted_source", np.int16),
        ("role", np.uint8),
        ("outcome", np.uint8),
        ("error", np.uint8),
        ("retries", np.bool_),
        ("has_queue", np.bool_),
        ("has_flow_parent", np.bool_),
        ("waits", np.bool_),  # its links name jobs that this one waits for
    ],
    align=True,  # numpy is slow with numbers that lie across words
)

STATE: Final = np.dtype(
    [
        ("key", np.uint64),  # of the job, an adopted one included; 0 without
        ("frontier", np.uint64),  # the span where the walk up ended
        ("digest", np.uint64),  # of what was last written; 0 if nothing was
        ("up", np.int64),  # the next row above, of any job
        ("parent_row", np.int64),  # the enqueue that is its parent
        ("link_row", np.int64),  # the enqueue that its first link names
        ("id_row", np.int64),  # whose text the job's id is
        ("primary", np.int64),  # the row that this one is merged into
        ("nested", np.int64),  # the layer's execution right below this adapter's one
        ("stamp", np.int64),  # when it was last touched, in batches; FORGOTTEN
        ("inferred", np.int32),  # attempt_inferred as last written
        ("bereft", np.bool_),  # other rows of its job are forgotten
        ("around", np.bool_),  # a transport span around an execution
        ("matched", np.bool_),  # its counterpart was seen
        ("deleted", np.bool_),
    ],
    align=True,  # numpy is slow with numbers that lie across words
)
"""What the window adds to a fact row."""

TEXTS: Final = pa.schema(
    [
        ("system", pa.string()),
        *((name, pa.string()) for name in TEXT_FIELDS),
        ("error_type", pa.string()),
        ("error_message", pa.string()),
        ("exception_stacktrace", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Fact rows of one batch."""

    facts: Records
    texts: pa.Table
    """Of schema TEXTS, a row for each of `facts`."""

    dependencies: tuple[npt.NDArray[np.int64], Hashes]
    """Pairs of a fact row and the hash of a span that its job waits for."""

    spans: Hashes
    """Hashes of all spans of the batch that are no fact rows and no roots, and ..."""

    parents: Hashes
    """... of their parents."""

    @property
    def rows(self) -> int:
        return len(self.facts)


def blank(rows: int) -> Records:
    """Return fact rows that say nothing."""
    facts = np.zeros(rows, FACT)
    for name in ("latency", "attempt", "max_attempts", "batch_count", "available_source", "created_source"):
        facts[name] = -1
    facts["inserted_source"] = -1
    return facts


def no_texts(rows: int) -> dict[str, Any]:
    """Return the columns of TEXTS, all null."""
    return {field.name: pa.nulls(rows, pa.string()) for field in TEXTS}
