"""Counting and logging of refused requests."""

from __future__ import annotations

import structlog

from pipeline.errors import Malformed, Overloaded, ShuttingDown
from pipeline.kinds import Signal
from pipeline.metrics import Metrics
from pipeline.testing import FakeClock
from receivers.otlp.refusals import Refusals
from receivers.otlp.telemetry import Meter


async def test_each_sort_is_logged_once_in_ten_seconds(
    clock: FakeClock, log_events: list[structlog.typing.EventDict]
) -> None:
    """Scenario: hundreds of refusals. Guarantees: one line each sort and ten seconds, with the number left out."""
    refusals = Refusals(structlog.get_logger(), clock)
    meter = Meter(Metrics(), "otlp", "http", Signal.LOGS)
    for _ in range(100):
        refusals.answer(Malformed("bad"), meter)
        refusals.answer(Overloaded("full"), meter)
    await clock.advance(10)
    refusals.answer(Malformed("bad again"), meter)

    assert [(event["event"], event["error"], event["not_logged_since"]) for event in log_events] == [
        ("Refused a request.", "bad", 0),
        ("Overloaded; told a sender to try again.", "full", 0),
        ("Refused a request.", "bad again", 99),
    ]


def test_outcomes(clock: FakeClock, log_events: list[structlog.typing.EventDict]) -> None:
    """Scenario: a refusal, a fault, a stop. Guarantees: faults count apart, and a stop is not logged."""
    metrics = Metrics()
    refusals = Refusals(structlog.get_logger(), clock)
    meter = Meter(metrics, "otlp", "http", Signal.LOGS)
    for error in (ShuttingDown("bye"), KeyError("bug"), Malformed("bad")):
        refusals.answer(error, meter)

    text = metrics.exposition().decode()
    assert 'otelcol_receiver_requests{outcome="refused",receiver="otlp",transport="http"} 2.0' in text
    assert 'otelcol_receiver_requests{outcome="failure",receiver="otlp",transport="http"} 1.0' in text
    assert [event["log_level"] for event in log_events] == ["warning", "warning"]
    assert isinstance(log_events[0]["exc_info"], KeyError)
