"""What users may write for the processor `failure_cluster`."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Literal, TypeVar

from pydantic import Field, model_validator

from pipeline import Config
from pipeline.alerts import Severity
from pipeline.config.values import Duration
from pipeline.durable import DurableConfig

R = TypeVar("R", bound=Config)

SeverityName = Literal["critical", "warning", "info"]


class Threshold(Config):
    """`threshold`: more than a number of failures."""

    enabled: bool = True

    failures: int = Field(10, ge=0)
    """More failures of a class than this within `window` open a cluster."""

    window: Duration = Field(3600.0, gt=0)

    min_share: float = Field(0.01, ge=0, le=1)
    """And at least this share of its executions, so that a class that runs a million times a day is not always in one.

    0: the number alone.
    """


class Burst(Config):
    """`burst`: far more failures than the class's own recent level."""

    enabled: bool = True

    failures: int = Field(5, ge=1)
    """At least so many failures within `window`."""

    window: Duration = Field(300.0, gt=0)

    half_life: Duration = Field(6 * 3600.0, gt=0)
    """How fast the level forgets: what lies so far back counts half."""

    false_alarms: float = Field(1e-5, gt=0, lt=1)
    """Probability of a false alarm in an hour of a class whose failures keep their level."""


class Ratio(Config):
    """`ratio`: a large share of few executions."""

    enabled: bool = True

    share: float = Field(0.5, gt=0, le=1)
    """At least this share of the executions within `window` failed."""

    failures: int = Field(5, ge=1)
    """And at least so many."""

    window: Duration = Field(24 * 3600.0, gt=0)


class RetryLoop(Config):
    """`retry_loop`: one job that fails again and again."""

    enabled: bool = True

    retries: int = Field(3, ge=1, le=100)
    """More failed retries of one job than this within `window`."""

    window: Duration = Field(24 * 3600.0, gt=0)


class SharedCause(Config):
    """`shared_cause`: what many classes' failures have in common."""

    enabled: bool = True

    share: float = Field(0.8, gt=0.5, le=1)
    """An attribute that at least this share of the failures has may be their cause."""

    classes: int = Field(3, ge=2)
    """So many classes with few failures each, but a cause in common, open a cluster together."""

    failures: int = Field(10, ge=1)
    """And more failures than this, within the window of `burst`."""


class Override(Config):
    """Other rules for the classes and queues that match; the first that matches counts."""

    job_class: str | None = Field(None, min_length=1)
    """A pattern with `*` and `?`."""

    queue: str | None = Field(None, min_length=1)
    """A pattern with `*` and `?`; executions of such queues are counted apart from the class's others."""

    ignore: bool = False
    """Never in a cluster."""

    threshold: Threshold = Threshold()

    burst: Burst = Burst()

    ratio: Ratio = Ratio()

    retry_loop: RetryLoop = RetryLoop()

    severity: SeverityName | None = None

    @model_validator(mode="after")
    def _check(self) -> Override:
        if self.job_class is None and self.queue is None:
            raise ValueError("'job_class' or 'queue' must say what the override is for")
        for key in ("window", "half_life"):
            if key in self.burst.model_fields_set:
                raise ValueError(f"'burst.{key}' is the same for all classes: set it outside of 'overrides'")
        return self

    def matches(self, job_class: str, queue: str) -> bool:
        """Return whether it is for this class on this queue."""
        return (self.job_class is None or fnmatchcase(job_class, self.job_class)) and (
            self.queue is None or fnmatchcase(queue, self.queue)
        )


ATTRIBUTES: Final = (
    "service.*",
    "host.*",
    "deployment.*",
    "k8s.*",
    "cloud.*",
    "container.*",
    "faas.*",
    "os.version",
    "process.runtime.*",
    "telemetry.sdk.version",
)


class FailureClusterConfig(DurableConfig):
    """Watches job rows and says which failures belong together."""

    threshold: Threshold = Threshold()

    burst: Burst = Burst()

    ratio: Ratio = Ratio()

    retry_loop: RetryLoop = RetryLoop()

    shared_cause: SharedCause = SharedCause()

    overrides: tuple[Override, ...] = ()
    """Other rules for some classes and queues."""

    quiet_after: Duration = Field(300.0, gt=0)
    """A cluster is quiet without failures for so long, or for longer where they come slowly."""

    resolve_after: Duration = Field(600.0, gt=0)
    """It is resolved when it stayed quiet for so long."""

    reopen_within: Duration = 24 * 3600.0
    """The same trouble again, so soon after it was resolved, reopens its cluster; later it opens a new one."""

    resolution: Duration = Field(5.0, ge=1.0, le=60.0)
    """The step of time in which is counted and decided."""

    lateness: Duration = 15.0
    """How much later than others a row may come and still count at its own time."""

    attributes: tuple[str, ...] = ATTRIBUTES
    """Resource attributes that may be a cause: patterns with `*` and `?`."""

    samples: int = Field(5, ge=1, le=50)
    """Messages and traces shown of a cluster."""

    alerts: bool = True
    """Raise an alert when a cluster opens, grows or is resolved."""

    severity: SeverityName = "warning"
    """Of these alerts."""

    critical_classes: int = Field(5, ge=1)
    """A cluster of so many classes is critical."""

    max_classes: int = Field(20_000, ge=10, le=1_000_000)
    """Classes that are counted apart; others are counted together until some are idle."""

    max_fingerprints: int = Field(100_000, ge=100, le=10_000_000)
    """Counts of failures by class, fault and time; the rarest faults beyond it are counted together."""

    max_executions: int = Field(200_000, ge=1000, le=50_000_000)
    """Executions that are remembered, so that a row that comes again is not counted again."""

    max_jobs: int = Field(100_000, ge=100, le=50_000_000)
    """Failing jobs whose retries are counted."""

    max_clusters: int = Field(500, ge=1, le=10_000)
    """Clusters that are not over."""

    @model_validator(mode="after")
    def _check(self) -> FailureClusterConfig:
        for name in ("threshold", "burst", "ratio", "retry_loop"):
            window = getattr(self, name).window
            if window < self.resolution:
                raise ValueError(f"'{name}.window' must be at least 'resolution' ({self.resolution:g} s)")
        return self


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules that hold for a class."""

    threshold: Threshold
    burst: Burst
    ratio: Ratio
    retry_loop: RetryLoop
    severity: Severity
    ignore: bool = False


def rules_of(config: FailureClusterConfig) -> tuple[Rules, ...]:
    """Return the general rules and those of each override, in which keys that it leaves out are the general ones."""
    general = Rules(config.threshold, config.burst, config.ratio, config.retry_loop, Severity(config.severity))
    return (
        general,
        *(
            Rules(
                _merged(config.threshold, override.threshold),
                _merged(config.burst, override.burst),
                _merged(config.ratio, override.ratio),
                _merged(config.retry_loop, override.retry_loop),
                Severity(override.severity or config.severity),
                override.ignore,
            )
            for override in config.overrides
        ),
    )


def _merged(general: R, special: R) -> R:
    return general.model_copy(update={key: getattr(special, key) for key in special.model_fields_set})
