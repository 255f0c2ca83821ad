"""The life of a trace: how long it waits, who decides it early, what becomes of late spans and of receipts."""

from __future__ import annotations

from collections import Counter
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import Kind, Receipt
from pipeline.kinds import SHAPES, Signal
from pipeline.otlp import decode
from pipeline.testing import FakeHost, Ledger
from processors.tail_sampling.policies import Decision
from processors.tail_sampling.probability import is_sampled
from tests.processors.tail_sampling.scenes import S, Scene, batch_of, policy, request_of, trace_id

ERRORS = policy("status_code", "errors", status_codes=["ERROR"])
SLOW = policy("latency", "slow", threshold_ms=1000)
NONE = policy("probabilistic", "none", sampling_percentage=0)
ALL = policy("probabilistic", "all", sampling_percentage=100)
MAYBE = policy("span_count", "few", min_spans=1, max_spans=3)
"""Samples, but not for sure: more spans could come."""
MANY = policy("span_count", "many", min_spans=100_000)
"""Never samples."""


def test_exactly_the_wait() -> None:
    """Scenario: a trace, and the clock just before and at the end of its wait. Guarantees: decided then, not sooner."""
    scene = Scene(MAYBE, wait="10s").take(S())

    scene.advance(9.999)
    assert scene.kept == []
    scene.advance(0.001)
    assert scene.kept == [1]
    assert scene.sampler.wake_at() is None


@given(arrivals=st.lists(st.floats(0, 5), min_size=1, max_size=12))
@settings(max_examples=25)
def test_each_trace_waits_for_itself(arrivals: list[float]) -> None:
    """Scenario: traces that come at any times. Guarantees: each is out when its own wait is over, none before."""
    scene = Scene(MAYBE, wait="3s")
    start = scene.now
    for number, at in enumerate(sorted(arrivals), 1):
        scene.advance(start + at - scene.now)
        scene.take(S(number))
    due = {number: start + at + 3 for number, at in enumerate(sorted(arrivals), 1)}
    scene.advance(10)
    assert scene.times == pytest.approx(due)


def test_later_spans_do_not_prolong_the_wait() -> None:
    """Scenario: a second span after 9 of 10 seconds. Guarantees: both are out at 10."""
    scene = Scene(MAYBE).take(S()).advance(9).take(S())

    scene.advance(1)

    assert scene.kept == [1, 1]


def test_the_root_shortens_the_wait() -> None:
    """Scenario: a child, after 2 s the root; 3 s are to be waited after a root. Guarantees: decided at 5 s."""
    scene = Scene(MAYBE, decision_wait_after_root_received="3s").take(S(parent=9)).advance(2).take(S())

    scene.advance(2.9)
    assert scene.kept == []
    scene.advance(0.1)
    assert scene.kept == [1, 1]


def test_a_late_root_does_not_prolong_the_wait() -> None:
    """Scenario: the root at 9 of 10 s, then 3 s after the root.

    Guarantees: decided at 10 s; a second root changes nothing.
    """
    scene = Scene(MAYBE, decision_wait_after_root_received="3s").take(S(parent=9)).advance(9).take(S()).take(S())

    assert scene.advance(1).kept == [1, 1, 1]


def test_what_is_certain_does_not_wait() -> None:
    """Scenario: an error in a trace whose first span came before.

    Guarantees: all of it is out at once, later spans too.
    """
    scene = Scene(ERRORS, NONE).take(S()).take(S(status="ERROR"))
    assert scene.kept == [1, 1]

    scene.take(S())

    assert scene.kept == [1, 1, 1]
    assert scene.attribute("tailsampling.policy") == ["errors"] * 3
    assert scene.advance(20).kept == [1, 1, 1]
    assert scene.decision() == Decision.SAMPLED


