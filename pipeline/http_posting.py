"""HTTP requests to services of other people: one attempt, and what its answer means for the data.

Queues, waits and repetitions are the engine's. Addresses are secrets here: those of web hooks carry their password in
the path, so messages name scheme and host only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Final, TypeAlias
from urllib.parse import urlsplit

import aiohttp
from pydantic import BeforeValidator, WithJsonSchema

from pipeline.config.tls import TLSClient, client_context
from pipeline.config.values import Secret
from pipeline.errors import Permanent, Rejected, TimedOut, Transient, Unavailable, system_words

_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Request Timeout, Too Early, Too Many Requests, and the troubles of a server (RFC 9110 section 15, 6585, 8470)."""

_NEVER_OF_5XX: Final = frozenset({501, 505})
"""The server does not know how, and will not learn it while we wait."""

_LONGEST_ANSWER: Final = 300

_LONGEST_WAIT: Final = 3600.0
"""Seconds; who asks for more is asked again then, or one odd answer would hold up every message behind it."""


def _url(value: object) -> object:
    """Check what a person wrote without repeating it: it may be a secret."""
    text = value.get_secret_value() if isinstance(value, Secret) else value
    if not isinstance(text, str):
        raise ValueError("must be a URL such as https://host/path")  # noqa: TRY004 - pydantic collects ValueErrors only
    try:
        parts = urlsplit(text)
        name = (parts.hostname or "").encode("idna")  # what no name of a host can be fails here, not at each request
        usable = parts.scheme in ("http", "https") and bool(name) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not text.isprintable() or " " in text:
        raise ValueError("must be a URL that begins with http:// or https:// and names a host")
    return value


SecretURL: TypeAlias = Annotated[
    Secret, BeforeValidator(_url), WithJsonSchema({"type": "string", "description": "http:// or https:// URL"})
]
"""A URL that may carry a password; never shown but for scheme and host."""

URL: TypeAlias = Annotated[
    str, BeforeValidator(_url), WithJsonSchema({"type": "string", "description": "http:// or https:// URL"})
]
"""A URL that is no secret."""


class Poster:
    """Sends requests, a connection each: there are few, and an idle connection may be dead."""

    def __init__(
        self,
        *,
        timeout_seconds: float,
        tls: TLSClient,
        headers: Mapping[str, Secret],
        proxy: Secret | None,
        time_ns: Callable[[], int],
    ) -> None:
        """`timeout_seconds` bounds a request, 0 does not. Raises StartError for certificates that cannot be read."""
        self._timeout = timeout_seconds or None
        self._time_ns = time_ns
        self._proxy = None if proxy is None else proxy.get_secret_value()
        self._server_name = tls.server_name_override or None
        own = {name: value.get_secret_value() for name, value in headers.items()}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=client_context(tls) or True, force_close=True),
            timeout=aiohttp.ClientTimeout(total=None),
            headers={
                "User-Agent": "jobsight",
                "Content-Type": "application/json",
                "Accept-Encoding": "identity",
                **own,
            },
            auto_decompress=False,  # of an answer its status counts, also where its text cannot be unpacked
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def send(self, url: str, body: bytes, headers: Mapping[str, str] | None = None, method: str = "POST") -> None:
        """Return when the service has taken the request. Raises Rejected, Unavailable and TimedOut."""
        where = shown(url)
        patience = asyncio.timeout(self._timeout)
        try:
            async with (
                patience,
                self._session.request(
                    method,
                    url,
                    data=body,
                    headers=headers,
                    allow_redirects=False,
                    proxy=self._proxy,
                    server_hostname=self._server_name,
                ) as answer,
            ):
                said = (await answer.content.read(4 * _LONGEST_ANSWER)).decode("utf-8", "replace")
        except TimeoutError as error:
            own = f"{where}: no answer within {self._timeout:g} s" if patience.expired() else f"{where}: timed out"
            raise TimedOut(own) from error
        except (aiohttp.ClientError, ConnectionError) as error:
            raise Unavailable(f"cannot reach {where}: {_reason(error)}") from error
        if not 200 <= answer.status < 300:
            raise refusal(where, answer.status, said or answer.reason or "", answer.headers, self._time_ns())

    async def close(self) -> None:
        await self._session.close()


def refusal(where: str, status: int, said: str, headers: Mapping[str, str], now_ns: int) -> Permanent | Transient:
    """Return what an answer other than success means."""
    line = " ".join(said.split())
    line = line if len(line) <= _LONGEST_ANSWER else f"{line[: _LONGEST_ANSWER - 1]}…"
    answer = f'{where} answered HTTP {status} "{line}"'
    if status in _AGAIN or (status >= 500 and status not in _NEVER_OF_5XX):
        return Unavailable(answer, retry_after(headers.get("Retry-After", ""), now_ns))
    if 300 <= status < 400:
        return Rejected(
            f"{answer} and sends us to {_host_of(headers.get('Location', ''))}; "
            "requests do not follow: set the endpoint to the final address"
        )
    if status in (401, 403):
        return Rejected(f"{answer}: are key, token or password right?")
    if status in (404, 410):
        return Rejected(f"{answer}: is the endpoint right, and still there?")
    return Rejected(answer)


def retry_after(value: str, now_ns: int) -> float | None:
    """Return the seconds that a header Retry-After asks for, as a number or a date (RFC 9110 section 10.2.3).

    An hour at most: whoever asks for more is asked again then.
    """
    text = value.strip()
    try:
        digits = text.isascii() and text.isdigit()
        wait = float(text) if digits else parsedate_to_datetime(text).timestamp() - now_ns / 1e9
    except ValueError:
        return None
    return min(max(0.0, wait), _LONGEST_WAIT)


def shown(url: str) -> str:
    """Return scheme and host of a URL: what may be told of it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _host_of(location: str) -> str:
    """Return scheme and host of where an answer sends us; the other side may have written anything there."""
    try:
        return shown(location) if urlsplit(location).scheme in ("http", "https") else "another place"
    except ValueError:
        return "another place"


def _reason(error: Exception) -> str:
    """Return one line on a failed connection, in the system's words where it has some."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"the certificate is not trusted: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return system_words(error.os_error)
    if isinstance(error, OSError):
        return system_words(error)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answered HTTP {error.status}"
    if isinstance(error, aiohttp.ClientResponseError):
        return f"no HTTP answer: {' '.join(error.message.split())}"  # str() would show the URL
    if isinstance(error, aiohttp.InvalidURL):
        return "the URL cannot be used"
    return " ".join(str(error).split()) or type(error).__name__


def checked_headers(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Refuse what cannot stand in a request's head. Raises ValueError."""
    for name, secret in value.items():
        text = secret.get_secret_value()
        if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
            raise ValueError(f'"{name}" is no name of a header')
        if not text.isprintable():
            raise ValueError(f'the value of "{name}" has characters that no header can have')
    return value
