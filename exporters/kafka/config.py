"""What users may write for the Kafka exporter: the Collector's keys, and topics for our own kinds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from pipeline import Config, Kind
from pipeline.config.values import Duration, Present
from pipeline.exporting import ExporterConfig
from pipeline.kafka.config import KafkaClient

Encoding = Literal["otlp_proto", "otlp_json"]
Compression = Literal["none", "gzip", "snappy", "lz4", "zstd"]

_NO_METADATA: Final = "request metadata does not travel with batches"
_FOREIGN: Final = frozenset({"jaeger_proto", "jaeger_json", "zipkin_proto", "zipkin_json", "raw"})


def _known_encoding(value: object) -> object:
    if value in _FOREIGN:
        raise ValueError(f'not supported by jobsight: "{value}" (known: otlp_proto, otlp_json)')
    return value


class SignalTopic(Config):
    """Where a signal of OTLP goes, and in which form."""

    unsupported_keys: ClassVar[Mapping[str, str]] = {
        "topic_from_metadata_key": _NO_METADATA,
        "message_key_from_metadata_key": _NO_METADATA,
    }

    topic: str = ""
    """Unset: the deprecated `topic` beside `brokers`, else `otlp_spans`, `otlp_metrics`, `otlp_logs`."""

    encoding: Annotated[Encoding, BeforeValidator(_known_encoding)] | None = None
    """`otlp_proto` or `otlp_json`. Unset: the deprecated `encoding` beside `brokers`, else `otlp_proto`."""


class RowTopic(Config):
    """Where rows of a kind of ours go; they are always JSON."""

    topic: str = Field(min_length=1)


class Hasher(Config):
    """`record_partitioner.sticky_key`."""

    hasher: Literal["sarama_compat", "murmur2"] = "sarama_compat"
    """How a key chooses its partition: as Sarama and the Collector do (FNV-1a), or as Kafka's Java clients do."""


