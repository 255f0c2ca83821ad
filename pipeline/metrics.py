"""Own metrics: the instruments and their exposition for Prometheus under the Collector's names.

Counters keep the names that the Collector's own endpoint shows (`otelcol_receiver_accepted_spans`, no `_total`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.metrics import MetricWrapperBase

I = TypeVar("I", bound=MetricWrapperBase)  # noqa: E741 - the letter of "instrument"

_COUNTER_SUFFIX = re.compile(rb"^((?:# (?:HELP|TYPE) )?(?:otelcol|jobsight)_\w+?)_total(?=[ {])", re.MULTILINE)


class Metrics:
    """One registry of one service. Asking for an instrument again returns the same one."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._instruments: dict[str, MetricWrapperBase] = {}

    def counter(self, name: str, meaning: str, *labels: str) -> Counter:
        """A count that only grows; `labels` must be bounded: never ids, messages, attribute values."""
        return self._instrument(name, lambda: Counter(name, meaning, labels, registry=self.registry), Counter)

    def gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return self._instrument(name, lambda: Gauge(name, meaning, labels, registry=self.registry), Gauge)

    def histogram(self, name: str, meaning: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return self._instrument(
            name, lambda: Histogram(name, meaning, labels, registry=self.registry, buckets=buckets), Histogram
        )

    def exposition(self) -> bytes:
        """Return everything in Prometheus' text format 0.0.4."""
        return _COUNTER_SUFFIX.sub(rb"\1", generate_latest(self.registry))

    def _instrument(self, name: str, make: object, type_: type[I]) -> I:
        instrument = self._instruments.get(name)
        if instrument is None:
            instrument = self._instruments[name] = make()  # type: ignore[operator]
        assert isinstance(instrument, type_)
        return instrument
