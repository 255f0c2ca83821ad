"""Adding up by edge and interval: what the obvious loop says; samples stay few and stand for all."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.job_dependencies.names import Edges, Names, edges_of
from processors.job_dependencies.tally import MOST_SAMPLES, Tally

SECOND = 1_000_000_000
START = 1_795_300_000 * SECOND

CALL = st.tuples(st.integers(0, 2), st.integers(0, 150 * SECOND), st.integers(-2, 2), st.booleans(), st.integers(0, 5))


def some_edges(number: int) -> tuple[Edges, Names]:
    """Return so many edges, told apart by the name of the child."""
    names, edges = Names(1000), Edges(1000)
    children = np.array([names.number(f"child {edge}") for edge in range(number)])
    edges.add(edges_of((0, 0, 0, 1, children, 0, 0), number))
    return edges, names


@given(st.lists(st.lists(CALL, max_size=6), max_size=6))
def test_counts_equal_the_obvious_loop(parts: list[list[tuple[int, int, int, bool, int]]]) -> None:
    """Scenario: calls on a few edges in a few minutes, added in parts, some taken back.

    Guarantees: sums, largest fan-out, first and last of each edge and minute; none where all sums are 0.
    """
    edges, names = some_edges(3)
    tally = Tally(60 * SECOND)
    expected: defaultdict[tuple[str, int], list[tuple[int, int, bool, int]]] = defaultdict(list)
    for part in parts:
        edge, since, calls, failed, fan_out = (np.array([call[at] for call in part], np.int64) for at in range(5))
        tally.count(edge, (START + since).astype(np.uint64), calls=calls, failures=failed == 1, fan_out=fan_out)
        for one in part:
            time = START + one[1]
            expected[f"child {one[0]}", time - time % (60 * SECOND)].append((time, *one[2:]))

    table = tally.take(edges, names)

    found = {} if table is None else {
        (row["child"], row["timestamp"]): (
            row["calls"], row["failures"], row["executions"], row["fan_out_max"], row["first_seen"], row["last_seen"]
        )
        for row in table.to_pylist()
    }  # fmt: skip
    assert found == {
        group: (
            sum(calls for _, calls, _, _ in told), sum(failed for _, _, failed, _ in told), 0,
            max(fan_out for *_, fan_out in told), min(time for time, *_ in told), max(time for time, *_ in told),
        )
        for group, told in expected.items()
        if sum(calls for _, calls, _, _ in told) or any(failed for _, _, failed, _ in told)
    }  # fmt: skip
    assert tally.take(edges, names) is None


@pytest.mark.parametrize("at_once", [50, 7000, 60_000])
def test_many_samples_become_few(at_once: int) -> None:
    """Scenario: sixty thousand durations, most of one edge, a few of another, added in parts.

    Guarantees: at most 200 of each edge and minute, whose weights are their number, whose mean is theirs, and whose
    quantiles are near theirs; the few stay as they are.
    """
    edges, names = some_edges(2)
    tally = Tally(60 * SECOND)
    values = np.random.default_rng(1).integers(0, SECOND, 60_000)
    edge = (np.arange(60_000) % 1000 == 0).astype(np.int32)
    times = START - START % (60 * SECOND) + np.arange(60_000) % (60 * SECOND)
    for begin in range(0, 60_000, at_once):
        part = slice(begin, begin + at_once)
        tally.count(edge[part], times[part].astype(np.uint64), calls=1)
        tally.sample(tally.durations, edge[part], times[part].astype(np.uint64), values[part])
    tally.sample(tally.latencies, edge[:2], times[:2].astype(np.uint64), np.array([-1, 7]))

    table = tally.take(edges, names)

    assert table is not None
    many, few = sorted(table.to_pylist(), key=lambda row: row["child"])
    assert len(many["durations"]) <= MOST_SAMPLES
    assert sum(many["duration_weights"]) == many["calls"] == 59_940
    every = np.sort(values[edge == 0])
    kept = np.repeat(many["durations"], many["duration_weights"])
    assert np.isclose(kept.mean(), every.mean(), rtol=1e-6)
    assert np.abs(kept - every).max() < 0.02 * SECOND
    assert sorted(few["durations"]) == sorted(values[edge == 1].tolist())
    assert set(few["duration_weights"]) == {1}
    assert (many["queue_latencies"], few["queue_latencies"]) == ([7], [])
