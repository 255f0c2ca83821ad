"""A real store process for tests, started as the extension starts it."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from multidict import CIMultiDictProxy

from extensions.embedded_clickhouse.settings import Credentials, ReaderLimits, StoreSettings

WRITER = {"X-ClickHouse-User": "jobsight", "X-ClickHouse-Key": "s3cret"}


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: bytes
    headers: CIMultiDictProxy[str]

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def code(self) -> str | None:
        return self.headers.get("X-ClickHouse-Exception-Code")

    @property
    def summary(self) -> dict[str, str]:
        values: dict[str, str] = json.loads(self.headers["X-ClickHouse-Summary"])
        return values


@dataclass(frozen=True)
class Store:
    """A store that listens."""

    process: subprocess.Popen[bytes]
    settings: StoreSettings
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def resident_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    async def read(self, sql: str, **parameters: str) -> Answer:
        """Ask as anybody may."""
        return await self.post(sql.encode(), {}, **parameters)

    async def write(self, sql: str | bytes, data: bytes = b"", **parameters: str) -> Answer:
        """Ask with the writer's credentials; data follows the statement."""
        statement = sql.encode() if isinstance(sql, str) else sql
        answer = await self.post(statement + (b"\n" + data if data else b""), WRITER, **parameters)
        assert answer.status == 200, answer.text
        return answer

    async def post(self, body: bytes, headers: dict[str, str], /, **parameters: str) -> Answer:
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.post(self.url, params=parameters, data=io.BytesIO(body), headers=headers) as response,
        ):
            return Answer(response.status, await response.read(), response.headers)

    async def get(self, sql: str, **parameters: str) -> Answer:
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.get(self.url, params={"query": sql, **parameters}) as response,
        ):
            return Answer(response.status, await response.read(), response.headers)

    @asynccontextmanager
    async def open_query(self, sql: str, **parameters: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask, and leave the rows to be read."""
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.post(self.url, params=parameters, data=sql.encode()) as response,
        ):
            yield response


def store_settings(path: Path, **changes: Any) -> StoreSettings:
    values: dict[str, Any] = {
        "path": str(path),
        "host": "localhost",
        "port": 0,
        "credentials": Credentials("jobsight", "s3cret"),
        "limits": ReaderLimits(max_execution_time=20.0, max_memory_usage=200_000_000, max_result_rows=1_000_000),
    }
    return StoreSettings(**(values | changes))


def launch(settings: StoreSettings) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    """Start a process and return it with the first word it says."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "extensions.embedded_clickhouse.process", settings.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin
    assert process.stdout
    process.stdin.write(f"{settings.to_json()}\n".encode())
    process.stdin.flush()
    word: dict[str, Any] = json.loads(process.stdout.readline())
    return process, word


@contextmanager
def running_store(settings: StoreSettings) -> Iterator[Store]:
    """A store for the length of a block."""
    process, word = launch(settings)
    try:
        assert "port" in word, word
        yield Store(process, settings, word["port"])
    finally:
        end(process)


def end(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> int:
    """End a process and close its pipes; return its exit code."""
    process.send_signal(number)
    try:
        return process.wait(30)
    finally:
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                pipe.close()
