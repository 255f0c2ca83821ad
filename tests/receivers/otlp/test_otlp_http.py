"""OTLP over HTTP, with raw clients for the odd cases."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import zlib
from collections.abc import AsyncIterator
from typing import Any

import cramjam
import pytest
import structlog
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from pipeline.errors import Overloaded, Permanent, ShuttingDown, Unavailable
from pipeline.kinds import Kind, Signal
from tests.receivers.otlp.rig import (
    JSON,
    MALFORMED,
    PROTOBUF,
    Host,
    Served,
    points,
    records,
    serving,
    span_json,
    spans,
    until,
)


async def answer(request: Any) -> tuple[int, str, bytes]:
    """Status, content type and body of an answer."""
    async with request as response:
        return response.status, response.headers["Content-Type"], await response.read()


@pytest.mark.parametrize(
    ("path", "body", "kind", "rows"),
    [
        ("/v1/traces", spans("a", "b"), Kind.SPANS, 2),
        ("/v1/metrics", points(3), Kind.METRICS, 3),
        ("/v1/logs", records(4), Kind.LOGS, 4),
    ],
)
async def test_all_signals(host: Host, served: Served, path: str, body: bytes, kind: Kind, rows: int) -> None:
    """Scenario: one protobuf request of a signal. Guarantees: 200, an empty response, one batch, counted."""
    assert await answer(served.post(body, path=path)) == (200, "application/x-protobuf", b"")

    assert [(batch.kind, batch.rows) for batch in host.emitted] == [(kind, rows)]
    assert host.counts() == {f"accepted_{host.emitted[0].items}{{http}}": rows, "requests{http,success}": 1}


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
async def test_json(host: Host, served: Served, content_type: str) -> None:
    """Scenario: OTLP/JSON, with parameters too. Guarantees: 200, `{}`, the spans."""
    sent = served.post(span_json("a", "b"), headers={"Content-Type": content_type})

    assert await answer(sent) == (200, "application/json", b"{}")
    assert host.names() == ["a", "b"]


@pytest.mark.parametrize(
    ("body", "headers"), [(b"", PROTOBUF), (spans(), PROTOBUF), (b"", JSON), (b"{}", JSON), (span_json(), JSON)]
)
async def test_empty(host: Host, served: Served, body: bytes, headers: dict[str, str]) -> None:
    """Scenario: a request without spans. Guarantees: 200; no batch, nothing counted."""
    assert await served.status(body, headers=headers) == 200

    assert host.emitted == []
    assert host.counts() == {}


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(spans("a"))),
        ("GZIP", gzip.compress(spans("a"))),
        ("deflate", zlib.compress(spans("a"))),
        ("zlib", zlib.compress(spans("a"))),
        ("zstd", bytes(cramjam.zstd.compress(spans("a")))),
        ("snappy", bytes(cramjam.snappy.compress_raw(spans("a")))),
        ("x-snappy-framed", bytes(cramjam.snappy.compress(spans("a")))),
        ("lz4", bytes(cramjam.lz4.compress(spans("a")))),
        ("identity", spans("a")),
        ("", spans("a")),
    ],
)
async def test_encodings(host: Host, served: Served, encoding: str, body: bytes) -> None:
    """Scenario: every `Content-Encoding` of the Collector. Guarantees: taken."""
    assert await served.status(body, headers=PROTOBUF | {"Content-Encoding": encoding}) == 200

    assert host.names() == ["a"]


async def test_a_large_compressed_body(host: Host, served: Served) -> None:
    """Scenario: a body large enough to be inflated beside the event loop. Guarantees: taken as any other."""
    names = [f"{number:0100x}" for number in range(20_000)]
    body = zlib.compress(spans(*names), 0)
    assert len(body) > 128 << 10

    assert await served.status(io.BytesIO(body), headers=PROTOBUF | {"Content-Encoding": "zlib"}) == 200
    assert host.names() == names


async def test_chunked(host: Host, served: Served) -> None:
    """Scenario: a body in chunks without Content-Length, as the JS SDK sends it. Guarantees: taken."""

    async def parts() -> AsyncIterator[bytes]:
        body = span_json("a", "b")
        for start in range(0, len(body), 20):
            yield body[start : start + 20]

    assert await served.status(parts(), headers=JSON) == 200
    assert host.names() == ["a", "b"]


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (MALFORMED, PROTOBUF),
        (b"{", JSON),
        (b"null", JSON),
        (b"[1]", JSON),
        (gzip.compress(spans("a"))[:-4], PROTOBUF | {"Content-Encoding": "gzip"}),
        (b"plain", PROTOBUF | {"Content-Encoding": "zstd"}),
        (spans("a"), PROTOBUF | {"Content-Encoding": "br"}),
        (spans("a"), PROTOBUF | {"Content-Encoding": "gzip, gzip"}),
    ],
)
async def test_bad_bodies(host: Host, served: Served, body: bytes, headers: dict[str, str]) -> None:
    """Scenario: not decodable, cut short, or in an encoding we lack. Guarantees: 400, final, counted as refused.

    The answer is a Status in the encoding of the request.
    """
    async with served.post(body, headers=headers) as response:
        content = await response.read()
        assert response.status == 400
        assert "Retry-After" not in response.headers
        assert response.headers["Content-Type"] == headers["Content-Type"]

    if headers["Content-Type"] == "application/json":
        status = json.loads(content)
        assert (status["code"], bool(status["message"])) == (3, True)
    else:
        status = Status.FromString(content)
        assert (status.code, bool(status.message)) == (3, True)
    assert host.emitted == []
    assert host.counts() == {"requests{http,refused}": 1}


async def test_too_large(host: Host) -> None:
    """Scenario: too large by Content-Length, in chunks, and after decompression. Guarantees: 413, counted.

    A body of exactly the limit is taken.
    """

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield bytes(1000)

    exact = spans("x" * 9_900)
    exact = spans("x" * (9_900 + 10_000 - len(exact)))
    assert len(exact) == 10_000
    async with serving(host, http_config={"max_request_body_size": 10_000}) as served:
        assert await served.status(exact) == 200
        assert await served.status(bytes(10_001)) == 413
        assert await served.status(parts()) == 413
        status, _, content = await answer(
            served.post(gzip.compress(bytes(10 << 20)), headers=PROTOBUF | {"Content-Encoding": "gzip"})
        )
        assert status == 413
        assert "max_request_body_size: 10000 bytes" in Status.FromString(content).message

    assert host.counts()["requests{http,refused}"] == 3


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"method": "GET"}, (405, "text/plain; charset=utf-8", b"405 method not allowed, supported: [POST]")),
        ({"method": "OPTIONS"}, (405, "text/plain; charset=utf-8", b"405 method not allowed, supported: [POST]")),
        ({"path": "/v1/nothing"}, (404, "text/plain; charset=utf-8", b"404 page not found")),
        *(
            (
                {"headers": {"Content-Type": content_type}},
                (
                    415,
                    "text/plain; charset=utf-8",
                    b"415 unsupported media type, supported: [application/json, application/x-protobuf]",
                ),
            )
            for content_type in ("text/plain", "application/protobuf", "application/octet-stream")
        ),
    ],
)
async def test_not_otlp(host: Host, served: Served, how: dict[str, Any], expected: tuple[int, str, bytes]) -> None:
    """Scenario: wrong method, path or content type. Guarantees: the Collector's answers, word for word."""
    assert await answer(served.post(spans("a"), **how)) == expected
    assert host.emitted == []


