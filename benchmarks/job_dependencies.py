"""What the processor `job_dependencies` costs a span: `python -m benchmarks.job_dependencies`.

The spans are those of `benchmarks.jobs`: one in four is a job's, most of the others call a database. Settling and
writing are part of it: time goes on as fast as 20 000 spans a second would let it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from benchmarks.jobs import decoded, make_requests
from pipeline import Batch, ComponentId, otlp
from pipeline.allocator import keep_large_buffers
from processors.job_dependencies import JobDependencies, JobDependenciesConfig
from processors.jobs import JobsConfig, JobsProcessor

SPANS_A_SECOND = 20_000


def incoming(bodies: Sequence[bytes], at_once: int) -> list[Batch]:
    """Return what reaches the processor: the spans, and the job rows that `jobs` makes of them."""
    jobs = JobsProcessor(JobsConfig(), ComponentId("jobs"))
    return [out for batch in decoded(bodies, at_once) for out in jobs.process(batch)]


def cost(bodies: Sequence[bytes], at_once: int, rounds: int) -> tuple[float, float, int, int]:
    """Return microseconds a span, the longest call in milliseconds, spans, bytes held; of the best of `rounds`."""
    best, longest, spans, held = float("inf"), 0.0, 0, 0
    for _ in range(rounds):
        batches = incoming(bodies, at_once)
        processor = JobDependencies(JobDependenciesConfig(), ComponentId("job_dependencies"))
        spans, now, slowest = 0, 0.0, 0
        total = 0
        for batch in batches:
            began = time.process_time_ns()
            list(processor.process(batch))
            ended = time.process_time_ns()
            total += ended - began
            slowest = max(slowest, ended - began)
            if batch.kind != "spans":
                continue
            spans += batch.rows
            now += batch.rows / SPANS_A_SECOND
            wake = processor.wake_at()
            if wake is not None and wake <= now:
                began = time.process_time_ns()
                list(processor.tick(now))
                ended = time.process_time_ns()
                total += ended - began
                slowest = max(slowest, ended - began)
        held = processor.nbytes
        began = time.process_time_ns()
        list(processor.drain())
        total += time.process_time_ns() - began
        if total / 1000 / spans < best:
            best, longest = total / 1000 / spans, slowest / 1e6
    return best, longest, spans, held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    keep_large_buffers()
    otlp.warm_up()
    for requests, spans, at_once in ((400, 512, 16), (400, 512, 4), (2000, 16, 100)):
        bodies = make_requests(requests, spans)
        best, longest, total, held = cost(bodies, at_once, arguments.rounds)
        print(
            f"{spans:4} spans a request, {at_once:3} requests a decode: {best:5.2f} us a span, "
            f"longest call {longest:5.1f} ms, {held / 2**20:5.1f} MiB held ({total} spans)"
        )


if __name__ == "__main__":
    main()
