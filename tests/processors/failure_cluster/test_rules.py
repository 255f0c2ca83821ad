"""Each rule on its own, by the smallest stream that fires it and the largest that does not."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import pytest

from tests.processors.failure_cluster.streams import Fault, Record, Stream, watched

OFF = {"enabled": False}
ALONE: dict[str, Any] = {"burst": OFF, "ratio": OFF, "retry_loop": OFF, "shared_cause": OFF, "threshold": OFF}
BROKEN = Fault("Broken")


def only(**rules: Any) -> dict[str, Any]:
    return {**ALONE, **rules}


def opened(records: list[Record], **config: Any) -> list[Record]:
    return [row for row in watched(records, **config) if row["state"] == "opened"]


def failing(number: int, every: float, job_class: str = "Mail", fault: Fault = BROKEN, **more: Any) -> list[Record]:
    stream = Stream(crc32(f"{job_class} {more}".encode()))
    for place in range(number):
        stream.add(place * every, job_class, fault, **more)
    return stream.sorted()


def test_more_than_ten_failures_within_an_hour() -> None:
    """Scenario: ten failures of a class within an hour, then eleven, then eleven in a little more than an hour.

    Guarantees: only the second opens a cluster; it has all eleven and names the error, when the eleventh is known.
    """
    (cluster,) = opened(failing(11, 350), **only(threshold={}))

    assert opened(failing(10, 350), **only(threshold={})) == []
    assert opened(failing(11, 361), **only(threshold={})) == []
    assert (cluster["rule"], cluster["failures"], cluster["job_classes"]) == ("threshold", 11, ["Mail"])
    assert (cluster["error_type"], cluster["error_category"]) == ("Broken", "bug")
    assert cluster["error_fingerprint"] == "1:Broken"
    assert cluster["sample_messages"] == ["Broken: it broke"]
    assert len(cluster["sample_trace_ids"]) == 5
    assert cluster["queues"] == ["default"]


def test_the_commonest_error_is_named() -> None:
    """Scenario: six failures of one kind and five of another.

    Guarantees: together they open a cluster, which names the commoner one.
    """
    stream = Stream()
    for place in range(11):
        stream.add(place * 10, "Mail", Fault("Rare") if place % 2 else BROKEN)

    (cluster,) = opened(stream.sorted(), **only(threshold={}))

    assert (cluster["failures"], cluster["error_type"]) == (11, "Broken")
    assert set(cluster["sample_messages"]) == {"Broken: it broke", "Rare: it broke"}


def test_a_busy_class_needs_a_share() -> None:
    """Scenario: twelve failures among 2000 executions, with the usual share and without one.

    Guarantees: the number alone opens a cluster only where no share is asked for.
    """
    stream = Stream()
    stream.runs("Mail", 4000, 0, 1800)
    records = sorted([*stream.records, *failing(12, 100)], key=lambda record: record["at"])

    assert opened(records, **only(threshold={})) == []
    assert len(opened(records, **only(threshold={"min_share": 0.0}))) == 1


def test_classes_and_queues_have_rules_of_their_own() -> None:
    """Scenario: six failures each of a class with an override, of a queue with one, of an ignored class and another.

    Guarantees: the overrides hold where they match, and keys that they leave out are the general ones.
    """
    records = [
        *failing(6, 10, "billing.Charge"),
        *failing(6, 10, "Mail", Fault("Vip"), queue="vip"),
        *failing(6, 10, "Mail", Fault("Low"), queue="low"),
        *failing(60, 1, "Flaky"),
    ]
    config = only(
        threshold={"window": 600.0},
        overrides=[
            {"job_class": "billing.*", "threshold": {"failures": 5}},
            {"queue": "v?p", "threshold": {"failures": 4}},
            {"job_class": "Flaky", "ignore": True},
        ],
    )

    rows = opened(sorted(records, key=lambda record: record["at"]), **config)

    assert sorted((row["job_classes"], row["queues"]) for row in rows) == [
        (["Mail"], ["vip"]),
        (["billing.Charge"], ["default"]),
    ]


def test_a_burst_is_measured_by_the_class_itself() -> None:
    """Scenario: two classes run alike, one fails once in a thousand, the other one in ten; then both one in ten.

    Guarantees: only the first has a burst.
    """
    stream = Stream(3)
    stream.runs("Good", 3000, 0, 7200, share=0.001, fault=Fault("Usual"))
    stream.runs("Good", 3000, 7200, 7800, share=0.1, fault=Fault("Usual"))
    stream.runs("Bad", 3000, 0, 7800, share=0.1, fault=Fault("Known"))

    rows = opened(stream.sorted(), **only(burst={}))

    assert [(row["rule"], row["job_classes"]) for row in rows] == [("burst", ["Good"])]


@pytest.mark.parametrize(("successes", "expected"), [(5, 1), (6, 0)])
def test_half_of_few_executions(successes: int, expected: int) -> None:
    """Scenario: five failures within a day, and as many successes, or one more.

    Guarantees: half of the executions open a cluster, less does not.
    """
    stream = Stream(1)
    for place in range(successes):
        stream.add(place * 1000, "Nightly")
    records = [*stream.records, *[{**record, "at": 10_000 + record["at"]} for record in failing(5, 3600, "Nightly")]]

    assert len(opened(records, **only(ratio={}))) == expected


def test_a_fourth_retry_is_a_loop() -> None:
    """Scenario: one job fails four times and five times within a day, five jobs once each, and one five times in two.

    Guarantees: only the fifth failure, which is the fourth retry, opens a cluster.
    """
    stuck = failing(5, 3600, job_id="7")
    slow = failing(5, 11 * 3600, job_id="7")

    assert opened(stuck[:4], **only(retry_loop={})) == []
    assert opened(failing(5, 3600), **only(retry_loop={})) == []
    assert opened(slow, **only(retry_loop={})) == []
    (cluster,) = opened(stuck, **only(retry_loop={}))
    assert (cluster["rule"], cluster["failures"]) == ("retry_loop", 5)


def test_attempts_are_not_failures_of_the_same_execution() -> None:
    """Scenario: ten executions that failed, each told again as retried, and some taken back or found to have succeeded.

    Guarantees: each counts once, and those that did not fail do not: no cluster.
    """
    first = failing(12, 10)
    again = [{**record, "version": 2, "outcome": "retried"} for record in first[:10]]
    gone = [
        {**first[10], "version": 2, "is_deleted": True},
        {**first[11], "version": 2, "outcome": "succeeded", "fault": None},
    ]

    assert opened([*first, *again, *gone], **only(threshold={})) == []
    assert opened([*first, *again, *gone, *first], **only(threshold={})) == []
    assert len(opened([*first, *again], **only(threshold={}))) == 1


def test_what_is_taken_back_later_counts_no_more() -> None:
    """Scenario: nine failures, long known, are said to have succeeded; then five more come.

    Guarantees: there are five failures, which open nothing.
    """
    first = failing(9, 10)
    tick = Stream()
    tick.add(300, "Other")
    back = [{**record, "version": 2, "outcome": "succeeded", "fault": None} for record in first]
    later = [{**record, "at": 400 + record["at"], "span": b"%08d" % n} for n, record in enumerate(failing(5, 10))]

    assert opened([*first, *tick.records, *back, *later], **only(threshold={})) == []
    assert len(opened([*first, *tick.records, *later], **only(threshold={}))) == 1


def test_few_failures_of_many_classes_with_one_dependency() -> None:
    """Scenario: seven classes with three failures each, all of calls to one dependency, among their successes.

    Guarantees: one cluster with all seven, whose first cause is the dependency: in all failures, in no success.
    """
    stream = Stream(5)
    for number in range(12):
        stream.runs(f"Job{number}", 200, 0, 3600)
    for number in range(7):
        for place in range(3):
            stream.add(3600 + 40 * place + number, f"Job{number}", Fault(f"Down{number}", peer="search"))

    rows = watched(stream.sorted(), **only(shared_cause={}))

    assert [row["state"] for row in rows].count("opened") == 1
    assert sorted(rows[-1]["job_classes"]) == [f"Job{number}" for number in range(7)]
    assert rows[-1]["rule"] == "shared_cause"
    assert rows[-1]["causes"][0] == {
        "key": "dependency",
        "value": "search",
        "share_in_failures": 1.0,
        "share_in_successes": 0.0,
    }
