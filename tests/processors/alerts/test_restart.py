"""Saved state, and properties that hold for any story of alerts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import ComponentId
from pipeline.alerts import Alert, AlertState, Severity
from processors.alerts import AlertsProcessor
from processors.alerts.config import AlertsConfig
from tests.processors.alerts.desk import HOUR, MINUTE, Desk, said

Event = tuple[float, str, AlertState, Severity]

EVENTS = st.lists(
    st.tuples(
        st.floats(0, 40 * MINUTE),
        st.sampled_from(["a", "b", "c", "d"]),
        st.sampled_from(list(AlertState)),
        st.sampled_from(list(Severity)),
    ),
    max_size=40,
)
KEYS: dict[str, Any] = {"cooldown": 30 * MINUTE, "group_interval": 5 * MINUTE, "repeat_interval": 20 * MINUTE}


def live(desk: Desk, events: list[Event]) -> None:
    for wait, subject, state, severity in events:
        desk.until(desk.now + wait)
        desk.fire(subject, state=state, severity=severity)


def believed(told: list[Alert]) -> set[tuple[str, str]]:
    """Return what fires, according to the messages."""
    last = {(alert.name, alert.subject): alert.state for alert in told}
    return {identity for identity, state in last.items() if state is AlertState.FIRING}


def true(events: list[Event]) -> set[str]:
    last = {subject: state for _, subject, state, _ in events}
    return {subject for subject, state in last.items() if state is AlertState.FIRING}


@given(EVENTS)
def test_people_believe_what_is_true(events: list[Event]) -> None:
    """Scenario: any story of four alerts.

    Guarantees: in the end, people believe of each what is true; a group speaks at most once an interval; no intake is
    owed.
    """
    desk = Desk(**KEYS)
    live(desk, events)
    desk.until(desk.now + 2 * HOUR)

    assert {subject for _, subject in believed(desk.told)} == true(events)
    assert len(desk.batches) <= 2 + desk.now / (5 * MINUTE)
    assert desk.settled


@given(EVENTS)
def test_rows_for_groups_are_taken_back(events: list[Event]) -> None:
    """Scenario: any story, where more than one alert becomes a row for the group.

    Guarantees: in the end something is believed to fire exactly where something fires; all of it is covered.
    """
    desk = Desk(**KEYS, group_limit=1)
    live(desk, events)
    desk.until(desk.now + 2 * HOUR)
    subjects = {subject for _, subject in believed(desk.told)}

    assert bool(subjects) == bool(true(events))
    assert subjects - {"group"} <= true(events)
    assert "group" in subjects or subjects == true(events)
    assert desk.settled


@given(EVENTS, st.integers(0, 40))
def test_a_restart_changes_nothing_in_the_end(events: list[Event], cut: int) -> None:
    """Scenario: any story, in which the program is killed just after its state was saved, and starts an hour later.

    Guarantees: in the end, people believe what is true.
    """
    before = Desk(**KEYS, group_limit=2)
    live(before, events[:cut])
    after = Desk(**KEYS, group_limit=2, now=before.now + HOUR, state=before.processor.state())
    live(after, events[cut:])
    after.until(after.now + 2 * HOUR)
    subjects = {subject for _, subject in believed(before.told + after.told)}

    assert bool(subjects) == bool(true(events))
    assert subjects - {"group"} <= true(events)
    assert "group" in subjects or subjects == true(events)


@given(st.lists(st.integers(1, 5), max_size=8))
def test_batches_do_not_matter(sizes: list[int]) -> None:
    """Scenario: the same alerts in one batch and cut into several. Guarantees: the same messages."""
    whole, parts = Desk(group_limit=100), Desk(group_limit=100)
    alerts = [whole.alert(f"job{number % 7}", text=f"{number}") for number in range(sum(sizes))]
    whole.give(*alerts)
    start = 0
    for size in sizes:
        parts.give(*alerts[start : start + size])
        start += size

    assert whole.until(HOUR) == parts.until(HOUR)


def test_a_restart_in_the_middle_of_a_storm() -> None:
    """Scenario: a storm of three was told as one row; a restart; its alerts end one after the other.

    Guarantees: the row is taken back when the last of them is over, not at the start and not before.
    """
    before = Desk(group_limit=1)
    before.fire("a", "b", "c")
    before.until(MINUTE)
    after = Desk(group_limit=1, now=HOUR, state=before.processor.state())
    after.until(2 * HOUR)
    after.resolve("a", "b")
    after.until(3 * HOUR)
    assert after.told == []

    after.resolve("c")
    after.until(4 * HOUR)
    assert said(before.told + after.told) == [("group", "firing"), ("group", "resolved")]


def test_a_restart_with_other_groups() -> None:
    """Scenario: a storm was told; the program starts again with another group_by, then all is over.

    Guarantees: the row for the old group is taken back, its members each by themselves.
    """
    before = Desk(group_limit=1)
    before.fire("a", "b", labels={"queue": "mail"})
    before.until(MINUTE)
    after = Desk(group_by=["queue"], group_limit=1, now=2 * MINUTE, state=before.processor.state())
    after.resolve("a", "b")
    after.until(HOUR)

    assert said(before.told) == [("group", "firing")]
    assert said(after.told) == [("group", "resolved"), ("a", "resolved"), ("b", "resolved")]
    assert after.told[0].name == "FailureCluster"


def test_state_is_the_same_bytes_without_news() -> None:
    """Scenario: nothing happens between two savings. Guarantees: the same bytes, so nothing is written."""
    desk = Desk()
    desk.fire("a", labels={"queue": "mail"})
    desk.until(MINUTE)

    assert desk.processor.state() == desk.processor.state()


@pytest.mark.parametrize("state", [b"", b"[]", b"{}", b'{"group_by":[],"alerts":[],"groups":[],"format":2}'])
def test_bytes_that_are_no_state(state: bytes) -> None:
    """Scenario: damaged or foreign bytes. Guarantees: ValueError, which the storage deals with."""
    processor = AlertsProcessor(AlertsConfig(), ComponentId("alerts"))

    with pytest.raises(ValueError, match="not a saved state of processor alerts"):
        processor.restore(state)
