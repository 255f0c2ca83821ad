"""How ClickHouse answers over HTTP: status codes, headers, and errors before and after the first byte.

Source: ClickHouse's src/Server/HTTPHandler.cpp and src/Server/HTTP/exceptionCodeToHTTPStatus.cpp.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from extensions.embedded_clickhouse.engine import Done
    from extensions.embedded_clickhouse.failures import QueryFailed

DISPLAY_NAME: Final = "jobsight"

STATUSES: Final[dict[int, frozenset[str]]] = {
    400: frozenset(
        {
            "BAD_ARGUMENTS", "CANNOT_COMPILE_REGEXP", "CANNOT_PARSE_TEXT", "CANNOT_PARSE_ESCAPE_SEQUENCE",
            "CANNOT_PARSE_QUOTED_STRING", "CANNOT_PARSE_DATE", "CANNOT_PARSE_DATETIME", "CANNOT_PARSE_NUMBER",
            "CANNOT_PARSE_DOMAIN_VALUE_FROM_STRING", "CANNOT_PARSE_IPV4", "CANNOT_PARSE_IPV6",
            "CANNOT_PARSE_INPUT_ASSERTION_FAILED", "CANNOT_PARSE_UUID", "DUPLICATE_COLUMN", "ILLEGAL_COLUMN",
            "THERE_IS_NO_COLUMN", "UNKNOWN_ELEMENT_IN_AST", "TOO_DEEP_AST", "TOO_BIG_AST", "UNEXPECTED_AST_STRUCTURE",
            "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE", "SYNTAX_ERROR", "INCORRECT_DATA", "TYPE_MISMATCH",
            "CANNOT_DECOMPRESS", "UNKNOWN_COMPRESSION_METHOD",
        }
    ),
    401: frozenset({"REQUIRED_PASSWORD"}),
    403: frozenset({"UNKNOWN_USER", "WRONG_PASSWORD", "AUTHENTICATION_FAILED", "ACCESS_DENIED"}),
    404: frozenset(
        {
            "UNKNOWN_TABLE", "UNKNOWN_FUNCTION", "UNKNOWN_IDENTIFIER", "UNKNOWN_TYPE", "UNKNOWN_STORAGE",
            "UNKNOWN_DATABASE", "UNKNOWN_SETTING", "UNKNOWN_DIRECTION_OF_SORTING", "UNKNOWN_AGGREGATE_FUNCTION",
            "UNKNOWN_FORMAT", "UNKNOWN_DATABASE_ENGINE", "UNKNOWN_TYPE_OF_QUERY", "UNKNOWN_ROLE",
        }
    ),
    408: frozenset({"TIMEOUT_EXCEEDED"}),
    413: frozenset({"QUERY_IS_TOO_LARGE", "TOO_MANY_BYTES"}),
    501: frozenset({"NOT_IMPLEMENTED"}),
    503: frozenset({"SOCKET_TIMEOUT", "CANNOT_SCHEDULE_TASK", "ABORTED", "TOO_MANY_SIMULTANEOUS_QUERIES"}),
}  # fmt: skip
"""HTTP status of ClickHouse's errors, by name; every other error is 500. Ours beyond ClickHouse's own list:
ACCESS_DENIED, CANNOT_DECOMPRESS, UNKNOWN_COMPRESSION_METHOD, TOO_MANY_BYTES (a body over the limit), ABORTED (the
store is stopping) and TOO_MANY_SIMULTANEOUS_QUERIES."""

_STATUS_OF: Final = {name: status for status, names in STATUSES.items() for name in names}

CONTENT_TYPES: Final = {
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "CSVWithNamesAndTypes": "text/csv; charset=UTF-8; header=present",
    "JSON": "application/json; charset=UTF-8",
    "JSONCompact": "application/json; charset=UTF-8",
    "JSONStrings": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "JSONCompactEachRow": "application/x-ndjson; charset=UTF-8",
    "XML": "application/xml; charset=UTF-8",
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TSV": "text/tab-separated-values; charset=UTF-8",
    "TabSeparatedWithNames": "text/tab-separated-values; charset=UTF-8",
    "TSVWithNames": "text/tab-separated-values; charset=UTF-8",
    "TabSeparatedWithNamesAndTypes": "text/tab-separated-values; charset=UTF-8",
    "TSVWithNamesAndTypes": "text/tab-separated-values; charset=UTF-8",
    "Native": "application/octet-stream",
    "Parquet": "application/octet-stream",
    "Arrow": "application/octet-stream",
    "ArrowStream": "application/octet-stream",
    "ORC": "application/octet-stream",
    "RowBinary": "application/octet-stream",
    "RowBinaryWithNames": "application/octet-stream",
    "RowBinaryWithNamesAndTypes": "application/octet-stream",
}


def status_of(failure: QueryFailed) -> int:
    """Return the HTTP status for an error, from its name, which is in the brackets at its end."""
    name = failure.text.rstrip().rpartition("(")[2].rstrip(")")
    return _STATUS_OF.get(name, 500)


def error_text(failure: QueryFailed, version: str) -> str:
    """Return the body of an error, with the version that clients expect at the end and strip."""
    return f"{failure.text} (version {version} (official build))\n"


def late_error(failure: QueryFailed, version: str, tag: str) -> bytes:
    """Return what follows the rows when a query fails after the first byte.

    `tag` went out in X-ClickHouse-Exception-Tag, so that a client tells this from data. The length counts
    the message and the newline after it.
    """
    message = error_text(failure, version).rstrip().encode()
    return b"\r\n__exception__\r\n%b\r\n%b\n%d %b\r\n__exception__\r\n" % (
        tag.encode(),
        message,
        len(message) + 1,
        tag.encode(),
    )


def summary(done: Done) -> str:
    """Return the value of X-ClickHouse-Summary; numbers are strings there."""
    return json.dumps(
        {
            "read_rows": str(done.read_rows),
            "read_bytes": str(done.read_bytes),
            "written_rows": str(done.written_rows),
            "written_bytes": str(done.written_bytes),
            "total_rows_to_read": "0",
            "result_rows": str(done.written_rows or done.read_rows),
            "result_bytes": str(len(done.body) or done.written_bytes),
            "elapsed_ns": str(done.elapsed_ns),
        },
        separators=(",", ":"),
    )
