"""ClickHouse's HTTP interface, request by request, on the real engine."""

from __future__ import annotations

import base64
import gzip
import io
import json
import zlib
from collections.abc import Callable

import aiohttp
import cramjam
import lz4.frame  # type: ignore[import-untyped]  # it has no stubs
import pyarrow as pa
import pytest
import zstandard

from extensions.embedded_clickhouse.answers import STATUSES
from tests.extensions.embedded_clickhouse.stores import WRITER, Store

DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body),
    "lz4": lz4.frame.decompress,
    "br": lambda body: bytes(cramjam.brotli.decompress(body)),
}
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.compress,
    "lz4": lz4.frame.compress,
    "br": lambda body: bytes(cramjam.brotli.compress(body)),
}


async def table(store: Store, name: str, columns: str = "a UInt64, b String") -> None:
    await store.write(f"CREATE OR REPLACE TABLE {name} ({columns}) ENGINE = MergeTree ORDER BY tuple()")


async def test_health(store: Store) -> None:
    """Scenario: what load balancers ask. Guarantees: ClickHouse's answers, without credentials."""
    async with aiohttp.ClientSession() as session:
        seen = {}
        for path in ("", "ping", "replicas_status", "play"):
            async with session.get(store.url + path) as response:
                seen[path] = response.status, await response.text()

    assert seen[""] == seen["ping"] == seen["replicas_status"] == (200, "Ok.\n")
    assert seen["play"][0] == 404
    assert "no handle /play" in seen["play"][1]


async def test_where_a_statement_may_be(store: Store) -> None:
    """Scenario: in the URL with GET, in the body, begun in the URL and ended in the body.

    Guarantees: the same answer.
    """
    assert (await store.get("SELECT 1 + 1")).text == "2\n"
    assert (await store.read("SELECT 1 + 1")).text == "2\n"
    assert (await store.post(b"+ 1", {}, query="SELECT 1")).text == "2\n"


async def test_an_empty_query_is_refused(store: Store) -> None:
    """Scenario: POST without anything. Guarantees: an error that says what is missing."""
    answer = await store.read(" -- nothing\n")

    assert answer.status == 501
    assert "Empty query" in answer.text


async def test_parameters(store: Store) -> None:
    """Scenario: bound parameters with quotes, escapes, arrays. Guarantees: values, never SQL."""
    answer = await store.read(
        "SELECT {n:UInt8} + 1, {s:String}, {l:Array(String)}, {t:Identifier} FROM (SELECT 5 AS five)",
        default_format="JSONCompactEachRow",
        param_n="3", param_s="a'b\\tc", param_l="['x','y\\'z']", param_t="five",
    )  # fmt: skip

    assert json.loads(answer.body) == [4, "a'b\tc", ["x", "y'z"], 5]


async def test_parameters_in_a_form(store: Store) -> None:
    """Scenario: parameters too long for a URL come as multipart/form-data. Guarantees: they count like the URL's."""
    form = aiohttp.FormData({"query": "SELECT length({s:String})", "param_s": "x" * 50_000}, default_to_multipart=True)
    async with aiohttp.ClientSession() as session, session.post(store.url, data=form) as response:
        assert await response.text() == "50000\n"


async def test_external_tables_are_refused(store: Store) -> None:
    """Scenario: a form with a file. Guarantees: an error, not a query without the table."""
    form = aiohttp.FormData()
    form.add_field("t", io.BytesIO(b"1\n"), filename="t")
    async with (
        aiohttp.ClientSession() as session,
        session.post(store.url, params={"query": "SELECT 1"}, data=form) as response,
    ):
        assert response.status == 501
        assert "external tables" in await response.text()


async def test_database_and_format(store: Store) -> None:
    """Scenario: database and default format by parameter and by header.

    Guarantees: both work, FORMAT in the query wins.
    """
    by_parameter = await store.read("SELECT currentDatabase() AS d", database="system", default_format="JSONEachRow")
    by_header = await store.post(
        b"SELECT currentDatabase() AS d", {"X-ClickHouse-Database": "system", "X-ClickHouse-Format": "JSONEachRow"}
    )
    in_query = await store.read("SELECT 1 FORMAT CSVWithNames", default_format="JSONEachRow")

    assert by_parameter.body == by_header.body == b'{"d":"system"}\n'
    assert by_header.headers["X-ClickHouse-Format"] == "JSONEachRow"
    assert in_query.headers["X-ClickHouse-Format"] == "CSVWithNames"
    assert in_query.headers["Content-Type"].startswith("text/csv")


