"""Hands alerts to Prometheus' Alertmanager, `POST /api/v2/alerts`, for those who route and silence there.

https://prometheus.io/docs/alerting/latest/alerts_api. An alert is identified by all of its labels; one that is not sent
again is over at its `endsAt`. Prometheus sends what fires every minute; here it is sent when there is news, with an
`endsAt` far ahead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson
from pydantic import Field

from pipeline import ComponentId
from pipeline.alert_exporting import AlertExporter, AlertExporterConfig, Message, Row, link, rfc3339
from pipeline.alerts import GROUPED, SUPPRESSED, Alert, AlertState
from pipeline.config.values import Duration
from pipeline.http_posting import URL

_NO_LABEL: Final = re.compile(r"[^a-zA-Z0-9_]")
_COUNTS: Final = frozenset({SUPPRESSED, GROUPED})
"""Labels that change from message to message; they do not identify an alert."""

_MOST_REMEMBERED: Final = 10_000

Labels = dict[str, str]


class AlertmanagerConfig(AlertExporterConfig):
    endpoint: URL
    """Where Alertmanager is, with its path prefix if it has one: `http://alertmanager:9093`."""

    resolve_timeout: Duration = Field(24 * 3600.0, gt=0)
    """When an alert ends that nobody ends; longer than the `repeat_interval` of processor `alerts`."""

    labels: Mapping[str, str] = {}
    """Added to every alert, such as `cluster: prod`."""


class AlertmanagerExporter(AlertExporter[AlertmanagerConfig]):
    kind = "alertmanager"
    Config = AlertmanagerConfig
    divisible = True

    def __init__(self, config: AlertmanagerConfig, ident: ComponentId) -> None:
        super().__init__(config, ident)
        self._sent: dict[tuple[str, str], Labels] = {}
        """The labels under which an alert fires there: with others it would be another one."""

    def messages(self, alerts: Sequence[Row]) -> Iterable[Message]:
        assert self._host is not None, "export before start"
        now = self._host.clock.time_ns()
        body = [each for _, alert in alerts for each in self._posts(alert, now)]
        url = f"{self.config.endpoint.rstrip('/')}/api/v2/alerts"
        return [Message([row for row, _ in alerts], url, orjson.dumps(body))]

    def _posts(self, alert: Alert, now: int) -> Iterable[dict[str, Any]]:
        """Yield the alert, before it the end of itself under other labels (its severity grew)."""
        labels = labels_of(alert, self.config.labels)
        identity = alert.name, alert.subject
        before = self._sent.get(identity, labels)
        if before != labels:
            yield {"labels": before, "annotations": {}, "endsAt": rfc3339(now)}
        yield posted(alert, labels, now, self.config.resolve_timeout)

    def delivered(self, alerts: Iterable[Alert]) -> None:
        for alert in alerts:
            identity = alert.name, alert.subject
            self._sent.pop(identity, None)
            if alert.state is AlertState.FIRING:
                self._sent[identity] = labels_of(alert, self.config.labels)
                if len(self._sent) > _MOST_REMEMBERED:
                    del self._sent[next(iter(self._sent))]


def posted(alert: Alert, labels: Labels, now: int, resolve_timeout: float) -> dict[str, Any]:
    """Return an alert in Alertmanager's form. `now` is nanoseconds since 1970, `resolve_timeout` seconds."""
    counts = {name: value for name, value in alert.labels.items() if name in _COUNTS}
    annotations = {
        "summary": f"{alert.name}: {alert.subject}",
        "description": alert.text,
        "runbook_url": link(alert),
        "trace_ids": ", ".join(alert.trace_ids),
        **counts,
    }
    post: dict[str, Any] = {
        "labels": labels,
        "annotations": {name: value for name, value in annotations.items() if value},
    }
    if alert.state is AlertState.RESOLVED:
        # Alertmanager knows the beginning; an end in its future would not be one.
        return {**post, "endsAt": rfc3339(min(alert.timestamp, now))}
    starts = min(alert.timestamp, now)
    return {**post, "startsAt": rfc3339(starts), "endsAt": rfc3339(now + round(resolve_timeout * 1e9))}


def labels_of(alert: Alert, extra: Mapping[str, str]) -> Labels:
    """Return the labels that identify an alert, their names as every version of Alertmanager takes them."""
    own = {name: value for name, value in alert.labels.items() if name not in _COUNTS}
    given = {label_name(name): value for name, value in {**own, **extra}.items()}
    identity = {"alertname": alert.name, "severity": str(alert.severity), "subject": alert.subject}
    return {name: value for name, value in {**given, **identity}.items() if value}


def label_name(name: str) -> str:
    """Return a name of letters, digits and underscores that begins with no digit."""
    word = _NO_LABEL.sub("_", name)
    return f"_{word}" if not word or word[0].isdigit() else word
