"""The other side of the wire: the real store, and a scripted server for what a real one does not do on demand."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from tests.exporters.listening import listening

JSON_AS_IT_IS = {
    "output_format_json_quote_64bit_integers": 0,
    "output_format_json_map_as_array_of_tuples": 1,
    "output_format_json_quote_denormals": 1,
}

Answer = Callable[["Request"], web.Response | None]


@dataclass(frozen=True, slots=True)
class Store:
    """A running store and who may write there."""

    url: str
    username: str
    password: str

    def run(self, sql: str) -> str:
        """Run a statement as the writer."""
        token = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        request = urllib.request.Request(self.url, sql.encode(), {"Authorization": f"Basic {token}"})
        with urllib.request.urlopen(request, timeout=30) as response:
            return str(response.read().decode())

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Return what a query finds; 64-bit numbers as numbers."""
        settings = ", ".join(f"{name} = {value}" for name, value in JSON_AS_IT_IS.items())
        return [json.loads(line) for line in self.run(f"{sql} SETTINGS {settings} FORMAT JSONEachRow").splitlines()]

    def count(self, table: str) -> int:
        return int(self.run(f"SELECT count() FROM {table}"))


@dataclass(frozen=True, slots=True)
class Request:
    """What a scripted server was asked."""

    statement: str
    params: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Script:
    """Answers as `answer` says (None breaks the connection) and remembers what it was asked."""

    answer: Answer
    requests: list[Request] = field(default_factory=list)
    url: str = ""

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        params = dict(request.query)
        asked = Request(params.get("query") or body.decode(), params, dict(request.headers), body)
        self.requests.append(asked)
        response = self.answer(asked)
        if response is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return response

    @property
    def inserts(self) -> list[Request]:
        return [request for request in self.requests if request.statement.startswith("INSERT")]


def ok(text: str = "") -> web.Response:
    return web.Response(text=text, headers={"X-ClickHouse-Query-Id": "1"})


def refusal(code: int, text: str = "no", status: int = 500) -> web.Response:
    headers = {"X-ClickHouse-Exception-Code": str(code), "X-ClickHouse-Query-Id": "1"}
    return web.Response(status=status, headers=headers, text=f"Code: {code}. DB::Exception: {text}. (version 26.9.2.1)")


@asynccontextmanager
async def forward(port: int, to: str) -> AsyncIterator[None]:
    """Listen on `port` and pass everything on to the server at the URL `to`: a server that was away comes back."""
    target = urlsplit(to)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(target.hostname, target.port)
        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer), return_exceptions=True)

    server = await asyncio.start_server(connected, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()


@asynccontextmanager
async def serve(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Script]:
    """Run a scripted server on a port of its own."""
    script = Script(answer)
    app = web.Application(client_max_size=1 << 30)
    app.router.add_post("/{path:.*}", script.handle)
    async with listening(app, tls, auto_decompress=False) as script.url:
        yield script
