"""The simulated shop: repeatable, ordered, complete, and as broken as it should be when it should be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cache
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.demo.cast import BROKEN_VERSION, JOBS, PAYMENTS
from pipeline.demo.records import Call, Enqueue, Execution, LogEntry, Moved, Record, SpanRecord
from pipeline.demo.shop import Shop
from pipeline.demo.world import SECOND, World

EPOCH = 1_800_000_000_123_456_789


@cache
def default_day() -> list[Record]:
    return day()


def day(seed: int = 1, rate: float = 200.0, seconds: float = 60.0, epoch: int = EPOCH) -> list[Record]:
    return list(Shop(World(seed, epoch, seconds), rate).play())


def spans(records: Iterable[Record]) -> list[SpanRecord]:
    return [record for record in records if isinstance(record, SpanRecord)]


RUNS = st.tuples(st.integers(0, 2**64), st.sampled_from([1.0, 20.0, 150.0]), st.sampled_from([0.5, 3.0, 15.0]))


@settings(max_examples=12)
@given(RUNS)
def test_same_seed_same_day(run: tuple[int, float, float]) -> None:
    """Scenario: any seed, rate and duration, played twice. Guarantees: the same records, ids and all."""
    assert day(*run) == day(*run)


@settings(max_examples=12)
@given(RUNS)
def test_well_formed(run: tuple[int, float, float]) -> None:
    """Scenario: any day. Guarantees: ordered, within the day; unique ids, one root a trace, parents that exist."""
    seed, rate, seconds = run
    records = day(seed, rate, seconds)
    world = World(seed, EPOCH, seconds)
    assert all(one.at_ns <= other.at_ns for one, other in pairwise(records))
    played = spans(records)
    ids = {(span.trace_id, span.span_id) for span in played}
    assert len(ids) == len(played)
    assert all(world.start_ns <= span.start_ns <= span.end_ns <= world.start_ns + seconds * SECOND for span in played)
    assert all(span.parent_id is None or (span.trace_id, span.parent_id) in ids for span in played)
    roots = Counter(span.trace_id for span in played if span.parent_id is None)
    assert set(roots.values()) <= {1}
    assert roots.keys() == {span.trace_id for span in played}
    assert all((entry.trace_id, entry.span_id) in ids for entry in records if isinstance(entry, LogEntry))


@settings(max_examples=12)
@given(RUNS)
def test_nothing_is_left_hanging(run: tuple[int, float, float]) -> None:
    """Scenario: any uninterrupted day. Guarantees: each job runs, attempts count 1, 2, 3, the last one ends it."""
    attempts: dict[tuple[str, str, str], list[Execution]] = {}
    enqueued: Counter[tuple[str, str, str]] = Counter()
    for span in spans(day(*run)):
        match span.fact:
            case Execution() as fact:
                attempts.setdefault((fact.system, fact.queue, fact.job_id), []).append(fact)
            case Enqueue(is_retry=False) as fact:
                enqueued[fact.system, fact.queue, fact.job_id] += 1
    assert attempts.keys() == enqueued.keys()
    assert set(enqueued.values()) <= {1}
    for life in attempts.values():
        assert [fact.attempt for fact in life] == list(range(1, len(life) + 1))
        assert {fact.outcome for fact in life[:-1]} <= {"retried"}
        assert life[-1].outcome != "retried"
        assert len(life) <= JOBS[life[0].job_class].attempts


def test_two_seeds_share_no_job() -> None:
    """Scenario: days of two seeds. Guarantees: no job id of one is in the other, BullMQ's numbers included."""
    one, other = (
        {(fact.system, fact.queue, fact.job_id) for s in spans(day(seed)) if isinstance(fact := s.fact, Enqueue)}
        for seed in (1, 2)
    )
    assert one
    assert not one & other


@settings(max_examples=12)
@given(RUNS)
def test_queues_empty_again(run: tuple[int, float, float]) -> None:
    """Scenario: any day. Guarantees: no queue or worker ever holds less than nothing, and all are empty at the end."""
    waiting: Counter[str] = Counter()
    running: Counter[str] = Counter()
    for record in day(*run):
        if isinstance(record, Moved):
            waiting[record.queue] += record.waiting
            running[record.queue] += record.running
            assert waiting[record.queue] >= 0
            assert running[record.queue] >= 0
    assert not any(waiting.values())
    assert not any(running.values())


