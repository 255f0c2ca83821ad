"""Holds the spans of a trace until it is known whether they matter, then lets them on or forgets them, all at once.

What spans say is or-ed into a row a trace when they come; they themselves wait as the batches they came in. Deciding
reads the rows of traces, and only what is kept is taken out of the batches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt

from pipeline import Batch, Host, Kind, Processor, concat
from pipeline.durable import Durable
from pipeline.kinds import Signal
from pipeline.records import Records
from processors.tail_sampling.building import built
from processors.tail_sampling.config import TailSamplingConfig
from processors.tail_sampling.deciding import Decided, Deciding
from processors.tail_sampling.decisions import DecisionCaches, Late, records
from processors.tail_sampling.early import EarlyRows
from processors.tail_sampling.family import Families
from processors.tail_sampling.fates import (
    DROPPED,
    FORGET,
    HOLD,
    KEEP,
    NOT_SAMPLED,
    PASS,
    REASONS,
    SHUTDOWN,
    TOO_LARGE,
    Outcome,
)
from processors.tail_sampling.jobs import JobReader, JobRows, job_rows
from processors.tail_sampling.marking import Marker, reasons_of
from processors.tail_sampling.metrics import SamplingMetrics
from processors.tail_sampling.notes import Notes
from processors.tail_sampling.pieces import Pieces, ask_windows, pieces_of, trace_keys
from processors.tail_sampling.policies import Decision
from processors.tail_sampling.saving import State
from processors.tail_sampling.schedule import Schedule
from processors.tail_sampling.segments import WaitingSpans, taken
from processors.tail_sampling.slots import RELEASED, WAITING, Slots, TraceSlots

_ROOM = 0.95
"""What is left of a bound when the oldest had to be decided because of it."""

_ROW_FATE = np.array([NOT_SAMPLED, KEEP, DROPPED], np.uint8)
"""What becomes of the rows, by the decision on their trace."""


class TailSampling(Processor[TailSamplingConfig], Durable):
    """Keep the traces that the policies choose; job rows pass at once, and policies read them.

    The instance of the first traces pipeline serves pipelines of other signals that name it too, so that job rows from
    logs tell it something.
    """

    kind = "tail_sampling"
    Config = TailSamplingConfig
    handles = frozenset({Kind.SPANS, Kind.JOBS})
    shared = True
    home_signal = Signal.TRACES

    def __init__(self, config: TailSamplingConfig, ident: object) -> None:
        super().__init__(config, ident)  # type: ignore[arg-type] # as its siblings: tests may name it as they like
        made = built(config)
        self.policy_names = made.names
        self.decided: Callable[[Outcome], None] = lambda _outcome: None
        """Called with what was decided, for the dry run."""
        self._evaluation = made.evaluation
        self._questions = made.questions
        self._marker = Marker(made.names, made.subs)

        cache = config.decision_cache
        self._decisions = DecisionCaches(
            cache.sampled_cache_size or config.num_traces, cache.non_sampled_cache_size or config.num_traces
        )
        expected = min(config.num_traces, int(config.expected_new_traces_per_sec * config.decision_wait))
        self._slots = TraceSlots(len(made.questions.tests), expected)
        self._waiting = WaitingSpans()
        self._reader = JobReader([policy.config for policy in made.jobs])
        self._notes = Notes(len(made.jobs))
        self._early = EarlyRows(len(made.jobs), config.decision_wait)
        self._families = Families(
            self._slots, self._decisions.sampled, jobs=bool(made.whole_job), links=bool(made.follow_links)
        )
        self._reads_jobs = bool(made.jobs or made.whole_job or config.split != "none")
        self._schedule = Schedule(
            self._slots, wait=config.decision_wait, wait_after_root=config.decision_wait_after_root_received
        )
        self._deciding = Deciding(config, made, self._slots, self._waiting, self._notes, self._families)
        self._state = State(made, self._decisions, self._families.kept_jobs, self._reader.sketches)

        self._now = 0.0
        self._drained = False
        self._too_large: list[Slots] = []
        self._metrics: SamplingMetrics | None = None

    @property
    def held_bytes(self) -> int:
        """Memory that the spans that wait need, and what is known of their traces: what `max_bytes` bounds."""
        return self._waiting.nbytes + self._slots.used_bytes + self._notes.used_bytes + self._families.used_bytes

    @property
    def spare_bytes(self) -> int:
        """Room for traces that the columns have beyond that."""
        return self._slots.allocated_bytes - self._slots.used_bytes

    @property
    def waiting_bytes(self) -> float:
        """Arrow's size of the spans that wait, about."""
        return self._waiting.waiting_bytes

    async def start(self, host: Host) -> None:
        ident = self.ident
        prefix = f"{ident.name}." if ident.name else ""
        self._metrics = SamplingMetrics(host, str(ident), [prefix + name for name in self.policy_names])
        self._deciding.metrics = self._metrics
        self._report()

    def state(self) -> bytes:
        return self._state.saved()

    def restore(self, state: bytes) -> None:
        """Take over what another instance knew; policies may have changed since."""
        self._state.restore(state)

    # what comes

    def process(self, batch: Batch) -> Iterable[Batch]:
        if batch.kind is Kind.JOBS:
            self._learn(batch)
            return [batch]
        return self._take(batch) if batch.rows else [batch]

    def _take(self, batch: Batch) -> Iterable[Batch]:
        pieces = pieces_of(batch, self._questions)
        slots = self._slots.find(pieces.keys)
        fate = np.full(len(pieces), HOLD, np.int8)
        late = records(len(pieces))
        strangers = np.flatnonzero(slots == 0)
        known = self._decisions.find(pieces.keys[strangers])
        decided = Late(strangers[known.which], known.sampled, known.record)
        fate[decided.which] = np.where(decided.sampled, PASS, FORGET)
        late[decided.which] = decided.record
        if self._metrics and len(decided.which):
            spans = pieces.spans[decided.which]
            kept = int(spans[decided.sampled].sum())
            self._metrics.late(kept, int(spans.sum()) - kept, self._now - decided.record["at"])
        strangers = np.delete(strangers, known.which)
        if len(strangers):
            slots[strangers] = self._slots.open(pieces.keys[strangers], pieces.high[strangers], pieces.low[strangers])
            self._schedule.arrived(slots[strangers])
            for rows, matches in self._early.of(pieces.keys[strangers]):
                self._note(rows, matches, slots=self._slots.find(trace_keys(rows.high, rows.low)))
            if self._metrics:
                self._metrics.arrived(len(strangers))
        self._absorb(pieces, slots)
        if not self._reads_jobs:
            # What is kept for sure is not held at all; but job rows follow their spans before the tick, and what they
            # say, such as `whole_job`, is to count first.
            self._deciding.release_early(self._now)
        released = (slots > 0) & (self._slots.state[slots] == RELEASED)
        fate[released] = PASS
        late[released] = self._slots.reasons(slots[released])
        slot_of_row = slots[pieces.number]
        if self._families:
            self._deciding.force(self._families.linked(batch, slot_of_row))
        return self._route(batch, pieces, slot_of_row, fate, late, released)

    def _absorb(self, pieces: Pieces, slots: Slots) -> None:
        known = np.flatnonzero(slots)
        mine = slots[known]
        table = self._slots
        by_piece = self._deciding.pieces
        if by_piece is None:
            ask_windows(pieces, self._questions.tests, table.first[slots], table.last[slots])
        table.absorb(mine, pieces, known)
        if by_piece is not None:
            by_piece.decide(pieces, known, mine, table, self._questions, self._now)
            if table.dropped[mine].any():
                self._schedule.hasten()
        self._schedule.rooted(mine[pieces.root[known]])
        if self.config.maximum_trace_size_bytes:
            over = (table.nbytes[mine] > self.config.maximum_trace_size_bytes) & (table.state[mine] == WAITING)
            self._too_large.append(mine[over])
        self._deciding.touch(mine)

    def _route(
        self,
        batch: Batch,
        pieces: Pieces,
        slot_of_row: Slots,
        fate: npt.NDArray[np.int8],
        late: Records,
        released: npt.NDArray[np.bool_],
    ) -> Iterable[Batch]:
        """Let rows wait, on, or be forgotten, as their pieces are."""
        if not fate.any():
            self._waiting.add(batch, slot_of_row.astype(np.int32))
            return ()
        of_row = fate[pieces.number]
        held = of_row == HOLD
        passing = np.flatnonzero(of_row == PASS)
        own, rest = batch.receipt.split(2) if held.any() else (batch.receipt, None)
        own.drop(int(np.count_nonzero(of_row == FORGET)), REASONS[NOT_SAMPLED])
        if rest is not None:
            waiting = batch.owing(rest)
            if 2 * np.count_nonzero(held) < batch.rows:
                waiting = taken(waiting, np.flatnonzero(held), rest)
                self._waiting.add(waiting, slot_of_row[held].astype(np.int32))
            else:
                self._waiting.add(waiting, np.where(held, slot_of_row, 0).astype(np.int32))
        piece = pieces.number[passing]
        reasons = reasons_of(late[piece], ~released[piece])
        return [self._marker.marked(taken(batch, passing, own), reasons)]

    def _learn(self, batch: Batch) -> None:
        """Read what job rows say of traces that wait."""
        if not self._reads_jobs:
            return
        rows = job_rows(batch)
        matches = self._reader.matches(rows)
        keys = trace_keys(rows.high, rows.low)
        slots = self._slots.find(keys)
        self._note(rows, matches, slots)
        early = np.flatnonzero((slots == 0) & ((rows.high | rows.low) != 0))
        early = early[self._decisions.unknown(keys[early])]
        self._early.add(keys[early], rows, matches, early)

    def _note(self, rows: JobRows, matches: npt.NDArray[np.bool_], slots: Slots) -> None:
        which = np.flatnonzero(slots)
        self._notes.add(slots[which], rows, matches, which)
        self._deciding.touch(np.unique(slots[which]))
        if self._families:
            self._deciding.force(self._families.told(rows, slots))

    def wake_at(self) -> float | None:
        if self._drained:
            return None
        if self._schedule.has_news or self._deciding.has_touched or self._too_large:
            # what came since the last tick has no time yet; 0 has passed long ago: the engine ticks at once
            return 0.0
        return self._schedule.next_sweep(self._now, urgent=self._deciding.has_released or self._is_over_limits())

    def tick(self, now: float) -> Iterable[Batch]:
        self._now = now
        self._early.pass_time(now)
        out = list(self._before_deciding())
        if self._schedule.may_sweep(now):
            out += self._sweep(now)
        self._report()
        return out

    def _before_deciding(self) -> Iterator[Batch]:
        """Give what came its times, keep what is kept for sure, give up what is too large."""
        self._schedule.tell(self._now)
        self._deciding.release_early(self._now)
        slots = np.unique(np.concatenate([np.zeros(0, np.int64), *self._too_large]))
        slots = slots[self._slots.state[slots] == WAITING]
        self._too_large = []
        if len(slots):
            if self._metrics:
                self._metrics.too_large(len(slots))
            yield from self._forgotten(slots, TOO_LARGE)

    # deciding

    def _sweep(self, now: float) -> Iterator[Batch]:
        """Decide what is due, and what there is no room for; let on what is kept for sure."""
        yield from self._decide(self._schedule.due(now))
        if self._is_over_limits():
            yield from self._make_room()
        self._schedule.swept(now, self._waiting.rows)

    def _is_over_limits(self) -> bool:
        return self._slots.live > self.config.num_traces or self.held_bytes > self.config.max_bytes

    def _make_room(self) -> Iterator[Batch]:
        """Decide the oldest traces on what is known of them, until a little room is left."""
        config, table = self.config, self._slots
        if table.live > config.num_traces:
            surplus = table.live - int(_ROOM * config.num_traces)
            yield from self._decide_early(table.alive()[:surplus], "num_traces")
        if self.held_bytes > config.max_bytes:
            self._waiting.compact()
        while self.held_bytes > config.max_bytes and table.live:
            alive = table.alive()
            # of those that are kept for sure no rows wait
            rows = np.where(table.state[alive] == WAITING, table.spans[alive], 0)
            sizes = rows * (self._waiting.nbytes / max(1, self._waiting.rows)) + table.row_bytes
            sizes += self._notes.bytes_of(alive, table.capacity)
            excess = self.held_bytes - _ROOM * config.max_bytes
            yield from self._decide_early(alive[: int(np.searchsorted(np.cumsum(sizes), excess)) + 1], "max_bytes")
            self._waiting.compact()

    def _decide_early(self, slots: Slots, reason: str) -> Iterator[Batch]:
        if self._metrics:
            self._metrics.early(reason, len(slots))
        yield from self._decide(slots)

    def _decide(self, slots: Slots) -> Iterator[Batch]:
        """Decide traces, the oldest first, and let on what is kept, of these and of those kept for sure before."""
        if len(slots):
            began = time.perf_counter()
            decided = self._deciding.decide(slots, self._now)
            seconds = time.perf_counter() - began
            yield from self._settle(decided, _ROW_FATE[decided.decision], self._deciding.take_released(), seconds)
        elif self._deciding.has_released:
            released = self._deciding.take_released()
            yield from self._released(released, np.full(len(released), KEEP, np.uint8))

    def _forgotten(self, slots: Slots, fate: int) -> Iterator[Batch]:
        """Drop waiting traces about which nobody is asked."""
        decided = Decided(slots, np.full(len(slots), Decision.NOT_SAMPLED, np.int8), slots)
        yield from self._settle(decided, np.full(len(slots), fate, np.uint8), slots[:0], 0.0)

    def _settle(
        self, decided: Decided, fate: npt.NDArray[np.uint8], released: Slots, seconds: float
    ) -> Iterator[Batch]:
        """Take out the rows of decided and of `released` traces, remember the decisions, forget the decided traces."""
        table, slots, owners = self._slots, decided.slots, decided.owners
        began = time.perf_counter()
        # a trace that was kept for sure may be due: what was decided then counts
        out = self._released(
            np.concatenate([released, slots]), np.concatenate([np.full(len(released), KEEP, np.uint8), fate])
        )
        record = table.reasons(slots)
        record["at"] = self._now
        kept = decided.decision == Decision.SAMPLED
        # the late spans of a trace that was split are decided anew: which job they are of is not known
        whole = ~np.isin(owners, owners[owners != slots])
        self._decisions.add(table.key[slots[whole]], record.compress(whole), kept[whole])
        policy = np.where(kept, table.policy[slots], -1).astype(np.int16)
        self.decided(Outcome(table.high[owners], table.low[owners], decided.decision, policy))
        if self._metrics and len(slots):
            ages = np.maximum(0.0, self._now - np.minimum(table.seen[slots], self._now))
            seconds += time.perf_counter() - began
            self._metrics.decided(decided.decision, ages, self._evaluation.counts, seconds)
        gone = np.zeros(table.capacity, np.bool_)
        gone[slots] = True
        self._notes.forget(gone)
        self._families.forget(gone)
        table.close(slots)
        self._waiting.tidy()
        yield from out

    def _released(self, slots: Slots, fate: npt.NDArray[np.uint8]) -> list[Batch]:
        """Take out the rows of traces; return those to keep, marked."""
        parts = self._waiting.release(slots, fate)
        # batches of which nothing is kept are owed no more now, not when others have been delivered
        empty = [batch for batch, _ in parts if batch.rows == 0]
        over = [concat(empty)] if empty else []
        parts = [part for part in parts if part[0].rows]
        if not parts:
            return over
        joined = concat(batch for batch, _ in parts)
        reasons = self._slots.reasons(np.concatenate([slots for _, slots in parts]))
        return [*over, self._marker.marked(joined, reasons_of(reasons, np.zeros(joined.rows, np.bool_)))]

    # the end

    def drain(self) -> Iterable[Batch]:
        self._drained = True
        out = list(self._before_deciding())
        alive = self._slots.alive()
        if self.config.drop_pending_traces_on_shutdown:
            out += self._forgotten(alive[self._slots.state[alive] == WAITING], SHUTDOWN)
            alive = self._slots.alive()
        out += self._decide_early(alive, "shutdown")
        self._report()
        return out

    def _report(self) -> None:
        if self._metrics:
            self._metrics.holding(self._slots.live, self._waiting.rows, self.held_bytes, self.config.max_bytes)
