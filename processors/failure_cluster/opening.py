"""Which rules fire, and what becomes of it: a new cluster, or more of one that is there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.hashing import Hashes
from pipeline.records import Records
from processors.failure_cluster.books import Books, Step
from processors.failure_cluster.causes import DEPENDENCY, Attribute, has, rank, shares
from processors.failure_cluster.clusters import Cluster, Rule, State, cluster_id
from processors.failure_cluster.firing import Firing, Judge
from processors.failure_cluster.ledger import OTHER_FAULTS
from processors.failure_cluster.suspects import Suspects
from processors.failure_cluster.tail import tail_probability

_STANDS_OUT: Final = 0.5
"""A fault that at least so many of a class's failures have is what the cluster is about; else it is the class."""

_CANDIDATES: Final = 20

_MOST_PLACED: Final = 20
"""Classes that a rule holds for and that are put into clusters in one step; the others, with fewer failures, wait."""

_SHARED_SECONDS: Final = 15.0
"""How often it is asked what failures of many classes have in common."""


@dataclass(slots=True)
class Group:
    """Failures of one unit that belong together."""

    firing: Firing
    faults: Hashes | None
    """None: all of the unit's."""
    counts: dict[int, int]
    samples: Records
    suspects: set[Attribute]


class Opening:
    """Judges the failures of a step that belong to no cluster."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._judge = Judge(books)
        self._suspects = Suspects(books)
        self.turn = 0
        self.refused = 0
        """Clusters that were not opened, for there were too many."""

    def judge(self, step: Step) -> list[Cluster]:
        """Open, reopen and extend clusters; return those that were opened or reopened."""
        books = self._books
        rest = step.cluster < 0
        if not rest.any() and not books.waiting:
            return []
        self._suspects.renew()
        begun: list[Cluster] = []
        # first, for a job that fails again and again fires the others in time
        loops = rest & step.looping
        if loops.any():
            self._judge_loops(step, loops, begun)
            rest &= books.coverage.of(step.failures, books.names) < 0
        units = np.union1d(step.failures["unit"][rest], np.array(books.waiting, np.int32))
        firings = self._judge.firing(units, step.bucket)
        for firing in firings[:_MOST_PLACED]:
            group = self._group(firing)
            if group is not None:
                self._place(group, step.bucket, begun)
        books.waiting = [firing.unit for firing in firings[_MOST_PLACED:]]
        self._judge_shared(step, begun)
        if begun:
            books.reindex()
        return begun

    def _group(self, firing: Firing) -> Group | None:
        books = self._books
        faults, counts, _, _ = books.ledger.faults_of(firing.unit, firing.since)
        if len(faults) == 0:
            return None  # another cluster of this step took them
        chosen: Hashes | None = None
        if faults[0] != OTHER_FAULTS and counts[0] >= _STANDS_OUT * counts.sum():
            # where the fault alone would not have fired the rule, those that helped are in it, too
            chosen = faults[:1] if counts[0] > firing.limit else faults
        return self._gathered(firing, chosen, dict(zip(faults.tolist(), counts.tolist(), strict=True)))

    def _gathered(self, firing: Firing, faults: Hashes | None, counts: dict[int, int]) -> Group:
        if faults is not None:
            counts = {fault: counts[fault] for fault in faults.tolist()}
        samples = self._samples(firing.unit, faults, firing.since)
        causes = self._suspects.compared(samples, {firing.unit: sum(counts.values())})
        return Group(firing, faults, counts, samples, self._suspects.among(causes))

    def _samples(self, unit: int, faults: Hashes | None, since: int) -> Records:
        """Return the sampled failures of a unit that belong to no cluster."""
        books = self._books
        rows = books.failing.of([unit])
        mine = rows["bucket"] >= since
        if faults is not None:
            mine &= np.isin(rows["fingerprint"], faults)
        samples = rows.compress(mine)
        alone: Records = samples.compress(books.coverage.of(samples, books.names) < 0)
        return alone

    # what it belongs to

    def _place(self, group: Group, bucket: int, begun: list[Cluster]) -> None:
        """Put a group to the cluster that has its fault or its cause, or into a new one."""
        books = self._books
        faults = [fault for fault in group.counts if fault not in (0, int(OTHER_FAULTS))]
        oldest = bucket - books.steps(books.config.reopen_within)
        for cluster in books.clusters:
            if cluster.state is State.RESOLVED and cluster.quiet_from < oldest:
                continue
            same = group.faults is not None and any(fault in cluster.faults for fault in faults)
            mixed = group.faults is None and group.firing.unit in cluster.whole
            common = cluster.suspects & group.suspects
            if same or mixed or common:
                if same and group.firing.unit not in cluster.units:
                    cluster.everywhere.update(fault for fault in faults if fault in cluster.faults)
                elif common and group.firing.unit not in cluster.units:
                    if not common & set(cluster.shared):
                        cluster.shared.append(self._suspects.best(dict.fromkeys(common, 1.0)))
                    cluster.suspects = common
                if cluster.state is State.RESOLVED:
                    self._reopen(cluster, group.samples, bucket)
                    begun.append(cluster)
                self._take(cluster, group, bucket)
                books.reindex()
                return
        new = self._new(group, bucket)
        if new is not None:
            begun.append(new)
            self._take(new, group, bucket)
            self._gather(new, bucket)
            books.reindex()

    def _reopen(self, cluster: Cluster, samples: Records, bucket: int) -> None:
        first = int(samples["end"].min()) if len(samples) else bucket * self._books.step_ns
        cluster.reopen(bucket, first)

    def _new(self, group: Group, bucket: int) -> Cluster | None:
        books = self._books
        if len(books.open) >= books.config.max_clusters:
            self.refused += 1
            return None
        firing = group.firing
        fault = "" if group.faults is None else books.names.text(int(group.faults[0]))
        at = (bucket + 1) * books.step_ns
        cluster = Cluster(
            cluster_id(firing.rule, f"{books.units.names[firing.unit]} {books.units.rules[firing.unit]}", fault, at),
            firing.rule,
            at,
            firing.limit,
            firing.window,
            suspects=group.suspects,
        )
        books.clusters.append(cluster)
        return cluster

    def _take(self, cluster: Cluster, group: Group, bucket: int) -> None:
        """Enter a group's failures."""
        books, unit = self._books, group.firing.unit
        number = books.ledger.cover(unit, group.faults, group.firing.since)
        books.uncovered.clear(unit)
        if group.faults is None:
            cluster.whole.add(unit)
        else:
            cluster.pairs.update((unit, fault) for fault in group.faults.tolist())
        for fault, count in group.counts.items():
            cluster.faults[fault] = cluster.faults.get(fault, 0) + count
        ends = group.samples["end"] if len(group.samples) else np.array([bucket * books.step_ns])
        self._enter(cluster, unit, number, group.samples)
        cluster.count(bucket, number, int(ends.min()), int(ends.max()))

    def _enter(self, cluster: Cluster, unit: int, number: int, samples: Records) -> None:
        books = self._books
        name = books.units.names[unit]
        cluster.units[unit] = cluster.units.get(unit, 0) + number
        cluster.classes[name] = cluster.classes.get(name, 0) + number
        queues, counts = np.unique(samples["queue"], return_counts=True)
        for queue, count in zip(queues.tolist(), counts.tolist(), strict=True):
            if queue:
                text = books.names.text(queue)
                cluster.queues[text] = cluster.queues.get(text, 0) + round(number * count / len(samples))

    def _gather(self, cluster: Cluster, bucket: int) -> None:
        """If calls to one dependency fail, take the failures of other units that made such calls, too."""
        dependencies = sorted(attribute for attribute in cluster.suspects if attribute[0] == DEPENDENCY)
        if dependencies:
            cluster.shared.append(dependencies[0])
            self._pull(cluster, dependencies[0], bucket)

    def _pull(self, cluster: Cluster, attribute: Attribute, bucket: int) -> None:
        """Take the failures of the last minutes that have an attribute and belong to no cluster."""
        books = self._books
        books.reindex()
        rows = books.failing.rows
        rows = rows[rows["bucket"] > bucket - books.burst_window]
        mine = has(rows, attribute, books.names)
        for unit, faults in self._pairs(rows, mine):
            since = bucket - books.burst_window + 1
            known, counts, _, _ = books.ledger.faults_of(unit, since)
            totals = dict(zip(known.tolist(), counts.tolist(), strict=True))
            chosen = {fault: totals[fault] for fault in faults if fault in totals}
            if not chosen:
                continue
            firing = Firing(unit, cluster.rule, sum(chosen.values()), since, cluster.limit, cluster.window)
            keys = np.array(sorted(chosen), np.uint64)
            samples = rows[mine & (rows["unit"] == unit) & np.isin(rows["fingerprint"], keys)]
            self._take(cluster, Group(firing, keys, chosen, samples, set()), bucket)

    def _pairs(self, rows: Records, mine: npt.NDArray[np.bool_]) -> Iterator[tuple[int, list[int]]]:
        """Yield units with those of their faults of which nearly all samples are `mine`."""
        names = self._books.units.names
        for unit in sorted(np.unique(rows["unit"][mine]).tolist(), key=lambda unit: (names[unit], unit)):
            of = rows["unit"] == unit
            faults, inverse = np.unique(rows["fingerprint"][of], return_inverse=True)
            share = np.bincount(inverse, weights=mine[of]) / np.bincount(inverse)
            chosen = faults[share >= self._books.config.shared_cause.share]
            if len(chosen):
                yield unit, chosen.tolist()

    # jobs that are retried without end

    def _judge_loops(self, step: Step, loops: npt.NDArray[np.bool_], begun: list[Cluster]) -> None:
        books = self._books
        failures = step.failures
        still = loops & (books.coverage.of(failures, books.names) < 0)
        ids = step.texts.column("job_id")
        units = sorted(np.unique(failures["unit"][still]).tolist(), key=lambda unit: (books.units.names[unit], unit))
        for unit in units:
            mine = np.flatnonzero(still & (failures["unit"] == unit))
            rule = books.rules[books.units.rules[unit]].retry_loop
            window = books.steps(rule.window)
            since = step.bucket - window + 1
            known, counts, _, _ = books.ledger.faults_of(unit, since)
            totals = dict(zip(known.tolist(), counts.tolist(), strict=True))
            faults = np.unique(failures["fingerprint"][mine])
            chosen = {fault: totals[fault] for fault in faults.tolist() if fault in totals}
            if not chosen:
                continue
            firing = Firing(unit, Rule.RETRY_LOOP, len(mine), since, rule.retries, window)
            group = self._gathered(firing, np.array(sorted(chosen), np.uint64), chosen)
            self._place(group, step.bucket, begun)
            cluster = next((c for c in begun if unit in c.units), None)
            if cluster is not None and cluster.rule is Rule.RETRY_LOOP:
                for job in ids.take(step.places[mine]).to_pylist():
                    if job and job not in cluster.jobs and len(cluster.jobs) < books.config.samples:
                        cluster.jobs.append(job)

    # many classes with a few failures each

    def _judge_shared(self, step: Step, begun: list[Cluster]) -> None:
        books = self._books
        rule = books.config.shared_cause
        totals = books.uncovered.totals
        turn = step.bucket // books.steps(_SHARED_SECONDS)
        if not rule.enabled or turn == self.turn or totals.sum() <= rule.failures:
            return
        self.turn = turn
        if np.count_nonzero(totals) < rule.classes:
            return
        rows = books.failing.rows
        rows = rows.compress(rows["bucket"] > step.bucket - books.burst_window)
        rows = rows.compress(books.coverage.of(rows, books.names) < 0)
        if len(rows) == 0:
            return
        weights = totals[rows["unit"]] / np.bincount(rows["unit"])[rows["unit"]]
        every = weights.sum()
        found = shares(rows, weights, books.names)
        candidates = sorted(
            (attribute for attribute, share in found.items() if share * every > rule.failures),
            key=lambda attribute: (-round(found[attribute], 6), rank(attribute[0]), attribute),
        )
        for fault in self._common_faults(rows, weights):
            if self._shared(step, rows, rows["fingerprint"] == fault, weights):
                self._open_shared(step, None, fault, begun)
                return
        common: dict[Attribute, float] = {}
        for attribute in candidates[:_CANDIDATES]:
            mine = has(rows, attribute, books.names)
            if self._shared(step, rows, mine, weights) and self._tells(rows.compress(mine), attribute, totals):
                common[attribute] = found[attribute]
        if common:
            self._open_shared(step, self._suspects.best(common), 0, begun)

    def _common_faults(self, rows: Records, weights: npt.NDArray[np.float64]) -> list[int]:
        faults, inverse = np.unique(rows["fingerprint"], return_inverse=True)
        totals = np.bincount(inverse, weights=weights)
        least = self._books.config.shared_cause.failures
        chosen = [
            (-total, fault)
            for fault, total in zip(faults.tolist(), totals.tolist(), strict=True)
            if total > least and fault not in (0, int(OTHER_FAULTS))
        ]
        return [fault for _, fault in sorted(chosen)][:_CANDIDATES]

    def _shared(self, step: Step, rows: Records, mine: npt.NDArray[np.bool_], weights: npt.NDArray[np.float64]) -> bool:
        """Whether these failures are of enough classes, and far more than these classes usually have."""
        books, rule = self._books, self._books.config.shared_cause
        failures = int(weights[mine].sum())
        if failures <= rule.failures:
            return False
        of_units = np.bincount(rows["unit"][mine], weights=weights[mine])
        # a class with a single failure bears no witness
        if np.count_nonzero(of_units >= 2) < rule.classes:
            return False
        units = np.flatnonzero(of_units)
        # These classes were chosen because they failed. Of a Poisson number that is known not to be 0, all but one are
        # at most as many as were expected, so the first failure of each does not count as evidence.
        failures -= len(units)
        executions = max(float(books.executions[books.burst_window].totals[units].sum()), failures)
        probability = tail_probability(
            failures,
            executions,
            float(books.levels.failures[units].sum()),
            float(books.levels.executions[units].sum()),
        )
        return self._judge.improbable(probability)

    def _tells(self, rows: Records, attribute: Attribute, totals: npt.NDArray[np.int64]) -> bool:
        """Whether the failures of these classes have the attribute, and their successes have not."""
        counts = {unit: int(totals[unit]) for unit in np.unique(rows["unit"]).tolist()}
        books = self._books
        all_rows = books.failing.rows
        known = np.isin(all_rows["unit"], list(counts))
        all_rows = all_rows.compress(known & (all_rows["end"] >= rows["end"].min()))
        all_rows = all_rows.compress(books.coverage.of(all_rows, books.names) < 0)
        causes = [cause for cause in self._suspects.compared(all_rows, counts) if cause.attribute == attribute]
        return attribute in self._suspects.among(causes)

    def _open_shared(self, step: Step, attribute: Attribute | None, fault: int, begun: list[Cluster]) -> None:
        books = self._books
        if len(books.open) >= books.config.max_clusters:
            self.refused += 1
            return
        at = (step.bucket + 1) * books.step_ns
        subject = f"{attribute[0]}={attribute[1]}" if attribute else ""
        cluster = Cluster(
            cluster_id(Rule.SHARED_CAUSE, subject, books.names.text(fault), at),
            Rule.SHARED_CAUSE,
            at,
            books.config.shared_cause.failures,
            books.burst_window,
        )
        rows = books.failing.rows
        rows = rows[(rows["bucket"] > step.bucket - books.burst_window) & (books.coverage.of(rows, books.names) < 0)]
        if attribute:
            cluster.suspects = {attribute}
            cluster.shared = [attribute]
            books.clusters.append(cluster)
            self._pull(cluster, attribute, step.bucket)
        else:
            cluster.everywhere = {fault}
            books.clusters.append(cluster)
            since = step.bucket - books.burst_window + 1
            for unit in sorted(np.unique(rows["unit"][rows["fingerprint"] == fault]).tolist()):
                known, counts, _, _ = books.ledger.faults_of(unit, since)
                chosen = {f: n for f, n in zip(known.tolist(), counts.tolist(), strict=True) if f == fault}
                if chosen:
                    firing = Firing(unit, cluster.rule, 0, since, cluster.limit, cluster.window)
                    samples = rows[(rows["unit"] == unit) & (rows["fingerprint"] == fault)]
                    keys = np.array([fault], np.uint64)
                    self._take(cluster, Group(firing, keys, chosen, samples, set()), step.bucket)
        if cluster.failures == 0:
            books.clusters.remove(cluster)
            return
        begun.append(cluster)
        books.reindex()
