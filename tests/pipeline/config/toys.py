"""Small components with every sort of key, for tests of the configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline import Batch, Config, Exporter, Extension, Kind, Processor, Receiver
from pipeline.config.tls import TLSServer
from pipeline.config.values import ByteSize, Duration, Endpoint, Present, Secret
from pipeline.registry import Registry


class ListenerConfig(Config):
    ignored_keys: ClassVar[Mapping[str, str]] = {
        "read_buffer_size": "the library chooses its buffers",
        "cors.max_age": "browsers cache as they like",
    }
    unsupported_keys: ClassVar[Mapping[str, str]] = {
        "auth": "there are no authenticators yet",
        "cors.allowed_origins": "browsers are not served",
    }

    endpoint: Endpoint = "localhost:4317"
    max_size: ByteSize = 4 << 20
    tls: TLSServer | None = None


class ProtocolsConfig(Config):
    grpc: Annotated[ListenerConfig | None, Present] = None
    http: Annotated[ListenerConfig | None, Present] = None


class OTLPConfig(Config):
    ignored_keys: ClassVar[Mapping[str, str]] = {"protocols.grpc.write_buffer_size": "declared two levels up"}

    protocols: ProtocolsConfig

    @model_validator(mode="after")
    def _one_protocol(self) -> Self:
        if self.protocols.grpc is None and self.protocols.http is None:
            raise ValueError("protocols: must specify at least one of grpc and http")
        return self


class OTLP(Receiver[OTLPConfig]):
    """Takes what workers send."""

    kind = "otlp"
    Config = OTLPConfig

    async def stop_accepting(self) -> None:
        pass


class BatchConfig(Config):
    timeout: Duration = 0.2
    send_batch_size: Annotated[int, Field(ge=0)] = 8192
    send_batch_max_size: Annotated[int, Field(ge=0)] = 0
    metadata_keys: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        if 0 < self.send_batch_max_size < self.send_batch_size:
            raise ValueError("send_batch_max_size must be greater or equal to send_batch_size")
        return self


class _Passing(Processor[Any]):
    handles = frozenset({Kind.SPANS})

    def process(self, batch: Batch) -> Iterable[Batch]:
        yield batch


class BatchProcessor(_Passing):
    """Joins small batches."""

    kind = "batch"
    Config = BatchConfig


class LatencyPolicy(Config):
    name: str
    type: Literal["latency"]
    threshold_ms: int


class StatusCode(StrEnum):
    OK = "OK"
    ERROR = "ERROR"


class StatusPolicy(Config):
    name: str
    type: Literal["status_code"]
    status_codes: Annotated[tuple[StatusCode, ...], Field(min_length=1)]


class AndPolicy(Config):
    name: str
    type: Literal["and"]
    and_sub_policy: tuple[Policy, ...]


Policy = Annotated[LatencyPolicy | StatusPolicy | AndPolicy, Field(discriminator="type")]


class SamplingConfig(Config):
    num_traces: Annotated[int, Field(gt=0)] = 50_000
    ratio: Annotated[float, Field(le=1)] = 1.0
    strict: bool = False
    policies: tuple[Policy, ...] = ()


class Sampling(_Passing):
    """Keeps the traces that matter."""

    kind = "tail_sampling"
    Config = SamplingConfig


class TableConfig(Config):
    name: str
    engine: str | None = None


class ClickHouseConfig(Config):
    endpoint: str
    username: str = ""
    password: Secret = Secret("")
    headers: dict[str, Secret] = Field(default_factory=dict)
    database: Annotated[str, Field(min_length=1, max_length=64, pattern="^[a-z_]+$")] = "default"
    compress: Literal["none", "lz4", "zstd"] = "lz4"
    ttl: Duration | None = None
    acks: Literal["all"] | int = 1
    table: str | TableConfig = "otel_traces"
    kinds: frozenset[Literal["spans", "logs"]] = frozenset({"spans"})
    retries: Annotated[int, Field(ge=0, le=10)] = 3
    labels: dict[str, str] = Field(default_factory=dict)
    value: Any = None


class ClickHouse(Exporter[ClickHouseConfig]):
    """Writes to ClickHouse."""

    kind = "clickhouse"
    Config = ClickHouseConfig

    async def export(self, batch: Batch) -> None:
        pass


class NoConfig(Config):
    """No keys."""


class Debug(Exporter[NoConfig]):
    """Prints."""

    kind = "debug_sink"
    aliases = ("debugsink",)
    Config = NoConfig
    handles = frozenset({Kind.SPANS})

    async def export(self, batch: Batch) -> None:
        pass


class HealthCheck(Extension[NoConfig]):
    """Says whether we run."""

    kind = "health_check"
    Config = NoConfig


REGISTRY = Registry.of(OTLP, BatchProcessor, Sampling, ClickHouse, Debug, HealthCheck)

GOOD = """
receivers:
  otlp:
    protocols:
      grpc:
processors:
  batch:
exporters:
  clickhouse:
    endpoint: http://localhost:8123
service:
  pipelines:
    traces:
      receivers: [otlp]
      processors: [batch]
      exporters: [clickhouse]
"""
