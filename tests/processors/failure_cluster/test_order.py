"""Order and batches: within the allowed lateness they change nothing."""

from __future__ import annotations

import functools
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.processors.failure_cluster.streams import Fault, Record, Stream, Worker, watched

LATENESS = 15.0
CONFIG: dict[str, Any] = {"lateness": LATENESS, "quiet_after": 60.0, "resolve_after": 120.0}
OUTAGE = Fault("Timeout", "timeout", "payments")
WORKERS = (Worker("w1"), Worker("w2", "1.1"))


@functools.cache
def story() -> tuple[Record, ...]:
    """An outage over three classes, a retry loop, noise, and rows that are written again."""
    stream = Stream(7)
    for number in range(4):
        stream.runs(f"Job{number}", 400, 0, 600, share=0.02, fault=Fault(f"Noise{number}"), workers=WORKERS)
        fault = OUTAGE if number < 2 else Fault("Refused", "connection", "payments")
        share = 0.7 if number < 3 else 0.0
        stream.runs(f"Job{number}", 400, 600, 900, share=share, fault=fault, workers=WORKERS)
        stream.runs(f"Job{number}", 400, 900, 1500, share=0.02, fault=Fault(f"Noise{number}"), workers=WORKERS)
    for attempt in range(7):
        stream.add(100 + 90 * attempt, "Loop", Fault("Stuck"), job_id="same", outcome="retried")
    again = []
    for number, record in enumerate(stream.sorted()):
        if number % 5 == 0:
            # the same execution, told once more: unchanged, with a retry seen, taken back, or succeeded after all
            kinds: dict[int, Record] = {
                0: {},
                1: {"outcome": "retried"} if record["fault"] else {},
                2: {"is_deleted": True},
                3: {"outcome": "succeeded", "fault": None},
            }
            again.append({**record, "version": 2, **kinds[number // 5 % 4]})
    stream.records += again
    return tuple(stream.sorted())


@functools.cache
def expected() -> list[Record]:
    return watched(story(), [10**6], **CONFIG)


@st.composite
def shuffles(draw: st.DrawFn) -> tuple[list[Record], list[int]]:
    """The story in an order that lateness allows, and sizes of batches."""
    seed = draw(st.integers(0, 2**32 - 1))
    delay = draw(st.sampled_from([0.0, 3.0, LATENESS]))
    stream = Stream(seed)
    arrivals = [record["at"] + float(stream.rng.uniform(0, delay)) for record in story()]
    order = sorted(range(len(arrivals)), key=lambda place: (arrivals[place], stream.rng.random()))
    sizes = draw(st.lists(st.integers(1, 200), max_size=200))
    return [story()[place] for place in order], sizes


def test_the_story_has_something_to_tell() -> None:
    """Scenario: the story of this file in one batch.

    Guarantees: one cluster for the outage with its three classes, and one for the loop, each opened and resolved.
    """
    clusters = {(row["rule"], tuple(sorted(row["job_classes"]))) for row in expected() if row["state"] == "resolved"}

    assert clusters == {("threshold", ("Job0", "Job1", "Job2")), ("retry_loop", ("Loop",))}


@settings(max_examples=25, deadline=None)
@given(shuffles())
def test_order_and_batches_do_not_matter(shuffled: tuple[list[Record], list[int]]) -> None:
    """Scenario: the story in any order that lateness allows, cut into any batches.

    Guarantees: the same rows in the same order, ids, times, causes and samples included.
    """
    records, sizes = shuffled

    assert watched(records, sizes, **CONFIG) == expected()
