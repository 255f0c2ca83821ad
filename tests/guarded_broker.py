"""A door in front of a broker: TLS and SASL (PLAIN, SCRAM-SHA-256, SCRAM-SHA-512), which the brokers of the tests lack.

It speaks the few requests that come before anything else (ApiVersions, SaslHandshake, SaslAuthenticate; versions as in
Kafka's protocol guide), checks passwords as RFC 4616 and RFC 5802 say, then passes bytes on. The broker behind it gives
the door's address to its clients.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
import ssl
import struct
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager, suppress

SASL_HANDSHAKE, API_VERSIONS, SASL_AUTHENTICATE = 17, 18, 36
AUTHENTICATION_FAILED = 58
UNSUPPORTED_MECHANISM = 33
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
ITERATIONS = 4096

Check = Generator[tuple[bytes, bool], bytes, None]
"""Takes what the client says, gives what is answered and whether that was all. Raises PermissionError."""


@asynccontextmanager
async def door(
    port: int, behind: int, *, users: dict[str, str] | None = None, context: ssl.SSLContext | None = None
) -> AsyncIterator[None]:
    """Listen on `port` for a broker on port `behind`; `users` turns SASL on, `context` TLS."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await _Visit(reader, writer, behind, users).run()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, ssl=context)
    try:
        yield
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Visit:
    """One connection."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        behind: int,
        users: dict[str, str] | None,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._behind = behind
        self._users = users

    async def run(self) -> None:
        broker = await asyncio.open_connection("127.0.0.1", self._behind)
        try:
            if self._users is not None and not await self._admit(*broker):
                return
            await asyncio.gather(_pass(self._reader, broker[1]), _pass(broker[0], self._writer))
        finally:
            broker[1].close()

    async def _admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Return whether the client proved who it is."""
        server: Check | None = None
        while True:
            frame = await _frame(self._reader)
            key, version, correlation, name_length = struct.unpack(">hhih", frame[:10])
            body = frame[10 + max(0, name_length) :]
            head = struct.pack(">i", correlation)
            if key == API_VERSIONS:
                _send(writer, frame)
                _send(self._writer, await _frame(reader))
            elif key == SASL_HANDSHAKE:
                mechanism = body[2:].decode()
                error = 0 if mechanism in MECHANISMS else UNSUPPORTED_MECHANISM
                names = b"".join(_text(name) for name in MECHANISMS)
                _send(self._writer, head + struct.pack(">hi", error, len(MECHANISMS)) + names)
                server = _plain(self._users or {}) if mechanism == "PLAIN" else _scram(mechanism, self._users or {})
                next(server)
            elif key == SASL_AUTHENTICATE and server is not None:
                lifetime = struct.pack(">q", 0) if version >= 1 else b""
                try:
                    answer, done = server.send(body[4:])
                except PermissionError as refused:
                    text = _text(str(refused))
                    _send(
                        self._writer,
                        head + struct.pack(">h", AUTHENTICATION_FAILED) + text + struct.pack(">i", 0) + lifetime,
                    )
                    await self._writer.drain()
                    return False
                _send(self._writer, head + struct.pack(">hhi", 0, -1, len(answer)) + answer + lifetime)
                if done:
                    return True
            else:
                return False  # as Kafka does with whoever does not say who he is: the connection ends


def _plain(users: dict[str, str]) -> Check:
    message = yield b"", False
    _, user, password = message.split(b"\0")
    if users.get(user.decode()) != password.decode():
        raise PermissionError("Authentication failed: Invalid username or password")
    yield b"", True


def _scram(mechanism: str, users: dict[str, str]) -> Check:
    digest = "sha256" if mechanism.endswith("256") else "sha512"
    first = (yield b"", False).decode()
    bare = first.removeprefix("n,,")
    fields = dict(part.split("=", 1) for part in bare.split(","))
    salt, nonce = secrets.token_bytes(16), fields["r"] + secrets.token_hex(8)
    challenge = f"r={nonce},s={base64.b64encode(salt).decode()},i={ITERATIONS}"
    last = (yield challenge.encode(), False).decode()
    without, _, proof = last.rpartition(",p=")
    salted = hashlib.pbkdf2_hmac(digest, users.get(fields["n"], "").encode(), salt, ITERATIONS)
    client_key = hmac.digest(salted, b"Client Key", digest)
    signed = f"{bare},{challenge},{without}".encode()
    signature = hmac.digest(hashlib.new(digest, client_key).digest(), signed, digest)
    expected = bytes(one ^ other for one, other in zip(client_key, signature, strict=True))
    if fields["n"] not in users or not hmac.compare_digest(base64.b64decode(proof), expected):
        raise PermissionError(
            f"Authentication failed during authentication due to invalid credentials with {mechanism}"
        )
    verifier = hmac.digest(hmac.digest(salted, b"Server Key", digest), signed, digest)
    yield b"v=" + base64.b64encode(verifier), True


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (length,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(length)


def _send(writer: asyncio.StreamWriter, frame: bytes) -> None:
    writer.write(struct.pack(">i", len(frame)) + frame)


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