async def test_settings_by_url(store: Store) -> None:
    """Scenario: any other parameter.

    Guarantees: it is a setting of this request only, and an unknown one is an error.
    """
    answer = await store.read("SELECT number FROM numbers(5)", limit="2")
    after = await store.read("SELECT count() FROM (SELECT number FROM numbers(5))")
    unknown = await store.read("SELECT 1", no_such_setting="1")

    assert (answer.text, after.text) == ("0\n1\n", "5\n")
    assert (unknown.status, unknown.code) == (404, "115")


async def test_headers_of_an_answer(store: Store) -> None:
    """Scenario: a query with an id. Guarantees: the headers that clients read."""
    answer = await store.read("SELECT number FROM numbers(10)", query_id="mine", session_id="s")

    assert answer.headers["X-ClickHouse-Query-Id"] == "mine"
    assert answer.headers["X-ClickHouse-Timezone"]
    assert answer.headers["X-ClickHouse-Server-Display-Name"] == "jobsight"
    assert answer.headers["X-ClickHouse-Format"] == "TabSeparated"
    assert answer.summary["read_rows"] == "10"
    assert int(answer.summary["elapsed_ns"]) > 0


@pytest.mark.parametrize(
    ("sql", "status", "code", "name"),
    [
        ("SELECT * FROM nowhere", 404, "60", "UNKNOWN_TABLE"),
        ("SELEC 1", 400, "62", "SYNTAX_ERROR"),
        ("SELECT nothing", 404, "47", "UNKNOWN_IDENTIFIER"),
        ("SELECT throwIf(1)", 500, "395", "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
        ("SELECT toInt8('x')", 400, "6", "CANNOT_PARSE_TEXT"),
        ("SELECT 1 FORMAT NoSuch", 404, "73", "UNKNOWN_FORMAT"),
        ("DROP TABLE x", 500, "164", "READONLY"),
    ],
)
async def test_errors(store: Store, sql: str, status: int, code: str, name: str) -> None:
    """Scenario: what goes wrong. Guarantees: ClickHouse's status, code header and text."""
    answer = await store.read(sql)

    assert (answer.status, answer.code) == (status, code), answer.text
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")
    assert f"({name}) (version " in answer.text


async def test_positions_in_syntax_errors(store: Store) -> None:
    """Scenario: the guard parses the query inside another one. Guarantees: the position counts in the user's text."""
    answer = await store.read("SELECT 1 FROM FROM x y z")

    assert "failed at position 20 " in answer.text, answer.text


async def test_status_names_are_the_engines(store: Store) -> None:
    """Scenario: the table of statuses. Guarantees: each name in it is one that this engine knows."""
    names = (await store.read("SELECT errorCodeToName(number::UInt32) FROM numbers(2000)")).text.split()

    assert set().union(*STATUSES.values()) - set(names) == set()


@pytest.mark.parametrize(
    "headers",
    [
        WRITER,
        {"Authorization": "Basic " + base64.b64encode(b"jobsight:s3cret").decode()},
    ],
)
async def test_the_writer_by_header(store: Store, headers: dict[str, str]) -> None:
    """Scenario: credentials in headers. Guarantees: they allow writing."""
    answer = await store.post(b"CREATE TABLE IF NOT EXISTS authed (a UInt8) ENGINE = Memory", headers)

    assert answer.status == 200, answer.text


async def test_the_writer_by_url(store: Store) -> None:
    """Scenario: user and password in the URL. Guarantees: they allow writing."""
    sql = b"CREATE TABLE IF NOT EXISTS authed (a UInt8) ENGINE = Memory"
    assert (await store.post(sql, {}, user="jobsight", password="s3cret")).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"X-ClickHouse-User": "jobsight"},
        {"X-ClickHouse-User": "jobsight", "X-ClickHouse-Key": "wrong"},
        {"X-ClickHouse-User": "default", "X-ClickHouse-Key": "wrong"},
        {"X-ClickHouse-User": "admin"},
        {"X-ClickHouse-Key": "s3cret"},
        {"Authorization": "Basic " + base64.b64encode(b"jobsight:wrong").decode()},
        {"Authorization": "Basic !"},
        {"Authorization": "Bearer x"},
    ],
)
async def test_wrong_credentials(store: Store, headers: dict[str, str]) -> None:
    """Scenario: a wrong user or password. Guarantees: ClickHouse's code 516 and 403, also for reading."""
    answer = await store.post(b"SELECT 1", headers)

    assert (answer.status, answer.code) == (403, "516"), answer.text


