"""The way up from a span to who called it: the next execution of a job, or the request, above."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.hash_table import Rows
from pipeline.hashing import Hashes
from processors.job_dependencies.ancestry import UNKNOWN, Ancestry
from processors.job_dependencies.book import Book
from processors.job_dependencies.facts import NONE, ROOT

MAX_SPANS: Final = 256
"""Spans between a caller and what it called; further up nobody is looked for."""


@dataclass(slots=True, eq=False)
class Callers:
    """What stands above each of the spans that were asked for."""

    row: Rows
    """The job row that calls, NONE for none."""
    request: Rows
    """The request that calls, as `Ancestry.requests` gives it, NONE for none."""
    at: Hashes
    """The span of the caller, or that at which the way up goes on."""
    open: npt.NDArray[np.bool_]
    """The way ended at a span that did not come yet."""


def callers(book: Book, ancestry: Ancestry, at: Hashes, own: Hashes | None = None) -> Callers:
    """Return who called from the spans `at`.

    With `own`, keys of jobs, it is the caller of a job that is asked for, from a row of it: the spans themselves,
    executions of this job and enqueues are passed by. Without it the caller of something outside is asked for: it may
    be one of the spans, and enqueues are callers then, too.
    """
    size = len(at)
    found = Callers(np.full(size, NONE), np.full(size, NONE), at.copy(), np.zeros(size, np.bool_))
    going = np.arange(size)
    if own is not None:
        going = _above(ancestry, found, going)
    for _ in range(MAX_SPANS):
        if len(going) == 0:
            break
        spans = found.at[going]
        rows = book.rows_of_spans(spans)
        is_row = rows >= 0
        calls = is_row.copy()
        if own is not None:
            calls &= book.of_rows(rows, "execution") & (book.of_rows(rows, "key") != own[going])
        found.row[going[calls]] = rows[calls]
        requests = np.full(len(going), NONE)
        requests[~is_row] = ancestry.requests(spans[~is_row])
        found.request[going] = requests
        going = _above(ancestry, found, going[~calls & (requests < 0)])
    return found


def _above(ancestry: Ancestry, found: Callers, going: Rows) -> Rows:
    """Go on to the parents of `going`; return those that have one that is known."""
    parents = ancestry.parents(found.at[going])
    unknown = parents == UNKNOWN
    found.open[going[unknown]] = True
    on = ~unknown & (parents != ROOT)
    going = going[on]
    found.at[going] = parents[on].view(np.uint64)
    return going
