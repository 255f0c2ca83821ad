"""What readers may do, and what not even the writer may, tried on the real engine."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.extensions.embedded_clickhouse.stores import Store

CANARY = "canary-7f3a"

# {file}: a file with the canary; {new}: one that does not exist; {url}: a server that counts its calls
DENIED = [
    "SELECT file('{file}')",
    "SELECT `fi\\x6ce`('{file}')",
    "SELECT arrayMap(file, ['{file}'])",
    "SELECT arrayMap(x -> file(x), ['{file}'])",
    "WITH file AS f SELECT f('{file}')",
    "WITH x -> file(x) AS f SELECT f('{file}')",
    "SELECT * APPLY(file) FROM (SELECT '{file}')",
    "SELECT * REPLACE(file('{file}') AS x) FROM (SELECT 1 AS x)",
    "SELECT 1 WHERE file('{file}') != ''",
    "SELECT (SELECT file('{file}'))",
    "SELECT count() FROM numbers(1) QUALIFY file('{file}') != ''",
    "SELECT FILE('{file}')",
    "/* */ SELECT file /* */ ('{file}')",
    "EXPLAIN SELECT file('{file}')",
    "DESCRIBE (SELECT file('{file}'))",
    "SELECT 1 ORDER BY file('{file}')",
    "SELECT 1 LIMIT length(file('{file}'))",
    "SELECT * FROM file('{file}', 'LineAsString')",
    "SELECT * FROM `file`('{file}', LineAsString, 'x String')",
    "SELECT * FROM fileCluster('default', '{file}', 'LineAsString')",
    "SELECT * FROM `{file}`",
    "SELECT * FROM '{file}'",
    "SELECT * FROM default.`{file}`",
    "SELECT 1 IN `{file}`",
    "SELECT 'x' IN (SELECT * FROM `{file}`)",
    "DESCRIBE `{file}`",
    "DESCRIBE file('{file}')",
    "DESCRIBE url('{url}', CSV, 'x String')",
    "SELECT * FROM url('{url}', CSV, 'x String')",
    "SELECT * FROM urlCluster('default', '{url}', CSV, 'x String')",
    "SELECT 'x' IN url('{url}', CSV, 'x String')",
    "SELECT * FROM s3('{url}', CSV, 'x String')",
    "SELECT * FROM remote('{url}', system.one)",
    "SELECT * FROM mysql('{url}', 'd', 't', 'u', 'p')",
    "SELECT * FROM postgresql('{url}', 'd', 't', 'u', 'p')",
    "SELECT * FROM executable('id', TSV, 'x String')",
    "SELECT * FROM python('open')",
    "SELECT * FROM Python(sys)",
    "SELECT * FROM sqlite('{file}', 't')",
    "SELECT * FROM filesystem('/')",
    "SELECT * FROM eval('SELECT 1')",
    "SELECT * FROM loop(file('{file}', 'LineAsString'))",
    "SELECT * FROM iceberg('{url}')",
    "SELECT * FROM viewExplain('EXPLAIN', '', (SELECT file('{file}')))",
    "SELECT * FROM merge('default', '.*')",
    "SELECT * FROM format(CSV, '1')",
    "EXPLAIN TABLE OVERRIDE mysql('{url}', 'd', 't', 'u', 'p') PARTITION BY x",
    "SELECT '{canary}' INTO OUTFILE '{new}'",
    "SELECT '{canary}' INTO OUTFILE '{new}' FORMAT CSV",
    "SELECT 1 FORMAT `CSV; SELECT '{canary}' INTO OUTFILE '{new}'`",
    "SHOW TABLES FORMAT `CSV; SELECT '{canary}' INTO OUTFILE '{new}'`",
    "SHOW TABLES INTO OUTFILE '{new}'",
    "DESCRIBE TABLE guarded INTO OUTFILE '{new}'",
    "(SELECT '{canary}') UNION ALL (SELECT '{canary}') INTO OUTFILE '{new}'",
    "SELECT aiGenerate('x', map())",
    "SELECT catboostEvaluate('{file}', 1)",
    "SELECT getClientHTTPHeader('X-ClickHouse-Key')",
    "SELECT 1 FORMAT Template SETTINGS format_template_resultset = '{file}'",
    "SELECT 1 SETTINGS readonly = 0",
    "SELECT 1 SETTINGS max_execution_time = 0",
    "INSERT INTO guarded VALUES (1)",
    "INSERT INTO guarded SELECT 1",
    "INSERT INTO guarded FORMAT CSV\n1",
    "INSERT INTO FUNCTION file('{new}', CSV, 'x String') SELECT '{canary}'",
    "CREATE TABLE made (x UInt8) ENGINE = Memory",
    "CREATE TEMPORARY TABLE made (x UInt8)",
    "CREATE VIEW made AS SELECT 1",
    "CREATE DATABASE made",
    "CREATE FUNCTION made AS x -> x",
    "CREATE USER made",
    "DROP TABLE guarded",
    "TRUNCATE TABLE guarded",
    "ALTER TABLE guarded DELETE WHERE 1",
    "DELETE FROM guarded WHERE 1",
    "RENAME TABLE guarded TO made",
    "OPTIMIZE TABLE guarded",
    "DETACH TABLE guarded",
    "ATTACH TABLE made (x UInt8) ENGINE = Memory",
    "CHECK TABLE guarded",
    "WATCH guarded",
    "SYSTEM STOP MERGES",
    "SYSTEM SHUTDOWN",
    "KILL QUERY WHERE 1",
    "SET max_execution_time = 0",
    "USE system",
    "GRANT ALL ON *.* TO default",
    "BACKUP TABLE guarded TO File('{new}')",
    "EXECUTE AS default SELECT 1",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE guarded",
    "SELECT 1 PARALLEL WITH SELECT 2",
    "EXPLAIN AST SELECT 1 FORMAT JSON INTO OUTFILE '{new}'",
]

DENIED_SETTINGS = [
    {"additional_result_filter": "file('{file}') != ''"},
    {"additional_table_filters": "{{'system.one': 'file(\\'{file}\\') = 1'}}"},
    {"format_template_resultset": "{file}", "default_format": "Template"},
    {"format_schema": "{file}:M", "default_format": "Protobuf"},
    {"output_format_schema": "{new}"},
    {"dialect": "prql"},
    {"default_format": "CSV; SELECT 1 INTO OUTFILE '{new}'"},
    {"default_format": "CSV INTO OUTFILE '{new}'"},
    {"allow_experimental_eval_table_function": "1"},
    {"max_untracked_memory": "1000000000"},
    {"profile": "default"},
    {"max_execution_time": "x"},
]

ALLOWED = [
    "SELECT 1",
    "SELECT 1;",
    "  -- a comment\nSELECT 1 -- and another",
    "SELECT 1 FORMAT JSON",
    "WITH 1 AS x SELECT x",
    "(SELECT 1) UNION ALL (SELECT 2)",
    "FROM guarded SELECT x",
    "SELECT count(), max(x) FROM guarded WHERE x > 0 GROUP BY x % 2 HAVING count() > 0 ORDER BY 1 LIMIT 3",
    "SELECT * FROM default.guarded AS a INNER JOIN guarded AS b USING (x)",
    "SELECT quantile(0.99)(x), uniq(x), topK(3)(x), argMax(x, x) FROM guarded",
    "SELECT arrayMap(v -> v + 1, [1, 2]), arrayFilter((a, b) -> a > b, [1], [2]), map('a', 1)['a']",
    "SELECT toStartOfMinute(now()) AS t, formatReadableSize(x), JSONExtractString('{{}}', 'a') FROM guarded",
    "SELECT x, row_number() OVER (PARTITION BY x ORDER BY x) FROM guarded",
    "SELECT * EXCEPT (x), x AS `p99/ms` FROM guarded ORDER BY `p99/ms`",
    "SELECT number FROM numbers(3)",
    "SELECT * FROM values('a UInt8', 1, 2)",
    "SELECT * FROM generateSeries(1, 3)",
    "SELECT * FROM view(SELECT 1)",
    "SELECT name FROM system.tables WHERE database = 'default'",
    "SELECT name FROM system.columns WHERE table = 'guarded'",
    "SELECT * FROM system.settings LIMIT 1",
    "SELECT 'file(''/etc/passwd'')', 'INTO OUTFILE'",
    "SELECT file_name FROM (SELECT 1 AS file_name)",
    "SHOW TABLES",
    "SHOW DATABASES",
    "SHOW CREATE TABLE guarded",
    "SHOW COLUMNS FROM guarded",
    "SHOW PROCESSLIST",
    "DESCRIBE TABLE guarded",
    "EXISTS TABLE guarded",
    "EXPLAIN SELECT x FROM guarded",
    "EXPLAIN PIPELINE SELECT x FROM guarded",
    "EXPLAIN SYNTAX SELECT x FROM guarded",
    "EXPLAIN indexes = 1 SELECT x FROM guarded WHERE x = 1",
    "SELECT version(), timezone(), currentDatabase(), currentUser()",
]  # fmt: skip

WRITER_DENIED = [
    "CREATE TABLE made (x UInt8) ENGINE = Kafka('localhost:1', 't', 'g', 'CSV')",
    "CREATE TABLE made (x UInt8) ENGINE=File(CSV, '{new}')",
    "CREATE TABLE made (x UInt8) ENGINE = URL('{url}', CSV)",
    "CREATE TABLE made ENGINE = S3('{url}', CSV) AS SELECT 1 AS x",
    "CREATE TABLE made (x UInt8) ENGINE = ReplicatedMergeTree('/a', 'b') ORDER BY x",
    "CREATE TABLE made (x UInt8) ENGINE = Distributed('c', 'd', 't')",
    "CREATE TABLE made (x UInt8) ENGINE = MySQL('localhost:1', 'd', 't', 'u', 'p')",
    "CREATE TABLE made (x UInt8) ENGINE = Executable('id', CSV)",
    "CREATE TABLE made (x UInt8) ENGINE = FileLog('/tmp', 'CSV')",
    "CREATE TABLE made AS url('{url}', CSV, 'x UInt8')",
    "CREATE TABLE made AS file('{file}')",
    "CREATE MATERIALIZED VIEW made ENGINE = URL('{url}', CSV) AS SELECT x FROM guarded",
    "CREATE DATABASE made ENGINE = MySQL('localhost:1', 'd', 'u', 'p')",
    "CREATE DATABASE made ENGINE = Filesystem('/')",
    "ATTACH TABLE made (x UInt8) ENGINE = Kafka('localhost:1', 't', 'g', 'CSV')",
    "CREATE DICTIONARY made (x UInt64) PRIMARY KEY x SOURCE(HTTP(URL '{url}' FORMAT CSV)) LAYOUT(FLAT()) LIFETIME(1)",
    "CREATE DICTIONARY m (x Int8) PRIMARY KEY x SOURCE(EXECUTABLE(COMMAND 'id' FORMAT TSV)) LAYOUT(FLAT()) LIFETIME(1)",
    "INSERT INTO FUNCTION file('{new}', CSV, 'x String') SELECT 'a'",
    "INSERT INTO FUNCTION file('{new}', CSV, 'x String') FORMAT CSV\na",
    "INSERT INTO guarded SELECT length(file('{file}'))",
    "SELECT file('{file}')",
    "SELECT 1 INTO OUTFILE '{new}'",
    "BACKUP TABLE guarded TO File('{new}')",
    "SYSTEM SHUTDOWN",
    "SYSTEM KILL",
    "SELECT 1; SELECT 2",
]  # fmt: skip

WRITER_ALLOWED = [
    "CREATE DATABASE IF NOT EXISTS apart",
    "CREATE TABLE apart.t (x UInt8, t DateTime) ENGINE = ReplacingMergeTree(x) ORDER BY x TTL t + toIntervalDay(1)",
    "CREATE TABLE apart.same AS apart.t",
    "CREATE TABLE apart.a ENGINE = AggregatingMergeTree ORDER BY x AS SELECT x, maxState(x) m FROM apart.t GROUP BY x",
    "CREATE TABLE apart.b AS apart.t ENGINE = Buffer(apart, t, 1, 1, 1, 1, 1, 1, 1)",
    "CREATE TABLE apart.n (x UInt8) ENGINE = Null",
    "CREATE TABLE apart.m (x UInt8) ENGINE Memory",
    "CREATE VIEW apart.v AS SELECT x FROM apart.t",
    "CREATE MATERIALIZED VIEW apart.mv TO apart.m AS SELECT x FROM apart.n",
    "CREATE DICTIONARY apart.d (x UInt64) PRIMARY KEY x SOURCE(CLICKHOUSE(TABLE 't')) LAYOUT(FLAT()) LIFETIME(1)",
    "ALTER TABLE apart.t ADD COLUMN IF NOT EXISTS y String DEFAULT 'z'",
    "INSERT INTO apart.t (x) VALUES (1)",
    "INSERT INTO apart.n SELECT number FROM numbers(2)",
    "OPTIMIZE TABLE apart.t FINAL",
    "SYSTEM STOP MERGES apart.t",
    "SYSTEM START MERGES apart.t",
    "DELETE FROM apart.t WHERE x = 1",
    "TRUNCATE TABLE apart.t",
    "DROP TABLE apart.a SYNC",
    "KILL QUERY WHERE query_id = 'none'",
    "SET max_threads = 1",
    "DROP DATABASE apart SYNC",
]  # fmt: skip


class _Counting(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.calls += 1  # type: ignore[attr-defined]  # put there by the fixture
        self.send_response(200)
        self.end_headers()
        self.wfile.write(CANARY.encode())

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in http.server
        """Print nothing."""


@pytest.fixture(scope="module")
def lure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A file and a server that nobody may reach; on leaving, nobody has reached the server."""
    directory = tmp_path_factory.mktemp("lure")
    (directory / "secret.txt").write_text(CANARY + "\n", encoding="ascii")
    server = HTTPServer(("127.0.0.1", 0), _Counting)
    server.calls = 0  # type: ignore[attr-defined]  # its own counter
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield {
        "file": str(directory / "secret.txt"),
        "new": str(directory / "new.txt"),
        "url": f"http://127.0.0.1:{server.server_port}/x.csv",
        "canary": CANARY,
    }
    server.shutdown()
    thread.join()
    server.server_close()
    assert server.calls == 0  # type: ignore[attr-defined]  # its own counter


