"""The plan: a whole configuration, validated, in the form in which the service builds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from pipeline.component import Component, ComponentId, Exporter, Extension, Processor, Receiver
from pipeline.config.model import Config
from pipeline.kinds import Signal

T = TypeVar("T", bound=Component[Any])

LogLevel: TypeAlias = Literal["debug", "info", "warn", "error"]
LogEncoding: TypeAlias = Literal["console", "json"]
MetricsLevel: TypeAlias = Literal["none", "basic", "normal", "detailed"]


@dataclass(frozen=True, slots=True)
class Definition(Generic[T]):
    """One configured component that is not built yet."""

    ident: ComponentId
    component: type[T]
    config: Config

    def build(self) -> T:
        """Return a new component; every pipeline has processors of its own, so this may be called several times."""
        return self.component(self.config, self.ident)


@dataclass(frozen=True, slots=True)
class PipelineDefinition:
    """One entry of `service.pipelines`; every id in it is configured, processors are in the order of flow."""

    signal: Signal
    name: str
    receivers: tuple[ComponentId, ...]
    processors: tuple[ComponentId, ...]
    exporters: tuple[ComponentId, ...]

    def __str__(self) -> str:
        return f"{self.signal}/{self.name}" if self.name else str(self.signal)


@dataclass(frozen=True, slots=True)
class LogsTelemetry:
    """Our own logs. `encoding` None: console on a terminal, else JSON."""

    level: LogLevel = "info"
    encoding: LogEncoding | None = None


@dataclass(frozen=True, slots=True)
class MetricsTelemetry:
    """Our own metrics and the "host:port" where Prometheus reads them; nowhere at level none."""

    level: MetricsLevel = "normal"
    address: str = "localhost:8888"


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What the collector tells about itself. `resource` changes its own resource: None takes an attribute away."""

    logs: LogsTelemetry = field(default_factory=LogsTelemetry)
    metrics: MetricsTelemetry = field(default_factory=MetricsTelemetry)
    resource: Mapping[str, str | int | float | bool | None] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything configured, used by a pipeline or not."""

    receivers: Mapping[ComponentId, Definition[Receiver[Any]]]
    processors: Mapping[ComponentId, Definition[Processor[Any]]]
    exporters: Mapping[ComponentId, Definition[Exporter[Any]]]
    extensions: Mapping[ComponentId, Definition[Extension[Any]]]
    service_extensions: tuple[ComponentId, ...]
    """The extensions to start, in this order."""
    pipelines: tuple[PipelineDefinition, ...]
    telemetry: Telemetry
    shutdown_timeout: float
    """Seconds for the whole way from the first signal to the end."""
    warnings: tuple[str, ...]
    """Lines for people about what is harmless, in the form of problems."""
