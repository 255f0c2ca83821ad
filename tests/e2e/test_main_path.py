"""From a client to the query's answer, through the real program."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import clickhouse_connect
import pytest

from pipeline.testing.program import Ports, Program, eventually, jobsight
from tests.e2e.clients import Protocol, Worker, post_json

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    program = Program(tmp_path_factory.mktemp("data") / "clickhouse", Ports()).started()
    yield program
    assert program.stop() == 0


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_spans_of_the_sdk_reach_the_table(program: Program, protocol: Protocol) -> None:
    """Scenario: the real SDK sends 50 jobs over each protocol.

    Guarantees: every span is a row, with its fields in the Collector's form.
    """
    worker = Worker(program.ports, protocol, service=f"sdk-{protocol}")
    worker.run_jobs(50)
    worker.close()
    where = f"FROM otel_traces WHERE ServiceName = 'sdk-{protocol}'"

    eventually(lambda: program.query(f"SELECT count() {where}").strip() == "100", what="100 rows")

    row = program.query(
        "SELECT SpanKind, StatusCode, StatusMessage, SpanAttributes['job'], SpanAttributes['tags'], "
        "ResourceAttributes['host.name'], ScopeName, Events.Name, Links.SpanId = [ParentSpanId], Duration > 0 "
        f"{where} AND SpanAttributes['job'] = '5' FORMAT JSONCompact"
    )
    assert json.loads(row)["data"] == [
        ["Consumer", "Error", "no answer", "5", '["a","b"]', "worker-1", "tests", ["exception"], 1, 1]
    ]
    assert program.query(f"SELECT countIf(StatusCode = 'Error') {where}").strip() == "10"
    assert program.query(f"SELECT uniq(TraceId) {where}") == program.query(
        f"SELECT count() FROM otel_traces_trace_id_ts WHERE TraceId IN (SELECT TraceId {where})"
    )


def test_json_reaches_the_table(program: Program) -> None:
    """Scenario: OTLP/JSON with a number where the specification has a string.

    Guarantees: 200, and the exact nanoseconds in the table.
    """
    span = {
        "traceId": "5B8EFFF798038103D269B633813FC60C",
        "spanId": "eee19b7ec3c1b174",
        "name": "from json",
        "kind": 5,
        "startTimeUnixNano": "1795300000123456789",
        "endTimeUnixNano": 1795300000223456789,
    }

    assert post_json(program.ports, [span]) == 200

    sql = "SELECT TraceId, toString(Timestamp), Duration FROM otel_traces WHERE ServiceName = 'json'"
    eventually(lambda: "5b8efff" in program.query(sql), what="the row")
    assert program.query(sql).split("\t") == [
        "5b8efff798038103d269b633813fc60c",
        "2026-11-21 22:26:40.123456789",
        "100000000\n",
    ]


def test_everyone_can_ask(program: Program) -> None:
    """Scenario: `jobsight query`, plain HTTP and clickhouse-connect put the same question.

    Guarantees: the same answer; writing is refused.
    """
    sql = "SELECT number, toString(number) AS text FROM numbers(3)"

    printed = jobsight("query", sql, "--format", "csv", "--url", f"http://127.0.0.1:{program.ports.clickhouse}")
    client = clickhouse_connect.get_client(host="127.0.0.1", port=program.ports.clickhouse)

    assert printed.returncode == 0
    assert printed.stdout.splitlines()[-3:] == ["0,0", "1,1", "2,2"]
    assert client.query(sql).result_rows == [(0, "0"), (1, "1"), (2, "2")]
    assert program.query(sql) == "0\t0\n1\t1\n2\t2\n"
    assert "DB::Exception" in program.query("INSERT INTO otel_traces (SpanName) VALUES ('x')")
    client.close()


def test_it_tells_how_it_is(program: Program) -> None:
    """Scenario: a running collector that is sent a span.

    Guarantees: health is 200, own metrics count what was sent, the guide names the addresses.
    """
    ports = program.ports
    before = program.metric("otelcol_receiver_accepted_spans")
    assert post_json(ports, [{"traceId": "5b" * 16, "spanId": "ee" * 8}], service="one more") == 200
    assert program.metric("otelcol_receiver_accepted_spans") == before + 1
    assert program.metric("otelcol_process_memory_rss") > 1e6
    with urllib.request.urlopen(f"http://127.0.0.1:{ports.health}/", timeout=5) as answer:
        assert answer.status == 200
    text = "\n".join(program.lines)
    for address in (
        f"127.0.0.1:{ports.grpc}",
        f"http://127.0.0.1:{ports.http}",
        f"http://127.0.0.1:{ports.clickhouse}",
        f"http://127.0.0.1:{ports.health}/",
        f"http://127.0.0.1:{ports.metrics}/metrics",
    ):
        assert address in text
    assert Path(program.data).is_dir()
