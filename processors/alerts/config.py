"""What users may write for `alerts`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, time
from enum import StrEnum
from typing import Annotated, ClassVar, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator, model_validator

from pipeline import Config
from pipeline.alert_matching import Match
from pipeline.alerts import Severity
from pipeline.config.values import Duration, listed
from pipeline.durable import DurableConfig

_CLOCK: Final = re.compile(r"(?:[01]\d|2[0-3]):[0-5]\d")


def _moment(value: object) -> object:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value
    problem = f'must be a time with its offset, such as "2026-11-22T22:00:00+01:00", is "{value}"'
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError as error:
        raise ValueError(problem) from error
    if moment.tzinfo is None:
        raise ValueError(f"{problem}, without an offset; UTC is Z")
    return moment


Moment = Annotated[
    datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "description": "RFC 3339, with an offset"})
]
"""A moment as RFC 3339 writes it."""


class Day(StrEnum):
    """Days of the week in the order of `datetime.weekday`."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


class WeeklyConfig(Config):
    """A maintenance window that comes back every week."""

    days: Annotated[tuple[Day, ...], BeforeValidator(listed), Field(min_length=1)] = tuple(Day)
    """The days on which it begins: `mon` to `sun`."""

    start: str
    """When it begins, `HH:MM` on the clocks of `time_zone`."""

    end: str
    """When it ends: on the next day unless it is after `start`. `24:00` is midnight."""

    time_zone: str = "UTC"
    """A name of the IANA database, such as `Europe/Berlin`."""

    @field_validator("start", "end")
    @classmethod
    def _time_of_day(cls, value: str, info: ValidationInfo) -> str:
        if not _CLOCK.fullmatch(value) and (info.field_name, value) != ("end", "24:00"):
            raise ValueError(f'must be a time of day such as "22:30", is "{value}"')
        return value

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (OSError, ValueError, ZoneInfoNotFoundError) as error:
            raise ValueError(
                f'must be a time zone that this system knows, such as "Europe/Berlin", is "{value}"'
            ) from error
        return value

    @property
    def start_time(self) -> time:
        return time.fromisoformat(self.start)

    @property
    def end_time(self) -> time:
        return time.fromisoformat(self.end.replace("24:00", "00:00"))


class SilenceConfig(Config):
    """Alerts that nobody is told of for a time. Those that still fire at its end are told then."""

    match: Match
    """The alerts that are meant; `{}` is all of them."""

    comment: str = ""
    """Why, for whoever reads the configuration."""

    start: Moment | None = Field(None, alias="from")
    """When it begins; without it, it has begun."""

    until: Moment | None = None
    """When it ends; needed unless it is weekly."""

    weekly: WeeklyConfig | None = None
    """Only in these hours of the week."""

    @model_validator(mode="after")
    def _check(self) -> SilenceConfig:
        if self.until is None and self.weekly is None:
            raise ValueError("'until' or 'weekly' must be given: a silence without an end would hide alerts for ever")
        if self.start is not None and self.until is not None and self.until <= self.start:
            raise ValueError("'until' must be after 'from'")
        return self


class OverrideConfig(Config):
    """What is better known here than where the alert was raised."""

    match: Match
    """The alerts that are meant, with the severity that they were raised with."""

    severity: Severity | None = None
    """Their severity from here on."""

    runbook: str | None = None
    """The link that they carry from here on."""

    @model_validator(mode="after")
    def _check(self) -> OverrideConfig:
        if self.severity is None and self.runbook is None:
            raise ValueError("'severity' or 'runbook' must be given: an override without either changes nothing")
        return self


class AlertsConfig(DurableConfig):
    group_by: tuple[str, ...] = ("name",)
    """What alerts of one group have in common: `name`, `subject`, `severity`, or labels. Empty: one group of all."""

    group_wait: Duration = 10.0
    """How long a new group waits for more of its kind before the first message."""

    group_interval: Duration = 300.0
    """How long a group waits after a message before the next one with what is new."""

    group_limit: int = Field(5, ge=1)
    """More newly firing alerts than this in one message of a group become one row with their number."""

    cooldown: Duration = 3600.0
    """An alert that was told, ended and fires again within this time is told at its end, if it fires then still.

    Critical alerts do not wait for it.
    """

    repeat_interval: Duration = 4 * 3600.0
    """An alert that keeps being raised is told again after this time."""

    auto_resolve: Duration = 0.0
    """An alert that was not raised again for this time is over; 0 waits until it is said."""

    overrides: tuple[OverrideConfig, ...] = ()
    """Changes of severity and runbook; of several that match an alert the first counts."""

    silences: tuple[SilenceConfig, ...] = ()
    """When nobody is to be told of which alerts."""

    runbook_url: str = ""
    """Where your own copies of the runbooks are: stands in the links in the place of the project's pages."""

    max_alerts: int = Field(10_000, ge=1)
    """How many alerts are remembered; beyond it the one that was raised least recently is forgotten."""

    unsupported_keys: ClassVar[Mapping[str, str]] = {
        "routes": "every exporter of alerts has its own 'match'",
        "receivers": "every exporter of alerts has its own 'match'",
    }

    @field_validator("runbook_url")
    @classmethod
    def _url(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError(f'must begin with http:// or https://, is "{value}"')
        return value
