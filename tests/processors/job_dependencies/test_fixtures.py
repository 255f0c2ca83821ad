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
from tests.fixtures.orders.record import FOLDER, recorded
from tests.processors.job_dependencies.orders import check_orders, order_batches
from tests.processors.job_dependencies.world import Found
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
        found.hear(batch)
        if seed is not None:
            found.wait(random.choice([0, 15]))
    found.wait(600).drain()

    assert between_jobs(found) == Counter((edge["parent_class"], edge["child_class"]) for edge in expected)
    assert not [alert for alert in found.alerts if alert.name != "JobCycle"]


def test_the_recording_of_orders_is_what_the_sdk_tells() -> None:
    """Scenario: the orders are told again. Guarantees: the files are what comes out, byte for byte."""
    assert {path.name: path.read_bytes() for path in FOLDER.glob("*-traces.pb")} | {
        "expected.json": (FOLDER / "expected.json").read_bytes()
    } == recorded()


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_edges_of_orders(seed: int | None) -> None:
    """Scenario: what the services of a shop sent, one after the other; then shuffled, in pieces, with time between.

    Guarantees: every count of every edge is what happened; no alert.
    """
    incoming = order_batches()
    random = Random(seed)
    if seed is not None:
        incoming = [piece for batch in incoming for piece in batch.split_rows(random.randint(1, 9))]
        random.shuffle(incoming)
    found = Found(wait="1h")
    for batch in incoming:
        found.hear(batch)
        if seed is not None:
            found.wait(random.choice([0, 0, 30]))

    check_orders(found.wait(4000).drain())
    assert found.alerts == []


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
    ledger, found = Ledger(), Found()
    dropped = 0
    spans = order_batches()
    for number, batch in enumerate(spans):
        told = Batch(batch.kind, batch.table, ledger.receipt(str(number)), batch.sides)
        for out in found.jobs.process(told):
            for passed in found.dependencies.process(out):
                if passed.kind is Kind.SPANS:
                    kept = passed.with_table(passed.table.slice(0, passed.rows // 10))
                    kept.receipt.drop(passed.rows - kept.rows, "sampled")
                    dropped += passed.rows - kept.rows
                passed.receipt.settle()
    assert len(ledger.complete) == len(spans)
    assert dropped > 0.85 * sum(batch.rows for batch in spans)

    check_orders(found.wait(30).drain())


def test_rows_of_two_processes_have_different_receipts() -> None:
    """Scenario: a processor that writes twice. Guarantees: no two receipts have one token."""
    processor = JobDependencies(JobDependenciesConfig(), ComponentId("job_dependencies"))
    tokens = []
    for seed in range(3):
        list(processor.process(sample_batch(Kind.JOBS, 3, seed=seed, receipt=Receipt.issue(str(seed)))))
        for now in (seed * 1000.0, seed * 1000.0 + 400, seed * 1000.0 + 500):
            tokens += [batch.receipt.token for batch in processor.tick(now)]

    assert len(tokens) == len(set(tokens)) >= 3
