"""OTLP over gRPC, with raw clients for the odd cases."""

from __future__ import annotations

import asyncio
import os
import struct
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo

from pipeline.errors import Overloaded, Unavailable
from pipeline.kinds import Kind, Signal
from receivers.otlp.config import GRPCConfig
from receivers.otlp.grpc import _options
from tests.receivers.otlp.rig import MALFORMED, Host, Served, points, records, serving, spans, until

Code = grpc.StatusCode


async def refusal(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def told_wait(error: grpc.aio.AioRpcError) -> float | None:
    """The wait in the key that the Python SDK reads."""
    metadata = dict(error.trailing_metadata() or ())
    if "google.rpc.retryinfo-bin" not in metadata:
        assert "grpc-status-details-bin" not in metadata
        return None
    assert "grpc-status-details-bin" in metadata
    delay = RetryInfo.FromString(metadata["google.rpc.retryinfo-bin"]).retry_delay
    return float(delay.seconds + delay.nanos / 1e9)


@pytest.mark.parametrize(
    ("signal", "body", "kind", "rows"),
    [
        (Signal.TRACES, spans("a", "b"), Kind.SPANS, 2),
        (Signal.METRICS, points(3), Kind.METRICS, 3),
        (Signal.LOGS, records(4), Kind.LOGS, 4),
    ],
)
async def test_all_signals(host: Host, served: Served, signal: Signal, body: bytes, kind: Kind, rows: int) -> None:
    """Scenario: one request of a signal. Guarantees: an empty response, one batch of its kind, counted as its items."""
    assert await served.export(body, signal) == b""

    assert [(batch.kind, batch.rows) for batch in host.emitted] == [(kind, rows)]
    assert host.counts() == {f"accepted_{host.emitted[0].items}{{grpc}}": rows, "requests{grpc,success}": 1}


@pytest.mark.parametrize("body", [b"", spans()])
async def test_empty(host: Host, served: Served, body: bytes) -> None:
    """Scenario: a request without spans. Guarantees: success; no batch, nothing counted."""
    assert await served.export(body) == b""

    assert host.emitted == []
    assert host.counts() == {}


async def test_malformed(host: Host, served: Served) -> None:
    """Scenario: bytes that are no protobuf. Guarantees: INVALID_ARGUMENT without RetryInfo, counted as refused."""
    error = await refusal(served.export(MALFORMED))

    assert (error.code(), told_wait(error)) == (Code.INVALID_ARGUMENT, None)
    assert error.details()
    assert host.counts() == {"requests{grpc,refused}": 1}


async def test_a_bad_neighbour(host: Host, served: Served) -> None:
    """Scenario: good and bad requests in one joint decode. Guarantees: each caller gets the answer to its own."""
    decoder = served.decoder(Signal.TRACES)
    host.open.clear()
    calls = [served.export(spans("first"))]
    await until(lambda: "{}" in host.counts("jobsight_receiver_otlp_joint_decode_requests_count"))
    calls += [served.export(body) for body in (spans("a"), MALFORMED, spans("b"))]
    await until(lambda: decoder.pending_requests == 3)
    host.open.set()

    assert await calls[0] == await calls[1] == await calls[3] == b""
    assert (await refusal(calls[2])).code() == Code.INVALID_ARGUMENT
    assert sorted(host.names()) == ["a", "b", "first"]


async def test_too_large(host: Host) -> None:
    """Scenario: over the limit by a little, and by far. Guarantees: RESOURCE_EXHAUSTED, final, both times.

    Ours is counted and names the key.
    """
    async with serving(host, grpc_config={"max_recv_msg_size_mib": 1}) as served:
        assert await served.export(spans("x" * 1_000_000)) == b""
        ours = await refusal(served.export(spans("x" * (2 << 20))))
        grpcs = await refusal(served.export(spans("x" * (6 << 20))))
        bomb = await refusal(served.export(bytes(16 << 20), compression=grpc.Compression.Gzip))

    for error in (ours, grpcs, bomb):
        assert (error.code(), told_wait(error)) == (Code.RESOURCE_EXHAUSTED, None)
    assert "over max_recv_msg_size_mib: 1" in str(ours.details())
    assert host.counts()["requests{grpc,refused}"] == 1


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressed(host: Host, served: Served, compression: grpc.Compression) -> None:
    """Scenario: a compressed message. Guarantees: taken as any other."""
    assert await served.export(spans("a" * 5000), compression=compression) == b""

    assert host.names() == ["a" * 5000]


@pytest.mark.parametrize("encoding", ["zstd", "snappy"])
async def test_compression_that_grpc_lacks(host: Host, served: Served, encoding: str) -> None:
    """Scenario: a Collector sends with zstd or snappy. Guarantees: gRPC refuses it, for good and in words."""
    answer = await bare_call(served.grpc_endpoint, encoding, b"\x01" + struct.pack(">I", 4) + b"abcd")

    assert b"grpc-status\x0213" in answer  # INTERNAL
    assert b"Error parsing 'grpc-encoding' metadata" in answer
    assert host.emitted == []


async def bare_call(endpoint: str, encoding: str, message: bytes) -> bytes:
    """Make a call whose `grpc-encoding` no client library for Python can send; return the answer's frames."""
    host, port = endpoint.rsplit(":", 1)
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        ":authority": endpoint,
        "te": "trailers",
        "content-type": "application/grpc",
        "grpc-encoding": encoding,
    }
    # HPACK literals that are never indexed (RFC 7541, 6.2.3), every length below 127.
    block = b"".join(
        b"\x10" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in headers.items()
    )

    def frame(type_: int, flags: int, stream: int, payload: bytes) -> bytes:
        return struct.pack(">I", len(payload))[1:] + bytes([type_, flags]) + struct.pack(">I", stream) + payload

    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
    writer.write(frame(1, 4, 1, block) + frame(0, 1, 1, message))
    answer = b""
    # Frame type 1 (headers) with END_STREAM (1) and END_HEADERS (4) on stream 1 ends the answer.
    while b"\x01\x05\x00\x00\x00\x01" not in answer:
        part = await reader.read(65536)
        if not part:
            break
        answer += part
    writer.close()
    await writer.wait_closed()
    return answer


