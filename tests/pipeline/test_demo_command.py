"""`jobsight demo` as a user runs it: against real OTLP servers, over gRPC and HTTP, in real time."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
from pathlib import Path

import pytest

from pipeline.demo import command
from pipeline.demo.delivery import address_of
from tests.pipeline.demo_sinks import SINKS, grpc_sink, http_sink


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return parser.parse_args(words)


def demo(*words: str) -> int:
    return command.run(arguments("--seed", "20261", *words))


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_all_three_signals_arrive(protocol: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: a short run over either protocol. Guarantees: the collector has what the truth says, exit code 0."""
    file = tmp_path / "truth.json"
    with SINKS[protocol]() as sink:
        words = ("--protocol", protocol, "--endpoint", sink.endpoint, "--duration", "0.5", "--rate", "600")
        assert demo(*words, "--truth", str(file)) == 0

    truth = json.loads(file.read_text(encoding="utf-8"))
    assert sink.spans == truth["spans"] == truth["delivered"]["spans"]["sent"] > 200
    assert sink.log_records == truth["logs"] == truth["delivered"]["logs"]["sent"] > 0
    assert sink.metric_names >= {"jobs.executed", "jobs.in_flight", "jobs.queue.size", "process.memory.usage"}
    assert not truth["interrupted"]
    assert truth["outage"] == [0.35, 0.65]
    shown = capsys.readouterr()
    assert "What the collector took" in shown.out
    assert f"{truth['spans']:,}" in shown.out
    assert shown.err == ""


def test_same_seed_same_ids_on_the_wire() -> None:
    """Scenario: two runs with one seed, one with another. Guarantees: the same span ids twice, then others."""
    seen = []
    for seed in ("5", "5", "6"):
        with http_sink() as sink:
            words = ("--protocol", "http", "--endpoint", sink.endpoint, "--duration", "0.5", "--seed", seed, "--quiet")
            assert demo(*words) == 0
        seen.append(
            {
                span.span_id
                for request in sink.traces
                for resource in request.resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            }
        )
    assert seen[0] == seen[1]
    assert not seen[0] & seen[2]


def test_without_a_seed_no_two_runs_are_alike(tmp_path: Path) -> None:
    """Scenario: two runs without --seed. Guarantees: different seeds, which the truth names, so different ids."""
    files = [tmp_path / "one.json", tmp_path / "two.json"]
    for file in files:
        with grpc_sink() as sink:
            words = ("--endpoint", sink.endpoint, "--duration", "0.5", "--quiet", "--truth", str(file))
            assert command.run(arguments(*words)) == 0

    one, two = (json.loads(file.read_text(encoding="utf-8"))["seed"] for file in files)
    assert one != two


def test_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: --quiet and nothing wrong. Guarantees: not a word."""
    with grpc_sink() as sink:
        assert demo("--endpoint", sink.endpoint, "--duration", "0.5", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_ctrl_c_ends_an_endless_run_cleanly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: Ctrl-C once spans arrive. Guarantees: all played is delivered; summary, truth, exit code 0."""
    file = tmp_path / "truth.json"
    before = signal.getsignal(signal.SIGINT)
    with grpc_sink() as sink:
        pressed: list[bool] = []

        def press() -> None:
            if not pressed:
                pressed.append(True)
                os.kill(os.getpid(), signal.SIGINT)

        sink.arrived = press
        words = ("--endpoint", sink.endpoint, "--duration", "forever", "--rate", "500", "--truth", str(file))
        assert demo(*words) == 0

    truth = json.loads(file.read_text(encoding="utf-8"))
    assert truth["interrupted"]
    assert truth["seconds"] is None
    assert sink.spans == truth["spans"] > 0
    assert "What the shop's workers did" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_refused_spans_are_admitted(protocol: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: the collector refuses spans for good. Guarantees: counted, said with its reason, exit code 1."""
    with SINKS[protocol]() as sink:
        sink.refuse = lambda: True
        assert demo("--protocol", protocol, "--endpoint", sink.endpoint, "--duration", "0.5", "--outage", "none") == 1

    shown = capsys.readouterr().out
    assert sink.spans == 0
    assert "did not reach the collector" in shown
    assert "not welcome" in shown or "INVALID_ARGUMENT" in shown or "Bad Request" in shown


@pytest.mark.parametrize("words", [(), ("--protocol", "http")])
def test_no_collector(words: tuple[str, ...], unused_tcp_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: nothing listens. Guarantees: one line with address, reason and what to do; exit code 1."""
    endpoint = f"127.0.0.1:{unused_tcp_port}"

    assert demo(*words, "--endpoint", endpoint) == 1

    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == (
        f"jobsight demo: no collector at http://{endpoint} (Connection refused): "
        "is `make run` running? Another collector: --endpoint, --protocol\n"
    )


def test_a_web_server_without_otlp(capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: a web server that knows no OTLP. Guarantees: noticed before the play, in one line, exit code 1."""
    with http_sink() as sink:
        assert demo("--protocol", "http", "--endpoint", f"{sink.endpoint}/wrong") == 1

    shown = capsys.readouterr()
    assert shown.out == ""
    assert "does not take OTLP over http" in shown.err
    assert shown.err.count("\n") == 1


def test_truth_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: --truth in a directory that is not there. Guarantees: said before the play, exit code 1."""
    with grpc_sink() as sink:
        assert demo("--endpoint", sink.endpoint, "--truth", str(tmp_path / "no" / "truth.json")) == 1
    assert sink.spans == 0
    assert "cannot write the truth" in capsys.readouterr().err


def test_sdk_missing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: installed without the extra. Guarantees: the line says what to install."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)

    assert demo() == 1

    assert "pip install 'jobsight[demo]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--rate", "0"), "'0' is no rate"),
        (("--rate", "nan"), "'nan' is no rate"),
        (("--duration", "soon"), "'soon' is no duration"),
        (("--duration", "-5s"), "is no duration"),
        (("--duration", "10d"), "is no duration"),
        (("--outage", "0.7-0.2"), "'0.7-0.2' is no outage"),
        (("--outage", "1"), "'1' is no outage"),
        (("--protocol", "udp"), "udp"),
    ],
)
def test_bad_options(words: tuple[str, str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: an impossible value. Guarantees: argparse's exit code 2 and a line that names the value."""
    with pytest.raises(SystemExit) as stopped:
        arguments(f"{words[0]}={words[1]}")
    assert stopped.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "seconds"), [("60s", 60), ("5m", 300), ("1h", 3600), ("500ms", 0.5), ("90", 90), ("0", 0), ("forever", 0)]
)
def test_durations(text: str, seconds: float) -> None:
    """Scenario: the ways to write a duration. Guarantees: read as meant; 0 is without end."""
    assert arguments("--duration", text).duration == seconds


@pytest.mark.parametrize("endpoint", ["ftp://host:1", "http://", "http://host:port", "http://[::1", "http://a..b"])
def test_bad_endpoints(endpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: an address that cannot be one. Guarantees: exit code 2 and one line."""
    assert demo("--endpoint", endpoint) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_addresses() -> None:
    """Scenario: endpoints with and without port. Guarantees: OTLP's ports where none is given."""
    assert address_of("http://host", "grpc") == ("host", 4317)
    assert address_of("http://host", "http") == ("host", 4318)
    assert address_of("https://host", "http") == ("host", 443)
    assert address_of("http://[::1]:9", "grpc") == ("::1", 9)
