"""Statements over ClickHouse's HTTP interface.

aiohttp and not clickhouse-connect: an attempt must end when it is cancelled, several hosts stand in for each other, and
for whole Arrow bodies the cost is the copy into the socket (0.2 us a span of 500 bytes). Retries, time-outs and the
meaning of errors are not here.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Final

import aiohttp

from exporters.clickhouse.address import Address
from exporters.clickhouse.errors import Refusal
from pipeline.errors import Unavailable

KEEPALIVE_SECONDS: Final = 2.5
"""Shorter than any server's own: before 23.x ClickHouse closed idle connections after 3 s."""

PIECE: Final = 256 * 1024
"""Bytes handed to the socket at once; larger pieces cost more copies."""

CODE: Final = "X-ClickHouse-Exception-Code"


class Client:
    """Speaks to the first host that answers. `connect_seconds` bounds the wait for a connection to one host."""

    def __init__(
        self,
        address: Address,
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str = "",
        connect_seconds: float,
    ) -> None:
        self._address = address
        self._current = 0
        self._server_name = server_name or None
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=tls or True, keepalive_timeout=KEEPALIVE_SECONDS),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds),
            headers={"User-Agent": "jobsight", **_credentials(address)},
        )

    async def execute(self, sql: str, settings: Mapping[str, str]) -> str:
        """Run a statement and return what it says. Raises Refusal and Unavailable."""
        return await self._anywhere(settings, sql.encode(), {})

    async def insert(
        self, sql: str, settings: Mapping[str, str], body: bytes | memoryview, encoding: str | None
    ) -> None:
        """Run an INSERT whose data are `body`, compressed as HTTP's Content-Encoding `encoding` says.

        Raises Refusal and Unavailable; the rows may have arrived nevertheless, so `settings` must have a token.
        """
        headers = {"Content-Type": "application/octet-stream"}
        if encoding is not None:
            headers["Content-Encoding"] = encoding
        await self._anywhere({**settings, "query": sql}, body, headers)

    async def close(self) -> None:
        await self._session.close()

    async def _anywhere(self, params: Mapping[str, str], body: bytes | memoryview, headers: Mapping[str, str]) -> str:
        urls = self._address.urls
        unreachable = []
        for turn in range(len(urls)):
            position = (self._current + turn) % len(urls)
            try:
                answer = await self._post(urls[position], params, body, headers)
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                unreachable.append(f"{urls[position]} ({_reason(error)})")
                continue
            self._current = position
            return answer
        raise Unavailable(f"cannot reach ClickHouse at {', '.join(unreachable)}")

    async def _post(
        self, url: str, params: Mapping[str, str], body: bytes | memoryview, headers: Mapping[str, str]
    ) -> str:
        for last in (False, True):
            try:
                return await self._post_once(url, params, body, headers)
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
                raise
            except (aiohttp.ClientError, ConnectionError) as error:
                # A server may close an idle connection in the moment we use it. Every statement may be repeated.
                if last:
                    raise Unavailable(f"lost the connection to ClickHouse at {url}: {_reason(error)}") from error
        raise AssertionError("the loop returns or raises")

    async def _post_once(
        self, url: str, params: Mapping[str, str], body: bytes | memoryview, headers: Mapping[str, str]
    ) -> str:
        query = {"wait_end_of_query": "1", **self._address.settings, **params}
        async with self._session.post(
            url,
            params=query,
            data=_pieces(body),
            headers={**headers, "Content-Length": str(len(body))},
            allow_redirects=False,
            server_hostname=self._server_name,
        ) as response:
            text = (await response.read()).decode("utf-8", "replace")
            ours = any(name.startswith("X-ClickHouse-") for name in response.headers)
            if response.status == 200 and ours and CODE not in response.headers:
                return text
            raise Refusal(
                url, response.status, _code(response.headers, text), text or response.reason or "", _wait(response)
            )


async def _pieces(body: bytes | memoryview) -> AsyncIterator[memoryview]:
    view = memoryview(body)
    for start in range(0, len(view), PIECE):
        yield view[start : start + PIECE]


def _credentials(address: Address) -> dict[str, str]:
    if not address.username:
        return {}
    return {"Authorization": aiohttp.encode_basic_auth(address.username, address.password)}


def _code(headers: Mapping[str, str], text: str) -> int | None:
    """Return ClickHouse's code, from the header or, for old servers and proxies, from the text."""
    found = headers.get(CODE, "")
    if not found and text.startswith("Code: "):
        found = text[6:].partition(".")[0]
    return int(found) if found.isdigit() else None


def _wait(response: aiohttp.ClientResponse) -> float | None:
    found = response.headers.get("Retry-After", "")
    return float(found) if found.isdigit() else None


def _reason(error: Exception) -> str:
    """Return one line on a failed connection, in the system's words where it has some."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"the certificate is not trusted: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or str(error.os_error)
    if isinstance(error, TimeoutError):
        return "no connection in time"
    return str(error) or type(error).__name__