def test_nothing_is_certain_while_a_policy_may_drop() -> None:
    """Scenario: an error, then a span that a policy drops. Guarantees: the error waits, the trace is dropped."""
    health = policy("drop", drop_sub_policy=[policy("string_attribute", key="k", values=["health"])])
    scene = Scene(ERRORS, health).take(S(status="ERROR"))
    assert scene.kept == []

    scene.take(S(attrs={"k": "health"})).advance(10)

    assert scene.kept == []
    assert scene.decision() == Decision.DROPPED


@pytest.mark.parametrize(("decided", "expected"), [(ALL, [1, 1]), (NONE, [])])
@pytest.mark.parametrize("cache", [{}, {"sampled_cache_size": 0, "non_sampled_cache_size": 0}])
def test_late_spans_follow_their_trace(decided: dict[str, object], expected: list[int], cache: dict[str, int]) -> None:
    """Scenario: a span an hour after its trace was decided, with the caches and where they are set to 0.

    Guarantees: it goes the way of its trace at once, though alone it would be decided otherwise; kept, it says so.
    """
    scene = Scene(decided, decision_cache=cache).take(S()).advance(3600)

    scene.take(S(status="ERROR"))

    assert scene.kept == expected
    assert scene.attribute("tailsampling.cached_decision") == ([None, True] if expected else [])
    assert scene.sampler.wake_at() is None


def test_a_forgotten_decision_is_made_anew() -> None:
    """Scenario: a cache of 2 decisions, 9 others after the first. Guarantees: its late span waits as a new trace."""
    scene = Scene(MAYBE, decision_cache={"sampled_cache_size": 2})
    for trace in range(1, 10):
        scene.take(S(trace)).advance(10)

    scene.take(S(1))

    assert scene.kept.count(1) == 1
    assert scene.advance(10).kept.count(1) == 2


def test_too_many_traces_decide_the_oldest() -> None:
    """Scenario: 25 traces where 20 may wait. Guarantees: the oldest are decided, none is lost, the rest waits on."""
    scene = Scene(MAYBE, num_traces=20)

    scene.take(*(S(trace) for trace in range(1, 26)))

    assert scene.kept == [1, 2, 3, 4, 5, 6]
    assert scene.advance(10).kept == list(range(1, 26))


def test_too_many_bytes_decide_the_oldest() -> None:
    """Scenario: more than max_bytes. Guarantees: the oldest are decided on what is known until the rest fits."""
    big = {"text": "x" * 10_000}
    scene = Scene(ERRORS, MAYBE, max_bytes=100_000)

    for trace in range(1, 31):
        scene.take(S(trace, attrs=big))
        assert scene.sampler._waiting.nbytes <= 100_000

    decided = scene.kept
    assert decided == list(range(1, len(decided) + 1))
    assert 15 < len(decided) < 30
    assert scene.advance(10).kept == list(range(1, 31))


def test_notes_on_jobs_are_counted_too() -> None:
    """Scenario: a trace that is kept for sure, and one that waits, have thousands of job rows, far over max_bytes.

    Guarantees: both are decided early, so that their notes are forgotten; what is held stays within the bound.
    """
    failed = policy("job", "failed", outcome=["failed"])
    for outcome, kept in (("failed", [1]), ("succeeded", [])):
        scene = Scene(failed, wait="1h", max_bytes=50_000).take(S(1))
        for _ in range(10):
            scene.jobs(*({"trace": 1, "outcome": outcome} for _ in range(500)))
            assert scene.sampler.held_bytes <= 50_000
        assert scene.kept == kept
        assert scene.decision(1) == len(kept)


def test_a_runaway_trace_goes_alone() -> None:
    """Scenario: one of two traces grows over its limit.

    Guarantees: it is not sampled, at once and later; the other is.
    """
    scene = Scene(MAYBE, maximum_trace_size_bytes=5000).take(S(1), S(2))

    scene.take(S(1, attrs={"text": "x" * 5000})).take(S(1))

    assert scene.decision(1) == Decision.NOT_SAMPLED
    assert scene.advance(10).kept == [2]