async def test_a_foreign_host_name(store: Store) -> None:
    """Scenario: a web page's own name points at the loopback address. Guarantees: its requests read nothing."""
    foreign = await store.post(b"SELECT 1", {"Host": "evil.example:8123"})
    own = await store.post(b"SELECT 1", {"Host": "localhost:8123"})
    writer = await store.post(b"SELECT 1", {"Host": "evil.example:8123", **WRITER})

    assert (foreign.status, own.status, writer.status) == (403, 200, 200)


@pytest.mark.parametrize("encoding", COMPRESS)
async def test_compressed_requests_of_several_frames(store: Store, encoding: str) -> None:
    """Scenario: an insert whose chunks were compressed one by one. Guarantees: every row of every frame is stored."""
    await table(store, "framed")
    parts = [b"INSERT INTO framed FOR", b"MAT TSV\n", *(b"%d\tx\n" % number for number in range(300))]
    answer = await store.post(b"".join(map(COMPRESS[encoding], parts)), {"Content-Encoding": encoding, **WRITER})

    assert answer.status == 200, answer.text
    assert answer.summary["written_rows"] == "300"
    assert (await store.read("SELECT count(), sum(a) FROM framed")).text == "300\t44850\n"


@pytest.mark.parametrize("encoding", COMPRESS)
async def test_a_truncated_insert_stores_nothing(store: Store, encoding: str) -> None:
    """Scenario: the compressed body is cut. Guarantees: an error, and no row."""
    await table(store, "cut")
    body = COMPRESS[encoding](b"INSERT INTO cut FORMAT TSV\n" + b"1\tx\n" * 5000)
    answer = await store.post(body[:-3], {"Content-Encoding": encoding, **WRITER})

    assert (answer.status, answer.code) == (400, "271"), answer.text
    assert (await store.read("SELECT count() FROM cut")).text == "0\n"


@pytest.mark.parametrize("encoding", DECOMPRESS)
@pytest.mark.parametrize("rows", [10, 700_000])
async def test_compressed_answers(store: Store, encoding: str, rows: int) -> None:
    """Scenario: a small and a streamed result. Guarantees: compressed as asked, whole, and only if enabled."""
    asked = {"Accept-Encoding": encoding}
    sql = f"SELECT number FROM numbers({rows})".encode()
    answer = await store.post(sql, asked, enable_http_compression="1")
    plain = await store.post(sql, asked)

    assert answer.headers["Content-Encoding"] == encoding
    assert "Content-Encoding" not in plain.headers
    assert DECOMPRESS[encoding](answer.body) == plain.body
    assert len(plain.body.split()) == rows


@pytest.mark.parametrize("name", ["compress", "decompress"])
async def test_block_framing_is_refused(store: Store, name: str) -> None:
    """Scenario: ClickHouse's own compressed blocks. Guarantees: an error that says what to use instead."""
    answer = await store.read("SELECT 1", **{name: "1"})

    assert answer.status == 501
    assert "-Encoding" in answer.text


