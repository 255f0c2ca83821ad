"""Durations, sizes, addresses, secrets."""

from __future__ import annotations

from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.config import Config
from pipeline.config.values import (
    WRITTEN,
    ByteSize,
    Duration,
    Endpoint,
    Port,
    Present,
    Secret,
    SignedDuration,
    byte_size,
    duration_text,
    join_endpoint,
    nanoseconds,
    reached_at,
    seconds,
    split_endpoint,
)


class Inner(Config):
    depth: int = 1


class Values(Config):
    wait: Duration = 1.0
    shift: SignedDuration = 0.0
    size: ByteSize = 0
    address: Endpoint = "localhost:1"
    port: Port = 0
    password: Secret = Secret("")
    inner: Annotated[Inner | None, Present] = None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("0s", 0),
        ("300ms", 300_000_000),
        ("1.5s", 1_500_000_000),
        ("1m30s", 90_000_000_000),
        ("2h45m", 9_900_000_000_000),
        (".5s", 500_000_000),
        ("1.s", 1_000_000_000),
        ("-1.5h", -5_400_000_000_000),
        ("+5s", 5_000_000_000),
        ("7us", 7_000),
        ("7µs", 7_000),
        ("7\u03bcs", 7_000),
        ("1.9ns", 1),
        (5, 5),
        (-5, -5),
    ],
)
def test_durations_are_gos(text: object, expected: int) -> None:
    """Scenario: what Go's time.ParseDuration takes, and bare ints. Guarantees: the same nanoseconds."""
    assert expected == nanoseconds(text)


@pytest.mark.parametrize(
    "text",
    ["", "5", "s", "1 s", "1d", "1S", "1h1", ".s", "--1s", "1e3s", "\u0661s", 1.5, True, None, [], "300y", "9999999h"],
)
def test_other_durations_are_refused(text: object) -> None:
    """Scenario: what Go refuses, and values that are no text. Guarantees: an error that says what a duration is."""
    with pytest.raises(ValueError, match="must be a duration"):
        nanoseconds(text)


@given(st.integers(-(2**52), 2**52))
def test_durations_round_trip(count: int) -> None:
    """Scenario: any number of nanoseconds that a float holds. Guarantees: written and read again it is the same."""
    duration = count / 1e9

    assert round(duration * 1e9) == nanoseconds(duration_text(duration))
    assert seconds(duration_text(duration)) == pytest.approx(duration, abs=1e-9)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (0, 0),
        (512, 512),
        ("1B", 1),
        ("64MiB", 64 << 20),
        ("1.5KiB", 1536),
        ("1GB", 10**9),
        ("2 TiB", 2 << 40),
        ("3kB", 3000),
    ],
)
def test_byte_sizes(text: object, expected: int) -> None:
    """Scenario: ints and text with decimal and binary units. Guarantees: the number of bytes."""
    assert expected == byte_size(text)


@pytest.mark.parametrize("text", [-1, "-1B", "1", "1mb", "1M", "1.5B", "MiB", "", 1.5, True, None])
def test_other_sizes_are_refused(text: object) -> None:
    """Scenario: no unit, an unknown one, less than nothing, half a byte. Guarantees: an error for people."""
    with pytest.raises(ValueError, match=r"must be a (size|whole number)"):
        byte_size(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("localhost:4317", ("localhost", 4317)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("[::1]:65535", ("::1", 65535)),
        ("[fe80::1%eth0]:1", ("fe80::1%eth0", 1)),
        (":4317", ("", 4317)),
        ("clickhouse_1.internal.:8123", ("clickhouse_1.internal.", 8123)),
    ],
)
def test_endpoints(text: str, expected: tuple[str, int]) -> None:
    """Scenario: names, addresses of both families, no host. Guarantees: host and port, and back."""
    assert expected == split_endpoint(text)
    assert text == join_endpoint(*expected)


@pytest.mark.parametrize(
    ("endpoint", "port", "where"),
    [("localhost:0", 5, "localhost:5"), (":4317", 4317, "localhost:4317"), ("[::1]:0", 5, "[::1]:5")],
)
def test_where_a_listener_is_reached(endpoint: str, port: int, where: str) -> None:
    """Scenario: any free port, every interface, IPv6. Guarantees: an address that can be typed in."""
    assert reached_at(endpoint, port) == where


@pytest.mark.parametrize(
    "text",
    ["", "localhost", "localhost:", "localhost:http", "localhost:65536", "localhost:-1", "::1:1", "[::1]", "[x]:1",
     "http://localhost:1", "a b:1", "-a:1", "localhost:\u0661"],
)  # fmt: skip
def test_other_endpoints_are_refused(text: str) -> None:
    """Scenario: schemes, missing and impossible ports, naked IPv6. Guarantees: refused, and the text is named."""
    with pytest.raises(ValueError, match="must") as caught:
        split_endpoint(text)
    assert f'"{text}"' in str(caught.value)


def test_models_take_them() -> None:
    """Scenario: a model with every value. Guarantees: what Python code reads is seconds, bytes and text."""
    values = Values.model_validate(
        {"wait": "1m30s", "shift": "-1s", "size": "1KiB", "address": "[::1]:1", "password": "hunter2", "inner": None}
    )

    assert (values.wait, values.shift, values.size, values.address) == (90.0, -1.0, 1024, "[::1]:1")
    assert values.password.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(values)
    assert values.inner == Inner()
    assert Values().inner is None


def test_seconds_from_python_but_not_from_yaml() -> None:
    """Scenario: a float for a duration. Guarantees: seconds in Python, refused in YAML."""
    assert Values(wait=0.25).wait == 0.25
    with pytest.raises(ValidationError, match='must be a duration such as "300ms"'):
        Values.model_validate({"wait": 0.25}, context=WRITTEN)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("wait", "-1s"),
        ("wait", "0.5"),
        ("size", "x"),
        ("address", 4317),
        ("port", 65536),
        ("password", 5),
        ("inner", 5),
    ],
)
def test_models_refuse_what_the_functions_refuse(key: str, value: object) -> None:
    """Scenario: one wrong value. Guarantees: an error at its key and nowhere else."""
    with pytest.raises(ValidationError) as caught:
        Values.model_validate({key: value})
    assert {error["loc"][0] for error in caught.value.errors()} == {key}
