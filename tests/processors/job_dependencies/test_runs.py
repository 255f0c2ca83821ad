"""Sorted runs: what a dictionary would say, bounded."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from processors.job_dependencies.runs import ENTRY_BYTES, SortedRuns

# few keys, so that many are told twice; 0 is no key
KEYS = st.lists(st.integers(0, 40), max_size=6)


def keys_of(numbers: list[int]) -> np.ndarray:
    return np.array(numbers, np.uint64) * np.uint64(2**63 // 40)


def values_of(numbers: list[int]) -> np.ndarray:
    return np.array(numbers, np.int64) * 7


@given(st.lists(KEYS, max_size=100), KEYS, st.integers(1, 60))
def test_finds_what_was_added(parts: list[list[int]], asked: list[int], largest: int) -> None:
    """Scenario: keys told in many pieces, some twice with the same value; any are asked for.

    Guarantees: each has its value, the others and 0 have none, `items` make an equal one, and sizes are right.
    """
    runs = SortedRuns(largest)
    for part in parts:
        runs.add(keys_of(part), values_of(part))
    again = SortedRuns(largest)
    again.add(*runs.items())

    told = {number for part in parts for number in part} - {0}
    expected = [number * 7 if number in told else -5 for number in asked]
    for one in (runs, again):
        assert one.find(keys_of(asked), -5).tolist() == expected
        assert len(one) == sum(number != 0 for part in parts for number in part)
        assert one.nbytes == ENTRY_BYTES * len(one)


@given(st.integers(1, 200), st.integers(1, 50), st.integers(20, 1000))
def test_forgets_the_oldest(adds: int, at_once: int, largest: int) -> None:
    """Scenario: many adds of different keys, then half is forgotten.

    Guarantees: what is kept is the newest without gaps, at most half of it, and as much as runs of `largest` allow.
    """
    runs = SortedRuns(largest)
    size = adds * at_once
    numbers = np.arange(1, size + 1)
    for start in range(0, size, at_once):
        part = numbers[start : start + at_once]
        runs.add(part.astype(np.uint64), part)
    runs.forget_half()

    kept = np.flatnonzero(runs.find(numbers.astype(np.uint64), 0) == numbers)
    assert kept.tolist() == list(range(size - len(runs), size))
    assert size // 2 - max(largest, at_once) <= len(runs) <= size // 2
