"""What users may write for policies that have no policies inside: the Collector's types and keys, and `job`, ours."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from pipeline import Config
from pipeline.config.values import seconds
from pipeline.config.words import said
from processors.tail_sampling.ottl import SPAN, SPAN_EVENT, Condition, parse

STATUS_CODES: Final = ("UNSET", "OK", "ERROR")
"""By OTLP's number."""

Outcome = Literal["succeeded", "failed", "retried", "discarded", "unknown"]
"""What a job row may have as outcome of an execution."""


def is_found(texts: pa.Array[Any], pattern: str) -> pa.BooleanArray:
    """Return where the pattern (RE2, as in the Collector) is found in a text. Raises ArrowInvalid for a bad one."""
    found: pa.BooleanArray = pc.match_substring_regex(texts, pattern=pattern)
    return found


def _pattern(text: str) -> str:
    try:
        is_found(pa.array([""], pa.string()), text)
    except pa.ArrowInvalid as error:
        raise ValueError(f"is no regular expression (RE2): {_re2_words(error)}, in {said(text)}") from error
    return text


def _re2_words(error: pa.ArrowInvalid) -> str:
    return str(error).removeprefix("Invalid regular expression: ").rstrip(".")


def _patterns(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Pattern = Annotated[str, Field(min_length=1), AfterValidator(_pattern)]
"""A regular expression as RE2 reads it, found anywhere in the text."""

Patterns = Annotated[tuple[Pattern, ...], BeforeValidator(_patterns)]
"""One pattern or a list of them, of which one must be found."""


class LatencyConfig(Config):
    threshold_ms: int = Field(0, ge=0)
    """The trace took longer than this many whole milliseconds."""

    upper_threshold_ms: int = Field(0, ge=0)
    """And at most this many; 0 is no bound."""

    @model_validator(mode="after")
    def _check(self) -> LatencyConfig:
        if 0 < self.upper_threshold_ms <= self.threshold_ms:
            raise ValueError(
                f"'upper_threshold_ms' must be greater than 'threshold_ms', is {self.upper_threshold_ms} "
                f"where that is {self.threshold_ms}: no trace is between"
            )
        return self


class NumericAttributeConfig(Config):
    key: str = Field(min_length=1)
    """Attribute of a span or of its resource."""

    min_value: int = Field(0, ge=-(1 << 63), lt=1 << 63)
    """The least value that matches; 0 is no bound."""

    max_value: int = Field(0, ge=-(1 << 63), lt=1 << 63)
    """The largest value that matches; 0 is no bound."""

    invert_match: bool = False
    """Sample the traces where no value matches."""

    @model_validator(mode="after")
    def _check(self) -> NumericAttributeConfig:
        if self.min_value == 0 and self.max_value == 0:
            raise ValueError("at least one of 'min_value' or 'max_value' must be set (0 is no bound)")
        if self.min_value and self.max_value and self.min_value > self.max_value:
            raise ValueError(f"'min_value' must be at most 'max_value', is {self.min_value} over {self.max_value}")
        return self


class ProbabilisticConfig(Config):
    sampling_percentage: float = Field(0.0, ge=0, le=100, allow_inf_nan=False)
    """Share of the traces in percent."""

    hash_salt: str = ""
    """Collectors with one salt decide alike; two samplers in a row need different ones."""


class StatusCodeConfig(Config):
    status_codes: tuple[Literal["OK", "ERROR", "UNSET"], ...] = Field(min_length=1)
    """A span has one of these."""


class StringAttributeConfig(Config):
    key: str = Field(min_length=1)
    """Attribute of a span or of its resource."""

    values: tuple[str, ...] = Field(min_length=1)
    """One of these is the value, or is found in it; empty texts are passed over."""

    enabled_regex_matching: bool = False
    """The values are regular expressions (RE2), found anywhere in the text."""

    cache_max_size: int = 128
    """Has no effect here: each distinct value of a batch is matched once."""

    invert_match: bool = False
    """Sample the traces where no value matches."""

    @model_validator(mode="after")
    def _check(self) -> StringAttributeConfig:
        if self.enabled_regex_matching:
            for value in self.values:
                try:
                    _pattern(value)
                except ValueError as error:
                    raise ValueError(f"'values': {error}") from error
        return self


class BooleanAttributeConfig(Config):
    key: str = Field(min_length=1)
    """Attribute of a span or of its resource."""

    value: bool = False
    """The value that matches; an attribute that is no truth value counts as false."""

    invert_match: bool = False
    """Sample the traces where no value matches."""


class RateLimitingConfig(Config):
    spans_per_second: int = Field(ge=0)
    """Spans that flow into the budget each second."""

    burst_capacity: int = Field(0, ge=0)
    """Spans that the budget holds; 0 is twice the rate."""


class BytesLimitingConfig(Config):
    bytes_per_second: int = Field(ge=0)
    """Bytes (OTLP) that flow into the budget each second."""

    burst_capacity: int = Field(0, ge=0)
    """Bytes that the budget holds; 0 is twice the rate."""


class SpanCountConfig(Config):
    min_spans: int = Field(0, ge=0)
    """The least number of spans."""

    max_spans: int = Field(0, ge=0)
    """The largest number of spans; 0 is no bound."""

    @model_validator(mode="after")
    def _check(self) -> SpanCountConfig:
        if 0 < self.max_spans < self.min_spans:
            raise ValueError(f"'max_spans' must be at least 'min_spans', is {self.max_spans} under {self.min_spans}")
        return self


class TraceStateConfig(Config):
    key: str = Field(min_length=1)
    """Key of the W3C trace state."""

    values: tuple[str, ...] = Field(min_length=1)
    """Its value is exactly one of these."""


def _condition(context: frozenset[str]) -> Any:
    def read(value: object) -> object:
        return parse(value, context) if isinstance(value, str) else value

    return Annotated[
        Condition, BeforeValidator(read), WithJsonSchema({"type": "string", "description": "an OTTL condition"})
    ]


SpanCondition = _condition(SPAN)
SpanEventCondition = _condition(SPAN_EVENT)


class OTTLConditionConfig(Config):
    error_mode: Literal["ignore", "silent", "propagate"] = "propagate"
    """What an error in a condition does: the policy has no answer (`propagate`), or the condition is false."""

    span: tuple[SpanCondition, ...] = ()  # type: ignore[valid-type] # made by a function, for the two contexts
    """Conditions on a span, of which one must be true."""

    spanevent: tuple[SpanEventCondition, ...] = ()  # type: ignore[valid-type] # as above
    """Conditions on an event of a span, of which one must be true."""

    @model_validator(mode="after")
    def _check(self) -> OTTLConditionConfig:
        if not self.span and not self.spanevent:
            raise ValueError("expected at least one OTTL condition to filter on: give 'span' or 'spanevent'")
        return self


def _slower(value: object) -> object:
    """`p99`, `p99.9` is a quantile (0.99, 0.999); a duration is seconds."""
    if isinstance(value, str) and value.startswith("p"):
        try:
            percent = float(value[1:])
        except ValueError:
            percent = -1.0
        if not 0 < percent < 100:
            raise ValueError(f'must be a percentile such as "p99" or a duration such as "30s", is {said(value)}')
        return ("quantile", percent / 100)
    if isinstance(value, str):
        return ("seconds", seconds(value))
    return value


SlowerThan = Annotated[
    tuple[Literal["quantile", "seconds"], float],
    BeforeValidator(_slower),
    WithJsonSchema({"type": "string", "description": 'a percentile such as "p99" or a duration'}),
]


class JobConfig(Config):
    """Reads the rows that processor `jobs` makes. A row matches where every key that is given holds."""

    outcome: tuple[Outcome, ...] = ()
    """The execution ended so."""

    min_attempt: int | None = Field(None, ge=1)
    """It was at least this attempt, counted from 1."""

    slower_than: SlowerThan | None = None
    """It took longer than this: a percentile of its own class (`p99`) or a duration."""

    class_: Patterns = Field((), alias="class")
    """One of these regular expressions is found in the job's class."""

    queue: Patterns = ()
    """One of these regular expressions is found in the queue."""

    new_error: bool | int = False
    """Only the first traces of each error fingerprint: true is 5 of them."""

    rare: int | None = Field(None, ge=1)
    """At least so many traces a job class and minute."""

    whole_job: bool = False
    """A trace that this policy keeps brings along those with other attempts or the enqueue of its jobs."""

    follow_links: bool = False
    """A trace that this policy keeps brings along those that are linked with it."""

    @model_validator(mode="after")
    def _check(self) -> JobConfig:
        if self.new_error is not True and self.new_error is not False and self.new_error < 1:
            raise ValueError(f"'new_error' must be true or a number of traces, at least 1, is {self.new_error}")
        asked = (self.outcome, self.min_attempt, self.slower_than, self.class_, self.queue, self.new_error, self.rare)
        if not any(key not in (None, False, ()) for key in asked):
            raise ValueError("needs a condition: outcome, min_attempt, slower_than, class, queue, new_error or rare")
        return self
