"""Turns decisions into what has to be added to edges: the difference to what was counted before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.hashing import Hashes, combined
from pipeline.index import HashTable, Rows
from processors.job_dependencies.ancestry import Ancestry
from processors.job_dependencies.book import Book
from processors.job_dependencies.climbing import callers
from processors.job_dependencies.deciding import Decision
from processors.job_dependencies.facts import NONE, NodeKind, Records, Via
from processors.job_dependencies.names import Edges, edges_of
from processors.job_dependencies.tally import Tally, counts, samples


class FanOut:
    """How many calls each execution or request made on each edge; forgets its older half when it is full."""

    def __init__(self) -> None:
        self._young, self._old = HashTable(), HashTable()

    @property
    def nbytes(self) -> int:
        return self._young.nbytes + self._old.nbytes

    def add(self, instances: Hashes, edges: npt.NDArray[np.int32], number: int) -> tuple[Rows, Rows, Rows]:
        """Add `number` for each of `instances`, 0 for unknown ones.

        Returns for each distinct pair of instance and edge the place where it is first, the calls before, and after.
        """
        known = np.flatnonzero(instances)
        keys = combined(instances[known], edges[known].astype(np.uint64))
        distinct, firsts, calls = np.unique(keys, return_index=True, return_counts=True)
        before = self._young.find(distinct)
        if len(self._old):
            before = np.where(before < 0, self._old.find(distinct), before)
        before = np.maximum(before, 0)
        after = np.maximum(before + number * calls, 0)
        self._young.swap(distinct, after)
        return known[firsts], before, after

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
    """What was new: calls by jobs and requests on edges, and the executions and requests that made the most."""

    jobs: Rows
    """The jobs whose call was counted or moved."""
    edges: npt.NDArray[np.int32]
    """For each of them its edge."""
    crowds: Hashes
    """Executions and requests that now have more calls than before, over all edges, ..."""
    sizes: Rows
    """... how many, ..."""
    examples: Rows
    """... and one of the jobs that they enqueued."""


_ALL_EDGES = np.int32(-2)
"""In the place of an edge: the calls on all edges of an execution."""


def count_jobs(
    book: Book, edges: Edges, fan_out: FanOut, tally: Tally, jobs: Rows, decision: Decision, due: npt.NDArray[np.bool_]
) -> Counted:
    """Add to `tally` what is new or different of the jobs that are `due`, and note in the book what was counted."""
    chosen = due & decision.called
    edge = np.full(len(jobs), NONE, np.int32)
    edge[chosen] = edges.numbers(decision.edge[chosen])
    before = book.jobs["edge"][jobs]
    due_rows = due[decision.numbers]
    _count_executions(book, tally, decision.rows[due_rows], edge[decision.numbers[due_rows]])

    moved = due & (edge != before)
    gone = np.flatnonzero(moved & (before >= 0))
    _add_calls(fan_out, tally, book.jobs[jobs[gone]], -1)
    come = np.flatnonzero(moved & (edge >= 0))
    records = book.jobs[jobs[moved]]
    records["edge"], records["time"] = edge[moved], decision.time[moved]
    records["instance"], records["parent_key"] = decision.instance[moved], decision.parent_key[moved]
    book.jobs[jobs[moved]] = records
    crowds, sizes, examples = _add_calls(fan_out, tally, book.jobs[jobs[come]], 1)
    return Counted(jobs[come], edge[come], crowds, sizes, jobs[come][examples])


def _add_calls(fan_out: FanOut, tally: Tally, calls: Records, number: int) -> tuple[Hashes, Rows, Rows]:
    """Count calls once more or once less; return the instances, how many calls they have now, and a call of each."""
    if len(calls) == 0:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.int64)
    places, before, after = fan_out.add(calls["instance"], calls["edge"], number)
    parents = np.zeros(len(calls), np.int64)
    parents[places] = (after > 0).astype(np.int64) - (before > 0)
    size = np.zeros(len(calls), np.uint64)
    size[places] = after if number > 0 else 0
    tally.add(counts(calls["edge"], calls["time"], calls=number, parents=parents, fan_out=size))
    everything = np.full(len(calls), _ALL_EDGES)
    places, _, after = fan_out.add(calls["instance"], everything, number)
    return calls["instance"][places], after, places


def _count_executions(book: Book, tally: Tally, rows: Rows, edge: npt.NDArray[np.int32]) -> None:
    """Count executions and failures on the edges of their jobs, each once, and take back those that are no more."""
    told = book.rows[rows]
    before = told["edge"]
    after = np.where(told["execution"] & ~told["deleted"], edge, NONE)
    failure = told["failed"] & (after >= 0)
    changed = (before != after) | (failure != told["counted_failure"])
    rows, told, before, after, failure = rows[changed], told[changed], before[changed], after[changed], failure[changed]
    if len(rows) == 0:
        return
    was = before >= 0
    tally.add(counts(before[was], told["time"][was], executions=-1, failures=-told["counted_failure"][was].astype(int)))
    now = after >= 0
    fresh = now & ~told["sampled"]
    tally.add(
        counts(after[now], told["time"][now], executions=1, failures=failure[now].astype(int)),
        samples(after[fresh], told["time"][fresh], told["latency"][fresh]),
        samples(after[fresh], told["time"][fresh], told["duration"][fresh].astype(np.int64)),
    )
    told["edge"], told["counted_failure"] = after, failure
    told["sampled"] |= fresh
    book.rows[rows] = told


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
    found = callers(book, ancestry, clients["at"])
    row = found.row
    execution = (row >= 0) & book.of_rows(row, "execution")
    lost = found.open & late
    counted = (execution | lost) & ~book.are_rows(clients["span"])
    calls, row, execution = clients[counted], row[counted], execution[counted]
    job_class = np.where(execution, book.of_rows(row, "job_class"), 0)
    edge = edges.numbers(
        edges_of(
            (
                np.where(job_class > 0, NodeKind.JOB, NodeKind.UNKNOWN),
                job_class,
                np.where(execution, book.of_rows(row, "service"), calls["service"]),
                np.where(calls["target"] > 0, NodeKind.EXTERNAL, NodeKind.UNKNOWN),
                calls["target"],
                0,
                Via.PARENT,
            ),
            len(calls),
        )
    )
    instances = np.where(execution, book.of_rows(row, "span"), np.uint64(0))
    places, before, after = fan_out.add(instances, edge, 1)
    parents, size = np.zeros(len(calls), np.int64), np.zeros(len(calls), np.uint64)
    parents[places], size[places] = before == 0, after
    tally.add(
        counts(
            edge,
            calls["time"],
            calls=1,
            executions=1,
            failures=calls["failed"].astype(int),
            parents=parents,
            fan_out=size,
        ),
        None,
        samples(edge, calls["time"], calls["duration"].astype(np.int64)),
    )
    waiting = found.open & ~late
    left = clients[waiting]
    left["at"] = found.at[waiting]
    return left
