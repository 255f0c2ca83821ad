"""What the processor `failure_cluster` costs a job row: `python -m benchmarks.failure_cluster`.

A thousand executions a second of 10 000 classes, then of one, in batches of 10 000 rows; one in fifty fails, with one
of 500 faults. Then with faults that all differ, and an outage: half of all executions fail with one fault. The first
two thirds of the rows fill windows and samples and are not measured.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pyarrow as pa

from pipeline import Batch, ComponentId, Kind, Receipt
from pipeline.kinds import JOBS, RESOURCE
from processors.failure_cluster import FailureCluster, FailureClusterConfig

START_NS = 1_795_300_000_000_000_000
_SECOND = 1_000_000_000
_HOSTS = 20


def make_batches(classes: int, batches: int, rows: int, per_second: int, failing: float, faults: int) -> list[Batch]:
    """Return batches of executions, the rows of each in order of time."""
    rng = np.random.default_rng(classes)
    resource = pa.Table.from_pylist(
        [
            {
                "present": True,
                "attributes": [
                    {"key": key, "value": {"string_value": value}}
                    for key, value in (
                        ("service.name", "shop-workers"),
                        ("service.version", "1.0"),
                        ("host.name", f"worker-{host}"),
                        ("deployment.environment.name", "production"),
                        ("process.runtime.version", "3.11"),
                    )
                ],
                "dropped_attributes_count": 0,
                "entity_refs": [],
                "schema_url": "",
            }
            for host in range(_HOSTS)
        ],
        RESOURCE,
    )
    return [_batch(rng, classes, number, rows, per_second, failing, faults, resource) for number in range(batches)]


def _batch(
    rng: np.random.Generator,
    classes: int,
    number: int,
    rows: int,
    per_second: int,
    failing: float,
    faults: int,
    resource: pa.Table,
) -> Batch:
    start = START_NS + np.arange(number * rows, (number + 1) * rows) * (_SECOND // per_second)
    failed = rng.random(rows) < failing
    fault = rng.integers(faults, size=rows)
    names = rng.integers(classes, size=rows)
    hosts = rng.integers(_HOSTS, size=rows)
    ids = rng.bytes(24 * rows).hex()
    columns = {name: pa.nulls(rows, JOBS.field(name).type) for name in JOBS.names}

    def texts(values: list[str | None]) -> pa.Array:  # type: ignore[type-arg] # text
        return pa.array(values, pa.string())

    columns |= {
        "resource": pa.array(hosts.astype(np.int32)),
        "operation": texts(["process"] * rows),
        "system": texts(["celery"] * rows),
        "job_class": texts([f"shop.jobs.Class{name}" for name in names]),
        "queue": texts([f"queue-{name % 10}" for name in names]),
        "job_id": texts([ids[48 * row : 48 * row + 36] for row in range(rows)]),
        "worker_id": texts([f"worker-{host}:4711" for host in hosts]),
        "timestamp": pa.array(start.astype(np.uint64)),
        "duration": pa.array(np.full(rows, 50_000_000, np.uint64)),
        "trace_id": texts([ids[48 * row : 48 * row + 32] for row in range(rows)]),
        "span_id": texts([ids[48 * row + 32 : 48 * row + 48] for row in range(rows)]),
        "also_span_ids": pa.array([[]] * rows, JOBS.field("also_span_ids").type),
        "outcome": texts(["failed" if fails else "succeeded" for fails in failed]),
        "is_retry_enqueue": pa.array([False] * rows),
        "error_type": texts([f"Error{f}" if fails else None for f, fails in zip(fault, failed, strict=True)]),
        "error_message": texts(["it broke" if fails else None for fails in failed]),
        "error_fingerprint": texts([f"1:{f:016x}" if fails else None for f, fails in zip(fault, failed, strict=True)]),
        "depends_on_job_ids": pa.array([[]] * rows, JOBS.field("depends_on_job_ids").type),
        "version": pa.array(np.ones(rows, np.uint64)),
        "is_deleted": pa.array([False] * rows),
    }
    table = pa.table({name: columns[name] for name in JOBS.names}, JOBS)
    return Batch(Kind.JOBS, table, Receipt.issue(str(number)), {"resource": resource})


def measure(batches: list[Batch], warm: int) -> float:
    """Return microseconds a row over the batches after the first `warm`; steps that these complete are decided."""
    watcher = FailureCluster(FailureClusterConfig(), ComponentId("failure_cluster"))
    for batch in batches[:warm]:
        list(watcher.process(batch))
    begun = time.process_time()
    for batch in batches[warm:]:
        list(watcher.process(batch))
    return (time.process_time() - begun) / sum(batch.rows for batch in batches[warm:]) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=45)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    cases = (
        ("10 000 classes, 2 % fail", 10_000, 0.02, 500),
        ("one class, 2 % fail", 1, 0.02, 500),
        ("10 000 classes, all faults differ", 10_000, 0.02, 1_000_000_000),
        ("100 classes, half of all fail", 100, 0.5, 1),
    )
    print("case                                 us a job row")
    for name, classes, failing, faults in cases:
        # a batch's receipt is for one use, so each repetition makes its own
        figures = [
            measure(make_batches(classes, args.batches, args.rows, 1000, failing, faults), warm=args.batches * 2 // 3)
            for _ in range(args.repeat)
        ]
        print(f"{name:<36} {min(figures):>13.2f}")


if __name__ == "__main__":
    main()
