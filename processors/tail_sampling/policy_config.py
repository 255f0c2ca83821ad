"""What users may write for one policy: name, type, the keys of its type, and for some the policies inside of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from pydantic import Field, model_validator

from pipeline import Config
from pipeline.config.words import choice
from processors.tail_sampling.leaf_config import (
    BooleanAttributeConfig,
    BytesLimitingConfig,
    JobConfig,
    LatencyConfig,
    NumericAttributeConfig,
    OTTLConditionConfig,
    ProbabilisticConfig,
    RateLimitingConfig,
    SpanCountConfig,
    StatusCodeConfig,
    StringAttributeConfig,
    TraceStateConfig,
)

LEAVES: Final = (
    "always_sample",
    "latency",
    "numeric_attribute",
    "probabilistic",
    "status_code",
    "string_attribute",
    "rate_limiting",
    "bytes_limiting",
    "span_count",
    "trace_state",
    "trace_flags",
    "boolean_attribute",
    "ottl_condition",
    "job",
)
"""Policies without policies inside."""

_WITHOUT_KEYS: Final = frozenset({"always_sample", "trace_flags"})


class _Policy(Config):
    """A policy: name, type, and the keys of that type in a map of its name."""

    allowed: ClassVar[tuple[str, ...]] = LEAVES

    name: str
    """Unique; it is in metrics and on kept spans."""

    type: str
    """What is decided by; the map of the same name has its keys."""

    latency: LatencyConfig | None = None
    """How long the trace took."""

    numeric_attribute: NumericAttributeConfig | None = None
    """A number in an attribute."""

    probabilistic: ProbabilisticConfig | None = None
    """A share of the traces, by a hash of their id."""

    status_code: StatusCodeConfig | None = None
    """The status of a span."""

    string_attribute: StringAttributeConfig | None = None
    """Text in an attribute."""

    rate_limiting: RateLimitingConfig | None = None
    """A budget of spans."""

    bytes_limiting: BytesLimitingConfig | None = None
    """A budget of bytes."""

    span_count: SpanCountConfig | None = None
    """The number of spans."""

    trace_state: TraceStateConfig | None = None
    """A value in the W3C trace state."""

    boolean_attribute: BooleanAttributeConfig | None = None
    """A truth value in an attribute."""

    ottl_condition: OTTLConditionConfig | None = None
    """Conditions in the Collector's transformation language."""

    job: JobConfig | None = None
    """What jobs of the trace did."""

    always_sample: Mapping[str, Any] | None = Field(None, max_length=0)
    """Has no keys."""

    trace_flags: Mapping[str, Any] | None = Field(None, max_length=0)
    """Has no keys."""

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        type_ = given.get("type") if isinstance(given, dict) else None
        if isinstance(type_, str) and type_ not in cls.allowed:
            raise ValueError(f'unknown sampling policy type "{type_}"{choice(type_, cls.allowed)}')
        return given

    @model_validator(mode="after")
    def _check(self) -> _Policy:
        if not self.name:
            raise ValueError("policy name cannot be empty")
        maps = {field.alias or key: getattr(self, key) for key, field in type(self).model_fields.items()}
        del maps["name"], maps["type"]
        for key, value in maps.items():
            if value is not None and key != self.type:
                raise ValueError(f"'{key}' has no effect where 'type' is {self.type}")
        if maps[self.type] is None and self.type not in _WITHOUT_KEYS:
            raise ValueError(f"'{self.type}' is required where 'type' is {self.type}")
        return self

    @property
    def settings(self) -> Any:
        """The map of the type."""
        return next(
            getattr(self, key) for key, field in type(self).model_fields.items() if self.type in (key, field.alias)
        )


class LeafPolicyConfig(_Policy):
    """A policy without policies inside."""


class NotConfig(Config):
    not_sub_policy: LeafPolicyConfig
    """Samples where this one does not."""


class AndSubPolicyConfig(_Policy):
    """What `and` and `drop` are made of."""

    allowed = (*LEAVES, "not")

    not_: NotConfig | None = Field(None, alias="not")
    """The contrary of a policy."""


class AndConfig(Config):
    and_sub_policy: tuple[AndSubPolicyConfig, ...] = Field(min_length=1)
    """All of these sample; the first that does not ends it."""


class DropConfig(Config):
    drop_sub_policy: tuple[AndSubPolicyConfig, ...] = Field(min_length=1)
    """Where all of these sample, the trace is dropped, whatever other policies say."""


class CompositeSubPolicyConfig(_Policy):
    """What `composite` is made of."""

    allowed = (*LEAVES, "and")

    and_: AndConfig | None = Field(None, alias="and")
    """Several policies at once."""


class RateAllocationConfig(Config):
    policy: str
    """Name of the sub-policy."""

    percent: int = Field(0, ge=0, le=100)
    """Its share of the total; 0 is an equal share."""


class CompositeConfig(Config):
    max_total_spans_per_second: int = Field(ge=0)
    """Spans a second for all sub-policies."""

    policy_order: tuple[str, ...] = ()
    """Has no effect, as in the Collector: the order is that of `composite_sub_policy`."""

    composite_sub_policy: tuple[CompositeSubPolicyConfig, ...] = Field(min_length=1)
    """Asked in order; the first that samples pays with its share."""

    rate_allocation: tuple[RateAllocationConfig, ...] = ()
    """Shares of the total. A sub-policy that is not named has none and never samples, as in the Collector."""

    spill: bool = False
    """Ask the next sub-policy where the share of one is used up, and lend what was not used a second ago."""

    @model_validator(mode="after")
    def _check(self) -> CompositeConfig:
        names = [policy.name for policy in self.composite_sub_policy]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"'composite_sub_policy': duplicate policy name \"{name}\"")
        for allocation in self.rate_allocation:
            if allocation.policy not in names:
                raise ValueError(
                    f"'rate_allocation' names policy \"{allocation.policy}\", which is not in "
                    f"'composite_sub_policy'{choice(allocation.policy, names)}"
                )
        total = sum(self.allocations().values())
        if total > self.max_total_spans_per_second:
            percent = sum(allocation.percent for allocation in self.rate_allocation)
            raise ValueError(
                f"'rate_allocation' gives {total} spans a second ({percent} % named), more than "
                f"'max_total_spans_per_second', {self.max_total_spans_per_second}"
            )
        return self

    def allocations(self) -> dict[str, int]:
        """Return spans a second for each sub-policy with an entry: its percent of the total, an equal share for 0."""
        total, number = self.max_total_spans_per_second, len(self.composite_sub_policy)
        # in doubles and cut off, as the Collector: 29 % of 100 are 28
        return {
            allocation.policy: int(allocation.percent / 100 * total) if allocation.percent else total // number
            for allocation in self.rate_allocation
        }


class PolicyConfig(_Policy):
    """One of the policies of the processor."""

    allowed = (*LEAVES, "and", "not", "drop", "composite")

    and_: AndConfig | None = Field(None, alias="and")
    """Several policies at once."""

    not_: NotConfig | None = Field(None, alias="not")
    """The contrary of a policy."""

    drop: DropConfig | None = None
    """A veto."""

    composite: CompositeConfig | None = None
    """Several policies that share a budget."""
