"""What is bounded, and what happens there: memory, edges, names; wrong configs; own metrics; damaged state."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from pipeline import ComponentId
from pipeline.kinds import Kind
from pipeline.testing import FakeHost, sample_batch
from processors.job_dependencies import JobDependencies, JobDependenciesConfig
from tests.processors.job_dependencies.world import Found, World


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
