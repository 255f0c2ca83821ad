"""What users may write for the processor `jobs`."""

from __future__ import annotations

from pydantic import Field, model_validator

from pipeline.config.values import ByteSize, Duration
from pipeline.durable import DurableConfig
from processors.jobs.conventions import Convention, Fields, in_force
from processors.jobs.looking import Vocabulary


class JobsConfig(DurableConfig):
    window: Duration = Field(3600.0, gt=0)
    """How long a job is remembered after the last span or log record that concerns it."""

    max_bytes: ByteSize = Field(256 * 1024 * 1024, ge=1024 * 1024, le=1024 * 1024 * 1024)
    """Memory for what is remembered; beyond it the jobs that were longest without news are forgotten."""

    conventions: tuple[Convention, ...] = ()
    """Job systems of your own, tried before the shipped ones."""

    aliases: Fields = Fields()
    """For each field, attributes that are read where a convention's own have no value."""

    database_attribute: str | None = None
    """Resource attribute that tells databases apart, for systems whose job ids are numbers of a database."""

    max_message_bytes: ByteSize = Field(16 * 1024, gt=0)
    """Error messages and types are cut to this, with a mark."""

    max_stacktrace_bytes: ByteSize = Field(32 * 1024, gt=0)
    """Stack traces are cut to this, with a mark."""

    @model_validator(mode="after")
    def _check(self) -> JobsConfig:
        names = [convention.name for convention in self.conventions]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"'conventions' has two conventions named {name!r}")
        Vocabulary.of(in_force(self.conventions, self.aliases))
        return self
