"""Drives the window: batches in, the same batches and the rows of jobs out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product

import numpy as np

from pipeline import Batch, ComponentId, Host, Kind, Processor, Receipt
from pipeline.durable import Durable
from pipeline.error_text import ErrorLimits
from pipeline.hash_table import Rows
from processors.jobs.config import JobsConfig
from processors.jobs.conventions import in_force
from processors.jobs.derive import Derived, derive, digests
from processors.jobs.facts import Evidence, Role
from processors.jobs.recognise import Recogniser
from processors.jobs.rows import job_batch, job_rows
from processors.jobs.saving import Saving, restored
from processors.jobs.traits import Traits
from processors.jobs.window import Window

_STEPS_A_WINDOW = 16
"""How often in the length of a window it is looked through for what is over."""

_FIRST_VERSION = 1
_OPERATIONS, _CHANGES = ("enqueue", "process"), ("new", "rewritten", "withdrawn")


@dataclass(slots=True)
class _Counters:
    """What is told to the own metrics; until the start, and in tests without a host, it goes nowhere."""

    rows: Callable[[str, str, int], None] = lambda _operation, _change, _number: None
    forgotten: Callable[[str, int], None] = lambda _waiting, _number: None
    clamped: Callable[[int], None] = lambda _number: None
    held: Callable[[int, int], None] = lambda _rows, _bytes: None


class JobsProcessor(Processor[JobsConfig], Durable):
    """Spans and logs pass unchanged; what they say of jobs follows as a batch of kind jobs.

    One instance may stand in several pipelines: traces and logs then inform the same window.
    """

    kind = "jobs"
    Config = JobsConfig
    handles = frozenset({Kind.SPANS, Kind.LOGS})
    shared = True
    """The service makes one instance for all pipelines that name it."""

    def __init__(self, config: JobsConfig, ident: ComponentId) -> None:
        super().__init__(config, ident)
        table = in_force(config.conventions, config.aliases)
        limits = ErrorLimits(config.max_message_bytes, config.max_stacktrace_bytes)
        self._recogniser = Recogniser(table, limits, config.database_attribute)
        self._window = Window(Traits.of(table))
        self._version = _FIRST_VERSION
        self._told = 0
        self._next: float | None = None
        self._drained = False
        self._counters = _Counters()

    async def start(self, host: Host) -> None:
        # later versions are larger, also after a restart that lost the state
        self._version = max(self._version, host.clock.time_ns())
        name = str(self.ident)
        rows = host.metrics.counter("jobsight_jobs_rows", "Job rows written.", "processor", "operation", "change")
        forgotten = host.metrics.counter(
            "jobsight_jobs_forgotten_rows",
            "Rows that left the window before their counterpart came.",
            "processor",
            "waiting_for",
        )
        clamped = host.metrics.counter(
            "jobsight_jobs_clamped_latencies", "Queue latencies below 0, written as 0: clocks differ.", "processor"
        ).labels(name)
        held = host.metrics.gauge("jobsight_jobs_window_rows", "Rows in the window.", "processor").labels(name)
        nbytes = host.metrics.gauge("jobsight_jobs_window_bytes", "Memory of the window.", "processor").labels(name)
        host.metrics.gauge(
            "jobsight_jobs_window_limit_bytes", "Most memory that the window may take.", "processor"
        ).labels(name).set(self.config.max_bytes)

        def hold(number: int, memory: int) -> None:
            held.set(number)
            nbytes.set(memory)

        self._counters = _Counters(
            rows=lambda operation, change, number: rows.labels(name, operation, change).inc(number),
            forgotten=lambda waiting, number: forgotten.labels(name, waiting).inc(number),
            clamped=clamped.inc,
            held=hold,
        )

    def process(self, batch: Batch) -> Iterable[Batch]:
        # split in any case: with or without job rows, a replayed batch of spans keeps its token
        own, ours = batch.receipt.split(2)
        passed = batch.owing(own)
        jobs = self._learn(batch, ours)
        if jobs is None:
            ours.settle()
            return [passed]
        return [passed, jobs]

    def _learn(self, batch: Batch, receipt: Receipt) -> Batch | None:
        evidence = self._evidence(batch)
        if evidence.rows == 0 and len(evidence.spans) == 0:
            return None
        window = self._window
        rows, again = window.absorb(evidence)
        jobs = None
        if len(rows):
            derived = derive(window, rows)
            written = self._changed(derived, again)
            if len(written):
                self._version += 1
                table = job_rows(window, derived, written, self._recogniser.labels, self._version)
                jobs = job_batch(window, table, receipt)
            self._forget(window.forget_oldest(rows))
        self._forget(window.shrink(self.config.max_bytes))
        self._counters.held(len(window), window.nbytes)
        return jobs

    def _evidence(self, batch: Batch) -> Evidence:
        if batch.kind is Kind.LOGS:
            return self._recogniser.logs(batch)
        return self._recogniser.spans(batch, self._window.resources.numbers(batch))

    def _changed(self, derived: Derived, again: Rows) -> Rows:
        """Return the places of rows to write: new ones, those that changed, and those that were sent again."""
        state, role = self._window.state, self._window.facts["role"][derived.rows]
        before = state["digest"][derived.rows]
        now = digests(self._window, derived)
        row = (role != Role.HELPER) & (role != Role.LOG)
        # what was merged before it was ever written needs no taking back
        row &= ~(derived.deleted & (before == 0))
        changed = now != before
        if len(again):
            changed |= np.isin(derived.rows, again)
        written = row & changed
        places = np.flatnonzero(written)
        state["digest"][derived.rows[places]] = now[places]
        self._count(derived, places, before, role)
        return places

    def _count(self, derived: Derived, places: Rows, before: np.ndarray, role: np.ndarray) -> None:
        new = before[places] == 0
        change = np.where(new, 0, np.where(derived.deleted[places], 2, 1))
        numbers = np.bincount(3 * (role[places] != Role.ENQUEUE) + change, minlength=6).tolist()
        for (operation, name), number in zip(product(_OPERATIONS, _CHANGES), numbers, strict=True):
            if number:
                self._counters.rows(operation, name, number)
        clamped = int(np.count_nonzero(derived.clamped[places] & new))
        if clamped:
            self._counters.clamped(clamped)

    def wake_at(self) -> float | None:
        if self._drained:
            return None
        window = self._window
        if self._told != window.sequence:
            # what came since the last tick has no time yet; 0 has passed long ago: the engine ticks at once
            return 0.0 if self._next is None else self._next
        return window.next_expiry(self.config.window)

    def tick(self, now: float) -> Iterable[Batch]:
        self._told = self._window.sequence
        self._next = now + self.config.window / _STEPS_A_WINDOW
        self._forget(self._window.expire(now, self.config.window))
        return ()

    def drain(self) -> Iterable[Batch]:
        # nothing is held back: every row was written when it was known
        self._drained = True
        return ()

    def _forget(self, rows: Rows) -> None:
        """Count what was given up, and free its memory when it is worth it."""
        if len(rows) == 0:
            return
        window = self._window
        facts, state = window.facts.take(rows), window.state.take(rows)
        alone = ~state["matched"] & ~state["deleted"]
        role = facts["role"]
        enqueues = window.traits.enqueues[facts["convention"]]
        for waiting, waits in (
            ("process", role == Role.ENQUEUE),
            ("enqueue", ((role == Role.PROCESS) | (role == Role.RECEIVE)) & enqueues),
            ("span", role == Role.LOG),
        ):
            number = int(np.count_nonzero(waits & alone))
            if number:
                self._counters.forgotten(waiting, number)
        window.forget()
        self._counters.held(len(window), window.nbytes)

    def state(self) -> bytes:
        return bytes(self.snapshot()())

    def snapshot(self) -> Callable[[], memoryview]:
        return Saving.of(self._window, self._recogniser, self._version).serialised

    def restore(self, state: bytes) -> None:
        """Take over what another instance knew; rows of conventions that are gone since are left out."""
        self._window, version = restored(state, self._recogniser, self._window.traits)
        self._version = max(self._version, version)
