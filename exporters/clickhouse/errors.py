"""What ClickHouse's refusals mean for the data: code and HTTP status to Permanent or Transient. Pure.

ClickHouse does not say what is worth repeating. The rule here: where the *data* can never be stored as they are, they
are Rejected; where the *set-up* is wrong (password, rights, a missing table, a full disk, an unknown setting), a person
can put it right, so the data wait and a clear line says what to do. A code that is not listed waits, too.

Numbers and names of the codes: ClickHouse's `src/Common/ErrorCodes.cpp`; the tests compare them with a real engine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pipeline.errors import Permanent, Rejected, TimedOut, Transient, Unavailable

REJECTED: Final[Mapping[int, str]] = MappingProxyType(
    {
        6: "CANNOT_PARSE_TEXT",
        7: "INCORRECT_NUMBER_OF_COLUMNS",
        8: "THERE_IS_NO_COLUMN",
        9: "SIZES_OF_COLUMNS_DOESNT_MATCH",
        10: "NOT_FOUND_COLUMN_IN_BLOCK",
        15: "DUPLICATE_COLUMN",
        16: "NO_SUCH_COLUMN_IN_TABLE",
        20: "NUMBER_OF_COLUMNS_DOESNT_MATCH",
        26: "CANNOT_PARSE_QUOTED_STRING",
        27: "CANNOT_PARSE_INPUT_ASSERTION_FAILED",
        36: "BAD_ARGUMENTS",
        38: "CANNOT_PARSE_DATE",
        41: "CANNOT_PARSE_DATETIME",
        42: "NUMBER_OF_ARGUMENTS_DOESNT_MATCH",
        43: "ILLEGAL_TYPE_OF_ARGUMENT",
        44: "ILLEGAL_COLUMN",
        46: "UNKNOWN_FUNCTION",
        47: "UNKNOWN_IDENTIFIER",
        48: "NOT_IMPLEMENTED",
        50: "UNKNOWN_TYPE",
        53: "TYPE_MISMATCH",
        62: "SYNTAX_ERROR",
        69: "ARGUMENT_OUT_OF_BOUND",
        70: "CANNOT_CONVERT_TYPE",
        72: "CANNOT_PARSE_NUMBER",
        73: "UNKNOWN_FORMAT",
        117: "INCORRECT_DATA",
        128: "TOO_LARGE_ARRAY_SIZE",
        131: "TOO_LARGE_STRING_SIZE",
        321: "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE",
        349: "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN",
        469: "VIOLATED_CONSTRAINT",
        691: "UNKNOWN_ELEMENT_OF_ENUM",
    }
)
"""The same rows would be refused again."""

UNKNOWN_OUTCOME: Final[Mapping[int, str]] = MappingProxyType(
    {159: "TIMEOUT_EXCEEDED", 209: "SOCKET_TIMEOUT", 319: "UNKNOWN_STATUS_OF_INSERT"}
)
"""The rows may have arrived; the repetition carries the same token."""

WAITS: Final[Mapping[int, tuple[str, str]]] = MappingProxyType(
    {
        60: ("UNKNOWN_TABLE", "the table does not exist; create it or set create_schema: true"),
        81: ("UNKNOWN_DATABASE", "the database does not exist; create it or set create_schema: true"),
        115: ("UNKNOWN_SETTING", "the server does not know a setting; see the URL's parameters and connection_params"),
        164: ("READONLY", "the user may only read"),
        192: ("UNKNOWN_USER", "wrong username or password"),
        193: ("WRONG_PASSWORD", "wrong username or password"),
        194: ("REQUIRED_PASSWORD", "the server wants a password"),
        195: ("IP_ADDRESS_NOT_ALLOWED", "the user may not connect from this address"),
        201: ("QUOTA_EXCEEDED", "the user's quota is used up"),
        202: ("TOO_MANY_SIMULTANEOUS_QUERIES", "the server is busy"),
        203: ("NO_FREE_CONNECTION", "the server is busy"),
        210: ("NETWORK_ERROR", "the server has trouble with its network"),
        218: ("TABLE_IS_DROPPED", "the table is being dropped"),
        225: ("NO_ZOOKEEPER", "the server has lost its Keeper"),
        236: ("ABORTED", "the server gave up the insert"),
        241: ("MEMORY_LIMIT_EXCEEDED", "the server is short of memory; smaller batches need less"),
        242: ("TABLE_IS_READ_ONLY", "the table cannot be written at the moment"),
        243: ("NOT_ENOUGH_SPACE", "the server's disk is full; make room and the data will follow"),
        252: ("TOO_MANY_PARTS", "the server cannot merge as fast as inserts come; send fewer, larger batches"),
        279: ("ALL_CONNECTION_TRIES_FAILED", "the server cannot reach its other servers"),
        285: ("TOO_FEW_LIVE_REPLICAS", "too few replicas are up for the quorum"),
        289: ("REPLICA_IS_NOT_IN_QUORUM", "the replica is behind the quorum"),
        394: ("QUERY_WAS_CANCELLED", "somebody killed the insert"),
        452: ("SETTING_CONSTRAINT_VIOLATION", "the user's profile forbids a setting that inserts need"),
        497: ("ACCESS_DENIED", "the user lacks a right; grant INSERT, and CREATE or set create_schema: false"),
        516: ("AUTHENTICATION_FAILED", "wrong username or password"),
        999: ("KEEPER_EXCEPTION", "the server has trouble with its Keeper"),
    }
)
"""May work later, after a while or after a person's help; the text says which."""

