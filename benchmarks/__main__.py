"""`make bench`: every figure of the README, as Markdown. Takes about seven minutes on two cores."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from benchmarks import processors, stages, tail_sampling
from benchmarks.end_to_end import Result, Run, measure

RUNS = (
    Run("spans", 512, 2400),
    Run("jobs", 512, 600),
    Run("jobs", 512, 600, processors="batch, jobs, error_type"),
    Run("jobs", 512, 600, processors="batch, jobs, error_type, failure_cluster, job_dependencies, alerts"),
    Run("spans", 10, 24_000, in_flight=128),
    Run("spans", 10, 24_000, in_flight=128, protocol="http"),
    Run("points", 1000, 1000),
    Run("logs", 500, 1200),
)

WHAT = {"spans": "spans", "jobs": "spans, one in four a job's,", "points": "points", "logs": "logs"}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def machine() -> str:
    model = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
         if line.startswith("model name")), platform.machine(),
    )  # fmt: skip
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    libraries = ", ".join(f"{name} {version(name)}" for name in ("pyarrow", "ptars", "grpcio", "chdb-core"))
    return (
        f"{os.cpu_count()} cores ({model}), {gib:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, {libraries}"
    )


def stage_table() -> str:
    measured = stages.rows()
    head = ["us of processor time a row", *measured[0][1], "sum"]
    rows = []
    for name, costs in measured:
        total = sum(us for stage, us in costs.items() if not stage.startswith("("))
        rows.append([name, *(f"{us:.2f}" for us in costs.values()), f"{total:.1f}"])
    return table(head, rows)


def processor_table() -> str:
    head = ["processors, us of processor time a span or job row", *(f"{size:,} a batch" for size in processors.SIZES)]
    return table(head, [[name, *(f"{us:.2f}" for us in costs)] for name, costs in processors.rows()])


def result_row(result: Result, number: int) -> list[str]:
    run = result.run
    way = "gRPC" if run.protocol == "grpc" else "HTTP"
    return [
        f"{run.rows} {WHAT[run.what]} a request, {way}, `[{run.processors}]`, run {number}",
        f"{result.rows_per_second:,.0f}",
        f"{result.collector_us:.1f}",
        f"{result.store_us:.1f}",
        f"{result.load_us:.1f}",
        f"{result.requests_per_decode:.1f}",
        f"{result.collector_mib:.0f} / {result.store_mib:.0f}",
        result.lag,
        f"{result.rows - result.stored:,}",
    ]


def end_to_end() -> Iterator[Result]:
    for run in RUNS:
        for _ in range(2):
            yield measure(run)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=["stages", "processors", "tail-sampling", "end-to-end"])
    args = parser.parse_args()
    print(f"Machine: {machine()}\n", flush=True)
    if args.only in (None, "stages"):
        print(stage_table(), flush=True)
    if args.only in (None, "processors"):
        print(processor_table(), flush=True)
    if args.only in (None, "tail-sampling"):
        print(table(tail_sampling.HEAD, list(tail_sampling.waits())), flush=True)
        # this one is on the processor's page
        print(table(tail_sampling.HEAD, list(tail_sampling.each_policy())), flush=True)
    if args.only not in (None, "end-to-end"):
        return
    head = ["end to end, everything on this machine", "rows/s", "collector us/row", "store us/row", "load us/row",
            "requests a decode", "MiB collector / store", "event loop on time", "rows lost"]  # fmt: skip
    rows = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("end to end", total=2 * len(RUNS))
        for number, result in enumerate(end_to_end()):
            rows.append(result_row(result, number % 2 + 1))
            progress.advance(task)
    print(table(head, rows))


if __name__ == "__main__":
    main()
