"""OTLP over HTTP/1.1: protobuf and JSON, compressed or not.

aiohttp's own decompression is off: it takes a body that is cut short for a whole one.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from google.protobuf.json_format import MessageToJson

from pipeline.config.tls import server_context
from pipeline.errors import Malformed, ShuttingDown, TimedOut
from receivers.otlp.calls import Calls
from receivers.otlp.config import HTTPConfig
from receivers.otlp.cors import CORS
from receivers.otlp.intake import JointDecoder
from receivers.otlp.limits import inflate, over_limit
from receivers.otlp.listen import actual_endpoint, bound_sockets, close_all
from receivers.otlp.refusals import Refusals
from receivers.otlp.status import Answer, status_of
from receivers.otlp.telemetry import Meter

_PROTOBUF: Final = "application/x-protobuf"
_JSON: Final = "application/json"
_TEXT: Final = "text/plain; charset=utf-8"

_THREAD_BYTES: Final = 128 << 10
"""Compressed bodies of this size and more are inflated beside the event loop: 1 ms and more of work."""

_DEFAULT_IDLE_SECONDS: Final = 3630.0
"""aiohttp's own: longer than any proxy in front keeps an idle connection."""


@dataclass(frozen=True, slots=True)
class HTTPDoor:
    """Where the requests to one path go."""

    protobuf: JointDecoder
    json: JointDecoder
    meter: Meter


