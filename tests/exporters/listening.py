"""HTTP applications on ports of their own."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web


@asynccontextmanager
async def listening(app: web.Application, tls: ssl.SSLContext | None = None, **keys: Any) -> AsyncIterator[str]:
    """Serve on a free port of this machine, and give the URL. `keys` are the runner's."""
    runner = web.AppRunner(app, shutdown_timeout=0.1, **keys)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        host, port = runner.addresses[0][:2]
        yield f"http{'s' if tls else ''}://{host}:{port}"
    finally:
        await runner.cleanup()
