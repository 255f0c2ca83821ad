"""`jobsight query` against a small server that answers as ClickHouse does (with the bytes of the real engine)."""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from pipeline import query

SQL = (
    "SELECT toDateTime64('2026-11-22 01:02:03.123456789', 9, 'UTC') AS t, toUInt64(18446744073709551615) AS n, "
    "CAST(NULL AS Nullable(String)) AS x, 'a\\nb' AS s, map('k', 'v') AS m, 'ᴺᵁᴸᴸ' AS word"
)
TEXT = (
    b'["t", "n", "x", "s", "m", "word"]\n'
    b'["DateTime64(9, \'UTC\')", "UInt64", "Nullable(String)", "String", "Map(String, String)", "String"]\n'
    b'["2026-11-22 01:02:03.123456789", "18446744073709551615", '
    b'"\xe1\xb4\xba\xe1\xb5\x81\xe1\xb4\xb8\xe1\xb4\xb8", "a\\nb", '
    b"\"{'k':'v'}\", \"\xe1\xb4\xba\xe1\xb5\x81\xe1\xb4\xb8\xe1\xb4\xb8\"]\n"
)
ROW_JSON = (
    b'{"t":"2026-11-22 01:02:03.123456789","n":18446744073709551615,"x":null,"s":"a\\nb","m":{"k":"v"},'
    b'"word":"\xe1\xb4\xba\xe1\xb5\x81\xe1\xb4\xb8\xe1\xb4\xb8"}\n'
)
NO_TABLE = b"Code: 60. DB::Exception: Unknown table expression identifier 'nope'. (UNKNOWN_TABLE) (version 26.9.1)\n"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Server:
    """Answers every request with `handler`; remembers what it was asked."""

    url: str = ""
    handler: Handler | None = None
    asked: list[tuple[str, dict[str, str], dict[str, str]]] = field(default_factory=list)

    def answers(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        async def handler(_request: web.Request) -> web.StreamResponse:
            return web.Response(body=body, status=status, headers=headers)

        self.handler = handler


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    state = Server()

    async def handle(request: web.Request) -> web.StreamResponse:
        state.asked.append((await request.text(), dict(request.query), dict(request.headers)))
        assert state.handler is not None
        return await state.handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    state.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield state
    await runner.cleanup()


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    query.configure(parser)
    return parser.parse_args(words)


async def ask(server: Server, *words: str) -> int:
    return await asyncio.to_thread(query.run, arguments("--url", server.url, *words))


async def test_table_shows_values_as_clickhouse_prints_them(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: nanoseconds, a huge integer, a NULL, a map. Guarantees: every digit, names, types, a footer."""
    server.answers(TEXT)

    assert await ask(server, SQL) == 0

    shown = capsys.readouterr().out
    assert "2026-11-22 01:02:03.123456789" in shown
    assert "18446744073709551615" in shown
    assert "{'k':'v'}" in shown
    assert "DateTime64(9, 'UTC')" in shown
    assert shown.count("NULL") == 1
    assert "ᴺᵁᴸᴸ" in shown
    assert "a\\nb" in shown
    assert "1 row in " in shown
    assert "\x1b" not in shown
    assert server.asked[0][0] == SQL
    assert server.asked[0][1]["default_format"] == query.TEXT_FORMAT


async def test_the_database_is_named_once(server: Server) -> None:
    """Scenario: a database in the URL, another with `--database`. Guarantees: the option wins, the URL's rest stays."""
    server.answers(TEXT)

    code = await asyncio.to_thread(
        query.run, arguments("--url", f"{server.url}?database=a&max_threads=1", "--database", "b", SQL)
    )

    assert code == 0
    assert server.asked[0][1] == {"database": "b", "max_threads": "1", "default_format": query.TEXT_FORMAT}


async def test_numbers_are_aligned_right(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: a column of numbers of different length, one of strings. Guarantees: right and left edges line up."""
    server.answers(b'["n","s"]\n["Nullable(Int64)","String"]\n["1","a"]\n["10000","bbbb"]\n')

    await ask(server, "SELECT 1")

    lines = capsys.readouterr().out.splitlines()
    short = next(line for line in lines if " a " in line)
    long = next(line for line in lines if "bbbb" in line)
    assert short.index("1") == long.index("10000") + 4
    assert short.index("a") == long.index("bbbb")


async def test_wide_cells_are_cut_only_on_a_terminal(
    server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scenario: a cell of 300 characters, in a pipe, then on a terminal of 40. Guarantees: whole, then shortened."""
    server.answers(b'["s"]\n["String"]\n["' + b"x" * 300 + b'"]\n')

    await ask(server, "SELECT 1")
    assert "x" * 300 in capsys.readouterr().out

    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "40")
    await ask(server, "SELECT 1")
    on_terminal = capsys.readouterr().out
    assert "x" * 41 not in on_terminal
    assert "…" in on_terminal


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (
            "csv",
            "t,n,x,s,m,word\n2026-11-22 01:02:03.123456789,18446744073709551615,\\N,\"a\nb\",{'k':'v'},ᴺᵁᴸᴸ\n",
        ),
        (
            "tsv",
            "t\tn\tx\ts\tm\tword\n2026-11-22 01:02:03.123456789\t18446744073709551615\t\\N\ta\\nb\t{'k':'v'}\tᴺᵁᴸᴸ\n",
        ),
        (
            "markdown",
            (
                "| t | n | x | s | m | word |\n|---|--:|---|---|---|---|\n"
                "| 2026-11-22 01:02:03.123456789 | 18446744073709551615 | NULL | a\\nb | {'k':'v'} | ᴺᵁᴸᴸ |\n"
            ),
        ),
        (
            "vertical",
            (
                "Row 1:\nt:    2026-11-22 01:02:03.123456789\nn:    18446744073709551615\nx:    NULL\ns:    a\nb\n"
                "m:    {'k':'v'}\nword: ᴺᵁᴸᴸ\n"
            ),
        ),
    ],
)
async def test_other_formats(server: Server, capsys: pytest.CaptureFixture[str], form: str, expected: str) -> None:
    """Scenario: the same row in each text format. Guarantees: exactly these characters."""
    server.answers(TEXT)

    assert await ask(server, "--format", form, SQL) == 0

    assert capsys.readouterr().out == expected


