"""Hashes of spans and of their parents, worked out once for all components that look at a batch."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.batch import Batch
from pipeline.hashing import Hashes, hashes_in_traces, trace_hashes, words_of


class SpanHashes(NamedTuple):
    """`pipeline.hashing.span_hashes` of each span of a batch; 0 where there is no id."""

    spans: Hashes
    parents: Hashes


def span_hashes_of(batch: Batch) -> SpanHashes:
    """Return the hashes of a batch of spans; they are shared, so not to be changed."""
    return batch.once(_span_hashes)


def _span_hashes(batch: Batch) -> SpanHashes:
    traces = trace_hashes(words_of(batch.column("trace_id"), 16))
    spans, parents = (
        hashes_in_traces(traces, words_of(batch.column(name), 8)[:, 0]) for name in ("span_id", "parent_span_id")
    )
    return SpanHashes(spans, parents)
