"""Sizes of spans, against google.protobuf's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from pipeline import Receipt
from pipeline.kinds import Signal
from pipeline.otlp import decode
from processors.tail_sampling.sizes import otlp_sizes
from tests.processors.tail_sampling.scenes import S, request_of

LONG = "x" * 20_000
VALUES = st.sampled_from([None, "", "text", LONG, 0, 127, 128, -1, 1 << 62, -(1 << 63), 0.5, True, b"", b"b", [1, "2"]])
ATTRIBUTES = st.dictionaries(st.sampled_from(["", "a", "b" * 130, "c"]), VALUES, max_size=3)
SPANS = st.builds(
    S,
    trace=st.integers(1, 3),
    parent=st.sampled_from([0, 7]),
    end=st.sampled_from([0, 1]),
    attrs=ATTRIBUTES,
    status=st.sampled_from(["UNSET", "OK", "ERROR"]),
    state=st.sampled_from(["", "a=b"]),
    flags=st.sampled_from([0, 1, 257]),
    kind=st.sampled_from([0, 1, 5]),
    name=st.sampled_from(["", "span", LONG]),
    events=st.lists(st.tuples(st.sampled_from(["", "event"]), ATTRIBUTES), max_size=2),
    links=st.lists(st.integers(1, 3), max_size=2),
)


@given(spans=st.lists(SPANS, min_size=1, max_size=6))
def test_equals_protobuf(spans: list[S]) -> None:
    """Scenario: any spans of some traces. Guarantees: for each trace the size of a request that has its spans alone."""
    request = request_of(spans)
    for group in request.resource_spans:
        span = group.scope_spans[0].spans[0]
        span.dropped_events_count = len(span.events) * 100
        for event in span.events:
            event.time_unix_nano, event.dropped_attributes_count = 5, 300
        for link in span.links:
            link.flags, link.trace_state = 1, "a=b"
            link.attributes.extend(span.attributes)
    ids = [group.scope_spans[0].spans[0].trace_id for group in request.resource_spans]
    numbers = np.array([sorted(set(ids)).index(one) for one in ids])

    sizes = otlp_sizes(decode(Signal.TRACES, [request.SerializeToString()]).batch(Receipt.issue("a")), numbers)

    groups = defaultdict(list)
    for one, group in zip(ids, request.resource_spans, strict=True):
        groups[one].append(group)
    assert np.bincount(numbers, sizes).astype(int).tolist() == [size_of(groups[one]) for one in sorted(groups)]


def size_of(groups: Sequence[ResourceSpans]) -> int:
    """Return the size of spans that share resource and scope, their groups as long as those alone."""
    spans = sum(framed(group.scope_spans[0].spans[0].ByteSize()) for group in groups)
    shared = (groups[0].resource, groups[0].scope_spans[0].scope)
    return spans + sum(framed(framed(message.ByteSize())) for message in shared)


def framed(size: int) -> int:
    length, digits = size, 1
    while length >= 128:
        length, digits = length >> 7, digits + 1
    return 1 + digits + size
