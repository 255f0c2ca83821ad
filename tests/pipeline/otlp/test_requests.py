"""Requests handed on as they came: counted, checked, and decoded only when somebody asks."""

from __future__ import annotations

import random

import orjson
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.batch import concat
from pipeline.columns import layouts_of
from pipeline.errors import Malformed, TooLarge
from pipeline.kinds import KIND_OF, Signal
from pipeline.otlp import RequestBatch, audit, check, decode, decode_json, encode
from pipeline.otlp.descriptors import REQUESTS, parse
from pipeline.otlp.warm import example_requests
from pipeline.receipt import Receipt
from pipeline.spans import span_hashes_of
from pipeline.testing.data import spans_batch
from tests.pipeline.otlp.messages import exact, received, requests, shown_rows
from tests.pipeline.otlp.wire import damaged

SIGNALS = pytest.mark.parametrize("signal", Signal)


@SIGNALS
@settings(max_examples=40)
@given(data=st.data())
def test_rows_are_counted_without_decoding(signal: Signal, data: st.DataObject) -> None:
    """Scenario: any requests. Guarantees: as many rows of each as decoding finds, and the bodies as they were."""
    bodies = [exact(request) for request in data.draw(st.lists(requests(signal), max_size=4))]

    checked = check(signal, bodies)

    assert checked.bodies == tuple(bodies)
    assert checked.rows_per_body.tolist() == decode(signal, bodies).rows_per_body.tolist()


@SIGNALS
@settings(max_examples=20)
@given(data=st.data())
def test_asked_for_columns_it_decodes(signal: Signal, data: st.DataObject) -> None:
    """Scenario: a batch of requests, some without rows, that is asked for columns, split and put together again.

    Guarantees: the rows that decoding at once gives, under receipts of which the last one completes the intake.
    """
    bodies = [exact(request) for request in data.draw(st.lists(requests(signal), min_size=1, max_size=4))]
    decoded = received(decode(signal, bodies))
    completed: list[bool] = []

    batch = check(signal, bodies).batch(Receipt.issue("test", lambda: completed.append(True)))

    assert (batch.kind, batch.rows) == (KIND_OF[signal], decoded.rows)
    assert batch.nbytes == sum(map(len, batch.requests.bodies))
    assert 0 not in batch.requests.rows_per_body
    first, second = batch.branches(2)
    assert isinstance(first, RequestBatch)
    assert shown_rows(first.copies(1)[0]) == shown_rows(decoded)
    again = concat(second.split_rows(1))
    assert shown_rows(again) == shown_rows(decoded)
    first.receipt.settle()
    assert not completed
    again.receipt.settle()
    assert completed == [True]


def test_asked_for_attributes_it_decodes() -> None:
    """Scenario: a component asks requests for what is made of columns. Guarantees: what the decoded rows have."""
    decoded = spans_batch(12)

    asked = check(Signal.TRACES, [encode(decoded)]).batch(Receipt.issue("test"))

    assert layouts_of(asked).any_values("queue").equals(layouts_of(decoded).any_values("queue"))
    assert layouts_of(asked) is layouts_of(asked)
    assert span_hashes_of(asked).spans.tolist() == span_hashes_of(decoded).spans.tolist()


@SIGNALS
def test_damaged_requests_are_refused_as_protobuf_refuses_them(signal: Signal) -> None:
    """Scenario: 200 damaged bodies. Guarantees: google.protobuf's verdict on each, and what passes can be decoded."""
    (example,) = example_requests(signal)
    whole = encode(received(decode_json(signal, [orjson.dumps(example)])))
    rng = random.Random(f"requests {signal}")
    verdicts = set()
    for body in (damaged(rng, whole) for _ in range(200)):
        try:
            parse(REQUESTS[signal], body)
        except DecodeError:
            with pytest.raises(Malformed, match=f"^not an OTLP {signal} request: "):
                check(signal, [whole, body])
            verdicts.add("refused")
        else:
            check(signal, [body]).batch(Receipt.issue("test")).table.validate(full=True)
            verdicts.add("accepted")
    assert verdicts == {"refused", "accepted"}


def test_too_much_at_once_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenario: bodies over the bound of one call. Guarantees: TooLarge, as for decoding."""
    monkeypatch.setattr(audit, "LARGEST_CALL", 3)
    with pytest.raises(TooLarge):
        check(Signal.LOGS, [b"\n\0", b"\n\0"])
