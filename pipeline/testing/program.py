"""The real program as a process, and the questions that tests and benchmarks put to it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue

JOBSIGHT = (sys.executable, "-m", "pipeline")
START_SECONDS = 30.0
STOP_SECONDS = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(holds: Callable[[], bool], *, within: float = 20.0, what: str = "the condition") -> None:
    """Return once `holds()`; what another process does can only be asked for again and again."""
    pause = threading.Event()
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not come true within {within:g} s"
        pause.wait(0.05)


@dataclass
class Ports:
    grpc: int = field(default_factory=free_port)
    http: int = field(default_factory=free_port)
    clickhouse: int = field(default_factory=free_port)
    metrics: int = field(default_factory=free_port)
    health: int = field(default_factory=free_port)


class Program:
    """A `jobsight run` with `configs/default.yaml` on free ports, its data in a folder of the test."""

    def __init__(
        self, data: Path, ports: Ports, *, sets: Sequence[str] = (), config: str = "configs/default.yaml"
    ) -> None:
        self.data = data
        self.ports = ports
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._new: Queue[str | None] = Queue()
        overrides = [
            f"receivers.otlp.protocols.grpc.endpoint=127.0.0.1:{ports.grpc}",
            f"receivers.otlp.protocols.http.endpoint=127.0.0.1:{ports.http}",
            f"extensions.embedded_clickhouse.path={data}",
            f"extensions.embedded_clickhouse.endpoint=127.0.0.1:{ports.clickhouse}",
            f"extensions.health_check.endpoint=127.0.0.1:{ports.health}",
            f"service.telemetry.metrics.address=127.0.0.1:{ports.metrics}",
            *(
                [f"extensions.file_storage.directory={data}-state"]
                if "file_storage" in Path(config).read_text()
                else []
            ),
            *sets,
        ]
        self.process = subprocess.Popen(
            [*JOBSIGHT, "run", "--config", config, *(part for line in overrides for part in ("--set", line))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.lines)),
            threading.Thread(target=self._read, args=(self.process.stderr, self.errors)),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: object, into: list[str]) -> None:
        for line in stream:  # type: ignore[attr-defined]
            into.append(line.rstrip("\n"))
            self._new.put(line)
        self._new.put(None)

    def started(self) -> Program:
        """Return once it says that it runs."""
        deadline = time.monotonic() + START_SECONDS
        while not any("jobsight is running" in line for line in self.lines):
            with suppress(Empty):
                self._new.get(timeout=0.5)
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.errors}"
            assert time.monotonic() < deadline, f"did not start: {self.lines} {self.errors}"
        return self

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def interrupt_group(self) -> None:
        """What a terminal's Ctrl-C does."""
        os.killpg(self.process.pid, signal.SIGINT)

    def exit_code(self) -> int:
        """Wait for the end."""
        code = self.process.wait(STOP_SECONDS)
        for reader in self._readers:
            reader.join(5)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return code

    def stop(self) -> int:
        if self.process.poll() is None:
            self.send(signal.SIGTERM)
        return self.exit_code()

    def query(self, sql: str) -> str:
        """Return ClickHouse's answer, tab separated; its error text if it has one."""
        return query(self.ports.clickhouse, sql)

    def count(self, table: str = "otel_traces") -> int:
        answer = self.query(f"SELECT count() FROM {table}")
        return int(answer) if answer.strip().isdigit() else -1

    def samples(self, name: str) -> dict[str, float]:
        """Return one of the program's own metrics: its labels, as Prometheus writes them, to its value."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports.metrics}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        found = (line.rpartition(" ") for line in lines if line.partition("{")[0].partition(" ")[0] == name)
        return {labels.removeprefix(name): float(value) for labels, _, value in found}

    def metric(self, name: str) -> float:
        """Return the sum over all labels of one of the program's own metrics."""
        return sum(self.samples(name).values())

    def store_pid(self) -> int:
        """Return the id of the store process: the child of the collector."""
        children = (
            Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii").split()
        )
        (pid,) = map(int, children)
        return pid


def query(port: int, sql: str) -> str:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", data=sql.encode())
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return str(error.read().decode())
    except OSError as error:
        return f"no answer: {error}"


def jobsight(
    *args: str, stdin: str | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command of the program to its end."""
    return subprocess.run(
        [*JOBSIGHT, *args],
        capture_output=True,
        text=True,
        timeout=60,
        input=stdin,
        check=False,
        env={**os.environ, **(env or {})},
    )
