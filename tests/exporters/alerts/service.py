"""A real HTTP service on a port of its own, which answers as told and remembers what came."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from aiohttp import web

from pipeline import Batch, ComponentId, Receipt
from pipeline.alert_exporting import AlertExporter
from pipeline.alerts import Alert, AlertState, Severity, alert_batch
from pipeline.testing import FakeHost
from tests.exporters.listening import listening

BEGUN: Final = 1_795_299_000_123_456_789
"""2026-11-21T22:10:00.123Z, which is before the fake clock's now."""

FIRING: Final = Alert(
    name="FailureCluster",
    severity=Severity.CRITICAL,
    subject="c-17",
    text="120 failures of <Mail> & co within 1 h.",
    timestamp=BEGUN,
    labels={"job_class": "Mail", "queue": "mail", "service": "shop-workers", "error.type": "Timeout"},
    runbook="https://docs.example/runbooks/failure-cluster",
    trace_ids=("0af7651916cd43dd8448eb211c80319c", "1af7651916cd43dd8448eb211c80319c"),
)

RESOLVED: Final = Alert(
    name="RetryLoop",
    severity=Severity.WARNING,
    subject="job 7",
    text="Over.",
    timestamp=BEGUN,
    state=AlertState.RESOLVED,
    labels={"queue": "sms"},
)


@dataclass(frozen=True)
class Answer:
    status: int = 200
    text: str = "ok"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return orjson.loads(self.raw)


class Service:
    """Gives `answers` in turn, then 200; while `open` is clear nobody is answered."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = deque(answers)
        self.requests: list[Request] = []
        self.open = asyncio.Event()
        self.open.set()
        self.came = asyncio.Event()
        """Set whenever a request came."""
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append(Request(request.method, request.path_qs, request.headers, await request.read()))
        self.came.set()
        await self.open.wait()
        answer = self.answers.popleft() if self.answers else Answer()
        return web.Response(status=answer.status, text=answer.text, headers=answer.headers)


@asynccontextmanager
async def serving(*answers: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Service]:
    service = Service(*answers)
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", service.handle)
    async with listening(application, tls) as service.url:
        try:
            yield service
        finally:
            service.open.set()


@asynccontextmanager
async def started(type_: type[AlertExporter[Any]], host: FakeHost, **keys: Any) -> AsyncIterator[AlertExporter[Any]]:
    exporter = type_(type_.Config.model_validate(keys), ComponentId(type_.kind))
    await exporter.start(host)
    yield exporter
    await exporter.stop()


def batch_of(*alerts: Alert) -> Batch:
    return alert_batch(alerts, Receipt.issue("alerts"))
