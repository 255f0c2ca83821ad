"""The processor in the pipeline: what passes, receipts, late rows, restarts, limits, config."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from pipeline import Batch, ComponentId, Kind, Receipt
from pipeline.testing import FakeClock, FakeHost, Ledger, jobs_batch
from processors.failure_cluster import FailureCluster, FailureClusterConfig
from processors.failure_cluster.config import Override
from processors.failure_cluster.units import Units
from tests.processors.failure_cluster.streams import (
    START,
    Fault,
    Record,
    Stream,
    Worker,
    fed,
    flood,
    jobs_of,
    processor,
    told,
    watched,
)
from tests.processors.failure_cluster.test_order import CONFIG, expected, story

BROKEN = Fault("Broken")
RULE_ALONE: dict[str, Any] = {rule: {"enabled": False} for rule in ("burst", "ratio", "retry_loop", "shared_cause")}
"""The threshold alone."""


def failing(number: int, every: float = 5.0, begin: float = 0.0, seed: int = 1, **more: Any) -> list[Record]:
    stream = Stream(seed)
    for place in range(number):
        stream.add(begin + place * every, "Mail", BROKEN, **more)
    return stream.records


def test_rows_pass_at_once_and_receipts_complete() -> None:
    """Scenario: rows that open a cluster, in one batch.

    Guarantees: the rows come out first, unchanged; with the rows and alerts about them they share the intake, which
    completes when all are settled.
    """
    ledger = Ledger()
    records = [*failing(20), *failing(1, begin=200, seed=2)]
    batch = jobs_of(records)
    batch = Batch(batch.kind, batch.table, ledger.receipt("intake"), batch.sides)

    passed, clusters, alerts = processor().process(batch)

    assert passed.table is batch.table
    assert (clusters.kind, alerts.kind) == (Kind.FAILURE_CLUSTERS, Kind.ALERTS)
    passed.receipt.settle()
    clusters.receipt.settle()
    assert ledger.complete == []
    alerts.receipt.settle()
    assert ledger.complete == ["intake"]


def test_a_restart_goes_on_where_it_ended() -> None:
    """Scenario: the story of the order test, stopped anywhere and restored in another instance.

    Guarantees: the same rows as without the restart.
    """
    records = list(story())
    for cut in (1, 300, len(records) // 2, len(records) - 10):
        before, after = processor(**CONFIG), processor(**CONFIG)
        rows = told(fed(before, records[:cut]))
        after.restore(before.state())
        rows += told([*fed(after, records[cut:]), *after.drain()])

        assert rows == expected()


@pytest.mark.parametrize("state", [b"", b"nonsense", b"PK\x03\x04 broken"])
def test_other_bytes_are_refused(state: bytes) -> None:
    """Scenario: bytes that are no state. Guarantees: ValueError, as the engine expects, and an instance that works."""
    watcher = processor()

    with pytest.raises(ValueError, match="not a saved state"):
        watcher.restore(state)

    assert told([*fed(watcher, failing(20)), *watcher.drain()])


def test_another_resolution_begins_anew() -> None:
    """Scenario: a state saved with other steps of time. Guarantees: refused with the reason."""
    with pytest.raises(ValueError, match="another resolution"):
        processor(resolution=10.0).restore(processor().state())


def test_late_rows_count_and_old_news_does_not() -> None:
    """Scenario: twelve failures come five minutes late, and in another stream two hours late.

    Guarantees: the first open a cluster, the second are ignored and counted.
    """
    tick, late = failing(1, begin=10_000, seed=9), failing(12, 1, begin=9700)

    assert [row["state"] for row in watched([*tick, *late], [1])][:1] == ["opened"]
    assert watched([*tick, *failing(12, 1, begin=2000)], [1]) == []


async def test_a_clock_that_is_ahead_makes_nobody_late() -> None:
    """Scenario: a row that ends tomorrow, then failures now.

    Guarantees: they count at their time, and the odd row is counted in a metric.
    """
    host = FakeHost(clock=FakeClock())
    watcher = processor()
    await watcher.start(host)
    now = host.clock.time_ns() / 1e9 - START

    list(fed(watcher, failing(1, begin=now + 86_400, seed=9)))
    rows = told([*fed(watcher, failing(12, 1, begin=now - 13)), *watcher.drain()])

    assert [row["state"] for row in rows] == ["opened"]
    assert rows[0]["last_seen_at"] / 1e9 - START <= now + 60
    exposed = host.metrics.exposition().decode()
    assert 'jobsight_failure_cluster_late_rows{fate="ahead",processor="failure_cluster"} 1.0' in exposed
    assert 'jobsight_failure_cluster_failures{processor="failure_cluster"} 13.0' in exposed


@pytest.mark.timeout(240)
def test_what_all_fails_is_bounded_at_the_defaults() -> None:
    """Scenario: with the default limits 160 000 failures of 2000 classes within a minute, each with a fault of its own.

    Guarantees: counts reach max_fingerprints and stay within it; memory, Arrow's included, and the state have bounds;
    in one step of time no more than twenty classes are put into clusters.
    """
    batches = list(flood(32, 5000, 2000, 60.0))
    watcher = processor()
    books = watcher._watch.books
    before, most, rows = pa.total_allocated_bytes(), 0, []
    tracemalloc.start()
    for batch in batches:
        rows += told(watcher.process(batch))
        most = max(most, len(books.ledger))
        assert len(books.ledger) <= 100_000
    held = tracemalloc.get_traced_memory()[0] + pa.total_allocated_bytes() - before
    tracemalloc.stop()

    assert most > 90_000
    assert 100 < len(books.open) <= 500
    assert held < 150_000_000
    assert len(watcher.state()) < 150_000_000
    opened = Counter(row["timestamp"] for row in rows if row["state"] == "opened")
    assert max(opened.values()) == 20


def test_more_classes_than_there_is_room_for() -> None:
    """Scenario: twelve classes with room for ten, and a long while later another.

    Guarantees: those beyond are counted together; when the first are idle the new one has a name of its own.
    """
    stream = Stream(4)
    for number in range(12):
        for place in range(6):
            stream.add(number + place * 20, f"Job{number:02}", Fault(f"F{number}"))
    for place in range(12):
        stream.add(90_000 + place * 20, "Late", BROKEN)
        stream.add(180_000 + place * 20, "Later", BROKEN)
    config = {"max_classes": 10, "ratio": {"enabled": False}, "burst": {"enabled": False}}

    rows = watched(stream.sorted(), [1] * 1000, shared_cause={"enabled": False}, **config)

    opened = [row["job_classes"] for row in rows if row["state"] == "opened"]
    assert ["(other classes)"] in opened
    assert ["Later"] in opened


def test_more_clusters_than_there_is_room_for() -> None:
    """Scenario: three classes in trouble with room for two. Guarantees: two clusters, the refused one is counted."""
    stream = Stream(4)
    for number in range(3):
        for place in range(12):
            stream.add(number + place * 5, f"Job{number}", Fault(f"F{number}"), worker=Worker(f"w{number}"))
    watcher = processor(max_clusters=2, shared_cause={"enabled": False})
    list(fed(watcher, stream.sorted()))

    rows = told(watcher.drain())

    assert len({row["cluster_id"] for row in rows}) <= 2


def test_rows_that_say_little() -> None:
    """Scenario: the sample batch, whose rows have no fingerprint, message, queue or worker; and an empty one.

    Guarantees: failures are counted by their error type, and nothing breaks.
    """
    watcher = processor(threshold={"failures": 0})

    out = [*watcher.process(jobs_batch(40)), *watcher.process(jobs_batch(0)), *watcher.drain()]

    rows = told(out)
    assert rows
    assert {row["error_type"] for row in rows} == {"ValueError"}
    assert {row["error_fingerprint"] for row in rows} == {""}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"overrides": [{"threshold": {"failures": 3}}]}, "'job_class' or 'queue' must say what the override is for"),
        ({"overrides": [{"job_class": "A", "burst": {"window": "1m"}}]}, "'burst.window' is the same for all classes"),
        ({"threshold": {"window": "1s"}}, "'threshold.window' must be at least 'resolution'"),
        ({"threshold": {"failure": 3}}, "Extra inputs"),
        ({"severity": "urgent"}, "'critical', 'warning' or 'info'"),
    ],
)
def test_config_mistakes(config: dict[str, Any], message: str) -> None:
    """Scenario: a mistake in the config. Guarantees: one clear line."""
    with pytest.raises(ValidationError, match=message):
        FailureCluster(FailureClusterConfig.model_validate(config), ComponentId("failure_cluster"))


def test_tokens_name_the_rows() -> None:
    """Scenario: the same rows told twice by drain, in two instances. Guarantees: the same token, so a store has one."""
    first, second = processor(), processor()
    list(fed(first, failing(12)))
    list(fed(second, failing(12)))

    assert [batch.receipt.token for batch in first.drain()] == [batch.receipt.token for batch in second.drain()]
    assert Receipt.issue("x").token == "x"


def test_a_queue_keeps_its_rules_over_a_restart() -> None:
    """Scenario: an override for a queue; five of the class's failures on it before a restart, and five after it.

    Guarantees: they are counted together, by the override: the ninth opens a cluster; the other queue is in none.
    """
    config = {"overrides": [{"queue": "vip", "threshold": {"failures": 8}, "severity": "critical"}], **RULE_ALONE}
    before, after = processor(**config), processor(**config)
    list(fed(before, [*failing(3, seed=2), *failing(5, seed=3, queue="vip")], [1] * 8))

    after.restore(before.state())
    later = [*failing(3, begin=100, seed=4), *failing(5, begin=100, seed=5, queue="vip")]
    rows = told([*fed(after, later), *after.drain()])

    assert [(row["state"], row["queues"], row["failures"]) for row in rows] == [("opened", ["vip"], 9)]


def test_overrides_may_change_with_a_restart() -> None:
    """Scenario: classes counted apart by queue, and a restart with no such override and room for few; they go idle.

    Guarantees: a class that goes on keeps its number when those that nobody counts are given away.
    """
    units = Units((Override(queue="vip"),), 10)
    first, second = units.number("Mail", "default"), units.number("Mail", "vip")
    later = Units((), 10)
    later.load(**units.as_json())

    later.retire([second])

    assert later.number("Mail", "vip") == later.number("Mail", "default") == first
    assert later.number("Other", "default") == second
