"""Receipts: who still owes what, so that nothing acknowledged is lost and nothing is acknowledged too early.

A receiver issues one receipt for what it takes in at once (a joint decode, a stretch of a Kafka partition, a segment of
a write-ahead log). The receipt travels with the batch; whoever splits, merges or holds rows splits, merges or holds the
receipt. When every share of it is settled, the intake is complete and its source may forget the data.

A share is settled when its rows were delivered to every exporter or dropped on purpose. A cancelled task settles
nothing: its rows are still owed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from hashlib import blake2b


class _Intake:
    """What was taken in at once, and how many shares of it are still open."""

    __slots__ = ("on_complete", "open_shares")

    def __init__(self, on_complete: Callable[[], None] | None) -> None:
        self.on_complete = on_complete
        self.open_shares = 1

    def close_share(self) -> None:
        self.open_shares -= 1
        if self.open_shares == 0 and self.on_complete is not None:
            self.on_complete()


class Receipt:
    """One share in one or more intakes; it belongs to exactly one batch at a time.

    `token` names the rows: the same rows of the same intake get the same token after a replay, so that a store can
    ignore an insert that it already has. `dropped` counts the rows dropped on purpose, by reason.
    """

    __slots__ = ("_intakes", "dropped", "token")

    def __init__(self, token: str, intakes: tuple[_Intake, ...]) -> None:
        self.token = token
        self.dropped: Counter[str] = Counter()
        self._intakes: tuple[_Intake, ...] | None = intakes

    @classmethod
    def issue(cls, token: str, on_complete: Callable[[], None] | None = None) -> Receipt:
        """Return the receipt for a new intake. `on_complete` runs once, when nothing of the intake is owed any more."""
        return cls(token, (_Intake(on_complete),))

    @classmethod
    def merge(cls, receipts: Iterable[Receipt]) -> Receipt:
        """Return one receipt for the rows of all; the merged ones must not be used again."""
        merged = list(receipts)
        if len(merged) == 1:
            return merged[0]
        kept: dict[_Intake, None] = {}
        for intake in (intake for receipt in merged for intake in receipt._hand_over()):  # noqa: SLF001 - own class
            if intake in kept:
                intake.close_share()
            kept[intake] = None
        digest = blake2b("\n".join(receipt.token for receipt in merged).encode(), digest_size=16).hexdigest()
        receipt = cls(digest, tuple(kept))
        for part in merged:
            receipt.dropped.update(part.dropped)
        return receipt

    @property
    def settled(self) -> bool:
        """Whether this share was settled or handed on."""
        return self._intakes is None

    def split(self, parts: int) -> list[Receipt]:
        """Return one receipt for each of `parts` disjoint parts of the rows, each with a token of its own."""
        return self._shares([f"{self.token}/{part}" for part in range(parts)])

    def copies(self, number: int) -> list[Receipt]:
        """Return one receipt for each of `number` receivers of the same rows; all keep the token."""
        return self._shares([self.token] * number)

    def drop(self, rows: int, reason: str) -> None:
        """Count `rows` dropped on purpose. The share stays open for the rows that are left."""
        if rows:
            self.dropped[reason] += rows

    def settle(self) -> None:
        """Nothing of this share is owed any more."""
        _close(self._hand_over())

    def _shares(self, tokens: list[str]) -> list[Receipt]:
        if len(tokens) == 1:
            return [self]
        intakes = self._hand_over()
        for intake in intakes:
            intake.open_shares += len(tokens) - 1
        if not tokens:
            _close(intakes)
        shares = [Receipt(token, intakes) for token in tokens]
        if shares:
            shares[0].dropped = self.dropped
        return shares

    def _hand_over(self) -> tuple[_Intake, ...]:
        if self._intakes is None:
            raise RuntimeError(f"receipt {self.token} was already settled or handed on")
        intakes, self._intakes = self._intakes, None
        return intakes


def _close(intakes: Iterable[_Intake]) -> None:
    """Close a share in each; what one source's `on_complete` raises does not keep the others from theirs."""
    errors = []
    for intake in intakes:
        try:
            intake.close_share()
        except Exception as error:  # noqa: BLE001 - re-raised below
            errors.append(error)
    if errors:
        raise errors[0]
