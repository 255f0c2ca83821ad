"""Answers whether the pipelines run: 200 while they do, 503 while starting and stopping. For probes and balancers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import ClassVar

import orjson
from aiohttp import web
from pydantic import Field

from pipeline import Config, Extension, Host, StartError
from pipeline.config.values import Endpoint, reached_at, split_endpoint
from pipeline.errors import system_words


class ResponseBody(Config):
    healthy: str = ""
    """Answered instead of the JSON report while healthy."""

    unhealthy: str = ""
    """Answered instead of the JSON report while not."""


class HealthCheckConfig(Config):
    endpoint: Endpoint = "localhost:13133"
    path: str = Field("/", pattern=r"^/[^{}]*$")
    response_body: ResponseBody | None = None

    ignored_keys: ClassVar[Mapping[str, str]] = {
        "check_collector_pipeline": "the Collector accepts it and does nothing with it either",
    }
    unsupported_keys: ClassVar[Mapping[str, str]] = {"tls": "the health endpoint is plain HTTP"}


class HealthCheck(Extension[HealthCheckConfig]):
    """Tells probes and balancers whether the pipelines run, in the Collector's words."""

    kind = "health_check"
    Config = HealthCheckConfig

    _runner: web.AppRunner | None = None
    _ready = False
    _up_since = 0.0

    async def start(self, host: Host) -> None:
        app = web.Application()
        app.router.add_get(self.config.path, self._answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        address, port = split_endpoint(self.config.endpoint)
        try:
            await web.TCPSite(runner, address, port).start()
        except OSError as error:
            await runner.cleanup()
            raise StartError(f"{self.ident}: cannot listen on {self.config.endpoint}: {system_words(error)}") from error
        self._runner = runner

    async def ready(self) -> None:
        self._ready, self._up_since = True, time.time()

    async def not_ready(self) -> None:
        self._ready = False

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def guide(self) -> Iterable[tuple[str, str]]:
        for _, port in self.addresses[:1]:
            yield "health", f"http://{reached_at(self.config.endpoint, port)}{self.config.path}"

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens, also when the port was given as 0."""
        return [] if self._runner is None else [(host, port) for host, port, *_ in self._runner.addresses]

    async def _answer(self, request: web.Request) -> web.Response:
        status = 200 if self._ready else 503
        own = self.config.response_body
        text = "" if own is None else own.healthy if self._ready else own.unhealthy
        if text:
            return web.Response(status=status, text=text)
        report: dict[str, str] = {"status": "Server available" if self._ready else "Server not available"}
        if self._ready:
            report["upSince"] = datetime.fromtimestamp(self._up_since, UTC).isoformat()
            report["uptime"] = f"{time.time() - self._up_since:.3f}s"
        return web.Response(status=status, body=orjson.dumps(report), content_type="application/json")
