"""Keys of the ClickHouse exporter: what they mean and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from exporters.clickhouse.address import Address, read_endpoint
from exporters.clickhouse.config import ClickHouseConfig
from exporters.clickhouse.exporter import insert_settings


def config(**keys: Any) -> ClickHouseConfig:
    return ClickHouseConfig.model_validate({"endpoint": "http://localhost:8123", **keys})


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("http://db", Address(("http://db:8123",))),
        ("https://db", Address(("https://db:8443",))),
        ("https://db:443/", Address(("https://db:443",))),
        ("http://[::1]:8123", Address(("http://[::1]:8123",))),
        ("http://a,b:9,c/otel", Address(("http://a:8123", "http://b:9", "http://c:8123"), database="otel")),
        ("http://me:p%40ss@db/x", Address(("http://db:8123",), "me", "p@ss", "x")),
        ("http://db?username=me&password=s3&database=x", Address(("http://db:8123",), "me", "s3", "x")),
        ("http://db?compress=zstd", Address(("http://db:8123",), compress="zstd")),
        ("http://db?http_path=/click", Address(("http://db:8123/click",))),
        (
            "http://db?max_execution_time=60&dial_timeout=5s&secure=true",
            Address(("http://db:8123",), settings={"max_execution_time": "60"}),
        ),
    ],
)
def test_endpoint_is_read_as_the_collector_does(endpoint: str, expected: Address) -> None:
    """Scenario: forms of an endpoint. Guarantees: hosts, ports, user, database and settings are those meant."""
    assert read_endpoint(endpoint, {}) == expected


def test_connection_params_win_over_the_url() -> None:
    """Scenario: a setting in both places, numbers and truth values in YAML. Guarantees: the key's value, as text."""
    chosen = config(
        endpoint="http://db?max_threads=1&max_execution_time=60",
        connection_params={"max_threads": 4, "insert_quorum_parallel": False},
    )

    address = read_endpoint(chosen.endpoint, chosen.params)

    assert address.settings == {"max_threads": "4", "max_execution_time": "60", "insert_quorum_parallel": "false"}


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"endpoint": ""}, "endpoint must be specified"),
        ({"endpoint": "127.0.0.1:9000"}, 'endpoint must be url format, such as "http://127.0.0.1:8123"'),
        ({"endpoint": "tcp://db:9000/otel"}, 'write "http://db:8123/otel"'),
        ({"endpoint": "clickhouse://u:hush@a:9440,b:9440?secure=true"}, 'write "https://user:password@a:8443,b:8443"'),
        ({"endpoint": "ftp://db"}, 'the scheme must be http or https, is "ftp"'),
        ({"endpoint": "http://"}, "a host is missing"),
        ({"endpoint": "http://a,,b"}, "a host is missing"),
        ({"endpoint": "http://db:99999"}, '"db:99999" is no host:port'),
        ({"endpoint": "http://db?skip_verify=true"}, "use tls.insecure_skip_verify"),
        ({"endpoint": "http://db?compress=lzma"}, 'must be one of none, lz4, zstd, gzip, deflate, br, is "lzma"'),
        ({"connection_params": {"insert_deduplication_token": "x"}}, "every insert gets a token of its own"),
        ({"endpoint": "embedded", "username": "me"}, "username is not used with endpoint: embedded"),
        ({"endpoint": "http://db", "tls": {"ca_file": "ca.pem"}}, 'must begin with "https://"'),
        ({"compress": "snappy"}, "none"),
        ({"ttl": "1500ms"}, "must be whole seconds"),
        ({"ttl": "-1h"}, "must not be negative"),
        ({"table_engine": {"name": "Log"}}, "must be an engine of the MergeTree family, such as ReplicatedMergeTree"),
        ({"table_engine": {"name": "MergeTree(); DROP TABLE x"}}, "must be an engine of the MergeTree family"),
        ({"traces_table_name": ""}, "at least 1 character"),
        ({"jobs_table_name": ""}, "at least 1 character"),
        ({"failure_clusters_table_name": ""}, "at least 1 character"),
        ({"alerts_table_name": ""}, "at least 1 character"),
        ({"metrics_tables": {"gauge": {"name": ""}}}, "at least 1 character"),
        ({"databse": "x"}, "Extra inputs"),
    ],
)
def test_what_cannot_work_is_refused(keys: dict[str, Any], problem: str) -> None:
    """Scenario: a wrong value. Guarantees: one error that says what would be right, and never a password."""
    with pytest.raises(ValidationError) as caught:
        config(**keys)

    assert problem in str(caught.value)
    assert "hush" not in "".join(error["msg"] for error in caught.value.errors())


