"""The HTTP client against a scripted server: what a real one does too rarely to be tested with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web

from exporters.clickhouse.address import Address
from exporters.clickhouse.client import PIECE, Client
from exporters.clickhouse.errors import Refusal
from pipeline.errors import Unavailable
from tests.exporters.clickhouse.servers import Script, ok, refusal, serve

Open = Callable[..., Client]


@pytest.fixture
async def script() -> AsyncIterator[Script]:
    async with serve(lambda _: ok("answer")) as script:
        yield script


@pytest.fixture
async def open_client() -> AsyncIterator[Open]:
    opened: list[Client] = []

    def open_client(*urls: str, connect_seconds: float = 5.0, **address: object) -> Client:
        client = Client(Address(urls, **address), connect_seconds=connect_seconds)  # type: ignore[arg-type]  # mixed
        opened.append(client)
        return client

    yield open_client
    for client in opened:
        await client.close()


async def test_what_an_insert_looks_like(script: Script, open_client: Open) -> None:
    """Scenario: a body of several pieces.

    Guarantees: statement and settings in the URL, the body whole and its length said, credentials in a header only.
    """
    body = bytes(range(256)) * (PIECE // 100)
    client = open_client(script.url, username="mé", password="a:b", settings={"max_threads": "2"})

    await client.insert("INSERT INTO t FORMAT X", {"insert_deduplication_token": "t"}, memoryview(body), "gzip")

    (request,) = script.requests
    assert request.params == {
        "query": "INSERT INTO t FORMAT X",
        "insert_deduplication_token": "t",
        "max_threads": "2",
        "wait_end_of_query": "1",
    }
    assert request.body == body
    assert request.headers["Content-Length"] == str(len(body))
    assert request.headers["Content-Encoding"] == "gzip"
    assert request.headers["Authorization"] == "Basic bcOpOmE6Yg=="


async def test_no_user_no_credentials(script: Script, open_client: Open) -> None:
    """Scenario: neither user nor password. Guarantees: no header, so the server takes its default user."""
    assert await open_client(script.url).execute("SELECT 1", {}) == "answer"
    assert "Authorization" not in script.requests[0].headers
    assert script.requests[0].statement == "SELECT 1"


async def test_the_first_host_that_answers_is_kept(script: Script, open_client: Open, unused_port: int) -> None:
    """Scenario: the first of two hosts refuses connections. Guarantees: the second is used, and stays first choice."""
    client = open_client(f"http://127.0.0.1:{unused_port}", script.url)

    await client.execute("one", {})
    await client.execute("two", {})

    assert [request.statement for request in script.requests] == ["one", "two"]


async def test_nobody_answers(open_client: Open, unused_port: int) -> None:
    """Scenario: no host accepts. Guarantees: one line that names each and says why."""
    urls = (f"http://127.0.0.1:{unused_port}", f"http://localhost:{unused_port}")

    with pytest.raises(Unavailable) as caught:
        await open_client(*urls).execute("x", {})

    assert all(url in str(caught.value) for url in urls)
    assert "Connect" in str(caught.value)


async def test_a_connection_that_breaks_is_tried_once_more(script: Script, open_client: Open) -> None:
    """Scenario: the server hangs up on the first request. Guarantees: the same request again, then success."""
    answers = iter([None, ok()])
    script.answer = lambda _: next(answers)

    await open_client(script.url).insert("INSERT", {"insert_deduplication_token": "t"}, b"data", None)

    first, second = script.requests
    assert (first.params, first.body) == (second.params, second.body)


async def test_a_connection_that_breaks_twice(script: Script, open_client: Open) -> None:
    """Scenario: the server hangs up on every request. Guarantees: Unavailable after two of them."""
    script.answer = lambda _: None

    with pytest.raises(Unavailable, match="lost the connection to ClickHouse"):
        await open_client(script.url).execute("x", {})

    assert len(script.requests) == 2


@pytest.mark.parametrize(
    ("response", "status", "code"),
    [
        (lambda: refusal(60, status=404), 404, 60),
        (lambda: refusal(243, status=200), 200, 243),  # an exception after the headers were sent
        (lambda: web.Response(status=500, text="Code: 252. DB::Exception: parts"), 500, 252),
        (lambda: web.Response(status=200, text="<html>welcome</html>"), 200, None),
        (lambda: web.Response(status=302, headers={"Location": "/login"}), 302, None),
        (lambda: web.Response(status=503, headers={"Retry-After": "3"}), 503, None),
    ],
)
async def test_what_is_no_success(
    response: Callable[[], web.Response], status: int, code: int | None, script: Script, open_client: Open
) -> None:
    """Scenario: errors of ClickHouse, of a proxy, and pages that are no answer. Guarantees: none passes as success."""
    script.answer = lambda _: response()

    with pytest.raises(Refusal) as caught:
        await open_client(script.url).insert("INSERT", {}, b"", None)

    assert (caught.value.status, caught.value.code) == (status, code)
    assert caught.value.retry_after == (3.0 if status == 503 else None)


async def test_cancelling_ends_the_request(open_client: Open) -> None:
    """Scenario: an attempt is cancelled while the server is silent. Guarantees: it ends at once, nothing is left."""
    arrived = asyncio.Event()
    released = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        arrived.set()
        await reader.read()  # ends when the client hangs up
        released.set()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        task = asyncio.create_task(open_client(f"http://127.0.0.1:{port}").execute("x", {}))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(released.wait(), 5)
