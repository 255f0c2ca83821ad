"""Policies that read job rows, decisions per job, and traces that are split by job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from pipeline.testing import Ledger
from processors.tail_sampling.policies import Decision
from tests.processors.tail_sampling.scenes import MS, S, Scene, batch_of, jobs_of, policy

NEVER = policy("drop", drop_sub_policy=[policy("string_attribute", key="k", values=["never"])])
"""Keeps all to their time, so that tests see decisions and not early releases."""

SECOND = 1000 * MS


def job(name: str = "job", **settings: Any) -> dict[str, Any]:
    return policy("job", name, **settings)


FAILED = job(outcome=["failed"])


@pytest.mark.parametrize(
    ("settings", "row", "expected"),
    [
        ({"outcome": ["failed", "retried"]}, {"outcome": "retried"}, True),
        ({"outcome": ["failed", "retried"]}, {"outcome": "succeeded"}, False),
        ({"outcome": ["failed"]}, {"outcome": "failed", "operation": "enqueue"}, False),
        ({"outcome": ["failed"]}, {"outcome": "failed", "is_deleted": True}, False),
        ({"min_attempt": 3}, {"attempt": 3}, True),
        ({"min_attempt": 3}, {"attempt": 2}, False),
        ({"min_attempt": 3}, {"attempt_inferred": 4}, True),
        ({"min_attempt": 3}, {"attempt": 1, "attempt_inferred": 4}, False),
        ({"min_attempt": 1}, {}, False),
        ({"class": "^Mail$"}, {"job_class": "Mail"}, True),
        ({"class": ["Pay", "ail"]}, {"job_class": "Mail"}, True),
        ({"class": ["Pay"]}, {"job_class": "Mail"}, False),
        ({"class": "Mail"}, {"job_class": None}, False),
        ({"class": "Mail"}, {"operation": "enqueue"}, True),
        ({"queue": "low|slow"}, {"queue": "slow-1"}, True),
        ({"queue": "low|slow"}, {"queue": None}, False),
        ({"slower_than": "30s"}, {"duration": 30 * SECOND + 1}, True),
        ({"slower_than": "30s"}, {"duration": 30 * SECOND}, False),
        ({"outcome": ["failed"], "queue": "mail"}, {"outcome": "failed", "queue": "mail"}, True),
        ({"outcome": ["failed"], "queue": "mail"}, {"outcome": "failed", "queue": "low"}, False),
    ],
)
def test_conditions_on_a_row(settings: dict[str, Any], row: dict[str, Any], expected: bool) -> None:
    """Scenario: a trace that looks fine in its spans, and a job row of it.

    Guarantees: the row decides; it passes itself.
    """
    scene = Scene(job(**settings)).take(S(1), S(2)).jobs({"trace": 1} | row).advance(10)

    assert scene.kept == ([1] if expected else [])


def test_rows_pass_at_once() -> None:
    """Scenario: job rows of traces that wait, that are decided and that are unknown. Guarantees: every row goes on."""
    ledger = Ledger()
    scene = Scene(FAILED).take(S(1), S(2)).advance(10).take(S(3))

    for number, trace in enumerate((1, 3, 99)):
        scene.jobs({"trace": trace, "outcome": "failed"}, receipt=ledger.receipt(str(number)))

    assert ledger.complete == ["0", "1", "2"]
    assert scene.kept == [3]


def test_a_later_version_counts_too() -> None:
    """Scenario: a row that says failed, and later retried. Guarantees: a policy on retried keeps the trace."""
    scene = Scene(job(outcome=["retried"]), NEVER).take(S(1)).jobs({"trace": 1, "outcome": "failed"})

    scene.jobs({"trace": 1, "outcome": "retried", "version": 2}).advance(10)

    assert scene.kept == [1]


def test_a_failed_job_is_certain() -> None:
    """Scenario: a failed job. Guarantees: its trace is out at once."""
    assert Scene(FAILED).take(S(1)).jobs({"trace": 1, "outcome": "failed"}).kept == [1]


def test_slower_than_its_own_class() -> None:
    """Scenario: 1000 runs of a class of a second and of one of a minute, then 30 s in each, by the 99th percentile.

    Guarantees: 30 s is slow for the first only; a class that is hardly known has no percentile.
    """
    scene = Scene(job(slower_than="p99"), NEVER)
    scene.jobs(*({"trace": 9, "duration": SECOND + n * MS, "job_class": "Fast"} for n in range(1000)))
    scene.jobs(*({"trace": 9, "duration": 60 * SECOND + n * MS, "job_class": "Slow"} for n in range(1000)))

    for trace, name in ((1, "Fast"), (2, "Slow"), (3, "New")):
        scene.take(S(trace)).jobs({"trace": trace, "duration": 30 * SECOND, "job_class": name})

    assert scene.advance(10).kept == [1]


def test_new_errors_are_kept_first() -> None:
    """Scenario: 4 traces of one fingerprint, 2 of another, over two decisions; 3 are wanted of each.

    Guarantees: 3 and 2; also without a fingerprint, by error type and class.
    """
    scene = Scene(job(new_error=3), NEVER)
    errors = {1: "x", 2: "x", 3: "y", 4: "x", 5: "x", 6: "y"}
    for trace, error in errors.items():
        scene.take(S(trace)).jobs({"trace": trace, "outcome": "failed", "error_fingerprint": error}).advance(6)
    scene.advance(10)
    assert scene.kept == [1, 2, 3, 4, 6]

    scene.take(S(7)).jobs({"trace": 7, "error_type": "Timeout"}).advance(10)
    assert 7 in scene.kept


def test_rare_classes_have_some_traces_each_minute() -> None:
    """Scenario: at least 2 traces a class and minute: 5 of one class, 1 of another, and the same a minute later.

    Guarantees: 2 and 1 each minute; those kept say how many they stand for.
    """
    scene = Scene(job(rare=2), NEVER, wait="1s")
    scene.now = 1020.0
    for minute in (0, 10):
        for number in range(1, 7):
            name = "Common" if number < 6 else "Rare"
            scene.take(S(minute + number)).jobs({"trace": minute + number, "job_class": name})
        scene.advance(60)

    assert scene.kept == [1, 2, 6, 11, 12, 16]
    assert set(scene.attribute("sampling.adjusted_count")) <= {1.0, 2.5, 5.0}


WHOLE = [job(outcome=["failed"], whole_job=True), NEVER]


def test_a_whole_job_is_kept_together() -> None:
    """Scenario: enqueue, a failed attempt and another attempt in three traces, and a job beside.

    Guarantees: all three are kept, though only one has the failure; the other job is not.
    """
    scene = Scene(*WHOLE).take(S(1), S(2), S(3), S(4))
    scene.jobs(
        {"trace": 1, "job_id": "7", "operation": "enqueue", "outcome": "enqueued"},
        {"trace": 2, "job_id": "7", "outcome": "failed"},
        {"trace": 3, "job_id": "7"},
        {"trace": 4, "job_id": "8"},
    )

    assert scene.advance(10).kept == [1, 2, 3]
    assert set(scene.attribute("tailsampling.policy")) == {"job"}


@pytest.mark.parametrize("order", [1, -1])
def test_a_whole_job_is_kept_though_its_trace_is_kept_anyway(order: int) -> None:
    """Scenario: an attempt whose spans keep its trace at once, and whose row, coming with them, says that it failed.

    Guarantees: the traces of its enqueue and of another attempt are kept too; an error without a job row brings nobody.
    """
    error = policy("status_code", "errors", status_codes=["ERROR"])
    together = [
        batch_of([S(1), S(2, status="ERROR"), S(3), S(4), S(5, status="ERROR")]),
        jobs_of(
            [
                {"trace": 1, "job_id": "7", "operation": "enqueue", "outcome": "enqueued"},
                {"trace": 2, "job_id": "7", "outcome": "failed"},
                {"trace": 3, "job_id": "7"},
                {"trace": 4, "job_id": "8"},
            ]
        ),
    ]

    scene = Scene(job(outcome=["failed"], whole_job=True), error).feed(*together[::order])

    assert scene.advance(10).kept == [1, 2, 3, 5]


@pytest.mark.parametrize("keys", [{"whole_job": True}, {}])
def test_a_whole_job_over_time(keys: Mapping[str, Any]) -> None:
    """Scenario: a failed attempt is kept; the next one, in a new trace, comes when the first is long decided.

    Guarantees: it is kept with whole_job, for the processor or the policy; without, it is decided for itself.
    """
    scene = Scene(job(outcome=["failed"]), **keys)
    scene.take(S(1)).jobs({"trace": 1, "job_id": "7", "outcome": "failed"}).advance(60)

    scene.take(S(2)).jobs({"trace": 2, "job_id": "7"}).advance(10)

    assert scene.kept == ([1, 2] if keys else [1])


def test_ids_of_other_systems_and_queues_are_other_jobs() -> None:
    """Scenario: one id in two systems, and in two queues of BullMQ, whose ids are numbers of a queue.

    Guarantees: neither is taken for the same job.
    """
    scene = Scene(*WHOLE).take(S(1), S(2), S(3), S(4))
    scene.jobs(
        {"trace": 1, "job_id": "7", "outcome": "failed"},
        {"trace": 2, "job_id": "7", "system": "sidekiq"},
        {"trace": 3, "job_id": "9", "system": "bullmq", "queue": "a", "outcome": "failed"},
        {"trace": 4, "job_id": "9", "system": "bullmq", "queue": "b"},
    )

    assert scene.advance(10).kept == [1, 3]


def test_an_enqueue_without_id_is_found_by_its_span() -> None:
    """Scenario: an execution that was matched with an enqueue by span only. Guarantees: both are kept."""
    scene = Scene(*WHOLE).take(S(1), S(2))
    scene.jobs(
        {"trace": 1, "span": 77, "operation": "enqueue", "outcome": "enqueued"},
        {"trace": 2, "span": 78, "outcome": "failed", "enqueue_span_id": (77).to_bytes(8, "big").hex()},
    )

    assert scene.advance(10).kept == [1, 2]


def test_a_drop_holds_for_the_family_too() -> None:
    """Scenario: of two attempts one failed, the other has a span that a policy drops. Guarantees: it is dropped."""
    scene = Scene(*WHOLE).take(S(1), S(2, attrs={"k": "never"}))
    scene.jobs({"trace": 1, "job_id": "7", "outcome": "failed"}, {"trace": 2, "job_id": "7"})

    assert scene.advance(10).kept == [1]
    assert scene.decision(2) == Decision.DROPPED


def test_linked_traces_are_kept_together() -> None:
    """Scenario: 2 links to 1, which failed; 3 links to 2; 4 to nobody.

    Guarantees: 1, 2 and 3; later 5, which links to 1.
    """
    error = policy("status_code", "errors", status_codes=["ERROR"])
    scene = Scene(error, follow_links=True).take(S(2, links=[1]), S(3, links=[2]), S(4)).take(S(1, status="ERROR"))
    assert scene.kept == [1, 2, 3]

    scene.advance(60).take(S(5, links=[1]))

    assert scene.kept == [1, 2, 3, 5]
    assert set(scene.attribute("tailsampling.policy")) == {"errors"}


def burst(jobs: int) -> list[S]:
    """A request (span 1) that enqueues jobs (spans 1000+n), whose executions (2000+n) have a query below (3000+n)."""
    spans = [S(1, span=1, name="request")]
    for n in range(jobs):
        spans += [
            S(1, span=1000 + n, parent=1, name=f"enqueue {n}"),
            S(1, span=3000 + n, parent=2000 + n, name=f"query {n}"),
            S(1, span=2000 + n, parent=1000 + n, name=f"run {n}"),
        ]
    return spans


def rows(jobs: int, failed: int | None = None) -> list[dict[str, Any]]:
    return [
        row
        for n in range(jobs)
        for row in (
            {"trace": 1, "span": 1000 + n, "operation": "enqueue", "outcome": "enqueued"},
            {"trace": 1, "span": 2000 + n, "outcome": "failed" if n == failed else "succeeded"},
        )
    ]


def test_a_burst_is_split_by_job() -> None:
    """Scenario: a request enqueued 50 jobs, one of which failed; in many batches.

    Guarantees: that job's spans and the request's are kept, and no other job's.
    """
    ledger = Ledger()
    scene = Scene(FAILED, split="job")
    spans = burst(50)
    for start in range(0, len(spans), 7):
        scene.take(*spans[start : start + 7], receipt=ledger.receipt(str(start)))
    scene.jobs(*rows(50, failed=13)).advance(10)

    assert sorted(row["name"] for row in scene.rows) == ["enqueue 13", "query 13", "request", "run 13"]
    for batch in scene.batches:
        batch.receipt.settle()
    assert len(ledger.complete) == len(range(0, len(spans), 7))


def test_jobs_of_a_burst_are_a_share_of_it() -> None:
    """Scenario: 20 % of a burst of 400 jobs. Guarantees: about 80 whole jobs, each standing for 5."""
    scene = Scene(policy("probabilistic", sampling_percentage=20), split="job")
    scene.take(*burst(400)).jobs(*rows(400)).advance(10)

    runs = {row["name"][4:] for row in scene.rows if row["name"].startswith("run")}
    assert 40 < len(runs) < 120
    assert runs == {row["name"][6:] for row in scene.rows if row["name"].startswith("query")}
    assert set(scene.attribute("sampling.adjusted_count")) == {5.0}


def test_a_trace_with_few_jobs_is_not_split() -> None:
    """Scenario: a request with 2 jobs, one failed, where 3 make a burst. Guarantees: the whole trace is kept."""
    scene = Scene(FAILED, split="job", split_min_jobs=3).take(*burst(2)).jobs(*rows(2, failed=0)).advance(10)

    assert len(scene.rows) == 7


def test_late_jobs_of_a_burst_are_decided_anew() -> None:
    """Scenario: a job of a split burst fails when the others are decided. Guarantees: it is kept, late as it is."""
    scene = Scene(FAILED, split="job").take(*burst(5)).jobs(*rows(5)).advance(10)
    assert scene.kept == []

    scene.take(S(1, span=900, parent=1000, name="late")).jobs({"trace": 1, "span": 900, "outcome": "failed"})
    scene.advance(10)

    assert [row["name"] for row in scene.rows] == ["late"]


@pytest.mark.parametrize("keys", [{}, {"whole_job": True}])
def test_rows_may_come_before_their_spans(keys: dict[str, Any]) -> None:
    """Scenario: rows of a failed job, as from logs, 9 of 10 seconds before the first span of its trace.

    Guarantees: the span is kept for it; that of a job whose row came minutes before is not.
    """
    scene = Scene(job(outcome=["failed"], **keys), wait="10s")
    scene.jobs({"trace": 1, "outcome": "failed"}, {"trace": 3, "outcome": "succeeded"}).advance(9)

    scene.take(S(1), S(2), S(3)).advance(20)
    assert scene.kept == [1]

    scene.jobs({"trace": 4, "outcome": "failed"}).advance(300).take(S(5)).advance(300).take(S(4)).advance(20)
    assert scene.kept == [1]


def test_a_row_before_its_spans_brings_the_family() -> None:
    """Scenario: rows of two attempts of a job before any span, the second of which failed.

    Guarantees: both traces are kept.
    """
    scene = Scene(job(outcome=["failed"], whole_job=True))
    scene.jobs({"trace": 1, "job_id": "a", "outcome": "succeeded"}, {"trace": 2, "job_id": "a", "outcome": "failed"})

    assert scene.take(S(1), S(2), S(3)).advance(20).kept == [1, 2]
