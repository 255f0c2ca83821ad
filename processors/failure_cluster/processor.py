"""Says which failures belong together: job rows pass at once, changes of clusters and alerts follow."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from pipeline import Batch, ComponentId, Host, Kind, Processor, Receipt
from pipeline.durable import Durable
from processors.failure_cluster.books import SECOND
from processors.failure_cluster.config import FailureClusterConfig
from processors.failure_cluster.saving import restore, saved
from processors.failure_cluster.telling import Change, batches, parts, token
from processors.failure_cluster.watch import Counts, Watch

METRICS: Final = {
    "jobsight_failure_cluster_executions": "Executions counted.",
    "jobsight_failure_cluster_failures": "Failed executions counted.",
    "jobsight_failure_cluster_late_rows": "Rows that came after their time, by what became of them.",
    "jobsight_failure_cluster_changes": "Changes of clusters, by state.",
    "jobsight_failure_cluster_refused": "Clusters that were not opened because there were max_clusters.",
    "jobsight_failure_cluster_open": "Clusters that are not resolved.",
    "jobsight_failure_cluster_waiting_rows": "Rows whose time has not come.",
    "jobsight_failure_cluster_classes": "Classes that are counted apart.",
    "jobsight_failure_cluster_classes_limit": "Most of them.",
    "jobsight_failure_cluster_counts": "Counts of failures by class, fault and time.",
    "jobsight_failure_cluster_counts_limit": "Most of them.",
}
"""Every metric of the component with its meaning; the last six are gauges."""


class FailureCluster(Processor[FailureClusterConfig], Durable):
    """Watches job rows, and failed calls in spans; both pass unchanged."""

    kind = "failure_cluster"
    Config = FailureClusterConfig
    handles = frozenset({Kind.JOBS, Kind.SPANS})
    shared = True
    """The rows of jobs come from traces and from logs."""

    def __init__(self, config: FailureClusterConfig, ident: ComponentId) -> None:
        super().__init__(config, ident)
        self._watch = Watch(config)
        self._wall: float | None = None
        """Seconds that the wall clock is ahead of the engine's."""
        self._now: float | None = None
        """The engine's time at the last tick."""
        self._moved: tuple[int, float] | None = None
        """The newest end of an execution, and the tick that saw it first."""
        self._drained = False
        self._count: Callable[[Counts], None] = lambda _counts: None

    async def start(self, host: Host) -> None:
        clock = host.clock
        self._wall = clock.time_ns() / SECOND - clock.now()
        self._now = clock.now()
        name, metrics = str(self.ident), host.metrics
        counters = {
            metric: metrics.counter(metric, meaning, "processor", *_LABELS.get(metric, ()))
            for metric, meaning in METRICS.items()
            if metric not in _GAUGES
        }
        books, watch = self._watch.books, self._watch
        reads: tuple[Callable[[], float], ...] = (
            lambda: len(books.open),
            lambda: watch.waiting,
            lambda: len(books.units),
            lambda: self.config.max_classes,
            lambda: len(books.ledger),
            lambda: self.config.max_fingerprints,
        )
        for metric, read in zip(_GAUGES, reads, strict=True):
            metrics.gauge(metric, METRICS[metric], "processor").labels(name).set_function(read)

        def count(counts: Counts) -> None:
            prefix = "jobsight_failure_cluster_"
            counters[f"{prefix}executions"].labels(name).inc(counts.executions)
            counters[f"{prefix}failures"].labels(name).inc(counts.failures)
            counters[f"{prefix}refused"].labels(name).inc(counts.refused)
            for fate, number in (("counted", counts.late), ("ignored", counts.ignored), ("ahead", counts.ahead)):
                counters[f"{prefix}late_rows"].labels(name, fate).inc(number)
            for state, number in counts.states.items():
                counters[f"{prefix}changes"].labels(name, str(state)).inc(number)

        self._count = count

    def process(self, batch: Batch) -> Iterable[Batch]:
        if batch.kind is Kind.SPANS:
            self._watch.learn(batch)
            return [batch]
        now = None
        if self._wall is not None and self._now is not None:
            # the last tick may lie a step back
            now = round((self._wall + self._now + self.config.resolution) * SECOND)
        changes = self._watch.take(batch, now)
        self._told()
        if not changes:
            return [batch]
        own, *ours = batch.receipt.split(1 + parts(changes))
        return [Batch(batch.kind, batch.table, own, batch.sides), *batches(changes, ours)]

    def wake_at(self) -> float | None:
        if self._drained or self._watch.newest == 0:
            return None
        if self._moved is None or self._moved[0] != self._watch.newest or self._now is None:
            # 0 has passed long ago: the engine ticks at once, and so tells the time
            return 0.0 if self._now is None else self._now + self.config.resolution
        if self._watch.waiting == 0 and not self._watch.books.open:
            return None
        return self._now + self.config.resolution

    def tick(self, now: float) -> Iterable[Batch]:
        """Where no rows come, time goes on all the same, at twice the lateness behind."""
        self._now = now
        newest = self._watch.newest
        if self._moved is None or self._moved[0] != newest:
            self._moved = newest, now
            return ()
        passed = now - self._moved[1]
        return self._issued(self._watch.advance(newest + round((passed - 2 * self.config.lateness) * SECOND)))

    def drain(self) -> Iterable[Batch]:
        self._drained = True
        return self._issued(self._watch.finish())

    def _issued(self, changes: list[Change]) -> list[Batch]:
        self._told()
        if not changes:
            return []
        return batches(changes, Receipt.issue(token(changes)).split(parts(changes)))

    def _told(self) -> None:
        self._count(self._watch.counts)
        self._watch.counts = Counts()

    def state(self) -> bytes:
        return saved(self._watch)

    def restore(self, state: bytes) -> None:
        """Take over what another instance knew; rules may have changed since."""
        watch = Watch(self.config)
        restore(watch, state)
        self._watch = watch


_GAUGES: Final = tuple(METRICS)[-6:]
_LABELS: Final[dict[str, tuple[str, ...]]] = {
    "jobsight_failure_cluster_late_rows": ("fate",),
    "jobsight_failure_cluster_changes": ("state",),
}
