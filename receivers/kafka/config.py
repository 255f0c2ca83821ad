"""What users may write for the Kafka receiver: the Collector's keys; `dead_letter` and `intake` are ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from pipeline import Config
from pipeline.config.values import Duration
from pipeline.kafka.config import KafkaClient
from pipeline.kinds import Signal

Encoding = Literal["otlp_proto", "otlp_json"]
Strategy = Literal["range", "roundrobin", "sticky", "cooperative-sticky"]

_FOREIGN: Final = frozenset(
    {"jaeger_proto", "jaeger_json", "zipkin_proto", "zipkin_json", "zipkin_thrift", "raw", "text", "json",
     "azure_resource_logs"}
)  # fmt: skip
_AFTER_DELIVERY: Final = "offsets are committed once the rows were delivered, never before"

TOPICS: Final[Mapping[Signal, str]] = {
    Signal.TRACES: "otlp_spans",
    Signal.METRICS: "otlp_metrics",
    Signal.LOGS: "otlp_logs",
}


def _known_encoding(value: object) -> object:
    if value in _FOREIGN or (isinstance(value, str) and value.startswith("text_")):
        raise ValueError(f'not supported by jobsight: "{value}" (known: otlp_proto, otlp_json)')
    return value


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f'"{text}" is no regular expression: {error}') from error
    return text


class SignalTopics(Config):
    """`traces`, `metrics`, `logs`: where a signal comes from, and in which form."""

    topics: tuple[str, ...] = ()
    """An entry that begins with ^ is a regular expression. Unset: `otlp_spans`, `otlp_metrics`, `otlp_logs`."""

    topic: str = ""
    """Deprecated: one entry of `topics`."""

    exclude_topics: tuple[str, ...] = ()
    """Regular expressions: topics that the ones in `topics` find and that are not wanted."""

    encoding: Annotated[Encoding, BeforeValidator(_known_encoding)] | None = None
    """`otlp_proto` or `otlp_json`. Unset: the deprecated `encoding` beside `brokers`, else `otlp_proto`."""

    @field_validator("topics", "exclude_topics")
    @classmethod
    def _expressions(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            if not entry:
                raise ValueError("an entry is empty")
            if entry.startswith("^"):
                _pattern(entry)
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.topics and self.topic:
            raise ValueError("topics, topic: give one of them; topic is the deprecated spelling")
        if self.exclude_topics and not any(entry.startswith("^") for entry in (*self.topics, self.topic)):
            raise ValueError("exclude_topics, topics: exclude_topics needs a regular expression in topics")
        for entry in self.exclude_topics:
            _pattern(entry)
        return self


class Autocommit(Config):
    """`autocommit`: when offsets of delivered rows are committed."""

    enable: bool = True
    """Off: as soon as something was delivered, instead of every `interval`."""

    interval: Duration = Field(1.0, gt=0)


class HeaderExtraction(Config):
    """`header_extraction`."""

    extract_headers: bool = False
    headers: tuple[str, ...] = ()

    @field_validator("extract_headers")
    @classmethod
    def _not_here(cls, value: bool) -> bool:
        if value:
            raise ValueError("not supported by jobsight: messages are decoded together, without their headers")
        return value


class DeadLetter(Config):
    """`dead_letter`: what becomes of messages that do not decode (jobsight's own key)."""

    topic: str = ""
    """They go there as they came, with headers that say why and from where. Unset: they are skipped and counted."""

    max_run: int = Field(1000, ge=0)
    """So many in a row mean that the encoding is wrong: the program stops instead of setting everything aside. 0: no
    limit."""


class Intake(Config):
    """`intake`: how much is taken in (jobsight's own key)."""

    max_unfinished_messages: int = Field(1_000_000, gt=0)
    """Messages read whose rows were not delivered yet, as in a tail sampler; beyond it nothing more is read."""

    handover_timeout: Duration = 5.0
    """How long a partition that may go to another consumer waits for its rows to be delivered."""


class KafkaReceiverConfig(KafkaClient):
    """Topics, group, fetch sizes."""

    ignored_keys: ClassVar[Mapping[str, str]] = {
        "message_marking": _AFTER_DELIVERY,
        "error_backoff": "rows that cannot be delivered wait in the exporters' queues and are tried again there",
        "partition_processing": "partitions are decoded together and wait for each other only when pipelines are full",
        "use_leader_epoch": "the client decides that",
        "default_fetch_size": "use max_partition_fetch_size",
        "profiles": "profiles are not received",
    }

    traces: SignalTopics = SignalTopics()
    metrics: SignalTopics = SignalTopics()
    logs: SignalTopics = SignalTopics()

    topic: str = ""
    """Deprecated: for the signals that do not set their own."""

    encoding: Annotated[Encoding, BeforeValidator(_known_encoding)] | None = None
    """Deprecated: for the signals that do not set their own."""

    group_id: str = Field("otel-collector", min_length=1)
    """Consumers with the same one share the partitions."""

    group_instance_id: str = ""
    """A name that stays over restarts: the group waits `session_timeout` for it instead of sharing anew."""

    rack_id: str = ""
    """Where we are, to read from the nearest replica."""

    initial_offset: str = "latest"
    """`latest` or `earliest`: where a group begins that has committed nothing yet."""

    session_timeout: Duration = Field(10.0, gt=0)
    heartbeat_interval: Duration = Field(3.0, gt=0)
    group_rebalance_strategies: tuple[Strategy, ...] = ()
    """`range`, `roundrobin`, `sticky`; unset: `range`, which gives partitions of equal number to the same consumer.

    `cooperative-sticky` works as `sticky`.
    """

    group_rebalance_strategy: Strategy | None = None
    """Deprecated: one entry of `group_rebalance_strategies`."""

    min_fetch_size: int = Field(1, gt=0)
    max_fetch_size: int = Field(1_048_576, ge=0)
    """Bytes of one answer of a broker; 0 is 50 MiB."""

    max_partition_fetch_size: int = Field(1_048_576, gt=0)
    max_fetch_wait: Duration = Field(0.25, gt=0)
    autocommit: Autocommit = Autocommit()
    header_extraction: HeaderExtraction = HeaderExtraction()
    dead_letter: DeadLetter = DeadLetter()
    intake: Intake = Intake()

    @field_validator("initial_offset")
    @classmethod
    def _known_offset(cls, value: str) -> str:
        if value not in ("latest", "earliest"):
            raise ValueError(f"initial_offset should be one of 'latest' or 'earliest'. configured value {value}")
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.group_rebalance_strategies and self.group_rebalance_strategy:
            raise ValueError("group_rebalance_strategies, group_rebalance_strategy: give one of them")
        if 0 < self.max_fetch_size < self.min_fetch_size:
            raise ValueError(
                f"max_fetch_size, min_fetch_size: max_fetch_size ({self.max_fetch_size}) must not be below "
                f"min_fetch_size ({self.min_fetch_size})"
            )
        if self.heartbeat_interval >= self.session_timeout:
            raise ValueError("heartbeat_interval, session_timeout: heartbeat_interval must be below session_timeout")
        return self

    def topics_of(self, signal: Signal) -> tuple[str, ...]:
        section: SignalTopics = getattr(self, signal)
        return section.topics or tuple(filter(None, (section.topic or self.topic,))) or (TOPICS[signal],)

    def encoding_of(self, signal: Signal) -> Encoding:
        section: SignalTopics = getattr(self, signal)
        return section.encoding or self.encoding or "otlp_proto"

    @property
    def strategies(self) -> tuple[Strategy, ...]:
        single = () if self.group_rebalance_strategy is None else (self.group_rebalance_strategy,)
        return self.group_rebalance_strategies or single or ("range",)

    def fetching(self) -> dict[str, Any]:
        """Return aiokafka's arguments for how a group member reads."""
        return {
            "group_id": self.group_id,
            "group_instance_id": self.group_instance_id or None,
            "client_rack": self.rack_id or None,
            "session_timeout_ms": round(self.session_timeout * 1000),
            "heartbeat_interval_ms": round(self.heartbeat_interval * 1000),
            "fetch_min_bytes": self.min_fetch_size,
            "fetch_max_bytes": self.max_fetch_size or 52_428_800,
            "max_partition_fetch_bytes": self.max_partition_fetch_size,
            "fetch_max_wait_ms": round(self.max_fetch_wait * 1000),
        }
