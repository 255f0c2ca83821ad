"""Run one SQL statement on ClickHouse and print its result.

Speaks ClickHouse's plain HTTP interface, so the embedded store and any server answer alike. Values are asked for as
text, hence they look as ClickHouse prints them (nanoseconds included); `--format json` keeps numbers numbers.
"""

from __future__ import annotations

import argparse
import csv
import http.client
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TextIO, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")

DEFAULT_URL = "http://localhost:8123"
TEXT_FORMAT = "JSONCompactStringsEachRowWithNamesAndTypes"
JSON_FORMAT = "JSONEachRow"
NULL = "ᴺᵁᴸᴸ"
"""How ClickHouse writes NULL where values are text; in a column that cannot be NULL it is just a string."""

NUMBER = re.compile(r"(Nullable\(|LowCardinality\()*(U?Int\d+|B?Float\d+|Decimal)")
NULLABLE = re.compile(r"(LowCardinality\()?Nullable\(|Variant\(|Dynamic")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
ENDLESS_WIDTH = 1_000_000


class Refused(Exception):
    """ClickHouse's own words about what is wrong with the statement."""

    @property
    def code(self) -> int | None:
        """The number of the error in ClickHouse's `src/Common/ErrorCodes.cpp`."""
        found = re.match(r"Code: (\d+)", str(self))
        return int(found[1]) if found else None


class Unanswered(Exception):
    """No usable answer; the message is ready for the user."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the result as ClickHouse declares it."""

    name: str
    type: str

    @property
    def is_number(self) -> bool:
        return NUMBER.match(self.type) is not None

    def is_null(self, text: str | None) -> bool:
        return text is None or (text == NULL and NULLABLE.search(self.type) is not None)


@dataclass(frozen=True, slots=True)
class Target:
    """Where to ask, and as whom. An empty user is ClickHouse's default one, an empty database the URL's or its own."""

    url: str
    user: str
    password: str
    timeout_seconds: float
    database: str = ""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a result is worded for people: with types below names or without, what NULL and no rows are called."""

    types: bool = True
    null: str = "NULL"
    nothing: str = "no rows"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `jobsight query`."""
    parser.add_argument("sql", nargs="?", default="-", metavar="SQL", help="the statement; - or none: standard input")
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what `answer` reads: format, address, credentials, limits."""
    parser.add_argument("--format", choices=("table", *WRITERS, "json"), default="table", help="default: table")
    parser.add_argument(
        "--limit",
        type=_limit,
        metavar="N",
        help="rows to print (default: 1000 in formats for people, else all; 0: all)",
    )
    add_target(parser)


def add_target(parser: argparse.ArgumentParser) -> None:
    """Declare what `target_of` reads: address, credentials, time-out."""
    parser.add_argument(
        "--url", type=_url, default=DEFAULT_URL, help=f"ClickHouse's HTTP interface (default {DEFAULT_URL})"
    )
    parser.add_argument("--database", default="", metavar="NAME", help="the database (default: the URL's, or default)")
    parser.add_argument("--user", default=os.environ.get("CLICKHOUSE_USER", ""), help="or CLICKHOUSE_USER")
    parser.add_argument("--password", default=os.environ.get("CLICKHOUSE_PASSWORD", ""), help="or CLICKHOUSE_PASSWORD")
    parser.add_argument(
        "--timeout", type=_seconds, default=60.0, metavar="SECONDS", help="longest wait for the next part of the answer"
    )


def target_of(args: argparse.Namespace) -> Target:
    """Return what the options of `add_target` say."""
    return Target(args.url, args.user, args.password, args.timeout, args.database)


def rows(target: Target, sql: str, parameters: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return all rows of an answer, as ClickHouse writes them in JSON. Raises Refused and Unanswered."""
    asked = Answer(target, sql, JSON_FORMAT, parameters)
    try:
        return [json.loads(line) for line in asked.lines()]
    finally:
        asked.close()


