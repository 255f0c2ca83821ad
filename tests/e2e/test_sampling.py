"""Tail sampling in the real program, fed by the real SDK."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from opentelemetry.trace import SpanKind

from pipeline.testing.program import Ports, Program, eventually
from tests.e2e.clients import Worker, post_json

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


def test_late_spans_keep_their_decision_over_a_restart(tmp_path: Path) -> None:
    """Scenario: a trace with an error and one without are decided; SIGTERM, a new start, a late span of each.

    Guarantees: with `storage` the one is written, by its policy, and the other is not, though both would wait for an
    hour if they were new.
    """
    policies = "[{name: errors, type: status_code, status_code: {status_codes: [ERROR]}}]"
    sets = [
        f"processors.tail_sampling={{decision_wait: 1h, storage: file_storage, policies: {policies}}}",
        f"extensions.file_storage={{directory: {tmp_path / 'state'}, create_directory: true}}",
        "service.extensions=[health_check, embedded_clickhouse, file_storage]",
        "processors.batch.timeout=100ms",
    ]
    traces = {"error": "11" * 16, "fine": "22" * 16}

    def span(trace: str, number: int) -> dict[str, object]:
        times = {"startTimeUnixNano": "1795300000000000000", "endTimeUnixNano": "1795300000001000000"}
        status = {"code": 2} if trace == "error" and number == 1 else {}
        ids = {"traceId": traces[trace], "spanId": f"{number:016x}"}
        return {"name": f"{trace} {number}", "status": status, **ids, **times}

    data = tmp_path / "clickhouse"
    first = Program(data, Ports(), sets=sets, config="configs/sampling.yaml").started()
    try:
        assert post_json(first.ports, [span("error", 1), span("fine", 1)]) == 200
    finally:
        code = first.stop()
    assert code == 0

    again = Program(data, Ports(), sets=sets, config="configs/sampling.yaml").started()
    try:
        cached = "SpanAttributes['tailsampling.cached_decision']"
        written = f"SELECT SpanName, {cached} FROM otel_traces ORDER BY SpanName"
        assert again.query(written) == "error 1\t\n"
        assert post_json(again.ports, [span("error", 2), span("fine", 2)]) == 200
        late = "otelcol_processor_tail_sampling_early_releases_from_cache_decision"
        eventually(lambda: again.metric(late) == 2, what="both spans known to be late")
        eventually(lambda: again.query(written) == "error 1\t\nerror 2\ttrue\n", what="the late span of the error")
    finally:
        code = again.stop()
    assert code == 0


ORDERS = 300


def run_orders(worker: Worker) -> None:
    """Make a trace an order: a request enqueues a job, which enqueues two mails, each of which asks a database."""
    start = worker.tracer.start_as_current_span
    for order in range(ORDERS):
        with start("POST /orders", kind=SpanKind.SERVER) as request:
            request.set_attributes({"http.request.method": "POST", "http.route": "/orders"})
            with job_of(worker, "Order", f"order-{order}"):
                for mail in range(2):
                    with job_of(worker, "Mail", f"mail-{order}-{mail}"), start("SELECT", kind=SpanKind.CLIENT) as query:
                        query.set_attributes({"db.system.name": "postgresql", "db.namespace": "shop"})


@contextmanager
def job_of(worker: Worker, name: str, job_id: str) -> Iterator[None]:
    """Enqueue a job of Celery, and run it below."""
    names = {"celery.task_name": name, "messaging.message.id": job_id}
    with worker.tracer.start_as_current_span(f"apply_async/{name}", kind=SpanKind.PRODUCER) as span:
        span.set_attributes({"celery.action": "apply_async"} | names)
        with worker.tracer.start_as_current_span(f"run/{name}", kind=SpanKind.CONSUMER) as run:
            run.set_attributes({"celery.action": "run", "celery.state": "SUCCESS"} | names)
            yield


def test_dependencies_in_front_of_it_are_exact(tmp_path: Path) -> None:
    """Scenario: job_dependencies in front of a sampler that keeps a tenth of 300 orders of two mails each.

    Guarantees: nine tenths of the spans are gone, within five standard deviations, and every edge has its exact count.
    """
    policies = "[{name: some, type: probabilistic, probabilistic: {sampling_percentage: 10}}]"
    sets = [
        "processors.job_dependencies={interval: 1s, settle: 1s, wait: 8s}",
        f"processors.tail_sampling={{decision_wait: 1s, policies: {policies}}}",
        "processors.batch.timeout=100ms",
        "service.pipelines.traces.processors=[jobs, error_type, job_dependencies, tail_sampling, batch]",
    ]
    program = Program(tmp_path / "clickhouse", Ports(), sets=sets, config="configs/sampling.yaml").started()
    try:
        worker = Worker(program.ports, "grpc")
        run_orders(worker)
        worker.close()
        edges = (
            "SELECT ParentKind, Parent, ChildKind, Child, sum(Calls) FROM job_dependencies"
            " GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4 FORMAT TSV"
        )
        expected = (
            f"job\tMail\texternal\tpostgresql/shop\t{2 * ORDERS}\n"
            f"job\tOrder\tjob\tMail\t{2 * ORDERS}\n"
            f"request\tPOST /orders\tjob\tOrder\t{ORDERS}\n"
        )
        decided = "otelcol_processor_tail_sampling_global_count_traces_sampled"
        eventually(lambda: program.metric(decided) == ORDERS, what="a decision on every order")
        eventually(lambda: program.query(edges) == expected, within=30, what="all calls")
        spans = 9
        kept = int(program.query("SELECT count() FROM otel_traces"))
        assert kept % spans == 0
        assert abs(kept / spans - ORDERS / 10) < 5 * math.sqrt(ORDERS * 0.1 * 0.9)
    finally:
        code = program.stop()
    assert code == 0
