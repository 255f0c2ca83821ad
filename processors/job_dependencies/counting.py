"""Turns decisions into what has to be added to edges: the difference to what was counted before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.arrays import changes
from pipeline.hash_table import HashTable, Rows
from pipeline.hashing import Hashes, combined, order_of
from pipeline.records import Records
from processors.job_dependencies.ancestry import Ancestry
from processors.job_dependencies.book import Book
from processors.job_dependencies.climbing import callers
from processors.job_dependencies.deciding import Decision
from processors.job_dependencies.facts import NONE, NodeKind, Via
from processors.job_dependencies.names import Edges, edges_of
from processors.job_dependencies.tally import Tally


class FanOut:
    """How many calls each execution or request made on each edge; forgets its older half when it is full."""

    def __init__(self) -> None:
        self._young, self._old = HashTable(), HashTable()

    @property
    def nbytes(self) -> int:
        return self._young.nbytes + self._old.nbytes

    def add(self, instances: Hashes, edges: Rows, calls: Rows) -> tuple[Rows, Rows, Rows]:
        """Add `calls` to what each of `instances` made on an edge, 0 for unknown ones.

        Returns for each distinct pair of instance and edge the place where it is first, the calls before, and after.
        """
        known = np.flatnonzero(instances)
        keys = combined(instances[known], edges[known].astype(np.uint64))
        order = order_of(keys)
        starts = changes(keys[order])[:-1]
        if len(starts) == 0:
            return starts, starts, starts
        distinct = keys[order[starts]]
        before = self._young.find(distinct)
        fresh = before < 0
        if len(self._old):
            before[fresh] = self._old.find(distinct[fresh])
        before = np.maximum(before, 0)
        after = np.maximum(before + np.add.reduceat(calls[known][order], starts), 0)
        self._young.add(distinct[fresh], after[fresh])
        if not fresh.all():
            self._young.swap(distinct[~fresh], after[~fresh])
        return known[np.minimum.reduceat(order, starts)], before, after

    def shrink(self, limit: int) -> None:
        """Forget what was not asked for lately if more than `limit` bytes are in use."""
        if self.nbytes > limit:
            self._old, self._young = self._young, HashTable(len(self._young))

    def items(self) -> tuple[Hashes, Rows]:
        """Return everything, for `load`."""
        keys, values = self._old.items()
        newer = self._young.items()
        kept = self._young.find(keys) < 0
        return np.concatenate([keys[kept], newer[0]]), np.concatenate([values[kept], newer[1]])

    def load(self, keys: Hashes, values: Rows) -> None:
        """Take over what `items` gave."""
        self._young.add(keys, values)


@dataclass(slots=True, eq=False)
class Counted:
    """What was new: calls on edges, and how many calls the executions and requests that made them have made."""

    jobs: Rows
    """The jobs whose call was counted or moved."""
    edges: npt.NDArray[np.int32]
    """For each of them its edge."""
    sizes: Rows
    """Of each execution or request that made one of the calls: how many it has made now, over all edges, ..."""
    examples: Rows
    """... and one of the jobs that it enqueued."""


_ALL_EDGES = np.int32(-2)
"""In the place of an edge: the calls on all edges of an execution."""


def count_jobs(
    book: Book, edges: Edges, fan_out: FanOut, tally: Tally, jobs: Rows, decision: Decision, due: npt.NDArray[np.bool_]
) -> Counted:
    """Add to `tally` what is new or different of the jobs that are `due`, and note in the book what was counted."""
    chosen = due & decision.called
    edge = np.full(len(jobs), NONE, np.int32)
    edge[chosen] = edges.numbers(decision.edge.compress(chosen))
    before = book.jobs["edge"][jobs]
    _count_executions(book, tally, decision.rows, decision.told, edge[decision.numbers], due[decision.numbers])

    moved = due & (edge != before)
    gone = np.flatnonzero(moved & (before >= 0))
    _add_calls(fan_out, tally, book, jobs[gone], -1)
    come = np.flatnonzero(moved & (edge >= 0))
    for name, values in (
        ("edge", edge),
        ("time", decision.time),
        ("instance", decision.instance),
        ("parent_key", decision.parent_key),
    ):
        book.jobs[name][jobs[moved]] = values[moved]
    sizes, examples = _add_calls(fan_out, tally, book, jobs[come], 1)
    return Counted(jobs[come], edge[come], sizes, jobs[come][examples])


def _add_calls(fan_out: FanOut, tally: Tally, book: Book, jobs: Rows, number: int) -> tuple[Rows, Rows]:
    """Count calls once more or once less; return how many each instance has now, and the place of a call of it."""
    if len(jobs) == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    instances, edges, times = (book.of_jobs(jobs, name) for name in ("instance", "edge", "time"))
    calls = np.full(len(jobs), number)
    places, before, after = fan_out.add(instances, edges, calls)
    parents = np.zeros(len(jobs), np.int64)
    parents[places] = (after > 0).astype(np.int64) - (before > 0)
    size = np.zeros(len(jobs), np.uint64)
    size[places] = after if number > 0 else 0
    tally.count(edges, times, calls=number, parents=parents, fan_out=size)
    places, _, after = fan_out.add(instances, np.full(len(jobs), _ALL_EDGES), calls)
    return after, places


def _count_executions(
    book: Book, tally: Tally, rows: Rows, told: Records, edge: npt.NDArray[np.int32], due: npt.NDArray[np.bool_]
) -> None:
    """Count executions and failures on the edges of their jobs, each once, and take back those that are no more.

    `told` is what is known of `rows`, of which those are looked at that are `due`.
    """
    before, failure_before = told["edge"], told["counted_failure"]
    after = np.where(told["execution"] & ~told["deleted"], edge, NONE)
    failure = told["failed"] & (after >= 0)
    changed = np.flatnonzero(due & ((before != after) | (failure != failure_before)))
    if len(changed) == 0:
        return
    rows, told, before, after = rows[changed], told.take(changed), before[changed], after[changed]
    failure, failure_before = failure[changed], failure_before[changed]
    times = told["time"]
    was = before >= 0
    if was.any():
        tally.count(before[was], times[was], executions=-1, failures=-failure_before[was].astype(int))
    now = after >= 0
    fresh = now & ~told["sampled"]
    tally.count(after[now], times[now], executions=1, failures=failure[now])
    tally.sample(tally.latencies, after[fresh], times[fresh], told["latency"][fresh])
    tally.sample(tally.durations, after[fresh], times[fresh], told["duration"][fresh].astype(np.int64))
    book.rows["edge"][rows] = after
    book.rows["counted_failure"][rows] = failure
    book.rows["sampled"][rows[fresh]] = True


def count_clients(
    book: Book,
    ancestry: Ancestry,
    edges: Edges,
    fan_out: FanOut,
    tally: Tally,
    clients: Records,
    late: npt.NDArray[np.bool_],
) -> Records:
    """Add to `tally` the calls to the outside whose callers are known, or that are `late`; return the others.

    What requests call is not counted, nor what belongs to handing a job to its queue.
    """
    if len(clients) == 0:
        return clients
    # calls of one target from one place lie side by side for the most part, and are looked at together
    bounds = changes(*(clients[name] for name in ("at", "target", "service")))
    starts, sizes = bounds[:-1], np.diff(bounds)
    found = callers(book, ancestry, clients["at"][starts])
    row = found.row
    execution = (row >= 0) & book.of_rows(row, "execution")
    open_ = np.repeat(found.open, sizes)
    counted = np.repeat(execution, sizes) | (open_ & late)
    counted[counted] = ~book.are_rows(clients["span"][counted])

    groups = np.repeat(np.arange(len(starts)), sizes)[counted]
    number = np.bincount(groups, minlength=len(starts))
    some = np.flatnonzero(number)
    job_class = np.where(execution, book.of_rows(row, "job_class"), 0)
    first = clients.take(starts)
    edge = np.zeros(len(starts), np.int64)
    edge[some] = edges.numbers(
        edges_of(
            (
                np.where(job_class > 0, NodeKind.JOB, NodeKind.UNKNOWN)[some],
                job_class[some],
                np.where(execution, book.of_rows(row, "service"), first["service"])[some],
                np.where(first["target"] > 0, NodeKind.EXTERNAL, NodeKind.UNKNOWN)[some],
                first["target"][some],
                0,
                Via.PARENT,
            ),
            len(some),
        )
    )
    calls = clients.compress(counted)
    instances = np.where(execution, book.of_rows(row, "span"), np.uint64(0))[some]
    places, before, after = fan_out.add(instances, edge[some], number[some])
    # told with the first call of each group
    at = (np.cumsum(number[some]) - number[some])[places]
    parents, size = np.zeros(len(calls), np.int64), np.zeros(len(calls), np.uint64)
    parents[at], size[at] = before == 0, after
    of_calls, times = edge[groups], calls["time"]
    tally.count(of_calls, times, calls=1, executions=1, failures=calls["failed"], parents=parents, fan_out=size)
    tally.sample(tally.durations, of_calls, times, calls["duration"].astype(np.int64))
    waiting = open_ & ~late
    left = clients.compress(waiting)
    left["at"] = np.repeat(found.at, sizes)[waiting]
    return left
