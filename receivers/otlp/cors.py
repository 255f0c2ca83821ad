"""Cross-origin requests: whether a browser may let a web page send here.

The rules of the Collector, which uses rs/cors. What is not allowed is answered without headers: the browser refuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from receivers.otlp.config import CORSConfig

_ALWAYS_ALLOWED: Final = frozenset({"accept", "accept-language", "content-language", "content-type", "origin"})
_METHODS: Final = frozenset({"GET", "HEAD", "POST"})


class CORS:
    """Answers for one `cors` section; without `allowed_origins` it allows nobody."""

    def __init__(self, config: CORSConfig) -> None:
        self._any_origin = "*" in config.allowed_origins
        self._origins = [_around_wildcard(origin.lower()) for origin in config.allowed_origins]
        self._any_header = "*" in config.allowed_headers
        listed = {name.lower() for name in config.allowed_headers} or {"x-requested-with"}
        self._headers = _ALWAYS_ALLOWED | listed
        self._exposed = ", ".join(config.exposed_headers)
        self._max_age = config.max_age

    def preflight(self, request: Mapping[str, str]) -> dict[str, str]:
        """Return the headers that answer a browser's OPTIONS request, from the headers of that request."""
        answer = {"Vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"}
        method = request.get("Access-Control-Request-Method", "")
        wanted = request.get("Access-Control-Request-Headers", "")
        names = {name.strip().lower() for name in wanted.split(",")} - {""}
        origin = self._granted(request.get("Origin", ""))
        if not origin or method not in _METHODS or not (self._any_header or names <= self._headers):
            return answer
        answer |= origin
        answer["Access-Control-Allow-Methods"] = method
        if wanted:
            answer["Access-Control-Allow-Headers"] = wanted
        if self._max_age:
            answer["Access-Control-Max-Age"] = str(self._max_age)
        return answer

    def actual(self, request: Mapping[str, str]) -> dict[str, str]:
        """Return the headers to add to the answer of any other request, from the headers of that request."""
        answer = {"Vary": "Origin"}
        origin = self._granted(request.get("Origin", ""))
        if origin:
            answer |= origin
            if self._exposed:
                answer["Access-Control-Expose-Headers"] = self._exposed
        return answer

    def _granted(self, origin: str) -> dict[str, str]:
        if not origin:
            return {}
        if self._any_origin:
            return {"Access-Control-Allow-Origin": "*"}
        if any(_matches(origin.lower(), pattern) for pattern in self._origins):
            return {"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true"}
        return {}


def _around_wildcard(origin: str) -> tuple[str, str | None]:
    before, wildcard, after = origin.partition("*")
    return before, after if wildcard else None


def _matches(origin: str, pattern: tuple[str, str | None]) -> bool:
    before, after = pattern
    if after is None:
        return origin == before
    return len(origin) >= len(before) + len(after) and origin.startswith(before) and origin.endswith(after)
