"""Which attributes may be the cause of failures, and which fits them best."""

from __future__ import annotations

from typing import Final

import numpy as np

from pipeline.records import Records
from processors.failure_cluster.books import Books
from processors.failure_cluster.causes import Attribute, Cause, compared, has, rank, telling

_RISKY: Final = 0.5
_TIMES_AS_RISKY: Final = 2.5
"""Where at least half of the executions with an attribute fail, and so many times fewer of the others, it may be the
cause even of classes that always have it: a queue, a host."""


class Suspects:
    """Asks the samples of one step; `renew` at the next one."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._known: dict[Attribute, tuple[float, float]] = {}

    def renew(self) -> None:
        """Forget what was asked: there are other samples."""
        self._known = {}

    def compared(self, samples: Records, counts: dict[int, int]) -> list[Cause]:
        """Return what failures have in common; `counts` are those of each unit, of which `samples` are some."""
        books = self._books
        first = int(samples["end"].min()) if len(samples) else 0
        return compared(samples, books.passing.of(counts), counts, first - books.before_ns, books.names)

    def among(self, causes: list[Cause]) -> set[Attribute]:
        """Return the attributes that may be the cause."""
        share = self._books.config.shared_cause.share
        suspects = {cause.attribute for cause in telling(causes, share)}
        for cause in causes:
            if cause.failures >= share and cause.attribute not in suspects and self._risky(cause.attribute):
                suspects.add(cause.attribute)
        return suspects

    def _risky(self, attribute: Attribute) -> bool:
        """Whether executions with an attribute fail, of whatever class, and others do not."""
        risk, other = self._risks(attribute)
        return risk >= _RISKY and risk >= _TIMES_AS_RISKY * other

    def _risks(self, attribute: Attribute) -> tuple[float, float]:
        """Return the share of failures among executions of the last minutes with an attribute, and without it."""
        if attribute not in self._known:
            self._known[attribute] = self._computed_risks(attribute)
        return self._known[attribute]

    def _computed_risks(self, attribute: Attribute) -> tuple[float, float]:
        books = self._books
        failed = books.failed.totals.astype(np.float64)
        passed = np.maximum(books.executions[books.burst_window].totals - failed, 0)
        with_it, without = np.zeros(2), np.zeros(2)
        for place, (rows, totals) in enumerate(((books.failing.rows, failed), (books.passing.rows, passed))):
            if len(rows) == 0:
                continue
            weights = totals[rows["unit"]] / np.bincount(rows["unit"])[rows["unit"]]
            mine = has(rows, attribute, books.names)
            with_it[place], without[place] = weights[mine].sum(), weights[~mine].sum()
        if with_it.sum() == 0 or without.sum() == 0:
            return 0.0, 1.0
        return float(with_it[0] / with_it.sum()), float(without[0] / without.sum())

    def best(self, attributes: dict[Attribute, float]) -> Attribute:
        """Return the attribute, given with its share in the failures, that fits them best.

        That is by the harmonic mean of the share of failures that have it and the share of executions with it that
        fail (F1): a host says less than the version that only this host runs, if other jobs run well there.
        """

        def fit(attribute: Attribute) -> tuple[float, int, Attribute]:
            share, risk = attributes[attribute], self._risks(attribute)[0]
            return -round(2 * share * risk / (share + risk), 2) if share + risk else 0.0, rank(attribute[0]), attribute

        return min(attributes, key=fit)
