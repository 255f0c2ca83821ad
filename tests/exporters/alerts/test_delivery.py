"""What becomes of alerts when services refuse, are slow or away; and mistakes in configurations."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from random import Random
from typing import Any

import pytest
import structlog

from exporters.alertmanager import AlertmanagerExporter
from exporters.pagerduty import PagerDutyExporter
from exporters.slack import SlackExporter
from exporters.webhook import WebhookExporter
from pipeline import Partial, Rejected, StartError, TimedOut, Unavailable
from pipeline.alert_exporting import AlertExporter
from pipeline.alerts import read_alerts
from pipeline.clock import SystemClock
from pipeline.config.load import load_plan
from pipeline.errors import ConfigError
from pipeline.exporting import Sender
from pipeline.http_posting import refusal, retry_after
from pipeline.registry import Registry
from pipeline.supervise import cancel
from pipeline.testing import FakeClock, FakeHost, Ledger, alerts_batch
from tests.exporters.alerts.service import FIRING, RESOLVED, Answer, Service, batch_of, serving, started

CERTS = Path(__file__).parents[2] / "pipeline" / "config" / "certs"
KEY = "0123456789abcdef0123456789abcdef"
ALL: list[tuple[type[AlertExporter[Any]], dict[str, Any]]] = [
    (AlertmanagerExporter, {}),
    (PagerDutyExporter, {"routing_key": KEY}),
    (SlackExporter, {}),
    (WebhookExporter, {}),
]
each_exporter = pytest.mark.parametrize(("type_", "keys"), ALL, ids=[type_.kind for type_, _ in ALL])


@each_exporter
async def test_refused(type_: type[AlertExporter[Any]], keys: dict[str, Any], host: FakeHost) -> None:
    """Scenario: the service answers 400. Guarantees: Rejected, with status and words, without path or key."""
    async with (
        serving(Answer(400, "invalid\n payload"), Answer(400, "invalid\n payload")) as service,
        started(type_, host, endpoint=f"{service.url}/hush", **keys) as exporter,
    ):
        with pytest.raises(Rejected) as caught:
            await exporter.export(batch_of(FIRING))

    assert str(caught.value) == f'{service.url} answered HTTP 400 "invalid payload"'


@each_exporter
async def test_busy(type_: type[AlertExporter[Any]], keys: dict[str, Any], host: FakeHost) -> None:
    """Scenario: 429 with Retry-After in seconds, 503 with a date. Guarantees: Unavailable with the wait."""
    date = formatdate(host.clock.time_ns() / 1e9 + 90, usegmt=True)
    async with (
        serving(Answer(429, "", {"Retry-After": "17"}), Answer(503, "", {"Retry-After": date})) as service,
        started(type_, host, endpoint=service.url, **keys) as exporter,
    ):
        waits = []
        for _ in range(2):
            with pytest.raises(Unavailable) as caught:
                await exporter.export(batch_of(FIRING))
            waits.append(caught.value.retry_after)

    assert waits[0] == 17
    assert waits[1] == pytest.approx(90, abs=1)


@each_exporter
async def test_away(type_: type[AlertExporter[Any]], keys: dict[str, Any], host: FakeHost) -> None:
    """Scenario: nobody listens. Guarantees: Unavailable with the address and the system's words, no secret."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        async with started(type_, host, endpoint=f"{url}/hush?key=hush", **keys) as exporter:
            with pytest.raises(Unavailable) as caught:
                await exporter.export(batch_of(FIRING))

    assert str(caught.value) == f"cannot reach {url}: connection refused"


@each_exporter
async def test_no_answer(type_: type[AlertExporter[Any]], keys: dict[str, Any], host: FakeHost) -> None:
    """Scenario: the service does not answer in time. Guarantees: TimedOut with address and time."""
    async with serving() as service:
        service.open.clear()
        async with started(type_, host, endpoint=service.url, timeout="50ms", **keys) as exporter:
            with pytest.raises(TimedOut, match=re.escape(f"{service.url}: no answer within 0.05 s")):
                await exporter.export(batch_of(FIRING))


