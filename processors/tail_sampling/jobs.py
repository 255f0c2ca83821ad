"""What job rows say of traces: which policies of type `job` they satisfy, and which traces belong to one job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import Batch
from pipeline.arrays import Column
from pipeline.hash_table import HashTable
from pipeline.hashing import Hashes, combined, text_hashes, words_of
from processors.tail_sampling.leaf_config import JobConfig, is_found
from processors.tail_sampling.policies import Answers, Policy, Traces
from processors.tail_sampling.sketch import DurationSketches
from processors.tail_sampling.spans import Truths, truths

_FIRST_TRACES: Final = 5
"""What `new_error: true` stands for."""

_MINUTE: Final = 60.0

_MOST_COUNTED: Final = 1 << 20
"""Fingerprints that are remembered; then all are forgotten, and are new once more."""

_NUMBERED_PER_QUEUE: Final = "bullmq"
"""Its job ids are small numbers of a queue (job-conventions, section 1, "Identity")."""


@dataclass(frozen=True, slots=True, eq=False)
class JobRows:
    """A batch of job rows as the sampler reads it, deleted rows left out."""

    high: Hashes
    low: Hashes
    job_class: Hashes
    fingerprint: Hashes
    job: Hashes
    """Stands for the job; 0 where it has no id."""
    span: Hashes
    """The row's span id as a word."""
    enqueue_span: Hashes
    """That of the enqueue that an execution was matched with; 0 for none."""
    enqueue: Truths
    batch: Truths
    """An enqueue of several jobs."""
    columns: dict[str, Any]


def job_rows(batch: Batch) -> JobRows:
    """Read what is needed of a batch of jobs."""
    table = batch.table
    deleted = truths(batch.column("is_deleted"))
    if deleted.any():
        table = table.filter(pa.array(~deleted))
    columns: dict[str, Column] = {
        name: table.column(name).combine_chunks()
        for name in ("operation", "outcome", "job_class", "queue", "attempt", "attempt_inferred", "duration")
    }
    words = _words(table.column("trace_id").combine_chunks(), 2)
    system = table.column("system").combine_chunks()
    ids = text_hashes(table.column("job_id").combine_chunks())
    per_queue = truths(pc.equal(system, pa.scalar(_NUMBERED_PER_QUEUE)))
    lanes = np.where(per_queue, text_hashes(columns["queue"]), np.uint64(0))
    errors = text_hashes(table.column("error_fingerprint").combine_chunks())
    types = text_hashes(table.column("error_type").combine_chunks())
    classes = combined(text_hashes(system), text_hashes(columns["job_class"]))
    return JobRows(
        words[:, 0],
        words[:, 1],
        classes,
        np.where(errors != 0, errors, np.where(types != 0, combined(types, classes), np.uint64(0))),
        np.where(ids != 0, combined(text_hashes(system), lanes, ids), np.uint64(0)),
        _words(table.column("span_id").combine_chunks(), 1)[:, 0],
        _words(table.column("enqueue_span_id").combine_chunks(), 1)[:, 0],
        truths(pc.equal(columns["operation"], pa.scalar("enqueue"))),
        truths(pc.greater(table.column("batch_count").combine_chunks(), pa.scalar(1, pa.int32()))),
        columns,
    )


