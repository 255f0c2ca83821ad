from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from pipeline.config.load import load_plan
from pipeline.config.values import WRITTEN
from pipeline.errors import ConfigError, StartError
from pipeline.kinds import Signal
from pipeline.registry import Registry
from receivers.kafka.config import KafkaReceiverConfig
from receivers.kafka.topics import Wanted


def read(**keys: object) -> KafkaReceiverConfig:
    return KafkaReceiverConfig.model_validate(keys, context=WRITTEN)


def test_defaults_are_the_collectors() -> None:
    """Scenario: nothing is written. Guarantees: the Collector's topics, group, offsets and times."""
    config = read()
    wanted = Wanted.of(config, Signal)

    assert wanted.subscription() == {"topics": ["otlp_logs", "otlp_metrics", "otlp_spans"]}
    assert wanted.signal("otlp_logs") is Signal.LOGS
    assert wanted.signal("other") is None
    assert (config.group_id, config.initial_offset, config.session_timeout) == ("otel-collector", "latest", 10.0)


@pytest.mark.parametrize(
    "name", ["spans", "spans-eu", "spans-secret", "a-secret-spans", "logs", "xspans", "spans.", ""]
)
def test_the_pattern_finds_what_the_signals_know(name: str) -> None:
    """Scenario: names, expressions and exclusions. Guarantees: the group's pattern finds exactly what has a signal."""
    config = read(
        traces={"topics": ["^spans(-.*)?$", "spans."], "exclude_topics": ["^spans-secret"]},
        logs={"topics": ["logs"]},
    )
    wanted = Wanted.of(config, [Signal.TRACES, Signal.LOGS])
    pattern = wanted.subscription()["pattern"]

    assert bool(re.compile(str(pattern)).match(name)) == (wanted.signal(name) is not None)


def test_a_topic_carries_one_signal() -> None:
    """Scenario: traces and logs from one topic. Guarantees: the start fails and names it."""
    with pytest.raises(StartError, match=r'logs\.topics, traces\.topics: both have "all"'):
        Wanted.of(read(topic="all"), [Signal.TRACES, Signal.LOGS])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"initial_offset": "newest"},
            "initial_offset should be one of 'latest' or 'earliest'. configured value newest",
        ),
        ({"traces": {"encoding": "zipkin_json"}}, 'not supported by jobsight: "zipkin_json"'),
        ({"logs": {"encoding": "text_utf-8"}}, "not supported by jobsight"),
        ({"traces": {"topics": ["^["]}}, "is no regular expression"),
        ({"traces": {"topics": ["a"], "exclude_topics": ["b"]}}, "needs a regular expression in topics"),
        ({"traces": {"topics": ["a"], "topic": "b"}}, "topics, topic: give one of them"),
        ({"header_extraction": {"extract_headers": True}}, "not supported by jobsight"),
        ({"group_rebalance_strategies": ["range"], "group_rebalance_strategy": "sticky"}, "give one of them"),
        ({"min_fetch_size": 10, "max_fetch_size": 5}, "max_fetch_size (5) must not be below min_fetch_size (10)"),
        ({"heartbeat_interval": "10s"}, "heartbeat_interval must be below session_timeout"),
        ({"group_id": ""}, "at least 1 character"),
    ],
)
def test_mistakes_are_said(keys: dict[str, object], message: str) -> None:
    """Scenario: one wrong value. Guarantees: the message says what is wrong and, where one exists, the right value."""
    with pytest.raises(ValidationError) as error:
        read(**keys)

    assert message in str(error.value)


def test_a_collectors_config_loads() -> None:
    """Scenario: keys of the Collector's receiver, those about marking and back-off too.

    Guarantees: it loads; what is ignored is said in a warning with the reason.
    """
    config = """
receivers:
  kafka:
    brokers: [kafka:9092]
    traces: {topics: ["^spans"], exclude_topics: [x], encoding: otlp_json}
    group_id: g
    group_instance_id: one
    rack_id: r
    session_timeout: 20s
    group_rebalance_strategies: [cooperative-sticky, range]
    min_fetch_size: 1
    max_fetch_size: 0
    max_fetch_wait: 100ms
    autocommit: {enable: false, interval: 2s}
    message_marking: {after: true, on_error: false}
    error_backoff: {enabled: true}
exporters: {debug: {}}
service: {pipelines: {traces: {receivers: [kafka], exporters: [debug]}}}
"""
    plan = load_plan([f"yaml:{config}"], [], environ={}, registry=Registry())

    assert len(plan.warnings) == 2
    assert any("offsets are committed once the rows were delivered" in warning for warning in plan.warnings)
    with pytest.raises(ConfigError, match="unknown key"):
        load_plan([f"yaml:{config.replace('rack_id', 'rack')}"], [], environ={}, registry=Registry())