@each_exporter
async def test_https(type_: type[AlertExporter[Any]], keys: dict[str, Any], host: FakeHost) -> None:
    """Scenario: an https:// service whose authority is configured, or unknown.

    Guarantees: alerts are sent where it is trusted; else they wait, and the line says why.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTS / "server.pem", CERTS / "server.key")
    trusted = {"ca_file": str(CERTS / "ca.pem"), "server_name_override": "server.example"}
    async with (
        serving(tls=context) as service,
        started(type_, host, endpoint=service.url, tls=trusted, **keys) as exporter,
    ):
        await exporter.export(batch_of(FIRING))
        async with started(type_, host, endpoint=service.url, **keys) as stranger:
            with pytest.raises(Unavailable, match="the certificate is not trusted"):
                await stranger.export(batch_of(FIRING))

    assert len(service.requests) == 1


@each_exporter
async def test_only_what_is_wanted(type_: type[AlertExporter[Any]], keys: dict[str, Any], host: FakeHost) -> None:
    """Scenario: exporters for critical alerts, for some queues, without ends, with two matches.

    Guarantees: each sends its alerts only; what it leaves out is counted.
    """
    info = replace(FIRING, name="JobCycle", subject="x")
    cases: list[tuple[dict[str, Any], int]] = [
        ({"match": {"severity": "critical"}}, 2),
        ({"match": {"labels": {"queue": ["s*", "t?"]}}}, 1),
        ({"match": [{"name": "JobCycle"}, {"labels": {"queue": "sms"}}]}, 2),
        ({"match": {"labels": {"none": ""}}, "send_resolved": False}, 2),
        ({"match": {"name": "Nothing"}}, 0),
    ]
    for how, number in cases:
        async with serving() as service, started(type_, host, endpoint=service.url, **keys, **how) as exporter:
            await exporter.export(batch_of(FIRING, RESOLVED, info))
        if type_ is PagerDutyExporter:
            assert len(service.requests) == number
        elif type_ is AlertmanagerExporter:
            assert sum(len(request.body) for request in service.requests) == number
        else:
            assert len(service.requests) == bool(number)
    text = host.metrics.exposition().decode()
    assert f'jobsight_exporter_unmatched_alerts{{exporter="{type_.kind}"}} 8.0' in text


async def test_by_way_of_a_proxy(host: FakeHost) -> None:
    """Scenario: a proxy is configured; then one that refuses. Guarantees: it is asked, for the service's address."""
    async with (
        serving(Answer(), Answer(407, "who?")) as proxy,
        started(SlackExporter, host, endpoint="http://slack.invalid/hook", proxy_url=proxy.url) as exporter,
    ):
        await exporter.export(batch_of(FIRING))
        with pytest.raises(Rejected, match=r"http://slack\.invalid answered HTTP 407"):
            await exporter.export(batch_of(FIRING))

    assert proxy.requests[0].headers["Host"] == "slack.invalid"
    assert proxy.requests[0].path.endswith("/hook")


async def test_one_of_several_is_refused(host: FakeHost) -> None:
    """Scenario: PagerDuty refuses the second of three events, then is busy at the third; then it takes it.

    Guarantees: the first is not sent again; what is left is tried again; in the end only the bad one is refused.
    """
    alerts = [replace(FIRING, subject=subject) for subject in "abc"]
    answers = [Answer(202), Answer(400), Answer(429), Answer(400), Answer(202)]
    async with (
        serving(*answers) as service,
        started(PagerDutyExporter, host, endpoint=service.url, routing_key=KEY) as exporter,
    ):
        with pytest.raises(Partial) as first:
            await exporter.export(batch_of(*alerts))
        with pytest.raises(Partial) as second:
            await exporter.export(first.value.failed)

    assert isinstance(first.value.cause, Unavailable)
    assert [alert.subject for alert in read_alerts(first.value.failed)] == ["b", "c"]
    assert isinstance(second.value.cause, Rejected)
    assert [alert.subject for alert in read_alerts(second.value.failed)] == ["b"]