def _words(texts: Column, words: int) -> npt.NDArray[np.uint64]:
    """Return ids in hex as words; 0 for what is none."""
    digits = 16 * words
    right = truths(pc.match_substring_regex(texts, pattern=f"^[0-9a-f]{{{digits}}}$"))
    found = np.zeros((len(texts), words), np.uint64)
    data = bytes.fromhex("".join(texts.filter(pa.array(right)).to_pylist()))
    found[right] = words_of(_binary(data, digits // 2), digits // 2)
    return found


def _binary(data: bytes, width: int) -> Column:
    bounds = np.arange(0, len(data) + 1, width, dtype=np.int32)
    buffers = [None, pa.py_buffer(bounds.tobytes()), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.binary(), len(bounds) - 1, buffers)


class RowTest:
    """What one policy of type `job` asks of single rows; of executions only, except where class and queue are all."""

    def __init__(self, config: JobConfig) -> None:
        self._config = config
        self._of_executions = bool(
            config.outcome or config.min_attempt or config.slower_than or config.new_error or config.rare
        )

    @property
    def needs_quantiles(self) -> bool:
        return self._config.slower_than is not None and self._config.slower_than[0] == "quantile"

    def rows(self, rows: JobRows, sketches: DurationSketches) -> Truths:
        config, columns = self._config, rows.columns
        found = ~rows.enqueue if self._of_executions else np.ones(len(rows.enqueue), np.bool_)
        if config.outcome:
            found &= truths(pc.is_in(columns["outcome"], value_set=pa.array(config.outcome, pa.string())))
        if config.min_attempt is not None:
            attempt = pc.coalesce(columns["attempt"], columns["attempt_inferred"])
            found &= truths(pc.greater_equal(attempt, pa.scalar(config.min_attempt, pa.int32())))
        for texts, patterns in ((columns["job_class"], config.class_), (columns["queue"], config.queue)):
            if patterns:
                found &= np.logical_or.reduce([truths(is_found(texts, pattern)) for pattern in patterns])
        if config.new_error:
            found &= rows.fingerprint != 0
        if config.slower_than is not None:
            kind, limit = config.slower_than
            duration = columns["duration"].to_numpy().astype(np.float64)
            found &= duration > (sketches.thresholds(rows.job_class, limit) if kind == "quantile" else limit * 1e9)
        return found


class FirstOfEach:
    """Lets the first `number` through of each key, and forgets all keys at a million."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._seen = HashTable()

    def forget(self) -> None:
        self._seen = HashTable()

    def items(self) -> tuple[Hashes, npt.NDArray[np.int64]]:
        """Return keys, and how many of each have come through."""
        return self._seen.items()

    def load(self, keys: Hashes, counts: npt.NDArray[np.int64]) -> None:
        """Take over what `items` gave."""
        self.forget()
        self._seen.add(keys, counts)

    def take(self, keys: Hashes) -> Truths:
        """Return which of `keys`, in turn, come through."""
        if len(keys) == 0:
            return np.zeros(0, np.bool_)
        order = np.argsort(keys, kind="stable")
        ranked = keys[order]
        starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
        lengths = np.diff(np.append(starts, len(ranked)))
        before = self._seen.find(ranked[starts], missing=0)
        rank = np.arange(len(ranked)) - np.repeat(starts, lengths) + np.repeat(before, lengths)
        taken = np.zeros(len(keys), np.bool_)
        taken[order] = rank < self._number
        if len(self._seen) > _MOST_COUNTED:
            self.forget()
        self._seen.swap(ranked[starts], np.minimum(before + lengths, self._number))
        return taken


@dataclass(slots=True)
class JobPolicy(Policy):
    """A row of the trace has all that is asked; with `new_error` and `rare` only so many traces of each kind."""

    number: int
    """Which of the policies of this type it is."""
    config: JobConfig
    errors: FirstOfEach | None = None
    rare: FirstOfEach | None = None
    minute: float = field(default=-1.0)

    @classmethod
    def of(cls, name: str, number: int, config: JobConfig) -> JobPolicy:
        first = _FIRST_TRACES if config.new_error is True else int(config.new_error)
        errors = FirstOfEach(first) if first else None
        return cls(name, number, config, errors, FirstOfEach(config.rare) if config.rare else None)

    def decide(self, traces: Traces, asked: Truths) -> Answers:
        sampled = np.zeros(len(traces), np.bool_)
        probability = np.zeros(len(traces))
        notes = traces.notes
        if notes is not None:
            rows = np.flatnonzero(notes.matches[:, self.number] & asked[notes.trace])
            share = np.ones(len(rows))
            if self.errors is not None:
                rows, share = _first(self.errors, notes.trace, notes.fingerprint, rows, share)
            if self.rare is not None:
                if traces.now // _MINUTE != self.minute:
                    self.minute = traces.now // _MINUTE
                    self.rare.forget()
                rows, share = _first(self.rare, notes.trace, notes.job_class, rows, share)
            sampled[notes.trace[rows]] = True
            np.maximum.at(probability, notes.trace[rows], share)
        return Answers((sampled & asked).astype(np.int8), probability)

    def surely(self, traces: Traces) -> Truths:
        found = np.zeros(len(traces), np.bool_)
        if traces.notes is not None and self.errors is None and self.rare is None:
            found[traces.notes.trace[traces.notes.matches[:, self.number]]] = True
        return found

    def is_budget(self) -> bool:
        return self.errors is not None or self.rare is not None


def _first(
    counter: FirstOfEach,
    trace: npt.NDArray[np.int64],
    key: Hashes,
    rows: npt.NDArray[np.int64],
    share: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the rows of traces that come through, and with which share of their key's traces.

    A trace counts once for each key that its rows have.
    """
    order = np.lexsort((key[rows], trace[rows]))
    rows, share = rows[order], share[order]
    pairs = np.ones(len(rows), np.bool_)
    pairs[1:] = (trace[rows][1:] != trace[rows][:-1]) | (key[rows][1:] != key[rows][:-1])
    rows, share = rows[pairs], share[pairs]
    taken = counter.take(key[rows])
    _, inverse = np.unique(key[rows], return_inverse=True)
    offered = np.bincount(inverse)
    kept = np.bincount(inverse, taken, minlength=len(offered))
    of_key = (kept / np.maximum(offered, 1))[inverse]
    return rows[taken], (share * of_key)[taken]


class JobReader:
    """Asks every row of every policy's test, and keeps the sketches that they need."""

    def __init__(self, configs: Sequence[JobConfig]) -> None:
        self._tests = [RowTest(config) for config in configs]
        self.sketches = DurationSketches()

    def matches(self, rows: JobRows) -> npt.NDArray[np.bool_]:
        """Return shape (rows, policies): which rows have what each policy asks for."""
        found = np.zeros((len(rows.high), len(self._tests)), np.bool_)
        for number, test in enumerate(self._tests):
            found[:, number] = test.rows(rows, self.sketches)
        if any(test.needs_quantiles for test in self._tests):
            done = ~rows.enqueue
            self.sketches.add(rows.job_class[done], rows.columns["duration"].to_numpy()[done])
        return found