async def test_a_signal_without_pipeline(host: Host) -> None:
    """Scenario: metrics where no metrics pipeline uses the receiver. Guarantees: 404, as in the Collector."""
    host.wanted = frozenset({Signal.LOGS})
    async with serving(host) as served:
        assert await served.status(points(1), path="/v1/metrics") == 404
        assert await served.status(records(1), path="/v1/logs") == 200


@pytest.mark.parametrize("headers", [PROTOBUF, JSON])
@pytest.mark.parametrize(
    ("raised", "status", "wait"),
    [
        (Overloaded("memory"), 429, "1"),
        (Unavailable("away", 1.2), 503, "2"),
        (ShuttingDown("bye"), 503, "1"),
        (KeyError("bug"), 503, "1"),
        (Permanent("never"), 500, None),
    ],
)
async def test_refused_by_the_pipeline(
    host: Host, served: Served, raised: Exception, status: int, wait: str | None, headers: dict[str, str]
) -> None:
    """Scenario: the pipeline refuses, or has a bug. Guarantees: 429 or 503 with a wait; 500 if final.

    The wait stands in Retry-After, in whole seconds, and as RetryInfo in the body.
    """
    host.raises = raised
    body = spans("a") if headers is PROTOBUF else span_json("a")
    async with served.post(body, headers=headers) as response:
        content = await response.read()
        assert (response.status, response.headers.get("Retry-After")) == (status, wait)

    if headers is PROTOBUF:
        details = Status.FromString(content).details
        assert [detail.Is(RetryInfo.DESCRIPTOR) for detail in details] == ([] if wait is None else [True])
    else:
        details = json.loads(content).get("details", [])
        assert [detail["@type"] for detail in details] == (
            [] if wait is None else ["type.googleapis.com/google.rpc.RetryInfo"]
        )
    assert "bug" not in content.decode(errors="replace")


