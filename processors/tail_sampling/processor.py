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
from pipeline.kinds import Signal
from processors.tail_sampling.building import built
from processors.tail_sampling.config import TailSamplingConfig
from processors.tail_sampling.decisions import DecisionCaches, Late, Records, records
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
from processors.tail_sampling.ingest import PieceDecisions
from processors.tail_sampling.jobs import JobReader, JobRows, job_rows
from processors.tail_sampling.marking import Marker, reasons_of
from processors.tail_sampling.metrics import SamplingMetrics
from processors.tail_sampling.notes import Notes
from processors.tail_sampling.pieces import NEVER, Pieces, ask_windows, pieces_of, trace_keys
from processors.tail_sampling.policies import Decision
from processors.tail_sampling.segments import WaitingSpans, taken
from processors.tail_sampling.slots import FREE, REASON, RELEASED, WAITING, TraceSlots
from processors.tail_sampling.split import crowded, like_their_jobs, split_by_job

Slots = npt.NDArray[np.int64]

_SECONDS_A_ROW = 150e-9
"""Deciding looks at which trace each waiting row is of, 3 ns a row: with so long a pause between it takes 2 %."""

_ROWS_WITHOUT_PAUSE = 2_000
_SHORTEST_PAUSE = 0.02
"""Every batch has its own time to be decided, and a decision costs a few milliseconds however few the traces."""

_LONGEST_PAUSE = 1.0
"""As coarse as the Collector's one-second batches, at the worst."""

_ROOM = 0.95
"""What is left of a bound when the oldest had to be decided because of it."""

_NOBODY: Slots = np.zeros(0, np.int64)


