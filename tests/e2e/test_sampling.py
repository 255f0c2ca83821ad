"""Tail sampling in the real program, fed by the real SDK."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from opentelemetry.trace import SpanKind

from pipeline.testing.program import Ports, Program, eventually
from tests.e2e.clients import Worker

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

JOBS = 600
SHARE = 0.3


def run_jobs(worker: Worker) -> None:
    """Make a trace a job: enqueue, run, and a query below; every tenth fails, which its spans' status does not say."""
    for job in range(JOBS):
        names = {"celery.task_name": f"Mail{job % 3}", "messaging.message.id": str(job)}
        with worker.tracer.start_as_current_span("apply_async/Mail", kind=SpanKind.PRODUCER) as span:
            span.set_attributes({"celery.action": "apply_async"} | names)
            with worker.tracer.start_as_current_span("run/Mail", kind=SpanKind.CONSUMER) as run:
                state = "FAILURE" if job % 10 == 0 else "SUCCESS"
                run.set_attributes({"celery.action": "run", "celery.state": state} | names)
                with worker.tracer.start_as_current_span("SELECT", kind=SpanKind.CLIENT):
                    pass


@pytest.mark.parametrize("end", ["waited for", "SIGTERM in the middle of the wait"])
def test_failed_jobs_are_kept_whole_and_rows_are_exact(tmp_path: Path, end: str) -> None:
    """Scenario: 600 traces of a job, 60 of which failed; 30 % of the rest are wanted.

    Guarantees: every failed job's trace whole, of the others a share within five standard deviations, whole too; a row
    for every job; counts that add up to all traces; also where the collector is stopped while they wait.
    """
    waits = "1s" if end == "waited for" else "1h"
    policies = (
        "[{name: failed, type: job, job: {outcome: [failed]}},"
        f" {{name: some, type: probabilistic, probabilistic: {{sampling_percentage: {100 * SHARE:g}}}}}]"
    )
    sets = [
        f"processors.tail_sampling={{decision_wait: {waits}, policies: {policies}}}",
        "processors.batch.timeout=100ms",
    ]
    data = tmp_path / "clickhouse"
    program = Program(data, Ports(), sets=sets, config="configs/sampling.yaml").started()
    try:
        worker = Worker(program.ports, "grpc")
        run_jobs(worker)
        worker.close()
        # a row is written again when more is known of it
        rows = f"{2 * JOBS}\n"
        eventually(
            lambda: program.query("SELECT count() FROM jobs FINAL") == rows, what="a row for every enqueue and run"
        )
        if end == "waited for":
            eventually(
                lambda: program.metric("otelcol_processor_tail_sampling_global_count_traces_sampled") == JOBS,
                what="a decision on every trace",
            )
    finally:
        code = program.stop()
    assert code == 0

    again = Program(data, Ports(), config="configs/sampling.yaml").started()
    try:
        failed = "(SELECT TraceId FROM jobs FINAL WHERE Outcome = 'failed')"
        runs = "countIf(SpanName = 'run/Mail')"
        outcomes = "SELECT Outcome, count() FROM jobs FINAL WHERE Operation = 'process' GROUP BY 1 ORDER BY 1"
        assert again.query(outcomes) == (f"failed\t{JOBS // 10}\nsucceeded\t{JOBS - JOBS // 10}\n")
        assert again.query(f"SELECT count(), {runs} FROM otel_traces WHERE TraceId IN {failed}") == (
            f"{3 * JOBS // 10}\t{JOBS // 10}\n"
        )
        kept, whole = map(
            int, again.query(f"SELECT {runs}, count() FROM otel_traces WHERE TraceId NOT IN {failed}").split()
        )
        expected = SHARE * (JOBS - JOBS // 10)
        assert abs(kept - expected) < 5 * math.sqrt(expected * (1 - SHARE))
        assert whole == 3 * kept
        counts = again.query(
            "SELECT SpanAttributes['tailsampling.policy'] AS p,"
            " sum(toFloat64(SpanAttributes['sampling.adjusted_count']))"
            " FROM otel_traces WHERE SpanName = 'run/Mail' GROUP BY p ORDER BY p"
        )
        by_policy = dict(line.split("\t") for line in counts.splitlines())
        assert float(by_policy["failed"]) == JOBS // 10
        assert float(by_policy["some"]) == pytest.approx(kept / SHARE)
    finally:
        again.stop()
