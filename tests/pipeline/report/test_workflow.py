"""`jobsight report workflow` and `workflows`: trees across traces, and the chain that made them long."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.report.workflow import Job, JobName, Spent, Workflow, jobs_of, workflows_of
from tests.exporters.clickhouse.job_rows import SECOND, Row, job_row
from tests.pipeline.report.test_report import Ask, Fill, ago, ask, fill

__all__ = ["ask", "fill"]

MS = 1_000_000
WEB, OTHER = "a" * 32, "b" * 32


def run(job: str, at: int, ms: int, parent: str | None = None, **fields: Any) -> Row:
    """Return an attempt that begins `at` nanoseconds; jobs are called `Class:id`."""
    name, _, id_ = job.partition(":")
    above = parent.partition(":") if parent else (None, "", None)
    fields.setdefault("trace_id", WEB)
    return job_row(
        job_class=name, job_id=id_, timestamp=at, duration=ms * MS,
        parent_job_class=above[0], parent_job_id=above[2], **fields,
    )  # fmt: skip


def enqueue(job: str, at: int, parent: str | None = None, **fields: Any) -> Row:
    return run(job, at, 1, parent, operation="enqueue", **fields)


def order(start: int) -> list[Row]:
    """Return an order: its mail is quick; its charge waits, runs in a trace of its own, fails and is run again."""
    return [
        enqueue("Order:1", start),
        run("Order:1", start + 20 * MS, 100, enqueued_at=start),
        enqueue("Mail:'2\\'", start + 30 * MS, "Order:1"),
        run("Mail:'2\\'", start + 50 * MS, 10, "Order:1"),
        enqueue("Charge:3", start + 60 * MS, "Order:1", scheduled_for=start + 160 * MS),
        run("Charge:3", start + 260 * MS, 40, "Order:1", trace_id=OTHER, outcome="retried", error_type="Late",
            scheduled_for=start + 160 * MS),
        run("Charge:3", start + 800 * MS, 60, "Order:1", trace_id=OTHER),
        enqueue("Notify:4", start + 850 * MS, "Charge:3", trace_id=OTHER),
        run("Notify:4", start + 900 * MS, 5, "Charge:3", trace_id=OTHER),
        run("Charge:99", start, 5, trace_id="c" * 32),
    ]  # fmt: skip


CRITICAL = [
    ("Order", "waiting", 20.0),
    ("Order", "running", 40.0),
    ("Charge", "delayed", 100.0),
    ("Charge", "waiting", 100.0),
    ("Charge", "running", 40.0),
    ("Charge", "retrying", 500.0),
    ("Charge", "running", 50.0),
    ("Notify", "waiting", 50.0),
    ("Notify", "running", 5.0),
]


@pytest.mark.integration
@pytest.mark.parametrize("trace", [WEB, OTHER.upper()])
async def test_the_path_through_an_order(trace: str, ask: Ask, fill: Fill, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: an order over two traces, beside a job of no concern; asked for by either trace.

    Guarantees: all its jobs and no others, each below its parent; the chain to the job that ended last, every
    millisecond of it accounted for.
    """
    await fill(order(ago(60)))

    assert await ask("workflow", trace, "--format", "json") == 0

    (workflow,) = json.loads(capsys.readouterr().out)
    jobs = workflow["jobs"]
    assert [(job["class"], job["id"], job["parent"]) for job in jobs] == [
        ("Order", "1", None), ("Mail", "'2\\'", 0), ("Charge", "3", 0), ("Notify", "4", 2),
    ]  # fmt: skip
    assert [jobs[place]["class"] for place in workflow["path"]] == ["Order", "Charge", "Notify"]
    assert [(jobs[part["job"]]["class"], part["spent"], part["ms"]) for part in workflow["critical"]] == CRITICAL
    assert workflow["duration_ms"] == sum(ms for *_, ms in CRITICAL) == 905
    assert workflow["finished"]
    assert (jobs[2]["attempts"], jobs[2]["outcome"], jobs[2]["created_ms"]) == (2, "succeeded", 60)


