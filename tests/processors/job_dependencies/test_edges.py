"""Edges and their counts: what workflows really did, however it is told."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.processors.job_dependencies.world import Edge, Found, check, pieces, random_world


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_edges_are_exact_when_told_at_once(seed: int) -> None:
    """Scenario: random workflows in one batch. Guarantees: calls, failures, executions, parents are right."""
    world = random_world(seed)

    found = Found().tell(*world.spans).wait(300).drain()

    check(world, found)


@settings(max_examples=25)
@given(st.integers(0, 2**32))
def test_splits_orders_and_times_do_not_matter(seed: int) -> None:
    """Scenario: random workflows, their spans shuffled and cut to pieces, with up to an hour between two of them.

    Guarantees: in the end the sums of every edge are those of the world.
    """
    random = Random(seed)
    world = random_world(seed)
    found = Found(wait="1h")
    for piece in pieces(world.spans, random):
        found.tell(*piece).wait(random.choice([0, 0, 1, 11, 50]))

    check(world, found.wait(4000).drain())


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_late_news_corrects_what_was_counted(seed: int) -> None:
    """Scenario: jobs are told of in any order, with more than the whole wait between the pieces.

    Guarantees: what was counted too early is taken back: calls and executions of jobs are those of the world, with
    the parents that job rows name. Only what spans alone say may have been given up as unknown.
    """
    random = Random(seed)
    world = random_world(seed)
    found = Found(window="1000h")
    for piece in pieces(world.spans, random):
        found.tell(*piece).wait(random.choice([0, 150, 3000]))
    found.wait(600).drain()

    def of_children(sums: dict[Edge, int]) -> Counter[str]:
        totals: Counter[str] = Counter()
        for edge, number in sums.items():
            if edge.child_kind == "job":
                totals[edge.child] += number
        return +totals

    def between_jobs(sums: dict[Edge, int]) -> Counter[tuple[str, str]]:
        totals: Counter[tuple[str, str]] = Counter()
        for edge, number in sums.items():
            if edge.parent_kind == edge.child_kind == "job":
                totals[edge.parent, edge.child] += number
        return +totals

    for name, truth in (("calls", world.calls), ("executions", world.executions), ("failures", world.failures)):
        assert of_children(found.sums(name)) == of_children(dict(truth))
        assert between_jobs(found.sums(name)) == between_jobs(dict(truth))


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_a_restart_loses_and_doubles_nothing(seed: int) -> None:
    """Scenario: the same, with orderly restarts in between, each with another clock; the state is kept.

    Guarantees: the sums of every edge are those of the world.
    """
    random = Random(seed)
    world = random_world(seed)
    found = Found(storage="file_storage", wait="1h")
    for piece in pieces(world.spans, random):
        found.tell(*piece).wait(random.choice([0, 1, 30]))
        if random.random() < 0.5:
            found.drain().restart(clock=random.choice([0.0, 5.0, 1e6]))
    check(world, found.wait(4000).drain())


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_durations_are_those_of_the_children(seed: int) -> None:
    """Scenario: random workflows. Guarantees: one sample of duration for each execution, to the nanosecond."""
    world = random_world(seed)

    found = Found().tell(*world.spans).wait(600).drain()

    assert found.samples("durations", "duration_weights") == {edge: sorted(d) for edge, d in world.durations.items()}