@pytest.fixture
async def guarded(store: Store) -> Store:
    await store.write("CREATE TABLE IF NOT EXISTS guarded (x UInt64) ENGINE = MergeTree ORDER BY x")
    return store


async def test_readers_are_kept_to_reading(guarded: Store, lure: dict[str, str]) -> None:
    """Scenario: every way we know for a reader to write, read files, reach the network, or change limits.

    Guarantees: each is refused, no file appears, no file's content or remote answer comes back, nothing has changed.
    """
    await guarded.write("INSERT INTO guarded VALUES (7)")
    before = (await guarded.read("SELECT name, create_query FROM system.databases, system.tables ORDER BY ALL")).body
    let_through = []
    for text in DENIED:
        answer = await guarded.read(text.format(**lure))
        if answer.status == 200 or CANARY.encode() in answer.body.replace(f"'{CANARY}'".encode(), b""):
            let_through.append((text, answer.text[:100]))

    assert let_through == []
    assert not Path(lure["new"]).exists()
    assert (
        await guarded.read("SELECT name, create_query FROM system.databases, system.tables ORDER BY ALL")
    ).body == before
    assert (await guarded.read("SELECT count() > 0 FROM guarded")).text == "1\n"


@pytest.mark.parametrize("settings", DENIED_SETTINGS, ids=lambda settings: next(iter(settings)))
async def test_settings_that_would_let_readers_out(
    guarded: Store, lure: dict[str, str], settings: dict[str, str]
) -> None:
    """Scenario: the query is harmless, a setting in the URL is not. Guarantees: refused; nothing is read or written."""
    answer = await guarded.read("SELECT 1 AS x", **{name: value.format(**lure) for name, value in settings.items()})

    assert answer.status != 200, answer.text
    assert CANARY not in answer.text
    assert not Path(lure["new"]).exists()


