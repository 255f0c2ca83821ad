"""The endpoint where Prometheus reads our own metrics, and the metrics of the process itself.

Everything here is about this process; what components count is theirs.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

from aiohttp import web
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from pipeline.config.plan import Telemetry
from pipeline.config.values import reached_at, split_endpoint
from pipeline.errors import StartError, system_words
from pipeline.metrics import Metrics

LAG_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0)
LAG_INTERVAL = 0.05
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class ProcessMetrics(Collector):
    """Up-time, processor time and resident memory, under the Collector's names."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def collect(self) -> Iterator[Metric]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        yield CounterMetricFamily(
            "otelcol_process_uptime", "Seconds since the start.", value=time.monotonic() - self._began
        )
        yield CounterMetricFamily(
            "otelcol_process_cpu_seconds",
            "Processor time, user and system, in seconds.",
            value=usage.ru_utime + usage.ru_stime,
        )
        yield GaugeMetricFamily("otelcol_process_memory_rss", "Resident memory in bytes.", value=_resident_bytes())


def own_resource(changes: Mapping[str, str | int | float | bool | None]) -> dict[str, str]:
    """Return the attributes of this collector, with `changes` from the config, under names that Prometheus allows."""
    own: dict[str, str | int | float | bool | None] = {
        "service.name": "jobsight",
        "service.version": version("jobsight"),
        "service.instance.id": str(uuid4()),
    }
    kept = {key: value for key, value in {**own, **changes}.items() if value is not None}
    return {
        re.sub(r"\W", "_", key): value if isinstance(value, str) else json.dumps(value) for key, value in kept.items()
    }


def _resident_bytes() -> int:
    """Linux tells it in pages; elsewhere the peak of getrusage is the nearest there is."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class MetricsEndpoint:
    """`GET /metrics` on `service.telemetry.metrics`; nothing at level none."""

    def __init__(self, telemetry: Telemetry, metrics: Metrics) -> None:
        self._config = telemetry.metrics
        self._resource = own_resource(telemetry.resource)
        self._metrics = metrics
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str | None:
        """Where Prometheus reads, while it is there."""
        if self._runner is None:
            return None
        return f"http://{reached_at(self._config.address, self._runner.addresses[0][1])}/metrics"

    async def start(self) -> None:
        """Raises StartError where the address cannot be listened on."""
        if self._config.level == "none":
            return
        self._metrics.registry.register(ProcessMetrics())
        target = self._metrics.gauge("target_info", "The resource of this collector.", *self._resource)
        target.labels(*self._resource.values()).set(1)
        app = web.Application()
        app.router.add_get("/metrics", self._answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        host, port = split_endpoint(self._config.address)
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            await runner.cleanup()
            raise StartError(
                f"own metrics: cannot listen on {self._config.address}: {system_words(error)}; "
                "choose another service.telemetry.metrics.address"
            ) from error
        self._runner = runner

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})


async def watch_event_loop(metrics: Metrics) -> None:
    """Measure how late the event loop is, for ever: what blocks it keeps every client waiting."""
    lag = metrics.histogram("jobsight_event_loop_lag_seconds", "How late the event loop came to a timer.", LAG_BUCKETS)
    while True:
        due = time.monotonic() + LAG_INTERVAL
        await asyncio.sleep(LAG_INTERVAL)
        lag.observe(max(0.0, time.monotonic() - due))
