"""One alert through time: what people are told of it, and when."""

from __future__ import annotations

import pytest

from pipeline.alerts import RUNBOOKS, Severity, alert_batch
from tests.processors.alerts.desk import HOUR, MINUTE, SECOND, Desk, labels, said


def test_told_once_and_taken_back_once() -> None:
    """Scenario: an alert is raised every minute for half an hour, then it is over, which is said twice.

    Guarantees: two messages; the first after group_wait, the last with the text of the end and the severity of the
    beginning; everything else is dropped with its reason, and no intake is owed.
    """
    desk = Desk()
    for minute in range(30):
        desk.until(minute * MINUTE)
        desk.fire("a", trace_ids=(f"{minute:032x}",))
    desk.resolve("a", text="It is over.", severity=Severity.INFO)
    desk.until(2 * HOUR)
    desk.resolve("a")

    begin, end = desk.told
    assert said(desk.told) == [("a", "firing"), ("a", "resolved")]
    assert begin.timestamp == 0
    assert (end.text, end.severity) == ("It is over.", Severity.WARNING)
    assert labels(end) == {"suppressed": "29"}
    assert end.trace_ids[0] == f"{29:032x}"
    assert len(end.trace_ids) == 10
    assert desk.dropped.count("duplicate") == 29
    assert desk.dropped.count("resolved_unknown") == 1
    assert desk.settled


def test_first_message_waits_for_company() -> None:
    """Scenario: an alert, and the clock. Guarantees: nothing before group_wait is over, then it comes."""
    desk = Desk(group_wait=10.0)
    desk.fire("a")

    assert desk.until(9.9) == []
    assert not desk.settled
    assert said(desk.until(10.0)) == [("a", "firing")]
    assert desk.settled


def test_over_before_anybody_heard() -> None:
    """Scenario: an alert ends while it waits for its group. Guarantees: nobody is told of either."""
    desk = Desk()
    desk.fire("a")
    desk.until(5)
    desk.resolve("a")

    assert desk.until(HOUR) == []
    assert desk.dropped == ["resolved_untold", "resolved_untold"]
    assert desk.settled


def test_an_end_without_beginning() -> None:
    """Scenario: an end of what nobody knows. Guarantees: dropped."""
    desk = Desk()
    desk.resolve("a")

    assert desk.until(HOUR) == []
    assert desk.dropped == ["resolved_unknown"]