def test_the_end_decides_on_what_is_known() -> None:
    """Scenario: drained in the middle of the wait. Guarantees: what a policy samples is out, all receipts complete."""
    ledger = Ledger()
    scene = Scene(MAYBE).take(S(1), receipt=ledger.receipt("a")).take(*[S(2)] * 4, receipt=ledger.receipt("b"))

    scene.drain()

    assert scene.kept == [1]
    assert ledger.complete == ["b"]
    scene.batches[0].receipt.settle()
    assert ledger.complete == ["b", "a"]


def test_the_end_may_forget() -> None:
    """Scenario: drop_pending_traces_on_shutdown. Guarantees: what waits is dropped, counted, and owed no more."""
    ledger = Ledger()
    scene = Scene(MAYBE, drop_pending_traces_on_shutdown=True).take(S(1), S(2), receipt=ledger.receipt("a"))

    scene.drain()

    assert scene.kept == []
    assert scene.dropped == {"shutdown": 2}
    assert ledger.complete == ["a"]


def test_receipts_wait_with_their_spans() -> None:
    """Scenario: one intake with a trace that is kept now, one that waits and one that is not sampled.

    Guarantees: it completes when the last of them is decided and delivered, not before; drops have their reason.
    """
    ledger = Ledger()
    scene = Scene(ERRORS, NONE).take(S(1, status="ERROR"), S(2), receipt=ledger.receipt("a"))
    for batch in scene.batches:
        batch.receipt.settle()
    assert ledger.complete == []

    scene.batches.clear()
    scene.advance(10)

    assert scene.dropped == {"not_sampled": 1}
    assert ledger.complete == ["a"]


SPANS = st.lists(
    st.builds(
        S,
        trace=st.integers(1, 6),
        end=st.sampled_from([1, 600, 2000]),
        status=st.sampled_from(["UNSET", "UNSET", "ERROR"]),
        attrs=st.sampled_from([{}, {}, {"k": "a"}, {"n": 7}]),
        state=st.sampled_from(["", "v=x"]),
        parent=st.sampled_from([0, 5]),
    ),
    min_size=1,
    max_size=25,
)
EVERY = [
    policy("and", "and", and_sub_policy=[ERRORS, policy("string_attribute", key="k", values=["a"])]),
    policy("not", "not", not_sub_policy=policy("latency", threshold_ms=1500)),
    policy("numeric_attribute", "number", key="n", min_value=7),
    policy("trace_state", "state", key="v", values=["x"]),
    policy("span_count", "count", min_spans=3, max_spans=6),
    policy("drop", "drop", drop_sub_policy=[policy("string_attribute", key="k", values=["a"]), SLOW]),
]


@given(spans=SPANS, data=st.data())
@settings(max_examples=30)
def test_order_and_splits_do_not_matter(spans: list[S], data: st.DataObject) -> None:
    """Scenario: the same spans in one batch, and shuffled in many.

    Guarantees: the same decisions, the same spans out.
    """
    whole = Scene(*EVERY).take(*spans).advance(10)
    shuffled = data.draw(st.permutations(spans))
    pieces = Scene(*EVERY)
    while shuffled:
        size = data.draw(st.integers(1, len(shuffled)))
        pieces.take(*shuffled[:size]).advance(0.01)
        shuffled = shuffled[size:]
    pieces.advance(10)

    assert pieces.kept == whole.kept
    for trace in {span.trace for span in spans}:
        assert pieces.decision(trace) == whole.decision(trace)


@given(spans=SPANS)
@settings(max_examples=20)
def test_early_release_changes_no_decision(spans: list[S]) -> None:
    """Scenario: any spans, one by one, with and without a policy that forbids to decide early.

    Guarantees: the same traces are kept.
    """
    never = policy("drop", drop_sub_policy=[policy("string_attribute", key="k", values=["never"])])
    early, waiting = Scene(ERRORS, SLOW, EVERY[4]), Scene(ERRORS, SLOW, EVERY[4], never)
    for span in spans:
        early.take(span)
        waiting.take(span)

    assert early.advance(10).kept == waiting.advance(10).kept


