"""The extension with its real process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from extensions.embedded_clickhouse.config import EmbeddedClickHouseConfig
from extensions.embedded_clickhouse.extension import EmbeddedClickHouse
from pipeline import ComponentId, StartError
from pipeline.clickhouse_endpoint import ClickHouseEndpoint
from pipeline.testing import FakeHost
from tests.extensions.embedded_clickhouse.stores import Answer, Store, running_store, store_settings


class LogQueue:
    """A log whose events can be waited for."""

    def __init__(self, host: FakeHost) -> None:
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        host.log = structlog.wrap_logger(None, processors=[self._keep])

    def _keep(self, _: object, __: str, event: Any) -> Any:
        self._events.put_nowait(dict(event))
        raise structlog.DropEvent

    async def wait_for(self, text: str) -> dict[str, Any]:
        async with asyncio.timeout(30):
            while text not in (event := await self._events.get())["event"]:
                pass
        return event


@pytest.fixture
async def real_host() -> AsyncIterator[FakeHost]:
    host = FakeHost()
    yield host
    await host.close()


def build(path: Path, **keys: Any) -> EmbeddedClickHouse:
    config = EmbeddedClickHouseConfig.model_validate({"path": str(path), "endpoint": "localhost:0", **keys})
    return EmbeddedClickHouse(config, ComponentId("embedded_clickhouse"))


async def ask(extension: EmbeddedClickHouse, sql: str, *, writer: bool = False) -> Answer:
    store = Store(None, None, int(extension.endpoint_url.rpartition(":")[2]))  # type: ignore[arg-type]  # its port is enough
    credentials = {"X-ClickHouse-User": extension.username, "X-ClickHouse-Key": extension.password} if writer else {}
    return await store.post(sql.encode(), credentials)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_start_use_stop(tmp_path: Path, real_host: FakeHost) -> None:
    """Scenario: the ordinary life.

    Guarantees: after start it answers, the credentials write, others only read, after stop the process is gone, and
    a second stop does nothing.
    """
    extension = build(tmp_path)
    log = LogQueue(real_host)
    await extension.start(real_host)
    pid = (await log.wait_for("is ready"))["pid"]
    created = await ask(extension, "CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a", writer=True)
    refused = await ask(extension, "DROP TABLE t")
    seen = await ask(extension, "SHOW TABLES")
    await extension.stop()
    await extension.stop()

    assert (created.status, refused.status, seen.text) == (200, 500, "t\n")
    assert not alive(pid)
    assert isinstance(extension, ClickHouseEndpoint)


async def test_restart_after_kill(tmp_path: Path, real_host: FakeHost) -> None:
    """Scenario: the store is killed twice.

    Guarantees: it comes back each time, with its data, at the same address, with the same credentials, and a
    warning says how it ended.
    """
    extension = build(tmp_path)
    log = LogQueue(real_host)
    await extension.start(real_host)
    pid, url, password = (await log.wait_for("is ready"))["pid"], extension.endpoint_url, extension.password
    await ask(extension, "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a", writer=True)
    for turn in range(1, 3):
        inserted = await ask(extension, "INSERT INTO t SELECT number FROM numbers(10)", writer=True)
        assert inserted.status == 200, inserted.text
        os.kill(pid, signal.SIGKILL)
        assert (await log.wait_for("died"))["reason"] == "was killed by SIGKILL"
        pid = (await log.wait_for("is back"))["pid"]
        assert (await ask(extension, "SELECT count() FROM t")).text == f"{turn * 10}\n"
    await extension.stop()

    assert (extension.endpoint_url, extension.password) == (url, password)


async def test_it_goes_on_trying(tmp_path: Path, real_host: FakeHost) -> None:
    """Scenario: when the store dies, its directory cannot be opened for a while.

    Guarantees: each attempt says why, and once it can be opened it is.
    """
    extension = build(tmp_path / "store")
    log = LogQueue(real_host)
    await extension.start(real_host)
    pid = (await log.wait_for("is ready"))["pid"]
    (tmp_path / "store").rename(tmp_path / "away")
    (tmp_path / "store").write_text("in the way", encoding="ascii")
    os.kill(pid, signal.SIGKILL)
    await log.wait_for("died")
    assert "cannot use" in (await log.wait_for("died"))["reason"]
    (tmp_path / "store").unlink()
    (tmp_path / "away").rename(tmp_path / "store")
    await log.wait_for("is back")
    assert (await ask(extension, "SELECT 1")).text == "1\n"
    await extension.stop()


async def test_ctrl_c_does_not_reach_it(tmp_path: Path, real_host: FakeHost) -> None:
    """Scenario: a terminal sends SIGINT to the collector's process group. Guarantees: the store is in another one."""
    extension = build(tmp_path)
    log = LogQueue(real_host)
    await extension.start(real_host)
    pid = (await log.wait_for("is ready"))["pid"]
    group = os.getpgid(pid)
    await extension.stop()

    assert group == pid != os.getpgid(0)


