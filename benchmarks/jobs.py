"""What the processor `jobs` costs a span over decoding: `python -m benchmarks.jobs`.

One span in four is a job's: a trace is a web request that enqueues a job, the job's execution, and six ordinary spans
with attributes of HTTP and database clients. One execution in five fails, and half of those run again.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator, Mapping, Sequence

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span, Status

from pipeline import Batch, ComponentId, Receipt, Signal, otlp
from pipeline.allocator import keep_large_buffers
from processors.jobs import JobsConfig, JobsProcessor

START_NS = 1_795_300_000_000_000_000
TRACE_SPANS = 8
_CLASSES = ("orders.Charge", "orders.Ship", "mail.Receipt", "images.Resize", "search.Reindex", "reports.Daily")
_QUEUES = ("default", "mail", "images", "low")
_STACK = "Traceback (most recent call last):\n" + "".join(
    f'  File "/app/shop/{name}.py", line {line}, in {name}\n    raise_for_status(reply)\n'
    for name, line in (("worker", 88), ("charge", 131), ("gateway", 42))
)


def make_requests(requests: int, spans: int) -> list[bytes]:
    """Return `requests` bodies of about `spans` spans each: web and worker processes in turn."""
    rng = random.Random(f"jobs {requests} {spans}")
    bodies = []
    pending: list[tuple[bytes, bytes, str, str, int]] = []
    for number in range(requests):
        web, worker = _group(number, "web"), _group(number, "worker")
        start = START_NS + number * 1_000_000_000
        pending.extend(_web_spans(rng, web[1], start) for _ in range(max(1, spans // TRACE_SPANS)))
        for job in pending:
            _worker_spans(rng, worker[1], *job)
        # the next request of the worker runs what was enqueued in this one, as often as not
        pending = [job for job in pending if rng.random() < 0.1]
        bodies.append(web[0].SerializeToString() + worker[0].SerializeToString())
    return bodies


def _group(number: int, name: str) -> tuple[ExportTraceServiceRequest, dict[str, ScopeSpans]]:
    request = ExportTraceServiceRequest()
    pid = number % 4
    resource: dict[str, str | int] = {
        "service.name": f"shop-{name}",
        "host.name": f"{name}-{pid}",
        "process.pid": 1000 + pid,
    }
    group = request.resource_spans.add(resource=Resource(attributes=_attributes(resource)))
    scopes = {}
    for scope in ("celery", "requests", "psycopg"):
        scopes[scope] = group.scope_spans.add()
        scopes[scope].scope.name = f"opentelemetry.instrumentation.{scope}"
        scopes[scope].scope.version = "0.66b1"
    return request, scopes


def _web_spans(rng: random.Random, scopes: dict[str, ScopeSpans], start: int) -> tuple[bytes, bytes, str, str, int]:
    trace, root, enqueue = rng.randbytes(16), rng.randbytes(8), rng.randbytes(8)
    start += rng.randrange(900_000_000)
    job, queue, task = f"{rng.getrandbits(128):032x}", rng.choice(_QUEUES), rng.choice(_CLASSES)
    for row in range(3):
        span = scopes["requests" if row == 0 else "psycopg"].spans.add()
        _fill(span, trace, root if row == 0 else rng.randbytes(8), b"" if row == 0 else root, start + row * 1000, rng)
        span.kind = Span.SPAN_KIND_SERVER if row == 0 else Span.SPAN_KIND_CLIENT
    span = scopes["celery"].spans.add(
        trace_id=trace, span_id=enqueue, parent_span_id=root, name=f"apply_async/{task}",
        kind=Span.SPAN_KIND_PRODUCER, start_time_unix_nano=start + 5000, end_time_unix_nano=start + 900_000,
    )  # fmt: skip
    span.attributes.extend(
        _attributes({
            "celery.action": "apply_async", "celery.task_name": task, "messaging.message.id": job,
            "messaging.destination_kind": "queue", "messaging.destination": queue, "shop.customer": 5,
        })
    )  # fmt: skip
    return trace, enqueue, job, task, start


def _worker_spans(
    rng: random.Random, scopes: dict[str, ScopeSpans], trace: bytes, enqueue: bytes, job: str, task: str, start: int
) -> None:
    run, begun = rng.randbytes(8), start + rng.randrange(2_000_000, 90_000_000)
    failed = rng.random() < 0.2
    span = scopes["celery"].spans.add(
        trace_id=trace, span_id=run, parent_span_id=enqueue, name=f"run/{task}", kind=Span.SPAN_KIND_CONSUMER,
        start_time_unix_nano=begun, end_time_unix_nano=begun + rng.randrange(1_000_000, 900_000_000),
    )  # fmt: skip
    span.attributes.extend(
        _attributes({
            "celery.action": "run", "celery.state": "FAILURE" if failed else "SUCCESS", "celery.task_name": task,
            "messaging.message.id": job, "messaging.destination": "default", "messaging.conversation_id": job,
            "celery.hostname": f"gen{rng.randrange(9)}@web", "celery.delivery_info": "{'routing_key': 'default'}",
            "celery.reply_to": job,
        })
    )  # fmt: skip
    if failed:
        span.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message="timed out"))
        event = span.events.add(name="exception", time_unix_nano=begun + 900)
        values = {
            "exception.type": "shop.GatewayTimeout", "exception.message": f"charge {rng.randrange(99)} timed out",
            "exception.stacktrace": _STACK, "exception.escaped": "False",
        }  # fmt: skip
        event.attributes.extend(_attributes(values))
    for row in range(3):
        _fill(scopes["psycopg"].spans.add(), trace, rng.randbytes(8), run, begun + row * 1000, rng)


def _fill(span: Span, trace: bytes, own: bytes, parent: bytes, start: int, rng: random.Random) -> None:
    span.trace_id, span.span_id, span.parent_span_id = trace, own, parent
    span.name, span.kind = "SELECT shop.orders", Span.SPAN_KIND_CLIENT
    span.start_time_unix_nano, span.end_time_unix_nano = start, start + rng.randrange(50_000, 5_000_000)
    span.attributes.extend(
        _attributes({
            "db.system": "postgresql", "db.name": "shop", "db.user": "shop", "net.peer.name": "db-1",
            "net.peer.port": 5432, "db.operation": "SELECT", "db.sql.table": "orders", "db.rows": rng.randrange(100),
            "db.statement": "SELECT id, state, amount FROM orders WHERE customer = %s AND state = ANY(%s) LIMIT 100",
            "thread.id": rng.randrange(1 << 40),
        })
    )  # fmt: skip


def _attributes(values: Mapping[str, str | int]) -> Iterator[KeyValue]:
    for key, value in values.items():
        kind = AnyValue(string_value=value) if isinstance(value, str) else AnyValue(int_value=value)
        yield KeyValue(key=key, value=kind)


def decoded(bodies: Sequence[bytes], at_once: int) -> list[Batch]:
    groups = [bodies[start : start + at_once] for start in range(0, len(bodies), at_once)]
    return [otlp.decode(Signal.TRACES, group).batch(Receipt.issue(str(number))) for number, group in enumerate(groups)]


def cost(bodies: Sequence[bytes], at_once: int, rounds: int) -> tuple[float, float, int, int]:
    """Return microseconds a span of decoding and of `jobs`, spans, and job rows written; the best of `rounds`."""
    decode_ns = jobs_ns = float("inf")
    spans = rows = 0
    for _ in range(rounds):
        began = time.process_time_ns()
        batches = decoded(bodies, at_once)
        decode_ns = min(decode_ns, time.process_time_ns() - began)
        processor = JobsProcessor(JobsConfig(), ComponentId("jobs"))
        spans, rows = sum(batch.rows for batch in batches), 0
        began = time.process_time_ns()
        for batch in batches:
            for out in processor.process(batch):
                rows += out.rows
        jobs_ns = min(jobs_ns, time.process_time_ns() - began)
    return decode_ns / 1000 / spans, jobs_ns / 1000 / spans, spans, rows - spans


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    keep_large_buffers()
    otlp.warm_up()
    for requests, spans, at_once in ((100, 512, 16), (100, 512, 4), (100, 512, 1), (2000, 16, 100)):
        bodies = make_requests(requests, spans)
        decode, jobs, total, rows = cost(bodies, at_once, arguments.rounds)
        print(
            f"{spans:4} spans a request, {at_once:3} requests a decode: {decode:5.2f} us a span to decode, "
            f"{jobs:5.2f} us for jobs ({total} spans, {rows} job rows)"
        )


if __name__ == "__main__":
    main()
