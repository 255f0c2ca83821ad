"""What the processors that understand jobs cost by themselves: microseconds of processor time a span, or a job row.

The best of several rounds; the modules named after each, `benchmarks.jobs` and its like, say more.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from benchmarks import error_type, failure_cluster, job_dependencies, jobs
from benchmarks.stages import cost
from pipeline import Batch, ComponentId, Receipt, Signal, allocator, otlp
from processors.jobs import JobsConfig, JobsProcessor

SIZES: Final = (20_000, 2_048)
"""Spans a batch: what `batch` makes of busy times, and of calm ones."""

_REQUESTS, _SPANS = 76, 512
_ROUNDS: Final = 7
_JOB_ROWS: Final = 240_000
_FAILING, _FAULTS, _JOBS_A_SECOND = 0.02, 500, 1000


def rows() -> list[tuple[str, list[float]]]:
    """Return what is measured, and its cost in batches of each of SIZES."""
    allocator.keep_large_buffers()
    otlp.warm_up()
    stream = jobs.make_requests(_REQUESTS, _SPANS)
    errors = error_type.spans(error_type.fifty)
    return [
        ("`jobs`, one span in four a job's", [jobs_cost(stream, size) for size in SIZES]),
        ("`error_type`, one span in five failed", [errors_cost(errors, size) for size in SIZES]),
        (
            "`job_dependencies`, one span in four a job's",
            [job_dependencies.cost(stream, size // _SPANS, _ROUNDS)[0] for size in SIZES],
        ),
        ("`failure_cluster`, a job row, of one class", [cluster_cost(1, size) for size in SIZES]),
        ("`failure_cluster`, a job row, of 10,000 classes", [cluster_cost(10_000, size) for size in SIZES]),
    ]


def jobs_cost(bodies: Sequence[bytes], size: int) -> float:
    """Return the cost of a stream, from an empty window on: its tables grow, as they do after a start."""
    best = float("inf")
    for _ in range(_ROUNDS):
        batches = whole(otlp.decode(Signal.TRACES, bodies).batch(Receipt.issue("bench")), size)
        processor = JobsProcessor(JobsConfig(), ComponentId("jobs"))
        began = time.process_time_ns()
        for batch in batches:
            list(processor.process(batch))
        best = min(best, (time.process_time_ns() - began) / sum(batch.rows for batch in batches))
    return best / 1000


def errors_cost(batch: Batch, size: int) -> float:
    """Return the cost of errors that are remembered."""
    one = error_type.processor()
    # a copy, whose receipt may be split
    batches = whole(batch.owing(Receipt.issue("bench")), size)
    return cost(lambda: [list(one.process(part)) for part in batches], sum(part.rows for part in batches))


def cluster_cost(classes: int, size: int) -> float:
    """Return the cost of a job row while a fiftieth fails, with windows and samples filled before."""
    batches = _JOB_ROWS // size
    return min(
        failure_cluster.measure(
            failure_cluster.make_batches(classes, batches, size, _JOBS_A_SECOND, _FAILING, _FAULTS), batches * 2 // 3
        )
        for _ in range(_ROUNDS // 2)
    )


def whole(batch: Batch, size: int) -> list[Batch]:
    """Return the batch in parts of `size` rows; what is over is left out."""
    return [part for part in batch.split_rows(size) if part.rows == size]