async def test_secrets_are_not_in_the_process_list(tmp_path: Path, real_host: FakeHost) -> None:
    """Scenario: somebody looks at the list of processes.

    Guarantees: neither password is in arguments or environment.
    """
    extension = build(tmp_path, read_password="r3ad")
    log = LogQueue(real_host)
    await extension.start(real_host)
    pid = (await log.wait_for("is ready"))["pid"]
    shown = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
    without = await ask(extension, "SELECT 1")
    await extension.stop()

    assert extension.password.encode() not in shown
    assert b"r3ad" not in shown
    assert str(tmp_path).encode() in shown
    assert (without.status, without.code) == (401, "194")


PARENT = """
import asyncio, sys
from pathlib import Path
from extensions.embedded_clickhouse.config import EmbeddedClickHouseConfig
from extensions.embedded_clickhouse.extension import EmbeddedClickHouse
from pipeline import ComponentId
from pipeline.testing import FakeHost

async def main():
    extension = EmbeddedClickHouse(EmbeddedClickHouseConfig(path=sys.argv[1], endpoint="localhost:0"), ComponentId("x"))
    await extension.start(FakeHost())
    print("PID", extension._process.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_no_orphan(tmp_path: Path, real_host: FakeHost) -> None:
    """Scenario: the collector is killed with -9.

    Guarantees: the store ends by itself, and a new start works at once.
    """
    collector = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, str(tmp_path), stdout=PIPE)
    assert collector.stdout
    line = b""
    while not line.startswith(b"PID"):
        line = await collector.stdout.readline()
    watched = os.pidfd_open(int(line.split()[1]))
    collector.kill()
    await collector.wait()

    extension = build(tmp_path)
    await extension.start(real_host)
    assert (await ask(extension, "SELECT 1")).text == "1\n"
    await extension.stop()

    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(watched, ended.set)  # readable once the process has ended
    async with asyncio.timeout(20):
        await ended.wait()
    asyncio.get_running_loop().remove_reader(watched)
    os.close(watched)


async def refusal(extension: EmbeddedClickHouse, host: FakeHost) -> str:
    with pytest.raises(StartError) as caught:
        await extension.start(host)
    await extension.stop()
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("embedded_clickhouse: ")
    return text


async def test_a_port_in_use(tmp_path: Path, real_host: FakeHost) -> None:
    """Scenario: another program has the port. Guarantees: StartError names the address and the key."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = await refusal(build(tmp_path, endpoint=f"localhost:{port}"), real_host)

    assert f"cannot listen on localhost:{port}" in text
    assert "`endpoint`" in text


async def test_a_directory_that_cannot_be_written(tmp_path: Path, real_host: FakeHost) -> None:
    """Scenario: a file is in the way. Guarantees: StartError names the directory and the key."""
    (tmp_path / "file").write_text("x", encoding="ascii")
    text = await refusal(build(tmp_path / "file" / "store"), real_host)

    assert f"cannot use {tmp_path / 'file' / 'store'}" in text
    assert "`path`" in text


async def test_a_store_in_use(tmp_path: Path, real_host: FakeHost) -> None:
    """Scenario: another process has the store. Guarantees: StartError names that process."""
    with running_store(store_settings(tmp_path)) as store:
        text = await refusal(build(tmp_path, start_timeout="6s"), real_host)

    assert f"(pid {store.process.pid}: " in text


async def test_not_ready_in_time(tmp_path: Path, real_host: FakeHost) -> None:
    """Scenario: the store takes longer than start_timeout. Guarantees: StartError names the key; no process is left."""
    extension = build(tmp_path, start_timeout="1ms")
    text = await refusal(extension, real_host)

    assert "start_timeout" in text
    assert not (tmp_path / "status").exists() or not _locked(tmp_path / "status")


def _locked(path: Path) -> bool:
    inode = path.stat().st_ino
    return any(f":{inode} " in line for line in Path("/proc/locks").read_text(encoding="ascii").splitlines())


def test_without_start(tmp_path: Path) -> None:
    """Scenario: built for validation only. Guarantees: nothing is made, and asking for the address says what to do."""
    extension = build(tmp_path / "store")
    with pytest.raises(StartError, match=r"service\.extensions"):
        _ = extension.endpoint_url

    assert not (tmp_path / "store").exists()
    assert len({build(tmp_path).password for _ in range(3)}) == 3


def test_configuration() -> None:
    """Scenario: keys as users write them.

    Guarantees: they reach the process; secrets show nowhere; limits are checked.
    """
    config = EmbeddedClickHouseConfig.model_validate(
        {"max_execution_time": "1m", "max_memory_usage": "100MiB", "read_password": "r3ad", "endpoint": "[::1]:8124"}
    )
    extension = EmbeddedClickHouse(config, ComponentId("embedded_clickhouse"))
    told = json.loads(extension._settings.to_json())

    assert told["limits"] == {"max_execution_time": 60.0, "max_memory_usage": 104857600, "max_result_rows": 1000000}
    assert (told["host"], told["port"], told["credentials"]["read_password"]) == ("::1", 8124, "r3ad")
    assert Path(told["path"]).is_absolute()
    assert "r3ad" not in repr(config)
    for wrong in ({"path": ""}, {"max_server_memory_usage": 1}, {"nothing": 1}, {"start_timeout": "0s"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            EmbeddedClickHouseConfig.model_validate(wrong)
