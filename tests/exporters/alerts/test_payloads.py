"""What each service gets, in the form that its documentation asks for."""

from __future__ import annotations

import base64
import hmac
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from exporters.alertmanager import AlertmanagerExporter, label_name
from exporters.pagerduty import PagerDutyExporter
from exporters.slack import COLOURS, GREEN, SlackExporter
from exporters.webhook import WebhookExporter
from pipeline.alerts import Severity
from pipeline.testing import FakeHost
from tests.exporters.alerts.service import BEGUN, FIRING, RESOLVED, Answer, batch_of, serving, started

KEY = "0123456789abcdef0123456789abcdef"


async def test_slack(host: FakeHost) -> None:
    """Scenario: a critical alert and the end of another one, mentions for critical ones.

    Guarantees: one message; colours by severity, green for the end; a link to the runbook; no markup from the data.
    """
    async with serving() as service:
        keys = {"endpoint": f"{service.url}/services/T0/B0/x", "mentions": {"critical": "<!here>", "info": "<!all>"}}
        async with started(SlackExporter, host, **keys) as exporter:
            await exporter.export(batch_of(FIRING, RESOLVED))

    (request,) = service.requests
    assert (request.method, request.path) == ("POST", "/services/T0/B0/x")
    assert request.headers["Content-Type"] == "application/json"
    assert request.body["text"] == "<!here> 1 firing, 1 resolved"
    assert "mrkdwn" not in request.body
    bad, good = request.body["attachments"]
    assert bad == {
        "color": COLOURS[Severity.CRITICAL],
        "fallback": "Critical: FailureCluster: c-17: 120 failures of &lt;Mail&gt; &amp; co within 1 h.",
        "title": "Critical: FailureCluster: c-17",
        "title_link": "https://docs.example/runbooks/failure-cluster",
        "text": "120 failures of &lt;Mail&gt; &amp; co within 1 h.",
        "fields": [
            {"title": "error.type", "value": "Timeout", "short": True},
            {"title": "job_class", "value": "Mail", "short": True},
            {"title": "queue", "value": "mail", "short": True},
            {"title": "service", "value": "shop-workers", "short": True},
            {
                "title": "traces",
                "value": "0af7651916cd43dd8448eb211c80319c, 1af7651916cd43dd8448eb211c80319c",
                "short": True,
            },
        ],
        "footer": "jobsight · critical",
        "ts": BEGUN // 1_000_000_000,
        "mrkdwn_in": [],
    }
    assert (good["color"], good["title"]) == (GREEN, "Resolved: RetryLoop: job 7")
    assert "title_link" not in good


async def test_slack_reads_no_markup_in_data(host: FakeHost) -> None:
    """Scenario: names, labels and texts that Slack would take for mentions, links and bold; nobody is called.

    Guarantees: all of it is escaped, and formatting is off for line and attachment.
    """
    evil = replace(FIRING, subject="*<!channel>*", text="<https://evil|click> & co", labels={"<@U1>": "<#C1>"})
    async with serving() as service, started(SlackExporter, host, endpoint=service.url) as exporter:
        await exporter.export(batch_of(evil))

    body = service.requests[0].body
    assert body["text"] == "Critical: FailureCluster: *&lt;!channel&gt;*"
    assert body["mrkdwn"] is False
    assert body["attachments"][0]["mrkdwn_in"] == []
    assert "<" not in service.requests[0].raw.decode()


async def test_slack_with_very_many(host: FakeHost) -> None:
    """Scenario: fifty alerts at once, with long texts. Guarantees: twenty are shown, the number of the rest is said."""
    alerts = [replace(FIRING, subject=f"c-{number}", text="x" * 10_000) for number in range(50)]
    async with serving() as service, started(SlackExporter, host, endpoint=service.url) as exporter:
        await exporter.export(batch_of(*alerts))

    body = service.requests[0].body
    assert body["text"] == "50 firing, 0 resolved"
    assert len(body["attachments"]) == 21
    assert body["attachments"][-1]["text"] == "and 30 more"
    assert len(body["attachments"][0]["text"]) == 3000


