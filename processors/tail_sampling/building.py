"""Configuration -> policies, and the questions that they put to spans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from processors.tail_sampling import policies as kinds
from processors.tail_sampling.budgets import SecondBudgets, TokenBucket
from processors.tail_sampling.conditions import (
    Fails,
    Matches,
    NumberIn,
    SampledFlag,
    StatusIs,
    TextIs,
    TraceStateHas,
    TruthIs,
)
from processors.tail_sampling.config import TailSamplingConfig
from processors.tail_sampling.evaluation import Evaluation
from processors.tail_sampling.jobs import JobPolicy
from processors.tail_sampling.leaf_config import STATUS_CODES, JobConfig
from processors.tail_sampling.pieces import Questions, Test, Window
from processors.tail_sampling.policy_config import CompositeConfig


@dataclass(frozen=True, slots=True)
class Built:
    """What a configuration becomes."""

    evaluation: Evaluation
    questions: Questions
    jobs: tuple[JobPolicy, ...]
    """The policies of type `job`, by their number; also those inside of others."""
    names: tuple[str, ...]
    """The policies' names in the order in which they are asked."""
    subs: tuple[tuple[str, ...], ...]
    """For each the names of the sub-policies that a composite has."""
    whole_job: frozenset[int]
    """The policies that keep whole jobs, by that order."""
    follow_links: frozenset[int]


def built(config: TailSamplingConfig) -> Built:
    """Return fresh policies, whose budgets are full."""
    builder = _Builder()
    made = [builder.policy(policy) for policy in config.policies]
    evaluation = Evaluation(made, first_match=config.sample_on_first_match)
    by_name = {policy.name: policy for policy in config.policies}
    ordered = [by_name[policy.name] for policy in evaluation.policies]
    every = frozenset(range(len(ordered)))
    return Built(
        evaluation,
        Questions(tuple(builder.tests), builder.sizes or config.maximum_trace_size_bytes > 0),
        tuple(builder.jobs),
        tuple(policy.name for policy in ordered),
        tuple(_sub_names(policy.settings) for policy in ordered),
        every if config.whole_job else _wanting(ordered, "whole_job"),
        every if config.follow_links else _wanting(ordered, "follow_links"),
    )


def _sub_names(settings: Any) -> tuple[str, ...]:
    if isinstance(settings, CompositeConfig):
        return tuple(policy.name for policy in settings.composite_sub_policy)
    return ()


def _wanting(policies: list[Any], key: str) -> frozenset[int]:
    return frozenset(number for number, policy in enumerate(policies) if _wants(policy, key))


def _wants(policy: Any, key: str) -> bool:
    """Tell whether a policy, or one inside of it, is of type `job` with this key."""
    settings = policy.settings
    if isinstance(settings, JobConfig):
        return bool(getattr(settings, key))
    inner = getattr(settings, "and_sub_policy", ()) or getattr(settings, "composite_sub_policy", ())
    return any(_wants(part, key) for part in inner)


class _Builder:
    def __init__(self) -> None:
        self.tests: list[Test] = []
        self.jobs: list[JobPolicy] = []
        self.sizes = False

    def policy(self, policy: Any) -> kinds.Policy:
        name, settings = policy.name, policy.settings
        match policy.type:
            case "always_sample":
                return kinds.Always(name)
            case "latency" if settings.upper_threshold_ms:
                return kinds.Holds(name, self._hit(Window(settings.threshold_ms, settings.upper_threshold_ms)))
            case "latency":
                return kinds.Slower(name, settings.threshold_ms)
            case "numeric_attribute":
                test = NumberIn(settings.key, settings.min_value, settings.max_value)
                return kinds.Holds(name, self._hit(test), settings.invert_match)
            case "string_attribute":
                text = TextIs(settings.key, settings.values, settings.enabled_regex_matching)
                return kinds.Holds(name, self._hit(text), settings.invert_match)
            case "boolean_attribute":
                return kinds.Holds(name, self._hit(TruthIs(settings.key, settings.value)), settings.invert_match)
            case "status_code":
                codes = frozenset(STATUS_CODES.index(code) for code in settings.status_codes)
                return kinds.Holds(name, self._hit(StatusIs(codes)))
            case "trace_state":
                return kinds.Holds(name, self._hit(TraceStateHas(settings.key, settings.values)))
            case "trace_flags":
                return kinds.Holds(name, self._hit(SampledFlag()))
            case "ottl_condition":
                matches = Matches((*settings.span, *settings.spanevent))
                failed = self._hit(Fails(matches)) if settings.error_mode == "propagate" else None
                return kinds.HoldsOrFails(name, self._hit(matches), failed)
            case "probabilistic":
                return kinds.Probabilistic(name, settings.sampling_percentage, settings.hash_salt)
            case "span_count":
                return kinds.SpanCount(name, settings.min_spans, settings.max_spans)
            case "rate_limiting":
                rate = settings.spans_per_second
                return kinds.Limited(name, TokenBucket(rate, settings.burst_capacity or 2 * rate), of_bytes=False)
            case "bytes_limiting":
                self.sizes = True
                rate = settings.bytes_per_second
                return kinds.Limited(name, TokenBucket(rate, settings.burst_capacity or 2 * rate), of_bytes=True)
            case "job":
                self.jobs.append(JobPolicy.of(name, len(self.jobs), settings))
                return self.jobs[-1]
            case "and":
                return self._and(name, settings.and_sub_policy)
            case "not":
                return kinds.Not(name, self.policy(settings.not_sub_policy))
            case "drop":
                return kinds.Drop(name, self._and(name, settings.drop_sub_policy))
            case "composite":
                return self._composite(name, settings)
        raise AssertionError(f"a policy of type {policy.type} that the configuration let through")

    def _and(self, name: str, parts: Any) -> kinds.And:
        return kinds.And(name, [self.policy(part) for part in parts])

    def _composite(self, name: str, settings: CompositeConfig) -> kinds.Composite:
        shares = settings.allocations()
        budgets = SecondBudgets(
            [shares.get(policy.name, 0) for policy in settings.composite_sub_policy],
            settings.max_total_spans_per_second,
            spill=settings.spill,
        )
        parts = [self.policy(policy) for policy in settings.composite_sub_policy]
        return kinds.Composite(name, parts, budgets, settings.spill)

    def _hit(self, test: Test) -> int:
        if test not in self.tests:
            self.tests.append(test)
        return self.tests.index(test)
