"""The collector's side of the embedded ClickHouse: starts the store's process, restarts it, stops it last."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from extensions.embedded_clickhouse.config import EmbeddedClickHouseConfig
from extensions.embedded_clickhouse.settings import Credentials, StoreSettings
from pipeline import ComponentId, Extension, Host, StartError
from pipeline.clickhouse_endpoint import ClickHouseEndpoint
from pipeline.config.values import join_endpoint

_MODULE: Final = "extensions.embedded_clickhouse.process"
_USERNAME: Final = "jobsight"
_ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound to

_FIRST_BACKOFF_SECONDS: Final = 0.2
_MAX_BACKOFF_SECONDS: Final = 30.0
_STEADY_SECONDS: Final = 60.0
"""A store that ran this long starts over with the first back-off."""


class EmbeddedClickHouse(Extension[EmbeddedClickHouseConfig], ClickHouseEndpoint):
    """A ClickHouse in a directory, served by a process of its own.

    After `start` the interface answers. When the process dies it is started again, with the same address and
    credentials, for as long as the collector runs; what an exporter sends meanwhile fails to connect and is retried.
    """

    kind = "embedded_clickhouse"
    Config = EmbeddedClickHouseConfig

    def __init__(self, config: EmbeddedClickHouseConfig, ident: ComponentId) -> None:
        super().__init__(config, ident)
        read_password = config.read_password.get_secret_value() if config.read_password else ""
        self._settings = config.store(Credentials(_USERNAME, secrets.token_urlsafe(24), read_password))
        self._url: str | None = None
        self._process: Process | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def endpoint_url(self) -> str:
        """Raises StartError before `start`, when the port may not be known."""
        if self._url is None:
            raise StartError(f"{self.ident} has not started: name it in service.extensions")
        return self._url

    @property
    def username(self) -> str:
        return self._settings.credentials.username

    @property
    def password(self) -> str:
        return self._settings.credentials.password

    async def start(self, host: Host) -> None:
        """Return when the interface answers. Raises StartError."""
        address, port = await self._launch(self._settings)
        self._settings = replace(self._settings, port=port)  # the same one after a restart, also if it was 0
        self._url = f"http://{join_endpoint(_ANY_ADDRESS.get(address, address), port)}"
        host.log.info(
            "The embedded ClickHouse is ready.", url=self._url, path=self._settings.path, pid=self._running().pid
        )
        self._supervisor = host.spawn(self._supervise(host), name=f"{self.ident} supervisor")

    async def stop(self) -> None:
        """End the store's process, by force if it takes longer than `stop_timeout`."""
        self._stopping = True
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            supervisor.cancel()
            await asyncio.wait({supervisor})
        process, self._process = self._process, None
        if process is not None:
            await _end(process, self.config.stop_timeout)

    def guide(self) -> Iterator[tuple[str, str]]:
        yield "ClickHouse (HTTP)", self.endpoint_url
        yield "ask it", f'jobsight query --url {self.endpoint_url} "SHOW TABLES"'

    async def _launch(self, settings: StoreSettings) -> tuple[str, int]:
        """Start the process and wait for its word. Raises StartError, with no process left."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # whatever lies in the working directory is not imported
            "-m",
            _MODULE,
            settings.path,  # for people who look at the list of processes
            stdin=PIPE,
            stdout=PIPE,
            start_new_session=True,  # a terminal's Ctrl-C is for the collector: the store outlives its drain
        )
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with contextlib.suppress(ConnectionError):  # it has died already; its exit code says more
                process.stdin.write(f"{settings.to_json()}\n".encode())
                await process.stdin.drain()
            async with asyncio.timeout(self.config.start_timeout):
                line = await process.stdout.readline()
        except TimeoutError:
            await self._abort()
            raise StartError(
                f"{self.ident}: the ClickHouse store in {settings.path} was not ready after "
                f"{self.config.start_timeout:g} s: raise start_timeout, or see what it printed"
            ) from None
        except BaseException:
            await asyncio.shield(self._abort())
            raise
        if not line:
            code = await process.wait()
            self._process = None
            raise StartError(f"{self.ident}: the ClickHouse store in {settings.path} {_ended(code)} while it opened")
        word = json.loads(line)
        if "error" in word:
            await process.wait()
            self._process = None
            raise StartError(f"{self.ident}: {word['error']}")
        return word["host"], word["port"]

    async def _abort(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await _end(process, 0.0)

    async def _supervise(self, host: Host) -> None:
        backoff = _FIRST_BACKOFF_SECONDS
        while True:
            started = host.clock.now()
            code = await self._running().wait()
            if host.clock.now() - started >= _STEADY_SECONDS:
                backoff = _FIRST_BACKOFF_SECONDS
            what = _ended(code)
            while True:
                host.log.warning(
                    "The embedded ClickHouse died; starting it again.", reason=what, wait_s=round(backoff, 1)
                )
                await host.clock.sleep_until(host.clock.now() + backoff)
                backoff = min(backoff * 2, _MAX_BACKOFF_SECONDS)
                try:
                    await self._launch(self._settings)
                except StartError as error:
                    what = str(error)
                    continue
                host.log.info("The embedded ClickHouse is back.", url=self._url, pid=self._running().pid)
                break

    def _running(self) -> Process:
        assert self._process is not None
        return self._process


async def _end(process: Process, seconds: float) -> None:
    """Ask the process to end, then make it; return when it is gone."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM if seconds else signal.SIGKILL)
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(seconds or None):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _ended(code: int) -> str:
    """Say how a process ended, from its return code."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
