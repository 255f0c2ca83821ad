"""What is known as bytes and back, so that a restart goes on where the process before it ended."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson

from pipeline.records import together
from processors.job_dependencies.ancestry import Ancestry
from processors.job_dependencies.book import Book
from processors.job_dependencies.counting import FanOut
from processors.job_dependencies.facts import CLIENT, JOB, ROW
from processors.job_dependencies.names import EDGE, Edges, Names
from processors.job_dependencies.tally import COUNT, SAMPLE, Tally
from processors.job_dependencies.waiting import Waiting
from processors.job_dependencies.watching import Watch

FORMAT: Final = 2
"""Raised when an older process could not read what a newer one saved."""

_TYPES: Final = {
    "rows": ROW,
    "jobs": JOB,
    "edges": EDGE,
    "clients": CLIENT,
    "counts": COUNT,
    "latencies": SAMPLE,
    "durations": SAMPLE,
}


@dataclass(slots=True)
class Knowledge:
    """Everything that is remembered beyond what is to be written next."""

    names: Names
    edges: Edges
    book: Book
    ancestry: Ancestry
    fan_out: FanOut
    watch: Watch
    waiting: Waiting

    @property
    def nbytes(self) -> int:
        parts = (self.names, self.edges, self.book, self.ancestry, self.fan_out, self.watch, self.waiting)
        return sum(part.nbytes for part in parts)

    def shift(self, seconds: float) -> None:
        """Move every time by `seconds`: another process has another clock."""
        self.book.jobs["told"] += seconds
        self.waiting.shift(seconds)
        self.watch.shift(seconds)


def saved(know: Knowledge, tally: Tally, now: float) -> bytes:
    """Return everything that is known at `now`, on the engine's clock."""
    keys, key_times, clients, client_times = know.waiting.whole()
    parents, requests = know.ancestry.items()
    head = {"format": FORMAT, "now": now, "names": know.names.texts, "watch": know.watch.saved()}
    arrays = {
        "head": np.frombuffer(orjson.dumps(head), np.uint8),
        "rows": know.book.rows,
        "jobs": know.book.jobs,
        "edges": know.edges.table,
        "keys": keys,
        "key_times": key_times,
        "clients": clients,
        "client_times": client_times,
        "parents": np.stack([parents[0], parents[1].view(np.uint64)]),
        "requests": np.stack([requests[0], requests[1].view(np.uint64)]),
        "fan_out": np.stack([array.view(np.uint64) for array in know.fan_out.items()]),
        "counts": together([np.zeros(0, COUNT), *tally.counts]),
        "latencies": together([np.zeros(0, SAMPLE), *tally.latencies]),
        "durations": together([np.zeros(0, SAMPLE), *tally.durations]),
    }
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()


def restored(state: bytes, know: Knowledge, tally: Tally) -> float:
    """Fill empty `know` and `tally` with what `saved` gave; return the time on the clock of the process that saved it.

    Raises ValueError for bytes that are no such state.
    """
    try:
        with np.load(io.BytesIO(state), allow_pickle=False) as archive:
            arrays: dict[str, Any] = dict(archive)
        head = orjson.loads(arrays["head"].tobytes())
    except (zipfile.BadZipFile, OSError, KeyError, EOFError, ValueError) as error:
        raise ValueError(f"not a saved state of processor job_dependencies: {error}") from error
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise ValueError(f"not a saved state of processor job_dependencies in format {FORMAT}")
    if any(arrays[name].dtype != dtype for name, dtype in _TYPES.items()):
        raise ValueError("not a saved state of processor job_dependencies: the columns differ")
    know.names.load(head["names"])
    know.edges.add(arrays["edges"])
    know.book.load(arrays["rows"], arrays["jobs"])
    parents, requests, fan_out = arrays["parents"], arrays["requests"], arrays["fan_out"]
    know.ancestry.load((parents[0], parents[1].view(np.int64)), (requests[0], requests[1].view(np.int64)))
    know.fan_out.load(fan_out[0], fan_out[1].view(np.int64))
    know.waiting.add_jobs(arrays["keys"], arrays["key_times"])
    know.waiting.add_clients(arrays["clients"], arrays["client_times"])
    know.watch.load(head["watch"])
    tally.load(arrays["counts"], arrays["latencies"], arrays["durations"])
    return float(head["now"])
