"""Opens and resolves incidents at PagerDuty: its Events API v2, one event an alert.

https://developer.pagerduty.com/docs/send-alert-event: 202 is success, 400 an event that will never be right, 429 and
5xx are to be tried again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, Literal

import orjson
from pydantic import Field, field_validator

from pipeline.alert_exporting import AlertExporter, AlertExporterConfig, Message, Row, cut, link, rfc3339
from pipeline.alerts import Alert, AlertState, Severity
from pipeline.config.values import Secret
from pipeline.http_posting import URL

LONGEST_SUMMARY: Final = 1024
LONGEST_KEY: Final = 255

Level = Literal["critical", "error", "warning", "info"]


class PagerDutyConfig(AlertExporterConfig):
    routing_key: Secret
    """The integration key of an Events API v2 integration."""

    endpoint: URL = "https://events.pagerduty.com/v2/enqueue"
    """Where events go; `https://events.eu.pagerduty.com/v2/enqueue` in the EU's service region."""

    levels: Mapping[Severity, Level] = {}
    """PagerDuty's severity for each of ours, where it is not the one with the same name."""

    client: str = Field("jobsight", min_length=1)
    """What incidents say sent them."""

    client_url: URL | None = None
    """Where they lead to."""

    @field_validator("routing_key")
    @classmethod
    def _given(cls, value: Secret) -> Secret:
        if not value.get_secret_value():
            raise ValueError("is empty; it is the integration key of an Events API v2 integration, 32 characters")
        return value


class PagerDutyExporter(AlertExporter[PagerDutyConfig]):
    kind = "pagerduty"
    Config = PagerDutyConfig

    def messages(self, alerts: Sequence[Row]) -> Iterable[Message]:
        return [Message([row], self.config.endpoint, orjson.dumps(event(alert, self.config))) for row, alert in alerts]


def event(alert: Alert, config: PagerDutyConfig) -> dict[str, Any]:
    """Return an alert as an event: `trigger` while it fires, `resolve` once it is over."""
    head = {"routing_key": config.routing_key.get_secret_value(), "dedup_key": dedup_key(alert)}
    if alert.state is AlertState.RESOLVED:
        return {**head, "event_action": "resolve"}
    labels = alert.labels
    optional = {
        "component": labels.get("job_class", ""),
        "group": labels.get("queue", ""),
        "class": alert.name,
    }
    return {
        **head,
        "event_action": "trigger",
        "payload": {
            "summary": cut(f"{alert.name}: {alert.subject}: {' '.join(alert.text.split())}", LONGEST_SUMMARY),
            "source": labels.get("service") or labels.get("host") or "jobsight",
            "severity": config.levels.get(alert.severity, str(alert.severity)),
            "timestamp": rfc3339(alert.timestamp),
            **{name: value for name, value in optional.items() if value},
            "custom_details": {
                "subject": alert.subject,
                "text": alert.text,
                "labels": dict(labels),
                "trace_ids": list(alert.trace_ids),
                "runbook": alert.runbook,
            },
        },
        "links": [{"href": link(alert), "text": "Runbook"}] if link(alert) else [],
        "client": config.client,
        **({"client_url": config.client_url} if config.client_url else {}),
    }


def dedup_key(alert: Alert) -> str:
    """Return what tells PagerDuty that two events are about the same alert."""
    key = f"jobsight/{alert.name}/{alert.subject}"
    return key if len(key) <= LONGEST_KEY else f"jobsight/{sha256(key.encode()).hexdigest()}"