def run(args: argparse.Namespace) -> int:
    """Print the result; 0 when the statement succeeded, 1 when it did not, 2 when there is none."""
    if args.sql == "-" and sys.stdin.isatty():
        complain('no SQL: write jobsight query "SELECT ..." or pipe it in')
        return 2
    sql = sys.stdin.read() if args.sql == "-" else args.sql
    if not sql.strip():
        complain("the SQL is empty")
        return 2
    return answer(args, sql)


def answer(
    args: argparse.Namespace,
    sql: str,
    parameters: Mapping[str, str] | None = None,
    *,
    manner: Manner | None = None,
    explain: Callable[[Refused], str] = str,
) -> int:
    """Print the result as the options of `add_options` say; 0 when the statement succeeded, 1 when it did not.

    `parameters` fill the `{name:Type}` of the statement; `explain` says in the user's words why it was refused.
    """
    from rich.console import Console

    out = Console(highlight=False, markup=False)
    limit = args.limit if args.limit is not None else (1000 if args.format in {"table", "vertical", "markdown"} else 0)
    target = target_of(args)
    wanted = JSON_FORMAT if args.format == "json" else TEXT_FORMAT
    try:
        _print(Answer(target, sql, wanted, parameters or {}), args.format, limit, out, manner or Manner())
        sys.stdout.flush()
    except (Refused, Unanswered) as error:
        sys.stdout.flush()
        complain(explain(error) if isinstance(error, Refused) else str(error))
        return 1
    except BrokenPipeError:
        # The reader (a pager, `head`) has seen enough. Nothing may be flushed at exit into the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


