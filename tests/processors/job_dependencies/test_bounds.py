"""What is bounded, and what happens there: memory, edges, names; wrong configs; own metrics; damaged state."""

from __future__ import annotations

import io
from collections import Counter
from random import Random

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline import ComponentId
from pipeline.kinds import Kind
from pipeline.testing import FakeHost, sample_batch
from processors.job_dependencies import JobDependencies, JobDependenciesConfig
from tests.processors.job_dependencies.world import Found, World, pieces, random_world
from tests.processors.jobs.telling import Span, spans_batch


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"settle": "10m"}, "settle, wait: settle (600 s) must not be longer than wait (300 s)"),
        ({"wait": "3h"}, "wait, window: wait (10800 s) must not be longer than window (7200 s)"),
        ({"interval": "100ms"}, "greater than or equal to 1"),
        ({"max_bytes": "1MiB"}, "greater than or equal to 4194304"),
        ({"max_depth": -1}, "greater than or equal to 0"),
    ],
)
def test_wrong_keys(keys: dict[str, object], expected: str) -> None:
    """Scenario: values that make no sense. Guarantees: a line that names the keys and says what is allowed."""
    with pytest.raises(ValidationError) as caught:
        JobDependenciesConfig.model_validate(keys)

    assert expected in str(caught.value)


def test_one_edge_too_many() -> None:
    """Scenario: forty classes, ten edges may be told apart. Guarantees: all calls count, the rest as `(other)`."""
    world = World()
    place = world.request("GET /x", "web")
    for number in range(40):
        world.job(place, f"Job{number}", "worker")

    found = Found(max_edges=10).tell(*world.spans).wait(30).drain()

    calls = found.sums("calls")
    assert sum(calls.values()) == 40
    assert len([edge for edge in calls if edge.parent == "GET /x"]) == 10
    assert {edge.child for edge in calls if edge.parent != "GET /x"} == {"(other)"}


def test_an_end_that_never_comes_is_unknown_in_the_end() -> None:
    """Scenario: the spans above a linked job, above one in the trace of its enqueue, and above a call never come.

    Guarantees: nothing is counted while they may come, up to `wait`; then each call counts once, with caller `unknown`.
    """
    world = World()
    (plan,) = world.job(world.script("cron"), "Plan", "worker")
    world.job(plan, "Linked", "worker", link=True)
    world.job(plan, "Child", "worker", between=1)
    sent = [span for span in world.spans if span.kind == "consumer" and span.attributes != world.spans[2].attributes]
    (run,) = world.job(plan, "Caller", "worker")
    world.call(run, "payments", {"peer.service": "payments"}, between=1)
    sent.append(world.spans[-1])
    found = Found(wait="100s", interval="1s").tell(*sent)

    assert found.wait(99).rows == []
    found.wait(60).drain()

    assert {(*edge[:3], edge.child): calls for edge, calls in found.sums("calls").items()} == {
        ("unknown", "", "", "Linked"): 1,
        ("unknown", "", "", "Child"): 1,
        ("unknown", "", "worker", "payments"): 1,
    }


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_what_is_lost_makes_nothing_wrong(seed: int) -> None:
    """Scenario: random workflows, of whose spans a random part never comes, the others in any order and pieces.

    Guarantees: no edge that was not taken, none more often than it was, and only `unknown` where a caller is missing.
    """
    random = Random(seed)
    world = random_world(seed)
    found = Found()
    for piece in pieces([span for span in world.spans if random.random() < 0.7], random):
        found.tell(*piece).wait(random.choice([0, 15, 120]))
    found.wait(600).drain()

    taken: Counter[tuple[str, ...]] = Counter()
    children: Counter[str] = Counter()
    for edge, calls in world.calls.items():
        taken[edge.parent_kind, edge.parent, edge.child] += calls
        if edge.child_kind == "job":
            children[edge.child] += calls
    of_children: Counter[str] = Counter()
    for edge, calls in found.sums("calls").items():
        if edge.child_kind == "job":
            of_children[edge.child] += calls
        # without the job above it, the request inside of it has enqueued: that is true, too
        if edge.parent_kind != "unknown" and edge.parent != "GET /inner":
            taken[edge.parent_kind, edge.parent, edge.child] -= calls
    assert min(taken.values(), default=0) >= 0
    assert of_children <= children


