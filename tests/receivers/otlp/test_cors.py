"""CORS: what browsers are told."""

from __future__ import annotations

import pytest

from receivers.otlp.config import CORSConfig
from receivers.otlp.cors import CORS

VARY = {"Vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"}


def preflight(config: CORSConfig, origin: str, headers: str = "", method: str = "POST") -> dict[str, str]:
    request = {"Origin": origin, "Access-Control-Request-Method": method}
    return CORS(config).preflight(request | ({"Access-Control-Request-Headers": headers} if headers else {}))


@pytest.mark.parametrize(
    ("pattern", "origin", "allowed"),
    [
        ("https://shop.example", "https://shop.example", True),
        ("https://Shop.example", "https://shop.Example", True),
        ("https://shop.example", "https://shop.example.evil", False),
        ("https://*.example", "https://a.b.example", True),
        ("https://*.example", "https://.example", True),
        ("https://*.example", "http://a.example", False),
        ("https://ab*ba", "https://aba", False),
        ("*", "null", True),
    ],
)
def test_origins(pattern: str, origin: str, allowed: bool) -> None:
    """Scenario: exact, wildcard and foreign origins. Guarantees: only matching ones are granted, the whole of them."""
    answer = preflight(CORSConfig(allowed_origins=(pattern,)), origin)

    assert ("Access-Control-Allow-Origin" in answer) == allowed


def test_granted_preflight() -> None:
    """Scenario: an allowed page asks to POST with custom headers. Guarantees: the answer of rs/cors, all of it."""
    config = CORSConfig(allowed_origins=("https://shop.example",), allowed_headers=("X-Tenant",), max_age=600)

    assert preflight(config, "https://shop.example", "content-type, x-tenant") == VARY | {
        "Access-Control-Allow-Origin": "https://shop.example",
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Allow-Methods": "POST",
        "Access-Control-Allow-Headers": "content-type, x-tenant",
        "Access-Control-Max-Age": "600",
    }


@pytest.mark.parametrize(
    ("listed", "asked", "granted"),
    [
        ((), "x-requested-with, content-type", True),
        (("X-Tenant",), "x-requested-with", False),
        ((), "x-tenant", False),
        (("*",), "anything", True),
    ],
)
def test_headers(listed: tuple[str, ...], asked: str, granted: bool) -> None:
    """Scenario: request headers in and out of the list. Guarantees: the Collector's rules for each."""
    answer = preflight(CORSConfig(allowed_origins=("*",), allowed_headers=listed), "https://a.example", asked)

    assert answer.get("Access-Control-Allow-Headers") == (asked if granted else None)
    assert granted or answer == VARY


@pytest.mark.parametrize(
    ("origin", "method"), [("https://evil.example", "POST"), ("https://shop.example", "DELETE"), ("", "POST")]
)
def test_refused_preflight(origin: str, method: str) -> None:
    """Scenario: a foreign page, another method, no origin. Guarantees: nothing is granted."""
    assert preflight(CORSConfig(allowed_origins=("https://shop.example",)), origin, method=method) == VARY


def test_actual_requests() -> None:
    """Scenario: the request after the preflight. Guarantees: the origin and the exposed headers, for allowed pages."""
    cors = CORS(CORSConfig(allowed_origins=("https://shop.example",), exposed_headers=("X-A", "X-B")))

    assert cors.actual({"Origin": "https://shop.example"}) == {
        "Vary": "Origin",
        "Access-Control-Allow-Origin": "https://shop.example",
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Expose-Headers": "X-A, X-B",
    }
    assert cors.actual({"Origin": "https://evil.example"}) == {"Vary": "Origin"}


def test_any_origin_gets_no_credentials() -> None:
    """Scenario: `["*"]`. Guarantees: a plain `*`, which browsers never combine with credentials."""
    assert CORS(CORSConfig(allowed_origins=("*",))).actual({"Origin": "https://a.example"}) == {
        "Vary": "Origin",
        "Access-Control-Allow-Origin": "*",
    }
