"""What single values of the YAML may be: durations, sizes, addresses, secrets.

Each type is for annotating a field of a `Config`; each has a plain function beside it for use without a model.
TLS sections are in `pipeline.config.tls`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Annotated, Any, Final, TypeAlias

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from pipeline.config.words import said

_NANOSECONDS: Final = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,  # U+00B5, the micro sign
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_DURATION: Final = re.compile(r"[-+]?(?:(?:\d+\.?\d*|\.\d+)[a-zµμ]+)+", re.ASCII)
_DURATION_PART: Final = re.compile(r"(\d+\.?\d*|\.\d+)([a-zµμ]+)", re.ASCII)
_INT64: Final = 1 << 63

_SIZES: Final = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?) ?([A-Za-z]+)", re.ASCII)

_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?", re.ASCII)


def nanoseconds(value: object) -> int:
    """Return a duration as whole nanoseconds, truncated as Go does.

    `value` is text in the form of Go's `time.ParseDuration` ("300ms", "-1.5h", "2h45m", "0") or an int, which counts
    nanoseconds as in the Collector. Raises ValueError with a message for people.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        total = value
    elif value == "0":
        total = 0
    elif isinstance(value, str) and _DURATION.fullmatch(value):
        exact = Fraction(0)
        for number, unit in _DURATION_PART.findall(value):
            if unit not in _NANOSECONDS:
                raise ValueError(f'must be a duration in h, m, s, ms, us or ns, is "{value}" with the unit "{unit}"')
            exact += Fraction("0" + number.rstrip(".")) * _NANOSECONDS[unit]
        total = -int(exact) if value.startswith("-") else int(exact)
    else:
        raise ValueError(f'must be a duration such as "300ms", "30s" or "1h30m", is {said(value)}')
    if not -_INT64 <= total < _INT64:
        raise ValueError(f"must be a duration of at most 292 years, is {said(value)}")
    return total


def seconds(value: object) -> float:
    """Return a duration, read as `nanoseconds` reads it, in seconds."""
    return nanoseconds(value) / 1e9


