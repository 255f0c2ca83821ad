"""The policies: what is known of many traces in, an answer for each out.

Nothing here looks at spans: what their conditions found is or-ed into `Traces.hits` when they come.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from pipeline.hashing import Hashes
from processors.tail_sampling.budgets import SecondBudgets, Sizes, TokenBucket
from processors.tail_sampling.probability import is_sampled
from processors.tail_sampling.spans import Truths

_NS_PER_MS = 1_000_000


class Decision(IntEnum):
    """What a policy says of a trace."""

    NOT_SAMPLED = 0
    SAMPLED = 1
    DROPPED = 2
    ERROR = 3


Decisions = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True, eq=False)
class JobNotes:
    """What job rows say of the traces that are decided, a note a row."""

    trace: npt.NDArray[np.int64]
    """The number of its trace in `Traces`."""
    matches: npt.NDArray[np.bool_]
    """Shape (notes, job policies): whether the row has all that the policy asks of rows."""
    job_class: Hashes
    fingerprint: Hashes
    """0 where there is no error."""


@dataclass(frozen=True, slots=True, eq=False)
class Traces:
    """What is known of the traces that are decided, a row a trace, oldest first."""

    high: Hashes
    low: Hashes
    spans: Sizes
    nbytes: Sizes
    first: npt.NDArray[np.uint64]
    """The earliest start, nanoseconds."""
    last: npt.NDArray[np.uint64]
    """The latest end."""
    hits: npt.NDArray[np.bool_]
    """Shape (traces, conditions): whether a span has it."""
    now: float
    notes: JobNotes | None = None

    def __len__(self) -> int:
        return len(self.high)

    def duration_ms(self) -> npt.NDArray[np.int64]:
        return whole_milliseconds(self.first, self.last)


def whole_milliseconds(first: npt.NDArray[np.uint64], last: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Return last - first as Go's `Duration.Milliseconds` does: towards 0; a trace that ends before it starts has 0."""
    return np.where(last > first, (last - first) // np.uint64(_NS_PER_MS), 0).astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a policy says; of traces that it was not asked about it says nothing, and they read NOT_SAMPLED."""

    decision: Decisions
    probability: npt.NDArray[np.float64]
    """With which probability it samples a trace like this one; of a budget the share that it paid for."""
    sub: npt.NDArray[np.int16] | None = None
    """Number of the sub-policy of a composite."""

    @property
    def sampled(self) -> Truths:
        result: Truths = self.decision == Decision.SAMPLED
        return result


def plain(sampled: Truths, asked: Truths) -> Answers:
    """Return the answers of a policy that leaves nothing to chance."""
    return Answers((sampled & asked).astype(np.int8), sampled.astype(np.float64))


def paid(paid_for: Truths, asked: Truths) -> npt.NDArray[np.float64]:
    """Return for each trace which share of those that were asked a budget paid for."""
    offered = int(np.count_nonzero(asked))
    share = np.count_nonzero(paid_for) / offered if offered else 0.0
    return np.full(len(asked), share)


@dataclass(slots=True)
class Policy(ABC):
    """A policy with its state."""

    name: str

    stateful = False
    """Whether a question changes later answers."""

    @abstractmethod
    def decide(self, traces: Traces, asked: Truths) -> Answers:
        """Answer for the traces in `asked`; only those may cost a budget something."""

    def surely(self, traces: Traces) -> Truths:
        """Return which traces it samples whatever spans are still to come, leaving nothing to chance."""
        return np.zeros(len(traces), np.bool_)

    def salts(self) -> list[str]:
        """Return the salts by which it takes a share."""
        return []

    def is_budget(self) -> bool:
        return self.stateful


@dataclass(slots=True)
class Always(Policy):
    def decide(self, traces: Traces, asked: Truths) -> Answers:
        return plain(np.ones(len(traces), np.bool_), asked)

    def surely(self, traces: Traces) -> Truths:
        return np.ones(len(traces), np.bool_)


@dataclass(slots=True)
class Holds(Policy):
    """A condition on spans holds for one of them; inverted: for none."""

    hit: int
    inverted: bool = False

    def decide(self, traces: Traces, asked: Truths) -> Answers:
        return plain(traces.hits[:, self.hit] != self.inverted, asked)

    def surely(self, traces: Traces) -> Truths:
        return np.zeros(len(traces), np.bool_) if self.inverted else traces.hits[:, self.hit]


@dataclass(slots=True)
class HoldsOrFails(Policy):
    """A condition that can fail; where it failed and held for no span, the answer is an error."""

    hit: int
    failed: int | None

    def decide(self, traces: Traces, asked: Truths) -> Answers:
        sampled = traces.hits[:, self.hit]
        answers = plain(sampled, asked)
        if self.failed is not None:
            answers.decision[traces.hits[:, self.failed] & ~sampled & asked] = Decision.ERROR
        return answers

    def surely(self, traces: Traces) -> Truths:
        return traces.hits[:, self.hit]


@dataclass(slots=True)
class Slower(Policy):
    """From the first start to the last end it took longer; with an upper bound it is a condition, `pieces.Window`."""

    threshold_ms: int

    def decide(self, traces: Traces, asked: Truths) -> Answers:
        return plain(self.surely(traces), asked)

    def surely(self, traces: Traces) -> Truths:
        result: Truths = traces.duration_ms() > self.threshold_ms
        return result


@dataclass(slots=True)
class SpanCount(Policy):
    least: int
    most: int
    """0 is no bound."""

    def decide(self, traces: Traces, asked: Truths) -> Answers:
        enough = traces.spans >= self.least
        return plain(enough & (traces.spans <= self.most) if self.most else enough, asked)

    def surely(self, traces: Traces) -> Truths:
        enough: Truths = traces.spans >= self.least
        return np.zeros(len(traces), np.bool_) if self.most else enough


@dataclass(slots=True)
class Probabilistic(Policy):
    percentage: float
    salt: str

    def decide(self, traces: Traces, asked: Truths) -> Answers:
        sampled = is_sampled(self.percentage, self.salt, traces.high, traces.low)
        return Answers((sampled & asked).astype(np.int8), np.full(len(traces), self.percentage / 100))

    def salts(self) -> list[str]:
        return [self.salt]


@dataclass(slots=True)
class Limited(Policy):
    """A budget of spans or of bytes."""

    bucket: TokenBucket
    of_bytes: bool
    stateful = True

    def decide(self, traces: Traces, asked: Truths) -> Answers:
        sampled = np.zeros(len(traces), np.bool_)
        sizes = traces.nbytes if self.of_bytes else traces.spans
        sampled[asked] = self.bucket.take(sizes[asked], traces.now)
        return Answers(sampled.astype(np.int8), paid(sampled, asked))


@dataclass(slots=True)
class And(Policy):
    parts: Sequence[Policy]

    def decide(self, traces: Traces, asked: Truths) -> Answers:
        decision = asked.astype(np.int8)
        probability = np.ones(len(traces))
        left = asked.copy()
        for part in self.parts:
            answers = part.decide(traces, left)
            probability *= answers.probability
            decision[left] = answers.decision[left]
            left &= answers.sampled
        return Answers(decision, probability)

    def surely(self, traces: Traces) -> Truths:
        sure: Truths = np.logical_and.reduce([part.surely(traces) for part in self.parts])
        return sure

    def salts(self) -> list[str]:
        return [salt for part in self.parts for salt in part.salts()]

    def is_budget(self) -> bool:
        return any(part.is_budget() for part in self.parts)


@dataclass(slots=True)
class Not(Policy):
    part: Policy

    def decide(self, traces: Traces, asked: Truths) -> Answers:
        answers = self.part.decide(traces, asked)
        decision = answers.decision.copy()
        plainly = asked & (decision <= Decision.SAMPLED)
        decision[plainly] = 1 - decision[plainly]
        return Answers(decision, 1 - answers.probability)

    def salts(self) -> list[str]:
        # its share is the other end of the hashes: nothing that another policy of this salt could take too
        return []

    def is_budget(self) -> bool:
        return self.part.is_budget()


@dataclass(slots=True)
class Drop(Policy):
    every: And

    def decide(self, traces: Traces, asked: Truths) -> Answers:
        answers = self.every.decide(traces, asked)
        decision = answers.decision.copy()
        decision[answers.sampled] = Decision.DROPPED
        return Answers(decision, answers.probability)

    def is_budget(self) -> bool:
        return self.every.is_budget()


@dataclass(slots=True)
class Composite(Policy):
    """The first sub-policy that samples pays with its share, or the trace is not sampled; with `spill` the next."""

    parts: Sequence[Policy]
    budgets: SecondBudgets
    spill: bool
    stateful = True

    def decide(self, traces: Traces, asked: Truths) -> Answers:
        self.budgets.begin(traces.now)
        decision = np.zeros(len(traces), np.int8)
        sub = np.full(len(traces), -1, np.int16)
        probability = np.zeros(len(traces))
        left = asked.copy()
        for number, part in enumerate(self.parts):
            answers = part.decide(traces, left)
            wants = left & answers.sampled
            failed = left & (answers.decision >= Decision.DROPPED)
            decision[failed] = answers.decision[failed]
            pays = np.zeros(len(traces), np.bool_)
            pays[wants] = self.budgets.take(number, traces.spans[wants])
            decision[pays] = Decision.SAMPLED
            sub[pays] = number
            probability[pays] = (answers.probability * paid(pays, wants))[pays]
            left &= ~failed & ~(pays if self.spill else wants)
        return Answers(decision, probability, sub)


@dataclass(slots=True)
class Counts:
    """How often a policy gave each answer, in traces and spans, for its metrics."""

    traces: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(4, np.int64))
    spans: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(4, np.int64))
    seconds: float = 0.0
    calls: int = 0
    """Evaluations, a trace each."""

    def add(self, decision: Decisions, asked: Truths, spans: Sizes) -> None:
        self.traces += np.bincount(decision[asked], minlength=4)
        self.spans += np.bincount(decision[asked], spans[asked], minlength=4).astype(np.int64)
        self.calls += int(np.count_nonzero(asked))


@dataclass(frozen=True, slots=True, eq=False)
class Verdicts:
    """What becomes of the traces."""

    decision: Decisions
    policy: npt.NDArray[np.int16]
    """Number of the first policy that sampled; -1 for none."""
    sub: npt.NDArray[np.int16]
    probability: npt.NDArray[np.float64]
    """With which probability all policies together keep a trace like this one."""
    by_chance: Truths
    """Whether that is a probability that was configured, not a budget's."""