GONE: Final = frozenset({16, 60, 81})
"""The table is not what it was when it was last looked at: look again, and create again."""

DISK_FULL_MARKS: Final = ("No space left on device", "errno: 28,")

_VERSION: Final = re.compile(r"\s*\(version [^()]*(?:\([^()]*\))?[^()]*\)\s*$")
_LONGEST: Final = 600
_NO_PERMISSION: Final = frozenset({401, 403})
_TOO_LARGE: Final = frozenset({413, 431})


class Refusal(Exception):
    """What a server said instead of success, not yet classified. `code` is ClickHouse's, None where it gave none."""

    def __init__(self, url: str, status: int, code: int | None, text: str, retry_after: float | None = None) -> None:
        super().__init__(f"HTTP {status}, code {code}: {text}")
        self.url = url
        self.status = status
        self.code = code
        self.text = text
        self.retry_after = retry_after


def classify(refusal: Refusal, where: str) -> Permanent | Transient:
    """Return what to raise. `where` says what was tried, such as `insert into default.otel_traces`."""
    said = _shortened(refusal.text)
    code, after = refusal.code, refusal.retry_after
    if code is None:
        return _from_status(refusal, where, said)
    if code in REJECTED:
        return Rejected(f"{where}: ClickHouse refused the rows: {said}")
    if code in UNKNOWN_OUTCOME:
        return TimedOut(f"{where}: no answer in time: {said}", after)
    if any(mark in refusal.text for mark in DISK_FULL_MARKS):
        return Unavailable(f"{where}: {WAITS[243][1]}: {said}", after)
    if code in WAITS:
        return Unavailable(f"{where}: {WAITS[code][1]}: {said}", after)
    return Transient(f"{where}: {said}", after)


def _from_status(refusal: Refusal, where: str, said: str) -> Permanent | Transient:
    """Something answered that is no ClickHouse, or a proxy before it."""
    answer = f'{refusal.url} answered HTTP {refusal.status} "{said}"'
    if refusal.status in _TOO_LARGE:
        return Rejected(f"{where}: {answer}: too large for it; allow more there, or set sending_queue.batch.max_size")
    if refusal.status in _NO_PERMISSION:
        return Unavailable(f"{where}: {answer}: wrong username or password", refusal.retry_after)
    if refusal.status == 200:
        return Unavailable(f"{where}: {answer}, which is not ClickHouse's answer; is the endpoint right?")
    return Unavailable(f"{where}: {answer}", refusal.retry_after)


def _shortened(text: str) -> str:
    line = " ".join(_VERSION.sub("", text.strip()).split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
