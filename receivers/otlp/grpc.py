"""OTLP over gRPC: raw bytes in, joint decoding behind.

Handlers take bytes, not messages: a servicer generated from the proto files would answer UNKNOWN to a body that does
not parse and spend processor time on messages that nobody reads. gzip and deflate are undone by gRPC itself; it answers
INTERNAL to other compressions and RESOURCE_EXHAUSTED to messages far over the limit, before we see them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import grpc

from pipeline.config.tls import server_pem
from pipeline.config.values import join_endpoint
from pipeline.errors import ShuttingDown, StartError, TooLarge
from pipeline.kinds import Signal
from receivers.otlp.calls import Calls
from receivers.otlp.config import MIB, GRPCConfig
from receivers.otlp.intake import JointDecoder
from receivers.otlp.listen import actual_endpoint, bound_sockets, close_all, is_wildcard
from receivers.otlp.refusals import Refusals
from receivers.otlp.status import retry_metadata
from receivers.otlp.telemetry import Meter

SERVICES: Final[Mapping[Signal, str]] = {
    Signal.TRACES: "opentelemetry.proto.collector.trace.v1.TraceService",
    Signal.METRICS: "opentelemetry.proto.collector.metrics.v1.MetricsService",
    Signal.LOGS: "opentelemetry.proto.collector.logs.v1.LogsService",
}

_HEADROOM_BYTES: Final = 4 * MIB
"""gRPC itself refuses what is over the limit by more than this; below, we do, so that it is counted and explained."""

_Context = grpc.aio.ServicerContext[bytes, bytes]
_Export = Callable[[bytes, _Context], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class GRPCDoor:
    """Where the requests of one signal go."""

    decoder: JointDecoder
    meter: Meter


class GRPCListener:
    """One gRPC server for the signals in `doors`."""

    def __init__(self, config: GRPCConfig, doors: Mapping[Signal, GRPCDoor], refusals: Refusals, receiver: str) -> None:
        self._config = config
        self._doors = doors
        self._refusals = refusals
        self._receiver = receiver
        self._limit = config.max_message_bytes
        self._calls = Calls()
        self._stopping = False
        self._server: grpc.aio.Server | None = None
        self.endpoint = config.endpoint
        """Where it listens; with the port in place of 0 once it is started."""

    async def start(self) -> None:
        """Listen. Raises StartError, without the component's name."""
        server = grpc.aio.server(options=_options(self._config))
        server.add_generic_rpc_handlers(
            tuple(
                grpc.method_handlers_generic_handler(
                    service, {"Export": grpc.unary_unary_rpc_method_handler(self._handler(signal))}
                )
                for signal, service in SERVICES.items()
            )
        )
        credentials = None
        if self._config.tls is not None:
            pem = server_pem(self._config.tls)
            assert pem.key is not None
            assert pem.certificate is not None
            credentials = grpc.ssl_server_credentials(
                [(pem.key, pem.certificate)],
                root_certificates=pem.authorities,
                require_client_auth=pem.authorities is not None,
            )
        # gRPC takes no sockets and does not say why it cannot listen: so ours find out, and make room for its own.
        sockets = await bound_sockets(self._config.endpoint, self._config.transport)
        addresses = [join_endpoint(*sock.getsockname()[:2]) for sock in sockets]
        if any(is_wildcard(sock) for sock in sockets):
            # gRPC makes one wildcard address every address of both families.
            del addresses[1:]
        self.endpoint = actual_endpoint(self._config.endpoint, sockets)
        close_all(sockets)
        try:
            for address in addresses:
                if credentials is None:
                    server.add_insecure_port(address)
                else:
                    server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise StartError(f"cannot listen on {self._config.endpoint}: {error}") from error
        self._server = server
        await server.start()

    def _handler(self, signal: Signal) -> _Export:
        door = self._doors.get(signal)
        if door is None:
            return self._unimplemented(signal)
        take, meter = door.decoder.take, door.meter
        calls, admit, success = self._calls, self._admit, door.meter.success.inc

        async def export(body: bytes, context: _Context) -> bytes:
            with calls:
                try:
                    admit(len(body))
                    if await take(body, meter):
                        success()
                except Exception as error:  # noqa: BLE001 - the protocol's edge: gRPC would answer UNKNOWN, data lost
                    answer = self._refusals.answer(error, meter)
                    await context.abort(answer.code, answer.message, retry_metadata(answer))
            # An empty Export*ServiceResponse of any signal.
            return b""

        return export

    def _admit(self, nbytes: int) -> None:
        if self._stopping:
            raise ShuttingDown("the collector is stopping")
        if nbytes > self._limit:
            raise TooLarge(f"the message of {nbytes} bytes is over max_recv_msg_size_mib: {self._limit // MIB}")

    def _unimplemented(self, signal: Signal) -> _Export:
        message = f"no {signal} pipeline uses the receiver {self._receiver}"

        async def refuse(body: bytes, context: _Context) -> bytes:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, message)

        return refuse

    async def stop_accepting(self, grace_seconds: float) -> None:
        """Close the port and return when all calls are answered, or after `grace_seconds`."""
        self._stopping = True
        if self._server is None:
            return
        try:
            async with asyncio.timeout(grace_seconds):
                await self._server.stop(grace_seconds)
                await self._calls.answered()
        except TimeoutError:
            return

    async def stop(self) -> None:
        """End whatever is left. Safe before start, safe twice."""
        self._stopping = True
        if self._server is not None:
            await self._server.stop(None)
            self._server = None


def _options(config: GRPCConfig) -> list[tuple[str, Any]]:
    """Return the channel arguments; those that the user left at 0 keep gRPC's own defaults."""
    server = config.keepalive.server_parameters
    policy = config.keepalive.enforcement_policy
    milliseconds = {
        "grpc.max_connection_idle_ms": server.max_connection_idle,
        "grpc.max_connection_age_ms": server.max_connection_age,
        "grpc.max_connection_age_grace_ms": server.max_connection_age_grace,
        "grpc.keepalive_time_ms": server.time,
        "grpc.keepalive_timeout_ms": server.timeout,
        "grpc.http2.min_recv_ping_interval_without_data_ms": policy.min_time,
    }
    options: list[tuple[str, Any]] = [
        # By default a second process would bind the same port without an error and get half of the connections.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", config.max_message_bytes + _HEADROOM_BYTES),
        *((name, max(1, round(seconds * 1000))) for name, seconds in milliseconds.items() if seconds),
    ]
    if config.max_concurrent_streams:
        options.append(("grpc.max_concurrent_streams", config.max_concurrent_streams))
    if policy.permit_without_stream:
        options.append(("grpc.keepalive_permit_without_calls", 1))
    return options
