"""The store as a process: alone, as somebody's child, and in the way of others."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.extensions.embedded_clickhouse.stores import WRITER, Store, end, launch, running_store, store_settings

COMMAND = (
    "import argparse, sys; from extensions.embedded_clickhouse import command;"
    "parser = argparse.ArgumentParser(); command.configure(parser); sys.exit(command.run(parser.parse_args()))"
)


def command(*arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
        start_new_session=True,
    )


@contextmanager
def killed_at_last(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        end(process, signal.SIGKILL)


def said_port(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout
    line = process.stdout.readline().decode()
    match = re.search(r"http://127\.0\.0\.1:(\d+);", line)
    assert match, line
    return int(match[1])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_command_alone(tmp_path: Path, number: signal.Signals) -> None:
    """Scenario: `jobsight store` with a writer's password, then SIGTERM or Ctrl-C.

    Guarantees: it says where it listens, takes inserts, ends with 0, and has everything at the next start.
    """
    arguments = ("--path", str(tmp_path / "deep" / "store"), "--endpoint", "127.0.0.1:0", "--password-env", "PW")
    with killed_at_last(command(*arguments, PW="s3cret")) as process:
        store = Store(process, store_settings(tmp_path), said_port(process))
        await store.write("CREATE TABLE kept (a UInt64) ENGINE = MergeTree ORDER BY a")
        await store.write("CREATE DATABASE other")
        await store.write("CREATE TABLE other.kept (a UInt64) ENGINE = MergeTree ORDER BY a")
        await store.write("INSERT INTO kept SELECT number FROM numbers(1000)")
        await store.write("INSERT INTO other.kept FORMAT CSV", b"1\n")
        process.send_signal(number)
        assert process.wait(20) == 0
    with killed_at_last(command(*arguments, PW="s3cret")) as process:
        store = Store(process, store_settings(tmp_path), said_port(process))
        answer = await store.read("SELECT (SELECT count() FROM kept), (SELECT count() FROM other.kept)")

    assert answer.text == "1000\t1\n"


async def test_nobody_writes_without_a_password(tmp_path: Path) -> None:
    """Scenario: the command without --password-env. Guarantees: it reads, says that nobody may write, and so it is."""
    with killed_at_last(command("--path", str(tmp_path), "--endpoint", "localhost:0")) as process:
        store = Store(process, store_settings(tmp_path), said_port(process))
        assert (await store.post(b"CREATE TABLE t (a UInt8) ENGINE = Memory", WRITER)).status == 403
        assert (await store.read("SELECT 1")).text == "1\n"


def refusal(process: subprocess.Popen[bytes]) -> str:
    with killed_at_last(process):
        assert process.stderr
        code = process.wait(30)
        text = process.stderr.read().decode()
    assert code == 1
    assert text.count("\n") == 1, text
    return text


def test_one_line_for_a_port_in_use(tmp_path: Path) -> None:
    """Scenario: another program listens there. Guarantees: one line that names the address, exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = refusal(command("--path", str(tmp_path), "--endpoint", f"localhost:{port}"))

    assert f"cannot listen on localhost:{port}" in text
    assert "address already in use" in text.lower()


def test_one_line_for_a_path_that_cannot_be(tmp_path: Path) -> None:
    """Scenario: a file lies where the directory should be, or above it.

    Guarantees: one line that names it, exit code 1.
    """
    (tmp_path / "file").write_text("x", encoding="ascii")
    for path in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/store")):
        text = refusal(command("--path", str(path), "--endpoint", "localhost:0"))
        assert f"cannot use {path}" in text


def test_one_line_for_a_store_in_use(tmp_path: Path) -> None:
    """Scenario: another process has the directory. Guarantees: one line that names that process, exit code 1."""
    with running_store(store_settings(tmp_path)) as store:
        process, word = launch(store_settings(tmp_path, lock_timeout=0.1))
        with killed_at_last(process):
            assert process.wait(20) == 1

    assert f"in use by another process (pid {store.process.pid}: " in word["error"]


