from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import Batch, ComponentId, Exporter, Kind, Partial, Rejected, Unavailable
from pipeline.exporting import ExporterConfig, Sender
from pipeline.supervise import cancel
from pipeline.testing import FakeClock, FakeHost, Ledger, logs_batch, spans_batch


def config(**keys: Any) -> ExporterConfig:
    """Return a config as it comes from YAML."""
    return ExporterConfig.model_validate(keys)


Outcome = Exception | Callable[[Batch], Exception] | None


class Scripted(Exporter[ExporterConfig]):
    """Delivers into `delivered`, after doing what the script says for each attempt."""

    kind = "scripted"
    Config = ExporterConfig

    def __init__(self, config: ExporterConfig, script: Iterable[Outcome] = ()) -> None:
        super().__init__(config, ComponentId("scripted"))
        self.script = iter(script)
        self.delivered: list[Batch] = []
        self.attempts = 0

    async def export(self, batch: Batch) -> None:
        self.attempts += 1
        outcome = next(self.script, None)
        if isinstance(outcome, Exception):
            raise outcome
        if outcome is not None:
            raise outcome(batch)
        self.delivered.append(batch)


@asynccontextmanager
async def sending(exporter: Scripted, host: FakeHost) -> AsyncIterator[Sender]:
    sender = Sender(exporter, clock=host.clock, metrics=host.metrics, log=host.log, random=Random(1))
    tasks = [asyncio.create_task(sender.consume()) for _ in range(sender.consumers)]
    yield sender
    await cancel(tasks)


def metric(host: FakeHost, line: str) -> float:
    return next(
        float(text.rsplit(" ", 1)[1])
        for text in host.metrics.exposition().decode().splitlines()
        if text.startswith(line)
    )


async def test_transient_failures_are_tried_again(host: FakeHost, clock: FakeClock) -> None:
    """Scenario: two failures, then success.

    Guarantees: waits of the configured length grow, then delivery; sent counted, receipt complete.
    """
    ledger = Ledger()
    retry = {"initial_interval": "1s", "randomization_factor": 0.0, "multiplier": 2.0}
    exporter = Scripted(config(retry_on_failure=retry), [Unavailable("away"), Unavailable("away")])
    async with sending(exporter, host) as sender:
        await sender.put(spans_batch(5, receipt=ledger.receipt("a")))
        await clock.advance(0.99)
        assert exporter.attempts == 1
        await clock.advance(0.01)
        assert exporter.attempts == 2
        await clock.advance(1.99)
        assert exporter.attempts == 2
        await clock.advance(0.01)

    assert [batch.rows for batch in exporter.delivered] == [5]
    assert ledger.complete == ["a"]
    assert metric(host, 'otelcol_exporter_sent_spans{exporter="scripted"}') == 5


async def test_the_other_side_may_ask_for_a_longer_wait(host: FakeHost, clock: FakeClock) -> None:
    """Scenario: the backend says when to come back. Guarantees: not earlier."""
    retry = {"initial_interval": "1s", "randomization_factor": 0.0}
    exporter = Scripted(config(retry_on_failure=retry), [Unavailable("busy", retry_after=7.0)])
    async with sending(exporter, host) as sender:
        await sender.put(spans_batch(1))
        await clock.advance(6.9)
        assert exporter.attempts == 1
        await clock.advance(0.1)

    assert exporter.attempts == 2


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        (config(), Rejected("code 53: type mismatch")),
        (config(retry_on_failure={"enabled": False}), Unavailable("away")),
        (
            config(retry_on_failure={"initial_interval": "2s", "max_interval": "2s", "max_elapsed_time": "2s"}),
            Unavailable("away", retry_after=3),
        ),
    ],
)
async def test_what_cannot_be_delivered_is_dropped_and_said(
    settings: ExporterConfig, error: Exception, host: FakeHost, clock: FakeClock, log_events: list[Any]
) -> None:
    """Scenario: refused for good, retries off, or out of time.

    Guarantees: dropped, counted, logged with a number, receipt complete.
    """
    ledger = Ledger()
    exporter = Scripted(settings, [error])
    async with sending(exporter, host) as sender:
        await sender.put(spans_batch(4, receipt=ledger.receipt("a")))
        await clock.advance(1)

    assert ledger.complete == ["a"]
    assert metric(host, 'otelcol_exporter_send_failed_spans{exporter="scripted"}') == 4
    assert [event["dropped_rows"] for event in log_events if event["log_level"] == "error"] == [4]


async def test_only_the_rest_of_a_partial_delivery_is_repeated(host: FakeHost, clock: FakeClock) -> None:
    """Scenario: two of five rows fail. Guarantees: the next attempt has these two; five sent in the end."""
    exporter = Scripted(
        config(), [lambda batch: Partial(batch.with_table(batch.table.slice(3)), Unavailable("table busy"))]
    )
    async with sending(exporter, host) as sender:
        await sender.put(spans_batch(5))
        await clock.advance(10)

    assert [batch.rows for batch in exporter.delivered] == [2]
    assert metric(host, 'otelcol_exporter_sent_spans{exporter="scripted"}') == 5


