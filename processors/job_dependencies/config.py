"""What users may write for the processor `job_dependencies`."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from pipeline.config.values import ByteSize, Duration
from pipeline.durable import DurableConfig


class JobDependenciesConfig(DurableConfig):
    interval: Duration = Field(60.0, ge=1)
    """How often edges are written, and the length of the intervals that they are counted over."""

    settle: Duration = Field(10.0, gt=0)
    """How long a call waits for what else is known of it before it is counted; later news corrects the counts."""

    wait: Duration = Field(300.0, gt=0)
    """How long an end that is not known is waited for; then the call is counted with what is known."""

    window: Duration = Field(7200.0, gt=0)
    """How long a job is remembered after the last news of it. At least the window of processor `jobs`."""

    max_bytes: ByteSize = Field(256 * 1024 * 1024, ge=4 * 1024 * 1024, le=1024 * 1024 * 1024)
    """Memory for what is remembered; beyond it the oldest is forgotten."""

    max_edges: int = Field(10_000, ge=10, le=1_000_000)
    """Distinct edges that are told apart; further ones are counted between nodes called `(other)`."""

    max_depth: int = Field(50, ge=0, le=10_000)
    """Jobs, each enqueued by the one before, beyond which an alert is raised; 0 for none."""

    max_fanout: int = Field(1000, ge=0)
    """Jobs enqueued by one execution or request beyond which an alert is raised; 0 for none."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for shorter, longer in (("settle", "wait"), ("wait", "window")):
            if getattr(self, shorter) > getattr(self, longer):
                raise ValueError(
                    f"{shorter}, {longer}: {shorter} ({getattr(self, shorter):g} s) must not be longer than "
                    f"{longer} ({getattr(self, longer):g} s)"
                )
        return self
