"""Reading a pipe in the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncGenerator

_PIPE_BYTES = 1 << 20
_READ_BYTES = 256 << 10


def open_pipe() -> tuple[int, int]:
    """Return the two ends, reading and writing, of a pipe for `read_pipe`; large, so that threads change seldom."""
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(read_fd, False)
    with contextlib.suppress(OSError):  # the user's share of pipe memory is used up: a small pipe is slower, not wrong
        fcntl.fcntl(write_fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return read_fd, write_fd


async def read_pipe(fd: int) -> AsyncGenerator[bytes]:
    """Yield what comes until every writing end is closed."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            ready = loop.create_future()
            loop.add_reader(fd, ready.set_result, None)
            try:
                await ready
            finally:
                loop.remove_reader(fd)
            continue
        if not data:
            return
        yield data
