"""Workflows of known shapes, told in any order and any pieces: edges, counts and cycles are those that happened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.processors.job_dependencies.world import Found, Place, World, check

Shape = Callable[[World, str, list[str], bool], list[str]]
"""Adds a workflow whose classes begin with a prefix; returns the cycles among them."""


def _chain(
    world: World, place: Place, names: str, services: list[str], link: bool, outcomes: Sequence[bool] = (True,)
) -> None:
    for number, name in enumerate(names.split()):
        (place,) = world.job(place, name, services[number % len(services)], link=link, outcomes=outcomes)


def chain(world: World, prefix: str, services: list[str], link: bool) -> list[str]:
    names = " ".join(f"{prefix}{letter}" for letter in "ABCD")
    _chain(world, world.request(f"GET /{prefix}", "web"), names, services, link)
    return []


def retries(world: World, prefix: str, services: list[str], link: bool) -> list[str]:
    names = " ".join(f"{prefix}{letter}" for letter in "AB")
    _chain(world, world.script("cron"), names, services, link, (False, False, True))
    return []


def fan_out(world: World, prefix: str, services: list[str], link: bool) -> list[str]:
    (plan,) = world.job(world.request(f"GET /{prefix}", "web"), f"{prefix}Plan", services[0])
    for number in range(5):
        world.job(plan, f"{prefix}Step{number % 2}", services[-1], link=link)
    return []


def fan_in(world: World, prefix: str, services: list[str], link: bool) -> list[str]:
    """Let the member of a batch that ends last enqueue the callback, as Sidekiq's batches and Celery's chords do."""
    (plan,) = world.job(world.script("cron"), f"{prefix}Plan", services[0])
    members = [world.job(plan, f"{prefix}Step", services[-1], link=link)[0] for _ in range(4)]
    members += world.job(plan, f"{prefix}Bulk", services[-1], batch=3)
    world.job(members[len(world.spans) % len(members)], f"{prefix}Callback", services[0], link=link)
    return []


def cycle(length: int) -> Shape:
    def turn(world: World, prefix: str, services: list[str], link: bool) -> list[str]:
        names = [f"{prefix}{letter}" for letter in "ABCDE"[:length]]
        _chain(world, world.script("cron"), " ".join([*names, names[0]]), services, link)
        return [" → ".join([*names, names[0]])] if length > 1 else []

    return turn


SHAPES: list[Shape] = [chain, retries, fan_out, fan_in, cycle(1), cycle(2), cycle(5)]


@st.composite
def told_in_pieces(draw: st.DrawFn) -> tuple[World, list[str], Found]:
    """Return workflows of known shapes, the cycles among their classes, and who was told of them piece by piece."""
    world, cycles = World(), list[str]()
    for number, shape in enumerate(draw(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3))):
        services = draw(st.sampled_from(["one", "one two"])).split()
        cycles += shape(world, f"W{number}", services, draw(st.booleans()))
    spans = draw(st.permutations(world.spans))
    found = Found(wait="1h")
    while spans:
        size = draw(st.integers(1, 12))
        found.tell(*spans[:size]).wait(draw(st.sampled_from([0, 1, 30])))
        spans = spans[size:]
    return world, cycles, found


@settings(max_examples=20)
@given(told_in_pieces())
def test_known_graphs(told: tuple[World, list[str], Found]) -> None:
    """Scenario: chains, retries, fan-out, fan-in, cycles of 1, 2, 5 classes; 1 or 2 services, links or not; in pieces.

    Guarantees: every count of every edge is what happened. Each cycle of two classes or more raises one alert that
    names its path, and nothing else raises any.
    """
    world, cycles, found = told

    check(world, found.wait(4000).drain())
    assert sorted((alert.name, alert.subject) for alert in found.alerts) == [
        ("JobCycle", way) for way in sorted(cycles)
    ]


def test_a_fan_in() -> None:
    """Scenario: a batch of eight; two members think that they end last and enqueue the callback, under one job id.

    Guarantees: the callback is called once, by one of the members, one parent; the plan has called the eight members.
    """
    world = World()
    (plan,) = world.job(world.script("cron"), "Plan", "worker")
    members = [world.job(plan, "Step", "worker")[0] for _ in range(8)]
    world.job(members[-1], "Callback", "worker")
    sent = next(span for span in world.spans if span.kind == "producer" and span.parent == members[-1].span)
    again = replace(sent, id=sent.id + 10_000, parent=members[-2].span)

    found = Found().tell(*world.spans, again).wait(300).drain()

    check(world, found)
    edges = {(edge.parent, edge.child): (edge, number) for edge, number in found.sums("calls").items()}
    assert {pair: number for pair, (_, number) in edges.items()} == {
        ("", "Plan"): 1, ("Plan", "Step"): 8, ("Step", "Callback"): 1,
    }  # fmt: skip
    assert found.sums("parents")[edges["Step", "Callback"][0]] == 1
