"""What each stage costs by itself: microseconds of processor time a row, the best of several rounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from benchmarks.payloads import make_logs, make_points, make_spans
from exporters.clickhouse.tables import parts
from exporters.clickhouse.wire import encoded
from pipeline import allocator, concat
from pipeline.batch import Batch
from pipeline.kinds import Signal
from pipeline.otlp import decode, warm_up
from pipeline.otlp.descriptors import REQUESTS, parse
from pipeline.receipt import Receipt

ROUNDS = 9


def cost(work: Callable[[], object], rows: int) -> float:
    """Return microseconds of processor time a row, the best of several rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time_ns()
        work()
        best = min(best, time.process_time_ns() - began)
    return best / 1000 / rows


def stages(signal: Signal, bodies: Sequence[bytes], at_once: int) -> Iterator[tuple[str, float]]:
    """Yield what decoding `at_once` requests costs, and joining, columns and body of an insert of 10 000 rows.

    First comes google.protobuf's bare parse of the same bodies: a yardstick for the machine and the moment.
    """

    def batches() -> list[Batch]:
        groups = [bodies[start : start + at_once] for start in range(0, len(bodies), at_once)]
        return [decode(signal, group).batch(Receipt.issue("bench")) for group in groups]

    decoded = batches()
    total = sum(batch.rows for batch in decoded)
    yield "(upb parse)", cost(lambda: [parse(REQUESTS[signal], body) for body in bodies], total)
    yield "decode", cost(batches, total)
    tables = [batch.table for batch in decoded]
    again = iter([[b.with_table(t) for b, t in zip(batches(), tables, strict=True)] for _ in range(ROUNDS)])
    yield "join (batch)", cost(lambda: concat(next(again)), total)
    joined = concat(batches())
    yield "ClickHouse columns", cost(lambda: parts(joined), total)
    columns = [part.columns for part in parts(joined) if part.columns.num_rows]
    yield "insert body (Arrow)", cost(lambda: [encoded(table, "none") for table in columns], total)


def rows() -> list[tuple[str, dict[str, float]]]:
    """Return what is measured and its stages."""
    allocator.keep_large_buffers()
    warm_up()
    return [
        ("512 spans a request, 4 requests a decode", dict(stages(Signal.TRACES, make_spans(20, 512), 4))),
        ("10 spans a request, 100 requests a decode", dict(stages(Signal.TRACES, make_spans(1000, 10), 100))),
        ("1000 gauge points a request", dict(stages(Signal.METRICS, make_points(10, 1000), 2))),
        ("500 log records a request", dict(stages(Signal.LOGS, make_logs(20, 500), 4))),
    ]
