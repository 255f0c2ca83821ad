"""The slow, obvious twin of the processor: one span after the other, on decoded protobuf."""

from __future__ import annotations

import re
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from pipeline.columns import any_value_text
from pipeline.error_text import status_error
from pipeline.kinds import Signal
from pipeline.otlp import decode
from pipeline.receipt import Receipt
from processors.error_type.spans import split_retry_reason
from processors.error_type.verdict import Error, Judge


def pair(key: str, value: str | bool | int) -> KeyValue:
    if isinstance(value, bool):
        return KeyValue(key=key, value=AnyValue(bool_value=value))
    if isinstance(value, int):
        return KeyValue(key=key, value=AnyValue(int_value=value))
    return KeyValue(key=key, value=AnyValue(string_value=value))


def text(pairs: list[KeyValue], key: str) -> str:
    """Return the first attribute of that key as text, empty for none."""
    value = next((pair.value for pair in pairs if pair.key == key), None)
    if value is None or value.WhichOneof("value") is None:
        return ""
    if value.WhichOneof("value") == "string_value":
        return value.string_value
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.attributes.add(key="it").value.CopyFrom(value)
    lists: Any = decode(Signal.TRACES, [request.SerializeToString()]).batch(Receipt.issue("")).column("attributes")
    result: str = any_value_text(lists.values.field("value"))[0].as_py()
    return result


def beside(type_: str, status: str) -> str:
    """Return the message that a status gives to an error whose type is known."""
    said, message = status_error(status)
    repeated = re.split(r"[.:\\]", said)[-1] == re.split(r"[.:\\]", type_)[-1]
    return (message if not said or repeated else status) if type_ else ""


def tag(span: Span, judge: Judge) -> None:
    """Do to one span what the processor does to all."""
    own = list(span.attributes)
    exceptions = [event for event in span.events if event.name == "exception"]
    reasons = [event for event in span.events if event.name == "job failed"]
    celery, taskiq = text(own, "celery.retry.reason"), text(own, "taskiq.retry.reason")
    failed = bool(span.status.code == 2 or reasons or celery or taskiq or text(own, "error.type"))
    if not failed and not exceptions:
        return
    event = list(exceptions[-1].attributes) if exceptions else []
    reason = text(list(reasons[-1].attributes), "bullmq.job.failed.reason") if reasons else ""
    stack = text(event, "exception.stacktrace")
    status = span.status.message if span.status.code == 2 else ""
    sources = (
        (text(event, "exception.type"), text(event, "exception.message"), stack),
        ("", reason),
        split_retry_reason(celery),
        ("", taskiq),
        (text(own, "error.type"), beside(text(own, "error.type"), status)),
        status_error(status),
    )
    type_, message, *_ = next((said for said in sources if any(said)), ("", ""))
    verdict = judge.verdict(Error(type_, message, stack))
    has = {pair.key for pair in own}
    for key, value in (
        ("error.type", verdict.type if failed else ""),
        ("job.error.category", str(verdict.category)),
        ("job.error.transient", verdict.transient),
        ("job.error.fingerprint", verdict.fingerprint),
        ("job.error.rescued", not failed or None),
        ("job.error.truncated", verdict.truncated or None),
    ):
        if key not in has and value is not None and value != "":
            span.attributes.append(pair(key, value))
