"""The component's own metrics: the Collector's, and a few of ours. Counted from sums, never a call a trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from prometheus_client import Histogram

from pipeline import Host
from processors.tail_sampling.policies import Counts, Decision

PREFIX: Final = "otelcol_processor_tail_sampling_"

COUNTERS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    f"{PREFIX}sampling_policy_execution_time_sum": ("Time spent in a policy, microseconds.", ("policy",)),
    f"{PREFIX}sampling_policy_execution_count": ("Traces that a policy was asked about.", ("policy",)),
    f"{PREFIX}sampling_policy_evaluation_error": ("Answers of policies that were errors.", ()),
    f"{PREFIX}count_traces_sampled": (
        "Traces that a policy was asked about, by its answer.",
        ("policy", "sampled", "decision"),
    ),
    f"{PREFIX}count_spans_sampled": ("The spans of these traces.", ("policy", "sampled", "decision")),
    f"{PREFIX}global_count_traces_sampled": ("Traces, by what became of them.", ("sampled", "decision")),
    f"{PREFIX}new_trace_id_received": ("Traces that came.", ()),
    f"{PREFIX}sampling_trace_dropped_too_early": ("Traces evicted without a decision: none, see decided_early.", ()),
    f"{PREFIX}early_releases_from_cache_decision": (
        "Late spans whose trace was decided, by the decision.",
        ("sampled",),
    ),
    f"{PREFIX}traces_dropped_too_large": ("Traces over maximum_trace_size_bytes.", ()),
    "jobsight_tail_sampling_decided_early": (
        "Traces decided before their time: kept for sure, num_traces, max_bytes or shutdown.",
        ("processor", "reason"),
    ),
    "jobsight_tail_sampling_kept_for_another": (
        "Traces kept because one of the same job, or one that is linked, was.",
        ("processor",),
    ),
    "jobsight_tail_sampling_split_traces": ("Traces that were decided job by job.", ("processor",)),
}
GAUGES: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    f"{PREFIX}sampling_traces_on_memory": ("Traces that are not decided.", ()),
    "jobsight_tail_sampling_waiting_spans": ("Spans that wait for a decision.", ("processor",)),
    "jobsight_tail_sampling_waiting_bytes": ("Memory of what waits.", ("processor",)),
    "jobsight_tail_sampling_limit_bytes": ("max_bytes.", ("processor",)),
}
_SECONDS: Final = (1, 2, 5, 10, 20, 30, 40, 50, 60, 90, 120, 180, 300, 480, 600, 900, 1200, 1800, 3600, 7200)
_MILLISECONDS: Final = (
    *(1, 2, 5, 10, 25, 50, 75, 100, 150, 200, 300, 400, 500, 750),
    *(1000, 2000, 3000, 4000, 5000, 10_000, 20_000, 30_000, 50_000),
)
HISTOGRAMS: Final[dict[str, tuple[str, tuple[int, ...]]]] = {
    f"{PREFIX}sampling_decision_timer_latency": ("How long deciding took, milliseconds.", _MILLISECONDS),
    f"{PREFIX}sampling_trace_removal_age": ("Age of traces when they were decided, seconds.", _SECONDS),
    f"{PREFIX}sampling_late_span_age": ("From the decision to a late span, seconds.", _SECONDS),
}

_SAMPLED: Final = {
    Decision.SAMPLED: ("true", "sampled"),
    Decision.NOT_SAMPLED: ("false", "not_sampled"),
    Decision.DROPPED: ("false", "dropped"),
}


class SamplingMetrics:
    """Tells the registry; built at the start."""

    def __init__(self, host: Host, processor: str, policies: Sequence[str]) -> None:
        self._processor = processor
        self._policies = policies
        self._counters = {name: host.metrics.counter(name, text, *labels) for name, (text, labels) in COUNTERS.items()}
        self._gauges = {name: host.metrics.gauge(name, text, *labels) for name, (text, labels) in GAUGES.items()}
        self._histograms = {
            name: host.metrics.histogram(name, text, bounds) for name, (text, bounds) in HISTOGRAMS.items()
        }
        self._on_memory = 0
        # so that a graph begins at 0 and not at the first event
        for sampled, decision in _SAMPLED.values():
            self._collector("global_count_traces_sampled").labels(sampled, decision).inc(0)

    def _collector(self, name: str) -> Any:
        return self._counters[PREFIX + name]

    def arrived(self, new_traces: int) -> None:
        self._collector("new_trace_id_received").inc(new_traces)

    def late(self, sampled: int, dropped: int, ages: npt.NDArray[np.float64]) -> None:
        """Tell of spans that came after the decision, and how long after; NaN where that is not known."""
        for value, spans in (("true", sampled), ("false", dropped)):
            if spans:
                self._collector("early_releases_from_cache_decision").labels(value).inc(spans)
        observe(self._histograms[f"{PREFIX}sampling_late_span_age"], ages[np.isfinite(ages)])

    def too_large(self, traces: int) -> None:
        self._collector("traces_dropped_too_large").inc(traces)

    def early(self, reason: str, traces: int) -> None:
        if traces:
            self._counters["jobsight_tail_sampling_decided_early"].labels(self._processor, reason).inc(traces)

    def kept_for_another(self, traces: int) -> None:
        self._counters["jobsight_tail_sampling_kept_for_another"].labels(self._processor).inc(traces)

    def split(self, traces: int) -> None:
        self._counters["jobsight_tail_sampling_split_traces"].labels(self._processor).inc(traces)

    def decided(
        self, decisions: npt.NDArray[np.int8], ages: npt.NDArray[np.float64], counts: Sequence[Counts], seconds: float
    ) -> None:
        """Tell what became of traces, and take what each policy did since the last call."""
        of_each = np.bincount(decisions, minlength=4)
        for decision, (sampled, word) in _SAMPLED.items():
            if of_each[decision]:
                self._collector("global_count_traces_sampled").labels(sampled, word).inc(int(of_each[decision]))
        observe(self._histograms[f"{PREFIX}sampling_trace_removal_age"], ages)
        self._histograms[f"{PREFIX}sampling_decision_timer_latency"].observe(1000 * seconds)
        for name, count in zip(self._policies, counts, strict=True):
            self._policy(name, count)

    def _policy(self, name: str, count: Counts) -> None:
        for decision, (sampled, word) in _SAMPLED.items():
            for metric, numbers in (("count_traces_sampled", count.traces), ("count_spans_sampled", count.spans)):
                if numbers[decision]:
                    self._collector(metric).labels(name, sampled, word).inc(int(numbers[decision]))
        self._collector("sampling_policy_evaluation_error").inc(int(count.traces[Decision.ERROR]))
        self._collector("sampling_policy_execution_time_sum").labels(name).inc(round(count.seconds * 1e6))
        self._collector("sampling_policy_execution_count").labels(name).inc(count.calls)
        count.traces[:] = count.spans[:] = 0
        count.seconds, count.calls = 0.0, 0

    def holding(self, traces: int, spans: int, nbytes: int, limit: int) -> None:
        # several processors share the Collector's gauge, which has no label for them
        self._gauges[f"{PREFIX}sampling_traces_on_memory"].inc(traces - self._on_memory)
        self._on_memory = traces
        for name, value in (("waiting_spans", spans), ("waiting_bytes", nbytes), ("limit_bytes", limit)):
            self._gauges[f"jobsight_tail_sampling_{name}"].labels(self._processor).set(value)


def observe(histogram: Histogram, values: npt.NDArray[np.float64]) -> None:
    """Observe many values at once; prometheus_client has a call for one only."""
    if len(values) == 0:
        return
    places = np.searchsorted(histogram._upper_bounds, values)  # noqa: SLF001 - see the docstring
    for place, number in enumerate(np.bincount(places).tolist()):
        histogram._buckets[place].inc(number)  # noqa: SLF001 - as above
    histogram._sum.inc(float(values.sum()))  # noqa: SLF001 - as above
