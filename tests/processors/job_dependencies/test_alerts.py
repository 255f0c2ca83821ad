"""Alerts of what runs away: cycles by classes, chains by job ids, fan-out by executions."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.alerts import AlertState
from tests.processors.job_dependencies.world import Found, Place, World, pieces
from tests.processors.jobs.telling import trace_hex


def chain(world: World, place: Place, *classes: str, service: str = "worker", link: bool = False) -> Place:
    """Let each class enqueue the next, in services that take turns if there are several."""
    services = service.split()
    for number, name in enumerate(classes):
        (place,) = world.job(place, name, services[number % len(services)], link=link)
    return place


def names(found: Found) -> list[tuple[str, str, str]]:
    return sorted((alert.name, alert.subject, str(alert.state)) for alert in found.alerts)


@pytest.mark.parametrize(
    ("classes", "subject"),
    [
        ("A B A", "A → B → A"),
        ("X B A B", "A → B → A"),
        ("A B C D E A", "A → B → C → D → E → A"),
        ("A A A A", None),
        ("A B C", None),
    ],
)
@pytest.mark.parametrize("service", ["worker", "one two"])
@pytest.mark.parametrize("link", [True, False])
def test_cycles(classes: str, subject: str | None, service: str, link: bool) -> None:
    """Scenario: chains of classes that come back after 2 and 5 steps, nested ones, a class that enqueues itself, none.

    Guarantees: one alert that names the path, whatever the services and the links; a self-loop is an edge, no alert.
    """
    world = World()
    chain(world, world.request("GET /x", "web"), *classes.split(), service=service, link=link)

    found = Found().tell(*world.spans).wait(30)

    assert names(found) == ([("JobCycle", subject, "firing")] if subject else [])
    if subject:
        assert subject in found.alerts[0].text
        assert found.alerts[0].trace_ids[0] in {trace_hex(span.trace) for span in world.spans}


@settings(max_examples=30)
@given(st.integers(0, 2**32))
def test_a_cycle_is_found_in_any_order(seed: int) -> None:
    """Scenario: two workflows that close a cycle only together, shuffled, in pieces. Guarantees: exactly one alert."""
    random = Random(seed)
    world = World()
    chain(world, world.script("cron"), "A", "B", "C")
    chain(world, world.script("cron"), "C", "A")
    found = Found()
    for piece in pieces(world.spans, random, 5):
        found.tell(*piece).wait(random.choice([0, 5, 30]))

    found.wait(400)

    assert names(found) == [("JobCycle", "A → B → C → A", "firing")]


def test_a_retry_closes_nothing() -> None:
    """Scenario: A enqueues B; B fails and runs again twice, the last time below an enqueue of its own id.

    Guarantees: the edges are A and B's one call; no alert.
    """
    world = World()
    place = chain(world, world.script("cron"), "A")
    world.job(place, "B", "worker", outcomes=[False, False, True])

    found = Found().tell(*world.spans).wait(30).drain()

    assert found.alerts == []
    assert {(edge.parent, edge.child): calls for edge, calls in found.sums("calls").items()} == {
        ("", "A"): 1,
        ("A", "B"): 1,
    }


def test_the_end_of_a_cycle() -> None:
    """Scenario: a cycle is seen once, then only half of it for longer than the window. Guarantees: it is resolved."""
    world = World()
    chain(world, world.script("cron"), "A", "B", "A")
    found = Found(window="1000s").tell(*world.spans).wait(30)
    assert names(found) == [("JobCycle", "A → B → A", "firing")]

    for _ in range(3):
        half = World(_ids=world._ids + 100)
        chain(half, half.script("cron"), "A", "B")
        found.tell(*half.spans).wait(500)
        world = half

    assert names(found) == [("JobCycle", "A → B → A", "firing"), ("JobCycle", "A → B → A", "resolved")]
    assert found.alerts[-1].text.startswith("No longer seen: ")


@pytest.mark.parametrize(("classes", "way"), [(["Page"], "Page enqueues itself"), (["A", "B"], "A → B → A → B")])
def test_runaway_chains(classes: list[str], way: str) -> None:
    """Scenario: chains of exactly as many jobs as are allowed, and of one more.

    Guarantees: only the second raises JobDepth, which names the way; it is over when nothing more comes.
    """
    allowed = World()
    chain(allowed, allowed.script("cron"), *(classes * 9)[:9])
    found = Found(max_depth=8).tell(*allowed.spans).wait(30)
    assert [alert for alert in found.alerts if alert.name == "JobDepth"] == []

    more = World(_ids=1000)
    chain(more, more.script("cron"), *(classes * 10)[:10])
    found.tell(*more.spans).wait(30)

    (alert,) = [alert for alert in found.alerts if alert.name == "JobDepth"]
    assert alert.subject == ([*classes] * 10)[9]
    assert "More than 8 jobs" in alert.text
    assert way in alert.text
    found.wait(2000)
    assert [str(alert.state) for alert in found.alerts if alert.name == "JobDepth"] == ["firing", "resolved"]


def test_a_chain_that_grows_while_we_look() -> None:
    """Scenario: a job enqueues its successor every few seconds, each told when it ran. Guarantees: JobDepth comes."""
    world = World()
    place = world.script("cron")
    found = Found(max_depth=5)
    for _ in range(8):
        sent = len(world.spans)
        place = chain(world, place, "Next")
        found.tell(*world.spans[sent:]).wait(3)

    found.wait(30)

    assert ("JobDepth", "Next", "firing") in names(found)


@pytest.mark.parametrize("kind", ["job", "request"])
def test_fan_out(kind: str) -> None:
    """Scenario: one caller enqueues ten jobs of two classes, another nine; nine are allowed.

    Guarantees: one alert about the caller with ten, with its number; the highest fan-out of each edge is counted.
    """
    world = World()
    for number in (10, 9):
        place = world.request(f"GET /{number}", "web")
        if kind == "job":
            place = chain(world, place, f"Plan{number}")
        for child in range(number):
            world.job(place, "Mail" if child % 2 else "Sms", "worker")

    found = Found(max_fanout=9).tell(*world.spans).wait(30).drain()

    (alert,) = [alert for alert in found.alerts if alert.state is AlertState.FIRING]
    assert alert.name == "JobFanout"
    assert alert.subject == ("Plan10" if kind == "job" else "GET /10")
    assert "enqueued 10 jobs (max_fanout 9)" in alert.text
    sizes = {(row["parent"], row["child"]): row["fan_out_max"] for row in found.rows if row["child"] in ("Mail", "Sms")}
    assert sorted(sizes.values()) == [4, 5, 5, 5]


def test_limits_can_be_off() -> None:
    """Scenario: no limits, a deep and wide workflow. Guarantees: no alert."""
    world = World()
    place = chain(world, world.script("cron"), *["Next"] * 60)
    for _ in range(20):
        world.job(place, "Mail", "worker")

    found = Found(max_depth=0, max_fanout=0).tell(*world.spans).wait(30).drain()

    assert found.alerts == []


def test_alerts_survive_a_restart() -> None:
    """Scenario: a cycle fires, then a restart with the state, then the same edges again, then quiet.

    Guarantees: it does not fire anew, and it is resolved by the new process.
    """
    world = World()
    chain(world, world.script("cron"), "A", "B", "A")
    found = Found(storage="file_storage", window="1000s").tell(*world.spans).wait(30)
    found.drain().restart(clock=7.0)
    again = World(_ids=1000)
    chain(again, again.script("cron"), "A", "B", "A")
    found.tell(*again.spans).wait(100)
    assert names(found) == [("JobCycle", "A → B → A", "firing")]

    found.wait(3000)

    assert names(found)[-1] == ("JobCycle", "A → B → A", "resolved")
