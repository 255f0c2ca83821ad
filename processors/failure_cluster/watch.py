"""Time: rows wait until their step is over, then each step is decided as a whole, whatever order its rows came in."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np

from pipeline import Batch
from pipeline.arrays import changes as runs
from pipeline.records import Records
from processors.failure_cluster.books import SECOND, Books, Step
from processors.failure_cluster.clusters import Cluster, State
from processors.failure_cluster.config import FailureClusterConfig
from processors.failure_cluster.opening import Opening
from processors.failure_cluster.rows import Reading, Unread, joined, read, rest_of
from processors.failure_cluster.telling import Change, describe

_LATEST_SECONDS: Final = 3600.0
"""A row this late still counts, with the step that is decided next; one that is later is old news."""

_MOST_IDLE_STEPS: Final = 5000
"""Empty steps that are gone through one by one; a longer silence is gone through in longer strides."""

_MOST_UNREAD: Final = 16_384
"""Rows that are read at once."""

_MOST_FAULTS: Final = 1000
"""Faults that are counted in a cluster."""


@dataclass(slots=True)
class Counts:
    """What happened since it was asked last."""

    executions: int = 0
    failures: int = 0
    late: int = 0
    """Came after their step was decided, and count with the next one."""
    ignored: int = 0
    """Came too late to count."""
    ahead: int = 0
    """Ended after now, by the clock of this machine, and count as if they ended now."""
    refused: int = 0
    states: dict[State, int] = field(default_factory=dict)


class Watch:
    """Watches executions; pure but for its own state. Times are nanoseconds since 1970."""

    def __init__(self, config: FailureClusterConfig) -> None:
        self._config = config
        self.books = Books(config)
        self._opening = Opening(self.books)
        self._quiet = self.books.steps(config.quiet_after)
        self._resolve = self.books.steps(config.resolve_after)
        self._reopen = self.books.steps(config.reopen_within)
        self._unread: list[Unread] = []
        self.pending: list[Reading] = []
        self.next: int | None = None
        """The first step that is not decided."""
        self.newest = 0
        """The latest end of an execution."""
        self.counts = Counts()

    @property
    def waiting(self) -> int:
        return sum(len(part.ends) for part in self._unread) + sum(len(reading.rows) for reading in self.pending)

    def learn(self, batch: Batch) -> None:
        """Take what spans say of calls."""
        self.books.calls.learn(batch, self.books.names)

    def take(self, batch: Batch, now: int | None = None) -> list[Change]:
        """Take job rows and decide what is due. `now` is the wall clock's time, if it is known."""
        arrived = Unread.of(batch)
        ends = arrived.ends
        if len(ends) == 0:
            return []
        if now is not None:
            # a clock that is ahead must not make all others late
            ahead = ends > now + self._lateness_ns
            self.counts.ahead += int(np.count_nonzero(ahead))
            ends[ahead] = now
        if self.next is None:
            self.next = (int(ends.min()) - self._lateness_ns) // self.books.step_ns - 1
        self.newest = max(self.newest, int(ends.max()))
        self._unread.append(arrived)
        if sum(len(part.ends) for part in self._unread) >= _MOST_UNREAD:
            self.read()
        return self.advance(self.newest - self._lateness_ns)

    def read(self) -> None:
        """Read what came."""
        if self._unread and self.next is not None:
            books = self.books
            reading = read(self._unread, books.units, books.names, books.passing)
            reading.rows["bucket"] = reading.rows["end"] // books.step_ns
            self.pending.append(self._punctual(reading, self.next))
            self._unread = []

    @property
    def _lateness_ns(self) -> int:
        return round(self._config.lateness * SECOND)

    def _punctual(self, reading: Reading, following: int) -> Reading:
        """Move late rows to the step that is decided next, and leave out old news; changed rows are none."""
        rows = reading.rows
        late = rows["bucket"] < following
        if not late.any():
            return reading
        oldest = following - self.books.steps(_LATEST_SECONDS)
        old = rows["bucket"] < oldest
        if old.any():
            keys = rows["key"]
            old &= (self.books.seen.versions(keys) < 0) & (self.books.counted.find(keys) < 0)
        rows["bucket"][late] = following
        self.counts.late += int(np.count_nonzero(late & ~old))
        self.counts.ignored += int(np.count_nonzero(old))
        return rest_of(rows.compress(~old), reading.texts) if old.any() else reading

    def advance(self, until: int) -> list[Change]:
        """Decide the steps that are over at a time, and return what became of clusters."""
        end = until // self.books.step_ns
        if self.next is None or end <= self.next:
            return []
        self.read()
        changes: list[Change] = []
        reading = self._ready(end)
        rows = _ordered(reading.rows)
        for first, last in pairwise(runs(rows["bucket"]).tolist() if len(rows) else ()):
            bucket = int(rows["bucket"][first])
            self._idle(self.next, bucket, changes)
            self._decide(bucket, Reading(rows[first:last], reading.texts), changes)
            self.next = bucket + 1
        self._idle(self.next, end, changes)
        self.next = end
        return changes

    def _ready(self, end: int) -> Reading:
        """Take out the rows of steps before `end`."""
        ready, later = [], []
        for reading in self.pending:
            due = reading.rows["bucket"] < end
            if due.all():
                ready.append(reading)
            elif not due.any():
                later.append(reading)
            else:
                ready.append(rest_of(reading.rows.compress(due), reading.texts))
                later.append(rest_of(reading.rows.compress(~due), reading.texts))
        self.pending = later
        return joined(ready)

    def finish(self) -> list[Change]:
        """Decide all that is waiting."""
        return self.advance((self.newest // self.books.step_ns + 1) * self.books.step_ns)

    def _decide(self, bucket: int, reading: Reading, changes: list[Change]) -> None:
        books = self.books
        books.turn(bucket)
        step = books.enter(bucket, reading)
        self.counts.executions += step.executions
        self.counts.failures += len(step.failures)
        if len(step.failures) or books.waiting:
            self._add(step)
            for cluster in self._opening.judge(step):
                self._tell(cluster, cluster.opened(), bucket, changes)
            self.counts.refused += self._opening.refused
            self._opening.refused = 0
        self._live(bucket, changes)
        books.upkeep(bucket, self.pending)

    def _add(self, step: Step) -> None:
        """Count failures of clusters that are there."""
        for number in np.unique(step.cluster[step.cluster >= 0]).tolist():
            failures = step.failures[step.cluster == number]
            cluster = self.books.open[number]
            cluster.count(step.bucket, len(failures), int(failures["end"].min()), int(failures["end"].max()))
            self._count(cluster, failures)

    def _count(self, cluster: Cluster, failures: Records) -> None:
        books = self.books
        for column, counts in (("unit", cluster.units), ("fingerprint", cluster.faults)):
            values, numbers = np.unique(failures[column], return_counts=True)
            for value, number in zip(values.tolist(), numbers.tolist(), strict=True):
                counts[value] = counts.get(value, 0) + number
                if column == "unit":
                    name = books.units.names[value]
                    cluster.classes[name] = cluster.classes.get(name, 0) + number
        if len(cluster.faults) > _MOST_FAULTS:
            most = sorted(cluster.faults.items(), key=lambda item: (-item[1], item[0]))[: _MOST_FAULTS // 2]
            cluster.faults = dict(most)
        values, numbers = np.unique(failures["queue"], return_counts=True)
        for value, number in zip(values.tolist(), numbers.tolist(), strict=True):
            if value:
                queue = books.names.text(value)
                cluster.queues[queue] = cluster.queues.get(queue, 0) + number

    def _idle(self, first: int, end: int, changes: list[Change]) -> None:
        if self.books.open:
            for bucket in range(first, end, max(1, (end - first) // _MOST_IDLE_STEPS)):
                self._live(bucket, changes)

    def _live(self, bucket: int, changes: list[Change]) -> None:
        books = self.books
        resolved = False
        for cluster in books.open:
            state = cluster.step(bucket, books.step_ns, self._quiet, self._resolve)
            if state is not None:
                self._tell(cluster, state, bucket, changes)
                resolved |= state is State.RESOLVED
        if resolved:
            oldest = bucket - self._reopen
            books.clusters = [c for c in books.clusters if c.state is not State.RESOLVED or c.quiet_from >= oldest]
            books.reindex()

    def _tell(self, cluster: Cluster, state: State, bucket: int, changes: list[Change]) -> None:
        self.counts.states[state] = self.counts.states.get(state, 0) + 1
        if state in (State.OPENED, State.REOPENED, State.GROWING):
            describe(self.books, cluster)
        changes.append(Change.of(cluster, state, (bucket + 1) * self.books.step_ns, self.books))


_BUCKET_BITS: Final = 16


def _ordered(rows: Records) -> Records:
    """Return the rows by step and key, in one pass where the steps are near each other, as they are but at gaps."""
    if len(rows) == 0:
        return rows
    steps = rows["bucket"] - rows["bucket"].min()
    if steps.max() >> _BUCKET_BITS:
        return rows.take(np.lexsort((rows["key"], rows["bucket"])))
    high = np.uint64(64 - _BUCKET_BITS)
    ordered = rows.take(np.argsort((steps.astype(np.uint64) << high) | (rows["key"] >> np.uint64(_BUCKET_BITS))))
    keys, buckets = ordered["key"], ordered["bucket"]
    if ((keys[1:] < keys[:-1]) & (buckets[1:] == buckets[:-1])).any():
        # keys that differ in their last bits only
        return rows.take(np.lexsort((rows["key"], rows["bucket"])))
    return ordered
