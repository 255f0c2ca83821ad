"""Which rules hold for which classes, by what was counted of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from processors.failure_cluster.books import Books
from processors.failure_cluster.clusters import Rule
from processors.failure_cluster.config import Rules
from processors.failure_cluster.rings import Counts
from processors.failure_cluster.tail import limit_for, tail_probability

_NEVER: Final = 2**31


@dataclass(frozen=True, slots=True)
class Firing:
    """A rule that holds for a unit, from step `since` on."""

    unit: int
    rule: Rule
    failures: int
    since: int
    limit: int
    window: int


class Judge:
    """Judges units by their rules."""

    def __init__(self, books: Books) -> None:
        self._books = books
        hours = 3600 / books.config.resolution
        self._improbable = [limit_for(rules.burst.false_alarms, hours) for rules in books.rules]
        self._least = np.array([_least(rules) for rules in books.rules], np.int64)

    def firing(self, units: npt.NDArray[np.int32], bucket: int) -> list[Firing]:
        """Return for which units a rule holds, by their failures that belong to no cluster; most failures first."""
        books = self._books
        # most have failed too seldom for any rule
        least = self._least[books.units.rule_numbers[units]]
        units = units[books.ledger.uncovered(bucket - books.longest + 1, len(books.units))[units] >= least]
        numbers = books.units.rule_numbers[units]
        found = [
            firing
            for number in np.unique(numbers).tolist()
            for firing in self._by_rules(units[numbers == number], number, bucket)
        ]
        names = books.units.names
        return sorted(found, key=lambda firing: (-firing.failures, names[firing.unit], firing.rule, firing.unit))

    def _by_rules(self, units: npt.NDArray[np.int32], number: int, bucket: int) -> Iterator[Firing]:
        """Yield what the first of the rules says that holds for each unit."""
        books, rules = self._books, self._books.rules[number]
        threshold, burst, ratio = rules.threshold, rules.burst, rules.ratio
        window = books.steps(threshold.window)
        failures, executions = self._counts(units, window, bucket)
        holds = threshold.enabled & (failures > threshold.failures) & (failures >= threshold.min_share * executions)
        for unit, count in zip(units[holds].tolist(), failures[holds].tolist(), strict=True):
            yield Firing(unit, Rule.THRESHOLD, count, bucket - window + 1, threshold.failures, window)
        units = units[~holds]
        failures = books.uncovered.totals[units]
        holds = burst.enabled & (failures >= burst.failures)
        holds[holds] = [self._bursts(unit) for unit in units[holds].tolist()]
        since = bucket - books.burst_window - books.uncovered.width + 1
        for unit, count in zip(units[holds].tolist(), failures[holds].tolist(), strict=True):
            yield Firing(unit, Rule.BURST, count, since, burst.failures - 1, books.burst_window)
        units = units[~holds]
        window = books.steps(ratio.window)
        failures, executions = self._counts(units, window, bucket)
        holds = ratio.enabled & (failures >= ratio.failures) & (failures >= ratio.share * executions)
        for unit, count in zip(units[holds].tolist(), failures[holds].tolist(), strict=True):
            yield Firing(unit, Rule.RATIO, count, bucket - window + 1, ratio.failures - 1, window)

    def _counts(self, units: npt.NDArray[np.int32], window: int, bucket: int) -> tuple[Counts, Counts]:
        """Return the failures of units that belong to no cluster, and their executions, within a window."""
        books = self._books
        failures = books.ledger.uncovered(bucket - window + 1, len(books.units))[units]
        return failures, np.maximum(failures, books.executions[window].totals[units])

    def _bursts(self, unit: int) -> bool:
        books = self._books
        failures = int(books.uncovered.totals[unit])
        executions = max(failures, int(books.executions[books.burst_window].totals[unit]))
        levels = books.levels
        probability = tail_probability(
            failures, executions, float(levels.failures[unit]), float(levels.executions[unit])
        )
        return self.improbable(probability, books.units.rules[unit])

    def improbable(self, probability: float, rules: int = 0) -> bool:
        """Return whether chance is no explanation by these rules."""
        return probability < self._improbable[rules]


def _least(rules: Rules) -> int:
    """Return the fewest failures that can fire a rule."""
    return min(
        rules.threshold.failures + 1 if rules.threshold.enabled else _NEVER,
        rules.burst.failures if rules.burst.enabled else _NEVER,
        rules.ratio.failures if rules.ratio.enabled else _NEVER,
    )
