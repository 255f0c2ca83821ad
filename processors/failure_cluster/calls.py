"""Calls to other services that failed, as client spans tell, and the jobs that made them.

Job rows do not name what a job calls. A failing client span does, and it has the job's trace: a call that ended within
an execution of the same trace is taken for this execution's. Where jobs of one trace run at the same time it may be
another's; the shares that a cause is judged by bear that.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from pipeline import Batch
from pipeline.arrays import Column
from pipeline.columns import attribute_texts, hex_text
from pipeline.hashing import Hashes
from pipeline.records import Records, together
from processors.failure_cluster.names import Names
from processors.failure_cluster.rows import id_hashes

_CLIENT: Final = 3
_ERROR: Final = 2

PEER_KEYS: Final = (
    "peer.service",
    "server.address",
    "net.peer.name",
    "db.namespace",
    "db.name",
    "db.system.name",
    "db.system",
    "rpc.service",
)
"""Attributes that name who was called, the best first (OpenTelemetry's semantic conventions, today's and older)."""

CALL: Final = np.dtype([("trace", np.uint64), ("end", np.int64), ("peer", np.uint64)])


class FailedCalls:
    """The failed calls of the last minutes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._new: list[Records] = []
        self._calls = np.zeros(0, CALL)

    def learn(self, batch: Batch, names: Names) -> None:
        """Take the failed client spans of a batch of spans."""
        status: Column = batch.column("status")
        codes = status.field("code").to_numpy(zero_copy_only=False)
        client = batch.column("kind").to_numpy() == _CLIENT
        failed = np.flatnonzero(client & (codes == _ERROR))
        if len(failed) == 0:
            return
        peers: Column = pc.coalesce(*attribute_texts(batch.column("attributes"), failed, PEER_KEYS))
        calls = np.zeros(len(failed), CALL)
        calls["trace"] = id_hashes(hex_text(batch.column("trace_id").take(failed)), 32)
        calls["end"] = batch.column("end_time_unix_nano").take(failed).to_numpy().astype(np.int64)
        calls["peer"] = names.hashes(peers)
        self._new.append(calls.compress(calls["peer"] != 0))

    def forget(self, before: int) -> None:
        """Forget calls that ended before a time, and the oldest beyond the limit."""
        self._settle()
        self._calls = self._calls.compress(self._calls["end"] >= before)
        if len(self._calls) > self._limit:
            newest = np.argsort(self._calls["end"], kind="stable")[-self._limit :]
            self._calls = self._calls.take(np.sort(newest))

    def peers(self, rows: Records) -> Hashes:
        """Return who was called in vain by each execution (of dtype ROW), 0 for nobody; of several the last."""
        self._settle()
        found = np.zeros(len(rows), np.uint64)
        if len(self._calls) == 0 or len(rows) == 0:
            return found
        calls = self._calls
        first = np.searchsorted(calls["trace"], rows["trace"], side="left")
        last = np.searchsorted(calls["trace"], rows["trace"], side="right")
        asked = np.flatnonzero(last > first)
        # as many rounds as the busiest trace has failed calls, the last call first
        place = last[asked] - 1
        while len(asked):
            ends = calls["end"][place]
            within = (ends >= rows["start"][asked]) & (ends <= rows["end"][asked])
            found[asked[within]] = calls["peer"][place[within]]
            on = ~within & (place > first[asked])
            asked, place = asked[on], place[on] - 1
        return found

    def used(self) -> set[int]:
        """Return the hashes of texts that are referred to."""
        self._settle()
        return set(np.unique(self._calls["peer"]).tolist())

    def _settle(self) -> None:
        if self._new:
            calls = together([self._calls, *self._new])
            self._calls = calls.take(np.lexsort((calls["peer"], calls["end"], calls["trace"])))
            self._new = []

    @property
    def calls(self) -> Records:
        self._settle()
        return self._calls

    def load(self, calls: npt.NDArray[Any]) -> None:
        self._new = [calls]