async def test_alertmanager_takes_the_good_ones(host: FakeHost) -> None:
    """Scenario: Alertmanager refuses a request because of one alert of three.

    Guarantees: each is sent by itself, and only the bad one is lost.
    """
    alerts = [replace(FIRING, subject=subject) for subject in "abc"]
    async with (
        serving(Answer(400), Answer(), Answer(400), Answer()) as service,
        started(AlertmanagerExporter, host, endpoint=service.url) as exporter,
    ):
        with pytest.raises(Partial) as caught:
            await exporter.export(batch_of(*alerts))

    assert [len(request.body) for request in service.requests] == [3, 1, 1, 1]
    assert [alert.subject for alert in read_alerts(caught.value.failed)] == ["b"]


async def send_through_the_engine(exporter: AlertExporter[Any], host: FakeHost, batches: int) -> list[str]:
    """Send batches of one alert through queue and retries; return the tokens of completed intakes."""
    ledger = Ledger()
    sender = Sender(exporter, clock=host.clock, metrics=host.metrics, log=host.log, random=Random(1))
    tasks = [asyncio.create_task(sender.consume()) for _ in range(sender.consumers)]
    for number in range(batches):
        await sender.put(alerts_batch(1, seed=number, receipt=ledger.receipt(str(number))))
    sender.finish()
    await asyncio.wait_for(asyncio.gather(*tasks), 10)
    await cancel(tasks)
    return ledger.complete


async def test_order_survives_retries(clock: FakeClock) -> None:
    """Scenario: three messages; the first is refused for now twice.

    Guarantees: the service hears them in their order, for an end must not come before its beginning.
    """
    host = FakeHost(clock=clock)
    async with (
        serving(Answer(503), Answer(503)) as service,
        started(WebhookExporter, host, endpoint=service.url) as exporter,
    ):
        ledger = Ledger()
        sender = Sender(exporter, clock=clock, metrics=host.metrics, log=host.log, random=Random(1))
        tasks = [asyncio.create_task(sender.consume()) for _ in range(sender.consumers)]
        for number in range(3):
            await sender.put(alerts_batch(1, seed=number, receipt=ledger.receipt(str(number))))
        while len(ledger.complete) < 3:
            await clock.advance(60)
        await cancel(tasks)

    seeds = [int(request.body["alerts"][0]["trace_ids"][0], 16) >> 64 for request in service.requests]
    assert seeds == [0, 0, 0, 1, 2]
    assert ledger.complete == ["0", "1", "2"]


async def test_a_rejected_alert_is_counted_and_said(log_events: list[structlog.typing.EventDict]) -> None:
    """Scenario: the service refuses a message, through the engine's queue.

    Guarantees: dropped, counted, said once with the service's words; the intake is complete, the next one is sent.
    """
    host = FakeHost(clock=SystemClock())
    async with (
        serving(Answer(404, "no_service")) as service,
        started(SlackExporter, host, endpoint=f"{service.url}/hush") as exporter,
    ):
        assert await send_through_the_engine(exporter, host, 2) == ["0", "1"]

    text = host.metrics.exposition().decode()
    assert 'otelcol_exporter_send_failed_alerts{exporter="slack"} 1.0' in text
    assert 'otelcol_exporter_sent_alerts{exporter="slack"} 1.0' in text
    (event,) = [event for event in log_events if event["log_level"] == "error"]
    assert event["dropped_rows"] == 1
    assert event["error"] == (f'{service.url} answered HTTP 404 "no_service": is the endpoint right, and still there?')


async def test_many_slow_messages_take_longer_than_one_may(host: FakeHost) -> None:
    """Scenario: ten events, each answered within its time, all of them not; through the engine.

    Guarantees: each is sent once: the time-out is that of a request.
    """
    real = FakeHost(clock=SystemClock())
    async with (
        serving() as service,
        started(PagerDutyExporter, real, endpoint=service.url, routing_key=KEY, timeout="1s") as exporter,
    ):
        sender = Sender(exporter, clock=real.clock, metrics=real.metrics, log=real.log, random=Random(1))
        task = asyncio.create_task(sender.consume())
        service.open.clear()
        opener = asyncio.create_task(_open_now_and_then(service, 10))
        ledger = Ledger()
        await sender.put(alerts_batch(10, receipt=ledger.receipt("0")))
        sender.finish()
        await asyncio.wait_for(task, 20)
        await cancel([opener])

    assert ledger.complete == ["0"]
    assert len(service.requests) == 10


