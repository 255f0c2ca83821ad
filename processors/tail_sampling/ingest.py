"""`sampling_strategy: span-ingest`: each piece of a trace is decided alone when it comes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from processors.tail_sampling.evaluation import Evaluation
from processors.tail_sampling.pieces import NEVER, Pieces, Questions, ask_windows
from processors.tail_sampling.policies import Decision, Traces
from processors.tail_sampling.slots import REASON, RELEASED, WAITING, TraceSlots

Slots = npt.NDArray[np.int64]


class PieceDecisions:
    """A piece that a policy samples lets the whole trace on, one that a policy drops ends it.

    Where a policy may drop, a trace that was sampled waits for its time: a later piece may be dropped.
    """

    def __init__(self, evaluation: Evaluation) -> None:
        self._evaluation = evaluation
        self._released: list[Slots] = []

    def decide(
        self, pieces: Pieces, which: Slots, slots: Slots, table: TraceSlots, questions: Questions, now: float
    ) -> None:
        """Ask of pieces `which`, whose traces are in `slots`; only the number of spans is that of the whole trace."""
        never = np.full(len(pieces), NEVER, np.uint64)
        ask_windows(pieces, questions.tests, never, np.zeros(len(pieces), np.uint64))
        waiting = table.state[slots] == WAITING
        which, slots = which[waiting], slots[waiting]
        if len(slots) == 0:
            return
        verdicts = self._evaluation.decide(
            Traces(
                pieces.high[which],
                pieces.low[which],
                table.spans[slots],
                pieces.nbytes[which],
                pieces.first[which],
                pieces.last[which],
                pieces.hits[which],
                now,
            )
        )
        sampled = (verdicts.decision == Decision.SAMPLED) & ~table.forced[slots]
        for name in REASON:
            getattr(table, name)[slots[sampled]] = getattr(verdicts, name)[sampled]
        # `forced` says here that a piece was sampled
        table.forced[slots[sampled]] = True
        dropped = slots[verdicts.decision == Decision.DROPPED]
        table.dropped[dropped] = True
        table.due[dropped] = -np.inf
        if not self._evaluation.has_drops:
            table.state[slots[sampled]] = RELEASED
            self._released.append(slots[sampled])

    def take_released(self) -> Slots:
        """Return the traces that were let on since the last call."""
        released, self._released = self._released, []
        return np.concatenate(released) if released else np.zeros(0, np.int64)

    def final(self, slots: Slots, table: TraceSlots) -> npt.NDArray[np.int8]:
        """Return what becomes of traces whose time has come; nobody is asked any more."""
        fate = np.where(table.forced[slots], Decision.SAMPLED, Decision.NOT_SAMPLED).astype(np.int8)
        fate[table.dropped[slots]] = Decision.DROPPED
        return fate
