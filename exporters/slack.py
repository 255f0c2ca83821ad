"""Tells a Slack channel of alerts, through an incoming web hook: one message for what is told together.

Form of a message: https://api.slack.com/reference/messaging/attachments; answers and rate limits:
https://api.slack.com/messaging/webhooks, https://docs.slack.dev/apis/web-api/rate-limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import orjson

from pipeline.alert_exporting import AlertExporter, AlertExporterConfig, Message, Row, cut, link
from pipeline.alerts import Alert, AlertState, Severity
from pipeline.http_posting import SecretURL

GREEN: Final = "#2eb67d"
COLOURS: Final[Mapping[Severity, str]] = MappingProxyType(
    {Severity.CRITICAL: "#d50200", Severity.WARNING: "#f2a60d", Severity.INFO: "#439fe0"}
)

MOST_ATTACHMENTS: Final = 20
"""Slack's advice; it refuses more than 100."""

_LONGEST_TEXT: Final = 3000
_LONGEST_FIELD: Final = 200
_MOST_FIELDS: Final = 10


class SlackConfig(AlertExporterConfig):
    endpoint: SecretURL
    """The URL of the incoming web hook, which is a secret; it decides on the channel."""

    mentions: Mapping[Severity, str] = {}
    """Who is called when an alert of this severity fires, in Slack's form: `<!here>`, `<@U012AB3CD>`."""


class SlackExporter(AlertExporter[SlackConfig]):
    kind = "slack"
    Config = SlackConfig

    def messages(self, alerts: Sequence[Row]) -> Iterable[Message]:
        rows = [row for row, _ in alerts]
        body = orjson.dumps(message([alert for _, alert in alerts], self.config.mentions))
        return [Message(rows, self.config.endpoint.get_secret_value(), body)]


def message(alerts: Sequence[Alert], mentions: Mapping[Severity, str]) -> dict[str, Any]:
    """Return one message for all: a line for the notification, an attachment for each alert."""
    firing = [alert for alert in alerts if alert.state is AlertState.FIRING]
    called = dict.fromkeys(mentions[alert.severity] for alert in firing if alert.severity in mentions)
    line = _title(alerts[0]) if len(alerts) == 1 else f"{len(firing)} firing, {len(alerts) - len(firing)} resolved"
    attachments = [attachment(alert) for alert in alerts[:MOST_ATTACHMENTS]]
    if len(alerts) > MOST_ATTACHMENTS:
        more = f"and {len(alerts) - MOST_ATTACHMENTS} more"
        attachments.append({"fallback": more, "text": more})
    text = " ".join([*called, escaped(line)])
    # Whether a mention is one without markup Slack does not say, so where somebody is called it stays on.
    return {"text": text, "attachments": attachments, **({} if called else {"mrkdwn": False})}


def attachment(alert: Alert) -> dict[str, Any]:
    """Return an alert as an attachment; nothing in it is read as markup."""
    resolved = alert.state is AlertState.RESOLVED
    shown = [*alert.labels.items()][:_MOST_FIELDS]
    if alert.trace_ids:
        shown.append(("traces", ", ".join(alert.trace_ids[:3])))
    fields = [
        {"title": escaped(cut(name, _LONGEST_FIELD)), "value": escaped(cut(value, _LONGEST_FIELD)), "short": True}
        for name, value in shown
    ]
    return {
        "color": GREEN if resolved else COLOURS[alert.severity],
        "fallback": escaped(cut(f"{_title(alert)}: {alert.text}", _LONGEST_FIELD)),
        "title": escaped(cut(_title(alert), _LONGEST_FIELD)),
        **({"title_link": link(alert)} if link(alert) else {}),
        "text": escaped(cut(alert.text, _LONGEST_TEXT)),
        "fields": fields,
        "footer": f"jobsight · {alert.severity}" + (" · resolved" if resolved else ""),
        "ts": alert.timestamp // 1_000_000_000,
        "mrkdwn_in": [],
    }


def _title(alert: Alert) -> str:
    state = "Resolved" if alert.state is AlertState.RESOLVED else alert.severity.capitalize()
    return f"{state}: {alert.name}: {alert.subject}"


def escaped(text: str) -> str:
    """Return text in which Slack finds no links, mentions or channels."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
