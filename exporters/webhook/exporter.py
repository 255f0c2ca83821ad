"""Sends alerts as JSON, one request for what is told together or one an alert, signed if wanted.

Signatures are those of https://www.standardwebhooks.com, for which there are libraries in most languages.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, Literal

import orjson
from pydantic import Field, JsonValue, model_validator

from exporters.webhook.template import LABEL, check, filled
from pipeline.alert_exporting import AlertExporter, AlertExporterConfig, Message, Row, rfc3339
from pipeline.alerts import Alert, AlertState
from pipeline.config.values import Secret
from pipeline.http_posting import SecretURL

_PREFIX: Final = "whsec_"

OF_ALERT: Final = frozenset(
    {
        "name",
        "severity",
        "state",
        "subject",
        "text",
        "timestamp",
        "labels",
        f"{LABEL}*",
        "runbook",
        "trace_ids",
        "trace_id",
    }
)
"""What a `body` may name with `batch: false`."""

OF_BATCH: Final = frozenset({"alerts", "count", "firing", "resolved", "text"})
"""What a `body` may name with `batch: true`."""


class WebhookConfig(AlertExporterConfig):
    endpoint: SecretURL
    """Where to send; shown nowhere but for scheme and host, for it may carry a token."""

    method: Literal["POST", "PUT", "PATCH"] = "POST"

    batch: bool = True
    """One request for all alerts that are told together; off: one for each."""

    body: JsonValue = None
    """What to send instead of the usual JSON: any map or list, in whose texts `{name}` stands for a field."""

    secret: Secret | None = Field(None)
    """Sign requests with it: `whsec_` and base64, or any text."""

    @model_validator(mode="after")
    def _check(self) -> WebhookConfig:
        try:
            check(self.body, OF_BATCH if self.batch else OF_ALERT)
        except ValueError as error:
            raise ValueError(f"'body', with 'batch: {str(self.batch).lower()}', {error}") from error
        if self.secret is not None:
            key_of(self.secret)
        return self


class WebhookExporter(AlertExporter[WebhookConfig]):
    kind = "webhook"
    Config = WebhookConfig

    def messages(self, alerts: Sequence[Row]) -> Iterable[Message]:
        if self.config.batch:
            return [self._message(alerts, batch_values([alert for _, alert in alerts]))]
        return [self._message([row], alert_values(row[1])) for row in alerts]

    def _message(self, alerts: Sequence[Row], values: Mapping[str, Any]) -> Message:
        template = self.config.body
        body = orjson.dumps(usual(values) if template is None else filled(template, values))
        headers = None
        if self.config.secret is not None:
            assert self._host is not None, "export before start"
            ident = message_id(body, [alert for _, alert in alerts])
            headers = signature(ident, body, key_of(self.config.secret), self._host.clock.time_ns() // 1_000_000_000)
        return Message(
            [row for row, _ in alerts], self.config.endpoint.get_secret_value(), body, headers, self.config.method
        )


def alert_values(alert: Alert) -> dict[str, Any]:
    """Return what is told of one alert."""
    return {
        "name": alert.name,
        "severity": str(alert.severity),
        "state": str(alert.state),
        "subject": alert.subject,
        "text": alert.text,
        "timestamp": rfc3339(alert.timestamp),
        "labels": dict(alert.labels),
        "runbook": alert.runbook,
        "trace_ids": list(alert.trace_ids),
        "trace_id": next(iter(alert.trace_ids), ""),
    }


def batch_values(alerts: Sequence[Alert]) -> dict[str, Any]:
    """Return what is told of several."""
    firing = sum(alert.state is AlertState.FIRING for alert in alerts)
    return {
        "alerts": [usual(alert_values(alert)) for alert in alerts],
        "count": len(alerts),
        "firing": firing,
        "resolved": len(alerts) - firing,
        "text": "\n".join(f"{_word(alert)}: {alert.name}: {alert.subject}: {alert.text}" for alert in alerts),
    }


def usual(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON that is sent without a `body`: the alert, or all alerts with the version of this form."""
    if "alerts" in values:
        return {"version": "1", "alerts": values["alerts"]}
    return {name: value for name, value in values.items() if name != "trace_id"}


def _word(alert: Alert) -> str:
    return "resolved" if alert.state is AlertState.RESOLVED else str(alert.severity)


def message_id(body: bytes, alerts: Iterable[Alert]) -> str:
    """Return an id that a repetition has, too, so that receivers can ignore it, and no other message.

    The body alone is not enough: with a `body` of one's own, what begins tomorrow may read like what began today.
    """
    digest = blake2b(body, digest_size=16)
    for alert in alerts:
        digest.update(orjson.dumps([alert.name, alert.subject, alert.state, alert.timestamp]))
    return f"msg_{digest.hexdigest()}"


def signature(ident: str, body: bytes, key: bytes, timestamp: int) -> dict[str, str]:
    """Return the headers of Standard Webhooks 1.0. `timestamp` is seconds since 1970."""
    signed = hmac.digest(key, f"{ident}.{timestamp}.".encode() + body, "sha256")
    return {
        "webhook-id": ident,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
    }


def key_of(secret: Secret) -> bytes:
    """Return the key that a secret stands for. Raises ValueError."""
    text = secret.get_secret_value()
    if not text.startswith(_PREFIX):
        if not text:
            raise ValueError("'secret' is empty; leave it out to send without a signature")
        return text.encode()
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("'secret' begins with whsec_, but what follows is no base64") from error
    if not key:
        raise ValueError("'secret' begins with whsec_, but nothing follows")
    return key