def arrow_stream(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return sink.getvalue().to_pybytes()


INSERTS = {
    "CSV": b'1,"a"\n2,"b"\n',
    "TSV": b"1\ta\n2\tb\n",
    "TabSeparatedWithNames": b"a\tb\n1\ta\n2\tb\n",
    "JSONEachRow": b'{"a":1,"b":"a"}\n{"b":"b","a":2}\n',
    "JSONCompactEachRow": b'[1,"a"]\n[2,"b"]\n',
    "Values": b"(1, 'a'), (1 + 1, lower('B'))",
    "RowBinary": b"\1\0\0\0\0\0\0\0\1a\2\0\0\0\0\0\0\0\1b",
    "ArrowStream": arrow_stream(pa.table({"a": pa.array([1, 2], pa.uint64()), "b": ["a", "b"]})),
    "Native": b"\2\2\1a\6UInt64\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\1b\6String\1a\1b",
}


@pytest.mark.parametrize("place", ["body", "url", "settings"])
@pytest.mark.parametrize("format_", INSERTS)
async def test_inserts(store: Store, format_: str, place: str) -> None:
    """Scenario: each format; the statement before the data, in the URL, and with settings. Guarantees: the rows."""
    await table(store, "taken")
    data = INSERTS[format_]
    if place == "url":
        answer = await store.post(data, WRITER, query=f"INSERT INTO taken FORMAT {format_}")
    else:
        settings = "SETTINGS async_insert = 0, max_threads = 1 " if place == "settings" else ""
        answer = await store.post(f"INSERT INTO taken (a, b) {settings}FORMAT {format_}\n".encode() + data, WRITER)

    assert answer.status == 200, answer.text
    assert answer.summary["written_rows"] == "2"
    assert (await store.read("SELECT * FROM taken ORDER BY a")).text == "1\ta\n2\tb\n"


async def test_inserts_without_a_format(store: Store) -> None:
    """Scenario: VALUES and SELECT, with parameters, in the body and from the URL on. Guarantees: the rows."""
    await table(store, "direct")
    await store.write("INSERT INTO direct VALUES (1, 'FORMAT CSV'), (2, {b:String})", param_b="it's")
    await store.post(b"(3, 'c')", WRITER, query="INSERT INTO direct VALUES")
    await store.write("INSERT INTO direct SELECT number + 4, {b:String} FROM numbers(2)", param_b="d")
    rows = await store.read("SELECT * FROM direct ORDER BY a FORMAT CSV")

    assert rows.text == '1,"FORMAT CSV"\n2,"it\'s"\n3,"c"\n4,"d"\n5,"d"\n'


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("INSERT INTO wrong FORMAT CSV\nx,y\n", "27"),
        ("INSERT INTO wrong FORMAT CSV\n1,a\n2", "27"),
        ("INSERT INTO wrong FORMAT ArrowStream\nrubbish", None),
        ("INSERT INTO wrong (nowhere) FORMAT CSV\n1\n", "16"),
        ("INSERT INTO nowhere FORMAT CSV\n1\n", "60"),
        ("INSERT INTO wrong FORMAT NoSuch\n1\n", "73"),
        ("INSERT INTO checked FORMAT CSV\n5\n", "469"),
    ],
)
async def test_a_failed_insert_says_so(store: Store, statement: str, code: str | None) -> None:
    """Scenario: bad data, unknown names, a violated constraint. Guarantees: an error with its code, and no row."""
    await table(store, "wrong")
    await table(store, "checked", "a UInt8, CONSTRAINT small CHECK a < 5")
    answer = await store.post(statement.encode(), WRITER)

    assert answer.status >= 400
    assert answer.code == code or code is None, answer.text
    assert (await store.read("SELECT (SELECT count() FROM wrong) + (SELECT count() FROM checked)")).text == "0\n"


async def test_a_deduplication_token(store: Store) -> None:
    """Scenario: an insert is repeated with its token, and again with another.

    Guarantees: the repetition adds no row.
    """
    await store.write(
        "CREATE OR REPLACE TABLE once (a UInt8) ENGINE = MergeTree ORDER BY a "
        "SETTINGS non_replicated_deduplication_window = 100"
    )
    for token in ("one", "one", "two"):
        await store.write("INSERT INTO once FORMAT CSV", b"1\n", insert_deduplication_token=token, async_insert="0")

    assert (await store.read("SELECT count() FROM once")).text == "2\n"


async def test_skip_indexes_come_with_the_merge(store: Store) -> None:
    """Scenario: a table with a skip index.

    Guarantees: an insert leaves the index out unless asked, a merge builds it, and rows are found either way.
    """
    await store.write(
        "CREATE OR REPLACE TABLE skipping (a UInt64, b String, INDEX i b TYPE bloom_filter GRANULARITY 1) "
        "ENGINE = MergeTree ORDER BY a"
    )
    sizes, found = [], []
    rows = "INSERT INTO skipping SELECT number, toString(number) FROM numbers(1000)"
    for statement, index_on_insert in (
        (rows, None),
        ("OPTIMIZE TABLE skipping FINAL", None),
        ("TRUNCATE TABLE skipping", None),
        (rows, "1"),
    ):
        settings = {"materialize_skip_indexes_on_insert": index_on_insert} if index_on_insert else {}
        answer = await store.post(statement.encode(), WRITER, **settings)
        assert answer.status == 200, answer.text
        size = await store.read(
            "SELECT sum(secondary_indices_compressed_bytes) > 0 FROM system.parts WHERE table = 'skipping' AND active"
        )
        sizes.append(size.text.strip())
        found.append((await store.read("SELECT count() FROM skipping WHERE b = '77'")).text.strip())

    assert sizes == ["0", "1", "0", "1"]
    assert found == ["1", "1", "0", "1"]


async def test_a_body_over_the_limit(store: Store) -> None:
    """Scenario: a reader sends megabytes. Guarantees: 413, and the store answers the next request."""
    answer = await store.read("SELECT 1 -- " + "x" * (2 << 20))

    assert answer.status == 413
    assert (await store.read("SELECT 1")).text == "1\n"