async def _open_now_and_then(service: Service, times: int) -> None:
    """Let each request wait a little; all together wait longer than one may."""
    loop = asyncio.get_running_loop()
    for _ in range(times):
        passed = loop.create_future()
        loop.call_later(0.15, passed.set_result, None)
        await passed
        service.open.set()
        await asyncio.sleep(0)
        service.open.clear()
    service.open.set()


@pytest.mark.parametrize(
    ("status", "type_", "words"),
    [
        (301, Rejected, "sends us to https://new.example; requests do not follow"),
        (400, Rejected, 'answered HTTP 400 "said"'),
        (401, Rejected, "are key, token or password right?"),
        (403, Rejected, "are key, token or password right?"),
        (404, Rejected, "is the endpoint right, and still there?"),
        (408, Unavailable, "408"),
        (410, Rejected, "is the endpoint right, and still there?"),
        (413, Rejected, "413"),
        (425, Unavailable, "425"),
        (429, Unavailable, "429"),
        (500, Unavailable, "500"),
        (501, Rejected, "501"),
        (502, Unavailable, "502"),
        (503, Unavailable, "503"),
        (504, Unavailable, "504"),
        (520, Unavailable, "520"),
    ],
)
def test_what_answers_mean(status: int, type_: type[Exception], words: str) -> None:
    """Scenario: every answer of note. Guarantees: dropped or tried again, with words that help."""
    found = refusal("https://host", status, " said\n", {"Location": "https://new.example/hush"}, 0)

    assert type(found) is type_
    assert words in str(found)
    assert "hush" not in str(found)


@pytest.mark.parametrize("location", ["", "/hush", "/hush://x", "https://[hush", "ftp://x/hush"])
def test_a_redirect_to_nowhere(location: str) -> None:
    """Scenario: redirects without a usable address. Guarantees: dropped, with words, not taken for a bug of ours."""
    found = refusal("https://host", 302, "", {"Location": location}, 0)

    assert isinstance(found, Rejected)
    assert "sends us to another place; requests do not follow" in str(found)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (b"", "Server disconnected"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "no HTTP answer: Bad status line"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "no HTTP answer: Invalid character in chunk size",
        ),
    ],
)
async def test_what_is_no_http(host: FakeHost, said: bytes, problem: str) -> None:
    """Scenario: something else listens there, or hangs up. Guarantees: Unavailable, one line, without the path."""
    async with answering(said) as port, started(SlackExporter, host, endpoint=f"http://127.0.0.1:{port}/hush") as slack:
        with pytest.raises(Unavailable) as caught:
            await slack.export(batch_of(FIRING))

    assert str(caught.value).startswith(f"cannot reach http://127.0.0.1:{port}: {problem}")
    assert "\n" not in str(caught.value)
    assert "hush" not in str(caught.value)


async def test_https_where_none_is(host: FakeHost) -> None:
    """Scenario: an https:// endpoint, and plain HTTP behind it. Guarantees: the line says that TLS failed."""
    async with (
        answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port,
        started(SlackExporter, host, endpoint=f"https://127.0.0.1:{port}/hush") as slack,
    ):
        with pytest.raises(Unavailable, match=rf"^cannot reach https://127.0.0.1:{port}: TLS: [a-z ]+$"):
            await slack.export(batch_of(FIRING))


async def test_an_answer_that_cannot_be_unpacked(host: FakeHost) -> None:
    """Scenario: a 400 that claims to be gzip and is not. Guarantees: its status counts: refused, not tried again."""
    head = b"HTTP/1.1 400 Bad Request\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"
    async with answering(head) as port, started(SlackExporter, host, endpoint=f"http://127.0.0.1:{port}/") as slack:
        with pytest.raises(Rejected, match='answered HTTP 400 "abc"'):
            await slack.export(batch_of(FIRING))


