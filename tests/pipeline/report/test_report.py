"""`jobsight report` against the real engine, as a reader without credentials."""

from __future__ import annotations

import argparse
import asyncio
import csv
import io
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from pipeline import Batch, Kind, Receipt
from pipeline.alerts import Alert, AlertState, Severity, alert_batch
from pipeline.kinds import FAILURE_CLUSTERS
from pipeline.report import command
from pipeline.testing import failure_clusters_batch
from tests.exporters.clickhouse.conftest import Start
from tests.exporters.clickhouse.job_rows import SECOND, Row, job_row, jobs_batch
from tests.exporters.clickhouse.servers import Store

MS = 1_000_000

Ask = Callable[..., Awaitable[int]]
Fill = Callable[[Sequence[Row]], Awaitable[None]]


def ago(seconds: float) -> int:
    """Return a moment before now; reports look back from the engine's clock."""
    return time.time_ns() - int(seconds * SECOND)


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser("report")
    command.configure(parser)
    return parser.parse_args(words)


@pytest.fixture
def ask(store: Store, database: str, capsys: pytest.CaptureFixture[str]) -> Ask:
    async def ask(*words: str) -> int:
        args = arguments(*words, "--url", store.url, "--database", database)
        return await asyncio.to_thread(command.run, args)

    return ask


@pytest.fixture
def fill(start: Start) -> Fill:
    async def fill(rows: Sequence[Row]) -> None:
        exporter = await start()
        await exporter.export(jobs_batch(rows))

    return fill


