"""When nobody is to be told of an alert, and until when. Pure; moments are nanoseconds since 1970."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from pipeline.alerts import Alert
from processors.alerts.config import Day, SilenceConfig, WeeklyConfig

_DAYS = tuple(Day)


def silenced_until(silences: Iterable[SilenceConfig], alert: Alert, now: int) -> int | None:
    """Return when the silence over `alert` ends that lasts longest, None where there is none."""
    ends = [_end(silence, now) for silence in silences if silence.match.fits(alert)]
    return max((end for end in ends if end is not None), default=None)


def _end(silence: SilenceConfig, now: int) -> int | None:
    """Return when the silence ends that holds `now`."""
    if silence.start is not None and now < nanoseconds(silence.start):
        return None
    until = None if silence.until is None else nanoseconds(silence.until)
    if until is not None and now >= until:
        return None
    if silence.weekly is None:
        return until
    end = weekly_end(silence.weekly, now)
    return end if end is None or until is None else min(end, until)


def weekly_end(weekly: WeeklyConfig, now: int) -> int | None:
    """Return when the window ends that holds `now`, None outside of all."""
    zone = ZoneInfo(weekly.time_zone)
    today = datetime.fromtimestamp(now // 1_000_000_000, zone).date()
    # A window of yesterday may reach into today.
    for day in (today, today - timedelta(days=1)):
        if _DAYS[day.weekday()] not in weekly.days:
            continue
        begins = _moment(day, weekly.start_time, zone, fold=0)
        overnight = weekly.end_time <= weekly.start_time
        # Where clocks are set back, the end is the later of the two moments with this time.
        ends = _moment(day + timedelta(days=1) if overnight else day, weekly.end_time, zone, fold=1)
        if begins <= now < ends:
            return ends
    return None


def nanoseconds(moment: datetime) -> int:
    since = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000


def _moment(day: date, at: time, zone: ZoneInfo, *, fold: int) -> int:
    return nanoseconds(datetime.combine(day, at.replace(fold=fold), zone))
