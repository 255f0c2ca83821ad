"""A whole configuration -> a plan."""

from __future__ import annotations

import pytest

from pipeline import ComponentId, Signal
from pipeline.config.load import load_plan
from pipeline.config.plan import LogsTelemetry, MetricsTelemetry, PipelineDefinition, Plan
from pipeline.errors import ConfigError
from tests.pipeline.config.toys import GOOD, REGISTRY, BatchConfig, BatchProcessor, ClickHouseConfig


def _plan(*configs: str, sets: tuple[str, ...] = (), **environ: str) -> Plan:
    return load_plan([f"yaml:{text}" for text in configs], sets, environ=environ, registry=REGISTRY)


def _ids(*texts: str) -> tuple[ComponentId, ...]:
    return tuple(map(ComponentId.parse, texts))


def test_a_whole_plan() -> None:
    """Scenario: every section used. Guarantees: ids, configs, order and names as written, no warning."""
    plan = _plan(
        """
receivers:
  otlp: {protocols: {grpc: , http: {max_size: 1MiB}}}
  otlp/unused: {protocols: {grpc: }}
processors:
  batch:
  batch/big: {timeout: 1m30s, metadata_keys: [tenant]}
exporters:
  clickhouse: {endpoint: http://localhost:8123, password: hunter2}
  debug_sink:
extensions:
  health_check:
  health_check/2:
service:
  extensions: [health_check/2, health_check]
  shutdown_timeout: 5s
  pipelines:
    traces/eu: {receivers: [otlp], processors: [batch/big, batch], exporters: [clickhouse, debug_sink]}
    logs: {receivers: otlp, exporters: [clickhouse, clickhouse]}
  telemetry:
    logs: {level: DEBUG, encoding: json}
    metrics: {level: detailed, address: "0.0.0.0:0"}
    resource: {service.name: shop, service.instance.id: }
"""
    )

    assert tuple(plan.receivers) == _ids("otlp", "otlp/unused")
    assert tuple(plan.processors) == _ids("batch", "batch/big")
    assert plan.processors[ComponentId("batch", "big")].config == BatchConfig(timeout=90.0, metadata_keys=("tenant",))
    exporter = plan.exporters[ComponentId("clickhouse")].config
    assert isinstance(exporter, ClickHouseConfig)
    assert exporter.password.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(plan)
    assert plan.service_extensions == _ids("health_check/2", "health_check")
    assert plan.pipelines == (
        PipelineDefinition(
            Signal.TRACES, "eu", _ids("otlp"), _ids("batch/big", "batch"), _ids("clickhouse", "debug_sink")
        ),
        PipelineDefinition(Signal.LOGS, "", _ids("otlp"), (), _ids("clickhouse")),
    )
    assert [str(pipeline) for pipeline in plan.pipelines] == ["traces/eu", "logs"]
    assert plan.shutdown_timeout == 5.0
    assert plan.telemetry.logs == LogsTelemetry("debug", "json")
    assert plan.telemetry.metrics == MetricsTelemetry("detailed", "0.0.0.0:0")
    assert plan.telemetry.resource == {"service.name": "shop", "service.instance.id": None}
    assert plan.warnings == ()


def test_defaults() -> None:
    """Scenario: the smallest config, telemetry present but empty. Guarantees: the documented defaults."""
    plan = _plan(GOOD, sets=("service.telemetry=",))

    assert plan.shutdown_timeout == 30.0
    assert plan.telemetry.logs == LogsTelemetry("info", None)
    assert plan.telemetry.metrics == MetricsTelemetry("normal", "localhost:8888")
    assert plan.service_extensions == ()


def test_definitions_build_as_often_as_wanted() -> None:
    """Scenario: one processor of two pipelines. Guarantees: components of their own, with the config and the id."""
    definition = _plan(GOOD).processors[ComponentId("batch")]
    one, other = definition.build(), definition.build()

    assert isinstance(one, BatchProcessor)
    assert one is not other
    assert (one.config, one.ident) == (BatchConfig(), ComponentId("batch"))


def test_the_collectors_reader() -> None:
    """Scenario: metrics.readers as the Collector writes them. Guarantees: the address, and warnings for fixed names."""
    plan = _plan(
        GOOD,
        "service::telemetry::metrics::readers:\n"
        "  - pull: {exporter: {prometheus: {host: '::1', port: 9, without_units: true}}}",
    )

    assert plan.telemetry.metrics == MetricsTelemetry("normal", "[::1]:9")
    assert len(plan.warnings) == 1
    assert "readers[0].pull.exporter.prometheus.without_units: is ignored" in plan.warnings[0]


def test_warnings() -> None:
    """Scenario: an old alias, an extension that nobody starts, an unset variable. Guarantees: a line for each."""
    plan = _plan(
        GOOD,
        sets=(
            "exporters.debugsink=",
            "extensions.health_check=",
            "service.pipelines.traces.exporters=[debugsink]",
            "exporters.clickhouse.username=${env:NOT_SET}",
        ),
    )

    assert sorted(warning.partition(": ")[2] for warning in plan.warnings) == [
        'exporters.clickhouse.username: environment variable "NOT_SET" is not set; the value is null',
        'exporters.debugsink: "debugsink" alias is deprecated; use "debug_sink" instead',
        "extensions.health_check: is not listed in service.extensions and will not be started",
    ]


def test_later_configs_and_settings_win() -> None:
    """Scenario: a base, an overlay and a setting for one key, and a variable. Guarantees: the last; other keys stay."""
    plan = _plan(
        GOOD,
        "exporters::clickhouse: {database: base, username: '${env:WHO}'}",
        "exporters::clickhouse::database: overlay",
        sets=("exporters.clickhouse.database=setting",),
        WHO="0042",
    )

    assert plan.exporters[ComponentId("clickhouse")].config == ClickHouseConfig(
        endpoint="http://localhost:8123", database="setting", username="0042"
    )


def test_problems_are_in_the_order_of_the_text() -> None:
    """Scenario: mistakes of several sections and of a setting. Guarantees: all at once, in order."""
    with pytest.raises(ConfigError) as caught:
        _plan(
            GOOD.replace("batch:\n", "batch: {timeout: x}\n").replace("[otlp]", "[oltp]"),
            sets=("exporters.clickhouse.retries=-1", "nowhere.at=all"),
        )

    assert [line.partition(": ")[0] for line in caught.value.problems] == [
        "--config yaml:7:20",
        "--config yaml:14:19",
        "--set exporters.clickhouse.retries",
        "--set nowhere.at",
    ]
