"""Drives the rest: spans and job rows pass; what they say is kept, settled step by step, and written now and then."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from pipeline import Batch, ComponentId, Host, Kind, Processor, Receipt
from pipeline.alerts import Alert, alert_batch
from pipeline.durable import Durable
from pipeline.hash_table import union
from pipeline.hashing import Hashes
from pipeline.records import Records
from processors.job_dependencies.ancestry import Ancestry
from processors.job_dependencies.book import Book
from processors.job_dependencies.config import JobDependenciesConfig
from processors.job_dependencies.counting import FanOut, count_clients, count_jobs
from processors.job_dependencies.deciding import decide
from processors.job_dependencies.evidence import evidence_of
from processors.job_dependencies.facts import CLIENT
from processors.job_dependencies.names import Edges, Names
from processors.job_dependencies.saving import Knowledge, restored, saved
from processors.job_dependencies.spans import SpanReader
from processors.job_dependencies.tally import Tally
from processors.job_dependencies.waiting import Waiting
from processors.job_dependencies.watching import Watch

_STEPS_A_SETTLE: Final = 8
"""How often in the time that a call settles it is looked for calls that are due: small steps, so none is long."""

_QUIET_INTERVALS: Final = 10
"""An alert is over after so many intervals in which it was not true."""

_NAMES_AN_EDGE: Final = 4
"""Names that may be known for each edge that may be: requests and hosts that no job has to do with are among them."""

_ROWS_AT_ONCE: Final = 16_384
"""So many rows are read together, or what came until a tick: columns have a price each, however short they are."""

_UNREAD_SHARE: Final = 8
"""One in so many of max_bytes may be rows that are not read yet."""

_FORGET_SHARE: Final = 4
"""Jobs that are out of the window are taken out once they are one in so many: it costs as much as building anew."""

# shares of max_bytes, in eighths
_ANCESTRY_SHARE, _FAN_OUT_SHARE, _WAITING_SHARE = 3, 1, 1


@dataclass(slots=True)
class _Counters:
    """What is told to the own metrics; until the start, and in tests without a host, it goes nowhere."""

    rows: Callable[[int], None] = lambda _number: None
    forgotten: Callable[[int], None] = lambda _number: None
    hurried: Callable[[int], None] = lambda _number: None
    held: Callable[[int, int, int, int], None] = lambda _jobs, _waiting, _edges, _bytes: None


class JobDependencies(Processor[JobDependenciesConfig], Durable):
    """Counts who enqueues whom, by class: jobs, web requests, and what jobs call; raises alerts of cycles and runaways.

    Spans and job rows pass unchanged and at once. Edges follow every `interval` as a batch of kind job_dependencies.
    """

    kind = "job_dependencies"
    Config = JobDependenciesConfig
    handles = frozenset({Kind.SPANS, Kind.JOBS})
    shared = True

    def __init__(self, config: JobDependenciesConfig, ident: ComponentId) -> None:
        super().__init__(config, ident)
        self._know = Knowledge(
            Names(_NAMES_AN_EDGE * config.max_edges),
            Edges(config.max_edges),
            Book(),
            Ancestry(config.max_bytes * _ANCESTRY_SHARE // 8),
            FanOut(),
            Watch(config.max_depth, config.max_fanout, _QUIET_INTERVALS * config.interval, config.window),
            Waiting(self._step_seconds),
        )
        self._reader = SpanReader(self._know.names)
        self._tally = Tally(int(config.interval * 1e9))
        self._alerts: list[Alert] = []
        self._unread: dict[Kind, list[Batch]] = {Kind.SPANS: [], Kind.JOBS: []}
        self._arrived: tuple[list[Hashes], list[Records]] = ([], [])
        self._next_step: float | None = None
        self._next_writing: float | None = None
        self._now = 0.0
        self._ticks = 0
        self._tick_times: list[tuple[float, int]] = []
        self._old = -1
        """The last tick whose jobs are out of the window."""
        self._restored_at: float | None = None
        """The time of the state that was restored, on the clock of the process that saved it."""
        self._drained = False
        self._began = 0
        self._written = 0
        self._counters = _Counters()

    @property
    def _step_seconds(self) -> float:
        return min(self.config.settle / _STEPS_A_SETTLE, self.config.interval)

    async def start(self, host: Host) -> None:
        # rows of a later process are other rows, whatever their number
        self._began = host.clock.time_ns()
        name = str(self.ident)
        metrics = host.metrics
        rows = metrics.counter("jobsight_job_dependencies_rows", "Rows of edges written.", "processor").labels(name)
        forgotten = metrics.counter(
            "jobsight_job_dependencies_forgotten_jobs", "Jobs forgotten before their window was over.", "processor"
        ).labels(name)
        hurried = metrics.counter(
            "jobsight_job_dependencies_hurried_calls",
            "Calls to the outside counted before their wait was over, for want of memory.",
            "processor",
        ).labels(name)
        jobs, waiting, edges, nbytes, limit = (
            metrics.gauge(f"jobsight_job_dependencies_{what}", meaning, "processor").labels(name)
            for what, meaning in (
                ("jobs", "Jobs that are remembered."),
                ("waiting", "Calls that are not counted yet."),
                ("edges", "Distinct edges that are known."),
                ("bytes", "Memory of what is remembered."),
                ("limit_bytes", "Most memory that it may take."),
            )
        )
        limit.set(self.config.max_bytes)

        def hold(of_jobs: int, of_waiting: int, of_edges: int, memory: int) -> None:
            for gauge, value in ((jobs, of_jobs), (waiting, of_waiting), (edges, of_edges), (nbytes, memory)):
                gauge.set(value)

        self._counters = _Counters(rows=rows.inc, forgotten=forgotten.inc, hurried=hurried.inc, held=hold)

    def process(self, batch: Batch) -> Iterable[Batch]:
        if batch.rows:
            unread = self._unread[batch.kind]
            unread.append(batch)
            if (
                sum(part.rows for part in unread) >= _ROWS_AT_ONCE
                or sum(part.nbytes for part in unread) * _UNREAD_SHARE > self.config.max_bytes
            ):
                self._read()
        return (batch,)

    def _read(self) -> None:
        """Take in what the batches say that came since the last time; a few large reads cost less than many small."""
        spans, jobs = self._unread[Kind.SPANS], self._unread[Kind.JOBS]
        know = self._know
        if spans:
            calls = self._reader.read(spans)
            know.ancestry.add(calls.spans, calls.parents)
            know.ancestry.add_requests(calls.requests, calls.request_names, calls.request_services)
            if len(calls.clients):
                self._arrived[1].append(calls.clients)
        if jobs:
            # stamped with the tick to come, which tells their time
            self._arrived[0].append(know.book.absorb(evidence_of(jobs, know.names), self._ticks + 1))
        spans.clear()
        jobs.clear()

    def wake_at(self) -> float | None:
        if self._drained:
            return None
        know = self._know
        times = []
        if any(self._unread.values()) or any(self._arrived) or self._restored_at is not None:
            # before the first tick it is not known what the time is; 0 has passed long ago: the engine ticks at once
            times.append(0.0)
        if len(know.waiting):
            times.append(know.waiting.next())
        if len(self._tally):
            times.append(self._next_writing or 0.0)
        if know.watch.firing:
            times.append(self._now + self.config.interval)
        if not times:
            return None
        return max(min(times), self._next_step or 0.0)

    def tick(self, now: float) -> Iterable[Batch]:
        self._begin(now)
        know = self._know
        jobs, clients = know.waiting.due(now)
        self._settle(jobs, clients, now, everything=False)
        self._alerts += know.watch.resolve(now)
        self._forget(now)
        self._next_step = now + self._step_seconds
        if self._next_writing is None:
            self._next_writing = now + self.config.interval
        written: list[Batch] = []
        if now >= self._next_writing:
            self._next_writing = now + self.config.interval
            written = self._write()
        self._counters.held(len(know.book), len(know.waiting), len(know.edges), self.nbytes)
        return [*self._raise(), *written]

    def drain(self) -> Iterable[Batch]:
        # with a storage, what is not known yet may become known after the restart
        know = self._know
        self._begin(self._now)
        jobs, clients = know.waiting.everything()
        self._settle(jobs, clients, self._now, everything=self.config.storage is None)
        self._drained = True
        return [*self._raise(), *self._write()]

    @property
    def nbytes(self) -> int:
        """Memory of everything that is kept."""
        arrived = sum(part.nbytes for parts in self._arrived for part in parts)
        unread = sum(batch.nbytes for batches in self._unread.values() for batch in batches)
        return self._know.nbytes + self._tally.nbytes + arrived + unread

    def _begin(self, now: float) -> None:
        """Give what came since the last tick its time."""
        self._read()
        know = self._know
        if self._restored_at is not None:
            know.shift(now - self._restored_at)
            self._restored_at = None
        self._now = now
        self._ticks += 1
        (keys, clients), self._arrived = self._arrived, ([], [])
        if keys:
            touched = union(*keys)
            jobs = know.book.jobs_of(touched)
            fresh = jobs[np.isnan(know.book.jobs["told"][jobs])]
            know.book.jobs["told"][fresh] = now
            know.waiting.add_jobs(touched, now + self.config.settle)
            self._tick_times.append((now, self._ticks))
        for part in clients:
            part["told"] = now
            know.waiting.add_clients(part, now + self.config.settle)

    def _settle(self, keys: Hashes, clients: Records, now: float, *, everything: bool) -> None:
        know = self._know
        book, edges = know.book, know.edges
        jobs = book.jobs_of(keys)
        jobs = jobs[jobs >= 0]
        if len(jobs):
            decision = decide(book, know.ancestry, jobs)
            told = book.jobs["told"][jobs]
            late = (now - told >= self.config.wait) | everything
            due = late | (book.jobs["edge"][jobs] >= 0) | (~decision.open & decision.ran) | ~decision.called
            counted = count_jobs(book, edges, know.fan_out, self._tally, jobs, decision, due)
            self._alerts += know.watch.look(book, edges, know.names, counted, now)
            later = ~late & (decision.open | ~decision.ran)
            know.waiting.add_jobs(book.jobs["key"][jobs[later]], self._again(told[later], now))
        late = (now - clients["told"] >= self.config.wait) | everything
        left = count_clients(book, know.ancestry, edges, know.fan_out, self._tally, clients, late)
        know.waiting.add_clients(left, self._again(left["told"], now))

    def _again(self, told: np.ndarray, now: float) -> np.ndarray:
        """Return when to look again: after as long as it waited up to now, at the end of its wait at the latest."""
        return np.minimum(now + np.maximum(now - told, self.config.settle), told + self.config.wait)

    def _raise(self) -> list[Batch]:
        alerts, self._alerts = self._alerts, []
        if not alerts:
            return []
        return [alert_batch(alerts, self._receipt("alerts"))]

    def _write(self) -> list[Batch]:
        table = self._tally.take(self._know.edges, self._know.names)
        if table is None:
            return []
        self._counters.rows(table.num_rows)
        return [Batch(Kind.JOB_DEPENDENCIES, table.combine_chunks(), self._receipt("edges"))]

    def _receipt(self, what: str) -> Receipt:
        """Return a receipt of our own: the spans that the rows come from went on long ago."""
        self._written += 1
        return Receipt.issue(f"{self.ident}:{what}:{self._began:x}:{self._written}")

    def _forget(self, now: float) -> None:
        know, limit = self._know, self.config.max_bytes
        know.fan_out.shrink(limit * _FAN_OUT_SHARE // 8)
        over = know.waiting.shrink(limit * _WAITING_SHARE // 8)
        if len(over):
            self._counters.hurried(len(over))
            everyone = np.ones(len(over), np.bool_)
            count_clients(know.book, know.ancestry, know.edges, know.fan_out, self._tally, over, everyone)
        stamp = -1
        times = self._tick_times
        while times and times[0][0] <= now - self.config.window:
            stamp = times.pop(0)[1]
        self._old = max(self._old, stamp)
        gone = int(np.count_nonzero(know.book.jobs["stamp"] <= self._old))
        if _FORGET_SHARE * gone >= len(know.book) > 0:
            know.book.forget(self._old)
        room = limit * (8 - _ANCESTRY_SHARE - _FAN_OUT_SHARE - _WAITING_SHARE) // 8
        if know.book.nbytes > room:
            stamps = know.book.jobs["stamp"]
            gone = int(len(stamps) * (1 - 0.75 * room / know.book.nbytes))
            oldest = int(np.sort(stamps)[gone])
            # what is not counted yet is counted with what is known
            uncounted = know.book.jobs["key"][(stamps <= oldest) & (know.book.jobs["edge"] < 0)]
            self._settle(uncounted, np.zeros(0, CLIENT), now, everything=True)
            self._counters.forgotten(know.book.forget(oldest))

    def state(self) -> bytes:
        self._begin(self._now)
        return saved(self._know, self._tally, self._now)

    def restore(self, state: bytes) -> None:
        """Take over what another instance knew, what it had not written yet included."""
        self._restored_at = restored(state, self._know, self._tally)
        self._tick_times = [(self._restored_at, 0)]
