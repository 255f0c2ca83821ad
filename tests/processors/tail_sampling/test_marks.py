"""What kept spans say of themselves, and the arithmetic of probabilities and budgets behind it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.tail_sampling.budgets import TokenBucket, affordable
from processors.tail_sampling.probability import (
    fnv1a,
    is_sampled,
    probability_of,
    th_of,
    threshold,
    trace_hashes,
    with_probability,
)
from tests.processors.tail_sampling.scenes import S, Scene, policy, trace_id

COUNT, POLICY, SUB = "sampling.adjusted_count", "tailsampling.policy", "tailsampling.composite_policy"
ERRORS = policy("status_code", "errors", status_codes=["ERROR"])


def share(percent: float, name: str = "share", salt: str = "") -> dict[str, Any]:
    return policy("probabilistic", name, sampling_percentage=percent, hash_salt=salt)


@pytest.mark.parametrize(
    ("text", "expected"), [(b"", 0xCBF29CE484222325), (b"a", 0xAF63DC4C8601EC8C), (b"foobar", 0x85944171F73967E8)]
)
def test_the_hash_is_fnv(text: bytes, expected: int) -> None:
    """Scenario: the vectors of the draft that defines FNV-1a. Guarantees: these hashes."""
    assert fnv1a(text) == expected


@given(st.lists(st.binary(min_size=16, max_size=16), min_size=1), st.text())
def test_trace_hashes_equal_the_obvious_loop(ids: list[bytes], salt: str) -> None:
    """Scenario: any ids and salts. Guarantees: FNV-1a over the salt, or the Collector's default, and the id."""
    words = np.frombuffer(b"".join(ids), ">u8").astype(np.uint64).reshape(-1, 2)

    hashes = trace_hashes(salt, words[:, 0], words[:, 1])

    assert hashes.tolist() == [fnv1a((salt or "default-hash-seed").encode() + one) for one in ids]


@pytest.mark.parametrize(
    ("percentage", "expected"),
    [
        (0, 0),
        (100, (1 << 64) - 1),
        (50, (1 << 63) - 1 + 1),  # 2**63 - 0.5, rounded to 64 bits of mantissa as big.Float does
        (25, (1 << 62) - 1),
        (1e-17, 1),
    ],
)
def test_thresholds(percentage: float, expected: int) -> None:
    """Scenario: shares of all hashes. Guarantees: percent of 2**64 - 1, rounded to 64 bits and cut off, as in Go."""
    assert abs(threshold(percentage) - expected) <= 1


@pytest.mark.parametrize("percent", [1, 10, 50, 99])
def test_shares_are_about_right(percent: float) -> None:
    """Scenario: 20 000 random ids.

    Guarantees: the share within five standard deviations; a larger share includes it.
    """
    words = np.random.default_rng(7).integers(0, 1 << 63, (20_000, 2)).astype(np.uint64)

    sampled = is_sampled(percent, "", words[:, 0], words[:, 1])

    p = percent / 100
    assert abs(sampled.mean() - p) < 5 * math.sqrt(p * (1 - p) / 20_000)
    assert (is_sampled(min(100, percent + 1), "", words[:, 0], words[:, 1]) | ~sampled).all()


@pytest.mark.parametrize(
    ("probability", "th"), [(0.5, "8"), (0.25, "c"), (0.75, "4"), (0.1, "e666"), (0.01, "fd70a"), (1.0, "0")]
)
def test_probabilities_in_trace_states(probability: float, th: str) -> None:
    """Scenario: probabilities of the OpenTelemetry specification's examples. Guarantees: its `th`, and back again."""
    assert th_of(probability) == th
    assert probability_of(th) == pytest.approx(probability, rel=1e-3)


def test_other_members_of_a_trace_state_stay() -> None:
    """Scenario: vendors' members, a randomness and a head that kept half.

    Guarantees: a quarter now, the others as they are.
    """
    assert with_probability("a=b,ot=th:8;rv:0123456789abcd,c=d", 0.5) == "ot=th:c;rv:0123456789abcd,a=b,c=d"
    assert with_probability("no state", 0.5) == "no state"


