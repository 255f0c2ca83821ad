"""Where ClickHouse is: what `endpoint` and `connection_params` say, as the Collector reads them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

PORTS: Final = {"http": 8123, "https": 8443}
NATIVE_TLS_PORT: Final = 9440
NATIVE_SCHEMES: Final = frozenset({"tcp", "clickhouse"})

DRIVER_OPTIONS: Final = frozenset(
    {
        "block_buffer_size",
        "client_info_product",
        "compress_level",
        "conn_max_lifetime",
        "connection_open_strategy",
        "debug",
        "dial_timeout",
        "http_proxy",
        "max_compression_buffer",
        "max_idle_conns",
        "max_open_conns",
        "read_timeout",
        "secure",
    }
)
"""Options of the Collector's Go driver that tune its connections; here they mean nothing (clickhouse-go's DSN)."""

SAID_ELSEWHERE: Final = {
    "skip_verify": "tls.insecure_skip_verify",
    "insert_deduplication_token": "nothing: every insert gets a token of its own",
    "query": "nothing",
}
"""Parameters that must not be set in a URL, and what to use instead."""


@dataclass(frozen=True, slots=True)
class Address:
    """One ClickHouse: the same tables behind each of `urls`.

    `settings` are server settings for every statement; `compress` is set where the URL chose a compression.
    """

    urls: tuple[str, ...]
    username: str = ""
    password: str = ""
    database: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    compress: str | None = None

    def as_user(self, username: str, password: str) -> Address:
        return replace(self, username=username, password=password)

    def __repr__(self) -> str:
        return f"Address({', '.join(self.urls)})"  # without the password

    @property
    def local(self) -> bool:
        """Whether data stays on this machine, where compressing costs more than sending."""
        return all(_is_loopback(urlsplit(url).hostname or "") for url in self.urls)

    @property
    def encrypted(self) -> bool:
        return self.urls[0].startswith("https:")


def read_endpoint(endpoint: str, params: Mapping[str, str]) -> Address:
    """Return what an `http://` or `https://` endpoint with one or more hosts says; `params` win over its parameters.

    Raises ValueError with a message for people.
    """
    if not endpoint:
        raise ValueError("endpoint must be specified")
    scheme, separator, rest = endpoint.partition("://")
    if not separator:
        raise ValueError(f'endpoint must be url format, such as "http://{_host(endpoint)}:8123", is "{endpoint}"')
    authority, tail = _divide(rest)
    userinfo, _, hosts = authority.rpartition("@")
    if scheme in NATIVE_SCHEMES:
        raise ValueError(_use_http_instead(scheme, userinfo, hosts, tail))
    if scheme not in PORTS:
        raise ValueError(f'endpoint: the scheme must be http or https, is "{scheme}"')
    path, _, query = tail.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True)) | dict(params)
    for name, instead in SAID_ELSEWHERE.items():
        if name in options:
            raise ValueError(f'endpoint, connection_params: "{name}" cannot be set there; use {instead}')
    username, _, password = userinfo.partition(":")
    prefix = options.pop("http_path", "")
    return Address(
        urls=tuple(f"{scheme}://{_authority(host, scheme)}{quote(prefix)}" for host in hosts.split(",")),
        username=options.pop("username", unquote(username)),
        password=options.pop("password", unquote(password)),
        database=options.pop("database", unquote(path.strip("/"))),
        compress=options.pop("compress", None),
        settings={name: value for name, value in options.items() if name not in DRIVER_OPTIONS},
    )


def _divide(rest: str) -> tuple[str, str]:
    """Divide what follows the scheme into the authority and path with query."""
    end = min((position for mark in "/?#" if (position := rest.find(mark)) >= 0), default=len(rest))
    return rest[:end], rest[end:].split("#", 1)[0]


def _authority(host: str, scheme: str) -> str:
    """Return `host:port` with the scheme's port where none is given."""
    try:
        parts = urlsplit(f"{scheme}://{host.strip()}")
        port = parts.port or PORTS[scheme]
    except ValueError as error:
        raise ValueError(f'endpoint: "{host}" is no host:port: {error}') from error
    if not parts.hostname:
        raise ValueError("endpoint: a host is missing; several hosts are separated by single commas")
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{name}:{port}"


def _host(text: str) -> str:
    return text.partition(":")[0] or "localhost"


def _use_http_instead(scheme: str, userinfo: str, hosts: str, tail: str) -> str:
    """Say which URL to write; without the user's password."""
    options = dict(parse_qsl(tail.partition("?")[2]))
    encrypted = f":{NATIVE_TLS_PORT}" in hosts or options.get("secure") == "true"
    to = "https" if encrypted else "http"
    instead = ",".join(f"{_host(host)}:{PORTS[to]}" for host in hosts.split(","))
    user = "user:password@" if userinfo else ""
    return (
        f"endpoint: {scheme}:// is ClickHouse's native protocol, jobsight speaks its HTTP interface; "
        f'write "{to}://{user}{instead}{tail.partition("?")[0]}" (or the port that the server has for HTTP)'
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
