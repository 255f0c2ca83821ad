"""Spans around the jobs: web requests, and calls to databases and APIs, in the words of each instrumentation.

Python sends the current HTTP and database conventions, Ruby the old ones (`http.method`), Node the AWS SDK's.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.demo.cast import Dependency
from pipeline.demo.dialects import exception_mark
from pipeline.demo.records import Call, Instance, Parent, Place, Scope, SpanRecord, Thrown, Value

SCOPES = {
    "http": Scope("opentelemetry.instrumentation.requests", "0.66b2", "https://opentelemetry.io/schemas/1.26.0"),
    "sql": Scope("opentelemetry.instrumentation.psycopg", "0.66b2", "https://opentelemetry.io/schemas/1.26.0"),
    "old_http": Scope("OpenTelemetry::Instrumentation::Net::HTTP", "0.22.8"),
    "s3": Scope("@opentelemetry/instrumentation-aws-sdk", "0.52.0"),
}
SERVERS = {
    "python": Scope("opentelemetry.instrumentation.flask", "0.66b2", "https://opentelemetry.io/schemas/1.26.0"),
    "ruby": Scope("OpenTelemetry::Instrumentation::Rack", "0.25.0"),
    "nodejs": Scope("@opentelemetry/instrumentation-http", "0.57.0"),
}


@dataclass(frozen=True, slots=True)
class Timing:
    """The ids and times of a span that is to be worded."""

    span_id: int
    start_ns: int
    end_ns: int


def call_span(dependency: Dependency, place: Place, timing: Timing, caller: Parent, error: Thrown | None) -> SpanRecord:
    """A client span of the code at `place`; with `error`, the call that made it fail."""
    name, attributes = _WORDS[dependency.style](dependency, failed=error is not None)
    if error is not None:
        attributes["error.type"] = error.logged_type
    return SpanRecord(
        name=name,
        kind="client",
        scope=SCOPES[dependency.style],
        instance=place.instance,
        trace_id=place.trace_id,
        span_id=timing.span_id,
        parent_id=place.span_id,
        start_ns=timing.start_ns,
        end_ns=timing.end_ns,
        attributes=attributes,
        error=error.message.partition("\n")[0] if error else None,
        job_class=caller.name if caller.kind == "job" else None,
        fact=Call(caller, dependency.peer, error is not None),
    )


def _http(dependency: Dependency, *, failed: bool) -> tuple[str, dict[str, Value]]:
    attributes: dict[str, Value] = {
        "http.request.method": dependency.operation,
        "url.full": f"https://{dependency.address}{dependency.target}",
        "server.address": dependency.address,
        "server.port": 443,
        "peer.service": dependency.peer,
    }
    if not failed:
        attributes["http.response.status_code"] = 200
    return dependency.operation, attributes


def _sql(dependency: Dependency, *, failed: bool) -> tuple[str, dict[str, Value]]:
    return f"{dependency.operation} {dependency.target}", {
        "db.system.name": "postgresql",
        "db.namespace": "shop",
        "db.operation.name": dependency.operation,
        "db.collection.name": dependency.target,
        "server.address": dependency.address,
        "server.port": 5432,
        "peer.service": dependency.peer,
    }


def _old_http(dependency: Dependency, *, failed: bool) -> tuple[str, dict[str, Value]]:
    attributes: dict[str, Value] = {
        "http.method": dependency.operation,
        "http.scheme": "https",
        "http.target": dependency.target,
        "net.peer.name": dependency.address,
        "net.peer.port": 443,
        "peer.service": dependency.peer,
    }
    if not failed:
        attributes["http.status_code"] = 202
    return f"HTTP {dependency.operation}", attributes


def _s3(dependency: Dependency, *, failed: bool) -> tuple[str, dict[str, Value]]:
    return f"S3.{dependency.operation}", {
        "rpc.system": "aws-api",
        "rpc.service": "S3",
        "rpc.method": dependency.operation,
        "aws.s3.bucket": dependency.target,
        "server.address": dependency.address,
        "peer.service": dependency.peer,
    }


_WORDS = {"http": _http, "sql": _sql, "old_http": _old_http, "s3": _s3}


def request_span(
    place: Place, parent: Place | None, method: str, route: str, times: tuple[int, int], error: Thrown | None = None
) -> SpanRecord:
    """A server span; with `error`, the request ended in a 500."""
    language = place.instance.language
    status = 500 if error else (201 if method == "POST" else 200)
    attributes: dict[str, Value]
    if language == "ruby":
        attributes = {"http.method": method, "http.route": route, "http.status_code": status}
    else:
        attributes = {
            "http.request.method": method,
            "http.route": route,
            "url.path": route.replace("{id}", "4711"),
            "url.scheme": "https",
            "http.response.status_code": status,
        }
    if error is not None:
        attributes["error.type"] = error.logged_type
    return SpanRecord(
        name=f"{method} {route}",
        kind="server",
        scope=SERVERS[language],
        instance=place.instance,
        trace_id=place.trace_id,
        span_id=place.span_id,
        parent_id=parent.span_id if parent else None,
        start_ns=times[0],
        end_ns=times[1],
        attributes=attributes,
        marks=(exception_mark(error, times[1] - 100_000, escaped=True),) if error else (),
        remote_parent=parent is not None,
        error=error.message.partition("\n")[0] if error else None,
    )


def service_dependency(service: str, route: str, caller: Instance) -> Dependency:
    """Another service of the shop, as the one who calls it over HTTP sees it."""
    return Dependency(
        peer=service,
        style="old_http" if caller.language == "ruby" else "http",
        address=f"{service}.shop.internal",
        operation="POST",
        target=route,
        median_ms=0,
    )