@pytest.mark.integration
async def test_the_tree_that_people_see(ask: Ask, fill: Fill, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: the same order, with a job that has not run yet. Guarantees: tree, times, marks, what is missing."""
    start = ago(60)
    await fill([*order(start), enqueue("Survey:5", start + 70 * MS, "Order:1")])

    assert await ask("workflow", WEB) == 0

    shown = capsys.readouterr().out.splitlines()
    tree = [line.strip("│├└─ ") for line in shown[:5]]
    assert tree[0].startswith("● Order  shop  +0 ms  waiting 20 ms, running 100 ms  succeeded")
    assert tree[1].startswith("○ Mail  shop  +30 ms  waiting 20 ms, running 10 ms  succeeded")
    assert tree[2].startswith(
        "● Charge  shop  +60 ms  delayed 100 ms, waiting 100 ms, running 100 ms, retrying 500 ms, 2"
    )
    assert tree[3].startswith("● Notify")
    assert tree[4].startswith("○ Survey") and tree[4].endswith("not run yet")  # noqa: PT018 - one line
    assert "not finished: 1 of 5 jobs did not end yet" in shown
    assert any("from the first enqueue to the last end 905 ms" in line for line in shown)
    assert any(line.split() == ["Charge", "retrying", "500", "ms", "55", "%"] for line in shown)


@pytest.mark.integration
async def test_ids_that_others_have_too(ask: Ask, fill: Fill, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: two systems that count from 1, a wide workflow of one, hundreds of jobs with the same ids of the other.

    Guarantees: the workflow has its own jobs, all of them, and no others.
    """
    start = ago(60)
    mine = [run("Resize:1", start, 50)]
    others = []
    for number in range(2, 400):
        mine.append(run(f"Thumb:{number}", start + number * MS, 5, "Resize:1", trace_id=f"{number:032x}"))
        others.append(run(f"Invoice:{number}", start, 5, f"Fulfil:{number}", trace_id="e" * 32, system="bullmq"))
    await fill([*mine, *others])

    assert await ask("workflow", WEB, "--format", "json") == 0

    (workflow,) = json.loads(capsys.readouterr().out)
    assert sorted(job["class"] for job in workflow["jobs"]) == ["Resize"] + ["Thumb"] * 398


@pytest.mark.integration
async def test_where_time_goes_per_root(ask: Ask, fill: Fill, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: two orders, one twice as slow at the end, and an unfinished one.

    Guarantees: a row for each root class, with the finished workflows' lengths and the shares of their chains.
    """
    start = ago(60)
    slow = [
        {**row, "trace_id": "d" * 32, "span_id": f"{number:016x}", "job_id": f"{row['job_id']}b",
         "parent_job_id": row["parent_job_id"] and f"{row['parent_job_id']}b"}
        for number, row in enumerate(order(start))
    ]  # fmt: skip
    slow[-2]["duration"] = 910 * MS
    await fill([*order(start), *slow, enqueue("Order:9", start)])

    assert await ask("workflows", "--format", "json") == 0
    found = {row["root"]: row for row in json.loads(capsys.readouterr().out)}

    assert (found["Order"]["workflows"], found["Order"]["jobs"]) == (2, 8)
    assert (found["Order"]["p50_ms"], found["Order"]["longest_ms"]) == (1810, 1810)
    parts = {(part["class"], part["spent"]): part["ms"] for part in found["Order"]["where"]}
    assert parts["Notify", "running"] == 915
    assert parts["Charge", "retrying"] == 1000
    assert sum(parts.values()) == 905 + 1810
    assert await ask("workflows") == 0
    assert "Charge retrying 37 %" in capsys.readouterr().out


@pytest.mark.integration
async def test_nothing_found(ask: Ask, fill: Fill, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: no table yet; then a trace without jobs, and no finished workflow. Guarantees: lines that say so."""
    assert await ask("workflow", WEB) == 1
    assert "no jobs yet. Is processor `jobs` in the pipeline" in capsys.readouterr().err
    await fill([enqueue("Order:1", ago(7200))])

    for words, expected in (
        (("workflow", "f" * 32), f"no jobs of trace {'f' * 32}"),
        (("workflows",), "no finished workflows within the last 1h (--since)"),
    ):
        assert await ask(*words) == 0
        assert expected in capsys.readouterr().out


@settings(max_examples=100)
@given(st.integers(0, 2**32))
def test_the_path_accounts_for_every_nanosecond(seed: int) -> None:
    """Scenario: random workflows whose jobs enqueue while they run.

    Guarantees: the stretches of the path follow each other without gap or overlap, from the root's enqueue to the end
    of the last job, and no job of it waited for another.
    """
    random = Random(seed)
    jobs: list[Job] = []

    def grow(parent: Job | None, created: int, depth: int) -> Job:
        at, runs = created, []
        for _ in range(random.randint(1, 3)):
            start = at + random.randrange(50)
            at = start + random.randrange(1, 80)
            runs.append((start, at))
        job = Job(JobName("A", str(len(jobs))), created, due=created + random.choice([0, 0, 30]), runs=runs)
        jobs.append(job)
        for _ in range(random.randrange(3) if depth else 0):
            start, end = random.choice(runs)
            job.children.append(grow(job, random.randint(start, end), depth - 1))
        return job

    workflow = Workflow(grow(None, 1000, 3))

    critical = workflow.critical()
    at = workflow.root.created
    for stretch in critical:
        assert stretch.begin == at
        assert stretch.end > stretch.begin
        at = stretch.end
    assert at == workflow.root.created + workflow.nanoseconds == max(job.end for job in jobs)


def test_odd_rows() -> None:
    """Scenario: a job that names itself as parent, one whose parent is not there, an enqueue that knows no class.

    Guarantees: each is a root, the enqueue belongs to the execution with its id.
    """

    def told(**row: Any) -> Row:
        return {"error_type": "", "service": "shop", "enqueued_at": None, **row, "at": row["timestamp"]}

    rows = [
        told(**run("A:1", SECOND, 5, "A:1")),
        told(**run("B:2", SECOND, 5, "Gone:7")),
        told(**{**enqueue("C:3", SECOND // 2), "job_class": ""}),
        told(**run("C:3", SECOND, 5)),
    ]

    workflows = workflows_of(jobs_of(rows))

    assert [workflow.root.name.job_class for workflow in workflows] == ["C", "A", "B"]
    assert workflows[0].root.spent(Spent.WAITING) == SECOND // 2
