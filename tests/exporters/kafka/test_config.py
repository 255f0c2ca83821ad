from __future__ import annotations

import pytest
from pydantic import ValidationError

from exporters.kafka.config import KafkaExporterConfig
from pipeline import Kind
from pipeline.config.load import load_plan
from pipeline.config.values import WRITTEN
from pipeline.errors import ConfigError
from pipeline.kafka.client import connection
from pipeline.registry import Registry

CONTRIB = """
receivers: {otlp: {protocols: {grpc: {}}}}
exporters:
  kafka:
    brokers: [kafka-1:9092, kafka-2:9092]
    protocol_version: 3.7.0
    client_id: collector
    conn_idle_timeout: 5m
    traces: {topic: spans, encoding: otlp_json}
    topic: everything
    topic_from_attribute: tenant
    partition_traces_by_id: true
    partition_metrics_by_resource_attributes: true
    partition_logs_by_trace_id: true
    record_partitioner: {sticky_key: {hasher: murmur2}}
    record_headers: {team: jobs}
    tls: {ca_pem: "", insecure_skip_verify: true}
    auth: {sasl: {username: u, password: p, mechanism: SCRAM-SHA-512, version: 1}}
    metadata: {refresh_interval: 5m, full: false, retry: {max: 5, backoff: 500ms}}
    timeout: 10s
    retry_on_failure: {enabled: true, initial_interval: 1s}
    sending_queue: {queue_size: 100, num_consumers: 4}
    producer: {max_message_bytes: 500000, required_acks: all, compression: zstd, linger: 5ms, idempotence: true}
service: {pipelines: {traces: {receivers: [otlp], exporters: [kafka]}}}
"""


def read(**keys: object) -> KafkaExporterConfig:
    return KafkaExporterConfig.model_validate(keys, context=WRITTEN)


def test_a_collectors_config_loads_unchanged() -> None:
    """Scenario: an exporter section with nearly every key of the Collector's. Guarantees: no warning, values taken."""
    plan = load_plan([f"yaml:{CONTRIB}"], [], environ={}, registry=Registry())

    config = next(iter(plan.exporters.values())).build().config

    assert plan.warnings == ()
    assert config.topic_of(Kind.SPANS) == "spans"
    assert config.topic_of(Kind.LOGS) == "everything"
    assert config.encoding_of(Kind.SPANS) == "otlp_json"
    assert config.encoding_of(Kind.JOBS) == "json"


def test_defaults_are_the_collectors() -> None:
    """Scenario: nothing is written. Guarantees: the Collector's brokers, topics, encoding, acks and sizes."""
    config = read()

    assert config.brokers == ("localhost:9092",)
    assert [config.topic_of(kind) for kind in (Kind.SPANS, Kind.METRICS, Kind.LOGS, Kind.JOBS)] == [
        "otlp_spans", "otlp_metrics", "otlp_logs", "jobs",
    ]  # fmt: skip
    assert config.encoding_of(Kind.METRICS) == "otlp_proto"
    assert (config.producer.acks, config.producer.max_message_bytes, config.producer.linger) == (1, 1_000_000, 0.01)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"brokers": []}, "brokers must be specified"),
        ({"brokers": ["kafka"]}, '"kafka" has no port'),
        ({"protocol_version": "new"}, "invalid protocol version"),
        ({"resolve_canonical_bootstrap_servers_only": True}, "not supported by jobsight"),
        ({"traces": {"encoding": "jaeger_proto"}}, 'not supported by jobsight: "jaeger_proto"'),
        ({"traces": {"encoding": "xml"}}, "Input should be 'otlp_proto' or 'otlp_json'"),
        ({"producer": {"required_acks": 2}}, "expected 'all' (-1), 0, or 1; configured value is 2"),
        ({"producer": {"compression": "brotli"}}, 'configured value is "brotli"'),
        ({"producer": {"compression": "zstd", "compression_params": {"level": 9}}}, "not supported by jobsight"),
        ({"producer": {"idempotence": True}}, "idempotence needs required_acks: all"),
        ({"record_partitioner": {"sticky_key": None, "round_robin": None}}, "give one of them"),
        (
            {"partition_logs_by_trace_id": True, "partition_logs_by_resource_attributes": True},
            "partition_logs_by_resource_attributes, partition_logs_by_trace_id",
        ),
        ({"auth": {"sasl": {"password": "p"}}}, "username is required"),
        ({"auth": {"sasl": {"username": "u"}}}, "password is required"),
        ({"auth": {"sasl": {"username": "u", "password": "p", "mechanism": "X"}}}, "mechanism should be one of"),
        ({"auth": {"sasl": {"username": "u", "password": "p", "mechanism": "OAUTHBEARER"}}}, "not supported"),
        ({"auth": {"sasl": {"username": "u", "password": "p", "version": 3}}}, "either 0 or 1. configured value 3"),
        ({"tls": {}, "auth": {"tls": {}}}, "tls, auth.tls: give one of them"),
        ({"tls": {"server_name_override": "x"}}, "server_name_override: not supported with Kafka"),
    ],
)
def test_mistakes_are_said(keys: dict[str, object], message: str) -> None:
    """Scenario: one wrong value. Guarantees: the message says what is wrong and, where one exists, the right value."""
    with pytest.raises(ValidationError) as error:
        read(**keys)

    assert message in str(error.value)


def test_what_is_not_supported_is_an_error_with_a_reason() -> None:
    """Scenario: keys that need what jobsight does not have. Guarantees: an error for each, with the reason."""
    wrong = CONTRIB.replace("    topic: everything\n", "    include_metadata_keys: [tenant]\n").replace(
        "encoding: otlp_json}", "topic_from_metadata_key: t}"
    )

    with pytest.raises(ConfigError) as error:
        load_plan([f"yaml:{wrong}"], [], environ={}, registry=Registry())

    assert sum("request metadata does not travel with batches" in line for line in error.value.problems) == 2


@pytest.mark.parametrize(
    ("keys", "security", "mechanism"),
    [
        ({}, "PLAINTEXT", None),
        ({"tls": None}, "SSL", None),
        ({"tls": {"insecure": True}}, "PLAINTEXT", None),
        ({"auth": {"plain_text": {"username": "u", "password": "p"}}}, "SASL_PLAINTEXT", "PLAIN"),
        (
            {"tls": {}, "auth": {"sasl": {"username": "u", "password": "p", "mechanism": "SCRAM-SHA-256"}}},
            "SASL_SSL",
            "SCRAM-SHA-256",
        ),
    ],
)
def test_security_of_connections(keys: dict[str, object], security: str, mechanism: str | None) -> None:
    """Scenario: TLS and SASL in every combination, old spellings too. Guarantees: the client is told the right one."""
    arguments = connection(read(**keys), 1.0)

    assert arguments["security_protocol"] == security
    assert arguments.get("sasl_mechanism") == mechanism
