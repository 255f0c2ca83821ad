"""From a processor that raises alerts to real HTTP services, through the real engine, over a restart."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporters.alertmanager import AlertmanagerExporter
from exporters.pagerduty import PagerDutyExporter
from exporters.slack import SlackExporter
from exporters.webhook import WebhookExporter
from extensions.file_storage import FileStorage
from pipeline import Batch, ComponentId, Config, Host, Kind, Processor, Receiver
from pipeline.alerts import Alert, AlertState, Severity, alert_batch
from pipeline.config.load import load_plan
from pipeline.registry import Registry
from pipeline.service import Service
from pipeline.testing import Ledger, logs_batch, spans_batch
from processors.alerts import AlertsProcessor
from tests.exporters.alerts.service import Service as Receiving
from tests.exporters.alerts.service import serving

YAML = """yaml:
receivers: {source: }
processors:
  raiser: {}
  alerts: {group_wait: 20ms, group_interval: 20ms, storage: file_storage}
exporters:
  slack: {endpoint: URL/slack}
  pagerduty: {endpoint: URL/pagerduty, routing_key: hush, match: {severity: critical}}
  alertmanager: {endpoint: URL/alertmanager}
  webhook: {endpoint: URL/webhook, match: {subject: nothing}}
extensions: {file_storage: {directory: FOLDER}}
service:
  extensions: [file_storage]
  telemetry: {metrics: {level: none}}
  pipelines:
    traces: {receivers: [source], processors: [raiser, alerts], exporters: [slack, pagerduty, alertmanager, webhook]}
    logs: {receivers: [source], processors: [raiser, alerts], exporters: [slack, pagerduty, alertmanager, webhook]}
"""


class Source(Receiver[Config]):
    kind = "source"
    Config = Config
    host: Host

    async def start(self, host: Host) -> None:
        self.host = host

    async def stop_accepting(self) -> None:
        """Nothing is in flight."""


class Raiser(Processor[Config]):
    """Raises what the test says with the next batch."""

    kind = "raiser"
    Config = Config
    handles = frozenset({Kind.SPANS, Kind.LOGS})
    shared = True

    def __init__(self, config: Any, ident: ComponentId) -> None:
        super().__init__(config, ident)
        self.raises: deque[tuple[Alert, ...]] = deque()

    def process(self, batch: Batch) -> Iterable[Batch]:
        own, ours = batch.receipt.split(2)
        return [Batch(batch.kind, batch.table, own, batch.sides), alert_batch(self.raises.popleft(), ours)]


@dataclass
class Running:
    source: Source
    raiser: Raiser
    ledger: Ledger
    emitted: int = 0

    async def raise_(self, *alerts: Alert, logs: bool = False) -> None:
        self.raiser.raises.append(alerts)
        self.emitted += 1
        receipt = self.ledger.receipt(str(self.emitted))
        await self.source.host.emit((logs_batch if logs else spans_batch)(1, receipt=receipt))


@asynccontextmanager
async def running(url: str, folder: Path) -> AsyncIterator[Running]:
    registry = Registry.of(
        Source,
        Raiser,
        AlertsProcessor,
        SlackExporter,
        PagerDutyExporter,
        AlertmanagerExporter,
        WebhookExporter,
        FileStorage,
    )
    text = YAML.replace("URL", url).replace("FOLDER", str(folder))
    service = Service(load_plan([text], [], environ={}, registry=registry))
    await service.start()
    (source,) = service.receivers.values()
    raiser = service.pipelines[0].processors[0]
    assert isinstance(source, Source)
    assert isinstance(raiser, Raiser)
    parts = Running(source, raiser, Ledger())
    yield parts
    await service.stop()
    assert len(parts.ledger.complete) == parts.emitted


def alert(subject: str, severity: Severity, number: int, state: AlertState = AlertState.FIRING) -> Alert:
    return Alert("FailureCluster", severity, subject, f"{subject} fails.", number, state)


async def heard(service: Receiving, number: int) -> list[tuple[str, Any]]:
    """Return path and body of what came, once it is so much."""
    async with asyncio.timeout(20):
        while len(service.requests) < number:
            service.came.clear()
            await service.came.wait()
    return sorted((request.path, request.body) for request in service.requests)


async def test_alerts_reach_people(tmp_path: Path) -> None:
    """Scenario: a warning and a critical alert, raised again and again by two pipelines; a restart; then they are over.

    Guarantees: each service hears of the beginning and the end once, PagerDuty of the critical one only, nobody what
    does not match; ends are told after a restart; every intake completes.
    """
    async with serving() as service:
        async with running(service.url, tmp_path) as parts:
            for number in range(1, 4):
                for subject, severity in (("warn", Severity.WARNING), ("crit", Severity.CRITICAL)):
                    await parts.raise_(alert(subject, severity, number), logs=number != 1)
            began = await heard(service, 3)
        service.requests.clear()
        async with running(service.url, tmp_path) as parts:
            await parts.raise_(alert("warn", Severity.WARNING, 9), alert("crit", Severity.CRITICAL, 9))
            await parts.raise_(
                alert("warn", Severity.WARNING, 10, AlertState.RESOLVED),
                alert("crit", Severity.CRITICAL, 10, AlertState.RESOLVED),
                logs=True,
            )
            ended = await heard(service, 3)

    manager, pager, slack = began
    assert [path for path, _ in began] == ["/alertmanager/api/v2/alerts", "/pagerduty", "/slack"]
    assert {each["labels"]["subject"] for each in manager[1]} == {"warn", "crit"}
    assert (pager[1]["event_action"], pager[1]["dedup_key"]) == ("trigger", "jobsight/FailureCluster/crit")
    assert len(slack[1]["attachments"]) == 2
    manager, pager, slack = ended
    assert {each["labels"]["subject"] for each in manager[1]} == {"warn", "crit"}
    assert (pager[1]["event_action"], pager[1]["dedup_key"]) == ("resolve", "jobsight/FailureCluster/crit")
    assert slack[1]["text"] == "0 firing, 2 resolved"
    assert len(service.requests) == 3


async def test_shutdown_tells(tmp_path: Path) -> None:
    """Scenario: the program stops right after an alert was raised. Guarantees: it is told before the end."""
    async with serving() as service:
        async with running(service.url, tmp_path) as parts:
            await parts.raise_(alert("warn", Severity.WARNING, 1))

        assert sorted(request.path for request in service.requests) == ["/alertmanager/api/v2/alerts", "/slack"]
