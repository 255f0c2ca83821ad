"""Rows that stay encoded while requests are taken apart and put together anew."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.batch import concat
from pipeline.errors import Malformed
from pipeline.kinds import Signal
from pipeline.otlp import RequestBatch, check, decode, encode_parts
from pipeline.otlp.descriptors import REQUESTS, parse
from pipeline.otlp.requests import JOINED_BYTES
from pipeline.otlp.sealed import seal
from pipeline.receipt import Receipt
from tests.pipeline.otlp.messages import exact, received, requests, shown_rows

SIGNALS = pytest.mark.parametrize("signal", [Signal.TRACES, Signal.LOGS])


@SIGNALS
@settings(max_examples=40)
@given(data=st.data())
def test_any_order_is_written_as_decoded_rows_are(signal: Signal, data: st.DataObject) -> None:
    """Scenario: any requests, their rows in any order, cut anywhere.

    Guarantees: what is written means the same as what the decoded rows give; rows and trace ids are the same ones.
    """
    bodies = [exact(request) for request in data.draw(st.lists(requests(signal), min_size=1, max_size=4))]
    decoded, sealed = received(decode(signal, bodies)), received(seal(signal, bodies))
    order = np.array(data.draw(st.permutations(range(decoded.rows))), np.int64)
    cuts = data.draw(st.lists(st.integers(0, decoded.rows), max_size=3))
    bounds = np.array(sorted([0, *cuts, decoded.rows]))

    assert seal(signal, bodies).rows_per_body.tolist() == decode(signal, bodies).rows_per_body.tolist()
    assert sealed.column("trace_id").to_pylist() == decoded.column("trace_id").to_pylist()
    written = [
        [
            _parsed(signal, body)
            for body in encode_parts(batch.with_table(batch.table.take(order).combine_chunks()), bounds).to_pylist()
        ]
        for batch in (sealed, decoded)
    ]
    assert written[0] == written[1]


def _parsed(signal: Signal, body: bytes | None) -> Message:
    assert body is not None
    return parse(REQUESTS[signal], body)


@SIGNALS
def test_what_does_not_decode_is_refused(signal: Signal) -> None:
    """Scenario: bytes that are no request. Guarantees: Malformed."""
    with pytest.raises(Malformed, match=f"not an OTLP {signal} request"):
        seal(signal, [b"\n\xffno"])


@pytest.mark.parametrize("signal", Signal)
@settings(max_examples=30)
@given(data=st.data())
def test_requests_put_together_are_the_same_rows(signal: Signal, data: st.DataObject) -> None:
    """Scenario: batches of requests are put together. Guarantees: they stay encoded; they have the rows they had."""
    parts = [
        [exact(request) for request in data.draw(st.lists(requests(signal), min_size=1, max_size=3))] for _ in range(2)
    ]
    decoded = received(decode(signal, [body for part in parts for body in part]))
    batches = [check(signal, part).batch(Receipt.issue("test")) for part in parts]
    if not all(batch.rows for batch in batches):
        return  # the engine settles batches without rows

    batch = concat(batches)

    assert isinstance(batch, RequestBatch)
    assert batch.rows == sum(batch.requests.rows_per_body) == decoded.rows
    assert shown_rows(batch) == shown_rows(decoded)


def test_requests_are_put_together_up_to_a_size() -> None:
    """Scenario: small requests, large ones between them. Guarantees: none is cut, none together is over the bound."""
    sizes = [10, 10, JOINED_BYTES, 20, JOINED_BYTES * 2, JOINED_BYTES // 2, JOINED_BYTES // 2, 1]
    parts = [
        check(Signal.TRACES, [b"\x0a\x04\x12\x02\x12\x00" + b"\xfa\x07" + _length(size) + bytes(size)])
        for size in sizes
    ]

    joined = type(parts[0]).joined(parts)

    assert b"".join(joined.bodies) == b"".join(part.bodies[0] for part in parts)
    assert joined.rows_per_body.tolist() == [2, 1, 1, 1, 1, 2]


def _length(size: int) -> bytes:
    """Return the size as three bytes of protobuf's variable length."""
    return bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14 & 0x7F])
