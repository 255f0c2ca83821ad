"""Issues receipts and notes which of their intakes are complete."""

from __future__ import annotations

from functools import partial

from pipeline.receipt import Receipt


class Ledger:
    """`complete` has the tokens of the intakes of which nothing is owed any more, in the order of their completion."""

    def __init__(self) -> None:
        self.complete: list[str] = []

    def receipt(self, token: str) -> Receipt:
        return Receipt.issue(token, partial(self.complete.append, token))