async def rows_of(ask: Ask, capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    """Return a report's rows."""
    code = await ask(*words, "--format", "json")
    shown = capsys.readouterr()
    assert (code, shown.err) == (0, "")
    found: list[dict[str, Any]] = json.loads(shown.out)
    return found


def failed(**fields: Any) -> Row:
    return job_row(
        **{
            "outcome": "failed",
            "error_type": "Timeout",
            "error_message": "late\nby far",
            "timestamp": ago(60),
            **fields,
        }
    )


@pytest.mark.integration
async def test_jobs(ask: Ask, fill: Fill, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: two classes now, one execution of two hours ago, an enqueue.

    Guarantees: a row a class, busiest first, with counts, shares and milliseconds of the last hour; all with `--since
    0`; a latency that nobody told is empty.
    """
    await fill(
        [
            job_row(timestamp=ago(60), duration=10 * MS, queue_latency=5 * MS, queue="low"),
            job_row(timestamp=ago(50), duration=30 * MS, queue_latency=5 * MS, outcome="retried", queue="high"),
            job_row(timestamp=ago(40), duration=20 * MS, outcome="failed"),
            job_row(timestamp=ago(7200), duration=20 * MS),
            job_row(timestamp=ago(30), operation="enqueue"),
            job_row(timestamp=ago(30), job_class="Bill", duration=1_500 * MS, outcome="discarded"),
        ]
    )

    mail, bill = await rows_of(ask, capsys, "jobs")
    everything = await rows_of(ask, capsys, "jobs", "--since", "0")

    assert (mail["class"], mail["queues"], mail["executions"]) == ("Mail", "default, high, low", 3)
    assert (mail["failures"], mail["failures %"], mail["retried"], mail["discarded"]) == (2, 66.7, 1, 0)
    assert (mail["p50 ms"], mail["p95 ms"], mail["queue p50 ms"]) == (20, 30, 5)
    assert (bill["class"], bill["failures"], bill["discarded"], bill["p99 ms"]) == ("Bill", 0, 1, 1500)
    assert bill["queue p99 ms"] is None
    assert [row["executions"] for row in everything] == [4, 1]


@pytest.mark.integration
async def test_a_table_for_people(ask: Ask, fill: Fill, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: the usual format. Guarantees: names without types, values, nothing instead of NULL, a footer."""
    await fill([job_row(timestamp=ago(60), duration=1_234 * MS)])

    assert await ask("jobs") == 0

    shown = capsys.readouterr().out
    assert "p50 ms" in shown
    assert "1234" in shown
    assert "1 row in" in shown
    for word in ("NULL", "Nullable", "Float64", "UInt64"):
        assert word not in shown


@pytest.mark.integration
async def test_errors(ask: Ask, fill: Fill, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: one fault in two classes, another without fingerprint, a success, an old failure.

    Guarantees: a row a fault, most frequent first, with what is known of it and the first line of its last message.
    """
    known = {"error_fingerprint": "f1", "error_category": "timeout", "error_transient": True}
    last = failed(**known, job_class="Bill", timestamp=ago(10), outcome="retried")
    await fill(
        [
            failed(**known),
            last,
            failed(error_type="KeyError", timestamp=ago(20)),
            failed(timestamp=ago(7200)),
            job_row(timestamp=ago(10)),
        ]
    )

    timeout, key_error = await rows_of(ask, capsys, "errors")

    assert (timeout["fingerprint"], timeout["error"], timeout["category"]) == ("f1", "Timeout", "timeout")
    assert (timeout["transient"], timeout["failures"], timeout["jobs"]) == ("yes", 2, 2)
    assert (timeout["classes"], timeout["last message"], timeout["trace"]) == ("Bill, Mail", "late", last["trace_id"])
    assert (key_error["error"], key_error["transient"], key_error["fingerprint"]) == ("KeyError", "", "")


@pytest.mark.integration
async def test_retries(ask: Ask, fill: Fill, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: a job that fails again and again, one that made it, one with two errors, one that failed once.

    Guarantees: those that ran again, most failures first; only the first is a loop; small BullMQ ids of two queues are
    two jobs.
    """
    loop = [failed(job_id="loop", outcome="retried", timestamp=ago(100 - i), attempt=i + 1) for i in range(6)]
    made_it = [failed(job_id="ok", outcome="retried"), job_row(job_id="ok", timestamp=ago(5))]
    mixed = [failed(job_id="mixed", outcome="retried", error_type=f"E{i % 2}", timestamp=ago(90 - i)) for i in range(5)]
    small = [
        failed(job_id="1", system="bullmq", queue=queue, outcome="retried", timestamp=ago(70)) for queue in ("a", "b")
    ]
    await fill([*loop, *made_it, *mixed, *small, failed(job_id="once")])

    found = await rows_of(ask, capsys, "retries")

    assert [(row["job"], row["failures"], row["loop"]) for row in found] == [
        ("loop", 6, "yes"),
        ("mixed", 5, ""),
        ("ok", 1, ""),
        ("1", 1, ""),
        ("1", 1, ""),
    ]
    assert (found[0]["attempt"], found[0]["last error"], found[0]["last outcome"]) == (6, "Timeout", "retried")
    assert (found[2]["executions"], found[2]["last outcome"]) == (2, "succeeded")
    assert {found[3]["queue"], found[4]["queue"]} == {"a", "b"}


@pytest.mark.integration
async def test_a_jobs_life(ask: Ask, fill: Fill, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: enqueued, failed, done, asked for by its id and by its back end's; an id with a quote and a tab.

    Guarantees: its events in order, with attempts, the time since the event before, and the error where it was; ids
    are never read as SQL.
    """
    ident = "it's\t\\1"
    begin = ago(600)
    job = {"job_id": ident, "provider_job_id": "backend-1"}
    await fill(
        [
            job_row(**job, operation="enqueue", timestamp=begin),
            failed(**job, outcome="retried", timestamp=begin + 250 * MS, duration=SECOND, attempt=1, host="h1"),
            job_row(**job, timestamp=begin + 5 * SECOND, duration=SECOND, attempt=2, worker_id="h1:7"),
            job_row(timestamp=begin),
        ]
    )

    found = await rows_of(ask, capsys, "job", ident)
    by_backend = await rows_of(ask, capsys, "job", "backend-1")

    assert [(row["event"], row["attempt"], row["after ms"], row["error"]) for row in found] == [
        ("enqueued", None, 0, ""),
        ("started", 1, 250, ""),
        ("retried", 1, 1000, "Timeout"),
        ("started", 2, 3750, ""),
        ("completed", 2, 1000, ""),
    ]
    assert [row["worker"] for row in found] == ["", "h1", "h1", "h1:7", "h1:7"]
    assert by_backend == found


@pytest.mark.integration
async def test_lost(ask: Ask, fill: Fill, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: jobs enqueued twenty minutes ago, with every fate, one enqueued just now, two that put themselves back.

    Guarantees: those that are due for fifteen minutes and have no execution (after that), longest waiting first; with
    `--after 30s` the young one, too.
    """

    def enqueue(job: str | None, seconds: float = 1200, **fields: Any) -> Row:
        return job_row(job_id=job, operation="enqueue", timestamp=ago(seconds), **fields)

    by_span = enqueue(None)
    await fill(
        [
            enqueue("done"),
            job_row(job_id="done", timestamp=ago(1190)),
            by_span,
            job_row(job_id=None, enqueue_span_id=by_span["span_id"], timestamp=ago(1190)),
            enqueue("lost"),
            enqueue("later", outcome="scheduled", scheduled_for=ago(-600)),
            enqueue("overdue", 3000, outcome="scheduled", scheduled_for=ago(1300)),
            enqueue("refused", outcome="failed"),
            enqueue("waits", outcome="deferred"),
            enqueue("young", 60),
            enqueue("old", 8000),
            job_row(job_id="again", timestamp=ago(1300), outcome="retried"),
            enqueue("again", 1250, is_retry_enqueue=True),
            job_row(job_id="ran", timestamp=ago(1300), outcome="retried"),
            enqueue("ran", 1250, is_retry_enqueue=True),
            job_row(job_id="ran", timestamp=ago(1240)),
            enqueue("7", system="bullmq", queue="a"),
            job_row(job_id="7", system="bullmq", queue="b", timestamp=ago(1190)),
        ]
    )

    found = await rows_of(ask, capsys, "lost")
    sooner = await rows_of(ask, capsys, "lost", "--after", "30s")

    assert sorted(row["job"] for row in found) == ["7", "again", "lost", "overdue"]
    assert found[0]["job"] == "overdue"
    assert 1299 <= found[0]["waiting s"] < 1400
    assert sorted(row["job"] for row in sooner) == ["7", "again", "lost", "overdue", "young"]


@pytest.mark.integration
async def test_alerts(ask: Ask, start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: alerts that fire, that are over (at the moment of their last message), of long ago; one told twice.

    Guarantees: a row an alert; what fires first, the worst of it first; what was suppressed is added up.
    """

    def told(subject: str, seconds: float, severity: Severity = Severity.WARNING, **fields: Any) -> Alert:
        return Alert("FailureCluster", severity, subject, f"{subject} fails.\nMuch.", ago(seconds), **fields)

    moment = ago(30)
    over = replace(told("over", 0), timestamp=moment)
    rows = [
        replace(over, state=AlertState.RESOLVED, text="Over."),
        over,
        told("warns", 90, labels={"suppressed": "4"}, trace_ids=("aa", "bb")),
        told("warns", 60, Severity.CRITICAL, labels={"suppressed": "3"}, runbook="https://x"),
        told("young", 10),
        told("old", 100_000),
    ]
    exporter = await start()
    await exporter.export(alert_batch(rows, Receipt.issue("alerts")))

    found = await rows_of(ask, capsys, "alerts")
    everything = await rows_of(ask, capsys, "alerts", "--since", "0")

    assert [(row["subject"], row["state"], row["severity"], row["told"]) for row in found] == [
        ("warns", "firing", "critical", 2),
        ("young", "firing", "warning", 1),
        ("over", "resolved", "warning", 1),
    ]
    warns = found[0]
    assert (warns["suppressed"], warns["text"], warns["runbook"], warns["trace"]) == (
        7,
        "warns fails.",
        "https://x",
        "aa",
    )
    assert [row["subject"] for row in everything] == ["warns", "young", "old", "over"]
    assert await ask("alerts", "--since", "1ms") == 0
    assert "no alerts within the last 1s (--since)" in capsys.readouterr().out


@pytest.mark.integration
async def test_nothing_found(ask: Ask, fill: Fill, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: nothing that is asked for. Guarantees: a line that says what was looked for, and how far back."""
    await fill([job_row(timestamp=ago(7200))])

    for words, expected in (
        (("jobs",), "no executions within the last 1h (--since)"),
        (("errors", "--since", "0"), "no failures in "),
        (("retries", "--since", "90s"), "no retried jobs within the last 90s"),
        (("lost", "--since", "2d"), "no lost jobs within the last 2d"),
        (("job", "nobody"), "no job with this id in "),
        (("job", "nobody", "--format", "vertical"), "no job with this id"),
    ):
        assert await ask(*words) == 0
        assert expected in capsys.readouterr().out


@pytest.mark.integration
@pytest.mark.parametrize("words", [("jobs",), ("errors",), ("retries",), ("job", "7"), ("lost",), ("alerts",)])
async def test_no_table_yet(words: tuple[str, ...], ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: nothing was ever written. Guarantees: one line that asks for the processor, exit code 1."""
    assert await ask(*words) == 1

    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    expected = "no alerts yet" if words == ("alerts",) else "no jobs yet. Is processor `jobs` in the pipeline"
    assert expected in shown.err
    assert "Code:" not in shown.err


@pytest.mark.integration
async def test_clusters(
    start: Start, store: Store, database: str, ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scenario: a cluster that opened and was resolved, another that goes on, an old one.

    Guarantees: a row each as it is now, what goes on first, the first cause in words; the old one with `--since 0`.
    """

    def change(name: str, state: str, seconds: float, **more: Any) -> dict[str, Any]:
        (row,) = failure_clusters_batch(1).table.to_pylist()
        return {
            **row,
            "cluster_id": name,
            "state": state,
            "timestamp": ago(seconds),
            "last_seen_at": ago(seconds),
            **more,
        }

    rows = [
        change("over", "opened", 60, failures=11),
        change("over", "resolved", 20, failures=40, job_classes=["Charge", "Refund"]),
        change("on", "opened", 50, causes=[]),
        change("old", "resolved", 3 * 86_400),
    ]
    table = pa.Table.from_pylist(rows, FAILURE_CLUSTERS)
    await (await start()).export(Batch(Kind.FAILURE_CLUSTERS, table, Receipt.issue("clusters")))

    on, over = await rows_of(ask, capsys, "clusters")
    everything = await rows_of(ask, capsys, "clusters", "--since", "0")

    assert (on["state"], on["in common"]) == ("opened", "")
    assert (over["state"], over["classes"], over["failures"]) == ("resolved", "Charge, Refund", 40)
    assert over["in common"] == "dependency = mail-api: 95 % of failures, 0 % of successes"
    assert (over["error"], over["category"], over["a message"]) == ("ValueError", "validation", "no such customer")
    assert len(everything) == 3


@pytest.mark.integration
async def test_no_clusters_yet(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: the table is not there. Guarantees: which processor makes it, exit code 1."""
    assert await ask("clusters") == 1

    assert "no clusters yet. Is processor `failure_cluster` in the pipeline" in capsys.readouterr().err


@pytest.mark.integration
async def test_another_table(start: Start, store: Store, database: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: the exporter has another `jobs_table_name`. Guarantees: `--table` finds it and its view of events."""
    exporter = await start(jobs_table_name="my_jobs")
    await exporter.export(jobs_batch([job_row(job_id="7", timestamp=ago(10))]))

    for words in (("jobs",), ("job", "7")):
        args = arguments(*words, "--url", store.url, "--database", database, "--table", "my_jobs", "--format", "csv")
        assert await asyncio.to_thread(command.run, args) == 0
        assert len(list(csv.DictReader(io.StringIO(capsys.readouterr().out)))) in {1, 2}


def test_no_clickhouse(unused_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: nobody listens. Guarantees: what `jobsight query` says of it, exit code 1."""
    assert command.run(arguments("jobs", "--url", f"http://127.0.0.1:{unused_port}")) == 1

    assert f"no ClickHouse at http://127.0.0.1:{unused_port}" in capsys.readouterr().err


def test_without_a_name_the_reports_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: `jobsight report` alone. Guarantees: every report with what it shows, exit code 2."""
    assert command.run(arguments()) == 2

    shown = capsys.readouterr().err
    for name, report in command.REPORTS.items():
        assert f"  {name} " in shown
        assert report.about in shown


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("costs",), "'alerts', 'clusters', 'errors', 'job', 'jobs', 'lost', 'retries', 'workflow', 'workflows'"),
        (("job",), "JOB_ID"),
        (("workflow",), "TRACE_ID"),
        (("workflow", "7d3c"), "'7d3c' is no trace id: 32 hexadecimal digits"),
        (("jobs", "--since", "1w"), "'1w' is no duration: write 90s, 15m, 1h, 7d, or 0"),
        (("jobs", "--since", "-1h"), "--since"),
        (("jobs", "--since", "99999999d"), "is no duration"),
        (("jobs", "--after", "1h"), "--after"),
    ],
)
def test_wrong_usage(words: tuple[str, ...], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: an unknown report, a missing id, no durations. Guarantees: what is known or right, exit code 2."""
    with pytest.raises(SystemExit) as caught:
        arguments(*words)

    assert caught.value.code == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1.5h", 5400), ("250ms", 1), ("7d", 604_800), ("0", 0)])
def test_durations(text: str, seconds: int) -> None:
    """Scenario: durations as people write them. Guarantees: whole seconds, never fewer than meant."""
    assert arguments("jobs", "--since", text).since == seconds
