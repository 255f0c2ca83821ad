"""A batch of spans -> what it says of each of its traces: one pass over the columns, then spans are not read again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline import Batch
from pipeline.arrays import Column
from pipeline.hashing import Hashes, combined, words_of
from processors.tail_sampling.budgets import Sizes
from processors.tail_sampling.conditions import SpanTest
from processors.tail_sampling.policies import whole_milliseconds
from processors.tail_sampling.sizes import otlp_sizes
from processors.tail_sampling.spans import SpanColumns, Truths

Numbers = npt.NDArray[np.int64]
Times = npt.NDArray[np.uint64]

NEVER = np.uint64((1 << 64) - 1)


@dataclass(frozen=True, slots=True)
class Window:
    """`latency` with an upper bound: true as soon as the duration up to some span is in it, as in the Collector."""

    above_ms: int
    at_most_ms: int

    def hits(self, first: Times, last: Times) -> Truths:
        duration = whole_milliseconds(first, last)
        result: Truths = (duration > self.above_ms) & (duration <= self.at_most_ms)
        return result


Test = SpanTest | Window


@dataclass(frozen=True, slots=True)
class Questions:
    """What is to be found out of spans; the answer to `tests[i]` is column i of the hits."""

    tests: tuple[Test, ...]
    sizes: bool
    """Whether bytes are asked for."""


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """What a batch says, a row a trace, in the order of their first spans."""

    number: Numbers
    """For each span of the batch the row of its trace here."""
    keys: Hashes
    high: Hashes
    low: Hashes
    spans: Sizes
    nbytes: Sizes
    first: Times
    last: Times
    hits: npt.NDArray[np.bool_]
    root: Truths
    """Whether a span without parent is among them."""
    starts: Times
    """For each span its start, as `ends`."""
    ends: Times

    def __len__(self) -> int:
        return len(self.keys)


def trace_keys(high: Hashes, low: Hashes) -> Hashes:
    """Return the 64-bit key of each trace id."""
    return combined(high, low)


def pieces_of(batch: Batch, questions: Questions) -> Pieces:
    """Return the pieces of traces in a batch. Columns of `Window` tests are left false: they need what came before."""
    words = words_of(batch.column("trace_id"), 16)
    return grouped(batch, trace_keys(words[:, 0], words[:, 1]), words, questions)


def grouped(batch: Batch, keys: Hashes, words: npt.NDArray[np.uint64], questions: Questions) -> Pieces:
    """Return what a batch says of the groups of spans with equal `keys`; `words` are the two words of their ids."""
    # a third of the price of sorting them
    encoded: Column = pa.array(keys).dictionary_encode()
    number = encoded.indices.to_numpy().astype(np.int64)
    groups = len(encoded.dictionary)
    firsts = np.empty(groups, np.int64)
    # of several rows the last that is written stays
    firsts[number[::-1]] = np.arange(len(keys) - 1, -1, -1)

    starts = batch.column("start_time_unix_nano").to_numpy()
    ends = batch.column("end_time_unix_nano").to_numpy()
    first, last = np.full(groups, NEVER), np.zeros(groups, np.uint64)
    np.minimum.at(first, number, starts)
    np.maximum.at(last, number, ends)
    nbytes = np.zeros(groups, np.int64)
    if questions.sizes:
        nbytes = np.bincount(number, otlp_sizes(batch, number), minlength=groups).astype(np.int64)
    columns = SpanColumns(batch)
    hits = np.zeros((groups, len(questions.tests)), np.bool_)
    for position, test in enumerate(questions.tests):
        if not isinstance(test, Window):
            hits[number[test.spans(columns)], position] = True
    root = np.zeros(groups, np.bool_)
    # a parent of zeros is none, as one that was not sent
    root[number[words_of(batch.column("parent_span_id"), 8)[:, 0] == 0]] = True
    return Pieces(
        number,
        keys[firsts],
        words[firsts, 0],
        words[firsts, 1],
        np.bincount(number, minlength=groups),
        nbytes,
        first,
        last,
        hits,
        root,
        starts,
        ends,
    )


def ask_windows(pieces: Pieces, tests: Sequence[Test], first: Times, last: Times) -> None:
    """Fill in the hits of `Window` tests. `first` and `last` say what was known of each trace before these spans."""
    windows = [(position, test) for position, test in enumerate(tests) if isinstance(test, Window)]
    if not windows or len(pieces) == 0:
        return
    order = np.argsort(pieces.number, kind="stable")
    number = pieces.number[order]
    earliest = np.minimum(_running_maximum(~pieces.starts[order], number) ^ NEVER, first[number])
    latest = np.maximum(_running_maximum(pieces.ends[order], number), last[number])
    for position, window in windows:
        pieces.hits[number[window.hits(earliest, latest)], position] = True


def _running_maximum(values: Times, number: Numbers) -> Times:
    """Return the maximum so far inside each run of equal, ascending `number`.

    Values are replaced by their ranks, so that those of a later run can be lifted over all of an earlier one.
    """
    distinct, ranks = np.unique(values, return_inverse=True)
    lifted = number * len(distinct) + ranks
    result: Times = distinct[np.maximum.accumulate(lifted) - number * len(distinct)]
    return result
