"""A receiver on free ports in front of a fake host, and clients that can be as odd as a test needs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from pipeline import Batch, ComponentId
from pipeline.kinds import Signal
from pipeline.testing import FakeHost
from receivers.otlp import OTLPReceiver, OTLPReceiverConfig
from receivers.otlp.grpc import SERVICES
from receivers.otlp.intake import JointDecoder

PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json"}
MALFORMED = b"\x0a\xff\x01no such length"
ANY_PORT = "127.0.0.1:0"


class Host(FakeHost):
    """A host whose pipelines can be full, broken, or missing for a signal."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted = frozenset(Signal)
        self.raises: Exception | None = None
        self.raises_next: list[Exception] = []

    async def emit(self, batch: Batch) -> None:
        if self.raises is not None:
            raise self.raises
        if self.raises_next:
            raise self.raises_next.pop(0)
        await super().emit(batch)

    def signals(self) -> frozenset[Signal]:
        return self.wanted

    def names(self) -> list[str]:
        """The names of all spans that were emitted."""
        return [str(name) for batch in self.emitted for name in batch.table["name"].to_pylist()]

    def counts(self, prefix: str = "otelcol_receiver_") -> dict[str, float]:
        """What was counted and is not 0, as `name{label,label}` without the receiver's name."""
        counted: dict[str, float] = {}
        for metric in self.metrics.registry.collect():
            for sample in metric.samples:
                if sample.name.startswith(prefix) and sample.value:
                    labels = ",".join(value for key, value in sample.labels.items() if key != "receiver")
                    counted[f"{sample.name.removesuffix('_total').removeprefix(prefix)}{{{labels}}}"] = sample.value
        return counted


def spans(*names: str) -> bytes:
    """A trace request with a span of each name."""
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for name in names:
        scope.spans.add(name=name, trace_id=b"t" * 16, span_id=b"s" * 8)
    return request.SerializeToString()


def span_json(*names: str) -> bytes:
    """The same as OTLP/JSON."""
    made = [{"name": name, "traceId": "74" * 16, "spanId": "73" * 8} for name in names]
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": made}]}]}).encode()


def points(number: int) -> bytes:
    """A metric request with one gauge of `number` points."""
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="queue.size")
    for value in range(number):
        metric.gauge.data_points.add(as_int=value, time_unix_nano=value)
    return request.SerializeToString()


def records(number: int) -> bytes:
    """A log request with `number` records."""
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for value in range(number):
        scope.log_records.add(time_unix_nano=value).body.string_value = f"line {value}"
    return request.SerializeToString()


class Served:
    """A running receiver and its clients."""

    def __init__(self, receiver: OTLPReceiver, channel: grpc.aio.Channel, session: aiohttp.ClientSession) -> None:
        self.receiver = receiver
        self.channel = channel
        self.session = session

    @property
    def grpc_endpoint(self) -> str:
        assert self.receiver.grpc is not None
        return self.receiver.grpc.endpoint

    @property
    def http_endpoint(self) -> str:
        assert self.receiver.http is not None
        return self.receiver.http.endpoint

    def decoder(self, signal: Signal, encoding: str = "protobuf") -> JointDecoder:
        return next(d for d in self.receiver._decoders if (d.signal, d.encoding) == (signal, encoding))

    def export(self, body: bytes, signal: Signal = Signal.TRACES, **how: Any) -> Any:
        """Call Export over gRPC with raw bytes."""
        return export_call(self.channel, signal)(body, **how)

    def post(
        self, body: Any, path: str = "/v1/traces", headers: dict[str, str] = PROTOBUF, method: str = "POST"
    ) -> Any:
        """Make an HTTP request; an async context manager."""
        return self.session.request(method, f"http://{self.http_endpoint}{path}", data=body, headers=headers)

    async def status(self, body: Any, **how: Any) -> int:
        async with self.post(body, **how) as response:
            return int(response.status)


@asynccontextmanager
async def serving(
    host: FakeHost, *, grpc_config: Any = None, http_config: Any = None, intake: Any = None
) -> AsyncIterator[Served]:
    """Run a receiver with both protocols until the block ends."""
    config = OTLPReceiverConfig.model_validate(
        {
            "protocols": {
                "grpc": {"endpoint": ANY_PORT, **(grpc_config or {})},
                "http": {"endpoint": ANY_PORT, **(http_config or {})},
            },
            "intake": intake or {},
        }
    )
    receiver = OTLPReceiver(config, ComponentId("otlp", "test"))
    await receiver.start(host)
    assert receiver.grpc is not None
    try:
        async with (
            grpc.aio.insecure_channel(
                receiver.grpc.endpoint, options=[("grpc.max_send_message_length", -1)]
            ) as channel,
            aiohttp.ClientSession() as session,
        ):
            yield Served(receiver, channel, session)
    finally:
        await receiver.stop()


def export_call(channel: grpc.aio.Channel, signal: Signal = Signal.TRACES) -> Any:
    """The Export method of a signal, for raw bytes."""
    return channel.unary_unary(f"/{SERVICES[signal]}/Export")


async def until(holds: Callable[[], bool]) -> None:
    """Let the event loop turn until something holds that sockets bring about; the test's time-out bounds it."""
    while not holds():  # noqa: ASYNC110 - bytes in a socket set no event of ours
        await asyncio.sleep(0)
