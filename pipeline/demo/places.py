"""The SDK's words for where something happens: the resource of a played process, the context of a played span."""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from pipeline.demo.records import Instance

SAMPLED = TraceFlags(TraceFlags.SAMPLED)
SDK_VERSIONS = {"python": "1.45.2", "ruby": "1.6.0", "nodejs": "2.12.1"}


def resource_of(instance: Instance) -> Resource:
    """The process as its resource describes it; nothing from the environment of the demo's own process."""
    return Resource(
        {
            "service.name": instance.service,
            "service.version": instance.version,
            "service.instance.id": instance.instance_id,
            "deployment.environment.name": "production",
            "host.name": instance.host,
            "process.pid": instance.pid,
            "telemetry.sdk.language": instance.language,
            "telemetry.sdk.name": "opentelemetry",
            "telemetry.sdk.version": SDK_VERSIONS[instance.language],
        }
    )


def context_of(trace_id: int, span_id: int | None, *, is_remote: bool = False) -> Context:
    """A context in which the span is the current one; an empty one without a span."""
    if span_id is None:
        return Context()
    return set_span_in_context(NonRecordingSpan(SpanContext(trace_id, span_id, is_remote, SAMPLED)), Context())
