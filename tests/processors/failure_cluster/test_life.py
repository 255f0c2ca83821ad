"""The life of a cluster: opened, growing, quiet, reopened, resolved; and what people are told of it."""

from __future__ import annotations

from typing import Any

from pipeline import Kind
from pipeline.alerts import Alert, AlertState, Severity, read_alerts
from tests.processors.failure_cluster.streams import START, Fault, Record, Stream, Worker, fed, processor, told, watched

BROKEN = Fault("Broken", "bug")
QUICK: dict[str, Any] = {
    "quiet_after": 60.0,
    "resolve_after": 120.0,
    "burst": {"enabled": False},
    "ratio": {"enabled": False},
}


def failing(
    number: int, every: float, begin: float, job_class: str = "Mail", fault: Fault = BROKEN, host: str = "w1"
) -> list[Record]:
    stream = Stream(round(begin))
    for place in range(number):
        stream.add(begin + place * every, job_class, fault, worker=Worker(host))
    return stream.records


def beat(end: float) -> list[Record]:
    """Successes of another class, so that time goes on."""
    stream = Stream(999)
    stream.runs("Other", 360, 0, end)
    return stream.records


def life(*parts: list[Record], **config: Any) -> list[Record]:
    records = sorted([record for part in parts for record in part], key=lambda record: record["at"])
    return watched(records, **{**QUICK, **config})


def alerts_of(*parts: list[Record], **config: Any) -> list[Alert]:
    records = sorted([record for part in parts for record in part], key=lambda record: record["at"])
    watcher = processor(**{**QUICK, **config})
    batches = [*fed(watcher, records), *watcher.drain()]
    return [alert for batch in batches if batch.kind is Kind.ALERTS for alert in read_alerts(batch)]


def test_from_opened_to_resolved() -> None:
    """Scenario: 50 failures in 100 seconds, then only successes.

    Guarantees: opened, told each time the number has doubled, quiet a minute after the last failure, resolved two
    minutes later; every row has the same id and opening, and says how many failures there were and when the last.
    """
    rows = life(failing(50, 2, 100), beat(1000))

    assert [(row["state"], row["failures"]) for row in rows] == [
        ("opened", 13),
        ("growing", 28),
        ("quiet", 50),
        ("resolved", 50),
    ]
    assert len({(row["cluster_id"], row["opened_at"]) for row in rows}) == 1
    assert [row["timestamp"] for row in rows] == sorted(row["timestamp"] for row in rows)
    last = 100 + 49 * 2
    assert rows[-1]["last_seen_at"] == (START + last) * 10**9
    assert 55 <= rows[2]["timestamp"] / 1e9 - START - last <= 70
    assert 120 <= (rows[3]["timestamp"] - rows[2]["timestamp"]) / 1e9 <= 125


def test_the_same_trouble_reopens_its_cluster() -> None:
    """Scenario: two outages a quarter of an hour apart, with the same fault, then with another one elsewhere.

    Guarantees: the same fault reopens the cluster under its id, another one opens a new cluster.
    """
    same = life(failing(20, 2, 100), failing(20, 2, 1000), beat(2000))
    other = life(failing(20, 2, 100), failing(20, 2, 1000, fault=Fault("Different"), host="w2"), beat(2000))

    assert [row["state"] for row in same] == ["opened", "quiet", "resolved", "reopened", "quiet", "resolved"]
    assert len({row["cluster_id"] for row in same}) == 1
    assert same[-1]["failures"] == 40
    assert [row["state"] for row in other] == ["opened", "quiet", "resolved"] * 2
    assert len({row["cluster_id"] for row in other}) == 2


def test_after_a_while_it_is_a_new_one() -> None:
    """Scenario: the same fault again, later than `reopen_within`. Guarantees: a cluster with an id of its own."""
    rows = life(failing(20, 2, 100), failing(20, 2, 1500), beat(2500), reopen_within=600.0)

    assert [row["state"] for row in rows] == ["opened", "quiet", "resolved"] * 2
    assert len({row["cluster_id"] for row in rows}) == 2


def test_what_comes_slowly_is_not_quiet_at_once() -> None:
    """Scenario: a failure every five minutes, and a quiet time of one minute.

    Guarantees: the cluster stays open as long as they come at this pace.
    """
    rows = life(failing(24, 290, 100), beat(8000))

    assert [row["state"] for row in rows] == ["opened", "growing", "quiet", "resolved"]
    assert rows[2]["failures"] == 24


def test_alerts_say_it_to_people() -> None:
    """Scenario: an outage that opens a cluster, grows and ends.

    Guarantees: firing when it opens and grows, resolved at the end, nothing for quiet; subject, labels, runbook, text
    with figures, and traces.
    """
    alerts = alerts_of(failing(50, 2, 100, fault=Fault("Timeout", "timeout", "payments")), beat(1000))

    assert [alert.state for alert in alerts] == [AlertState.FIRING, AlertState.FIRING, AlertState.RESOLVED]
    first = alerts[0]
    assert {alert.subject for alert in alerts} == {first.subject}
    assert (first.name, first.severity) == ("FailureCluster", Severity.WARNING)
    assert first.runbook == "https://github.com/jobsight/jobsight/blob/main/docs/runbooks/failure-cluster.md"
    assert first.labels["job_class"] == "Mail"
    assert first.labels["cause"] == "dependency=payments"
    assert first.text == (
        "Mail: 13 failures within 24 s, most often Timeout (timeout). "
        "100% of the failures had a failed call to payments, of the successes 0%."
    ) or first.text.startswith("Mail: 13 failures within 24 s, most often Timeout (timeout). 100% of the failures")
    assert len(first.trace_ids) == 5
    assert alerts[-1].text.startswith("Mail: no more failures of this kind; 50 in all")


def test_many_classes_are_critical_and_loops_have_a_name() -> None:
    """Scenario: a fault in five classes; a job that is retried again and again; alerts that are off.

    Guarantees: critical; alert RetryLoop with the job's id and a page of its own; nothing.
    """
    many = [failing(12, 2, 100 + number, f"Job{number}") for number in range(5)]
    stuck = [{**record, "job_id": "job-7"} for record in failing(6, 30, 100)]

    assert alerts_of(*many, beat(1000))[-1].severity is Severity.CRITICAL
    loop = alerts_of(stuck, beat(1000))[0]
    assert (loop.name, loop.runbook.rpartition("/")[2]) == ("RetryLoop", "retry-loop.md")
    assert "job job-7" in loop.text
    assert alerts_of(failing(50, 2, 100), beat(1000), alerts=False) == []


def test_an_override_says_how_urgent() -> None:
    """Scenario: a class whose override says critical. Guarantees: its alert is."""
    config = {"overrides": [{"job_class": "Mail", "severity": "critical"}]}

    assert alerts_of(failing(50, 2, 100), beat(1000), **config)[0].severity is Severity.CRITICAL


def test_time_goes_on_without_rows() -> None:
    """Scenario: an outage, and then no row at all, while the engine's clock goes on.

    Guarantees: the cluster goes quiet and is resolved; then the processor sleeps.
    """
    watcher = processor(**QUICK)
    rows = told(fed(watcher, failing(50, 2, 100)))
    now = 5000.0
    for _ in range(200):
        wake = watcher.wake_at()
        if wake is None:
            break
        now = max(now, wake)
        rows += told(watcher.tick(now))

    assert [row["state"] for row in rows] == ["opened", "growing", "quiet", "resolved"]
    assert watcher.wake_at() is None
    assert now < 5000 + 300
