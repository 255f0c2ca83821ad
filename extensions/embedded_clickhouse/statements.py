"""Reading just enough of ClickHouse's SQL: where a statement's clauses are, not what they mean.

The store adds one clause to a statement (`FROM INFILE` or `INTO OUTFILE`) and has to know where it goes. What a
statement may do is not decided here but by the engine's own parser (`guard`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

# Source: ClickHouse's src/Parsers/Lexer.cpp. A word may be anything between operators; what matters here is that
# strings, quoted names, heredocs and comments are never mistaken for clauses. What is not closed goes to the end, and
# nothing is read twice (`*+`), so that no text takes long.
_TOKEN: Final = re.compile(
    r"""
      (?P<space>\s+|--[^\n]*|\#[!\ ][^\n]*|/\*.*?(?:\*/|\Z))
    | (?P<text>'(?:[^'\\]|\\.?|'')*+(?:'|\Z))
    | (?P<heredoc>\$\w*\$)
    | (?P<quoted>`(?:[^`\\]|\\.?|``)*+(?:`|\Z)|"(?:[^"\\]|\\.?|"")*+(?:"|\Z))
    | (?P<word>[^\W\d]\w*)
    | (?P<other>[\d.]+\w*|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_OPEN_HEREDOCS: Final = 8
"""How many heredocs without an end are looked for: each costs a search through the whole statement."""

_AFTER_FORMAT: Final = re.compile(rb"[ \t\f]*\r?\n?")
_FORMAT: Final = re.compile(r"[A-Za-z]\w*", re.ASCII)
_SELECTS: Final = frozenset({"SELECT", "WITH", "FROM", "("})

MAX_STATEMENT_BYTES: Final = 262_144
"""How long a statement before an insert's data may be (ClickHouse's default `max_query_size`)."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token: `kind` is text, quoted, word or other; words also in upper case, as clauses are compared."""

    kind: str
    value: str
    start: int
    end: int
    depth: int

    @property
    def upper(self) -> str:
        return self.value.upper() if self.kind == "word" else self.value


def tokens(sql: str) -> Iterator[Token]:
    """Yield the tokens without spaces and comments; `depth` counts the brackets around each."""
    depth = position = unended = 0
    while match := _TOKEN.match(sql, position):
        kind, start, position = match.lastgroup, position, match.end()
        if kind == "space" or kind is None:
            continue
        if kind == "heredoc":
            kind = "other"
            end = sql.find(match[0], position) if unended < _OPEN_HEREDOCS else -1
            if end >= 0:
                kind, position = "text", end + len(match[0])
            else:
                unended += 1
                position = start + 1
        value = sql[start:position]
        if value in {")", "]", "}"}:
            depth -= 1
        yield Token(kind, value, start, position, depth)
        if value in {"(", "[", "{"}:
            depth += 1


def first_word(sql: str) -> str:
    """Return the first word in upper case, or the first other token, or nothing."""
    return next((token.upper for token in tokens(sql)), "")


@dataclass(frozen=True, slots=True)
class Insert:
    """An INSERT whose data follows `FORMAT name`: the statement's two halves, and where the data begins.

    `head` and `tail` go before and after `FROM INFILE`; `data_at` is an offset in the bytes that were read.
    """

    head: str
    tail: str
    format: str
    data_at: int

    def from_file(self, path: str) -> str:
        """Return the statement that reads its data from `path`."""
        return f"{self.head} FROM INFILE '{path}' {self.tail}"


def split_insert(statement: bytes, *, complete: bool) -> Insert | None:
    """Find the FORMAT clause of an INSERT in `statement`, the beginning of a request or (`complete`) all of it.

    Returns None if there is none (yet): the statement is no INSERT into a table, has VALUES or SELECT, or goes on after
    these bytes.
    Bytes after the clause are data and may be anything. Raises UnicodeDecodeError if the statement is not UTF-8.
    """
    # latin-1 keeps offsets and never fails, whatever the data is
    words = tokens(statement[:MAX_STATEMENT_BYTES].decode("latin-1"))
    if [token.upper for token in islice(words, 2)] != ["INSERT", "INTO"]:
        return None
    cut: int | None = None
    previous = "INTO"
    for token in words:
        if token.upper == "FUNCTION" and previous in {"INTO", "TABLE"}:
            return None
        if token.kind == "word" and token.depth == 0 and previous not in _NAME_NEXT:
            if token.upper in {"SELECT", "WITH", "VALUES", "WATCH"}:
                return None
            if token.upper == "SETTINGS" and cut is None:
                cut = token.start
            if token.upper == "FORMAT":
                name = next(words, None)
                insert = _insert(statement, token.start if cut is None else cut, name) if name else None
                # the name, or the line's end after it, may go on in bytes that have not come yet
                return insert if complete or (insert and insert.data_at < len(statement)) else None
        previous = token.upper
    return None


_NAME_NEXT: Final = frozenset({"INTO", "TABLE", "."})


def _insert(statement: bytes, cut: int, name: Token) -> Insert:
    skipped = _AFTER_FORMAT.match(statement, name.end)
    assert skipped is not None
    return Insert(
        statement[:cut].decode(),
        statement[cut : name.end].decode(),
        name.value,
        skipped.end(),
    )


@dataclass(frozen=True, slots=True)
class Output:
    """A statement without its FORMAT clause: what stands before and after it, and the format, if it names one."""

    head: str
    settings: str
    format: str | None

    @property
    def without_format(self) -> str:
        return f"{self.head} {self.settings}" if self.settings else self.head

    def into_file(self, path: str, default_format: str) -> str:
        """Return the statement that writes its result to `path`, which exists."""
        return f"{self.head}\nINTO OUTFILE '{path}' TRUNCATE FORMAT {self.format or default_format} {self.settings}"


def split_output(sql: str) -> Output:
    """Find a closing `FORMAT name [SETTINGS ...]`; comments and semicolons at the end are dropped.

    An INSERT, which has no result and may be long, comes back as it is.
    """
    if first_word(sql) == "INSERT":
        return Output(sql, "", None)
    found = list(tokens(sql))
    while found and found[-1].value == ";":
        found.pop()
    if not found:
        return Output("", "", None)
    end = found[-1].end
    for index in range(len(found) - 2, -1, -1):
        token, name = found[index], found[index + 1]
        if token.upper != "FORMAT" or token.depth != 0 or not is_format(name.value.strip('`"')):
            continue
        rest = found[index + 2 :]
        if not rest or (rest[0].upper == "SETTINGS" and _assigns(rest[1:])):
            head_end = found[index - 1].end if index else token.start
            return Output(sql[:head_end], sql[rest[0].start : end] if rest else "", name.value.strip('`"'))
        break
    return Output(sql[:end], "", None)


def is_format(name: str) -> bool:
    """Say whether this can be a format's name, and so nothing else when it stands in a statement."""
    return _FORMAT.fullmatch(name) is not None


def _assigns(rest: Sequence[Token]) -> bool:
    return len(rest) >= 3 and rest[1].value == "="


def streams(sql: str) -> bool:
    """Say whether this reads like a query whose rows can be written to a file as they come."""
    return first_word(sql) in _SELECTS


def quote(text: str) -> str:
    """Return a string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def quote_name(name: str) -> str:
    """Return a quoted identifier."""
    escaped = name.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"
