"""All that is counted and remembered, and how the executions of one step of time are entered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.records import Records
from processors.failure_cluster.calls import FailedCalls
from processors.failure_cluster.clusters import Cluster, State
from processors.failure_cluster.config import FailureClusterConfig, rules_of
from processors.failure_cluster.coverage import Coverage
from processors.failure_cluster.ledger import Ledger
from processors.failure_cluster.loops import Loops
from processors.failure_cluster.names import Names
from processors.failure_cluster.rings import Levels, Ring
from processors.failure_cluster.rows import TEXTS, Reading
from processors.failure_cluster.samples import SAMPLE, Samples, sampled
from processors.failure_cluster.seen import FAILED, Failures, Seen
from processors.failure_cluster.units import Units

SECOND: Final = 1_000_000_000

_SAMPLES_EACH: Final = 64
_SAMPLES_IN_ALL: Final = 32_000
_CALLS: Final = 50_000
_CALLS_KEPT_SECONDS: Final = 900.0
_UPKEEP_SECONDS: Final = 300.0
_TEXTS: Final = 50_000


@dataclass(slots=True)
class Step:
    """The failures of one step that counted: where they belong, and which of them are retries without end."""

    bucket: int
    failures: Records = field(default_factory=lambda: np.zeros(0, SAMPLE))
    texts: pa.Table = field(default_factory=TEXTS.empty_table)
    """Of these failures, each at its number in `places`."""
    places: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    cluster: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """Number in `Books.open`, -1 for none."""
    looping: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    executions: int = 0


class Books:
    """The state of the processor, apart from what waits for its time."""

    def __init__(self, config: FailureClusterConfig) -> None:
        self.config = config
        self.rules = rules_of(config)
        self.step_ns = round(config.resolution * SECOND)
        self.units = Units(config.overrides, config.max_classes)
        self.names = Names(config.attributes)
        self.calls = FailedCalls(_CALLS)
        self.seen = Seen(config.max_executions)
        self.counted = Failures(config.max_fingerprints)
        self.ledger = Ledger(config.max_fingerprints)
        thresholds = {self.steps(rules.threshold.window) for rules in self.rules}
        ratios = {self.steps(rules.ratio.window) for rules in self.rules}
        self.burst_window = self.steps(config.burst.window)
        self.executions = {window: Ring(window) for window in sorted(thresholds | ratios | {self.burst_window})}
        self.before_ns = self.burst_window * self.step_ns
        """Successes so long before the first failure are of the same time, too: they know what was deployed since."""
        self.uncovered = Ring(self.burst_window)
        """Failures that belong to no cluster."""
        self.failed = Ring(self.burst_window)
        self.levels = Levels(config.burst.half_life / config.resolution / self.uncovered.width)
        self.failing = Samples(_SAMPLES_EACH, _SAMPLES_IN_ALL)
        self.passing = Samples(_SAMPLES_EACH, _SAMPLES_IN_ALL)
        self.texts: dict[int, tuple[str, str, str]] = {}
        """Message, trace and job id of the failures in `failing`, by key."""
        depth = max(rules.retry_loop.retries for rules in self.rules) + 2
        self.loops = Loops(depth, config.max_jobs)
        self.clusters: list[Cluster] = []
        """The oldest first; those that are resolved stay while they may be reopened."""
        self.open: list[Cluster] = []
        self.coverage = Coverage(())
        self.waiting: list[int] = []
        """Units that a rule held for when there was no time for more."""
        self._ignored = np.array([rules.ignore for rules in self.rules], np.bool_)
        self._fine = max(thresholds | {self.burst_window})
        self.longest = max(thresholds | ratios)
        self._coarse = max(1, self.longest // 60)
        self._upkept = 0
        self._turned = 0

    def steps(self, seconds: float) -> int:
        """Return a duration in steps, rounded up."""
        return max(1, -(-round(seconds * SECOND) // self.step_ns))

    def reindex(self) -> None:
        """Look anew at which clusters are open."""
        self.open = [cluster for cluster in self.clusters if cluster.state is not State.RESOLVED]
        self.coverage = Coverage(self.open)

    def turn(self, bucket: int) -> None:
        """Begin a step."""
        for ring in (*self.executions.values(), self.uncovered, self.failed):
            ring.room(len(self.units))
        self.levels.room(len(self.uncovered.totals))
        before = self.uncovered.step
        left = self.uncovered.advance(bucket)
        for window, ring in self.executions.items():
            gone = ring.advance(bucket)
            if window == self.burst_window:
                self.levels.learn(left, gone, self.uncovered.step - before if before else 0)
        self.failed.advance(bucket)
        if self.longest > self._fine and bucket // self._coarse != self._turned // self._coarse:
            self.ledger.coarsen(bucket - self._fine, self._coarse)
        self._turned = bucket

    def enter(self, bucket: int, reading: Reading) -> Step:
        """Count the executions of a step, which stand in order of their keys, each once; return its failures."""
        rows = _latest(reading.rows)
        versions = self.seen.versions(rows["key"])
        # whether a row was counted as failed is asked where it may matter: it came before, or it failed
        asked = np.flatnonzero((versions >= 0) | (rows["texts"] >= 0) | rows["deleted"])
        places = np.full(len(rows), -1, np.int64)
        places[asked] = self.counted.find(rows["key"][asked])
        known = (versions >= 0) | (places >= 0)
        if (places >= 0).any():
            told = places >= 0
            versions[told] = np.maximum(versions[told], self.counted.at(places[told])["version"])
        failed = rows["texts"] >= 0
        newer = ~known | (rows["version"] > versions)
        self._take_back(rows, places, newer & known & (places >= 0) & (~failed | rows["deleted"]))
        self.seen.note(rows["key"][newer], rows["version"][newer], ~known[newer])
        fresh = ~known & ~rows["deleted"]
        units = rows["unit"]
        counts = np.bincount(units[fresh], minlength=len(self.units))
        for ring in self.executions.values():
            ring.add(counts)
        ignored = self._ignored[self.units.rule_numbers[units]]
        # most cannot become samples, and need not be moved
        passing = np.flatnonzero(fresh & ~failed & ~ignored & (rows["priority"] > -np.inf))
        self._sample_passing(rows.take(passing))
        failing = np.flatnonzero(newer & failed & ~ignored & (places < 0))
        step = Step(bucket, executions=int(np.count_nonzero(fresh)))
        if len(failing):
            self._enter_failures(step, bucket, rows.take(failing), reading.texts)
        return step

    def _enter_failures(self, step: Step, bucket: int, rows: Records, texts: pa.Table) -> None:
        # in order of time, of equal times by key: batches do not matter
        rows = rows.take(np.lexsort((rows["key"], rows["end"])))
        failures = sampled(rows)
        failures["bucket"] = bucket
        failures["peer"] = self.calls.peers(rows)
        cluster = self.coverage.of(failures, self.names)
        covered = cluster >= 0
        self.ledger.add(bucket, failures["unit"], failures["fingerprint"], covered)
        self.failed.add(np.bincount(failures["unit"]))
        self.uncovered.add(np.bincount(failures["unit"][~covered]))
        counted = np.zeros(len(rows), FAILED)
        for name in ("key", "version", "unit"):
            counted[name] = rows[name]
        counted["bucket"], counted["fingerprint"] = bucket, failures["fingerprint"]
        self.counted.note(counted)
        step.failures, step.texts, step.places, step.cluster = failures, texts, rows["texts"].copy(), cluster
        self._sample_failing(step)
        step.looping = self._loops(rows)

    def _loops(self, failures: Records) -> npt.NDArray[np.bool_]:
        loops = [rules.retry_loop for rules in self.rules]
        numbers = self.units.rule_numbers[failures["unit"]]
        needed = np.array([loop.retries + 2 for loop in loops], np.int64)[numbers]
        windows = np.array([round(loop.window * SECOND) for loop in loops], np.int64)[numbers]
        jobs = failures["job"].copy()
        jobs[~np.array([loop.enabled for loop in loops], np.bool_)[numbers]] = 0
        return self.loops.failed(jobs, failures["end"], needed, windows)

    def _take_back(self, rows: Records, places: npt.NDArray[np.int64], which: npt.NDArray[np.bool_]) -> None:
        if which.any():
            self.ledger.take_back(self.counted.at(places[which]))
            self.counted.forget(places[which])
            self.failing.drop(rows["key"][which])

    def _sample_passing(self, rows: Records) -> None:
        if len(rows) == 0:
            return
        welcome = np.flatnonzero(self.passing.welcome(rows["unit"], rows["priority"]))
        if len(welcome):
            chosen = rows.take(welcome)
            samples = sampled(chosen)
            samples["peer"] = self.calls.peers(chosen)
            self.passing.offer(samples)

    def _sample_failing(self, step: Step) -> None:
        failures = step.failures
        welcome = np.flatnonzero(self.failing.welcome(failures["unit"], failures["priority"]))
        if len(welcome) == 0:
            return
        chosen = step.texts.take(step.places[welcome])
        # as many as a sample has room for, not as many as fail
        texts = zip(*(column.to_pylist() for column in chosen.columns), strict=True)
        self.texts.update(zip(failures["key"][welcome].tolist(), texts, strict=True))
        self.failing.offer(failures.take(welcome))
        if len(self.texts) > 2 * _SAMPLES_IN_ALL:
            kept = set(self.failing.rows["key"].tolist())
            self.texts = {key: text for key, text in self.texts.items() if key in kept}

    # upkeep

    def upkeep(self, bucket: int, pending: list[Reading]) -> None:
        """Now and then: forget what is out of every window, and texts that nobody refers to."""
        if (bucket - self._upkept) * self.config.resolution < _UPKEEP_SECONDS:
            return
        self._upkept = bucket
        self.ledger.expire(bucket - self.longest)
        self.counted.expire(bucket - self.longest)
        self.calls.forget(bucket * self.step_ns - round(_CALLS_KEPT_SECONDS * SECOND))
        if self.units.crowded:
            self._retire(pending)
        if len(self.names.texts) > _TEXTS + 2 * len(self.ledger) or len(self.names.resources) > _TEXTS:
            self._sweep(pending)

    def _retire(self, pending: list[Reading]) -> None:
        idle = self.executions[self.longest].totals[: len(self.units)] == 0
        idle[0] = False
        for reading in pending:
            idle[reading.rows["unit"]] = False
        idle[self.waiting] = False
        for cluster in self.clusters:
            for unit in (*cluster.units, *cluster.whole, *(unit for unit, _ in cluster.pairs)):
                idle[unit] = False
        gone = np.flatnonzero(idle)
        for ring in (*self.executions.values(), self.uncovered, self.failed):
            ring.clear(gone)
        self.levels.clear(gone)
        self.ledger.retire(gone)
        self.failing.retire(gone)
        self.passing.retire(gone)
        self.units.retire(gone.tolist())

    def _sweep(self, pending: list[Reading]) -> None:
        texts = self.calls.used() | set(self.ledger.entries["fingerprint"].tolist())
        resources: set[int] = set()
        for cluster in self.clusters:
            texts.update(cluster.faults)
        for rows in (self.failing.rows, self.passing.rows):
            for name in ("queue", "worker", "peer", "fingerprint", "type", "category"):
                texts.update(np.unique(rows[name]).tolist())
            resources.update(np.unique(rows["resource"]).tolist())
        for reading in pending:
            for name in ("queue", "worker", "fingerprint", "type", "category"):
                texts.update(np.unique(reading.rows[name]).tolist())
            resources.update(np.unique(reading.rows["resource"]).tolist())
        self.names.sweep(texts, resources)


def _latest(rows: Records) -> Records:
    """Return the rows, which stand in order of their keys, with only the highest of several versions of one."""
    keys = rows["key"]
    again = keys[1:] == keys[:-1]
    if not again.any():
        return rows
    order = np.lexsort((rows["deleted"], rows["texts"] >= 0, rows["version"], keys))
    latest: Records = rows.take(order[np.concatenate([keys[order][1:] != keys[order][:-1], [True]])])
    return latest
