"""Where the clauses of a statement are."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.embedded_clickhouse.statements import (
    quote,
    quote_name,
    split_insert,
    split_output,
    streams,
    tokens,
)

INSERTS = [
    (b"INSERT INTO t FORMAT CSV\n1,2", b"INSERT INTO t ", b"FORMAT CSV", b"1,2"),
    (b"insert into t (a, b) format Native\r\nxx", b"insert into t (a, b) ", b"format Native", b"xx"),
    (b"INSERT INTO `a`.`b` FORMAT CSV  1,2", b"INSERT INTO `a`.`b` ", b"FORMAT CSV", b"1,2"),
    (b"INSERT INTO TABLE format FORMAT CSV\n\n1", b"INSERT INTO TABLE format ", b"FORMAT CSV", b"\n1"),
    (b"INSERT INTO d.settings FORMAT CSV\n1", b"INSERT INTO d.settings ", b"FORMAT CSV", b"1"),
    (b"INSERT INTO t SETTINGS a='FORMAT X', b=1 FORMAT CSV\n1", b"INSERT INTO t ",
     b"SETTINGS a='FORMAT X', b=1 FORMAT CSV", b"1"),
    (b"/* FORMAT A */ INSERT -- FORMAT B\n INTO t (format) FORMAT CSV\n1",
     b"/* FORMAT A */ INSERT -- FORMAT B\n INTO t (format) ", b"FORMAT CSV", b"1"),
    (b"INSERT INTO t FORMAT RowBinary\n\x00\xff'\"`", b"INSERT INTO t ", b"FORMAT RowBinary", b"\x00\xff'\"`"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "head", "tail", "data"), INSERTS)
def test_an_insert_and_its_data(text: bytes, head: bytes, tail: bytes, data: bytes) -> None:
    """Scenario: INSERTs as clients write them. Guarantees: statement and data are told apart to the byte."""
    insert = split_insert(text, complete=True)

    assert insert is not None
    assert (insert.head.encode(), insert.tail.encode(), text[insert.data_at :]) == (head, tail, data)
    assert insert.from_file("/f") == f"{head.decode()} FROM INFILE '/f' {tail.decode()}"


@pytest.mark.parametrize(("text", "head", "tail", "data"), INSERTS)
def test_an_insert_that_comes_in_parts(text: bytes, head: bytes, tail: bytes, data: bytes) -> None:
    """Scenario: the body arrives cut anywhere. Guarantees: nothing is decided before it cannot change any more."""
    whole = split_insert(text, complete=True)
    early = [split_insert(text[:cut], complete=False) for cut in range(len(text))]

    assert set(early) <= {None, whole}


@pytest.mark.parametrize(
    "text",
    [
        b"INSERT INTO t VALUES (1, 'FORMAT CSV')",
        b"INSERT INTO t SELECT 1 FORMAT CSV",
        b"INSERT INTO t WITH 1 AS x SELECT x FORMAT CSV",
        b"SELECT 1 FORMAT CSV",
        b"INSERT",
        b"",
        b"\xff\xfe",
    ],
)
def test_what_has_no_data_after_a_format(text: bytes) -> None:
    """Scenario: statements without inline data. Guarantees: they are not taken for an INSERT with data."""
    assert split_insert(text, complete=True) is None


@pytest.mark.parametrize(
    ("sql", "head", "format_", "settings"),
    [
        ("SELECT 1", "SELECT 1", None, ""),
        ("SELECT 1;", "SELECT 1", None, ""),
        ("SELECT 1 -- FORMAT CSV", "SELECT 1", None, ""),
        ("SELECT 1 FORMAT JSON", "SELECT 1", "JSON", ""),
        ("SELECT 1 format `JSON` ; -- x", "SELECT 1", "JSON", ""),
        ("SELECT 1 FORMAT JSON SETTINGS max_threads = 1", "SELECT 1", "JSON", "SETTINGS max_threads = 1"),
        ("SELECT 1 SETTINGS max_threads = 1", "SELECT 1 SETTINGS max_threads = 1", None, ""),
        ("SELECT 'FORMAT CSV'", "SELECT 'FORMAT CSV'", None, ""),
        ("SELECT $$ FORMAT CSV $$", "SELECT $$ FORMAT CSV $$", None, ""),
        ("SELECT 1 FORMAT `CSV; SELECT 2`", "SELECT 1 FORMAT `CSV; SELECT 2`", None, ""),
        ("INSERT INTO t SELECT 1 FORMAT CSV", "INSERT INTO t SELECT 1 FORMAT CSV", None, ""),
        ("SELECT format FROM t", "SELECT format FROM t", None, ""),
        ("SELECT (SELECT 1 FORMAT CSV)", "SELECT (SELECT 1 FORMAT CSV)", None, ""),
        ("", "", None, ""),
    ],
)
def test_a_closing_format(sql: str, head: str, format_: str | None, settings: str) -> None:
    """Scenario: queries with and without FORMAT. Guarantees: only the clause that closes the query counts."""
    output = split_output(sql)

    assert (output.head, output.format, output.settings) == (head, format_, settings)


@given(st.text(alphabet="aF '\"`$\\-/*#(\n;1", max_size=40))
def test_tokens_lie_in_the_text(sql: str) -> None:
    """Scenario: any text. Guarantees: tokens are in order, do not overlap, and are what stands there."""
    end = 0
    for token in tokens(sql):
        assert end <= token.start < token.end
        assert sql[token.start : token.end] == token.value
        end = token.end


@pytest.mark.parametrize(
    "text", ["$a" * 50_000, "'" * 99_999, "/*" * 50_000, "(" * 100_000, "`\\" * 50_000, "$$" * 49_999 + "$"]
)
def test_hostile_text_costs_no_time(text: str) -> None:
    """Scenario: 100 KB made to confuse.

    Guarantees: it is read in well under the second that a search back would take.
    """
    before = time.process_time()
    split_output("SELECT " + text)

    assert time.process_time() - before < 2.0


def test_which_statements_stream() -> None:
    """Scenario: kinds of statements. Guarantees: queries stream; what the engine answers in another way does not."""
    assert all(map(streams, ["SELECT 1", "with 1 as x select x", "(SELECT 1)", "-- c\n FROM t SELECT 1"]))
    assert not any(map(streams, ["SHOW TABLES", "EXPLAIN SELECT 1", "DESCRIBE t", "INSERT INTO t SELECT 1", ""]))


@given(st.text())
def test_quotes_end_where_they_should(text: str) -> None:
    """Scenario: any text as a literal or a name. Guarantees: it is one token, so nothing in it becomes SQL."""
    for quoted in (quote(text), quote_name(text)):
        assert [token.value for token in tokens(quoted)] == [quoted]
