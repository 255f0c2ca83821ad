"""What is to be counted of jobs, from all that is known of them: whom they were called by, and how they ended.

Pure: the result depends on what the book and the ancestry know, not on the order in which they were told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.hash_table import Rows
from pipeline.hashing import Hashes, combined
from pipeline.records import Records
from processors.job_dependencies.ancestry import Ancestry, name_and_service
from processors.job_dependencies.book import Book
from processors.job_dependencies.climbing import callers
from processors.job_dependencies.facts import NONE, NodeKind
from processors.job_dependencies.names import edges_of

Mask = npt.NDArray[np.bool_]


@dataclass(slots=True, eq=False)
class Decision:
    """One value for each of the jobs that were asked for."""

    rows: Rows
    """All rows of the jobs."""
    numbers: Rows
    """For each of `rows` the place of its job."""
    told: Records
    """What is known of each of `rows`."""
    called: Mask
    """There is something to count: the job was enqueued, or ran."""
    ran: Mask
    edge: Records
    """Who called, and what, as EDGE."""
    time: npt.NDArray[np.uint64]
    """When the call was made."""
    parent_key: Hashes
    """By which name the calling job is known; 0 if it was none, or is not known."""
    instance: Hashes
    """Which execution or request called; 0 if it is not known."""
    open: Mask
    """The caller is not known yet, and may become known."""


def decide(book: Book, ancestry: Ancestry, jobs: Rows) -> Decision:
    """Return what is to be counted of `jobs`, and note in the book what others ask of them."""
    size = len(jobs)
    numbers, rows = book.members(jobs)
    told = book.rows.take(rows)
    live = ~told["deleted"]
    execution = live & told["execution"]
    # an enqueue that is the job's own, then an execution, then what else there is
    rank = np.select([~live, ~told["execution"] & ~told["retry"], told["execution"]], [3, 0, 1], 2)
    first = _firsts(numbers, rank, size)
    known = first >= 0
    start = np.where(known, rows[first], NONE) if len(rows) else np.full(size, NONE)
    ran_first = _firsts(numbers, np.where(execution, 0, 3), size)
    ran = np.zeros(size, np.bool_)
    ran[numbers[execution]] = True
    called = ran.copy()
    called[numbers[live & ~told["execution"] & ~told["retry"] & ~told["unsent"]]] = True

    classed = _firsts(numbers, np.where(live & (told["job_class"] > 0), np.where(execution, 0, 1), 3), size)
    job_class = _at(told["job_class"], classed)
    service = np.where(ran, _at(told["service"], ran_first), 0)
    via = np.where(ran, _at(told["link"], ran_first), 0)
    name_keys = np.where(known, _at(told["name_key"], classed), np.uint64(0))
    book.rename(jobs, name_keys)
    for name, values in (("job_class", job_class), ("service", service), ("ran", ran)):
        book.jobs[name][jobs] = values
    for name in ("trace_hi", "trace_lo"):
        book.jobs[name][jobs] = _at(told[name], first)

    kind, parent, parent_service, parent_key, instance, open_ = _parents(
        book, ancestry, jobs, start, _firsts(numbers, np.where(live & told["has_parent"], rank, 3), size), rows
    )
    child_kind = np.where(job_class > 0, NodeKind.JOB, NodeKind.UNKNOWN)
    return Decision(
        rows=rows,
        numbers=numbers,
        told=told,
        called=called,
        ran=ran,
        edge=edges_of((kind, parent, parent_service, child_kind, job_class, service, via), size),
        time=_at(told["time"], first),
        parent_key=parent_key,
        instance=instance,
        open=open_,
    )


def _firsts(numbers: Rows, rank: npt.NDArray[np.int64], size: int) -> Rows:
    """Return for each job the place of its first row with the lowest rank; NONE where all have rank 3."""
    firsts = np.full(size, NONE)
    for wanted in (2, 1, 0):
        # back to front, so that the first is written last
        places = np.flatnonzero(rank == wanted)[::-1]
        firsts[numbers[places]] = places
    return firsts


def _at(values: npt.NDArray[Any], places: Rows) -> npt.NDArray[Any]:
    """Return values at places; 0 for NONE."""
    if len(values) == 0:
        return np.zeros(len(places), values.dtype)
    return np.where(places >= 0, values[places], np.zeros(1, values.dtype))


def _parents(
    book: Book, ancestry: Ancestry, jobs: Rows, start: Rows, saying: Rows, rows: Rows
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int32], Hashes, Hashes, Mask]:
    """Return kind, name and service of what called each job, its key, the calling instance, and what is still open.

    What job rows say comes first, what stands above in the trace second. `start` is the row to begin at, `saying` the
    place in `rows` that names the parent.
    """
    size = len(jobs)
    kind = np.full(size, NodeKind.UNKNOWN, np.int64)
    parent, service = np.zeros(size, np.int32), np.zeros(size, np.int32)
    parent_key, instance = np.zeros(size, np.uint64), np.zeros(size, np.uint64)

    # an execution without an enqueue of its own may have been matched with one that stands for several jobs
    matched = np.full(size, NONE)
    lone = (start >= 0) & book.of_rows(start, "execution") & (book.of_rows(start, "match") != 0)
    matched[lone] = book.bulk_enqueues(start[lone])
    begin = np.where(matched >= 0, matched, start)
    # a link says that there is an enqueue, seen or not
    open_ = (start >= 0) & book.of_rows(start, "execution") & book.of_rows(start, "link") & (matched < 0)
    enqueued = (begin >= 0) & ~book.of_rows(begin, "execution")

    by = np.where(saying >= 0, rows[saying] if len(rows) else NONE, NONE)
    # what stands for several jobs says for all of them who enqueued it
    by = np.where((by < 0) & (matched >= 0) & book.of_rows(matched, "has_parent"), matched, by)
    said = by >= 0
    open_ &= ~said
    if said.any():
        parent[said] = book.of_rows(by[said], "parent_class")
        kind[said] = np.where(parent[said] > 0, NodeKind.JOB, NodeKind.UNKNOWN)
        parent_key[said] = book.of_rows(by[said], "parent_key")
        above = np.full(size, NONE)
        above[said] = book.jobs_named(parent_key[said])
        # an execution that did not come yet has no service
        above[~book.of_jobs(above, "ran")] = NONE
        # who enqueues does so in its own process, unless it asked another service to
        service = np.where(
            above >= 0, book.of_jobs(above, "service"), np.where(said & enqueued, book.of_rows(begin, "service"), 0)
        ).astype(np.int32)
        open_ |= (above < 0) & (parent_key != 0)
        anonymous = combined(parent.astype(np.uint64), book.of_rows(start, "trace_hi"), book.of_rows(start, "trace_lo"))
        instance[said] = np.where(parent_key != 0, parent_key, anonymous)[said]

    climbing = np.flatnonzero(~said & (begin >= 0))
    if len(climbing):
        keys = book.of_jobs(jobs[climbing], "key")
        found = callers(book, ancestry, book.of_rows(begin[climbing], "span"), keys)
        by_job, by_request = found.row >= 0, found.request >= 0
        rows = found.row[by_job]
        here = climbing[by_job]
        caller = book.jobs_of(book.of_rows(rows, "key"))
        parent[here] = book.of_rows(rows, "job_class")
        kind[here] = np.where(parent[here] > 0, NodeKind.JOB, NodeKind.UNKNOWN)
        service[here] = book.of_rows(rows, "service")
        parent_key[here] = np.where(caller >= 0, book.of_rows(rows, "name_key"), np.uint64(0))
        instance[here] = np.where(parent_key[here] != 0, parent_key[here], book.of_rows(rows, "span"))
        here = climbing[by_request]
        kind[here] = NodeKind.REQUEST
        parent[here], service[here] = name_and_service(found.request[by_request])
        instance[here] = found.at[by_request]
        open_[climbing] |= found.open
    return kind, parent, service, parent_key, instance, open_