async def test_a_signal_without_pipeline(host: Host) -> None:
    """Scenario: logs where no logs pipeline uses the receiver. Guarantees: UNIMPLEMENTED, in words; not counted."""
    host.wanted = frozenset({Signal.TRACES})
    async with serving(host) as served:
        error = await refusal(served.export(records(1), Signal.LOGS))
        assert await served.export(spans("a")) == b""

    assert (error.code(), error.details()) == (Code.UNIMPLEMENTED, "no logs pipeline uses the receiver otlp/test")
    assert host.counts() == {"accepted_spans{grpc}": 1, "requests{grpc,success}": 1}


@pytest.mark.parametrize(
    ("raised", "code", "wait", "outcome"),
    [
        (Overloaded("memory"), Code.RESOURCE_EXHAUSTED, 1.0, "refused"),
        (Unavailable("away", 2.5), Code.UNAVAILABLE, 2.5, "refused"),
        (KeyError("bug"), Code.UNAVAILABLE, 1.0, "failure"),
    ],
)
async def test_refused_by_the_pipeline(
    host: Host, served: Served, raised: Exception, code: grpc.StatusCode, wait: float, outcome: str
) -> None:
    """Scenario: the pipeline refuses, or has a bug. Guarantees: what makes SDKs retry, never UNKNOWN or INTERNAL."""
    host.raises = raised
    error = await refusal(served.export(spans("a")))

    assert (error.code(), told_wait(error)) == (code, wait)
    assert host.counts()[f"requests{{grpc,{outcome}}}"] == 1


async def test_overload_and_recovery(host: Host) -> None:
    """Scenario: pipelines full for longer than `max_wait`, then free. Guarantees: told to retry, then taken once."""
    async with serving(host, intake={"max_wait": "100ms"}) as served:
        host.open.clear()
        error = await refusal(served.export(spans("a")))
        assert (error.code(), told_wait(error)) == (Code.RESOURCE_EXHAUSTED, 1.0)

        host.open.set()
        assert await served.export(spans("a")) == b""
    assert host.names() == ["a"]


async def test_client_deadline(host: Host, served: Served) -> None:
    """Scenario: a caller's own time-out passes while it waits its turn. Guarantees: forgotten; others are served."""
    host.open.clear()
    first = served.export(spans("first"))
    await until(lambda: "{}" in host.counts("jobsight_receiver_otlp_joint_decode_requests_count"))
    error = await refusal(served.export(spans("gone"), timeout=0.05))
    assert error.code() == Code.DEADLINE_EXCEEDED
    grpc_calls = served.receiver.grpc
    assert grpc_calls is not None
    await until(lambda: grpc_calls._calls.open == 1)
    host.open.set()

    assert await first == b""
    assert await served.export(spans("next")) == b""
    assert host.names() == ["first", "next"]


def test_every_key_reaches_grpc() -> None:
    """Scenario: all keys of the Collector that gRPC has an argument for. Guarantees: each is passed on, in its unit."""
    config = GRPCConfig.model_validate(
        {
            "max_recv_msg_size_mib": 16,
            "max_concurrent_streams": 100,
            "keepalive": {
                "server_parameters": {
                    "max_connection_idle": "11s",
                    "max_connection_age": "12s",
                    "max_connection_age_grace": "13s",
                    "time": "30s",
                    "timeout": "5s",
                },
                "enforcement_policy": {"min_time": "10s", "permit_without_stream": True},
            },
        }
    )

    assert dict(_options(config)) == {
        "grpc.so_reuseport": 0,
        "grpc.max_receive_message_length": 20 << 20,
        "grpc.max_concurrent_streams": 100,
        "grpc.max_connection_idle_ms": 11_000,
        "grpc.max_connection_age_ms": 12_000,
        "grpc.max_connection_age_grace_ms": 13_000,
        "grpc.keepalive_time_ms": 30_000,
        "grpc.keepalive_timeout_ms": 5_000,
        "grpc.http2.min_recv_ping_interval_without_data_ms": 10_000,
        "grpc.keepalive_permit_without_calls": 1,
    }
    assert dict(_options(GRPCConfig())) == {"grpc.so_reuseport": 0, "grpc.max_receive_message_length": 8 << 20}


async def test_random_bytes_never_crash(host: Host, served: Served) -> None:
    """Scenario: a hundred random bodies. Guarantees: success or INVALID_ARGUMENT; the next good request works."""
    for _ in range(100):
        try:
            assert await served.export(os.urandom(40)) == b""
        except grpc.aio.AioRpcError as error:
            assert error.code() == Code.INVALID_ARGUMENT  # noqa: PT017 - either outcome is right
    assert await served.export(spans("good")) == b""
    assert host.names()[-1] == "good"
