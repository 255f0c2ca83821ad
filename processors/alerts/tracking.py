"""One alert through time: what is true, what people were told, and what that asks for. Pure.

All moments are nanoseconds since 1970 on the engine's clock; only alerts have timestamps of the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from pipeline.alerts import GROUPED, RUNBOOKS, SUPPRESSED, Alert, AlertState, Severity
from processors.alerts.config import AlertsConfig, OverrideConfig
from processors.alerts.silences import silenced_until

Identity = tuple[str, str]
"""Name and subject."""

GroupKey = tuple[str, ...]
"""The values of `group_by`."""

MAX_TRACE_IDS: Final = 10
_MAX_TEXT: Final = 4096
_MAX_WORD: Final = 1024
_MAX_LABELS: Final = 64


class Reason(StrEnum):
    """Why an alert that was raised is not told."""

    DUPLICATE = "duplicate"
    """People know that it fires."""
    SILENCED = "silenced"
    COOLDOWN = "cooldown"
    UNTOLD = "resolved_untold"
    """It ended before anybody was told."""
    UNKNOWN = "resolved_unknown"
    """Nobody knows of its beginning."""
    STALE = "stale"
    """Something newer is known of it."""
    GROUPED = "grouped"
    """One row stands for the whole group."""
    FORGOTTEN = "forgotten"
    """More alerts than `max_alerts`."""


@dataclass(slots=True)
class Tracked:
    """What is known of one alert."""

    alert: Alert
    """As raised last; labels as raised first, so that its group and what routing goes by stay the same."""
    group: GroupKey
    raised_at: int
    firing: bool = True
    ended_at: int = 0
    told: bool = False
    """Whether people believe that it fires."""
    alone: bool = False
    """Whether they were told by a row of its own, which has to be taken back by one of its own."""
    grouped: bool = False
    """Whether they were told by the row for its group, which is taken back when the last such alert is over."""
    told_at: int | None = None
    """When it was last told as firing."""
    told_severity: Severity = Severity.INFO
    suppressed: int = 0
    """How often it was raised, unheard, since then."""

    def raise_again(self, alert: Alert, now: int) -> None:
        """Take in what is said of it now; while it fires its severity only grows."""
        labels = self.alert.labels if self.firing or self.told else alert.labels
        severity = min(alert.severity, self.alert.severity, key=_rank) if self.firing else alert.severity
        known = self.alert.trace_ids if self.firing else ()
        traces = tuple(dict.fromkeys([*alert.trace_ids, *known]))[:MAX_TRACE_IDS]
        self.alert = replace(alert, labels=labels, severity=severity, trace_ids=traces)
        self.raised_at = now
        self.firing = True

    def end(self, end: Alert, now: int) -> None:
        """Take in that it is over, by an alert with the state resolved."""
        self.alert = replace(
            end,
            labels=self.alert.labels,
            severity=self.alert.severity,
            runbook=end.runbook or self.alert.runbook,
            trace_ids=end.trace_ids or self.alert.trace_ids,
        )
        self.firing = False
        self.ended_at = now

    def tell(self, now: int, *, grouped: bool) -> None:
        """Note that people were told what is true now, by the row for the group or one of its own."""
        self.told = self.firing
        self.suppressed = 0
        if self.firing:
            self.alone |= not grouped
            self.grouped |= grouped
            self.told_at = now
            self.told_severity = self.alert.severity
        else:
            self.alone = self.grouped = False

    def row(self) -> Alert:
        """Return it as people are told, before `tell`."""
        labels = {**self.alert.labels, **({SUPPRESSED: str(self.suppressed)} if self.suppressed else {})}
        severity = self.alert.severity if self.firing else self.told_severity
        return replace(self.alert, labels=labels, severity=severity)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether to tell what is true; if not, why, and when the answer may be another one without news."""

    reason: Reason | None = None
    """None: tell it."""
    ask_again: int | None = None


def verdict(tracked: Tracked, now: int, config: AlertsConfig) -> Verdict:
    """Return whether people are to be told what is true of an alert now."""
    if not tracked.firing:
        return Verdict() if tracked.told else Verdict(Reason.UNTOLD)
    told_at = tracked.told_at
    urgent = tracked.alert.severity is Severity.CRITICAL
    worse = told_at is not None and _rank(tracked.alert.severity) < _rank(tracked.told_severity)
    if tracked.told and told_at is not None:
        repeat_at = told_at + nanoseconds(config.repeat_interval) if tracked.raised_at > told_at else None
        if not worse and (repeat_at is None or now < repeat_at):
            return Verdict(Reason.DUPLICATE, repeat_at)
    silence_end = silenced_until(config.silences, tracked.alert, now)
    if silence_end is not None:
        return Verdict(Reason.SILENCED, silence_end)
    if not tracked.told and told_at is not None and not worse and not urgent:
        cooldown_end = told_at + nanoseconds(config.cooldown)
        if now < cooldown_end:
            return Verdict(Reason.COOLDOWN, cooldown_end)
    return Verdict()


def nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def _rank(severity: Severity) -> int:
    return severity.rank


def bounded(alert: Alert) -> Alert:
    """Return the alert cut to what a person reads, so that ten thousand of them fit into memory."""
    labels = list(alert.labels.items())
    words = (alert.name, alert.subject, alert.runbook, *alert.labels, *alert.labels.values())
    if (
        len(alert.text) <= _MAX_TEXT
        and len(labels) <= _MAX_LABELS
        and len(alert.trace_ids) <= MAX_TRACE_IDS
        and max(map(len, words)) <= _MAX_WORD
    ):
        return alert
    return replace(
        alert,
        name=_cut(alert.name, _MAX_WORD),
        subject=_cut(alert.subject, _MAX_WORD),
        text=_cut(alert.text, _MAX_TEXT),
        runbook=_cut(alert.runbook, _MAX_WORD),
        labels={_cut(name, _MAX_WORD): _cut(value, _MAX_WORD) for name, value in labels[:_MAX_LABELS]},
        trace_ids=alert.trace_ids[:MAX_TRACE_IDS],
    )


def overridden(alert: Alert, overrides: Sequence[OverrideConfig], runbook_url: str) -> Alert:
    """Return the alert with what the configuration knows better."""
    for override in overrides:
        if override.match.fits(alert):
            severity = override.severity or alert.severity
            runbook = alert.runbook if override.runbook is None else override.runbook
            alert = replace(alert, severity=severity, runbook=runbook)
            break
    page = alert.runbook.removeprefix(RUNBOOKS)
    if page and runbook_url and "://" not in page:
        alert = replace(alert, runbook=f"{runbook_url.rstrip('/')}/{page.lstrip('/')}")
    return alert


def group_of(alert: Alert, group_by: Sequence[str]) -> GroupKey:
    """Return the values that the alert has in common with its group."""
    own = {"name": alert.name, "subject": alert.subject, "severity": str(alert.severity)}
    return tuple(own.get(label, alert.labels.get(label, "")) for label in group_by)


_OWN: Final = frozenset({SUPPRESSED, GROUPED})


def group_row(
    members: Sequence[Alert], new: Sequence[Alert], key: GroupKey, group_by: Sequence[str], shown: int
) -> Alert:
    """Return one firing alert for many: `members` fire, `new` of them are news. Both are not empty."""
    members = sorted(members, key=lambda alert: alert.severity.rank)
    common = dict(
        set.intersection(*({item for item in alert.labels.items() if item[0] not in _OWN} for alert in members))
    )
    runbooks = {alert.runbook for alert in members}
    worst = sorted(new, key=lambda alert: alert.severity.rank)
    lines = [f"- {alert.subject}: {_cut(' '.join(alert.text.split()), 200)}" for alert in worst[:shown]]
    if len(worst) > shown:
        lines.append(f"- and {len(worst) - shown} more")
    name, subject = group_identity(key, group_by)
    said = f"{len(members)} alerts fire" + (f", {len(new)} of them new" if len(new) < len(members) else "")
    return Alert(
        name=name,
        severity=members[0].severity,
        subject=subject,
        text=_cut("\n".join([f"{said}:", *lines]), _MAX_TEXT),
        timestamp=max(alert.timestamp for alert in new),
        labels={**dict(sorted(common.items())), GROUPED: str(len(members))},
        runbook=runbooks.pop() if len(runbooks) == 1 else "",
        trace_ids=tuple(dict.fromkeys(trace for alert in worst for trace in alert.trace_ids))[:MAX_TRACE_IDS],
    )


def group_end(told: Alert, timestamp: int) -> Alert:
    """Return what takes back the row for a group that people were told last."""
    return replace(
        told,
        state=AlertState.RESOLVED,
        text=f"All alerts of this group are over; last told of were {told.labels.get(GROUPED, 'some')}.",
        timestamp=max(timestamp, told.timestamp),
        trace_ids=(),
    )


def group_identity(key: GroupKey, group_by: Sequence[str]) -> Identity:
    """Return name and subject of the row for a group."""
    named = dict(zip(group_by, key, strict=True))
    name = named.pop("name", "") or "AlertGroup"
    return name, " ".join(["group", *(f"{label}={value}" for label, value in named.items())])


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
