"""`jobsight sample`: what is printed, and what is said where it cannot be."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.cli import main
from pipeline.kinds import Signal
from pipeline.otlp import decode, encode_json
from pipeline.receipt import Receipt
from tests.processors.tail_sampling.scenes import S, request_of

CONFIG = """\
receivers: {otlp: {protocols: {grpc: }}}
exporters: {debug: }
processors:
  jobs:
  tail_sampling:
    decision_wait: 10s
    policies:
      - {name: errors, type: status_code, status_code: {status_codes: [ERROR]}}
      - {name: failed, type: job, job: {outcome: [failed]}}
      - {name: budget, type: rate_limiting, rate_limiting: {spans_per_second: 1, burst_capacity: 1}}
      - {name: health, type: drop, drop: {drop_sub_policy: [
          {name: path, type: string_attribute, string_attribute: {key: path, values: [/health]}}]}}
service:
  pipelines:
    traces: {receivers: [otlp], processors: [jobs, tail_sampling], exporters: [debug]}
"""

CELERY = {"celery.action": "run", "celery.state": "FAILURE", "celery.task_name": "Mail", "messaging.message.id": "7"}

REQUESTS = [
    [S(1, start=0, end=10), S(2, start=0, end=10, status="ERROR")],
    [S(1, start=20, end=40), S(3, start=0, end=50, attrs={"path": "/health"}, status="ERROR")],
    [S(4, start=60, end=70, attrs=CELERY, kind=5)],
    [S(5, start=1000, end=1100)],
    [S(6, start=1000, end=1100)],
    [S(1, start=30_000, end=30_100, status="ERROR")],
]
"""Times are milliseconds; the last span is late."""


def line_of(spans: list[S]) -> str:
    batch = decode(Signal.TRACES, [request_of(spans).SerializeToString()]).batch(Receipt.issue("x"))
    return encode_json(batch).decode()


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    config, spans = tmp_path / "c.yaml", tmp_path / "spans.jsonl"
    config.write_text(CONFIG, encoding="utf-8")
    spans.write_text("\n".join(map(line_of, REQUESTS)) + "\n\n", encoding="utf-8")
    return str(config), str(spans)


def decisions(text: str) -> dict[int, tuple[str, str | None, int]]:
    rows: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    assert all(set(row) == {"trace_id", "decision", "policy", "spans"} for row in rows)
    return {int(row["trace_id"][:16], 16): (row["decision"], row["policy"], row["spans"]) for row in rows}


def test_a_line_a_trace(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: six traces: plain, with an error, dropped, with a failed job, and two for a budget of one span.

    Guarantees: decision, first policy and spans of each, late ones included, in the order of first spans.
    """
    assert main(["sample", "--config", files[0], "--input", files[1], "--format", "json"]) == 0

    found = decisions(capsys.readouterr().out)
    assert list(found) == [1, 2, 3, 4, 5, 6]
    assert found == {
        1: ("not_sampled", None, 3),
        2: ("sampled", "errors", 1),
        3: ("dropped", None, 1),
        4: ("sampled", "failed", 1),
        5: ("sampled", "budget", 1),
        6: ("not_sampled", None, 1),
    }


def test_a_table(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: the same as a table. Guarantees: a row a policy, with traces, spans and shares, and the sum."""
    assert main(["sample", "--config", files[0], "--input", files[1]]) == 0

    rows = {line[:18].strip(): line[18:].split() for line in capsys.readouterr().out.splitlines()}
    assert rows["sampled by errors"] == ["1", "16.7", "%", "1", "12.5", "%"]
    assert rows["sampled by health"] == ["0", "0.0", "%", "0", "0.0", "%"]
    assert rows["not sampled"] == ["2", "33.3", "%", "4", "50.0", "%"]
    assert rows["dropped"] == ["1", "16.7", "%", "1", "12.5", "%"]
    assert rows["all"] == ["6", "100.0", "%", "8", "100.0", "%"]


def test_standard_input(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scenario: spans from standard input. Guarantees: as from a file."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(Path(files[1]).read_bytes())))
    assert main(["sample", "--config", files[0], "--input", "-", "--format", "json"]) == 0
    assert len(decisions(capsys.readouterr().out)) == 6


@pytest.mark.parametrize("format_", ["table", "json"])
@pytest.mark.parametrize("text", ["", "\n\n", '{"resourceLogs": []}\n', '{"resourceSpans": []}\n'])
def test_no_spans(files: tuple[str, str], capsys: pytest.CaptureFixture[str], text: str, format_: str) -> None:
    """Scenario: an input without spans. Guarantees: one line says so, no table of zeros."""
    Path(files[1]).write_text(text, encoding="utf-8")

    assert main(["sample", "--config", files[0], "--input", files[1], "--format", format_]) == 0

    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"jobsight sample: {files[1]} has no spans\n")


def test_time_is_that_of_the_spans(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: the two traces for the budget ten seconds apart, in two requests and in one.

    Guarantees: it pays for both.
    """
    spans = Path(files[1])
    for requests in ([[S(5, end=100)], [S(6, end=10_100)]], [[S(5, end=100), S(6, end=10_100)]]):
        spans.write_text("\n".join(map(line_of, requests)), encoding="utf-8")

        assert main(["sample", "--config", files[0], "--input", files[1], "--format", "json"]) == 0

        assert {word for word, _, _ in decisions(capsys.readouterr().out).values()} == {"sampled"}


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["--input", "/no/such/file"], 1, "cannot read /no/such/file: No such file or directory"),
        (
            ["--processor", "tail_sampling/eu"],
            2,
            'no processor "tail_sampling/eu" of type tail_sampling (it has: tail_',
        ),
        (["--set", "processors.tail_sampling.policies=[]"], 2, "processors.tail_sampling.policies: must not be empty"),
        (
            ["--set", "processors.tail_sampling/eu={policies: [{name: a, type: always_sample}]}"],
            2,
            "several (tail_sampling, tail_sampling/eu): choose one with --processor",
        ),
    ],
)
def test_what_cannot_be_done(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, expected: str
) -> None:
    """Scenario: a file, a processor or a configuration that is not right. Guarantees: one line, and the exit code."""
    assert main(["sample", "--config", files[0], "--input", files[1], *arguments]) == code

    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line


def test_a_bad_line_has_its_number(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: the third line is no OTLP. Guarantees: exit code 1, file and line, what is wrong; nothing printed."""
    path = Path(files[1])
    lines = path.read_text("utf-8").splitlines()
    path.write_text("\n".join([lines[0], "", '{"resourceSpans": 3}', lines[1]]), encoding="utf-8")

    assert main(["sample", "--config", files[0], "--input", files[1]]) == 1

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"jobsight sample: {path}:3: resourceSpans")


def test_one_of_several(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: two samplers, the one that no pipeline uses is chosen. Guarantees: its policies decide."""
    other = "processors.tail_sampling/eu={policies: [{name: every, type: always_sample}]}"
    arguments = ["--set", other, "--processor", "tail_sampling/eu", "--format", "json"]

    assert main(["sample", "--config", files[0], "--input", files[1], *arguments]) == 0

    assert {policy for _, policy, _ in decisions(capsys.readouterr().out).values()} == {"every"}
