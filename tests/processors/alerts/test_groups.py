"""Many alerts at once: one message, one row for a storm, and the way back."""

from __future__ import annotations

from pipeline.alerts import Severity
from tests.processors.alerts.desk import HOUR, MINUTE, Desk, labels, said

SUBJECTS = [f"job{number}" for number in range(20)]


def test_a_few_come_together() -> None:
    """Scenario: three alerts of one name within seconds, one of another name.

    Guarantees: one batch a name, a row an alert.
    """
    desk = Desk(group_wait=10.0)
    desk.fire("a")
    desk.until(3)
    desk.fire("b", "c")
    desk.fire("a", name="RetryLoop")
    desk.until(MINUTE)

    assert [said(batch) for batch in desk.batches] == [
        [("a", "firing"), ("b", "firing"), ("c", "firing")],
        [("a", "firing")],
    ]


def test_a_group_speaks_once_an_interval() -> None:
    """Scenario: a new alert of one name every minute for half an hour.

    Guarantees: a message at group_wait, then one every group_interval with what is new.
    """
    desk = Desk(group_wait=10.0, group_interval=5 * MINUTE)
    for minute in range(30):
        desk.until(minute * MINUTE)
        desk.fire(f"job{minute}")
    desk.until(HOUR)

    assert [len(batch) for batch in desk.batches] == [1, 5, 5, 5, 5, 5, 4]


def test_a_storm_is_one_row() -> None:
    """Scenario: twenty alerts at once, one of them critical, of one class.

    Guarantees: one row with their number, the worst first, what they have in common, some of their traces.
    """
    desk = Desk(group_limit=5)
    for number, subject in enumerate(SUBJECTS):
        desk.fire(
            subject,
            severity=Severity.CRITICAL if number == 17 else Severity.WARNING,
            labels={"job_class": "Mail", "host": f"host{number}"},
            runbook="https://docs.example/failure-cluster",
            trace_ids=(f"{number:032x}",),
        )

    (row,) = desk.until(MINUTE)
    assert (row.name, row.subject, str(row.severity)) == ("FailureCluster", "group", "critical")
    assert labels(row) == {"job_class": "Mail", "alerts": "20"}
    assert row.text.splitlines()[:2] == ["20 alerts fire:", "- job17: job17 fails."]
    assert row.text.splitlines()[-1] == "- and 15 more"
    assert row.runbook == "https://docs.example/failure-cluster"
    assert len(row.trace_ids) == 10
    assert row.trace_ids[0] == f"{17:032x}"
    assert desk.dropped.count("grouped") == 19
    assert desk.settled


def test_a_storm_ends_when_its_last_alert_does() -> None:
    """Scenario: a storm; half of it is over, two more join, then all is over; a single alert much later.

    Guarantees: no message for the half, one for the newcomers, one end; afterwards alerts have rows of their own again.
    """
    desk = Desk(group_limit=5, group_interval=5 * MINUTE)
    desk.fire(*SUBJECTS)
    desk.until(MINUTE)
    desk.resolve(*SUBJECTS[:10])
    assert desk.until(10 * MINUTE)[1:] == []
    desk.fire("new1", "new2")
    (joined,) = desk.until(20 * MINUTE)
    assert joined.text.startswith("12 alerts fire, 2 of them new:\n- new1: new1 fails.")
    assert labels(joined) == {"alerts": "12"}
    desk.resolve(*SUBJECTS[10:], "new1")
    assert desk.until(30 * MINUTE) == []
    desk.resolve("new2")
    (end,) = desk.until(40 * MINUTE)
    assert said([end]) == [("group", "resolved")]
    assert end.text == "All alerts of this group are over; last told of were 12."
    desk.until(2 * HOUR)
    desk.fire("single")

    assert said(desk.until(3 * HOUR)) == [("single", "firing")]
    assert desk.settled


