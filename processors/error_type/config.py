"""What users may write for `error_type`."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from pipeline import Config
from pipeline.config.values import ByteSize
from pipeline.error_text import MESSAGE_BYTES, STACKTRACE_BYTES
from processors.error_type.known import Category


def _pattern(value: object) -> re.Pattern[str]:
    if isinstance(value, re.Pattern):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError(f"must be a regular expression in quotes, is {value!r}")
    try:
        return re.compile(value)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}, in {value!r}") from error


Pattern = Annotated[
    re.Pattern[str], BeforeValidator(_pattern), WithJsonSchema({"type": "string", "description": "regular expression"})
]
"""A regular expression as Python's `re` reads it, searched anywhere in the text."""


class RuleConfig(Config):
    """A rule of the user's. Every pattern that is given must be found."""

    type: Pattern | None = None
    """Searched in the type of the error, as it was sent."""

    message: Pattern | None = None
    """Searched in the message."""

    category: Category
    """The category of errors for which the rule holds."""

    transient: bool | None = None
    """Whether running the job again may help; that of the category if not given."""

    @model_validator(mode="after")
    def _check(self) -> RuleConfig:
        if self.type is None and self.message is None:
            raise ValueError("'type' or 'message' must be given: a rule without a pattern would hold for every error")
        return self


class ErrorTypeConfig(Config):
    cause: Literal["outermost", "innermost"] = "outermost"
    """Of chained exceptions: name the one that was raised last, or the one that began it."""

    rules: tuple[RuleConfig, ...] = ()
    """Asked in order, before the shipped rules."""

    application_frames: tuple[Pattern, ...] = ()
    """Frames with one of these in file or function are the application's, whatever else is said of them."""

    library_frames: tuple[Pattern, ...] = ()
    """Frames with one of these are not, beside what is known of packages and runtimes."""

    max_message_bytes: ByteSize = Field(MESSAGE_BYTES, ge=64)
    """Of longer messages only the ends are read, and kept in job rows."""

    max_stacktrace_bytes: ByteSize = Field(STACKTRACE_BYTES, ge=256)
    """Of longer stacks only the ends are read, and kept in job rows."""

    cache_entries: int = Field(10_000, ge=0)
    """Errors and stacks that are remembered from batch to batch."""

    cache_bytes: ByteSize = 16 << 20
    """Their size at most, about."""
