"""ClickHouse's HTTP interface over the engine.

The event loop only moves bytes; statements run in threads (`work`). A query ends with its client's connection; an
insert or a change, once begun, is finished.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import secrets
import sys
import tempfile
import traceback
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from aiohttp import BodyPartReader, web

from extensions.embedded_clickhouse.answers import (
    CONTENT_TYPES,
    DISPLAY_NAME,
    error_text,
    late_error,
    status_of,
    summary,
)
from extensions.embedded_clickhouse.compression import Decoder, Encoder, accepted, check_size
from extensions.embedded_clickhouse.engine import Done, Engine, Statement
from extensions.embedded_clickhouse.failures import (
    ACCESS_DENIED,
    NOT_IMPLEMENTED,
    READONLY,
    UNKNOWN_EXCEPTION,
    QueryFailed,
)
from extensions.embedded_clickhouse.pipes import open_pipe, read_pipe
from extensions.embedded_clickhouse.reader_settings import reader_settings
from extensions.embedded_clickhouse.receiving import MAX_READER_BODY_BYTES, InsertData, receive
from extensions.embedded_clickhouse.request import Asked, is_writer, read_parameters
from extensions.embedded_clickhouse.server_config import WRITER_SETTINGS
from extensions.embedded_clickhouse.settings import StoreSettings
from extensions.embedded_clickhouse.statements import first_word, split_output, streams
from extensions.embedded_clickhouse.work import Work

_BUFFER_BYTES: Final = 1 << 20
"""Results up to this size are answered whole, with their length, and with an error code if they fail late."""

_SPOOL_BYTES: Final = 16 << 20
"""What `wait_end_of_query=1` keeps in memory before it goes on in a temporary file."""

_PART_BYTES: Final = 256 << 10
_INLINE_BYTES: Final = 64 << 10
"""Compressing more than this at a time would hold up the event loop."""

_WAITING_INSERTS: Final = 16
"""Inserts whose bodies are taken in at a time; further ones wait in their sockets."""

_READ_BUFFER_BYTES: Final = 1 << 20
_ELSEWHERE: Final = "There is no handle {path}\nUse / or /ping for health checks, and / for queries.\n"


@dataclass(frozen=True, slots=True)
class _Reply:
    """Where an answer goes and what is known of it before its first byte."""

    request: web.Request
    asked: Asked
    headers: dict[str, str]
    encoding: str | None


class HttpInterface:
    """The listening interface. Made in the loop that it lives in."""

    def __init__(self, engine: Engine, settings: StoreSettings) -> None:
        self._engine = engine
        self._settings = settings
        self._work = Work(engine, settings.max_concurrent_queries)
        self._insert_slots = asyncio.Semaphore(_WAITING_INSERTS)
        self._local_only = False
        app = web.Application()
        app.router.add_get("/ping", self._ping)
        app.router.add_get("/replicas_status", self._ping)
        app.router.add_get("/", self._handle)
        app.router.add_post("/", self._handle)
        app.router.add_route("*", "/{elsewhere:.*}", self._elsewhere)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            auto_decompress=False,  # aiohttp takes a truncated body for a whole one
            handler_cancellation=True,  # tells us that the client went
            handle_signals=False,
            shutdown_timeout=1.0,
            read_bufsize=_READ_BUFFER_BYTES,
        )

    async def start(self) -> list[tuple[str, int]]:
        """Listen, and return the addresses. Raises OSError."""
        await self._runner.setup()
        # as Go binds "localhost": one socket, one port
        host = "127.0.0.1" if self._settings.host == "localhost" else self._settings.host
        await web.TCPSite(self._runner, host or None, self._settings.port).start()
        addresses = [(address[0], address[1]) for address in self._runner.addresses]
        self._local_only = all(ipaddress.ip_address(host).is_loopback for host, _ in addresses)
        return addresses

    async def stop(self, write_seconds: float) -> None:
        """Take no new connection, end what runs (changes have `write_seconds`), answer it, close."""
        for site in list(self._runner.sites):
            await site.stop()
        await self._work.stop(write_seconds)
        await self._runner.cleanup()

    async def _ping(self, request: web.Request) -> web.Response:
        return web.Response(text="Ok.\n", content_type="text/html")

    async def _elsewhere(self, request: web.Request) -> web.Response:
        return web.Response(status=404, text=_ELSEWHERE.format(path=request.path))

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.method in {"GET", "HEAD"} and "query" not in request.query:
            return await self._ping(request)
        headers = {
            "X-ClickHouse-Server-Display-Name": DISPLAY_NAME,
            "X-ClickHouse-Timezone": self._engine.timezone,
            "X-ClickHouse-Exception-Tag": secrets.token_hex(8),
        }
        try:
            return await self._answer(request, headers)
        except QueryFailed as failure:
            return self._refusal(failure, headers)
        except ConnectionError:
            raise  # the client went; aiohttp knows
        except Exception as error:  # noqa: BLE001 - the protocol's edge: our bug, told to both sides
            traceback.print_exception(error, file=sys.stderr)
            return self._refusal(QueryFailed.of(UNKNOWN_EXCEPTION, f"{type(error).__name__}: {error}"), headers)

    def _refusal(self, failure: QueryFailed, headers: dict[str, str]) -> web.Response:
        headers["X-ClickHouse-Exception-Code"] = str(failure.code)
        status = status_of(failure)
        if status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
        return web.Response(status=status, text=error_text(failure, self._engine.version), headers=headers)

    async def _answer(self, request: web.Request, headers: dict[str, str]) -> web.StreamResponse:
        parameters = {**request.query, **await _form(request)}
        writer = is_writer(parameters, request.headers, self._settings.credentials)
        if not writer:
            self._check_host(request)
        asked = read_parameters(parameters, request.headers)
        headers["X-ClickHouse-Query-Id"] = asked.query_id
        encoding = accepted(request.headers.get("Accept-Encoding", "")) if asked.enable_http_compression else None
        reply = _Reply(request, asked, headers, encoding)
        if not writer:
            sql = await self._receive(reply, MAX_READER_BODY_BYTES, MAX_READER_BODY_BYTES)
            if isinstance(sql, InsertData):
                os.close(sql.fd)
                raise QueryFailed.of(
                    READONLY, "Cannot execute query in readonly mode: inserting needs the writer's credentials"
                )
            return await self._run(reply, self._statement(reply, sql, writer=False))
        limit = self._settings.max_request_body_size
        async with self._insert_slots:
            received = await self._receive(reply, limit, limit)
            if isinstance(received, InsertData):
                return await self._insert(reply, received)
        return await self._run(reply, self._statement(reply, received, writer=True))

    async def _receive(self, reply: _Reply, limit: int, max_text: int) -> str | InsertData:
        request = reply.request
        if request.content_type == "multipart/form-data":
            return reply.asked.query
        decoder = Decoder(request.headers.get("Content-Encoding", "").lower(), limit)
        return await receive(reply.asked.query, request.content.iter_any(), decoder, max_text=max_text)

    def _check_host(self, request: web.Request) -> None:
        """Refuse a web page that has its own name point at this machine (DNS rebinding) to read the store."""
        if not self._local_only or self._settings.credentials.read_password:
            return
        name = (request.url.host or "").lower()
        if name == "localhost" or name.endswith(".localhost") or name == self._settings.host.lower():
            return
        try:
            ipaddress.ip_address(name)
        except ValueError:
            raise QueryFailed.of(
                ACCESS_DENIED,
                f"this store listens on the loopback address only and does not know the host name {name!r}: "
                "use localhost, or set a password for readers",
            ) from None

    def _statement(self, reply: _Reply, sql: str, *, writer: bool) -> Statement:
        asked, settings = reply.asked, self._settings
        return Statement(
            sql=sql,
            tag=secrets.token_hex(16),  # not the query id: clients may use one twice
            database=asked.database,
            default_format=asked.default_format,
            settings={**WRITER_SETTINGS, **asked.settings}
            if writer
            else reader_settings(asked.settings, settings.limits, settings.max_threads),
            parameters=asked.parameters,
            writer=writer,
            get=reply.request.method != "POST",
        )

    async def _insert(self, reply: _Reply, received: InsertData) -> web.StreamResponse:
        statement = self._statement(reply, received.sql, writer=True)

        def insert() -> Done:
            try:
                return self._engine.insert(statement)
            finally:
                os.close(received.fd)

        if statement.get:
            os.close(received.fd)
            raise QueryFailed.of(READONLY, "Cannot execute query in readonly mode. For inserts use method POST.")
        try:
            pending = self._work.write(statement.tag, insert)
        except QueryFailed:
            os.close(received.fd)
            raise
        return self._whole(reply, await pending, "")

    async def _run(self, reply: _Reply, statement: Statement) -> web.StreamResponse:
        if not first_word(statement.sql):
            raise QueryFailed.of(NOT_IMPLEMENTED, "Empty query: give it as `query` in the URL, or in the body")
        format_ = split_output(statement.sql).format or statement.default_format
        if not streams(statement.sql):
            if statement.writer:
                done = await self._work.write(statement.tag, lambda: self._engine.run(statement))
            else:
                async with self._work.query(statement.tag, lambda: self._engine.run(statement)) as future:
                    done = await asyncio.shield(future)
            return self._whole(reply, done, format_)
        read_fd, write_fd = open_pipe()
        unused: int | None = write_fd

        def stream() -> Done:
            try:
                return self._engine.stream(statement, write_fd)
            finally:
                os.close(write_fd)

        try:
            async with self._work.query(statement.tag, stream) as future, aclosing(read_pipe(read_fd)) as rows:
                unused = None  # the thread closes it
                return await self._rows(reply, rows, future, format_)
        finally:
            os.close(read_fd)  # an engine that still writes notices
            if unused is not None:
                os.close(unused)

    async def _rows(
        self, reply: _Reply, rows: AsyncIterator[bytes], future: asyncio.Future[Done], format_: str
    ) -> web.StreamResponse:
        """Answer with rows as they come, after a first megabyte (or with `wait_end_of_query` all of them)."""
        with tempfile.SpooledTemporaryFile(_SPOOL_BYTES, dir=self._settings.path) as buffer:
            more = False
            async for chunk in rows:
                buffer.write(chunk)
                if not reply.asked.wait_end_of_query and buffer.tell() > _BUFFER_BYTES:
                    more = True
                    break
            done = None if more else await asyncio.shield(future)
            size = buffer.tell()
            buffer.seek(0)
            if done is not None and size <= _BUFFER_BYTES:
                return self._whole(reply, done, format_, buffer.read())
            response = web.StreamResponse(headers=self._headers(reply, done, format_))
            response.enable_chunked_encoding()
            await response.prepare(reply.request)
            encoder = Encoder(reply.encoding) if reply.encoding else None
            while part := buffer.read(_PART_BYTES):
                await response.write(await _encoded(encoder, part))
        async for chunk in rows:
            await response.write(await _encoded(encoder, chunk))
        failure = None
        try:
            await asyncio.shield(future)
        except QueryFailed as error:
            failure = error
            tail = late_error(failure, self._engine.version, reply.headers["X-ClickHouse-Exception-Tag"])
            await response.write(await _encoded(encoder, tail))
        if encoder:
            await response.write(encoder.finish())
        if failure and reply.request.transport:
            # no last chunk: clients that do not look for the tag notice that something is missing
            reply.request.transport.close()
        else:
            await response.write_eof()
        return response

    def _whole(self, reply: _Reply, done: Done, format_: str, body: bytes | None = None) -> web.Response:
        body = done.body if body is None else body
        headers = self._headers(reply, done, format_)
        if reply.encoding:
            encoder = Encoder(reply.encoding)
            body = encoder.feed(body) + encoder.finish()
        return web.Response(body=body, headers=headers)

    def _headers(self, reply: _Reply, done: Done | None, format_: str) -> dict[str, str]:
        headers = {**reply.headers, "Content-Type": CONTENT_TYPES.get(format_, "text/plain; charset=UTF-8")}
        if format_:
            headers["X-ClickHouse-Format"] = format_
        if done:
            headers["X-ClickHouse-Summary"] = summary(done)
        if reply.encoding:
            headers["Content-Encoding"] = reply.encoding
        return headers


async def _form(request: web.Request) -> dict[str, str]:
    """Return the fields of a form, which clients use for parameters too long for a URL."""
    if request.content_type != "multipart/form-data":
        return {}
    fields = {}
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader) or part.filename or not part.name:
            raise QueryFailed.of(NOT_IMPLEMENTED, "external tables are not supported by the embedded ClickHouse")
        field = bytearray()
        while chunk := await part.read_chunk():
            field += chunk
            check_size(len(field), MAX_READER_BODY_BYTES)
        fields[part.name] = field.decode()
    return fields


async def _encoded(encoder: Encoder | None, data: bytes) -> bytes:
    if encoder is None:
        return data
    if len(data) <= _INLINE_BYTES:
        return encoder.feed(data)
    return await asyncio.to_thread(encoder.feed, data)
