"""The `service` section as it is written: keys of the Collector, and `shutdown_timeout`, which is ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from pipeline.config.model import Config
from pipeline.config.plan import LogEncoding, LogLevel, LogsTelemetry, MetricsLevel, MetricsTelemetry, Telemetry
from pipeline.config.values import Duration, Endpoint, Port, join_endpoint

_NAMES_ARE_FIXED: Final = "names never carry units and types, as with the Collector's own default"
_LOGS_HAVE_NO_SUCH: Final = "jobsight's own logs have no such setting"


class PipelineSection(Config):
    """`service.pipelines.<signal>[/name]`."""

    receivers: tuple[str, ...] = ()
    """Where data comes from, at least one."""
    processors: tuple[str, ...] = ()
    """What happens to it, in this order."""
    exporters: tuple[str, ...] = ()
    """Where it goes, at least one; each gets everything."""


class LogsSection(Config):
    """`service.telemetry.logs`."""

    ignored_keys: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("sampling", "development", "disable_caller", "disable_stacktrace"), _LOGS_HAVE_NO_SUCH
    )
    unsupported_keys: ClassVar[Mapping[str, str]] = {
        "initial_fields": _LOGS_HAVE_NO_SUCH,
        "processors": "own logs go to stderr only",
    }

    level: Annotated[LogLevel, BeforeValidator(lambda level: level.lower() if isinstance(level, str) else level)] = (
        "info"
    )
    """What is too small to log."""
    encoding: LogEncoding | None = None
    """Lines for people or JSON; unset: by whether stderr is a terminal."""
    output_paths: tuple[Literal["stderr"], ...] = ("stderr",)
    """Only stderr."""
    error_output_paths: tuple[Literal["stderr"], ...] = ("stderr",)
    """Only stderr."""


class PrometheusSection(Config):
    """`prometheus` of a pull reader."""

    ignored_keys: ClassVar[Mapping[str, str]] = dict.fromkeys(
        (
            "without_units",
            "without_type_suffix",
            "without_scope_info",
            "with_resource_constant_labels",
            "translation_strategy",
        ),
        _NAMES_ARE_FIXED,
    )

    host: str = "localhost"
    """Address to listen on."""
    port: Port = 8888
    """Port to listen on."""


class PullExporterSection(Config):
    """`exporter` of a pull reader."""

    prometheus: PrometheusSection


class PullSection(Config):
    """`pull` of a reader."""

    exporter: PullExporterSection


class ReaderSection(Config):
    """One of `service.telemetry.metrics.readers`."""

    unsupported_keys: ClassVar[Mapping[str, str]] = {
        "periodic": "own metrics are read by Prometheus; use a pull reader"
    }

    pull: PullSection


class MetricsSection(Config):
    """`service.telemetry.metrics`."""

    unsupported_keys: ClassVar[Mapping[str, str]] = {"views": "own metrics cannot be reshaped"}

    level: MetricsLevel = "normal"
    """How much to measure; none closes the endpoint."""
    address: Endpoint | None = None
    """Where Prometheus reads; the short form of one pull reader."""
    readers: tuple[ReaderSection, ...] | None = None
    """The Collector's form of the same, at most one."""

    @model_validator(mode="after")
    def _one_endpoint(self) -> Self:
        if self.readers is None:
            return self
        if self.address is not None:
            raise ValueError("address and readers say the same thing; keep one of them")
        if len(self.readers) > 1:
            raise ValueError(
                f"readers: jobsight has one endpoint for its metrics, {len(self.readers)} readers are given"
            )
        if not self.readers and self.level != "none":
            raise ValueError("readers: collector telemetry metrics reader should exist when metric level is not none")
        return self

    def telemetry(self) -> MetricsTelemetry:
        if self.address is not None:
            return MetricsTelemetry(self.level, self.address)
        if self.readers:
            prometheus = self.readers[0].pull.exporter.prometheus
            return MetricsTelemetry(self.level, join_endpoint(prometheus.host, prometheus.port))
        return MetricsTelemetry(self.level)


class TelemetrySection(Config):
    """`service.telemetry`."""

    ignored_keys: ClassVar[Mapping[str, str]] = {"traces": "jobsight does not trace itself"}

    logs: LogsSection = Field(default_factory=LogsSection)
    metrics: MetricsSection = Field(default_factory=MetricsSection)
    resource: dict[str, str | int | float | bool | None] = Field(default_factory=dict)
    """Attributes of the collector's own resource; null takes one away."""

    def telemetry(self) -> Telemetry:
        return Telemetry(
            LogsTelemetry(self.logs.level, self.logs.encoding), self.metrics.telemetry(), dict(self.resource)
        )


class ServiceSection(Config):
    """`service`. Its pipelines and telemetry are decoded apart, so that a mistake in one does not hide the others'."""

    extensions: tuple[str, ...] = ()
    """The extensions to start, in this order."""
    pipelines: dict[str, Any] = Field(default_factory=dict)
    """`PipelineSection` by `traces`, `metrics`, `logs`, or one of them with `/name`."""
    telemetry: Any = None
    """A `TelemetrySection`."""
    shutdown_timeout: Annotated[Duration, Field(gt=0)] = 30.0
    """From the first signal to the end, at most; not in the Collector."""
