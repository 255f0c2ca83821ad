"""The two ways in which the store says no: it cannot open, or ClickHouse has an error for the client."""

from __future__ import annotations

import re
from typing import Final

_CODE: Final = re.compile(r"Code: (\d+)\. ")

# Codes of ClickHouse that we raise ourselves (names as in its ErrorCodes.cpp).
SYNTAX_ERROR: Final = 62
READONLY: Final = 164
BAD_ARGUMENTS: Final = 36
NOT_IMPLEMENTED: Final = 48
TOO_MANY_SIMULTANEOUS_QUERIES: Final = 202
REQUIRED_PASSWORD: Final = 194
ABORTED: Final = 236
ACCESS_DENIED: Final = 497
AUTHENTICATION_FAILED: Final = 516
CANNOT_DECOMPRESS: Final = 271
UNKNOWN_COMPRESSION_METHOD: Final = 89
REQUEST_TOO_LARGE: Final = 307
UNKNOWN_EXCEPTION: Final = 1002

_NAMES: Final = {
    SYNTAX_ERROR: "SYNTAX_ERROR",
    READONLY: "READONLY",
    BAD_ARGUMENTS: "BAD_ARGUMENTS",
    NOT_IMPLEMENTED: "NOT_IMPLEMENTED",
    TOO_MANY_SIMULTANEOUS_QUERIES: "TOO_MANY_SIMULTANEOUS_QUERIES",
    REQUIRED_PASSWORD: "REQUIRED_PASSWORD",
    ABORTED: "ABORTED",
    ACCESS_DENIED: "ACCESS_DENIED",
    AUTHENTICATION_FAILED: "AUTHENTICATION_FAILED",
    CANNOT_DECOMPRESS: "CANNOT_DECOMPRESS",
    UNKNOWN_COMPRESSION_METHOD: "UNKNOWN_COMPRESSION_METHOD",
    REQUEST_TOO_LARGE: "TOO_MANY_BYTES",
    UNKNOWN_EXCEPTION: "UNKNOWN_EXCEPTION",
}


class CannotOpen(Exception):
    """The store cannot start; the message is one line that says what to do."""


class QueryFailed(Exception):
    """An error in ClickHouse's own form: `Code: 60. DB::Exception: ... (UNKNOWN_TABLE)`."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text

    @classmethod
    def of(cls, code: int, message: str) -> QueryFailed:
        """Make an error of ours look like the engine's; `code` is one of those above."""
        return cls(code, f"Code: {code}. DB::Exception: {message} ({_NAMES[code]})")

    @classmethod
    def from_engine(cls, error: Exception) -> QueryFailed:
        """Read the code out of what chdb raised; without one it is UNKNOWN_EXCEPTION."""
        text = str(error).strip()
        match = _CODE.search(text)
        if match is None:
            return cls.of(UNKNOWN_EXCEPTION, text)
        return cls(int(match[1]), text[match.start() :])
