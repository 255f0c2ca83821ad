"""What users may write for the ClickHouse exporter: the Collector's keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from exporters.clickhouse.address import Address, read_endpoint
from pipeline import Config
from pipeline.config.tls import TLSClient
from pipeline.config.values import Duration, Secret
from pipeline.exporting import ExporterConfig

EMBEDDED: Final = "embedded"

Compression = Literal["none", "lz4", "zstd", "gzip", "deflate", "br"]
_COMPRESSIONS: Final[tuple[Compression, ...]] = ("none", "lz4", "zstd", "gzip", "deflate", "br")

_ENGINE: Final = re.compile(r"[A-Za-z]+MergeTree|MergeTree")


class TableName(Config):
    """One of `metrics_tables`."""

    name: str = Field(min_length=1)


class MetricsTables(Config):
    """`metrics_tables`: a table for each type of metric."""

    gauge: TableName = TableName(name="otel_metrics_gauge")
    sum: TableName = TableName(name="otel_metrics_sum")
    histogram: TableName = TableName(name="otel_metrics_histogram")
    exponential_histogram: TableName = TableName(name="otel_metrics_exponential_histogram")
    summary: TableName = TableName(name="otel_metrics_summary")


class TableEngine(Config):
    """`table_engine`: what created tables are made with.

    `jobs` gets the replacing engine, `job_dependencies` the aggregating one that is as replicated.
    """

    name: str = ""
    """An engine of the MergeTree family; unset: `MergeTree`."""

    params: str = ""
    """What stands in the engine's parentheses, as SQL. Without `name` it is ignored, as in the Collector."""

    @field_validator("name")
    @classmethod
    def _family(cls, value: str) -> str:
        if value and not _ENGINE.fullmatch(value):
            raise ValueError(f'must be an engine of the MergeTree family, such as ReplicatedMergeTree, is "{value}"')
        return value


class ClickHouseConfig(ExporterConfig):
    """Writes to the tables of the Collector's ClickHouse exporter, and to `jobs`, over ClickHouse's HTTP interface."""

    unsupported_keys: ClassVar[Mapping[str, str]] = {
        "json": "attributes are stored as Map columns, which every server and dashboard knows",
    }
    ignored_keys: ClassVar[Mapping[str, str]] = {"profiles_table_name": "profiles are not received"}

    endpoint: str
    """`embedded` for the store that extension `embedded_clickhouse` runs, or `http://host:8123`, `https://host:8443`.

    Several replicas are separated by commas; the first that answers is used. Parameters are server settings.
    """

    username: str = ""
    """Replaces user and password of the URL. Unset: the server's `default` user without a password."""

    password: Secret = Secret("")

    database: str = "default"
    """The URL's path says it too; a value other than `default` wins."""

    connection_params: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Server settings for every statement; they win over those in the URL."""

    ttl: Duration = 0.0
    """How long created tables keep rows; 0 is for ever. Whole seconds."""

    create_schema: bool = True
    """Create database, tables and view before the first insert. Off: they are expected to be there."""

    compress: Compression | bool | None = None
    """How inserts are compressed; `true` is lz4, `false` is none. Unset: lz4, and none to this machine."""

    async_insert: bool = False
    """Let the server collect inserts. Batches are whole here, so it only makes each of them wait."""

    tls: TLSClient | None = None
    """For `https://` endpoints: authorities, client certificate, verification."""

    logs_table_name: str = Field("otel_logs", min_length=1)

    traces_table_name: str = Field("otel_traces", min_length=1)

    jobs_table_name: str = Field("jobs", min_length=1)
    """The table of executions and enqueues; its views are named after it without a final "s": `job_summary`."""

    job_dependencies_table_name: str = Field("job_dependencies", min_length=1)

    failure_clusters_table_name: str = Field("failure_clusters", min_length=1)

    alerts_table_name: str = Field("job_alerts", min_length=1)

    metrics_tables: MetricsTables = MetricsTables()

    metrics_table_name: str = ""
    """Deprecated: a prefix for the five tables, used where no `metrics_tables` name is set."""

    cluster_name: str = ""
    """Adds `ON CLUSTER` to every CREATE."""

    table_engine: TableEngine = TableEngine()

    @field_validator("ttl")
    @classmethod
    def _whole_seconds(cls, value: float) -> float:
        if value != int(value):
            raise ValueError(f"must be whole seconds, is {value:g} s")
        return value

    @field_validator("database")
    @classmethod
    def _named(cls, value: str) -> str:
        return value or "default"

    @model_validator(mode="after")
    def _check_address(self) -> Self:
        if self.endpoint == EMBEDDED:
            for key in ("username", "tls"):
                if getattr(self, key):
                    raise ValueError(f"{key}, endpoint: {key} is not used with endpoint: {EMBEDDED}")
            return self
        address = read_endpoint(self.endpoint, self.params)
        if address.compress is not None:
            _compression(address.compress)
        if self.tls is not None and not address.encrypted and not self.tls.plain:
            raise ValueError('tls, endpoint: tls is set, so the endpoint must begin with "https://"')
        return self

    @property
    def params(self) -> dict[str, str]:
        """`connection_params` as text."""
        return {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in self.connection_params.items()
        }

    def table_names(self) -> dict[str, str]:
        """Return the name of each table by its key (`exporters.clickhouse.tables`)."""
        prefix = "" if self.metrics_tables.model_fields_set else self.metrics_table_name
        metrics = {kind: f"{prefix}_{kind}" if prefix else table.name for kind, table in self.metrics_tables}
        return {
            "traces": self.traces_table_name,
            "logs": self.logs_table_name,
            **metrics,
            "jobs": self.jobs_table_name,
            "job_dependencies": self.job_dependencies_table_name,
            "failure_clusters": self.failure_clusters_table_name,
            "alerts": self.alerts_table_name,
        }

    def database_of(self, address: Address) -> str:
        """Return the database: a configured one that is not `default`, else the URL's, else `default`."""
        return self.database if self.database != "default" else address.database or "default"

    def compression_of(self, address: Address) -> Compression:
        """Return the compression of inserts: the URL's, else the configured one, else by distance."""
        if address.compress is not None:
            return _compression(address.compress)
        if isinstance(self.compress, bool):
            return "lz4" if self.compress else "none"
        return self.compress or ("none" if address.local else "lz4")


def _compression(text: str) -> Compression:
    """Read `compress=` of a URL, which may also be a truth value."""
    for known in _COMPRESSIONS:
        if text == known:
            return known
    if text in ("true", "1", ""):
        return "lz4"
    if text in ("false", "0"):
        return "none"
    raise ValueError(f'endpoint, connection_params: compress must be one of {", ".join(_COMPRESSIONS)}, is "{text}"')