async def test_calls_that_wait_are_bounded(host: FakeHost) -> None:
    """Scenario: forty thousand calls to the outside whose callers never come, with room for a part of them.

    Guarantees: memory stays bounded, the first are counted as unknown before their wait is over, which is told, and
    each is counted once in the end.
    """
    config = JobDependenciesConfig.model_validate({"max_bytes": "8MiB"})
    processor = JobDependencies(config, ComponentId("job_dependencies"))
    await processor.start(host)
    calls, highest, now = 0, 0, 0.0
    for number in range(20):
        spans = [
            Span(at, kind="client", parent=at + 10**6, attributes={"peer.service": "payments"})
            for at in range(number * 2000 + 1, number * 2000 + 2001)
        ]
        list(processor.process(spans_batch(spans)))
        now += 5
        calls += sum(int(batch.column("calls").to_numpy().sum()) for batch in processor.tick(now))
        highest = max(highest, processor.nbytes)
    calls += sum(int(batch.column("calls").to_numpy().sum()) for batch in processor.drain())

    assert calls == 40_000
    assert highest < 1.5 * 8 * 2**20  # what is to be written next comes on top
    told = host.metrics.registry.get_sample_value
    assert (told("jobsight_job_dependencies_hurried_calls_total", {"processor": "job_dependencies"}) or 0) > 10_000


async def test_memory_is_bounded_and_told(host: FakeHost) -> None:
    """Scenario: fifty thousand jobs, with room for a part of them.

    Guarantees: memory stays near the limit (which is so small that empty tables count), the gauges say so, and every
    call is counted once all the same.
    """
    config = JobDependenciesConfig.model_validate({"max_bytes": "4MiB", "settle": "10s"})
    processor = JobDependencies(config, ComponentId("job_dependencies"))
    await processor.start(host)
    now, calls, highest = 0.0, 0, 0.0
    for seed in range(50):
        list(processor.process(sample_batch(Kind.JOBS, 1000, seed=seed)))
        now += 5
        for batch in processor.tick(now):
            calls += int(batch.column("calls").to_numpy().sum())
        highest = max(
            highest,
            host.metrics.registry.get_sample_value("jobsight_job_dependencies_bytes", {"processor": "job_dependencies"})
            or 0,
        )
    for batch in processor.drain():
        calls += int(batch.column("calls").to_numpy().sum())

    assert calls == 50_000
    assert 0 < highest < 2 * 4 * 2**20
    value = host.metrics.registry.get_sample_value
    assert (value("jobsight_job_dependencies_forgotten_jobs_total", {"processor": "job_dependencies"}) or 0) > 10_000
    assert value("jobsight_job_dependencies_limit_bytes", {"processor": "job_dependencies"}) == 4 * 2**20


def test_nothing_wakes_an_idle_processor() -> None:
    """Scenario: work is done, long ago. Guarantees: it does not ask to be woken any more."""
    world = World()
    world.job(world.request("GET /x", "web"), "Mail", "worker")
    found = Found().tell(*world.spans)
    assert found.dependencies.wake_at() is not None

    found.wait(500)

    assert found.dependencies.wake_at() is None
    assert found.sums("calls")


@pytest.mark.parametrize("state", [b"", b"nonsense", b"PK\x03\x04 nonsense"])
def test_a_damaged_state(state: bytes) -> None:
    """Scenario: bytes that are no state. Guarantees: ValueError that says so, for the storage to deal with."""
    with pytest.raises(ValueError, match="not a saved state of processor job_dependencies"):
        Found().dependencies.restore(state)


def test_a_state_of_a_former_version() -> None:
    """Scenario: what a version with other columns saved. Guarantees: it is refused, not misread."""
    with np.load(io.BytesIO(Found().dependencies.state()), allow_pickle=False) as archive:
        arrays = dict(archive)
    head = orjson.loads(arrays["head"].tobytes())
    for changed in (
        {"head": np.frombuffer(orjson.dumps({**head, "format": 1}), np.uint8)},
        {"clients": np.zeros(1, [("span", np.uint64), ("at", np.uint64)])},
    ):
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **{**arrays, **changed})
        with pytest.raises(ValueError, match="not a saved state of processor job_dependencies"):
            Found().dependencies.restore(file.getvalue())
