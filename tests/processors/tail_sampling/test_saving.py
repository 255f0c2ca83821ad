"""State over a restart: what a new sampler knows that was given the state of an old one."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest

from pipeline.testing import FakeHost
from processors.tail_sampling.decisions import RememberedDecisions, records
from tests.processors.tail_sampling.scenes import MS, S, Scene, policy

ERRORS = policy("status_code", "errors", status_codes=["ERROR"])
SLOW = policy("latency", "slow", threshold_ms=1000)
NEVER = policy("span_count", "many", min_spans=100_000)
SECOND = 1_000_000_000


def job(name: str = "job", **settings: Any) -> dict[str, Any]:
    return policy("job", name, **settings)


def restarted(old: Scene, *policies: dict[str, Any], **keys: Any) -> Scene:
    """Return a sampler in a new process, whose clock begins anew."""
    new = Scene(*policies, **keys)
    new.now = 5.0
    new.sampler.restore(old.drain().sampler.state())
    return new


def test_late_spans_after_a_restart_follow_their_trace() -> None:
    """Scenario: a trace is kept and one is not, a third is kept at the shutdown; a restart; late spans of all.

    Guarantees: they go on or are dropped at once, with the policy's name.
    """
    old = Scene(ERRORS, NEVER).take(S(1, status="ERROR"), S(2)).advance(10).take(S(3, status="ERROR"))

    new = restarted(old, ERRORS, NEVER).take(S(1), S(2), S(3))

    assert new.kept == [1, 3]
    assert new.attribute("tailsampling.policy") == ["errors", "errors"]
    assert new.attribute("tailsampling.cached_decision") == [True, True]
    assert new.advance(60).kept == [1, 3]


def test_policies_may_change_meanwhile() -> None:
    """Scenario: three traces kept by three policies; after the restart one is gone and the others change places.

    Guarantees: each decision holds; the names are right, and there is none where the policy is gone.
    """
    parts = [ERRORS, policy("always_sample", "rest")]
    composite = policy(
        "composite",
        "both",
        max_total_spans_per_second=1000,
        composite_sub_policy=parts,
        rate_allocation=[{"policy": "errors", "percent": 50}, {"policy": "rest", "percent": 50}],
    )
    old = Scene(SLOW, policy("trace_state", "tagged", key="a", values=["b"]), composite)
    old.take(S(1, end=5000), S(2, state="a=b"), S(3)).advance(10)
    swapped = composite["composite"] | {"composite_sub_policy": parts[::-1]}

    new = restarted(old, composite | {"composite": swapped}, SLOW).take(S(1), S(2), S(3))

    assert new.kept == [1, 2, 3]
    assert new.attribute("tailsampling.policy") == ["slow", None, "both"]
    assert new.attribute("tailsampling.composite_policy") == [None, None, "rest"]


def test_what_was_learned_of_jobs_stays() -> None:
    """Scenario: a kept job, 1000 runs of a class, and the three traces of an error that are wanted; then a restart.

    Guarantees: a later attempt of the job is kept, the class's percentile is known, the error is not new.
    """
    policies = [
        job("failed", outcome=["discarded"], whole_job=True),
        job("slow", slower_than="p99"),
        job("new", new_error=3),
        NEVER,
    ]
    old = Scene(*policies)
    old.take(S(1)).jobs({"trace": 1, "outcome": "discarded", "job_id": "7"})
    old.jobs(*({"trace": 9, "duration": SECOND + n * MS, "job_class": "Fast"} for n in range(1000)))
    for trace in (2, 3, 4):
        old.take(S(trace)).jobs({"trace": trace, "outcome": "failed", "error_fingerprint": "x"})

    new = restarted(old.advance(10), *policies)
    new.take(S(11), S(12), S(13))
    new.jobs(
        {"trace": 11, "job_id": "7"},
        {"trace": 12, "duration": 30 * SECOND, "job_class": "Fast"},
        {"trace": 13, "outcome": "failed", "error_fingerprint": "x"},
    )

    assert new.advance(10).kept == [11, 12]


async def test_no_age_is_told_of_decisions_before_the_restart() -> None:
    """Scenario: late spans of a trace decided before the restart. Guarantees: counted, but in no histogram of ages."""
    new = restarted(Scene(ERRORS).take(S(1, status="ERROR")), ERRORS)
    host = FakeHost()
    await new.sampler.start(host)

    new.take(S(1))

    prefix = "otelcol_processor_tail_sampling_"
    text = host.metrics.exposition().decode()
    assert f'{prefix}early_releases_from_cache_decision{{sampled="true"}} 1.0' in text
    assert f"{prefix}sampling_late_span_age_count 0.0" in text


@pytest.mark.parametrize("state", [b"", b"nonsense", Scene(ERRORS).sampler.state()[:-30]])
def test_what_is_no_state(state: bytes) -> None:
    """Scenario: bytes that are no state of a sampler. Guarantees: the error that lets the storage put them aside."""
    with pytest.raises(ValueError, match="not a saved state of processor tail_sampling"):
        Scene(ERRORS).sampler.restore(state)


@pytest.mark.parametrize("seed", range(5))
def test_remembered_decisions_are_items(seed: int) -> None:
    """Scenario: keys added and asked for, over several generations.

    Guarantees: `items` has each that is known once; `add` of these knows the last of them.
    """
    random = Random(seed)
    old = RememberedDecisions(50)
    for _ in range(random.randrange(60)):
        keys = np.unique(np.array([random.randrange(1, 300) for _ in range(random.randrange(1, 40))], np.uint64))
        keys = keys[~np.isin(keys, keys[old.find(keys).which])]
        record = records(len(keys))
        record["probability"] = keys
        old.add(keys, record)
    keys, record = old.items()
    assert len(np.unique(keys)) == len(keys)
    every = np.arange(1, 300, dtype=np.uint64)
    known = every[old.find(every).which]
    assert sorted(keys.tolist()) == known.tolist()

    new = RememberedDecisions(50)
    new.add(keys, record)

    found = new.find(keys)
    # at least the last 50 of them
    assert len(found.which) >= min(len(keys), 50)
    assert (found.record["probability"] == keys[found.which]).all()