class TailSampling(Processor[TailSamplingConfig]):
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
        self._whole_job, self._follow_links = made.whole_job, made.follow_links

        cache = config.decision_cache
        self._decisions = DecisionCaches(
            cache.sampled_cache_size or config.num_traces, cache.non_sampled_cache_size or config.num_traces
        )
        expected = min(config.num_traces, int(config.expected_new_traces_per_sec * config.decision_wait))
        self._slots = TraceSlots(len(made.questions.tests), expected)
        self._slots.first[0] = NEVER
        self._waiting = WaitingSpans()
        self._reader = JobReader(made.jobs)
        self._notes = Notes(len(made.jobs))
        self._early = EarlyRows(len(made.jobs), config.decision_wait)
        self._families = Families(
            self._slots, self._decisions.sampled, jobs=bool(self._whole_job), links=bool(self._follow_links)
        )
        self._pieces = PieceDecisions(self._evaluation) if config.sampling_strategy == "span-ingest" else None

        self._now = 0.0
        self._next_due = np.inf
        self._next_sweep = 0.0
        self._drained = False
        self._news: list[Slots] = []
        """Traces whose first span has come since the time was told."""
        self._roots: list[Slots] = []
        self._touched: list[Slots] = []
        self._releasing: list[Slots] = []
        self._too_large: list[Slots] = []
        self._metrics: SamplingMetrics | None = None

    @property
    def may_release(self) -> bool:
        """Whether a trace can be kept for sure before its time."""
        return not self._evaluation.has_drops and self.config.split == "none" and self._pieces is None

    @property
    def held_bytes(self) -> int:
        """Memory of all that is held for the spans that wait."""
        return self._waiting.nbytes + self._slots.nbytes_held

    @property
    def waiting_bytes(self) -> float:
        """Arrow's size of the spans that wait, about."""
        return self._waiting.waiting_bytes

    async def start(self, host: Host) -> None:
        ident = self.ident
        prefix = f"{ident.name}." if ident.name else ""
        self._metrics = SamplingMetrics(host, str(ident), [prefix + name for name in self.policy_names])
        self._report()

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
            self._news.append(slots[strangers])
            for rows, matches in self._early.of(pieces.keys[strangers]):
                self._note(rows, matches, slots=self._slots.find(trace_keys(rows.high, rows.low)))
            if self._metrics:
                self._metrics.arrived(len(strangers))
        self._absorb(pieces, slots)
        released = (slots > 0) & (self._slots.state[slots] == RELEASED)
        fate[released] = PASS
        late[released] = self._slots.reasons(slots[released])
        slot_of_row = slots[pieces.number]
        if self._families:
            self._force(self._families.linked(batch, slot_of_row))
        return self._route(batch, pieces, slot_of_row, fate, late, released)

    def _absorb(self, pieces: Pieces, slots: Slots) -> None:
        known = np.flatnonzero(slots)
        mine = slots[known]
        table = self._slots
        if self._pieces is None:
            ask_windows(pieces, self._questions.tests, table.first[slots], table.last[slots])
        table.absorb(mine, pieces, known)
        if self._pieces is not None:
            self._pieces.decide(pieces, known, mine, table, self._questions, self._now)
            if table.dropped[mine].any():
                self._next_due = -np.inf
        if self.config.decision_wait_after_root_received:
            roots = mine[pieces.root[known] & ~table.rooted[mine]]
            table.rooted[roots] = True
            self._roots.append(roots)
        if self.config.maximum_trace_size_bytes:
            over = (table.nbytes[mine] > self.config.maximum_trace_size_bytes) & (table.state[mine] == WAITING)
            self._too_large.append(mine[over])
        self._touched.append(mine)

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
            waiting = Batch(batch.kind, batch.table, rest, batch.sides)
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
        if len(self._reader) == 0 and not self._whole_job and self.config.split == "none":
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
        self._touched.append(np.unique(slots[which]))
        if self._families:
            self._force(self._families.told(rows, slots))

    def wake_at(self) -> float | None:
        if self._drained:
            return None
        if self._news or self._roots or self._touched or self._too_large:
            # what came since the last tick has no time yet; 0 has passed long ago: the engine ticks at once
            return 0.0
        due = self._now if self._releasing or self._over_limits() else self._next_due
        return max(due, self._next_sweep) if due < np.inf else None

    def tick(self, now: float) -> Iterable[Batch]:
        self._now = now
        self._early.pass_time(now)
        self._set_times(now)
        self._release_early()
        out: list[Batch] = []
        if any(len(slots) for slots in self._too_large):
            out += self._give_up_large()
        self._too_large = []
        if now >= self._next_sweep:
            out += self._sweep(now)
        self._report()
        return out

    def _set_times(self, now: float) -> None:
        table, config = self._slots, self.config
        for slots in self._news:
            table.seen[slots] = now
            table.due[slots] = np.minimum(table.due[slots], now + config.decision_wait)
            if len(slots):
                self._next_due = min(self._next_due, now + config.decision_wait)
        after_root = now + config.decision_wait_after_root_received
        for slots in self._roots:
            table.due[slots] = np.minimum(table.due[slots], after_root)
            if len(slots):
                self._next_due = min(self._next_due, after_root)
        self._news, self._roots = [], []

    def _release_early(self) -> None:
        touched, self._touched = self._touched, []
        if self._pieces is not None:
            released = self._pieces.take_released()
            if len(released):
                self._releasing.append(released)
            return
        if not touched or not self.may_release:
            return
        mask = np.zeros(self._slots.capacity, np.bool_)
        for slots in touched:
            mask[slots] = True
        slots = np.flatnonzero(mask & (self._slots.state == WAITING))
        if len(slots) == 0:
            return
        notes = self._notes.of(slots, self._slots.capacity)
        policy = self._evaluation.surely(self._slots.view(slots, self._now, notes))
        sure = slots[policy >= 0]
        if len(sure) == 0:
            return
        self._slots.policy[sure], self._slots.probability[sure] = policy[policy >= 0], 1.0
        self._slots.state[sure] = RELEASED
        self._releasing.append(sure)
        if self._metrics:
            self._metrics.early("kept_for_sure", len(sure))
        self._force(self._family_of(sure, policy[policy >= 0]))

    def _family_of(self, kept: Slots, policy: npt.NDArray[np.int16]) -> Slots:
        """Return the waiting traces that are kept because of these."""
        spreading = np.isin(policy, list(self._whole_job | self._follow_links))
        if not self._families or not spreading.any():
            return _NOBODY
        return self._families.waiting_with(kept[spreading])

    def _force(self, slots: Slots) -> None:
        """Keep traces because of others: now, or where a policy may drop them when they are due."""
        if len(slots) == 0:
            return
        if self._metrics:
            self._metrics.kept_for_another(len(slots))
        if self.may_release:
            self._slots.state[slots] = RELEASED
            self._releasing.append(slots)

    # deciding

    def _over_limits(self) -> bool:
        config = self.config
        return self._slots.live > config.num_traces or self._waiting.nbytes > config.max_bytes

    def _sweep(self, now: float) -> Iterable[Batch]:
        """Decide what is due, and what there is no room for; let on what is kept for sure."""
        table = self._slots
        due = _NOBODY
        if now >= self._next_due:
            due = table.oldest_first(np.flatnonzero((table.state != FREE) & (table.due <= now)))
        out = list(self._decide(due)) if len(due) or self._releasing else []
        if self._over_limits():
            out += self._make_room()
        self._next_due = float(table.due.min(where=table.state != FREE, initial=np.inf))
        rows = self._waiting.rows
        pause = min(_LONGEST_PAUSE, max(_SHORTEST_PAUSE, rows * _SECONDS_A_ROW))
        self._next_sweep = now if rows < _ROWS_WITHOUT_PAUSE else now + pause
        return out

    def _make_room(self) -> Iterator[Batch]:
        """Decide the oldest traces on what is known of them, until a little room is left."""
        config, table = self.config, self._slots
        surplus = table.live - int(_ROOM * config.num_traces) if table.live > config.num_traces else 0
        if surplus:
            yield from self._decide_early(table.alive()[:surplus], "num_traces")
        if self._waiting.nbytes > config.max_bytes:
            self._waiting.compact()
        while self._waiting.nbytes > config.max_bytes and self._waiting.rows:
            alive = table.alive()
            alive = alive[table.state[alive] == WAITING]
            sizes = np.cumsum(table.spans[alive]) * (self._waiting.nbytes / self._waiting.rows)
            excess = self._waiting.nbytes - _ROOM * config.max_bytes
            yield from self._decide_early(alive[: int(np.searchsorted(sizes, excess)) + 1], "max_bytes")
            self._waiting.compact()
            if len(alive) == 0:
                break

    def _decide_early(self, slots: Slots, reason: str) -> Iterator[Batch]:
        if self._metrics:
            self._metrics.early(reason, len(slots))
        yield from self._decide(slots)

    def _give_up_large(self) -> Iterator[Batch]:
        """Traces over `maximum_trace_size_bytes` are not sampled, and nobody is asked."""
        slots = np.unique(np.concatenate(self._too_large))
        slots = slots[self._slots.state[slots] == WAITING]
        if self._metrics:
            self._metrics.too_large(len(slots))
        fate = np.full(len(slots), Decision.NOT_SAMPLED, np.int8)
        wanted = np.zeros(self._slots.capacity, np.uint8)
        wanted[slots] = TOO_LARGE
        yield from self._settle(slots, fate, wanted, slots, 0.0)

    def _decide(self, slots: Slots) -> Iterator[Batch]:
        """Decide traces, oldest first, and let on what is kept, of these and of those kept for sure before."""
        began = time.perf_counter()
        table = self._slots
        if len(slots) == 0:
            yield from self._released(self._wanted())
            return
        slots, owners = self._split(slots)
        if self._pieces is not None:
            fate = self._pieces.final(slots, table)
        else:
            notes = self._notes.of(slots, table.capacity)
            verdicts = self._evaluation.decide(table.view(slots, self._now, notes))
            fate = verdicts.decision.copy()
            fresh = (table.state[slots] == WAITING) & (fate == Decision.SAMPLED)
            for name in REASON:
                getattr(table, name)[slots[fresh]] = getattr(verdicts, name)[fresh]
            self._force(self._family_of(slots[fresh], verdicts.policy[fresh]))
            # a trunk goes with its jobs; what is kept for another is kept, unless a policy drops it
            own = owners != slots
            with_jobs = np.isin(slots, owners[own & fresh]) & (fate == Decision.NOT_SAMPLED)
            like_their_jobs(table, slots[with_jobs], slots[own & fresh], owners[own & fresh])
            forced = table.forced[slots] & (fate == Decision.NOT_SAMPLED)
            fate[forced | with_jobs | (table.state[slots] == RELEASED)] = Decision.SAMPLED
        wanted = self._wanted()
        wanted[slots] = np.where(
            fate == Decision.SAMPLED, KEEP, np.where(fate == Decision.DROPPED, DROPPED, NOT_SAMPLED)
        )
        yield from self._settle(slots, fate, wanted, owners, time.perf_counter() - began)

    def _wanted(self) -> npt.NDArray[np.uint8]:
        """Return which slots' rows are let on because their traces are kept for sure."""
        wanted = np.zeros(self._slots.capacity, np.uint8)
        for releasing in self._releasing:
            wanted[releasing] = KEEP
        self._releasing = []
        return wanted

    def _split(self, slots: Slots) -> tuple[Slots, Slots]:
        """Give each job of a crowded trace a slot; return all slots to decide, and of which trace each is."""
        if self.config.split != "job" or len(slots) == 0:
            return slots, slots
        # what is kept for another is kept as it is
        own = slots[~self._slots.forced[slots]]
        large = crowded(own, self._notes, self._slots.capacity, self.config.split_min_jobs)
        if len(large) == 0:
            return slots, slots
        if self._metrics:
            self._metrics.split(len(large))
        jobs, traces = split_by_job(large, self._slots, self._waiting, self._notes, self._questions)
        every = np.concatenate([slots, jobs])
        order = np.argsort(self._slots.sequence[every], kind="stable")
        return every[order], np.concatenate([slots, traces])[order]

    def _settle(
        self,
        slots: Slots,
        fate: npt.NDArray[np.int8],
        wanted: npt.NDArray[np.uint8],
        owners: Slots,
        seconds: float,
    ) -> Iterator[Batch]:
        """Take out the rows of decided traces, remember the decisions, forget the traces."""
        table = self._slots
        began = time.perf_counter()
        out = self._released(wanted)
        record = table.reasons(slots)
        record["at"] = self._now
        # the late spans of a trace that was split are decided anew: which job they are of is not known
        whole = ~np.isin(owners, owners[owners != slots])
        kept = fate == Decision.SAMPLED
        self._decisions.add(table.key[slots[whole]], record[whole], kept[whole])
        policy = np.where(kept, table.policy[slots], -1).astype(np.int16)
        self.decided(Outcome(table.high[owners], table.low[owners], fate, policy))
        if self._metrics and len(slots):
            ages = np.maximum(0.0, self._now - np.minimum(table.seen[slots], self._now))
            self._metrics.decided(fate, ages, self._evaluation.counts, seconds + time.perf_counter() - began)
        gone = np.zeros(table.capacity, np.bool_)
        gone[slots] = True
        self._notes.forget(gone)
        self._families.forget(gone)
        table.close(slots)
        self._waiting.tidy(beside=self._slots.nbytes_held)
        yield from out

    def _released(self, wanted: npt.NDArray[np.uint8]) -> list[Batch]:
        parts = list(self._waiting.release(wanted, REASONS))
        # batches of which nothing is kept are owed no more now, not when others have been delivered
        empty = [batch for batch, _ in parts if batch.rows == 0]
        over = [concat(empty)] if empty else []
        parts = [part for part in parts if part[0].rows]
        if not parts:
            return over
        joined = concat(batch for batch, _ in parts)
        slots = np.concatenate([slots for _, slots in parts])
        reasons = reasons_of(self._slots.reasons(slots), np.zeros(len(slots), np.bool_))
        return [*over, self._marker.marked(joined, reasons)]

    # the end

    def drain(self) -> Iterable[Batch]:
        self._drained = True
        self._set_times(self._now)
        self._release_early()
        out = list(self._give_up_large()) if any(len(slots) for slots in self._too_large) else []
        alive = self._slots.alive()
        if self.config.drop_pending_traces_on_shutdown:
            pending = alive[self._slots.state[alive] == WAITING]
            wanted = np.zeros(self._slots.capacity, np.uint8)
            wanted[pending] = SHUTDOWN
            fate = np.full(len(pending), Decision.NOT_SAMPLED, np.int8)
            out += self._settle(pending, fate, wanted, pending, 0.0)
            alive = self._slots.alive()
        out += self._decide_early(alive, "shutdown")
        self._report()
        return out

    def _report(self) -> None:
        if self._metrics:
            self._metrics.holding(self._slots.live, self._waiting.rows, self.held_bytes, self.config.max_bytes)
