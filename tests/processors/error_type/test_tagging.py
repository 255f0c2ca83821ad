"""Tagging spans in columns, against a loop over protobuf."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from pipeline import Batch, ComponentId, Receipt, concat
from pipeline.columns import with_attributes
from pipeline.kinds import Signal
from pipeline.otlp import decode, encode
from processors.error_type import ErrorType
from processors.error_type.cache import BoundedCache
from processors.error_type.categories import Categories
from processors.error_type.config import ErrorTypeConfig
from processors.error_type.frames import Ownership
from processors.error_type.tag import KEYS
from processors.error_type.verdict import Judge, Limits
from tests.processors.error_type import traces, twin

RULES = Categories()
VALUES = st.one_of(
    st.builds(AnyValue),
    st.builds(
        AnyValue, string_value=st.sampled_from(["", "ValueError", "a.CardDeclined", "Retry in 1s: KeyError('a')", "x"])
    ),
    st.builds(AnyValue, int_value=st.integers(400, 505)),
    st.builds(AnyValue, bool_value=st.booleans()),
    st.builds(AnyValue, double_value=st.sampled_from([0.0, 1.5, 1e30])),
    st.builds(AnyValue, bytes_value=st.sampled_from([b"", b"\x00\xff"])),
    st.just(AnyValue(array_value=ArrayValue(values=[AnyValue(string_value="x")]))),
    st.just(AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="k", value=AnyValue(int_value=1))]))),
)
TEXTS = st.one_of(
    VALUES,
    st.sampled_from([trace.text for trace in traces.TRACES] + ["y" * 400]).map(lambda it: AnyValue(string_value=it)),
)
KEYS_OF_EVENTS = ("exception.type", "exception.message", "exception.stacktrace", "bullmq.job.failed.reason", "other")
EVENTS = st.builds(
    Span.Event,
    name=st.sampled_from(["exception", "job failed", "job completed", ""]),
    attributes=st.lists(st.builds(KeyValue, key=st.sampled_from(KEYS_OF_EVENTS), value=TEXTS), max_size=4),
)
SPANS = st.builds(
    Span,
    attributes=st.lists(
        st.builds(
            KeyValue,
            key=st.sampled_from([*KEYS, "celery.retry.reason", "taskiq.retry.reason", "queue", ""]),
            value=VALUES,
        ),
        max_size=3,
    ),
    events=st.lists(EVENTS, max_size=3),
    status=st.builds(
        dict,
        code=st.sampled_from([0, 0, 1, 2]),
        message=st.sampled_from(["", "boom 7", "Unhandled exception of type: Net::ReadTimeout", "TimeoutError: late"]),
    ).map(lambda it: None if it == {"code": 0, "message": ""} else it),
)


def request_of(spans: list[Span]) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.extend(spans)
    return request


def batch_of(spans: list[Span]) -> Batch:
    return decode(Signal.TRACES, [request_of(spans).SerializeToString()]).batch(Receipt.issue("spans"))


def processor(**config: Any) -> ErrorType:
    return ErrorType(ErrorTypeConfig.model_validate({"max_message_bytes": 200} | config), ComponentId("error_type"))


def spans_of(batch: Batch) -> list[Span]:
    request = ExportTraceServiceRequest.FromString(encode(batch))
    return [span for group in request.resource_spans for scope in group.scope_spans for span in scope.spans]


def expected(spans: list[Span]) -> list[Span]:
    judge = Judge(RULES, Ownership(), Limits(200, 65536), BoundedCache(0, 0), innermost=False)
    copies = [Span.FromString(span.SerializeToString()) for span in spans]
    for span in copies:
        twin.tag(span, judge)
    return copies


@settings(max_examples=150)
@given(st.lists(SPANS, min_size=1, max_size=12))
def test_equals_the_loop_over_spans(spans: list[Span]) -> None:
    """Scenario: spans with errors told in every way, values of every type, keys sent twice and tags there already.

    Guarantees: the attributes that a loop over protobuf adds, at the end of the same spans; all else as it was.
    """
    (out,) = processor().process(batch_of(spans))

    out.table.validate(full=True)
    assert spans_of(out) == expected(spans)


@settings(max_examples=60)
@given(st.lists(SPANS, min_size=2, max_size=10), st.data())
def test_slices_and_filters_are_read_right(spans: list[Span], data: st.DataObject) -> None:
    """Scenario: batches that were sliced, filtered, joined. Guarantees: as if they had come like that."""
    batch = concat([batch_of(spans), batch_of(spans)])
    everything = spans + spans
    start = data.draw(st.integers(0, len(everything)))
    length = data.draw(st.integers(0, len(everything)))
    mask = data.draw(st.lists(st.booleans(), min_size=len(everything), max_size=len(everything)))
    one = processor()

    (sliced,) = one.process(batch.with_table(batch.table.slice(start, length)))
    (filtered,) = one.process(batch.with_table(batch.table.filter(pa.array(mask))))

    assert spans_of(sliced) == expected(everything[start : start + length])
    assert spans_of(filtered) == expected([span for span, kept in zip(everything, mask, strict=True) if kept])


@given(st.lists(SPANS, min_size=1, max_size=6))
def test_a_second_run_adds_nothing(spans: list[Span]) -> None:
    """Scenario: two collectors in a row tag the same spans. Guarantees: the second finds all tags there."""
    (once,) = processor().process(batch_of(spans))
    (twice,) = processor(rules=[{"message": ".*", "category": "bug"}]).process(once)

    before = [sorted({pair.key for pair in span.attributes}) for span in spans_of(once)]
    assert [sorted({pair.key for pair in span.attributes} - {"job.error.transient"}) for span in spans_of(twice)] == [
        [key for key in keys if key != "job.error.transient"] for keys in before
    ]


def test_nothing_failed_is_nothing_done() -> None:
    """Scenario: spans without errors. Guarantees: the very same batch, not a copy."""
    batch = batch_of([Span(name="fine"), Span(name="fine too", attributes=[twin.pair("queue", "mail")])])

    (out,) = processor().process(batch)

    assert out is batch


def test_attributes_are_added_behind_those_of_their_rows() -> None:
    """Scenario: rows with and without attributes, groups of several sizes and none. Guarantees: order, rows."""
    lists = batch_of([Span(attributes=[twin.pair("a", 1)]), Span(), Span(attributes=[twin.pair("b", "x")])]).column(
        "attributes"
    )

    grown = with_attributes(
        lists, np.array([0, 1, 2]), np.array([1, 2, 0]), [[], [("t", True)], [("u", "1"), ("v", "2")]]
    )

    assert [[item["key"] for item in row] for row in grown.to_pylist()] == [["a", "t"], ["u", "v"], ["b"]]
    assert grown.type == lists.type