async def test_an_unknown_error_keeps_the_data(host: FakeHost, clock: FakeClock, log_events: list[Any]) -> None:
    """Scenario: a bug in an exporter. Guarantees: never success; a traceback in the log, and another attempt."""
    exporter = Scripted(config(), [KeyError("bug")])
    async with sending(exporter, host) as sender:
        await sender.put(spans_batch(1))
        await clock.advance(10)

    assert len(exporter.delivered) == 1
    assert any("exc_info" in event for event in log_events)


async def test_stopping_ends_the_waits_and_owes_what_is_left(host: FakeHost, clock: FakeClock) -> None:
    """Scenario: the backend stays away at shutdown.

    Guarantees: one more attempt each, nothing settled, the loss is said.
    """
    ledger = Ledger()
    one_consumer = config(sending_queue={"num_consumers": 1})
    exporter = Scripted(one_consumer, [Unavailable("away")] * 100)
    async with sending(exporter, host) as sender:
        for name in "ab":
            await sender.put(spans_batch(2, receipt=ledger.receipt(name)))
        await clock.advance(1)
        sender.finish()
        await clock.advance(0)

    assert exporter.attempts == 3
    assert ledger.complete == []
    assert sender.owed_rows == 4


async def test_the_queue_merges_what_waits(host: FakeHost, clock: FakeClock) -> None:
    """Scenario: sending_queue.batch with sizes and many consumers; spans and logs alternate.

    Guarantees: merged up to min_size or the time-out, split at max_size, kinds apart, nothing left behind.
    """
    batching = {"min_size": 6, "max_size": 7, "flush_timeout": "1s"}
    exporter = Scripted(config(sending_queue={"num_consumers": 10, "batch": batching}))
    async with sending(exporter, host) as sender:
        for _ in range(2):
            await sender.put(spans_batch(4))
        await clock.advance(0)
        assert [batch.rows for batch in exporter.delivered] == [7, 1]
        for _ in range(3):
            await sender.put(spans_batch(1))
            await sender.put(logs_batch(2))
        await clock.advance(2)

    assert [(batch.kind, batch.rows) for batch in exporter.delivered[2:]] == [(Kind.SPANS, 3), (Kind.LOGS, 6)]


async def test_draining_into_a_full_queue_does_not_sleep_out_its_waits(host: FakeHost, clock: FakeClock) -> None:
    """Scenario: the service begins to drain while the sender waits for half a minute; the backend is back.

    Guarantees: the attempt comes at once, and later ones after a second at most.
    """
    retry = {"initial_interval": "30s", "randomization_factor": 0.0}
    settings = config(retry_on_failure=retry, sending_queue={"queue_size": 1, "num_consumers": 1})
    exporter = Scripted(settings, [Unavailable("away"), Unavailable("away")])
    async with sending(exporter, host) as sender:
        await sender.put(spans_batch(1))
        await clock.advance(1)
        sender.hurry()
        await clock.advance(0)
        assert exporter.attempts == 2
        await clock.advance(1)

    assert len(exporter.delivered) == 1


@settings(max_examples=25)
@given(
    script=st.lists(st.sampled_from(["ok", "transient", "permanent", "partial", "bug"]), max_size=30),
    seed=st.integers(0, 9),
)
def test_each_row_ends_once(script: list[str], seed: int) -> None:
    """Scenario: an exporter that fails in any order of ways.

    Guarantees: sent plus dropped rows are all rows; every receipt completes once.
    """
    outcomes: dict[str, Outcome] = {
        "ok": None,
        "transient": Unavailable("x"),
        "permanent": Rejected("x"),
        "partial": lambda batch: (
            Partial(batch.with_table(batch.table.slice(1)), Unavailable("x")) if batch.rows > 1 else Unavailable("x")
        ),
        "bug": ZeroDivisionError("x"),
    }

    async def run() -> None:
        clock = FakeClock()
        host = FakeHost(clock=clock)
        ledger = Ledger()
        exporter = Scripted(config(), [outcomes[step] for step in script])
        async with sending(exporter, host) as sender:
            for number in range(5):
                await sender.put(spans_batch(3, seed=seed, receipt=ledger.receipt(str(number))))
            await clock.advance(3600)
        total = 0.0
        for name in ("sent", "send_failed"):
            counter = host.metrics.counter(f"otelcol_exporter_{name}_spans", "", "exporter")
            total += counter.labels("scripted")._value.get()
        assert total == 15
        assert sorted(ledger.complete) == list("01234")

    asyncio.run(run())
