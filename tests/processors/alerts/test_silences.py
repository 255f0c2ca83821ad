"""Silences and maintenance windows: when they hold, and what is told at their end."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from pipeline.alerts import Alert, Severity
from processors.alerts.config import SilenceConfig, WeeklyConfig
from processors.alerts.silences import nanoseconds, silenced_until, weekly_end
from tests.processors.alerts.desk import HOUR, MINUTE, Desk, said

BERLIN = "Europe/Berlin"
NIGHT = {"start": "22:00", "end": "06:00", "time_zone": BERLIN}


def at(text: str, zone: str = BERLIN, fold: int = 0) -> int:
    return nanoseconds(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold))


def silence(**keys: Any) -> SilenceConfig:
    return SilenceConfig.model_validate({"match": {}, **keys})


ALERT = Alert("FailureCluster", Severity.WARNING, "a", "", 0, labels={"queue": "mail"})


@pytest.mark.parametrize(
    ("days", "now", "end"),
    [
        ("fri", "2026-11-20T21:59:59", None),  # a Friday
        ("fri", "2026-11-20T22:00:00", "2026-11-21T06:00:00"),
        ("fri", "2026-11-21T05:59:59", "2026-11-21T06:00:00"),
        ("fri", "2026-11-21T06:00:00", None),
        ("fri", "2026-11-21T23:00:00", None),
        (["fri", "sat"], "2026-11-21T23:00:00", "2026-11-22T06:00:00"),
        # Clocks go back on 25 October 2026 at 3:00: the night has nine hours.
        ("sat", "2026-10-25T05:30:00", "2026-10-25T06:00:00"),
    ],
)
def test_windows_over_midnight(days: Any, now: str, end: str | None) -> None:
    """Scenario: a window from 22:00 to 6:00 in Berlin, moments around it.

    Guarantees: it belongs to the day on which it begins, and ends on the next.
    """
    weekly = WeeklyConfig.model_validate({**NIGHT, "days": days})

    assert weekly_end(weekly, at(now)) == (None if end is None else at(end))


def test_clocks_change() -> None:
    """Scenario: a window from 2:00 to 2:30 when clocks go back, where this comes twice; one when they go forward.

    Guarantees: it holds to the later end; nothing breaks where the time does not exist.
    """
    back = WeeklyConfig.model_validate({"start": "02:00", "end": "02:30", "time_zone": BERLIN})
    assert weekly_end(back, at("2026-10-25T02:10")) == at("2026-10-25T02:30", fold=1)
    assert weekly_end(back, at("2026-10-25T02:10", fold=1)) == at("2026-10-25T02:30", fold=1)
    forward = WeeklyConfig.model_validate({"start": "02:30", "end": "03:30", "time_zone": BERLIN})
    assert weekly_end(forward, at("2026-03-29T03:15")) is None
    assert weekly_end(forward, at("2026-03-29T01:59")) is None


@pytest.mark.parametrize(
    ("start", "end", "inside", "outside"),
    [
        ("00:00", "24:00", "2026-11-20T23:59", "2026-11-21T00:00"),
        ("08:00", "08:00", "2026-11-21T07:59", "2026-11-20T07"),
    ],
)
def test_whole_days(start: str, end: str, inside: str, outside: str) -> None:
    """Scenario: a window of a whole Friday, and of a day from 8 to 8. Guarantees: it is 24 hours long."""
    weekly = WeeklyConfig.model_validate({"days": "fri", "start": start, "end": end})

    assert weekly_end(weekly, at(inside, "UTC")) is not None
    assert weekly_end(weekly, at(outside, "UTC")) is None


def test_silences_add_up() -> None:
    """Scenario: silences with and without beginning, weekly ones with an end, some for other alerts.

    Guarantees: the one that lasts longest counts; a weekly one ends with its `until`; offsets are heeded.
    """
    now = at("2026-11-20T23:00")
    fixed = silence(**{"from": "2026-11-20T22:00:00+01:00", "until": "2026-11-21T00:00:00+01:00"})
    later = silence(**{"from": "2026-11-20T23:30:00+01:00", "until": "2026-11-25T00:00:00Z"})
    weekly = silence(weekly=NIGHT, until="2026-11-21T03:00:00+01:00")
    other = silence(match={"labels": {"queue": "sms"}}, until="2099-01-01T00:00:00Z")
    gone = silence(until="2026-11-20T22:59:59+01:00")

    assert silenced_until([fixed], ALERT, now) == at("2026-11-21T00:00")
    assert silenced_until([fixed, later, weekly, other, gone], ALERT, now) == at("2026-11-21T03:00")
    assert silenced_until([other, gone, later], ALERT, now) is None


def test_told_at_the_end_if_it_still_fires() -> None:
    """Scenario: two alerts begin in a silence, one ends in it; a third was told before and ends in it.

    Guarantees: the end of what was told is told at once; what still fires is told when the silence is over.
    """
    desk = Desk(silences=[{"match": {}, "from": "1970-01-01T01:00:00Z", "until": "1970-01-01T02:00:00Z"}])
    desk.fire("before")
    desk.until(HOUR)
    desk.fire("lasts", "passes")
    desk.until(HOUR + 10 * MINUTE)
    desk.resolve("passes", "before")
    during = desk.until(2 * HOUR - 1)
    after = desk.until(3 * HOUR)

    assert said(during) == [("before", "resolved")]
    assert said(after) == [("lasts", "firing")]
    assert desk.dropped == ["silenced", "silenced", "resolved_untold"]
    assert desk.settled


def test_a_silence_begins_while_an_alert_waits_for_its_group() -> None:
    """Scenario: a silence begins between an alert and the message of its group.

    Guarantees: not told, but at its end.
    """
    desk = Desk(silences=[{"match": {}, "from": "1970-01-01T00:00:05Z", "until": "1970-01-01T01:00:00Z"}])
    desk.fire("a")

    assert desk.until(HOUR - 1) == []
    assert desk.dropped == ["silenced"]
    assert said(desk.until(HOUR + MINUTE)) == [("a", "firing")]
    assert desk.settled