def test_json_mode_is_named_as_unsupported() -> None:
    """Scenario: a Collector's file with `json`. Guarantees: the loader can say why it is not supported."""
    assert "Map columns" in ClickHouseConfig.unsupported_keys["json"]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, "none"),
        ({"endpoint": "http://127.0.0.2"}, "none"),
        ({"endpoint": "http://db"}, "lz4"),
        ({"endpoint": "http://localhost,db"}, "lz4"),
        ({"compress": True}, "lz4"),
        ({"compress": False, "endpoint": "http://db"}, "none"),
        ({"compress": "zstd"}, "zstd"),
        ({"compress": "zstd", "endpoint": "http://db?compress=br"}, "br"),
        ({"endpoint": "http://db?compress=true"}, "lz4"),
        ({"endpoint": "http://db?compress=0"}, "none"),
    ],
)
def test_compression(keys: dict[str, Any], expected: str) -> None:
    """Scenario: `compress` here, in the URL, unset. Guarantees: URL, key, distance, in this order."""
    chosen = config(**keys)

    assert chosen.compression_of(read_endpoint(chosen.endpoint, chosen.params)) == expected


@pytest.mark.parametrize(
    ("endpoint", "database", "expected"),
    [
        ("http://db", "default", "default"),
        ("http://db/otel", "default", "otel"),
        ("http://db/otel", "mine", "mine"),
        ("http://db/otel", "", "otel"),
    ],
)
def test_database(endpoint: str, database: str, expected: str) -> None:
    """Scenario: a database in the URL's path and in the key. Guarantees: a key other than `default` wins."""
    chosen = config(endpoint=endpoint, database=database)

    assert chosen.database_of(read_endpoint(endpoint, {})) == expected


def test_table_names() -> None:
    """Scenario: defaults, one name changed, the deprecated prefix. Guarantees: the Collector's names, and ours."""
    defaults = config().table_names()
    changed = config(metrics_tables={"sum": {"name": "sums"}}, metrics_table_name="ignored").table_names()
    prefixed = config(
        metrics_table_name="m",
        logs_table_name="l",
        traces_table_name="t",
        jobs_table_name="j",
        job_dependencies_table_name="d",
        alerts_table_name="a",
        failure_clusters_table_name="f",
    ).table_names()

    assert defaults == {
        "traces": "otel_traces",
        "logs": "otel_logs",
        "gauge": "otel_metrics_gauge",
        "sum": "otel_metrics_sum",
        "histogram": "otel_metrics_histogram",
        "exponential_histogram": "otel_metrics_exponential_histogram",
        "summary": "otel_metrics_summary",
        "jobs": "jobs",
        "job_dependencies": "job_dependencies",
        "failure_clusters": "failure_clusters",
        "alerts": "job_alerts",
    }
    assert changed == {**defaults, "sum": "sums"}
    assert prefixed == {
        "traces": "t",
        "logs": "l",
        "gauge": "m_gauge",
        "sum": "m_sum",
        "histogram": "m_histogram",
        "exponential_histogram": "m_exponential_histogram",
        "summary": "m_summary",
        "jobs": "j",
        "job_dependencies": "d",
        "failure_clusters": "f",
        "alerts": "a",
    }


@pytest.mark.parametrize(
    ("keys", "params", "expected"),
    [
        ({}, "", {"async_insert": "0", "deduplicate_blocks_in_dependent_materialized_views": "1"}),
        (
            {"async_insert": True},
            "",
            {"async_insert": "1", "wait_for_async_insert": "1", "async_insert_deduplicate": "1"},
        ),
        (
            {},
            "?async_insert=1&wait_for_async_insert=0",
            {"async_insert": "1", "wait_for_async_insert": "0", "async_insert_deduplicate": "1"},
        ),
        (
            {"async_insert": True},
            "?async_insert=0",
            {"async_insert": "0", "deduplicate_blocks_in_dependent_materialized_views": "1"},
        ),
    ],
)
def test_insert_settings(keys: dict[str, Any], params: str, expected: dict[str, str]) -> None:
    """Scenario: `async_insert` here and in the URL. Guarantees: the URL wins; tokens count in both modes."""
    chosen = config(endpoint=f"http://db{params}", **keys)

    assert insert_settings(chosen, read_endpoint(chosen.endpoint, chosen.params)) == expected


def test_secrets_are_not_shown() -> None:
    """Scenario: config and address are printed. Guarantees: no password in either."""
    chosen = config(username="me", password="hush")
    address = read_endpoint("http://me:hush@db", {}).as_user("me", "hush")

    assert "hush" not in repr(chosen) + str(chosen) + repr(address)
