"""Taking a request's body: a statement, or an INSERT with its data in a file that only memory knows."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass

from extensions.embedded_clickhouse.compression import Decoder, check_size
from extensions.embedded_clickhouse.failures import SYNTAX_ERROR, QueryFailed
from extensions.embedded_clickhouse.statements import Insert, split_insert

MAX_READER_BODY_BYTES = 1 << 20
"""Readers send statements only; the engine's own limit for one is 256 KiB unless `max_query_size` says otherwise."""


@dataclass(frozen=True, slots=True)
class InsertData:
    """An INSERT and the memory file with its data, which the receiver of this closes."""

    insert: Insert
    fd: int

    @property
    def sql(self) -> str:
        return self.insert.from_file(f"/proc/self/fd/{self.fd}")


async def receive(url_query: str, body: AsyncIterator[bytes], decoder: Decoder, *, max_text: int) -> str | InsertData:
    """Return the statement, which may begin in the URL and go on in the body, or the INSERT whose data follows it.

    Data goes to the memory file as it comes, so that a large insert is in memory once. Raises QueryFailed.
    """
    head = bytearray(url_query.encode() + b"\n" if url_query else b"")
    received: InsertData | None = None
    try:
        async for chunk in body:
            data = decoder.feed(chunk)
            if received is None:
                head += data
                received = _begun(head, complete=False)
                if received is None:
                    check_size(len(head), max_text)
            else:
                _write(received.fd, data)
        rest = decoder.finish()
        if received is None:
            head += rest
            received = _begun(head, complete=True)
        else:
            _write(received.fd, rest)
    except BaseException:  # whatever it is goes on; the file must not stay
        if received is not None:
            os.close(received.fd)
        raise
    if received is not None:
        return received
    try:
        return head.decode()
    except UnicodeDecodeError as error:
        raise QueryFailed.of(SYNTAX_ERROR, f"the statement is not UTF-8: {error}") from error


def _begun(head: bytearray, *, complete: bool) -> InsertData | None:
    statement = bytes(head)
    try:
        insert = split_insert(statement, complete=complete)
    except UnicodeDecodeError as error:
        raise QueryFailed.of(SYNTAX_ERROR, f"the INSERT statement is not UTF-8: {error}") from error
    if insert is None:
        return None
    fd = os.memfd_create("insert", os.MFD_CLOEXEC)
    _write(fd, statement[insert.data_at :])
    return InsertData(insert, fd)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