def duration_text(duration_seconds: float) -> str:
    """Write seconds as `seconds` reads them, in the largest units: 5400.0 is "1h30m", 0.25 is "250ms"."""
    left = round(duration_seconds * 1e9)
    if left == 0:
        return "0s"
    parts = ["-"] if left < 0 else []
    left = abs(left)
    for unit in ("h", "m", "s", "ms", "us", "ns"):
        count, left = divmod(left, _NANOSECONDS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def byte_size(value: object) -> int:
    """Return a size in bytes from an int or text with a unit: "64MiB" is 64 x 1024², "1GB" is 10⁹.

    Raises ValueError with a message for people.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        size = Fraction(value)
    elif isinstance(value, str) and (match := _SIZE.fullmatch(value)) and match[2] in _SIZES:
        size = Fraction(match[1]) * _SIZES[match[2]]
    else:
        raise ValueError(f'must be a size in bytes or text such as "64MiB" or "1GB", is {said(value)}')
    if size < 0 or size.denominator != 1:
        raise ValueError(f"must be a whole number of bytes, at least 0, is {said(value)}")
    return int(size)


def listed(value: Any) -> Any:
    """Return a list of one for what is no list: before the validation of keys that take one or several."""
    return value if isinstance(value, (list, tuple)) else [value]


def split_endpoint(text: str) -> tuple[str, int]:
    """Return host and port of "host:port"; the brackets of an IPv6 address are taken off.

    The host is empty in ":4317", which means every interface, as in Go. Port 0 lets the system choose one.
    Raises ValueError with a message for people.
    """
    if "://" in text:
        raise ValueError(f'must be host:port without a scheme, is "{text}"')
    host, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):
        raise ValueError(f'must be host:port, such as "localhost:4317"; "{text}" has no port')
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f'must end with a port from 0 to 65535, is "{text}"')
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not _is_ipv6(host):
            raise ValueError(f'must have an IPv6 address in the brackets, is "{text}"')
    elif ":" in host:
        raise ValueError(f'must have an IPv6 address in brackets, such as "[{host}]:{port}", is "{text}"')
    elif host and not _HOST.fullmatch(host):
        raise ValueError(f'must be host:port, is "{text}", where "{host}" is no host name')
    return host, int(port)


def join_endpoint(host: str, port: int) -> str:
    """Return "host:port", with brackets around an IPv6 address: the inverse of `split_endpoint`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reached_at(endpoint: str, port: int) -> str:
    """Return where people reach what listens on `endpoint`, on the port that the system chose where it is 0."""
    return join_endpoint(split_endpoint(endpoint)[0] or "localhost", port)


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _endpoint(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f'must be host:port, such as "localhost:4317", is {said(value)}')  # noqa: TRY004 - pydantic collects ValueErrors only
    split_endpoint(value)
    return value


def _non_negative_seconds(value: object) -> float:
    duration = seconds(value)
    if duration < 0:
        raise ValueError(f"must not be negative, is {said(value)}")
    return duration


WRITTEN: Final = {"written": True}
"""The validation context for values that a person wrote, as `decode` passes it."""


def _before(read: Callable[[object], Any], *, ready: type | None = None) -> BeforeValidator:
    """Make a reader of values a validator; its message reaches the user as it is.

    Python code that builds a model itself may give a `ready` value, which nobody can write.
    """

    def validate(value: object, info: ValidationInfo) -> Any:
        if ready is not None and isinstance(value, ready) and not info.context:
            return value
        try:
            return read(value)
        except ValueError as error:
            raise PydanticCustomError("jobsight", "{problem}", {"problem": str(error)}) from error

    return BeforeValidator(validate)


def _schema(*types: str, description: str) -> WithJsonSchema:
    return WithJsonSchema({"type": list(types), "description": description})


Duration: TypeAlias = Annotated[
    float,
    _before(_non_negative_seconds, ready=float),
    _schema("string", "integer", description='a duration such as "1m30s"; a bare number is nanoseconds'),
]
"""Seconds, at least 0. In the YAML a Go duration ("1.5s", "1m30s") or a bare int of nanoseconds.

Source: Go's `time.ParseDuration` and how the Collector decodes `time.Duration`. Defaults in a model, and floats that
Python code gives, are seconds; a float in the YAML is refused. A model that wants more than 0 adds `Field(gt=0)`.
"""

SignedDuration: TypeAlias = Annotated[
    float,
    _before(seconds, ready=float),
    _schema("string", "integer", description='a duration such as "-1m30s"; a bare number is nanoseconds'),
]
"""`Duration` for the few keys where less than 0 has a meaning."""

ByteSize: TypeAlias = Annotated[
    int,
    _before(byte_size),
    _schema("string", "integer", description='a size such as "64MiB"; a bare number is bytes'),
]
"""Bytes, at least 0. In the YAML an int or text with a unit: B, kB, MB, GB, TB (1000) or KiB, MiB, GiB, TiB (1024)."""

Endpoint: TypeAlias = Annotated[str, _before(_endpoint), _schema("string", description="host:port")]
"""A "host:port" to listen on or connect to, as it was written; `split_endpoint` takes it apart."""

Secret: TypeAlias = SecretStr
"""Text that is never shown: not in errors, logs, `repr`; `get_secret_value()` where it is used and nowhere else."""

Port: TypeAlias = Annotated[int, Field(ge=0, le=65535)]
"""A TCP port; 0 lets the system choose one."""

Present: Final = BeforeValidator(lambda value: {} if value is None else value)
"""Makes `grpc:` without a value mean "on, all defaults", where leaving the key out means off.

`grpc: Annotated[GRPCConfig | None, Present] = None`, because validators do not run on a default.
"""
