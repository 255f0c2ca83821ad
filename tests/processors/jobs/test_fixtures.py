"""Requests of real job systems against the rows that are expected of them (tests/fixtures/otlp)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from pipeline import Batch, ComponentId, Kind, Receipt, Signal, otlp
from processors.jobs import JobsConfig, JobsProcessor

FOLDER = Path(__file__).parents[2] / "fixtures" / "otlp"
SCENARIOS = sorted(path.parent for path in FOLDER.glob("*/*/expected.json"))

NAMES = {
    "service": "service_name",
    "started_at_ns": "timestamp",
    "enqueued_at_ns": "enqueued_at",
    "scheduled_for_ns": "scheduled_for",
}
"""Keys of expected.json to columns, where they differ only by name."""

DERIVED = frozenset({"ended_at_ns", "duration_ms", "queue_latency_ms", "has_stacktrace", "retry_count"})
"""Keys of expected.json that are worked out from other columns."""

Row = dict[str, Any]


def named(path: Path) -> str:
    return str(path.relative_to(FOLDER))


def requests(scenario: Path) -> list[tuple[Signal, bytes]]:
    paths = sorted(scenario.glob("*.pb"))
    signals = [Signal(path.stem.rpartition("-")[2]) for path in paths]
    return [
        (signal, path.read_bytes()) for signal, path in zip(signals, paths, strict=True) if signal is not Signal.METRICS
    ]


def batches(scenario: Path) -> list[Batch]:
    return [
        otlp.decode(signal, [body]).batch(Receipt.issue(str(number)))
        for number, (signal, body) in enumerate(requests(scenario))
    ]


def rows_of(incoming: Sequence[Batch]) -> dict[tuple[str, str], Row]:
    """Return the rows that are the truth in the end: of each the highest version, without the deleted ones."""
    processor = JobsProcessor(JobsConfig(), ComponentId("jobs"))
    out: list[Batch] = []
    for batch in incoming:
        out += processor.process(batch)
    out += processor.drain()
    return latest(row for batch in out if batch.kind is Kind.JOBS for row in batch.table.to_pylist())


def latest(rows: Iterable[Row]) -> dict[tuple[str, str], Row]:
    newest: dict[tuple[str, str], Row] = {}
    for row in rows:
        key = row["trace_id"], row["span_id"]
        if key not in newest or row["version"] > newest[key]["version"]:
            newest[key] = row
    return {key: row for key, row in newest.items() if not row["is_deleted"]}


def as_expected(row: Row, keys: Iterable[str]) -> Row:
    """Return the row under the keys of expected.json."""
    derived = {
        "ended_at_ns": str(row["timestamp"] + row["duration"]),
        "duration_ms": row["duration"] / 1e6,
        "queue_latency_ms": None if row["queue_latency"] is None else row["queue_latency"] / 1e6,
        "has_stacktrace": row["exception_stacktrace"] is not None,
        "retry_count": None if row["attempt"] is None else row["attempt"] - 1,
    }
    found = {key: derived[key] if key in DERIVED else row[NAMES.get(key, key)] for key in keys}
    return {
        key: str(value) if key.endswith("_ns") and isinstance(value, int) else value for key, value in found.items()
    }


def rounded(row: Row) -> Row:
    return {key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()}


def check(scenario: Path, rows: dict[tuple[str, str], Row]) -> None:
    expected = orjson.loads((scenario / "expected.json").read_bytes())["jobs"]
    assert set(rows) == {(row["trace_id"], row["span_id"]) for row in expected}
    for row in expected:
        assert rounded(as_expected(rows[row["trace_id"], row["span_id"]], row)) == rounded(row)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=named)
def test_rows_are_as_expected(scenario: Path) -> None:
    """Scenario: the requests of a scenario in the order of their arrival. Guarantees: exactly its rows, every field."""
    check(scenario, rows_of(batches(scenario)))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scenario", SCENARIOS, ids=named)
def test_order_and_splits_do_not_matter(scenario: Path, seed: int) -> None:
    """Scenario: the same requests shuffled and cut into pieces of a few rows. Guarantees: in the end the same rows."""
    random = Random(seed)
    pieces = [piece for batch in batches(scenario) for piece in batch.split_rows(random.randint(1, 4))]
    random.shuffle(pieces)

    check(scenario, rows_of(pieces))
