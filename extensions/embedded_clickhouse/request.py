"""What a request of ClickHouse's HTTP interface says: who asks, which statement, with which parameters.

Source: ClickHouse's documentation "HTTP Interface" and src/Server/HTTPHandler.cpp.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from extensions.embedded_clickhouse.failures import (
    AUTHENTICATION_FAILED,
    BAD_ARGUMENTS,
    NOT_IMPLEMENTED,
    REQUIRED_PASSWORD,
    QueryFailed,
)
from extensions.embedded_clickhouse.statements import is_format

if TYPE_CHECKING:
    from extensions.embedded_clickhouse.settings import Credentials

READER: Final = "default"

# Parameters of the interface itself; every other one is a setting.
_CREDENTIALS: Final = frozenset({"user", "password"})
_WITHOUT_EFFECT: Final = frozenset(
    {
        # sessions have no state here, roles and quotas do not exist, chdb's Native format knows one protocol version
        "session_id", "session_timeout", "session_check", "close_session", "role", "quota_key",
        "client_protocol_version", "stacktrace",
        # progress in headers needs headers before the result; buffering is decided by size
        "send_progress_in_http_headers", "http_headers_progress_interval_ms", "buffer_size",
        "http_response_buffer_size",
    }
)  # fmt: skip
_OURS: Final = frozenset(
    {"query", "database", "default_format", "query_id", "wait_end_of_query", "enable_http_compression"}
)
_BLOCK_FRAMING: Final = frozenset({"compress", "decompress"})


@dataclass(frozen=True, slots=True)
class Asked:
    """A request's parameters, sorted."""

    query: str
    database: str
    default_format: str
    query_id: str
    wait_end_of_query: bool
    enable_http_compression: bool
    settings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)


def read_parameters(parameters: Mapping[str, str], headers: Mapping[str, str]) -> Asked:
    """Sort the parameters of the URL (and of a form); a header stands in for a parameter that is not there.

    Raises QueryFailed for what cannot be done here.
    """
    for name in _BLOCK_FRAMING:
        if _is_on(parameters.get(name, "0")):
            raise QueryFailed.of(
                NOT_IMPLEMENTED,
                f"{name}=1 (ClickHouse's block format) is not supported by the embedded ClickHouse: use "
                + (
                    "Accept-Encoding with enable_http_compression=1"
                    if name == "compress"
                    else "Content-Encoding: lz4, zstd, gzip, deflate or br"
                ),
            )
    default_format = parameters.get("default_format") or headers.get("X-ClickHouse-Format") or "TabSeparated"
    if not is_format(default_format):
        raise QueryFailed.of(BAD_ARGUMENTS, f"{default_format!r} is not the name of a format")
    known = _CREDENTIALS | _WITHOUT_EFFECT | _OURS | _BLOCK_FRAMING
    return Asked(
        query=parameters.get("query", ""),
        database=parameters.get("database") or headers.get("X-ClickHouse-Database", ""),
        default_format=default_format,
        query_id=parameters.get("query_id") or str(uuid.uuid4()),
        wait_end_of_query=_is_on(parameters.get("wait_end_of_query", "0")),
        enable_http_compression=_is_on(parameters.get("enable_http_compression", "0")),
        settings={
            name: value for name, value in parameters.items() if name not in known and not name.startswith("param_")
        },
        parameters={
            name.removeprefix("param_"): value for name, value in parameters.items() if name.startswith("param_")
        },
    )


def is_writer(parameters: Mapping[str, str], headers: Mapping[str, str], credentials: Credentials) -> bool:
    """Say whether the request comes from the writer; otherwise it is a reader's. Raises QueryFailed for anyone else.

    Credentials are taken as ClickHouse takes them: from X-ClickHouse-User and -Key, HTTP Basic, or the URL.
    """
    user, password = _claimed(parameters, headers)
    if hmac.compare_digest(user.encode(), credentials.username.encode()):
        if _same(password, credentials.password):
            return True
    elif user in {"", READER}:
        if _same(password, credentials.read_password):
            return False
        if not password:
            raise QueryFailed.of(REQUIRED_PASSWORD, f"{READER}: this store asks readers for a password")
    raise QueryFailed.of(
        AUTHENTICATION_FAILED,
        f"{user or READER}: Authentication failed: password is incorrect, or there is no user with such name",
    )


def _claimed(parameters: Mapping[str, str], headers: Mapping[str, str]) -> tuple[str, str]:
    if "X-ClickHouse-User" in headers or "X-ClickHouse-Key" in headers:
        return headers.get("X-ClickHouse-User", ""), headers.get("X-ClickHouse-Key", "")
    scheme, _, value = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise QueryFailed.of(AUTHENTICATION_FAILED, "Invalid HTTP Basic authentication") from None
        return user, password
    if scheme:
        raise QueryFailed.of(
            AUTHENTICATION_FAILED, f"HTTP authentication scheme {scheme!r} is not supported: use Basic"
        )
    return parameters.get("user", ""), parameters.get("password", "")


def _same(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode(), right.encode())


def _is_on(value: str) -> bool:
    return value.lower() in {"1", "true", "yes", "on"}