async def test_pagerduty(host: FakeHost) -> None:
    """Scenario: an alert fires; it, and another one, is over.

    Guarantees: an event each, `trigger` in PD-CEF, `resolve` under the same key.
    """
    end = replace(RESOLVED, name=FIRING.name, subject=FIRING.subject)
    async with serving(*[Answer(202, '{"status":"success"}')] * 3) as service:
        keys = {"endpoint": f"{service.url}/v2/enqueue", "routing_key": KEY, "levels": {"critical": "error"}}
        async with started(PagerDutyExporter, host, **keys, client_url="https://jobsight.example/") as exporter:
            await exporter.export(batch_of(FIRING, end, RESOLVED))

    trigger, resolve, other = service.requests
    assert trigger.path == "/v2/enqueue"
    assert trigger.body == {
        "routing_key": KEY,
        "event_action": "trigger",
        "dedup_key": "jobsight/FailureCluster/c-17",
        "payload": {
            "summary": "FailureCluster: c-17: 120 failures of <Mail> & co within 1 h.",
            "source": "shop-workers",
            "severity": "error",
            "timestamp": "2026-11-21T22:10:00.123Z",
            "component": "Mail",
            "group": "mail",
            "class": "FailureCluster",
            "custom_details": {
                "subject": "c-17",
                "text": FIRING.text,
                "labels": dict(FIRING.labels),
                "trace_ids": list(FIRING.trace_ids),
                "runbook": FIRING.runbook,
            },
        },
        "links": [{"href": FIRING.runbook, "text": "Runbook"}],
        "client": "jobsight",
        "client_url": "https://jobsight.example/",
    }
    assert resolve.body == {
        "routing_key": KEY,
        "event_action": "resolve",
        "dedup_key": "jobsight/FailureCluster/c-17",
    }
    assert other.body["dedup_key"] == "jobsight/RetryLoop/job 7"


async def test_pagerduty_keeps_its_limits(host: FakeHost) -> None:
    """Scenario: a subject and a text far over PagerDuty's limits, a runbook that is no link, no labels.

    Guarantees: cut summary, a key of at most 255 characters that is the same for the end.
    """
    long = replace(FIRING, subject="s" * 2000, text="t" * 5000, runbook="failure-cluster.md", labels={})
    async with (
        serving() as service,
        started(PagerDutyExporter, host, endpoint=service.url, routing_key=KEY) as exporter,
    ):
        await exporter.export(batch_of(long, replace(RESOLVED, name=long.name, subject=long.subject)))

    begin, end = (request.body for request in service.requests)
    assert len(begin["payload"]["summary"]) == 1024
    assert len(begin["dedup_key"]) <= 255
    assert begin["dedup_key"] == end["dedup_key"]
    assert (begin["links"], begin["payload"]["source"]) == ([], "jobsight")


async def test_alertmanager(host: FakeHost) -> None:
    """Scenario: an alert fires, another one ended in Alertmanager's future, below a path prefix.

    Guarantees: one request; labels that identify, names as Alertmanager takes them; a far end while it fires, an end
    not after now once it is over; counts are annotations.
    """
    now = host.clock.time_ns()
    firing = replace(FIRING, labels={**FIRING.labels, "suppressed": "3", "empty": ""})
    future = replace(RESOLVED, timestamp=now + 3600 * 1_000_000_000)
    async with serving() as service:
        keys = {"endpoint": f"{service.url}/am/", "resolve_timeout": "12h", "labels": {"cluster": "prod"}}
        async with started(AlertmanagerExporter, host, **keys) as exporter:
            await exporter.export(batch_of(firing, future))

    (request,) = service.requests
    assert request.path == "/am/api/v2/alerts"
    assert request.body == [
        {
            "labels": {
                "alertname": "FailureCluster",
                "severity": "critical",
                "subject": "c-17",
                "cluster": "prod",
                "error_type": "Timeout",
                "job_class": "Mail",
                "queue": "mail",
                "service": "shop-workers",
            },
            "annotations": {
                "summary": "FailureCluster: c-17",
                "description": FIRING.text,
                "runbook_url": FIRING.runbook,
                "trace_ids": "0af7651916cd43dd8448eb211c80319c, 1af7651916cd43dd8448eb211c80319c",
                "suppressed": "3",
            },
            "startsAt": "2026-11-21T22:10:00.123Z",
            "endsAt": "2026-11-22T10:26:40.000Z",
        },
        {
            "labels": {
                "alertname": "RetryLoop",
                "severity": "warning",
                "subject": "job 7",
                "cluster": "prod",
                "queue": "sms",
            },
            "annotations": {"summary": "RetryLoop: job 7", "description": "Over."},
            "endsAt": "2026-11-21T22:26:40.000Z",
        },
    ]