@asynccontextmanager
async def answering(said: bytes) -> AsyncIterator[int]:
    """Listen on a port, read a little of whoever comes, say this, hang up."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(said)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", None),
        ("7", 7.0),
        (" 120 ", 120.0),
        ("Thu, 01 Jan 1970 00:02:00 GMT", 20.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        ("86400", 3600.0),
        ("9" * 400, 3600.0),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 3600.0),
    ],
)
def test_retry_after(value: str, expected: float | None) -> None:
    """Scenario: forms of the header, at 100 s past 1970.

    Guarantees: seconds to wait, an hour at most, nothing for what is no time.
    """
    assert retry_after(value, 100 * 1_000_000_000) == expected


async def test_a_certificate_that_is_not_there(host: FakeHost) -> None:
    """Scenario: the file of the authority is missing. Guarantees: the start fails and names it."""
    with pytest.raises(StartError, match=r'tls.ca_file: cannot read "nowhere.pem"'):
        async with started(SlackExporter, host, endpoint="https://x", tls={"ca_file": "nowhere.pem"}):
            pass


@pytest.mark.parametrize(
    ("exporter", "problem"),
    [
        ("slack: {}", "exporters.slack.endpoint: is required"),
        ("slack: {endpoint: hooks.slack.com/hush}", "exporters.slack.endpoint: must be a URL that begins with http"),
        ('slack: {endpoint: ""}', "exporters.slack.endpoint: must be a URL that begins with http"),
        ("slack: {endpoint: https://x, mentions: {urgent: <!here>}}", "exporters.slack.mentions"),
        ("slack: {endpoint: https://x, match: {severities: info}}", 'did you mean "severity"?'),
        ("slack: {endpoint: https://x, headers: {'a b': hush}}", '"a b" is no name of a header'),
        ('pagerduty: {routing_key: ""}', "exporters.pagerduty.routing_key: is empty"),
        ("pagerduty: {routing_key: hush, levels: {critical: fatal}}", "exporters.pagerduty.levels"),
        ("alertmanager: {endpoint: https://x, resolve_timeout: 0s}", "exporters.alertmanager.resolve_timeout"),
        (
            "webhook: {endpoint: https://x, body: {text: '{summary}'}}",
            "exporters.webhook: 'body', with 'batch: true', has no value for \"{summary}\"",
        ),
        ("webhook: {endpoint: https://x, batch: false, body: {text: '{count}'}}", "with 'batch: false'"),
        ("webhook: {endpoint: https://x, body: {text: 'a } b'}}", "has a lone brace"),
        ("webhook: {endpoint: https://x, body: {text: '{text:>10}'}}", "may not format its fields"),
        ("webhook: {endpoint: https://x, secret: whsec_hush!}", "'secret' begins with whsec_"),
        ("webhook: {endpoint: https://x, secret: whsec_}", "but nothing follows"),
        ("webhook: {endpoint: https://x, method: GET}", "exporters.webhook.method"),
        ("slack: {endpoint: https://a..b/hush}", "exporters.slack.endpoint: must be a URL that begins with http"),
        ("alertmanager: {endpoint: http://.example}", "exporters.alertmanager.endpoint: must be a URL that begins"),
    ],
)
def test_mistakes(exporter: str, problem: str) -> None:
    """Scenario: a mistake in a config. Guarantees: one line with the place and what would be right, and no secret."""
    kind = exporter.partition(":")[0]
    text = (
        f"yaml:\nreceivers: {{otlp: {{protocols: {{grpc: }}}}}}\nexporters:\n  {exporter}\n"
        f"service: {{pipelines: {{traces: {{receivers: [otlp], exporters: [{kind}]}}}}}}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_plan([text], [], environ={}, registry=Registry())

    (line,) = caught.value.problems
    assert problem in line
    assert "hush" not in line
