"""What users may write for `tail_sampling`: the Collector's keys, and ours."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from pipeline import Config
from pipeline.config.values import ByteSize, Duration
from pipeline.durable import DurableConfig
from processors.tail_sampling.policy_config import PolicyConfig

STATEFUL = frozenset({"rate_limiting", "bytes_limiting", "job"})
"""Policies that `span-ingest` cannot have; a composite of others it can, as in the Collector."""


def _grouped(value: object) -> object:
    """Read `100_000`, which is a number to the Collector's YAML and text to YAML 1.2."""
    plain = isinstance(value, str) and value.replace("_", "").isdecimal() and value.isascii()
    return int(str(value).replace("_", "")) if plain and "_" in str(value) else value


Size = Annotated[int, BeforeValidator(_grouped), Field(ge=0)]
"""A number as the Collector's pages write it."""


class DecisionCacheConfig(Config):
    sampled_cache_size: Size = 100_000
    """Sampled traces whose decision is remembered at least; 0 remembers as many as `num_traces`."""

    non_sampled_cache_size: Size = 400_000
    """The same for those that were not sampled or dropped."""


class TailSamplingConfig(DurableConfig):
    decision_wait: Duration = 30.0
    """From the first span of a trace to the decision; 0 decides on what comes at once."""

    decision_wait_after_root_received: Duration = 0.0
    """From a span without parent to the decision, where that is earlier; 0 is off."""

    num_traces: int = Field(50_000, ge=1)
    """Undecided traces; beyond it the oldest are decided on what is known of them."""

    expected_new_traces_per_sec: int = Field(0, ge=0)
    """Makes room in advance."""

    policies: tuple[PolicyConfig, ...] = Field(min_length=1)
    """Asked in order, those of type `drop` first."""

    decision_cache: DecisionCacheConfig = DecisionCacheConfig()
    """How many decisions are remembered for late spans."""

    sample_on_first_match: bool = False
    """Ask no further policy once one samples."""

    drop_pending_traces_on_shutdown: bool = False
    """Forget undecided traces at the end instead of deciding them on what is known."""

    block_on_overflow: bool = False
    """Has no effect here: no trace is evicted without a decision."""

    maximum_trace_size_bytes: ByteSize = 0
    """A trace that grows over this size (OTLP) while it waits is not sampled; 0 is no bound."""

    sampling_strategy: Literal["trace-complete", "span-ingest"] = "trace-complete"
    """Decide once on the whole trace, or on each piece when it comes."""

    num_shards: int = Field(1, ge=1)
    """Has no effect here: limits hold for the whole processor, as they do over the Collector's shards."""

    max_bytes: ByteSize = Field(512 * 1024 * 1024, ge=1024)
    """Memory for all that waits; beyond it the oldest traces are decided on what is known of them."""

    whole_job: bool = False
    """A kept trace brings along those with other attempts or the enqueue of its jobs, while they wait."""

    follow_links: bool = False
    """A kept trace brings along those that are linked with it, while they wait."""

    split: Literal["none", "job"] = "none"
    """`job`: decide each job of a trace with several by itself, with the spans below it."""

    split_min_jobs: int = Field(2, ge=2)
    """Traces with fewer executions are not split."""

    unsupported_keys: ClassVar[dict[str, str]] = {
        "tail_storage": "spans wait in memory, bounded by max_bytes; receiver kafka hands them out again after a crash",
    }

    @field_validator("policies")
    @classmethod
    def _unique(cls, policies: tuple[PolicyConfig, ...]) -> tuple[PolicyConfig, ...]:
        names = [policy.name for policy in policies]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f'duplicate policy name "{name}"')
        return policies

    @model_validator(mode="after")
    def _stateless(self) -> TailSamplingConfig:
        if self.sampling_strategy == "span-ingest":
            for policy in self.policies:
                if _is_stateful(policy):
                    raise ValueError(
                        'sampling_strategy "span-ingest" requires all policies to be stateless, '
                        f'but policy "{policy.name}" is stateful'
                    )
            if self.split != "none" or self.whole_job or self.follow_links:
                raise ValueError("'whole_job', 'follow_links' and 'split' need 'sampling_strategy: trace-complete'")
        return self


def _is_stateful(policy: object) -> bool:
    settings = getattr(policy, "settings", None)
    inner = [
        part
        for key in ("and_sub_policy", "drop_sub_policy", "not_sub_policy", "composite_sub_policy")
        for part in _listed(getattr(settings, key, ()))
    ]
    return getattr(policy, "type", "") in STATEFUL or any(_is_stateful(part) for part in inner)


def _listed(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else (value,)
