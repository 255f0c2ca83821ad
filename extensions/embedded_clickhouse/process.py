"""The store's process: open, listen, say so, and stop in order.

With `--supervised` (how the extension starts it) the settings come as one line of JSON on standard input, the answer
goes as one line of JSON to standard output, and the end of standard input means that the collector has gone, however
it went: a store never outlives it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from extensions.embedded_clickhouse.failures import CannotOpen
from extensions.embedded_clickhouse.settings import StoreSettings

if TYPE_CHECKING:
    from extensions.embedded_clickhouse.engine import Engine

WRITE_SECONDS: Final = 5.0
"""How long inserts may go on once the store is asked to stop."""

STOP_SECONDS: Final = 15.0
"""After this the process ends whatever the engine does; what was acknowledged is on the disk."""


def serve(settings: StoreSettings, listening: Callable[[str, int], None], *, watch_stdin: bool) -> None:
    """Run a store until SIGTERM or SIGINT (or the end of standard input). Raises CannotOpen.

    Blocks; wants the main thread of a process that has nothing else to do. `listening` is called with the address.
    """
    if not hasattr(os, "memfd_create"):
        raise CannotOpen("the embedded ClickHouse needs Linux: give the exporter the address of a ClickHouse server")
    missing = [name for name in ("chdb", "lz4", "zstandard") if find_spec(name) is None]
    if missing:
        raise CannotOpen(
            f"the embedded ClickHouse is not installed ({', '.join(missing)} missing): pip install 'jobsight[embedded]'"
        )
    from extensions.embedded_clickhouse.engine import Engine  # only now that it is known to be installed

    engine = Engine.open(settings)
    try:
        asyncio.run(_serve(engine, settings, listening, watch_stdin=watch_stdin))
    finally:
        engine.close()


async def _serve(
    engine: Engine, settings: StoreSettings, listening: Callable[[str, int], None], *, watch_stdin: bool
) -> None:
    from extensions.embedded_clickhouse.server import HttpInterface  # only now that it is known to be installed

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if watch_stdin:
        loop.add_reader(sys.stdin.fileno(), stop.set)  # nothing more is sent, so readable means closed
    interface = HttpInterface(engine, settings)
    try:
        try:
            addresses = await interface.start()
        except OSError as error:
            raise CannotOpen(
                f"cannot listen on {settings.host}:{settings.port} for the embedded ClickHouse: {error.strerror}; "
                "stop what listens there, or give another `endpoint`"
            ) from error
        listening(*addresses[0])
        await stop.wait()
        if watch_stdin:
            loop.remove_reader(sys.stdin.fileno())
        _end_at_last()
    finally:
        await interface.stop(WRITE_SECONDS)


def _end_at_last() -> None:
    timer = threading.Timer(STOP_SECONDS, os._exit, (1,))
    timer.daemon = True
    timer.start()


def supervised() -> int:
    """Run as the extension's child."""
    # what the engine prints must not mix with our one line
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    # unbuffered: the end of the input must be seen by the loop, not by a reader that has looked ahead
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return 0  # the collector has gone before it said anything
        line += byte
    settings = StoreSettings.from_json(line.decode())

    def listening(host: str, port: int) -> None:
        answer.write(json.dumps({"host": host, "port": port}) + "\n")
        answer.close()

    try:
        serve(settings, listening, watch_stdin=True)
    except CannotOpen as error:
        if answer.closed:
            raise
        answer.write(json.dumps({"error": str(error)}) + "\n")
        answer.close()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(supervised())