async def test_alertmanager_when_the_severity_grows(host: FakeHost) -> None:
    """Scenario: a warning was sent, then it is critical; the first attempt fails; then it is over.

    Guarantees: the alert under the old labels is ended, in the attempt that succeeds too, and only once.
    """
    warning = replace(FIRING, severity=Severity.WARNING)
    over = replace(RESOLVED, name=FIRING.name, subject=FIRING.subject, severity=FIRING.severity, labels=FIRING.labels)
    async with (
        serving(Answer(), Answer(503)) as service,
        started(AlertmanagerExporter, host, endpoint=service.url) as exporter,
    ):
        await exporter.export(batch_of(warning))
        with pytest.raises(Exception, match="503"):
            await exporter.export(batch_of(FIRING))
        await exporter.export(batch_of(FIRING))
        await exporter.export(batch_of(FIRING))
        await exporter.export(batch_of(over))

    severities = [
        [(each["labels"]["severity"], "startsAt" in each) for each in request.body] for request in service.requests
    ]
    both = [("warning", False), ("critical", True)]
    assert severities == [[("warning", True)], both, both, [("critical", True)], [("critical", False)]]


@pytest.mark.parametrize(
    ("name", "expected"), [("queue", "queue"), ("error.type", "error_type"), ("7up", "_7up"), ("", "_"), ("ü", "_")]
)
def test_names_of_labels(name: str, expected: str) -> None:
    """Scenario: names of labels. Guarantees: as Prometheus' data model has them."""
    assert label_name(name) == expected


async def test_webhook(host: FakeHost) -> None:
    """Scenario: two alerts, with and without `batch`. Guarantees: the documented JSON, one request or two."""
    async with serving() as service:
        async with started(WebhookExporter, host, endpoint=f"{service.url}/hook?token=1") as exporter:
            await exporter.export(batch_of(FIRING, RESOLVED))
        keys = {"endpoint": service.url, "batch": False, "method": "PUT", "headers": {"X-Token": "hush"}}
        async with started(WebhookExporter, host, **keys) as exporter:
            await exporter.export(batch_of(FIRING, RESOLVED))

    together, *single = service.requests
    firing = {
        "name": "FailureCluster",
        "severity": "critical",
        "state": "firing",
        "subject": "c-17",
        "text": FIRING.text,
        "timestamp": "2026-11-21T22:10:00.123Z",
        "labels": dict(FIRING.labels),
        "runbook": FIRING.runbook,
        "trace_ids": list(FIRING.trace_ids),
    }
    assert together.path == "/hook?token=1"
    assert together.body["version"] == "1"
    assert together.body["alerts"][0] == firing
    assert together.body["alerts"][1]["state"] == "resolved"
    assert [request.method for request in single] == ["PUT", "PUT"]
    assert single[0].body == firing
    assert single[0].headers["X-Token"] == "hush"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            {
                "batch": False,
                "body": {
                    "content": '{severity}: "{subject}" in {labels.queue}{labels.none} {{x}}',
                    "embeds": [{"title": "{name}", "url": "{runbook}", "n": 1, "on": True}],
                    "{name}": None,
                    "tags": "{labels}",
                    "traces": "{trace_ids}",
                    "said": "see {trace_ids}; {labels}",
                    "trace": "{trace_id}",
                },
            },
            {
                "content": 'critical: "c-17" in mail {x}',
                "embeds": [{"title": "FailureCluster", "url": FIRING.runbook, "n": 1, "on": True}],
                "FailureCluster": None,
                "tags": dict(sorted(FIRING.labels.items())),
                "traces": list(FIRING.trace_ids),
                "said": f"see {', '.join(FIRING.trace_ids)}; "
                "error.type=Timeout, job_class=Mail, queue=mail, service=shop-workers",
                "trace": FIRING.trace_ids[0],
            },
        ),
        (
            {"body": {"text": "{count} ({firing}/{resolved})\n{text}", "n": "{count}"}},
            {"text": f"1 (1/0)\ncritical: FailureCluster: c-17: {FIRING.text}", "n": 1},
        ),
    ],
)
async def test_webhook_with_a_body(host: FakeHost, keys: dict[str, Any], expected: object) -> None:
    """Scenario: bodies of one's own. Guarantees: places filled, whole places keep their type, the rest as written."""
    async with serving() as service, started(WebhookExporter, host, endpoint=service.url, **keys) as exporter:
        await exporter.export(batch_of(FIRING))

    assert service.requests[0].body == expected


