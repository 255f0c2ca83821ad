"""What the tests of gateways and consumers share."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.testing.program import Program, free_port
from tests.e2e.stores import StoreAlone


@pytest.fixture
def running() -> Iterator[list[Program]]:
    """Programs of the test, ended with it whatever happens."""
    programs: list[Program] = []
    yield programs
    for program in programs:
        if program.process.poll() is None:
            program.send(signal.SIGKILL)
        program.exit_code()


@pytest.fixture
def clickhouse(tmp_path: Path) -> Iterator[int]:
    """The port of a ClickHouse that users writer and reader may use."""
    port = free_port()
    store = StoreAlone(tmp_path / "clickhouse", port, "writer", "secret")
    yield port
    store.stop()