@pytest.mark.parametrize("sql", ALLOWED)
async def test_ordinary_reading_works(guarded: Store, sql: str) -> None:
    """Scenario: what people and dashboards ask. Guarantees: the guard is not in the way."""
    answer = await guarded.read(sql.replace("{{", "{").replace("}}", "}"))

    assert answer.status == 200, answer.text


async def test_the_writer_cannot_break_the_store(guarded: Store, lure: dict[str, str]) -> None:
    """Scenario: DDL that leaves chdb unusable, or reaches outside. Guarantees: refused before anything is made."""
    let_through = []
    for text in WRITER_DENIED:
        answer = await guarded.post(
            text.format(**lure).encode(), {"X-ClickHouse-User": "jobsight", "X-ClickHouse-Key": "s3cret"}
        )
        if answer.status == 200:
            let_through.append(text)

    assert let_through == []
    assert not Path(lure["new"]).exists()
    assert (await guarded.read("EXISTS TABLE made")).text == "0\n"


async def test_the_writer_does_what_an_exporter_needs(store: Store) -> None:
    """Scenario: databases, tables, views, changes. Guarantees: all of it works."""
    for sql in WRITER_ALLOWED:
        await store.write(sql)


async def test_get_only_reads(store: Store) -> None:
    """Scenario: the writer asks for a change with GET. Guarantees: ClickHouse's answer for that, and no change."""
    answer = await store.get("DROP TABLE guarded", user="jobsight", password="s3cret")
    assert (answer.status, answer.code) == (500, "164")
    assert "method GET implies readonly" in answer.text
    insert = await store.get("INSERT INTO guarded FORMAT CSV", user="jobsight", password="s3cret")
    assert insert.code == "164"
    assert (await store.get("SELECT 1")).text == "1\n"