class Answer:
    """A statement's answer, read as it comes. Closing it early makes ClickHouse stop the query."""

    def __init__(self, target: Target, sql: str, wanted: str, parameters: Mapping[str, str]) -> None:
        self._target = target
        self._started = time.monotonic()
        parts = urlsplit(target.url)
        assert parts.hostname, "checked with the options"
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        options = dict(parse_qsl(parts.query)) | {"default_format": wanted}
        if target.database:
            options["database"] = target.database
        options |= {f"param_{name}": _escaped(value) for name, value in parameters.items()}
        path = f"{parts.path or '/'}?{urlencode(options)}"
        headers = {"X-ClickHouse-User": target.user, "X-ClickHouse-Key": target.password} if target.user else {}
        headers["Content-Type"] = "text/plain; charset=utf-8"
        try:
            port = parts.port or (8443 if parts.scheme == "https" else 8123)
            self._connection = kind(parts.hostname, port, timeout=target.timeout_seconds)
            self._response = self._ask(path, sql, headers)
        except TimeoutError as error:
            raise self._too_late() from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            hint = "is `make run` running? use --url"
            raise Unanswered(f"no ClickHouse at {target.url} ({reason}): {hint}") from error
        self.is_as_wanted = self._response.getheader("X-ClickHouse-Format", wanted) == wanted

    def _ask(self, path: str, sql: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        """Send the statement and read the answer's head; nothing stays open when that fails."""
        try:
            self._connection.request("POST", path, sql.encode(), headers)
            response = self._connection.getresponse()
            refusal = None if response.status == http.client.OK else self._refusal(response)
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        if refusal is not None:
            self._connection.close()
            raise refusal
        return response

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def close(self) -> None:
        self._connection.close()

    def chunks(self) -> Iterator[bytes]:
        """The body as it is, for a statement with a FORMAT of its own."""
        # Not readline: http.client's ends a truncated body as quietly as a whole one.
        while chunk := self._read(lambda: self._response.read1(65_536)):
            yield chunk
        if self._response.length:
            raise self._broken_off("connection closed")

    def lines(self) -> Iterator[str]:
        """The JSON lines of the body. An exception that interrupts them is raised as Refused."""
        chunks = self.chunks()
        rest = b""
        for chunk in chunks:
            *whole, rest = (rest + chunk).split(b"\n")
            for number, line in enumerate(whole):
                if line[:1] + line[-1:] in {b"[]", b"{}"}:
                    yield line.decode("utf-8", "replace")
                elif line.strip():
                    tail = b"\n".join([*whole[number:], rest]) + b"".join(chunks)
                    raise Refused(_first_line(tail.decode("utf-8", "replace")))
        if rest.strip():
            raise Refused(_first_line(rest.decode("utf-8", "replace")))

    def _read(self, part: Callable[[], bytes]) -> bytes:
        try:
            return part()
        except TimeoutError as error:
            raise self._too_late() from error
        except (OSError, http.client.HTTPException) as error:
            raise self._broken_off(str(error) or type(error).__name__) from error

    def _too_late(self) -> Unanswered:
        return Unanswered(f"no answer from {self._target.url} within {self._target.timeout_seconds:g} s: use --timeout")

    def _broken_off(self, reason: str) -> Unanswered:
        return Unanswered(f"the answer of {self._target.url} broke off ({reason})")

    def _refusal(self, response: http.client.HTTPResponse) -> Exception:
        text = response.read(65_536).decode("utf-8", "replace")
        if "Code: " in text or response.getheader("X-ClickHouse-Exception-Code"):
            return Refused(_first_line(text))
        status = f"{response.status} {response.reason}"
        return Unanswered(f"{self._target.url} answered {status}, which is not ClickHouse's HTTP interface: use --url")


def _escaped(parameter: str) -> str:
    """Write a parameter's value as ClickHouse reads it, which is as a field of TabSeparated."""
    return parameter.translate(TSV_ESCAPES)


def _first_line(text: str) -> str:
    """From the code to the end of its line; the row it cut off and ClickHouse's frame around it are left out."""
    found = re.search(r"Code: \d+.*", text)
    lines = text.strip().splitlines()
    return found.group().strip() if found else (lines[0] if lines else "ClickHouse gave no reason")


def _print(answer: Answer, form: str, limit: int, out: Console, manner: Manner) -> None:
    try:
        if not answer.is_as_wanted:
            for chunk in answer.chunks():
                sys.stdout.buffer.write(chunk)
            return
        lines = answer.lines()
        if form == "json":
            _write_json(_at_most(lines, limit), sys.stdout)
            if limit and next(lines, None) is not None:
                _note_cut(limit)
            return
        head = [json.loads(line) for line in islice(lines, 2)]
        if len(head) < 2:
            if form == "table":
                out.print(f"done in {answer.seconds:.3f} s", style="dim")
            return
        columns = [Column(name, kind) for name, kind in zip(*head, strict=True)]
        rows = (json.loads(line) for line in lines)
        if form == "table":
            _show_table(columns, rows, limit, answer, out, manner)
        else:
            left = WRITERS[form](columns, _at_most(rows, limit), sys.stdout)
            if form in {"markdown", "vertical"} and not left:
                print(manner.nothing)  # noqa: T201 - the command's output
            if limit and next(rows, None) is not None:
                _note_cut(limit)
    finally:
        answer.close()


def _show_table(
    columns: Sequence[Column],
    rows: Iterator[Sequence[str | None]],
    limit: int,
    answer: Answer,
    out: Console,
    manner: Manner,
) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = list(_at_most(rows, limit))
    more = bool(limit) and next(rows, None) is not None
    if not shown:
        out.print(f"{manner.nothing} in {answer.seconds:.3f} s", style="dim", soft_wrap=True)
        return
    if not out.is_terminal:
        out.width = ENDLESS_WIDTH  # whoever reads a pipe wants whole cells
    table = Table(box=box.ROUNDED if out.is_terminal else box.ASCII2, header_style="bold")
    for column in columns:
        types = [("\n" + column.type, "dim not bold")] if manner.types else []
        header = Text.assemble(printable(column.name), *types)
        table.add_column(header, justify="right" if column.is_number else "left", no_wrap=True, overflow="ellipsis")
    null = Text(manner.null, style="dim")
    for row in shown:
        table.add_row(
            *(
                null if column.is_null(cell) else Text(printable(cell or ""))
                for column, cell in zip(columns, row, strict=True)
            )
        )
    out.print(table, soft_wrap=not out.is_terminal)
    count = f"{len(shown):,} row{'s' if len(shown) != 1 else ''}"
    if more:
        out.print(f"the first {count} in {answer.seconds:.3f} s; there are more, use --limit", style="dim")
    else:
        out.print(f"{count} in {answer.seconds:.3f} s", style="dim")


def _write_json(lines: Iterable[str], out: TextIO) -> None:
    """One array, a row a line."""
    before = "[\n"
    for line in lines:
        out.write(before + line)
        before = ",\n"
    out.write("[]\n" if before == "[\n" else "\n]\n")


def _write_csv(columns: Sequence[Column], rows: Iterable[Sequence[str | None]], out: TextIO) -> int:
    """Names first; NULL is written as ClickHouse writes it in CSV."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([column.name for column in columns])
    count = 0
    for row in rows:
        writer.writerow(["\\N" if c.is_null(cell) else cell for c, cell in zip(columns, row, strict=True)])
        count += 1
    return count


TSV_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})


def _write_tsv(columns: Sequence[Column], rows: Iterable[Sequence[str | None]], out: TextIO) -> int:
    """Names first; escapes and NULL as in ClickHouse's TabSeparated."""
    out.write("\t".join(column.name.translate(TSV_ESCAPES) for column in columns) + "\n")
    count = 0
    for row in rows:
        cells = (
            "\\N" if c.is_null(cell) else (cell or "").translate(TSV_ESCAPES)
            for c, cell in zip(columns, row, strict=True)
        )
        out.write("\t".join(cells) + "\n")
        count += 1
    return count


def _write_markdown(columns: Sequence[Column], rows: Iterable[Sequence[str | None]], out: TextIO) -> int:
    count = 0
    for row in rows:
        if not count:
            out.write("| " + " | ".join(_markdown(column.name) for column in columns) + " |\n")
            out.write("|" + "|".join("--:" if column.is_number else "---" for column in columns) + "|\n")
        cells = ("NULL" if c.is_null(cell) else _markdown(cell or "") for c, cell in zip(columns, row, strict=True))
        out.write("| " + " | ".join(cells) + " |\n")
        count += 1
    return count


def _markdown(text: str) -> str:
    return printable(text).replace("|", "\\|")


def _write_vertical(columns: Sequence[Column], rows: Iterable[Sequence[str | None]], out: TextIO) -> int:
    """A block a row, a line a column; line breaks in values are kept, for stack traces."""
    width = max((len(column.name) for column in columns), default=0) + 1
    count = 0
    for row in rows:
        count += 1
        out.write(f"Row {count}:\n" if count == 1 else f"\nRow {count}:\n")
        for column, cell in zip(columns, row, strict=True):
            text = "NULL" if column.is_null(cell) else "\n".join(map(printable, (cell or "").split("\n")))
            out.write(f"{column.name + ':':<{width}} {text}\n")
    return count


WRITERS: dict[str, Callable[[Sequence[Column], Iterable[Sequence[str | None]], TextIO], int]] = {
    "csv": _write_csv,
    "tsv": _write_tsv,
    "markdown": _write_markdown,
    "vertical": _write_vertical,
}


def printable(text: str) -> str:
    r"""Control characters as `\n`, `\x1b` and so on: data must not move the cursor of whoever looks at it."""
    return CONTROL.sub(lambda found: repr(found.group())[1:-1], text)


def _at_most(items: Iterator[T], limit: int) -> Iterator[T]:
    return islice(items, limit) if limit else items


def _note_cut(limit: int) -> None:
    print(f"stopped after {limit:,} rows; there are more, use --limit", file=sys.stderr)  # noqa: T201 - for the user


def complain(text: str) -> None:
    """Tell the user on stderr what is wrong."""
    from rich.console import Console

    Console(stderr=True, highlight=False, markup=False).print(text, style="red", soft_wrap=True)


def _url(text: str) -> str:
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool((parts.hostname or "").encode("idna")) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no URL of ClickHouse's HTTP interface: write it like {DEFAULT_URL}"
        )
    return url


def _limit(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rows: 0 (all) or more")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is no time-out: seconds, more than 0")
    return seconds