async def test_json_is_one_array_with_real_numbers(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: two rows as JSON. Guarantees: a document any JSON reader takes, integers whole, NULL as null."""
    server.answers(ROW_JSON * 2)

    assert await ask(server, "--format", "json", SQL) == 0

    rows = json.loads(capsys.readouterr().out)
    assert [row["n"] for row in rows] == [18446744073709551615] * 2
    assert rows[0]["x"] is None
    assert server.asked[0][1]["default_format"] == query.JSON_FORMAT


@pytest.mark.parametrize(
    ("form", "body", "said"),
    [
        ("table", b'["n"]\n["UInt8"]\n', "no rows in "),
        ("vertical", b'["n"]\n["UInt8"]\n', "no rows"),
        ("markdown", b'["n"]\n["UInt8"]\n', "no rows"),
        ("csv", b'["n"]\n["UInt8"]\n', "n\n"),
        ("json", b"", "[]\n"),
        ("table", b"", "done in "),
    ],
)
async def test_nothing_to_show(
    server: Server, capsys: pytest.CaptureFixture[str], form: str, body: bytes, said: str
) -> None:
    """Scenario: no rows, or a statement without result. Guarantees: people are told, programs get a frame."""
    server.answers(body)

    assert await ask(server, "--format", form, "SELECT 1 WHERE 0") == 0

    assert capsys.readouterr().out.startswith(said)


async def test_an_error_of_clickhouse(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: an unknown table. Guarantees: ClickHouse's first line on standard error, exit code 1."""
    server.answers(NO_TABLE + b"stack\n", 404, {"X-ClickHouse-Exception-Code": "60"})

    assert await ask(server, "SELECT * FROM nope") == 1

    seen = capsys.readouterr()
    assert seen.err.strip() == NO_TABLE.decode().strip()
    assert seen.out == ""


@pytest.mark.parametrize(
    "tail",
    [
        b"Code: 159. DB::Exception: Timeout exceeded. (TIMEOUT_EXCEEDED)\n",
        b'["2026-11-22 01:0Code: 159. DB::Exception: Timeout exceeded. (TIMEOUT_EXCEEDED)\n',
        (
            b"\r\n__exception__\r\nabcdefghijklmnop\r\nCode: 159. DB::Exception: Timeout exceeded. (TIMEOUT_EXCEEDED)\n"
            b"66 abcdefghijklmnop\r\n__exception__\r\n"
        ),
    ],
)
@pytest.mark.parametrize("form", ["table", "csv", "json"])
async def test_an_error_after_the_first_rows(
    server: Server, capsys: pytest.CaptureFixture[str], tail: bytes, form: str
) -> None:
    """Scenario: the query dies halfway, old and new framing. Guarantees: no success, and no row of the result."""
    rows = ROW_JSON if form == "json" else TEXT
    server.answers(rows + tail)

    assert await ask(server, "--format", form, SQL) == 1

    seen = capsys.readouterr()
    assert seen.err.strip() == "Code: 159. DB::Exception: Timeout exceeded. (TIMEOUT_EXCEEDED)"
    assert "exception" not in seen.out.lower()


async def test_an_answer_that_breaks_off(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: the connection is cut between two rows. Guarantees: exit code 1 and a line; never a short success."""

    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(TEXT)
        assert request.transport is not None
        request.transport.abort()
        return response

    server.handler = cut

    assert await ask(server, "--format", "csv", SQL) == 1

    assert "broke off" in capsys.readouterr().err


async def test_nobody_there(server: Server, capsys: pytest.CaptureFixture[str], unused_tcp_port: int) -> None:
    """Scenario: nothing listens. Guarantees: one line that names the URL and what to do, exit code 1."""
    url = f"http://127.0.0.1:{unused_tcp_port}"

    assert await asyncio.to_thread(query.run, arguments("--url", url, "SELECT 1")) == 1

    said = capsys.readouterr().err
    assert said == f"no ClickHouse at {url} (Connection refused): is `make run` running? use --url\n"


async def test_somebody_else_there(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: another program's web server answers 404. Guarantees: it is not taken for ClickHouse."""
    server.answers(b"<html>nope</html>", 404)

    assert await ask(server, "SELECT 1") == 1

    assert "which is not ClickHouse's HTTP interface" in capsys.readouterr().err


async def test_time_out(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: ClickHouse says nothing. Guarantees: the wait ends after --timeout, in one line, exit code 1."""
    over = asyncio.Event()

    async def silent(_request: web.Request) -> web.StreamResponse:
        await over.wait()
        return web.Response()

    server.handler = silent

    assert await ask(server, "--timeout", "0.2", "SELECT sleep(3)") == 1

    over.set()
    assert "within 0.2 s" in capsys.readouterr().err


async def test_large_results_are_cut_and_the_query_is_stopped(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scenario: an endless result. Guarantees: --limit rows are shown, a note, and the server sees the client go."""
    gone = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'["n"]\n["UInt64"]\n')
        try:
            while True:
                await response.write(b'["7"]\n' * 1000)
        except ConnectionError:
            gone.set()
            raise

    server.handler = endless

    assert await ask(server, "--limit", "3", "SELECT number FROM system.numbers") == 0

    await gone.wait()
    shown = capsys.readouterr().out
    assert sum("7" in line for line in shown.splitlines() if "row" not in line) == 3
    assert "the first 3 rows in " in shown


async def test_default_limits(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: 1500 rows without --limit. Guarantees: people see 1000 and are told, programs get all."""
    server.answers(b'["n"]\n["UInt64"]\n' + b'["7"]\n' * 1500)

    await ask(server, "SELECT 1")
    assert "the first 1,000 rows" in capsys.readouterr().out
    await ask(server, "--format", "markdown", "SELECT 1")
    seen = capsys.readouterr()
    assert seen.out.count("\n") == 1002
    assert seen.err == "stopped after 1,000 rows; there are more, use --limit\n"
    await ask(server, "--format", "csv", "SELECT 1")
    assert capsys.readouterr().out.count("\n") == 1501
    await ask(server, "--limit", "0", "SELECT 1")
    assert "1,500 rows in " in capsys.readouterr().out


async def test_a_format_of_its_own(server: Server, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Scenario: the SQL ends in FORMAT Pretty. Guarantees: ClickHouse's bytes as they are."""
    server.answers("┌─1─┐\n".encode(), headers={"X-ClickHouse-Format": "Pretty"})

    assert await ask(server, "SELECT 1 FORMAT Pretty") == 0

    assert capfdbinary.readouterr().out == "┌─1─┐\n".encode()


async def test_credentials_and_settings_in_the_url(server: Server) -> None:
    """Scenario: credentials, a setting in the URL. Guarantees: they reach ClickHouse, the password in no URL."""
    server.answers(TEXT)
    server_url = f"{server.url}/?max_threads=1"

    words = ("--url", server_url, "--user", "reader", "--password", "s3cret", "SELECT 1")
    assert await asyncio.to_thread(query.run, arguments(*words)) == 0

    _, parameters, headers = server.asked[0]
    assert parameters == {"max_threads": "1", "default_format": query.TEXT_FORMAT}
    assert headers["X-ClickHouse-User"] == "reader"
    assert headers["X-ClickHouse-Key"] == "s3cret"


@pytest.mark.parametrize("words", [("-",), ()])
async def test_sql_from_standard_input(server: Server, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    """Scenario: the statement is piped in, with `-` or without. Guarantees: it is what ClickHouse gets."""
    server.answers(TEXT)
    monkeypatch.setattr(sys, "stdin", io.StringIO("SELECT 'é'"))

    assert await ask(server, *words) == 0

    assert server.asked[0][0] == "SELECT 'é'"


async def test_empty_sql(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: nothing is piped in. Guarantees: said so, exit code 2, nobody asked."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("  \n"))

    assert await asyncio.to_thread(query.run, arguments()) == 2

    assert capsys.readouterr().err == "the SQL is empty\n"


async def test_data_cannot_move_the_cursor(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: values and names with escape sequences. Guarantees: shown, not obeyed, in formats for people."""
    server.answers(b'["a\\u001b[2J"]\n["String"]\n["b\\u001b]0;x\\u0007[bold]c"]\n')

    for form in ("table", "markdown", "vertical"):
        await ask(server, "--format", form, "SELECT 1")
        shown = capsys.readouterr().out
        assert "\x07" not in shown
        assert "b\\x1b]0;x\\x07[bold]c" in shown


@pytest.mark.parametrize(
    "words",
    [
        ("--limit", "-1"),
        ("--limit", "x"),
        ("--timeout", "0"),
        ("--format", "xml"),
        ("--url", "ftp://localhost"),
        ("--url", "http://"),
        ("--url", "http://localhost:port"),
        ("--url", "http://[::1"),
        ("--url", "http://a..b"),
    ],
)
def test_bad_options(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario: an option's value is impossible. Guarantees: argparse's exit code 2, and the value is named."""
    with pytest.raises(SystemExit) as stopped:
        arguments(*words, "SELECT 1")
    assert stopped.value.code == 2
    assert words[1] in capsys.readouterr().err


@pytest.mark.integration
def test_the_canned_answers_are_the_engines() -> None:
    """Scenario: the test's SQL on the real engine. Guarantees: the bytes this file answers with are what it sends."""
    pytest.importorskip("chdb")
    program = (
        "import sys, chdb\n"
        "for form in sys.argv[2:]:\n"
        "    sys.stdout.buffer.write(chdb.query(sys.argv[1], form).bytes())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, SQL, query.TEXT_FORMAT, query.JSON_FORMAT], capture_output=True, check=True
    )
    assert done.stdout == TEXT + ROW_JSON
