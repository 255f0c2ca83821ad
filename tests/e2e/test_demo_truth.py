"""What `jobsight demo` knows that it sent, against what the tables say of it, through the real program."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pipeline.testing.program import Ports, Program, eventually, jobsight
from tests.e2e.clients import Protocol

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

_SEEDS: dict[Protocol, int] = {"grpc": 7, "http": 8}
_OUTCOMES = ("succeeded", "failed", "retried", "discarded")
_QUANTILES = (("p50_ns", 0.5), ("p95_ns", 0.95), ("p99_ns", 0.99))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    program = Program(tmp_path_factory.mktemp("data") / "clickhouse", Ports()).started()
    yield program
    assert program.stop() == 0


def played(program: Program, protocol: Protocol, file: Path) -> dict[str, Any]:
    """Run the demo to its end and return its truth."""
    port = program.ports.grpc if protocol == "grpc" else program.ports.http
    done = jobsight(
        "demo", "--rate", "250", "--duration", "8s", "--seed", str(_SEEDS[protocol]), "--protocol", protocol,
        "--endpoint", f"http://127.0.0.1:{port}", "--truth", str(file), "--quiet",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    truth: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return truth


def rows(program: Program, sql: str) -> list[list[Any]]:
    """Return the answer's rows; numbers of 64 bits come as texts."""
    answer = program.query(f"{sql} FORMAT JSONCompact")
    assert answer.startswith("{"), answer
    data: list[list[Any]] = json.loads(answer)["data"]
    return data


def times(program: Program, column: str, where: str) -> dict[str, dict[str, int]]:
    """Return count, sum, extremes and quantiles of a column, per job class that has values."""
    quantiles = ", ".join(f"sorted[toUInt64(ceil({share} * count))]" for _, share in _QUANTILES)
    of_class = rows(
        program,
        f"SELECT JobClass, arraySort(groupArray(assumeNotNull({column}))) AS sorted, length(sorted) AS count, "
        f"arraySum(sorted), sorted[1], sorted[-1], {quantiles} FROM jobs FINAL "
        f"WHERE Operation = 'process' AND {column} IS NOT NULL AND {where} GROUP BY JobClass",
    )
    names = ("count", "sum_ns", "min_ns", "max_ns", *(name for name, _ in _QUANTILES))
    return {name: dict(zip(names, map(int, values), strict=True)) for name, _, *values in of_class}


def errors(program: Program, where: str) -> dict[tuple[str, str], int]:
    """Return failures by job class and type, the type without its module: retries and logs name it without."""
    counted = rows(
        program,
        "SELECT JobClass, ErrorType, toInt32(count()) FROM jobs FINAL "
        f"WHERE Operation = 'process' AND Outcome IN ('failed', 'retried') AND {where} GROUP BY ALL",
    )
    counts: Counter[tuple[str, str]] = Counter()
    for name, kind, n in counted:
        counts[name, unqualified(kind)] += n
    return counts


def unqualified(kind: str) -> str:
    return kind.rsplit(".", 1)[-1]


Facts = dict[tuple[str, str], Any]
"""What is known of (job class, what): counts and times."""


def expected(truth: dict[str, Any]) -> Facts:
    facts: Facts = {}
    for name, job in truth["jobs"].items():
        facts |= {(name, outcome): job[outcome] for outcome in _OUTCOMES if job[outcome]}
        facts |= {(name, kind): job[kind] for kind in ("enqueues", "retry_enqueues") if job[kind]}
        facts |= {(name, kind): job[kind] for kind in ("duration", "queue_latency") if job[kind]["count"]}
        facts |= {(name, f"error {unqualified(kind)}"): n for kind, n in job["errors"].items()}
    return facts


def found(program: Program, where: str) -> Facts:
    """Return the same facts as `expected`, from the table alone."""
    facts: Facts = {}
    counted = rows(
        program,
        "SELECT JobClass, multiIf(Operation = 'process', Outcome, IsRetryEnqueue, 'retry_enqueues', 'enqueues'), "
        f"toInt32(count()) FROM jobs FINAL WHERE {where} GROUP BY ALL",
    )
    facts |= {(name, what): n for name, what, n in counted}
    for column, kind in (("Duration", "duration"), ("QueueLatency", "queue_latency")):
        facts |= {(name, kind): values for name, values in times(program, column, where).items()}
    return facts | {(name, f"error {kind}"): n for (name, kind), n in errors(program, where).items()}


def missing(facts: Facts, more: Facts) -> Facts:
    return {key: value for key, value in facts.items() if more.get(key) != value}


def test_the_tables_say_what_the_demo_sent(program: Program, tmp_path: Path) -> None:
    """Scenario: the real demo plays a day with an outage and a broken deploy, over gRPC and then over HTTP.

    Guarantees: executions by outcome, enqueues, retries, errors per type, and count, sum, extremes and quantiles of
    durations and queue latencies are in `jobs FINAL`, class by class, what the demo knows it sent; the second day
    changes nothing in the rows of the first.
    """
    truths = [played(program, protocol, tmp_path / f"{protocol}.json") for protocol in _SEEDS]
    starts = [truth["started_at_ns"] for truth in truths]
    for truth, start, end in zip(truths, starts, [*starts[1:], 2**63 - 1], strict=True):
        where = f"toUnixTimestamp64Nano(Timestamp) >= {start} AND toUnixTimestamp64Nano(Timestamp) < {end}"
        assert sum(job["retried"] for job in truth["jobs"].values()) > 20, "a day without failures proves little"
        told = expected(truth)

        # rows are written again while later spans come in: the truth is what they come to
        with suppress(AssertionError):
            eventually(lambda w=where, t=told: found(program, w) == t, within=60)  # type: ignore[misc]

        seen = found(program, where)
        assert (missing(told, seen), missing(seen, told)) == ({}, {})
        stated = rows(
            program, f"SELECT DISTINCT JobClass, ErrorType FROM jobs FINAL WHERE {where} AND ErrorSource = 'span_event'"
        )
        assert stated
        assert all(kind in truth["jobs"][name]["errors"] for name, kind in stated)
