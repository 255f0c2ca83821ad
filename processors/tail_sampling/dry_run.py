"""A sampler on recorded spans: its clock is the latest end of a span so far; its decisions are noted.

A request whose spans end in several seconds comes in as many pieces: a recording may have all spans in one request.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from rich.console import Console
from rich.table import Table

from pipeline import Batch, Kind, Processor, Receipt
from pipeline.arrays import changes
from pipeline.hashing import hex_of, words_of
from pipeline.otlp import Columns
from processors.tail_sampling.fates import Outcome
from processors.tail_sampling.policies import Decision
from processors.tail_sampling.processor import TailSampling

_WORDS = {Decision.SAMPLED: "sampled", Decision.NOT_SAMPLED: "not_sampled", Decision.DROPPED: "dropped"}
_RANK = np.array([0, 2, 1, 0])
"""Of several decisions on one trace (job by job, or on late spans) the highest of these counts."""


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A row a trace, in the order of their first spans."""

    policies: Sequence[str]
    trace: Sequence[str]
    """Hex digits."""
    spans: npt.NDArray[np.int64]
    decision: npt.NDArray[np.int8]
    policy: npt.NDArray[np.int16]

    def lines(self) -> Iterator[str]:
        """Yield a JSON object a trace."""
        for trace, decision, policy, spans in zip(
            self.trace, self.decision.tolist(), self.policy.tolist(), self.spans.tolist(), strict=True
        ):
            yield orjson.dumps(
                {
                    "trace_id": trace,
                    "decision": _WORDS[Decision(decision)],
                    "policy": self.policies[policy] if policy >= 0 else None,
                    "spans": spans,
                }
            ).decode()

    def table(self) -> Iterator[str]:
        """Yield a summary: what each policy kept as the first that did, and what was not kept."""
        groups = [(f"sampled by {name}", self.policy == number) for number, name in enumerate(self.policies)]
        for decision, word in ((Decision.NOT_SAMPLED, "not sampled"), (Decision.DROPPED, "dropped")):
            groups.append((word, self.decision == decision))
        groups.append(("all", np.ones(len(self.spans), np.bool_)))
        table = Table("", box=None)
        for head in ("traces", "of traces", "spans", "of spans"):
            table.add_column(head, justify="right")
        for name, which in groups:
            traces, spans = int(which.sum()), int(self.spans[which].sum())
            share = [f"{100 * part / max(1, whole):.1f} %" for part, whole in
                     ((traces, len(self.spans)), (spans, int(self.spans.sum())))]  # fmt: skip
            table.add_row(name, f"{traces:,}", share[0], f"{spans:,}", share[1])
        out = io.StringIO()
        Console(file=out, width=120).print(table)
        yield from (line.rstrip() for line in out.getvalue().splitlines())


class DryRun:
    """`before` are the processors in front of the sampler, which make job rows, name errors or change spans."""

    def __init__(self, sampler: TailSampling, before: Sequence[Processor[Any]]) -> None:
        self._sampler = sampler
        self._before = before
        self._now = 0.0
        self._words: list[npt.NDArray[np.uint64]] = []
        self._outcomes: list[Outcome] = []
        sampler.decided = self._outcomes.append

    def take(self, columns: Columns) -> None:
        """Let requests come, one after the other."""
        whole = columns.batch(Receipt.issue("dry run"))
        requests = np.repeat(np.arange(len(columns.rows_per_body)), columns.rows_per_body)
        seconds = np.maximum.accumulate(whole.column("end_time_unix_nano").to_numpy()) // np.uint64(10**9)
        for batch in whole.split_at(changes(requests, seconds)[1:-1].tolist()):
            if batch.rows:
                self._words.append(words_of(batch.column("trace_id"), 16))
                ends = batch.column("end_time_unix_nano").to_numpy()
                self._advance(max(self._now, float(ends.max()) / 1e9))
                self._through(0, batch)
                self._tick()

    def finish(self) -> Result:
        """Let the clock run until everything is decided, and return what was."""
        while (wake := self._sampler.wake_at()) is not None:
            self._now = max(self._now, wake)
            self._tick()
        list(self._sampler.drain())
        words = np.concatenate(self._words) if self._words else np.zeros((0, 2), np.uint64)
        distinct, firsts, spans = np.unique(words, axis=0, return_index=True, return_counts=True)
        decision, policy = self._by_trace(distinct)
        order = np.argsort(firsts)
        names = hex_of(distinct[order, 0], distinct[order, 1]).to_pylist()
        traces = [name or "" for name in names]
        return Result(self._sampler.policy_names, traces, spans[order], decision[order], policy[order])

    def _by_trace(self, distinct: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int16]]:
        decision, policy = np.zeros(len(distinct), np.int8), np.full(len(distinct), -1, np.int16)
        if not self._outcomes:
            return decision, policy
        decided = np.concatenate([np.column_stack([one.high, one.low]) for one in self._outcomes])
        fate = np.concatenate([one.decision for one in self._outcomes])
        by = np.concatenate([one.policy for one in self._outcomes])
        _, place = np.unique(np.concatenate([distinct, decided]), axis=0, return_inverse=True)
        # the first decision of the highest rank: best ranks are written last, and of equals the first
        order = np.lexsort((-np.arange(len(fate)), _RANK[fate]))
        trace = place[len(distinct) :][order]
        decision[trace], policy[trace] = fate[order], by[order]
        return decision, policy

    def _advance(self, now: float) -> None:
        while (wake := self._sampler.wake_at()) is not None and wake <= now:
            self._now = max(self._now, wake)
            self._tick()
        self._now = now

    def _tick(self) -> None:
        for position, processor in enumerate(self._before):
            wake = processor.wake_at()
            if wake is not None and wake <= self._now:
                for batch in processor.tick(self._now):
                    self._through(position + 1, batch)
        list(self._sampler.tick(self._now))

    def _through(self, position: int, batch: Batch) -> None:
        chain: Sequence[Processor[Any]] = [*self._before, self._sampler]
        if position == len(chain):
            return
        processor = chain[position]
        if Kind(batch.kind) not in processor.handles:
            self._through(position + 1, batch)
            return
        for out in list(processor.process(batch)):
            self._through(position + 1, out)