def test_a_share_says_what_it_stands_for() -> None:
    """Scenario: 25 % of 400 traces, of which every tenth failed and is kept in any case.

    Guarantees: by chance 4 and `th`, for sure 1 and none; the sum of counts is about the number of traces.
    """
    scene = Scene(ERRORS, share(25))
    scene.take(*(S(trace, status="UNSET" if trace % 10 else "ERROR") for trace in range(1, 401))).advance(10)

    for row, name, count in zip(scene.rows, scene.attribute(POLICY), scene.attribute(COUNT), strict=True):
        assert (name, count, row["trace_state"]) in {("errors", 1.0, ""), ("share", 4.0, "ot=th:c")}
    assert sum(scene.attribute(COUNT)) == pytest.approx(400, abs=5 * math.sqrt(360 * 0.25 * 0.75) / 0.25)


def test_policies_of_one_salt_share_their_chance() -> None:
    """Scenario: 10 and 50 % by the same hash, and by different ones. Guarantees: 50 % together, and 55 %."""
    one = Scene(share(10, "a"), share(50, "b")).take(*(S(trace) for trace in range(1, 50))).advance(10)
    two = Scene(share(10, "a"), share(50, "b", "x")).take(*(S(trace) for trace in range(1, 50))).advance(10)

    assert set(one.attribute(COUNT)) == {2.0}
    assert two.attribute(COUNT) == [pytest.approx(1 / 0.55)] * len(two.kept)


def test_a_condition_and_a_share() -> None:
    """Scenario: half of the traces with an error, by `and`. Guarantees: 2 each; those without one are not kept."""
    both = policy("and", "both", and_sub_policy=[ERRORS, share(50, "half")])
    scene = Scene(both).take(*(S(trace, status="ERROR") for trace in range(1, 50)), S(99)).advance(10)

    assert set(scene.attribute(COUNT)) == {2.0}
    assert 99 not in scene.kept


def test_a_budget_says_what_it_paid_for() -> None:
    """Scenario: 8 traces, a budget for 2. Guarantees: each of the two stands for 4; a budget is no probability."""
    scene = Scene(policy("rate_limiting", spans_per_second=1)).take(*(S(trace) for trace in range(1, 9))).advance(10)

    assert scene.kept == [1, 2]
    assert scene.attribute(COUNT) == [4.0, 4.0]
    assert {row["trace_state"] for row in scene.rows} == {""}


def test_a_second_sampler_multiplies() -> None:
    """Scenario: spans that a sampler has marked go through another one.

    Guarantees: one mark each, counts multiplied.
    """
    first = Scene(share(50)).take(*(S(trace) for trace in range(1, 40))).advance(10)
    second = Scene(share(50, "other", "salt"))
    for batch in first.batches:
        second.feed(batch)
    second.advance(10)

    assert set(second.attribute(COUNT)) == {4.0}
    assert set(second.attribute(POLICY)) == {"other"}
    assert {row["trace_state"] for row in second.rows} == {"ot=th:c"}
    assert all(len([item for item in row["attributes"] if item["key"] == POLICY]) == 1 for row in second.rows)


def test_what_a_head_sampler_kept_counts() -> None:
    """Scenario: a span that a head kept with 25 %, sampled for sure. Guarantees: it stands for 4, its `th` stays."""
    scene = Scene(policy("always_sample")).take(S(state="ot=th:c")).advance(10)

    assert scene.attribute(COUNT) == [4.0]
    assert [row["trace_state"] for row in scene.rows] == ["ot=th:c"]


@given(st.lists(st.integers(1, 20), max_size=60), st.integers(0, 100))
def test_budgets_equal_the_obvious_loop(sizes: list[int], budget: int) -> None:
    """Scenario: any sizes in turn. Guarantees: each is taken if what is left holds it."""
    left, expected = budget, []
    for size in sizes:
        expected.append(size <= left)
        left -= size if size <= left else 0

    assert affordable(np.array(sizes, np.int64), budget).tolist() == expected