def test_reminds_of_what_keeps_being_raised() -> None:
    """Scenario: raised every ten minutes for nine hours. Guarantees: told again every repeat_interval, no more."""
    desk = Desk(repeat_interval=4 * HOUR)
    for ten_minutes in range(54):
        desk.until(ten_minutes * 10 * MINUTE)
        desk.fire("a")
    desk.until(24 * HOUR)

    told = [alert for alert in desk.told if alert.subject == "a"]
    assert [alert.timestamp // SECOND for alert in told] == [0, 14_400, 28_800, 31_800]
    assert [labels(alert).get("suppressed") for alert in told] == [None, "24", "24", "5"]


def test_no_reminder_of_what_was_raised_once() -> None:
    """Scenario: raised once, never ended. Guarantees: one message, however long it lasts."""
    desk = Desk()
    desk.fire("a")
    desk.until(1000 * HOUR)

    assert said(desk.told) == [("a", "firing")]


def test_flapping_is_told_once_a_cooldown() -> None:
    """Scenario: begins and ends every five minutes for two hours.

    Guarantees: after the first pair a message only when an hour is over and it fires then, instead of 48.
    """
    desk = Desk(cooldown=HOUR, group_interval=MINUTE)
    for five_minutes in range(24):
        desk.until(five_minutes * 5 * MINUTE)
        (desk.fire if five_minutes % 2 == 0 else desk.resolve)("a")
    desk.until(5 * HOUR)

    assert said(desk.told) == [("a", "firing"), ("a", "resolved")] * 2
    assert 3600 <= desk.told[2].timestamp / SECOND < 3700
    assert desk.settled


def test_fires_still_when_the_cooldown_ends() -> None:
    """Scenario: told, over, and firing again soon, once, for good.

    Guarantees: told when the cooldown ends, though nobody raises it again.
    """
    desk = Desk(cooldown=HOUR)
    desk.fire("a")
    desk.until(6 * MINUTE)
    desk.resolve("a")
    desk.until(20 * MINUTE)
    desk.fire("a", text="Again.")
    assert desk.dropped == ["cooldown"]

    assert desk.until(HOUR) == []
    assert said(desk.told) == [("a", "firing"), ("a", "resolved")]
    assert [alert.text for alert in desk.until(2 * HOUR)] == ["Again."]
    assert desk.settled


def test_critical_does_not_cool_down() -> None:
    """Scenario: a critical alert comes back during the cooldown. Guarantees: told with the group's next message."""
    desk = Desk(cooldown=HOUR, group_interval=5 * MINUTE)
    desk.fire("a", severity=Severity.CRITICAL)
    desk.until(6 * MINUTE)
    desk.resolve("a")
    desk.until(12 * MINUTE)
    desk.fire("a", severity=Severity.CRITICAL)
    desk.until(20 * MINUTE)

    assert said(desk.told) == [("a", "firing"), ("a", "resolved"), ("a", "firing")]


def test_it_gets_worse() -> None:
    """Scenario: a warning that was told becomes critical, is raised as warning again, and ends.

    Guarantees: the rise is told, the fall is not, the end has the severity that was told last.
    """
    desk = Desk(group_interval=MINUTE)
    desk.fire("a")
    desk.until(5 * MINUTE)
    desk.fire("a", severity=Severity.CRITICAL)
    desk.until(10 * MINUTE)
    desk.fire("a")
    desk.until(15 * MINUTE)
    desk.resolve("a")
    desk.until(20 * MINUTE)

    assert [str(alert.severity) for alert in desk.told] == ["warning", "critical", "critical"]
    assert said(desk.told)[-1] == ("a", "resolved")


def test_over_when_nobody_says_so_any_more() -> None:
    """Scenario: auto_resolve of an hour; raised for two hours, then silence.

    Guarantees: taken back an hour after it was raised last, with the reason.
    """
    desk = Desk(auto_resolve=HOUR)
    for ten_minutes in range(13):
        desk.until(ten_minutes * 10 * MINUTE)
        desk.fire("a")
    assert desk.until(3 * HOUR - 1) == []

    (end,) = desk.until(4 * HOUR)
    assert said([end]) == [("a", "resolved")]
    assert end.timestamp == 3 * 3600 * SECOND
    assert end.text == "Over: it was not raised again for 3600 s."


@pytest.mark.parametrize("replayed", [["firing"], ["firing", "resolved"]])
def test_old_news_after_a_replay(replayed: list[str]) -> None:
    """Scenario: an alert came and went; then the same rows arrive again, as after a crash of the receiver.

    Guarantees: nobody is told again.
    """
    desk = Desk()
    begin, end = desk.alert("a", timestamp=10 * SECOND), desk.alert("a", timestamp=20 * SECOND)
    desk.give(begin)
    desk.until(MINUTE)
    desk.resolve("a", timestamp=end.timestamp)
    desk.until(10 * MINUTE)
    before = len(desk.told)
    for state in replayed:
        (desk.fire if state == "firing" else desk.resolve)("a", timestamp=(10 if state == "firing" else 20) * SECOND)
    desk.until(5 * HOUR)

    assert len(desk.told) == before == 2
    assert desk.dropped[-len(replayed) :] == ["stale", "resolved_unknown"][: len(replayed)]


def test_old_news_without_a_cooldown() -> None:
    """Scenario: no cooldown; an alert began and ended; half an hour later a replay raises it anew, with its old time.

    Guarantees: it is known as old: an alert that is over is remembered for an hour.
    """
    desk = Desk(cooldown=0, group_wait=0.0, group_interval=0.0)
    desk.fire("a")
    desk.until(MINUTE)
    desk.resolve("a")
    desk.until(30 * MINUTE)
    desk.fire("a", timestamp=0)

    assert desk.until(HOUR) == []
    assert desk.dropped == ["stale"]


def test_overrides() -> None:
    """Scenario: overrides of severity and runbook; runbooks of one's own in the place of the project's pages.

    Guarantees: the first that matches counts; pages are found there, also where they are no links; other links stay.
    """
    desk = Desk(
        group_wait=0.0,
        group_by=["subject"],
        runbook_url="https://docs.example/runbooks/",
        overrides=[
            {"match": {"name": "Failure*", "labels": {"queue": ["mail", "sms"]}}, "severity": "critical"},
            {"match": {"subject": "b"}, "severity": "info", "runbook": "https://wiki.example/b"},
            {"match": {"severity": "warning"}, "runbook": "other.md"},
        ],
    )
    desk.fire("a", labels={"queue": "sms"}, runbook="failure-cluster.md")
    desk.fire("b", runbook="failure-cluster.md")
    desk.fire("c")
    desk.fire("d", severity=Severity.INFO, runbook=f"{RUNBOOKS}retry-loop.md")
    desk.fire("e", severity=Severity.INFO, runbook="https://wiki.example/e")
    desk.until(1)

    assert [(str(alert.severity), alert.runbook) for alert in desk.told] == [
        ("critical", "https://docs.example/runbooks/failure-cluster.md"),
        ("info", "https://wiki.example/b"),
        ("warning", "https://docs.example/runbooks/other.md"),
        ("info", "https://docs.example/runbooks/retry-loop.md"),
        ("info", "https://wiki.example/e"),
    ]


@pytest.mark.parametrize("uptime", [0.0, 123_456.789, 31_415_926.535897932, 900_000_000.1234567])
def test_clocks_are_not_exact(uptime: float) -> None:
    """Scenario: waits and reminders on machines that have been up for long, where a float has no nanoseconds.

    Guarantees: whatever is due is done at the tick that was asked for; the same messages on all.
    """
    desk = Desk(now=uptime, cooldown=0.3, repeat_interval=0.7, group_wait=0.1, group_interval=0.1, auto_resolve=1.1)
    for tenth in range(100):
        desk.until(uptime + tenth / 9.7)
        if tenth % 23 < 20:
            (desk.resolve if tenth % 23 == 10 else desk.fire)("a")
    desk.until(uptime + 100)

    assert len(desk.told) == 20
    assert desk.settled


def test_memory_is_bounded() -> None:
    """Scenario: more alerts than max_alerts, the first of them over, with texts of a megabyte.

    Guarantees: what is over is forgotten first, then what was raised least recently; texts are cut; no intake is owed.
    """
    desk = Desk(max_alerts=3, group_limit=10, group_wait=0.0, group_interval=0.0)
    desk.fire("a", "over", text="x" * 1_000_000, trace_ids=tuple("abcdefghijklmnop"))
    desk.until(1)
    desk.resolve("over")
    desk.until(2)
    desk.fire("a", "b", "c")
    desk.until(3)
    desk.resolve("over", "a")
    desk.until(4)
    desk.fire("b", "d", "e")
    desk.until(5)
    desk.resolve("b", "c", "d", "e")
    desk.until(6)
    desk.drain()

    assert len(desk.told[0].text) == 4096
    assert len(desk.told[0].trace_ids) == 10
    assert len(desk.processor._alerts) == 3
    assert said(desk.told)[-3:] == [("b", "resolved"), ("d", "resolved"), ("e", "resolved")]
    assert desk.settled


def test_shutdown_before_the_next_tick() -> None:
    """Scenario: an alert comes, and the pipelines drain before a tick. Guarantees: it is told; nothing is owed."""
    desk = Desk()
    desk.given = 1
    assert list(desk.processor.process(alert_batch([desk.alert("a")], desk.ledger.receipt("1")))) == []

    assert said(desk.drain()) == [("a", "firing")]
    assert desk.settled


def test_shutdown_tells_what_waits() -> None:
    """Scenario: an alert waits for its group, another one for the end of a cooldown, when the program stops.

    Guarantees: the first is told at once; no intake is owed; it wants no more ticks.
    """
    desk = Desk()
    desk.fire("b")
    desk.until(20)
    desk.resolve("b")
    desk.until(6 * MINUTE)
    desk.fire("b")
    desk.fire("a")

    assert said(desk.drain()) == [("a", "firing")]
    assert desk.settled
    assert desk.processor.wake_at() is None
