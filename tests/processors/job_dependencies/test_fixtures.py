"""Edges of real job systems: the captured requests, in order and shuffled, and what is passed on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import orjson
import pytest

from pipeline import Batch, ComponentId, Kind, Receipt
from pipeline.testing import Ledger, sample_batch
from processors.job_dependencies import JobDependencies, JobDependenciesConfig
from tests.processors.job_dependencies.orders import orders
from tests.processors.job_dependencies.world import Found
from tests.processors.jobs.telling import spans_batch
from tests.processors.jobs.test_fixtures import SCENARIOS, batches, named


def between_jobs(found: Found) -> Counter[tuple[str, str]]:
    totals: Counter[tuple[str, str]] = Counter()
    for edge, number in found.sums("calls").items():
        if edge.parent_kind == edge.child_kind == "job":
            totals[edge.parent, edge.child] += number
    return +totals


@pytest.mark.parametrize("seed", [None, 1, 2])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=named)
def test_edges_of_the_captured_requests(scenario: Path, seed: int | None) -> None:
    """Scenario: requests of a real job system, in order; then shuffled, in pieces, with time between.

    Guarantees: between jobs exactly the edges that are expected, each job once; retries and flows are none.
    """
    expected = orjson.loads((scenario / "expected.json").read_bytes())["edges"]
    incoming = batches(scenario)
    random = Random(seed)
    if seed is not None:
        incoming = [piece for batch in incoming for piece in batch.split_rows(random.randint(1, 4))]
        random.shuffle(incoming)
    found = Found()
    for batch in incoming:
        for out in found.jobs.process(batch):
            found.take(found.dependencies.process(out) if out.kind in found.dependencies.handles else [out])
        if seed is not None:
            found.wait(random.choice([0, 15]))
    found.wait(600).drain()

    assert between_jobs(found) == Counter((edge["parent_class"], edge["child_class"]) for edge in expected)
    assert not [alert for alert in found.alerts if alert.name != "JobCycle"]


def test_what_comes_in_goes_on_at_once() -> None:
    """Scenario: spans and job rows. Guarantees: the same batches, same receipts, before anything is counted."""
    processor = JobDependencies(JobDependenciesConfig(), ComponentId("job_dependencies"))
    for kind in (Kind.SPANS, Kind.JOBS):
        batch = sample_batch(kind, 5)
        (passed,) = processor.process(batch)
        assert passed is batch


def test_sampling_after_it_changes_nothing() -> None:
    """Scenario: orders, and after the processor nine of ten spans are dropped on purpose.

    Guarantees: edges are exact, their receipts are their own, and the intakes complete with what was dropped counted.
    """
    world, ledger = orders(50), Ledger()
    found = Found()
    dropped = 0
    for number in range(0, len(world.spans), 40):
        spans = spans_batch(world.spans[number : number + 40])
        told = Batch(spans.kind, spans.table, ledger.receipt(str(number)), spans.sides)
        for out in found.jobs.process(told):
            for passed in found.dependencies.process(out):
                if passed.kind is Kind.SPANS:
                    kept = passed.with_table(passed.table.slice(0, passed.rows // 10))
                    kept.receipt.drop(passed.rows - kept.rows, "sampled")
                    dropped += passed.rows - kept.rows
                passed.receipt.settle()
    assert len(ledger.complete) == -(-len(world.spans) // 40)
    assert dropped > 0.85 * len(world.spans)

    found.wait(30).drain()

    assert found.sums("calls") == {edge: number for edge, number in world.calls.items() if number}


def test_rows_of_two_processes_have_different_receipts() -> None:
    """Scenario: a processor that writes twice. Guarantees: no two receipts have one token."""
    processor = JobDependencies(JobDependenciesConfig(), ComponentId("job_dependencies"))
    tokens = []
    for seed in range(3):
        list(processor.process(sample_batch(Kind.JOBS, 3, seed=seed, receipt=Receipt.issue(str(seed)))))
        for now in (seed * 1000.0, seed * 1000.0 + 400, seed * 1000.0 + 500):
            tokens += [batch.receipt.token for batch in processor.tick(now)]

    assert len(tokens) == len(set(tokens)) >= 3
