from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from exporters.debug import DebugConfig, DebugExporter
from pipeline import ComponentId
from pipeline.testing import FakeClock, FakeHost, logs_batch, points_batch, spans_batch


async def shown(host: FakeHost, events: list[Any], batch: Any, **keys: Any) -> list[Any]:
    exporter = DebugExporter(DebugConfig.model_validate(keys), ComponentId("debug"))
    await exporter.start(host)
    await exporter.export(batch)
    await exporter.stop()
    return events


async def test_basic_is_one_line_with_counts(host: FakeHost, log_events: list[Any]) -> None:
    """Scenario: verbosity basic. Guarantees: one event with the numbers of rows, resources and scopes."""
    (event,) = await shown(host, log_events, spans_batch(12))

    assert {"event": "Batch.", "kind": "spans", "resource": 1, "scope": 1, "rows": 12}.items() <= event.items()


@pytest.mark.parametrize(
    ("batch", "lines"),
    [
        (spans_batch(2), ["    job 0 ", "    job 1 "]),
        (logs_batch(2), ["    line 0", "    line 1"]),
        (points_batch(2), ["    queue.size"]),
    ],
)
async def test_normal_is_a_line_a_record(host: FakeHost, log_events: list[Any], batch: Any, lines: list[str]) -> None:
    """Scenario: verbosity normal, each signal.

    Guarantees: a line for the resource, one for each span, record or metric.
    """
    (event,) = await shown(host, log_events, batch, verbosity="normal")

    text = event["event"].splitlines()
    assert "Resource service.name=Str(shop-0)" in text
    assert [line[: len(start)] for line, start in zip(text[-len(lines) :], lines, strict=True)] == lines


async def test_detailed_shows_every_field(host: FakeHost, log_events: list[Any]) -> None:
    """Scenario: verbosity detailed, a span with an event.

    Guarantees: typed attribute values, event and status are in the text.
    """
    (event,) = await shown(host, log_events, spans_batch(10), verbosity="detailed")

    for part in ("-> queue: Str(mail)", "-> row: Int(9)", "-> exception.type: Str(ValueError)", "code: 2", "kind: 5"):
        assert part in event["event"]


async def test_sampling_per_second(host: FakeHost, clock: FakeClock, log_events: list[Any]) -> None:
    """Scenario: ten batches in one second with initial 2, thereafter 3, then a new second.

    Guarantees: 2, then every third; then from the start.
    """
    exporter = DebugExporter(DebugConfig(sampling_initial=2, sampling_thereafter=3), ComponentId("debug"))
    await exporter.start(host)
    for rows in range(1, 11):
        await exporter.export(spans_batch(rows))
    await clock.advance(1)
    await exporter.export(spans_batch(50))

    assert [event["rows"] for event in log_events] == [1, 2, 5, 8, 50]


async def test_plain_text_into_files(tmp_path: Path, host: FakeHost) -> None:
    """Scenario: the internal logger off, a file as output.

    Guarantees: the lines are in the file, after those of an earlier run.
    """
    path = tmp_path / "debug.txt"
    for _ in range(2):
        await shown(host, [], logs_batch(1), use_internal_logger=False, output_paths=[str(path)])

    assert path.read_text(encoding="utf-8") == "kind=logs resource=1 scope=1 rows=1\n" * 2
