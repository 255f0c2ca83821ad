"""The example requests behind `warm_up`."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.kinds import MetricType, Signal
from pipeline.otlp import warm_up
from pipeline.otlp.descriptors import ANY, REQUESTS, fields
from pipeline.otlp.warm import example_requests


def paths(value: Any, path: str = "") -> set[str]:
    if isinstance(value, list):
        return set().union(*(paths(item, path) for item in value)) if value else set()
    if isinstance(value, dict):
        return {path}.union(*(paths(item, f"{path}.{key}") for key, item in value.items()))
    return {path}


@pytest.mark.parametrize("signal", Signal)
def test_examples_have_every_field(signal: Signal) -> None:
    """Scenario: the example of a signal. Guarantees: every field of the records, so that each kernel is touched."""
    (example,) = example_requests(signal)
    found = paths(example)
    (groups,) = fields(REQUESTS[signal])
    assert groups.message is not None
    wanted = [(groups.message, f".{groups.json_name}")]
    while wanted:
        message, path = wanted.pop()
        assert path in found
        if message is not ANY:
            wanted.extend((field.message, f"{path}.{field.json_name}") for field in fields(message) if field.message)


def test_examples_have_every_type_of_metric() -> None:
    """Scenario: the metrics example. Guarantees: points of all five types."""
    (example,) = example_requests(Signal.METRICS)
    metrics = example["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]
    assert sum(
        len(set(metric) & {"gauge", "sum", "histogram", "exponentialHistogram", "summary"}) for metric in metrics
    ) == len(MetricType)


def test_warming_up_twice() -> None:
    """Scenario: a program that warms up again. Guarantees: nothing but time is spent; no receipt, no file, no error."""
    warm_up()
    warm_up()