class Partitioner(Config):
    """`record_partitioner`: exactly one of them."""

    unsupported_keys: ClassVar[Mapping[str, str]] = {
        "least_backup": "use sticky_key or round_robin",
        "extension": "there are no partitioner extensions",
    }

    sticky_key: Annotated[Hasher | None, Present] = None
    round_robin: Annotated[Config | None, Present] = None
    """Partitions in turn, whatever the key."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.sticky_key is not None and self.round_robin is not None:
            raise ValueError("sticky_key, round_robin: give one of them")
        return self


class CompressionParams(Config):
    """`producer.compression_params`."""

    level: int = 0
    """Only 0: every codec works at its default level."""

    @field_validator("level")
    @classmethod
    def _default_only(cls, value: int) -> int:
        if value not in (0, -1):
            raise ValueError("not supported by jobsight: codecs work at their default level; leave it out")
        return value


class Producer(Config):
    """`producer`."""

    ignored_keys: ClassVar[Mapping[str, str]] = {
        "flush_max_messages": "a record batch ends at producer.max_message_bytes or after producer.linger",
        "max_broker_write_bytes": "requests are bounded by partitions times producer.max_message_bytes",
    }

    max_message_bytes: int = Field(1_000_000, ge=1024)
    """The largest record batch, so also the largest message, before compression. What is larger is split by rows."""

    required_acks: int | Literal["all"] = 1
    """`0`: nobody confirms. `1`: the leader has it. `all` or `-1`: the replicas in sync have it."""

    compression: Compression = "none"
    compression_params: CompressionParams = CompressionParams()
    allow_auto_topic_creation: bool = True
    """Off: a topic that does not exist is an error at once. On: the brokers are given the time to create it."""

    linger: Duration = 0.01
    """How long a record batch waits for more of other exports."""

    idempotence: bool = False
    """Brokers drop what they already have when the client repeats it (jobsight's own key); needs acks of all."""

    @field_validator("required_acks")
    @classmethod
    def _known_acks(cls, value: int | str) -> int | str:
        if value not in ("all", -1, 0, 1):
            raise ValueError(f"expected 'all' (-1), 0, or 1; configured value is {value}")
        return value

    @field_validator("compression", mode="before")
    @classmethod
    def _known_compression(cls, value: object) -> object:
        if value not in ("none", "gzip", "snappy", "lz4", "zstd"):
            raise ValueError(
                "compression should be one of 'none', 'gzip', 'snappy', 'lz4', or 'zstd'. "
                f'configured value is "{value}"'
            )
        return value

    @model_validator(mode="after")
    def _confirmed(self) -> Self:
        if self.idempotence and self.acks != -1:
            raise ValueError(
                f"idempotence, required_acks: idempotence needs required_acks: all, is {self.required_acks}"
            )
        return self

    @property
    def acks(self) -> int:
        return -1 if isinstance(self.required_acks, str) else self.required_acks


class KafkaExporterConfig(KafkaClient, ExporterConfig):
    """Topics, keys and producer settings."""

    unsupported_keys: ClassVar[Mapping[str, str]] = {
        "include_metadata_keys": _NO_METADATA,
    }
    ignored_keys: ClassVar[Mapping[str, str]] = {"profiles": "profiles are not received"}

    traces: SignalTopic = SignalTopic()
    metrics: SignalTopic = SignalTopic()
    logs: SignalTopic = SignalTopic()
    jobs: RowTopic = RowTopic(topic="jobs")
    job_dependencies: RowTopic = RowTopic(topic="job_dependencies")
    failure_clusters: RowTopic = RowTopic(topic="failure_clusters")
    alerts: RowTopic = RowTopic(topic="job_alerts")

    topic: str = ""
    """Deprecated: for the signals that do not set their own."""

    encoding: Annotated[Encoding, BeforeValidator(_known_encoding)] | None = None
    """Deprecated: for the signals that do not set their own."""

    topic_from_attribute: str = ""
    """Rows whose resource has this attribute, as a text that is not empty, go to the topic that it names."""

    record_headers: dict[str, str] = Field(default_factory=dict)
    """Headers of every message."""

    partition_traces_by_id: bool = False
    """A message for each trace, keyed by its id in hex: every trace is whole on one partition."""

    partition_metrics_by_resource_attributes: bool = False
    """A message for each resource, keyed by a hash of its attributes."""

    partition_logs_by_resource_attributes: bool = False
    partition_logs_by_trace_id: bool = False
    """A message for each trace id of logs, keyed as spans are; logs without one have no key."""

    record_partitioner: Partitioner = Partitioner()
    producer: Producer = Producer()

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if self.partition_logs_by_resource_attributes and self.partition_logs_by_trace_id:
            raise ValueError(
                "partition_logs_by_resource_attributes, partition_logs_by_trace_id: logs can have one key, not both"
            )
        return self

    def topic_of(self, kind: Kind) -> str:
        """Return where rows go that no attribute sends elsewhere."""
        section = getattr(self, _SECTIONS.get(kind, kind))
        if isinstance(section, RowTopic):
            return section.topic
        return section.topic or self.topic or _TOPICS[kind]

    def forwards(self, kind: Kind) -> bool:
        """Whether nothing in a request decides on its messages: it can be one as it came."""
        keyed = {
            Kind.SPANS: self.partition_traces_by_id,
            Kind.METRICS: self.partition_metrics_by_resource_attributes,
            Kind.LOGS: self.partition_logs_by_trace_id or self.partition_logs_by_resource_attributes,
        }
        return self.encoding_of(kind) == "otlp_proto" and not keyed[kind] and not self.topic_from_attribute

    def encoding_of(self, kind: Kind) -> Encoding | Literal["json"]:
        section = getattr(self, _SECTIONS.get(kind, kind))
        if isinstance(section, RowTopic):
            return "json"
        return section.encoding or self.encoding or "otlp_proto"


_SECTIONS: Final[Mapping[Kind, str]] = {Kind.SPANS: "traces"}
"""The keys of kinds that are not called as the kind is."""

_TOPICS: Final[Mapping[Kind, str]] = {
    Kind.SPANS: "otlp_spans",
    Kind.METRICS: "otlp_metrics",
    Kind.LOGS: "otlp_logs",
}
