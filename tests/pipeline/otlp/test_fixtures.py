"""Requests of real job systems, as protobuf and as the same in JSON (tests/fixtures/otlp)."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from pipeline.kinds import Signal
from pipeline.otlp import Columns, decode, decode_json, encode, encode_json
from pipeline.otlp.descriptors import REQUESTS, parse
from tests.pipeline.otlp.messages import canonical, exact, received, shown_rows
from tests.pipeline.otlp.oracle import read_json

FOLDER = Path(__file__).parents[2] / "fixtures" / "otlp"
BODIES = sorted(FOLDER.glob("*/*/*.pb"))
PAIRS = [path for path in BODIES if path.with_suffix(".json").exists()]
"""Requests that are there in both forms; of most only the smaller one is kept here."""

SCENARIOS = sorted(path.parent for path in FOLDER.glob("*/*/expected.json"))


def signal_of(path: Path) -> Signal:
    return Signal(path.stem.rpartition("-")[2])


def decoded(scenario: Path, signal: Signal) -> Columns:
    return decode(signal, [path.read_bytes() for path in sorted(scenario.glob(f"*-{signal}.pb"))])


def named(path: Path) -> str:
    return str(path.relative_to(FOLDER))


def test_the_fixtures_are_there() -> None:
    """Scenario: the folder as checked out. Guarantees: the tests below have all three signals to work on."""
    assert {signal_of(path) for path in PAIRS} == set(Signal)


@pytest.mark.parametrize("path", BODIES, ids=named)
def test_protobuf_comes_back(path: Path) -> None:
    """Scenario: every captured request. Guarantees: decoded and encoded again, it is the message that it was."""
    signal, body = signal_of(path), path.read_bytes()

    again = encode(received(decode(signal, [body])))

    assert exact(parse(REQUESTS[signal], again)) == canonical(signal, parse(REQUESTS[signal], body))


@pytest.mark.parametrize("path", PAIRS, ids=named)
def test_protobuf_and_json_decode_equal(path: Path) -> None:
    """Scenario: one request in both forms. Guarantees: equal columns, and JSON comes back as it was."""
    signal, body = signal_of(path), path.read_bytes()
    text = path.with_suffix(".json").read_bytes()

    batch = received(decode(signal, [body]))

    assert shown_rows(received(decode_json(signal, [text]))) == shown_rows(batch)
    assert exact(read_json(signal, encode_json(batch))) == canonical(signal, read_json(signal, text))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=named)
def test_counts_are_as_expected(scenario: Path) -> None:
    """Scenario: all requests of a scenario in one call. Guarantees: the spans, records and metrics sent."""
    expected = orjson.loads((scenario / "expected.json").read_bytes())

    assert decoded(scenario, Signal.TRACES).table.num_rows == expected["span_count"]
    assert decoded(scenario, Signal.LOGS).table.num_rows == expected.get("log_record_count", 0)
    metrics = decoded(scenario, Signal.METRICS).sides["metric"].select(["name", "unit", "type"]).to_pylist()
    found = {(metric["name"], metric["unit"], metric["type"]) for metric in metrics}
    assert found == {(metric["name"], metric["unit"], metric["type"]) for metric in expected.get("metrics", [])}