def test_one_line_for_a_missing_variable(tmp_path: Path) -> None:
    """Scenario: --password-env names nothing. Guarantees: one line, exit code 1."""
    text = refusal(command("--path", str(tmp_path), "--password-env", "NOT_THERE"))

    assert "NOT_THERE" in text


def test_somebody_elses_chdb(tmp_path: Path) -> None:
    """Scenario: the directory was made with plain chdb and has tables. Guarantees: it is refused and left as it is."""
    make = (
        "import sys, chdb; c = chdb.connect(sys.argv[1]);"
        "c.query('CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a');"
        "c.query('INSERT INTO t VALUES (1)'); c.close()"
    )
    subprocess.run([sys.executable, "-c", make, str(tmp_path)], check=True, timeout=30)
    process, word = launch(store_settings(tmp_path))
    with killed_at_last(process):
        assert process.wait(20) == 1
    assert "made by another program with chdb and has 1 tables" in word["error"]

    count = "import sys, chdb; print(chdb.connect(sys.argv[1]).query('SELECT count() FROM t'))"
    left = subprocess.run([sys.executable, "-c", count, str(tmp_path)], check=True, timeout=30, capture_output=True)
    assert left.stdout.strip() == b"1"


async def test_the_next_start_waits_for_a_store_that_ends(tmp_path: Path) -> None:
    """Scenario: a store is asked to end and the next is started at once. Guarantees: the next one opens."""
    first, _ = launch(store_settings(tmp_path))
    first.send_signal(signal.SIGTERM)
    with running_store(store_settings(tmp_path)) as store:
        assert (await store.read("SELECT 1")).text == "1\n"
    with killed_at_last(first):
        assert first.wait(10) == 0


def test_no_store_without_its_parent(tmp_path: Path) -> None:
    """Scenario: whoever started the store is gone, which ends the store's input. Guarantees: an orderly end."""
    process, _ = launch(store_settings(tmp_path))
    with killed_at_last(process):
        assert process.stdin
        process.stdin.close()
        assert process.wait(20) == 0


async def test_killed_and_started_again(tmp_path: Path) -> None:
    """Scenario: kill -9 right after an insert was answered. Guarantees: the rows, the view's too, at the next start."""
    with running_store(store_settings(tmp_path)) as store:
        await store.write("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
        await store.write("CREATE TABLE sums (s UInt64) ENGINE = MergeTree ORDER BY s")
        await store.write("CREATE MATERIALIZED VIEW mv TO sums AS SELECT sum(a) AS s FROM t")
        await store.write("INSERT INTO t FORMAT CSV", b"".join(b"%d\n" % number for number in range(1000)))
        store.process.kill()
        store.process.wait()
    with running_store(store_settings(tmp_path)) as store:
        assert (await store.read("SELECT (SELECT count() FROM t), (SELECT s FROM sums)")).text == "1000\t499500\n"


def test_stops_with_a_query_running(tmp_path: Path) -> None:
    """Scenario: SIGTERM while a long query runs. Guarantees: it is killed, its client is told, the exit code is 0."""
    with (
        running_store(store_settings(tmp_path)) as store,
        socket.create_connection(("127.0.0.1", store.port)) as client,
    ):
        sql = b"SELECT sum(sipHash64(number)) FROM numbers(100000000000)"
        client.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(sql), sql))
        store.process.send_signal(signal.SIGTERM)
        assert store.process.wait(20) == 0
        client.settimeout(5)
        answer = b""
        while chunk := client.recv(65536):
            answer += chunk

    assert answer == b"" or b"Code: 394" in answer or b"Code: 236" in answer, answer


def test_settings_survive_the_pipe(tmp_path: Path) -> None:
    """Scenario: settings with every kind of value.

    Guarantees: the process gets what the extension meant, and no representation of them shows a password.
    """
    settings = store_settings(tmp_path)

    assert type(settings).from_json(settings.to_json()) == settings
    assert "s3cret" not in repr(settings)