async def test_expect_continue(host: Host, served: Served) -> None:
    """Scenario: a client that asks first, as curl does. Guarantees: 100 before the body, then 200."""
    address, port = served.http_endpoint.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(address, int(port))
    body = span_json("a")
    head = f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    writer.write(head.encode() + b"Expect: 100-continue\r\n\r\n")

    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
    writer.close()
    await writer.wait_closed()
    assert host.names() == ["a"]


async def test_broken_chunks(
    host: Host,
    served: Served,
    log_events: list[structlog.typing.EventDict],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Scenario: a chunked body that is no chunked body. Guarantees: 400, one line in the log, life goes on."""
    address, port = served.http_endpoint.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(address, int(port))
    head = "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(head.encode())
    await writer.drain()
    writer.write(b"5\r\n{    \r\nnonsense\r\n")

    assert b" 400 " in await reader.readuntil(b"\r\n")
    writer.close()
    await writer.wait_closed()
    assert await served.status(spans("next")) == 200
    assert host.names() == ["next"]
    assert [event["event"] for event in log_events] == ["Got no proper HTTP."]
    assert not caplog.records


async def test_a_caller_who_hangs_up_is_forgotten(host: Host, served: Served) -> None:
    """Scenario: half a body, then the connection is gone. Guarantees: nothing emitted, nothing left over."""
    address, port = served.http_endpoint.rsplit(":", 1)
    _, writer = await asyncio.open_connection(address, int(port))
    writer.write(
        b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
    )
    await writer.drain()
    writer.close()
    await writer.wait_closed()

    assert await served.status(spans("next")) == 200
    assert host.names() == ["next"]


async def test_read_timeout(host: Host) -> None:
    """Scenario: a body that does not arrive within `read_timeout`. Guarantees: 503, for the sender may try again."""
    async with serving(host, http_config={"read_timeout": "50ms"}) as served:
        address, port = served.http_endpoint.rsplit(":", 1)
        reader, writer = await asyncio.open_connection(address, int(port))
        writer.write(
            b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        answered = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    assert answered.startswith(b"HTTP/1.1 503")
    assert b"Retry-After: 1\r\n" in answered


async def test_cors(host: Host) -> None:
    """Scenario: a browser's preflight and its request, and a foreign page's. Guarantees: headers for the first only."""
    origin = {"Origin": "https://shop.example"}
    async with serving(host, http_config={"cors": {"allowed_origins": ["https://*.example"]}}) as served:
        ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        async with served.post(b"", method="OPTIONS", headers=origin | ask) as response:
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Origin"] == "https://shop.example"
            assert response.headers["Access-Control-Allow-Headers"] == "content-type"
        async with served.post(span_json("a"), headers=origin | JSON) as response:
            assert response.status == 200
            assert response.headers["Access-Control-Allow-Origin"] == "https://shop.example"
        async with served.post(b"{", headers=origin | JSON) as response:
            assert (response.status, "Access-Control-Allow-Origin" in response.headers) == (400, True)
        async with served.post(span_json("b"), headers={"Origin": "https://evil.test"} | JSON) as response:
            assert (response.status, "Access-Control-Allow-Origin" in response.headers) == (200, False)


async def test_own_paths_headers_encodings_and_no_keepalive(host: Host) -> None:
    """Scenario: the remaining keys. Guarantees: each does what it says, on every answer."""
    config = {
        "traces_url_path": "in/traces",
        "response_headers": {"X-Served-By": "jobsight"},
        "compression_algorithms": ["", "gzip"],
        "keep_alives_enabled": False,
        "idle_timeout": "30s",
    }
    async with serving(host, http_config=config) as served:
        for path, encoding, status in (
            ("/in/traces", "", 200),
            ("/v1/traces", "", 404),
            ("/in/traces", "zstd", 400),
        ):
            async with served.post(
                spans("a"), path=path, headers=PROTOBUF | {"Content-Encoding": encoding}
            ) as response:
                assert response.status == status
                assert response.headers["X-Served-By"] == "jobsight"
                assert response.headers["Connection"] == "close"


async def test_overload_and_recovery(host: Host) -> None:
    """Scenario: too much waits, then there is room. Guarantees: 429 with Retry-After before any decompression."""
    async with serving(host, intake={"max_pending_requests": 1, "max_wait": "8s"}) as served:
        decoder = served.decoder(Signal.TRACES)
        host.open.clear()
        first = asyncio.create_task(served.status(spans("first")))
        await until(lambda: bool(host.counts("jobsight_receiver_otlp_joint_decode_requests_count")))
        second = asyncio.create_task(served.status(spans("second")))
        await until(lambda: decoder.pending_requests == 1)
        async with served.post(b"no gzip", headers=PROTOBUF | {"Content-Encoding": "gzip"}) as response:
            assert (response.status, response.headers["Retry-After"]) == (429, "1")
        host.open.set()

        assert (await first, await second) == (200, 200)
        assert await served.status(spans("third")) == 200
    assert host.names() == ["first", "second", "third"]