def test_first_match_asks_no_further() -> None:
    """Scenario: a budget behind a policy that samples, with sample_on_first_match.

    Guarantees: the budget stays full.
    """
    budget = policy("rate_limiting", "budget", spans_per_second=1)
    traces = [S(1, status="ERROR"), S(2, status="ERROR"), S(3), S(4), S(5)]

    assert Scene(ERRORS, budget, sample_on_first_match=True).take(*traces).advance(10).kept == [1, 2, 3, 4]
    assert Scene(ERRORS, budget).take(*traces).advance(10).kept == [1, 2]


async def test_metrics_tell_what_became_of_traces() -> None:
    """Scenario: two traces, one with an error, and late spans of both. Guarantees: the Collector's counts."""
    host = FakeHost()
    scene = Scene(ERRORS, NONE)
    await scene.sampler.start(host)

    scene.take(S(1, status="ERROR"), S(2)).advance(10).take(S(1), S(2))

    lines = host.metrics.exposition().decode().splitlines()
    prefix = "otelcol_processor_tail_sampling_"
    for line in (
        'count_traces_sampled{decision="sampled",policy="errors",sampled="true"} 1.0',
        'count_traces_sampled{decision="not_sampled",policy="errors",sampled="false"} 1.0',
        'count_traces_sampled{decision="not_sampled",policy="none",sampled="false"} 2.0',
        'global_count_traces_sampled{decision="sampled",sampled="true"} 1.0',
        'global_count_traces_sampled{decision="not_sampled",sampled="false"} 1.0',
        "new_trace_id_received 2.0",
        "sampling_traces_on_memory 0.0",
        'early_releases_from_cache_decision{sampled="true"} 1.0',
        'early_releases_from_cache_decision{sampled="false"} 1.0',
        "sampling_trace_removal_age_count 2.0",
        'sampling_trace_removal_age_bucket{le="10.0"} 2.0',
        'sampling_trace_removal_age_bucket{le="5.0"} 0.0',
        "sampling_late_span_age_count 2.0",
        'sampling_policy_execution_count{policy="errors"} 2.0',
    ):
        assert prefix + line in lines, line
    await host.close()


def test_pieces_are_decided_alone() -> None:
    """Scenario: span-ingest, and two conditions that are met by different pieces, or by one.

    Guarantees: only by one.
    """
    both = policy("and", and_sub_policy=[ERRORS, policy("string_attribute", key="k", values=["a"])])
    scene = Scene(both, sampling_strategy="span-ingest")

    scene.take(S(1, status="ERROR"), S(2)).take(S(1, attrs={"k": "a"}), S(2, status="ERROR", attrs={"k": "a"}))

    assert scene.kept == [2, 2]
    assert scene.take(S(2)).kept == [2, 2, 2]
    assert scene.advance(10).kept == [2, 2, 2]


def test_a_composite_may_decide_pieces() -> None:
    """Scenario: span-ingest with a composite of stateless policies whose budget is a span a second.

    Guarantees: one piece of a second is kept, as the Collector has it; a second later the next.
    """
    composite = policy(
        "composite",
        max_total_spans_per_second=1,
        composite_sub_policy=[ERRORS],
        rate_allocation=[{"policy": "errors", "percent": 100}],
    )
    scene = Scene(composite, sampling_strategy="span-ingest")

    scene.take(S(1, status="ERROR"), S(2, status="ERROR"))
    assert scene.kept == [1]

    assert scene.advance(1).take(S(9)).take(S(3, status="ERROR")).kept == [1, 3]


def test_a_parent_of_zeros_is_none() -> None:
    """Scenario: a span whose parent id is eight zero bytes. Guarantees: it is a root, after which 3 s are waited."""
    request = request_of([S(parent=1)])
    request.resource_spans[0].scope_spans[0].spans[0].parent_span_id = bytes(8)
    columns = decode(Signal.TRACES, [request.SerializeToString()])
    batch, again = (columns.batch(Receipt.issue("spans")) for _ in range(2))

    assert Scene(MAYBE, decision_wait_after_root_received="3s").feed(batch).advance(3).kept == [1]
    assert Scene(policy("ottl_condition", span=["IsRootSpan()"])).feed(again).advance(10).kept == [1]


