"""What is known of jobs for a while: facts, how they hang together, and who has to be looked at again.

The window answers one question for each batch: which rows can what it says have changed? Everything is found by hash
tables over whole columns; the answer is what `derive` works on. Rows of one job are touched, and forgotten, together.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.hash_table import HashTable, Rows, union, without
from pipeline.hashing import Hashes
from pipeline.index import Lineage, MultiTable
from pipeline.records import Records, appended
from processors.jobs.facts import NO_ROW, STATE, Evidence, Role, blank
from processors.jobs.merging import nest, pair
from processors.jobs.store import Resources, TextStore
from processors.jobs.traits import Traits

_ROW_COLUMNS: Final = ("up", "id_row", "primary", "nested", "parent_row", "link_row")
"""Columns of STATE that are row numbers."""

FORGOTTEN: Final = -1
MAX_DEPTH: Final = 64
"""Levels of ordinary spans between two jobs; deeper than this the walk up ends."""

MAX_ROWS_OF_JOB: Final = 1000
"""A job id that never ends (a schedule's, used again for ever) keeps this many rows."""

_FEWEST: Final = 1024

_MOST_PAIRINGS: Final = 8
"""Pairing executions can touch other jobs, whose executions are paired then, and so on."""

_LINEAGE_SHARE: Final = 4
"""One part in this many of the window's bytes is for ordinary spans."""


class Window:
    """Facts of the last while, in row numbers that hold until `forget` is called."""

    def __init__(self, traits: Traits) -> None:
        self.traits = traits
        self.texts = TextStore()
        self.resources = Resources()
        self.lineage = Lineage()
        self.lanes = HashTable()
        """Lanes that have process spans."""

        self.has_logs = False
        """Whether there may be exception logs; false spares the search for them."""

        self.sequence = 0
        """How many batches were taken in."""

        # never empty, so that NO_ROW may stand in an index whose result is not used
        self._facts = blank(_FEWEST)
        self._state = np.zeros(_FEWEST, STATE)
        self._rows = 0
        self._view()
        self._index()
        self._times: deque[tuple[float, int]] = deque()

    def _index(self) -> None:
        self._spans = HashTable(self._rows)
        self._mentions = MultiTable()
        self._keys = MultiTable()
        self._waited_for = MultiTable()

    def _view(self) -> None:
        self.facts: Records = self._facts[: self._rows]
        self.state: Records = self._state[: self._rows]

    def __len__(self) -> int:
        return self._rows

    @property
    def nbytes(self) -> int:
        """Memory in use, the room that arrays keep for growing included."""
        tables = (self._spans, self._mentions, self._keys, self._waited_for, self.texts, self.resources, self.lineage)
        return self._facts.nbytes + self._state.nbytes + sum(table.nbytes for table in tables)

    # what derive asks

    def rows_of(self, spans: Hashes) -> Rows:
        """Return the row of each span, NO_ROW for other spans."""
        return self._spans.find(spans)

    def mentioning(self, spans: Hashes) -> tuple[Rows, Rows]:
        """Return `(number, row)` pairs: rows that have one of `spans` as parent, link, or next row above."""
        return self._alive(*self._mentions.find(spans))

    def of_job(self, keys: Hashes) -> tuple[Rows, Rows]:
        """Return `(number, row)` pairs: rows of the jobs with these keys, and those whose adapter's rows have them."""
        numbers, rows = self._alive(*self._keys.find(keys))
        asked = keys[numbers]
        # a row that took another id since stands under the old one still
        valid = (self._state["key"][rows] == asked) | (self._facts["provider_key"][rows] == asked)
        return numbers[valid], rows[valid]

    def waited_for(self, spans: Hashes) -> tuple[Rows, Hashes]:
        """Return `(number, span)` pairs: the spans whose jobs the rows of `spans` wait for."""
        numbers, found = self._waited_for.find(spans)
        return numbers, found.view(np.uint64)

    def targets(self, rows: Rows) -> tuple[Rows, Rows]:
        """Return the rows of the parents and of the first links of `rows`, where these are enqueues, else NO_ROW."""
        return self._state["parent_row"][rows], self._state["link_row"][rows]

    # taking in

    def absorb(self, evidence: Evidence) -> tuple[Rows, Rows]:
        """Add the facts of a batch.

        Returns the rows to derive again, ascending, and those of them that were sent again and must be written again.
        """
        self.sequence += 1
        self.lineage.add(evidence.spans, evidence.parents)
        new, again = self._append(evidence)
        facts, state = self._facts, self._state
        hit = self._mentions.rows(np.concatenate([evidence.spans, facts["span"][new]]))
        pointing = union(new, hit)
        self._aim(pointing)
        moved = np.concatenate([hit, self._walk(pointing), self._enter_lanes(new)])
        logged = self._spans.find(facts["parent"][new[facts["role"][new] == Role.LOG]])
        touched = union(new, again, moved, logged[logged >= 0])
        changed, old_keys = self._adopt(touched)
        mentioning = self._mentions.rows(facts["span"][changed])
        moved = union(moved, changed, mentioning, self._under_siblings(new, changed))
        touched = self._with_jobs(union(touched, self._reached(moved)), old_keys)
        for _ in range(_MOST_PAIRINGS):
            paired = pair(facts, state, touched)
            if len(paired) == 0:
                break
            reached = self._reached(union(paired, self._children(paired)[1]))
            touched = self._with_jobs(union(touched, reached), old_keys[:0])
        state["stamp"][touched] = self.sequence
        return touched, again

    def _append(self, evidence: Evidence) -> tuple[Rows, Rows]:
        """Add the rows that are new; return them, and the rows that were sent again."""
        spans = evidence.facts["span"]
        known = self._spans.find(spans)
        forgotten = (known >= 0) & (self._state["stamp"][known] == FORGOTTEN)
        known[forgotten] = NO_ROW
        fresh = known < 0
        fresh &= _first_of_equals(spans)
        start, end = self._rows, self._rows + int(np.count_nonzero(fresh))
        rows = np.arange(start, end)
        again = union(known[known >= 0])
        if start == end:
            return rows, again
        facts = evidence.facts if fresh.all() else evidence.facts.compress(fresh)
        self.has_logs |= bool((facts["role"] == Role.LOG).any())
        state = np.zeros(end - start, STATE)
        state["key"], state["frontier"] = facts["own_key"], facts["parent"]
        for name in _ROW_COLUMNS:
            state[name] = NO_ROW
        state["id_row"], state["stamp"] = rows, self.sequence
        self._facts, self._state = appended(self._facts, start, facts), appended(self._state, start, state)
        self._rows = end
        self._view()
        self.texts.append(evidence.texts if fresh.all() else evidence.texts.filter(fresh).combine_chunks())
        spanned = facts["span"] != 0
        enter = self._spans.swap if forgotten.any() else self._spans.add
        enter(facts["span"][spanned], rows[spanned])
        self._mention_and_key(facts, facts["own_key"], rows)
        waiting, awaited = evidence.dependencies
        if len(waiting) == 0:
            return rows, again
        place = np.where(fresh, np.cumsum(fresh) - 1 + start, NO_ROW)
        kept = place[waiting] >= 0
        self._waited_for.add(self._facts["span"][place[waiting[kept]]], awaited[kept].view(np.int64))
        self._mentions.add(awaited[kept], place[waiting[kept]])
        return rows, again

    def _mention_and_key(self, facts: Records, keys: Hashes, rows: Rows) -> None:
        self._mentions.add(np.concatenate([facts["parent"], facts["link"]]), np.concatenate([rows, rows]))
        providers = np.where(facts["role"] == Role.PROCESS, facts["provider_key"], np.uint64(0))
        self._keys.add(np.concatenate([keys, providers]), np.concatenate([rows, rows]))

    def _aim(self, rows: Rows) -> None:
        """Note the enqueues that rows point at."""
        facts, state = self._facts, self._state
        for pointer in ("parent", "link"):
            target = self._spans.find(facts[pointer][rows])
            target[(target >= 0) & (facts["role"][target] != Role.ENQUEUE)] = NO_ROW
            state[f"{pointer}_row"][rows] = target

    def _walk(self, rows: Rows) -> Rows:
        """Go on with the walk up of rows that have not met a row yet; return those whose next row above is new."""
        facts, state = self._facts, self._state
        rows = rows[(state["up"][rows] < 0) & (state["frontier"][rows] != 0) & (facts["role"][rows] != Role.LOG)]
        before = state["frontier"][rows]
        at = before.copy()
        up = np.full(len(rows), NO_ROW)
        walking = np.arange(len(rows))
        for _ in range(MAX_DEPTH):
            met = self._spans.find(at[walking])
            met[met == rows[walking]] = NO_ROW
            up[walking] = met
            walking = walking[met < 0]
            above = self.lineage.parents(at[walking])
            walking, above = walking[above != 0], above[above != 0]
            if len(walking) == 0:
                break
            at[walking] = above
        state["frontier"][rows], state["up"][rows] = at, up
        further = at != before
        self._mentions.add(at[further], rows[further])
        joined = up >= 0
        changed = nest(facts, state, self.traits, rows[joined], up[joined])
        # a span that turns out to be transport ends no way up any more
        return np.concatenate([rows[joined], changed, self._children(changed)[1]])

    def _enter_lanes(self, new: Rows) -> Rows:
        """Note who writes process spans; return the receive rows that are no executions because of it."""
        facts = self._facts
        process = new[(facts["role"][new] == Role.PROCESS) & self.traits.transport[facts["convention"][new]]]
        lanes = np.unique(facts["lane"][process])
        lanes = lanes[self.lanes.find(lanes) < 0]
        if len(lanes) == 0:
            return lanes.astype(np.int64)
        self.lanes.add(lanes, np.ones(len(lanes), np.int64))
        # over all rows, once in the life of a lane
        return np.flatnonzero((self.facts["role"] == Role.RECEIVE) & np.isin(self.facts["lane"], lanes))

    def _adopt(self, touched: Rows) -> tuple[Rows, Hashes]:
        """Fill missing ids (job-conventions, section 4.1, rule 1); return rows with a new key, and keys they had."""
        facts, state, traits = self._facts, self._state, self.traits
        role = facts["role"][touched]
        executions = touched[(role == Role.PROCESS) | (role == Role.RECEIVE)]
        parents, links = self.targets(executions)
        nameless = (facts["own_key"][executions] == 0) & ~traits.recurring[facts["convention"][executions]]
        giver = np.full(len(executions), NO_ROW)
        # the parent counts before the link; where it has no id to give it does not matter when it came
        for target in (links, parents):
            gives = nameless & (target >= 0) & (facts["own_key"][target] != 0)
            gives &= facts["system"][target] == facts["system"][executions]
            giver[gives] = target[gives]
        given = giver >= 0
        takers, givers = executions[given], giver[given]

        enqueues = union(touched[role == Role.ENQUEUE], parents[~nameless], links[~nameless])
        enqueues = enqueues[np.searchsorted(enqueues, 0) :]
        enqueues = enqueues[
            (facts["own_key"][enqueues] == 0)
            & (facts["batch_count"][enqueues] < 0)
            & traits.takes_id[facts["convention"][enqueues]]
        ]
        if len(enqueues):
            spans = facts["span"][enqueues]
            numbers, rows = self.mentioning(spans)
            points = (facts["parent"][rows] == spans[numbers]) | (facts["link"][rows] == spans[numbers])
            points &= (facts["role"][rows] == Role.PROCESS) & (facts["own_key"][rows] != 0)
            points &= facts["system"][rows] == facts["system"][enqueues[numbers]]
            numbers, rows = numbers[points], rows[points]
            order = np.lexsort((facts["span"][rows], facts["start"][rows], numbers))
            numbers, firsts = np.unique(numbers[order], return_index=True)
            takers = np.concatenate([takers, enqueues[numbers]])
            givers = np.concatenate([givers, rows[order][firsts]])
        changed = state["key"][takers] != facts["own_key"][givers]
        takers, givers = takers[changed], givers[changed]
        old = state["key"][takers]
        state["key"][takers], state["id_row"][takers] = facts["own_key"][givers], givers
        self._keys.add(facts["own_key"][givers], takers)
        return takers, old[old != 0]

    # who else is touched

    def _children(self, rows: Rows) -> tuple[Rows, Rows]:
        """Return `(row, child)` pairs: the rows whose next row above is one of `rows`."""
        numbers, found = self.mentioning(self._facts["span"][rows])
        below = self._state["up"][found] == rows[numbers]
        return rows[numbers[below]], found[below]

    def _under_siblings(self, new: Rows, changed: Rows) -> Rows:
        """Return the enqueues whose parent job could be one of these executions, though they hang on its enqueue."""
        rows = np.concatenate([new, changed])
        rows = rows[self.traits.sibling[self._facts["convention"][rows]] & (self._facts["role"][rows] == Role.PROCESS)]
        if len(rows) == 0:
            return np.zeros(0, np.int64)
        _, group = self.of_job(union(self._state["key"][rows]))
        return self._children(group[self._facts["role"][group] == Role.ENQUEUE])[1]

    def _reached(self, rows: Rows) -> Rows:
        """Return the rows that can change when the ways up of `rows` do."""
        below = self._below(rows)
        facts = self._facts
        batches = below[facts["role"][below] == Role.ENQUEUE]
        batches = batches[(facts["own_key"][batches] == 0) | (facts["batch_count"][batches] > 0)]
        # who points at a batch has the parent of the batch
        return union(below, self.mentioning(facts["span"][batches])[1])

    def _below(self, rows: Rows) -> Rows:
        """Return `rows` and those further down whose way up leads through one of them to its end.

        The way up of an enqueue ends at the first execution of another job that is no transport around one.
        """
        facts, state = self._facts, self._state
        found, front = rows, rows
        for _ in range(MAX_DEPTH):
            upper, lower = self._children(front)
            same = (state["key"][upper] == state["key"][lower]) & (state["key"][upper] != 0)
            passed = (facts["role"][upper] != Role.PROCESS) | state["around"][upper]
            front = without(union(lower[same | passed]), found)
            if len(front) == 0:
                break
            found = union(found, front)
        return found

    def _with_jobs(self, rows: Rows, keys: Hashes) -> Rows:
        """Return `rows` and all rows of their jobs, those of an adapter's jobs included."""
        facts, state = self._facts, self._state
        found, front, seen = rows, rows, keys[:0]
        while len(front) or len(keys):
            keys = union(keys, state["key"][front], facts["provider_key"][front])
            keys = without(keys[keys != 0], seen)
            front = without(union(self.of_job(keys)[1]), found)
            found, seen, keys = union(found, front), union(seen, keys), keys[:0]
        return found

    def _alive(self, numbers: Rows, rows: Rows) -> tuple[Rows, Rows]:
        alive = self._state["stamp"][rows] != FORGOTTEN
        return (numbers, rows) if alive.all() else (numbers[alive], rows[alive])

    def touch(self, rows: Rows) -> None:
        """Keep rows that others refer to as long as these."""
        rows = rows[rows >= 0]
        self._state["stamp"][rows] = self.sequence
        self._state["stamp"][self._state["id_row"][rows]] = self.sequence

    # forgetting

    def expire(self, now: float, seconds: float) -> Rows:
        """Mark what was not touched for `seconds` before `now` as forgotten; return these rows.

        Called again and again: what came between two calls counts as come at the second.
        """
        if not self._times or self._times[-1][1] != self.sequence:
            self._times.append((now, self.sequence))
        limit = -1
        while self._times and self._times[0][0] <= now - seconds:
            limit = self._times.popleft()[1]
        return self._mark(limit) if limit >= 0 else np.zeros(0, np.int64)

    def next_expiry(self, seconds: float) -> float | None:
        """Return when `expire` has something to do next; None if it was never told of anything that is still there."""
        return self._times[0][0] + seconds if self._times else None

    def forget_oldest(self, rows: Rows) -> Rows:
        """Mark the oldest rows of jobs in `rows`, whole jobs, that have too many as forgotten; return these rows."""
        nothing: Rows = rows[:0]
        if len(rows) <= MAX_ROWS_OF_JOB:
            return nothing
        keys = self._state["key"][rows]
        _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
        large = (counts > MAX_ROWS_OF_JOB)[inverse] & (keys != 0)
        if large.any():
            some = rows[large]
            order = np.lexsort((some, -self._facts["start"][some].astype(np.int64), keys[large]))
            ranked = keys[large][order]
            starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
            rank = np.arange(len(ranked)) - np.repeat(starts, np.diff(np.append(starts, len(ranked))))
            oldest: Rows = some[order[rank >= MAX_ROWS_OF_JOB]]
            self._forgotten(oldest)
            return oldest
        return nothing

    def shrink(self, limit: int) -> Rows:
        """Mark the rows that were touched longest ago as forgotten until about 3/4 of `limit` bytes are in use."""
        if self.lineage.nbytes > limit // _LINEAGE_SHARE:
            self.lineage.forget_half()
        room = limit - limit // _LINEAGE_SHARE
        used = self.nbytes - self.lineage.nbytes
        if used <= room or self._rows == 0:
            return np.zeros(0, np.int64)
        stamps = np.sort(self.state["stamp"])
        gone = min(self._rows - 1, int(self._rows * (1 - 0.75 * room / used)))
        return self._mark(min(int(stamps[gone]), self.sequence - 1))

    def _mark(self, stamp: int) -> Rows:
        stamps = self.state["stamp"]
        rows = np.flatnonzero((stamps <= stamp) & (stamps != FORGOTTEN))
        self._forgotten(rows)
        return rows

    def _forgotten(self, rows: Rows) -> None:
        """Mark `rows` as forgotten; what stays of their jobs remembers that something is missing."""
        state = self._state
        state["stamp"][rows] = FORGOTTEN
        keys = union(state["key"][rows])
        state["bereft"][self.of_job(keys[keys != 0])[1]] = True

    def forget(self) -> None:
        """Take out what is marked as forgotten, once that is a quarter; row numbers change."""
        if 4 * np.count_nonzero(self.state["stamp"] == FORGOTTEN) >= self._rows:
            self.compact()

    def compact(self) -> None:
        """Take out what is marked as forgotten; row numbers change."""
        gone = self.state["stamp"] == FORGOTTEN
        if not gone.any():
            return
        waiting = self.facts["span"][self.facts["waits"] & ~gone]
        numbers, awaited = self.waited_for(waiting)
        self.drop(gone)
        spans = self.facts["role"] != Role.LOG
        used = self.facts["resource"][spans]
        self.facts["resource"][spans] = self.resources.keep(used)[used]
        self.reindex(waiting[numbers], awaited)

    def drop(self, gone: npt.NDArray[np.bool_]) -> None:
        """Take out rows and their texts; the indexes are the caller's business."""
        keep = ~gone
        self.load(*kept(self.facts, self.state, keep))
        self.texts.keep(keep)

    def reindex(self, waiting: Hashes, awaited: Hashes) -> None:
        """Build the hash tables anew; `waiting` and `awaited` are pairs of spans."""
        facts, state = self.facts, self.state
        self._index()
        rows = np.arange(self._rows)
        spans = facts["span"] != 0
        self._spans.add(facts["span"][spans], rows[spans])
        self._mention_and_key(facts, state["key"], rows)
        further = state["frontier"] != facts["parent"]
        self._mentions.add(state["frontier"][further], rows[further])
        self._waited_for.add(waiting, awaited.view(np.int64))
        self._mentions.add(awaited, self._spans.find(waiting))

    def load(self, facts: Records, state: Records) -> None:
        """Take over rows that were saved; the texts, resources and indexes are the caller's business."""
        self._rows = len(facts)
        self.has_logs = bool((facts["role"] == Role.LOG).any())
        self._facts, self._state = appended(blank(_FEWEST), 0, facts), appended(np.zeros(_FEWEST, STATE), 0, state)
        self._view()


def kept(facts: Records, state: Records, keep: npt.NDArray[np.bool_]) -> tuple[Records, Records]:
    """Return the rows where `keep` is true, with row numbers as they are then."""
    number = np.where(keep, np.cumsum(keep) - 1, NO_ROW)
    facts, state = facts.compress(keep), state.compress(keep)
    for name in _ROW_COLUMNS:
        column = state[name]
        column[column >= 0] = number[column[column >= 0]]
    # an id that was taken over is lost with the row that had it
    orphans = np.flatnonzero(state["id_row"] < 0)
    state["id_row"][orphans] = orphans
    return facts, state


def _first_of_equals(spans: Hashes) -> npt.NDArray[np.bool_]:
    """Return which rows are the first with their span, all that have none included."""
    first = np.ones(len(spans), np.bool_)
    ascending = np.sort(spans)
    if not ((ascending[1:] == ascending[:-1]) & (ascending[1:] != 0)).any():
        return first
    order = np.argsort(spans, kind="stable")
    ranked = spans[order]
    first[order[1:]] = (ranked[1:] != ranked[:-1]) | (ranked[1:] == 0)
    return first