def test_a_bucket_fills_up_again() -> None:
    """Scenario: 10 a second, at most 20. Guarantees: full at first, then what time brings, never over 20."""
    bucket = TokenBucket(10, 20)
    one = np.array([20], np.int64)

    assert bucket.take(one, 100.0).all()
    assert not bucket.take(one, 101.9).any()
    assert bucket.take(one, 102.0).all()
    assert bucket.take(np.array([15, 10], np.int64), 1000.0).tolist() == [True, False]


def composite(*shares: int, spill: bool = False, total: int = 10) -> dict[str, Any]:
    """Errors first, then all, with shares in percent; a negative one has no entry."""
    parts = [ERRORS, policy("always_sample", "rest")]
    return policy(
        "composite",
        max_total_spans_per_second=total,
        policy_order=["rest", "errors"],
        composite_sub_policy=parts,
        rate_allocation=[
            {"policy": part["name"], "percent": percent}
            for part, percent in zip(parts, shares, strict=True)
            if percent >= 0
        ],
        spill=spill,
    )


def mixed(errors: int, others: int) -> list[S]:
    return [S(trace, status="ERROR") for trace in range(1, errors + 1)] + [S(100 + n) for n in range(others)]


@pytest.mark.parametrize(
    ("made", "spans", "errors", "rest"),
    [
        (composite(50, 50), mixed(3, 3), 3, 3),
        (composite(50, 50), mixed(8, 8), 5, 5),
        (composite(50, 50), mixed(8, 1), 5, 1),  # an error over budget is not sampled by the rest
        (composite(0, 0), mixed(8, 8), 5, 5),  # 0 is an equal share
        (composite(50, -1), mixed(8, 8), 5, 0),  # without an entry there is no share
        (composite(30, 60, total=5), mixed(8, 8), 1, 3),  # cut to whole spans
        (composite(29, 70, total=100), mixed(40, 80), 28, 70),  # 29 % of 100 as doubles have it, cut off
        (composite(50, 50, spill=True), mixed(8, 1), 5, 4),  # what errors may not pay falls to the rest
    ],
)
def test_composite(made: dict[str, Any], spans: list[S], errors: int, rest: int) -> None:
    """Scenario: traces of one second under a composite.

    Guarantees: each sub-policy pays from its own share, in order.
    """
    scene = Scene(made).take(*spans).advance(10)

    assert scene.attribute(SUB).count("errors") == errors
    assert scene.attribute(SUB).count("rest") == rest


def test_composite_begins_anew_each_second_and_lends_what_was_left() -> None:
    """Scenario: a second with 2 errors, then one with 9.

    Guarantees: 5 of those; with `spill` all, which total allows.
    """
    for spill, expected in ((False, 7), (True, 11)):
        scene = Scene(composite(50, 50, spill=spill))
        scene.take(*mixed(2, 0)).advance(1).take(*(S(200 + n, status="ERROR") for n in range(9))).advance(11)

        assert scene.attribute(SUB).count("errors") == expected


def test_a_rate_inside_and_pays_for_what_comes_to_it() -> None:
    """Scenario: a rate behind a condition, and before it. Guarantees: it pays for errors only, and for all."""
    rate = policy("rate_limiting", "rate", spans_per_second=1)
    spans = [S(1), S(2), S(3, status="ERROR")]

    assert Scene(policy("and", and_sub_policy=[ERRORS, rate])).take(*spans).advance(10).kept == [3]
    assert Scene(policy("and", and_sub_policy=[rate, ERRORS])).take(*spans).advance(10).kept == []


def test_ids_of_scenes_are_spread() -> None:
    """Scenario: the ids that these tests use. Guarantees: all different."""
    assert len({trace_id(number) for number in range(1000)}) == 1000
