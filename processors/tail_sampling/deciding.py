"""What becomes of traces: policies are asked, kept traces bring along their family, crowded ones are split by job."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from processors.tail_sampling.building import Built
from processors.tail_sampling.config import TailSamplingConfig
from processors.tail_sampling.family import Families
from processors.tail_sampling.ingest import PieceDecisions
from processors.tail_sampling.metrics import SamplingMetrics
from processors.tail_sampling.notes import Notes
from processors.tail_sampling.policies import Decision
from processors.tail_sampling.segments import WaitingSpans
from processors.tail_sampling.slots import REASON, RELEASED, WAITING, Slots, TraceSlots
from processors.tail_sampling.split import crowded, like_their_jobs, split_by_job


@dataclass(frozen=True, slots=True, eq=False)
class Decided:
    """Traces, or jobs of those that were split, the oldest first."""

    slots: Slots
    decision: npt.NDArray[np.int8]
    owners: Slots
    """Of which trace each is: itself, but for the jobs of a split one."""


class Deciding:
    """Reads and marks the slots of traces. Those that are kept for sure before their time gather in `take_released`."""

    def __init__(
        self,
        config: TailSamplingConfig,
        made: Built,
        slots: TraceSlots,
        waiting: WaitingSpans,
        notes: Notes,
        families: Families,
    ) -> None:
        self._config = config
        self._slots = slots
        self._waiting = waiting
        self._notes = notes
        self._families = families
        self._evaluation = made.evaluation
        self._questions = made.questions
        self._spreading = list(made.whole_job | made.follow_links)
        """Policies that keep a trace's family with it."""
        self.pieces = PieceDecisions(made.evaluation) if config.sampling_strategy == "span-ingest" else None
        self.metrics: SamplingMetrics | None = None
        self._touched: list[Slots] = []
        self._released: list[Slots] = []

    @property
    def may_release(self) -> bool:
        """Whether a trace can be kept for sure before its time."""
        return not self._evaluation.has_drops and self._config.split == "none" and self.pieces is None

    @property
    def has_touched(self) -> bool:
        return bool(self._touched)

    @property
    def has_released(self) -> bool:
        return bool(self._released)

    def touch(self, slots: Slots) -> None:
        """Note traces of which something new is known."""
        self._touched.append(slots)

    def take_released(self) -> Slots:
        """Return the traces that were kept for sure since the last call: their rows are to go on."""
        released, self._released = self._released, []
        return np.concatenate([np.zeros(0, np.int64), *released])

    def release_early(self, now: float) -> None:
        """Keep those of which something new is known, where a policy samples whatever is still to come."""
        touched, self._touched = self._touched, []
        if self.pieces is not None:
            released = self.pieces.take_released()
            if len(released):
                self._released.append(released)
            return
        if not touched or not self.may_release:
            return
        table = self._slots
        mask = np.zeros(table.capacity, np.bool_)
        for slots in touched:
            mask[slots] = True
        slots = np.flatnonzero(mask)
        slots = slots[table.state[slots] == WAITING]
        if len(slots) == 0:
            return
        notes = self._notes.of(slots, table.capacity)
        policy = self._evaluation.surely(table.view(slots, now, notes))
        sure, policy = slots[policy >= 0], policy[policy >= 0]
        if len(sure) == 0:
            return
        table.policy[sure], table.probability[sure] = policy, 1.0
        table.state[sure] = RELEASED
        self._released.append(sure)
        if self.metrics:
            self.metrics.early("kept_for_sure", len(sure))
        self.force(self._family_of(sure, policy))

    def _family_of(self, kept: Slots, policy: npt.NDArray[np.int16]) -> Slots:
        """Return the waiting traces that are kept because of these."""
        return self._families.waiting_with(kept[np.isin(policy, self._spreading)])

    def force(self, slots: Slots) -> None:
        """Keep traces because of others: now, or where a policy may drop them when they are due."""
        if len(slots) == 0:
            return
        if self.metrics:
            self.metrics.kept_for_another(len(slots))
        if self.may_release:
            self._slots.state[slots] = RELEASED
            self._released.append(slots)

    def decide(self, slots: Slots, now: float) -> Decided:
        """Decide traces, the oldest first; jobs of crowded ones are decided by themselves."""
        table = self._slots
        if self.pieces is not None:
            return Decided(slots, self.pieces.final(slots, table), slots)
        slots, owners = self._split(slots)
        notes = self._notes.of(slots, table.capacity)
        verdicts = self._evaluation.decide(table.view(slots, now, notes))
        decision = verdicts.decision.copy()
        fresh = (table.state[slots] == WAITING) & (decision == Decision.SAMPLED)
        for name in REASON:
            getattr(table, name)[slots[fresh]] = getattr(verdicts, name)[fresh]
        self.force(self._family_of(slots[fresh], verdicts.policy[fresh]))
        # a trunk goes with its jobs; what is kept for another is kept, unless a policy drops it
        own = owners != slots
        with_jobs = np.isin(slots, owners[own & fresh]) & (decision == Decision.NOT_SAMPLED)
        like_their_jobs(table, slots[with_jobs], slots[own & fresh], owners[own & fresh])
        forced = table.forced[slots] & (decision == Decision.NOT_SAMPLED)
        decision[forced | with_jobs | (table.state[slots] == RELEASED)] = Decision.SAMPLED
        return Decided(slots, decision, owners)

    def _split(self, slots: Slots) -> tuple[Slots, Slots]:
        """Give each job of a crowded trace a slot; return all slots to decide, and of which trace each is."""
        if self._config.split != "job":
            return slots, slots
        # what is kept for another is kept as it is
        own = slots[~self._slots.forced[slots]]
        large = crowded(own, self._notes, self._slots.capacity, self._config.split_min_jobs)
        if len(large) == 0:
            return slots, slots
        if self.metrics:
            self.metrics.split(len(large))
        jobs, traces = split_by_job(large, self._slots, self._waiting, self._notes, self._questions)
        every = np.concatenate([slots, jobs])
        order = np.argsort(self._slots.sequence[every], kind="stable")
        return every[order], np.concatenate([slots, traces])[order]