async def test_a_body_cannot_be_broken_by_data(host: FakeHost) -> None:
    """Scenario: an alert whose text has quotes, braces, line ends. Guarantees: it stays inside of its string."""
    evil = replace(FIRING, text='", "admin": true, {name} {0.__class__}\n')
    keys = {"batch": False, "body": {"text": "said: {text}"}}
    async with serving() as service, started(WebhookExporter, host, endpoint=service.url, **keys) as exporter:
        await exporter.export(batch_of(evil))

    assert service.requests[0].body == {"text": f"said: {evil.text}"}


@pytest.mark.parametrize("secret", ["hush", "whsec_" + base64.b64encode(b"hush").decode()])
async def test_webhook_signs(host: FakeHost, secret: str) -> None:
    """Scenario: a secret, as text or in the standard's form; the same message twice.

    Guarantees: Standard Webhooks' three headers, a signature that verifies, the same id for the same message.
    """
    async with serving() as service, started(WebhookExporter, host, endpoint=service.url, secret=secret) as exporter:
        await exporter.export(batch_of(FIRING))
        await exporter.export(batch_of(FIRING))

    first, second = service.requests
    ident, stamp = first.headers["webhook-id"], first.headers["webhook-timestamp"]
    signed = hmac.new(b"hush", f"{ident}.{stamp}.".encode() + first.raw, sha256).digest()
    assert first.headers["webhook-signature"] == f"v1,{base64.b64encode(signed).decode()}"
    assert int(stamp) == host.clock.time_ns() // 1_000_000_000
    assert second.headers["webhook-id"] == ident


@pytest.mark.parametrize("batch", [True, False])
async def test_only_a_repetition_has_the_same_id(host: FakeHost, batch: bool) -> None:
    """Scenario: a body without time and state; an alert, its repetition, the same a day later, its end.

    Guarantees: four equal bodies, three ids: receivers that ignore what they have seen miss nothing.
    """
    keys = {"secret": "hush", "batch": batch, "body": {"text": "look at jobs"}}
    later = replace(FIRING, timestamp=BEGUN + 86_400_000_000_000)
    over = replace(later, state=RESOLVED.state)
    async with serving() as service, started(WebhookExporter, host, endpoint=service.url, **keys) as exporter:
        for alert in (FIRING, FIRING, later, over):
            await exporter.export(batch_of(alert))

    assert len({request.raw for request in service.requests}) == 1
    first, repeated, *others = (request.headers["webhook-id"] for request in service.requests)
    assert repeated == first
    assert len({first, *others}) == 3