def test_the_start_time_moves_everything_and_changes_nothing() -> None:
    """Scenario: the same seed on another day. Guarantees: the same jobs, ids and durations, only shifted."""
    later = 86_400 * SECOND
    one, other = day(), day(epoch=EPOCH + later)

    assert [(s.name, s.span_id, s.start_ns + later, s.end_ns + later) for s in spans(one)] == [
        (s.name, s.span_id, s.start_ns, s.end_ns) for s in spans(other)
    ]
    assert [s.fact for s in spans(one)] == [s.fact for s in spans(other)]


@pytest.mark.parametrize(("rate", "seconds"), [(20.0, 60.0), (200.0, 60.0), (2000.0, 10.0)])
def test_rate(rate: float, seconds: float) -> None:
    """Scenario: several rates. Guarantees: a run holds about that many spans a second."""
    assert len(spans(day(rate=rate, seconds=seconds))) / seconds == pytest.approx(rate, rel=0.15)


def test_every_class_and_system_takes_part() -> None:
    """Scenario: the default run. Guarantees: all classes run; failures, retries, discards, retry enqueues occur."""
    facts = [span.fact for span in spans(default_day())]
    executions = [fact for fact in facts if isinstance(fact, Execution)]
    assert {fact.job_class for fact in executions} == set(JOBS)
    assert {fact.outcome for fact in executions} == {"succeeded", "failed", "retried", "discarded"}
    assert any(isinstance(fact, Enqueue) and fact.is_retry for fact in facts)


def test_the_outage_hits_payments_while_it_lasts() -> None:
    """Scenario: the default outage. Guarantees: most calls of the payments API fail within it, few outside."""
    world = World(1, EPOCH, 60.0)
    calls = [span for span in spans(default_day()) if isinstance(span.fact, Call) and span.fact.peer == PAYMENTS]
    within = [span.error is not None for span in calls if 0.37 < world.share(span.start_ns) < 0.63]
    outside = [span.error is not None for span in calls if not 0.3 < world.share(span.start_ns) < 0.7]
    assert sum(within) / len(within) > 0.7
    assert sum(outside) / len(outside) < 0.1


def test_no_outage() -> None:
    """Scenario: a run without outage. Guarantees: payments fail as rarely in its middle as ever."""
    records = Shop(World(1, EPOCH, 60.0, None), 60).play()
    calls = [
        span.error is not None for span in spans(records) if isinstance(span.fact, Call) and span.fact.peer == PAYMENTS
    ]
    assert sum(calls) / len(calls) < 0.1


def test_the_broken_version() -> None:
    """Scenario: the bad deploy. Guarantees: Fulfil's AttributeError and the cycle of two classes come from it alone."""
    played = spans(default_day())
    by_id = {(span.trace_id, span.span_id): span for span in played}
    broken = [
        s for s in played if isinstance(s.fact, Execution) and s.fact.thrown and s.fact.thrown.type == "AttributeError"
    ]
    assert len(broken) > 5
    assert {span.instance.version for span in broken} == {BROKEN_VERSION}
    cycle = [
        by_id[span.trace_id, span.parent_id]
        for span in played
        if isinstance(span.fact, Enqueue)
        and (span.fact.parent.name, span.fact.job_class) == ("ReindexProduct", "RecountStock")
        and span.parent_id is not None
    ]
    assert cycle
    assert {span.instance.version for span in cycle} == {BROKEN_VERSION}


def test_an_endless_shop_keeps_going() -> None:
    """Scenario: a run without end. Guarantees: records keep coming, and the outage returns every ten minutes."""
    world = World(3, EPOCH, None)
    some = list(islice(Shop(world, 20.0).play(), 30_000))
    assert len(some) == 30_000
    assert (some[-1].at_ns - world.start_ns) / SECOND > 600
    assert world.is_outage(world.start_ns + 300 * SECOND)
    assert world.is_outage(world.start_ns + 900 * SECOND)
    assert not world.is_outage(world.start_ns + 600 * SECOND)


def test_messages_vary_and_stacks_do_not() -> None:
    """Scenario: many time-outs of one class. Guarantees: many messages, one stack but for the last line: one fault."""
    thrown = [
        s.fact.thrown
        for s in spans(default_day())
        if isinstance(s.fact, Execution) and s.fact.job_class == "ChargePayment" and s.fact.thrown
    ]
    timeouts = [t for t in thrown if t.type == "payments.PaymentTimeout"]
    assert len({t.message for t in timeouts}) > 20
    assert len({t.stacktrace.removesuffix(f"{t.type}: {t.message}\n") for t in timeouts}) == 1
    assert all("The above exception was the direct cause" in t.stacktrace for t in timeouts)