class HTTPListener:
    """One HTTP server; `doors` has the paths of the signals that a pipeline takes."""

    def __init__(self, config: HTTPConfig, doors: Mapping[str, HTTPDoor], refusals: Refusals) -> None:
        self._config = config
        self._doors = doors
        self._refusals = refusals
        self._limit = config.max_request_body_size
        self._encodings = frozenset(config.compression_algorithms)
        self._cors = CORS(config.cors) if config.cors is not None and config.cors.allowed_origins else None
        self._read_timeout = config.read_timeout or None
        self._calls = Calls()
        self._stopping = False
        self._http: web.Server | None = None
        self._servers: list[asyncio.Server] = []
        self._inflaters = ThreadPoolExecutor(2, thread_name_prefix="otlp-inflate")
        self.scheme = "http" if config.tls is None else "https"
        self.endpoint = config.endpoint
        """Where it listens; with the port in place of 0 once it is started."""

    async def start(self) -> None:
        """Listen. Raises StartError, without the component's name."""
        context = None if self._config.tls is None else server_context(self._config.tls)
        sockets = await bound_sockets(self._config.endpoint, self._config.transport)
        self.endpoint = actual_endpoint(self._config.endpoint, sockets)
        self._http = web.Server(
            self._handle,
            # A caller who goes away is not decoded any more.
            handler_cancellation=True,
            auto_decompress=False,
            access_log=None,
            logger=self._logger(),
            keepalive_timeout=self._config.idle_timeout or _DEFAULT_IDLE_SECONDS,
        )
        loop = asyncio.get_running_loop()
        try:
            while sockets:
                self._servers.append(await loop.create_server(self._http, sock=sockets[0], ssl=context))
                del sockets[0]
        finally:
            close_all(sockets)

    def _logger(self) -> logging.Logger:
        """Return a logger for aiohttp, which logs a traceback for every message that is no HTTP."""
        logger = logging.Logger("otlp.http", logging.WARNING)  # noqa: LOG001 - of this listener, outside of the tree
        logger.addHandler(_ToRefusals(self._refusals))
        return logger

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        response = await self._respond(request)
        response.headers.update(self._config.response_headers)
        if self._cors is not None and "Access-Control-Request-Method" not in request.headers:
            response.headers.update(self._cors.actual(request.headers))
        if self._stopping or not self._config.keep_alives_enabled:
            response.force_close()
        return response

    async def _respond(self, request: web.BaseRequest) -> web.Response:
        """Return the answer; the texts and their order are the Collector's."""
        if (
            self._cors is not None
            and request.method == "OPTIONS"
            and "Access-Control-Request-Method" in request.headers
        ):
            return web.Response(status=204, headers=self._cors.preflight(request.headers))
        door = self._doors.get(request.path)
        if door is None:
            return _text(404, "404 page not found")
        if request.method != "POST":
            door.meter.refused.inc()
            return _text(405, "405 method not allowed, supported: [POST]", Allow="POST")
        content_type = request.content_type
        if content_type == _PROTOBUF:
            decoder = door.protobuf
        elif content_type == _JSON:
            decoder = door.json
        else:
            door.meter.refused.inc()
            return _text(415, "415 unsupported media type, supported: [application/json, application/x-protobuf]")
        try:
            body = await self._body(request)
            with self._calls:
                body = await self._admitted(body, request.headers.get("Content-Encoding", ""), decoder)
                if await decoder.take(body, door.meter):
                    door.meter.success.inc()
        except Exception as error:  # noqa: BLE001 - the protocol's edge: aiohttp would answer 500, and the data be lost
            return _refusal(self._refusals.answer(error, door.meter), content_type)
        # An empty Export*ServiceResponse of any signal.
        return web.Response(body=b"{}" if content_type == _JSON else b"", headers={"Content-Type": content_type})

    async def _body(self, request: web.BaseRequest) -> bytes:
        """Return the body as it was sent, at most `max_request_body_size` bytes of it."""
        if (request.content_length or 0) > self._limit:
            raise over_limit(self._limit)
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        parts: list[bytes] = []
        room = self._limit
        try:
            async with asyncio.timeout(self._read_timeout):
                while part := await request.content.readany():
                    room -= len(part)
                    if room < 0:
                        raise over_limit(self._limit)
                    parts.append(part)
        except TimeoutError as error:
            raise TimedOut(f"the body took longer than read_timeout: {self._read_timeout:g} s") from error
        except web.RequestPayloadError as error:
            raise Malformed(f"the body does not arrive as HTTP: {error}") from error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _admitted(self, body: bytes, encoding: str, decoder: JointDecoder) -> bytes:
        """Return the body without its compression, if there is room for it."""
        if self._stopping:
            raise ShuttingDown("the collector is stopping")
        encoding = "" if encoding == "identity" else encoding.strip().lower()
        if encoding not in self._encodings:
            raise Malformed(f"unsupported Content-Encoding: {encoding}")
        if not encoding or not body:
            return body
        # Before the work: whoever has no room compressed has none inflated.
        decoder.check_room(len(body))
        if len(body) < _THREAD_BYTES:
            return inflate(body, encoding, self._limit)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._inflaters, inflate, body, encoding, self._limit)

    async def stop_accepting(self, grace_seconds: float) -> None:
        """Close the port and return when all requests are answered, or after `grace_seconds`.

        Connections stay open until `stop`; requests on them get 503. Bodies that are still arriving are not waited for.
        """
        self._stopping = True
        for server in self._servers:
            server.close()
        try:
            async with asyncio.timeout(grace_seconds):
                await self._calls.answered()
        except TimeoutError:
            return

    async def stop(self) -> None:
        """End whatever is left. Safe before start, safe twice."""
        self._stopping = True
        for server in self._servers:
            server.close()
        self._servers.clear()
        if self._http is not None:
            await self._http.shutdown(timeout=1.0)
            self._http = None
        self._inflaters.shutdown(wait=False, cancel_futures=True)


class _ToRefusals(logging.Handler):
    """Passes on what aiohttp logs, as one line."""

    def __init__(self, refusals: Refusals) -> None:
        super().__init__()
        self._refusals = refusals

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self._refusals.no_http(" ".join(str(error or record.getMessage()).split()))


def _text(status: int, text: str, **headers: str) -> web.Response:
    return web.Response(status=status, body=text.encode(), headers={"Content-Type": _TEXT, **headers})


def _refusal(answer: Answer, content_type: str) -> web.Response:
    """Return a refusal: a `google.rpc.Status` in the encoding of the request."""
    headers = {"Content-Type": content_type}
    if answer.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(answer.retry_after))
    status = status_of(answer)
    body = MessageToJson(status, indent=None).encode() if content_type == _JSON else status.SerializeToString()
    return web.Response(status=answer.http_status, body=body, headers=headers)
