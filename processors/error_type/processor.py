"""Names errors: what kind of trouble, whether to try again, and which failures are the same fault."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from prometheus_client import Counter

from pipeline import Batch, Host, Kind, Processor
from pipeline.arrays import first_sight
from pipeline.columns import Group, with_attributes
from pipeline.error_text import ErrorLimits
from processors.error_type import tag
from processors.error_type.cache import BoundedCache
from processors.error_type.categories import Categories, UserRule, finding
from processors.error_type.config import ErrorTypeConfig
from processors.error_type.frames import Ownership
from processors.error_type.jobs import JobErrors, job_errors, with_verdicts
from processors.error_type.spans import Failures, failures
from processors.error_type.verdict import Error, Judge, Verdict

METRICS: Final = {
    "jobsight_error_type_failures": "Rows that failed, by what was found of their error.",
    "jobsight_error_type_rescued": "Spans with an exception recorded that did not fail.",
    "jobsight_error_type_truncated": "Rows whose error was over a cap, so that only its ends were read.",
    "jobsight_error_type_cache_hits": "Errors and stacks that were remembered.",
    "jobsight_error_type_cache_misses": "Errors and stacks that were worked out.",
    "jobsight_error_type_cache_entries": "Errors and stacks remembered now.",
    "jobsight_error_type_cache_bytes": "What the remembered errors and stacks take, about.",
}
"""Every metric of the component with its meaning; the last two are gauges."""


class ErrorType(Processor[ErrorTypeConfig]):
    """Tag failed spans and fill the error columns of job rows; every row passes, in order, and none is held."""

    kind = "error_type"
    Config = ErrorTypeConfig
    handles = frozenset({Kind.SPANS, Kind.JOBS})

    def __init__(self, config: ErrorTypeConfig, ident: object) -> None:
        super().__init__(config, ident)  # type: ignore[arg-type] # as its siblings: tests may name it as they like
        rules = [UserRule(rule.type, rule.message, finding(rule.category, rule.transient)) for rule in config.rules]
        self._limits = ErrorLimits(config.max_message_bytes, config.max_stacktrace_bytes)
        self._innermost = config.cause == "innermost"
        self._cache = BoundedCache(config.cache_entries, config.cache_bytes)
        self._judge = Judge(
            Categories(rules),
            Ownership(config.application_frames, config.library_frames),
            self._limits,
            self._cache,
            innermost=self._innermost,
        )
        self._counters: dict[str, Counter] = {}

    async def start(self, host: Host) -> None:
        name = str(self.ident)
        self._counters = {
            metric: host.metrics.counter(metric, meaning, "processor", *_LABELS.get(metric, ()))
            for metric, meaning in METRICS.items()
            if metric not in _GAUGES
        }
        for metric, read in (
            (_GAUGES[0], lambda: float(len(self._cache))),
            (_GAUGES[1], lambda: float(self._cache.nbytes)),
        ):
            host.metrics.gauge(metric, METRICS[metric], "processor").labels(name).set_function(read)

    def process(self, batch: Batch) -> Iterable[Batch]:
        yield self._tagged(batch) if batch.kind is Kind.SPANS else self._filled(batch)

    def _tagged(self, batch: Batch) -> Batch:
        found = failures(batch)
        if found is None:
            return batch
        numbers, verdicts = self._verdicts(found)
        # a group is what rows of one verdict lack alike: few, as verdicts are
        codes, members = np.unique((numbers << 7) | (found.present << 1) | found.rescued, return_inverse=True)
        groups = [
            attributes_of(verdicts[code >> 7], present=(code >> 1) & 63, rescued=bool(code & 1))
            for code in codes.tolist()
        ]
        lists = with_attributes(batch.column("attributes"), found.rows, members, groups)
        position = batch.table.schema.get_field_index("attributes")
        self._count(verdicts, numbers, found.rescued)
        return batch.with_table(batch.table.set_column(position, batch.table.schema.field(position), lists))

    def _filled(self, batch: Batch) -> Batch:
        found = job_errors(batch.table)
        if found is None:
            return batch
        numbers, verdicts = self._verdicts(found)
        self._count(verdicts, numbers, np.zeros(len(numbers), np.bool_))
        return batch.with_table(
            with_verdicts(batch.table, found, numbers, verdicts, self._limits, rename=self._innermost)
        )

    def _verdicts(self, found: Failures | JobErrors) -> tuple[npt.NDArray[np.int64], list[Verdict]]:
        """Return the verdict on each distinct error, and for each row its number there."""
        columns = (found.type, found.message, found.stack)
        numbers, firsts = first_sight(columns)
        distinct = zip(*(column.take(firsts).to_pylist() for column in columns), strict=True)
        return numbers, [self._judge.verdict(Error(*error)) for error in distinct]

    def _count(self, verdicts: list[Verdict], numbers: npt.NDArray[np.int64], rescued: npt.NDArray[np.bool_]) -> None:
        if not self._counters:
            return
        name = str(self.ident)
        counter = self._counters
        failed = np.bincount(numbers[~rescued], minlength=len(verdicts)).tolist()
        for verdict, rows in zip(verdicts, failed, strict=True):
            if rows:
                counter["jobsight_error_type_failures"].labels(name, str(verdict.category)).inc(rows)
        counter["jobsight_error_type_rescued"].labels(name).inc(int(rescued.sum()))
        truncated = np.array([verdict.truncated for verdict in verdicts], np.bool_)
        counter["jobsight_error_type_truncated"].labels(name).inc(int(truncated[numbers].sum()))
        for metric, now in (("hits", self._cache.hits), ("misses", self._cache.misses)):
            counter[f"jobsight_error_type_cache_{metric}"].labels(name).inc(now)
        self._cache.hits = self._cache.misses = 0


_GAUGES: Final = ("jobsight_error_type_cache_entries", "jobsight_error_type_cache_bytes")
_LABELS: Final[dict[str, tuple[str, ...]]] = {"jobsight_error_type_failures": ("category",)}


def attributes_of(verdict: Verdict, *, present: int, rescued: bool) -> Group:
    """Return what a span gets: nothing that it has (bits of `present`, see tag.KEYS), and nothing that nobody knows.

    `error.type` says that an operation failed, so a rescued span does not get it.
    """
    values: dict[str, Any] = {
        tag.ERROR_TYPE: "" if rescued else verdict.type,
        tag.CATEGORY: str(verdict.category),
        tag.TRANSIENT: verdict.transient,
        tag.FINGERPRINT: verdict.fingerprint,
        tag.RESCUED: rescued or None,
        tag.TRUNCATED: verdict.truncated or None,
    }
    return [
        (key, values[key])
        for bit, key in enumerate(tag.KEYS)
        if not present >> bit & 1 and values[key] is not None and values[key] != ""
    ]
