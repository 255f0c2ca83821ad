from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import Receipt
from pipeline.testing import Ledger


def test_settling_completes_the_intake_once() -> None:
    """Scenario: one batch is delivered. Guarantees: its intake completes; settling again is an error."""
    ledger = Ledger()
    receipt = ledger.receipt("a")

    receipt.settle()

    assert ledger.complete == ["a"]
    with pytest.raises(RuntimeError, match="receipt a was already settled"):
        receipt.settle()


def test_every_share_of_a_split_is_owed() -> None:
    """Scenario: a batch is split in three and one part sent to two exporters.

    Guarantees: only the last share completes it.
    """
    ledger = Ledger()
    first, second, third = ledger.receipt("a").split(3)
    copies = second.copies(2)

    for receipt in (first, *copies):
        receipt.settle()
    assert ledger.complete == []
    third.settle()

    assert ledger.complete == ["a"]


def test_tokens_name_the_rows() -> None:
    """Scenario: the same steps twice.

    Guarantees: equal tokens; parts differ from each other, copies do not; merging depends on order.
    """

    def tokens() -> list[str]:
        one, two = (Receipt.issue(name) for name in ("a", "b"))
        left, right = one.split(2)
        same, again = left.copies(2)
        assert same.token == again.token != right.token
        return [same.token, right.token, Receipt.merge([right, two]).token]

    assert tokens() == tokens()
    forward = Receipt.merge([Receipt.issue("a"), Receipt.issue("b")])
    backward = Receipt.merge([Receipt.issue("b"), Receipt.issue("a")])
    assert forward.token != backward.token


def test_drops_are_counted_once() -> None:
    """Scenario: rows are dropped before a split and a merge.

    Guarantees: the counts travel on, neither lost nor doubled.
    """
    receipt = Receipt.issue("a")
    receipt.drop(3, "empty_poll")
    receipt.drop(0, "never")

    merged = Receipt.merge([*receipt.split(2), Receipt.issue("b")])

    assert dict(merged.dropped) == {"empty_poll": 3}


def test_one_source_that_fails_does_not_keep_the_others() -> None:
    """Scenario: a share in two intakes, the completion of the first raises.

    Guarantees: the second completes; the error shows.
    """
    ledger = Ledger()

    def fail() -> None:
        raise OSError("disk")

    merged = Receipt.merge([Receipt.issue("a", fail), ledger.receipt("b")])

    with pytest.raises(OSError, match="disk"):
        merged.settle()
    assert ledger.complete == ["b"]


@given(st.data())
def test_any_journey_completes_each_intake_exactly_at_its_last_share(data: st.DataObject) -> None:
    """Scenario: random splits, copies, merges and settlements.

    Guarantees: an intake completes exactly when none of its shares is open.
    """
    ledger = Ledger()
    tokens = list("abcd")[: data.draw(st.integers(1, 4))]
    open_: list[tuple[Receipt, frozenset[str]]] = [(ledger.receipt(token), frozenset(token)) for token in tokens]
    for _ in range(data.draw(st.integers(0, 12))):
        if not open_:
            break
        action = data.draw(st.sampled_from(["split", "copies", "merge", "settle"]))
        receipt, members = open_.pop(data.draw(st.integers(0, len(open_) - 1)))
        if action == "settle":
            receipt.settle()
        elif action == "merge" and open_:
            other, others = open_.pop()
            open_.append((Receipt.merge([receipt, other]), members | others))
        else:
            parts = receipt.split(2) if action == "split" else receipt.copies(3)
            open_ += [(part, members) for part in parts]
        owed = frozenset[str]().union(*(members for _, members in open_))
        assert set(ledger.complete) == set(tokens) - owed
    for receipt, _ in open_:
        receipt.settle()
    assert sorted(ledger.complete) == tokens