def test_a_batch_without_rows_is_not_held() -> None:
    """Scenario: a batch of which an earlier processor left no row. Guarantees: it goes on, so that it is settled."""
    ledger = Ledger()
    Scene(MAYBE).feed(batch_of([S()], ledger.receipt("a")).with_table(SHAPES[Kind.SPANS].schema.empty_table()))

    assert ledger.complete == ["a"]


def test_pieces_and_drops() -> None:
    """Scenario: span-ingest with a drop policy: sampled pieces of two traces, and for one of them a piece to drop.

    Guarantees: nothing is out before its time; then the one that was not dropped.
    """
    veto = policy("drop", drop_sub_policy=[policy("string_attribute", key="k", values=["health"])])
    scene = Scene(ERRORS, veto, sampling_strategy="span-ingest")

    scene.take(S(1, status="ERROR"), S(2, status="ERROR")).take(S(1, attrs={"k": "health"}))
    assert scene.kept == []
    assert scene.decision(1) == Decision.DROPPED

    assert scene.advance(10).kept == [2]


def test_many_small_batches_take_little_memory() -> None:
    """Scenario: 300 batches of a span, half of the traces decided. Guarantees: little more is held than what waits."""
    ledger = Ledger()
    scene = Scene(ERRORS, MAYBE, wait="1h", num_traces=2000)
    for trace in range(1, 301):
        scene.take(S(trace, status="ERROR" if trace % 2 else "UNSET"), receipt=ledger.receipt(str(trace)))

    waiting = scene.sampler._waiting
    assert waiting.rows == 150
    assert waiting.nbytes < 1.3 * waiting.waiting_bytes + 60_000
    scene.drain()
    for batch in scene.batches:
        batch.receipt.settle()
    assert len(ledger.complete) == 300


def test_decided_at_once() -> None:
    """Scenario: no wait at all. Guarantees: each trace is decided on what came first."""
    assert Scene(MAYBE, wait="0s").take(S(1), S(2)).kept == [1, 2]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_busy_hour(seed: int) -> None:
    """Scenario: 40 000 spans of 6000 traces that come and go, in batches large and small, some hours late.

    Guarantees: every span came out if its trace is one of the share, else it was dropped; never twice; every receipt
    completes; memory stays near what waits.
    """
    random = Random(seed)
    ledger = Ledger()
    scene = Scene(policy("probabilistic", sampling_percentage=40), MANY, wait="3s", num_traces=5000)
    sent: Counter[int] = Counter()
    intakes = 0
    for step in range(60):
        spans = [S(random.randint(100 * step, 100 * step + 200)) for _ in range(random.choice([1, 20, 1500]))]
        spans += [S(random.randint(1, 100 * step + 1)) for _ in range(random.choice([0, 3]))]
        sent.update(span.trace for span in spans)
        scene.take(*spans, receipt=ledger.receipt(str(intakes)))
        intakes += 1
        scene.advance(random.choice([0.0, 0.2, 1.0]))
        sampler = scene.sampler
        assert sampler.held_bytes < 1.35 * sampler.waiting_bytes + 3_000_000
    scene.drain()

    kept = Counter(scene.kept)
    words = np.array([list(np.frombuffer(trace_id(trace), ">u8")) for trace in sent], np.uint64)
    share = dict(zip(sent, is_sampled(40, "", words[:, 0], words[:, 1]).tolist(), strict=True))
    assert kept == Counter({trace: number for trace, number in sent.items() if share[trace]})
    for batch in scene.batches:
        scene.dropped += batch.receipt.dropped
        batch.receipt.settle()
    assert sum(scene.dropped.values()) == sum(sent.values()) - sum(kept.values())
    assert sorted(ledger.complete) == sorted(map(str, range(intakes)))