def test_those_told_alone_are_taken_back_alone() -> None:
    """Scenario: one alert has a row of its own, then a storm of its group comes, then all is over.

    Guarantees: an end for the one and an end for the group: whoever opened two incidents closes two.
    """
    desk = Desk(group_limit=5, group_interval=MINUTE)
    desk.fire("first")
    desk.until(MINUTE)
    desk.fire(*SUBJECTS)
    desk.until(10 * MINUTE)
    desk.resolve("first", *SUBJECTS)
    desk.until(20 * MINUTE)

    assert said(desk.told) == [
        ("first", "firing"),
        ("group", "firing"),
        ("first", "resolved"),
        ("group", "resolved"),
    ]
    assert desk.settled


def test_groups_by_labels() -> None:
    """Scenario: grouped by name and queue; storms in two queues.

    Guarantees: a row for each, its subject says which group, and each ends by itself.
    """
    desk = Desk(group_by=["name", "queue"], group_limit=2, group_interval=MINUTE)
    for queue in ("mail", "sms"):
        desk.fire(*(f"{queue}{number}" for number in range(5)), labels={"queue": queue})
    desk.until(MINUTE)
    desk.resolve(*(f"sms{number}" for number in range(5)))
    desk.until(HOUR)

    assert said(desk.told) == [
        ("group queue=mail", "firing"),
        ("group queue=sms", "firing"),
        ("group queue=sms", "resolved"),
    ]
    assert labels(desk.told[0]) == {"queue": "mail", "alerts": "5"}


def test_one_group_of_all() -> None:
    """Scenario: group_by is empty, alerts of two names. Guarantees: one row, under a name for all."""
    desk = Desk(group_by=[], group_limit=1)
    desk.fire("a")
    desk.fire("b", name="RetryLoop")

    assert [(row.name, row.subject) for row in desk.until(MINUTE)] == [("AlertGroup", "group")]


def test_quiet_groups_are_forgotten() -> None:
    """Scenario: a thousand groups, each with one alert that comes and goes.

    Guarantees: later nothing is remembered of them, and nothing is to be woken for.
    """
    desk = Desk(group_by=["subject"], group_wait=0.0, group_interval=MINUTE, cooldown=MINUTE)
    desk.fire(*(f"job{number}" for number in range(1000)))
    desk.until(1)
    desk.resolve(*(f"job{number}" for number in range(1000)))
    desk.until(10 * HOUR)

    assert len(desk.told) == 2000
    assert desk.processor.wake_at() is None
    assert not desk.processor._alerts
    assert not desk.processor._groups


def test_a_storm_that_is_forgotten_is_taken_back() -> None:
    """Scenario: a storm, then so many other alerts that all of its members are forgotten.

    Guarantees: the row for the group is taken back, for nobody else would.
    """
    desk = Desk(group_by=["queue"], group_limit=1, max_alerts=3)
    desk.fire("a", "b", labels={"queue": "mail"})
    desk.until(MINUTE)
    desk.fire("c", "d", "e", labels={"queue": "sms"})
    desk.until(2 * HOUR)

    assert said(desk.told) == [
        ("group queue=mail", "firing"),
        ("group queue=mail", "resolved"),
        ("group queue=sms", "firing"),
    ]
    assert desk.settled


def test_reminders_of_many_come_together() -> None:
    """Scenario: six alerts, told two by two, raised every minute; a silence until all reminders are due; an end.

    Guarantees: one row reminds of all; it is taken back when they are over, and so is each of them, not before.
    """
    silence = {"match": {}, "from": "1970-01-01T02:00:00Z", "until": "1970-01-01T06:00:00Z"}
    desk = Desk(group_limit=2, repeat_interval=4 * HOUR, silences=[silence])
    for minute in range(420):
        desk.until(minute * MINUTE)
        desk.fire(*(f"job{number}" for number in range(min(6, 2 + 2 * (minute // 6)))))
    reminders = [alert for alert in desk.told if alert.subject == "group"]
    assert {str(alert.state) for alert in reminders} == {"firing"}
    desk.resolve(*(f"job{number}" for number in range(6)))
    desk.until(8 * HOUR)

    assert sorted(said(desk.told[-7:])) == [
        ("group", "resolved"),
        *((f"job{number}", "resolved") for number in range(6)),
    ]
    assert desk.settled
