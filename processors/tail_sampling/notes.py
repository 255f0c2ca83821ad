"""What is noted beside the waiting traces: job rows, and the bonds by which traces belong together."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.hashing import Hashes
from processors.tail_sampling.jobs import JobRows
from processors.tail_sampling.policies import JobNotes

Slots = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_FEWEST = 1024
_ROOMY = 8
"""Columns that have this many times the room that they need are made smaller."""


class Columns:
    """Columns that grow at the end, and forget rows whose `slot` is gone."""

    def __init__(self, **columns: Any) -> None:
        self._columns = {name: np.zeros((_FEWEST, *shape), type_) for name, (type_, shape) in columns.items()}
        self._used = 0

    def __len__(self) -> int:
        return self._used

    def __getitem__(self, name: str) -> Any:
        return self._columns[name][: self._used]

    @property
    def row_bytes(self) -> int:
        return sum(column[:1].nbytes for column in self._columns.values())

    @property
    def used_bytes(self) -> int:
        return self._used * self.row_bytes

    def append(self, **values: Any) -> None:
        number = len(next(iter(values.values())))
        for name, column in self._columns.items():
            if self._used + number > len(column):
                grown = np.zeros((max(2 * len(column), self._used + number), *column.shape[1:]), column.dtype)
                grown[: self._used] = column[: self._used]
                self._columns[name] = grown
            self._columns[name][self._used : self._used + number] = values[name]
        self._used += number

    def forget(self, gone: Mask) -> None:
        """Take out the rows whose slot is in the mask `gone`."""
        lost = gone[self["slot"]]
        if lost.any():
            keep = np.flatnonzero(~lost)
            self._used = len(keep)
            for name, column in self._columns.items():
                # a peak is not held for ever
                fits = _ROOMY * max(self._used, _FEWEST) >= len(column)
                rows = column if fits else np.zeros((2 * max(self._used, _FEWEST), *column.shape[1:]), column.dtype)
                rows[: self._used] = column[keep]
                self._columns[name] = rows


class Notes:
    """The job rows of waiting traces."""

    def __init__(self, policies: int) -> None:
        self._rows = Columns(
            slot=(np.int64, ()),
            matches=(np.bool_, (policies,)),
            job_class=(np.uint64, ()),
            fingerprint=(np.uint64, ()),
            span=(np.uint64, ()),
            enqueue=(np.bool_, ()),
            batch=(np.bool_, ()),
        )

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def used_bytes(self) -> int:
        return self._rows.used_bytes

    def bytes_of(self, slots: Slots, capacity: int) -> npt.NDArray[np.int64]:
        """Return what the notes of each of these traces need."""
        return np.bincount(self._rows["slot"], minlength=capacity)[slots] * self._rows.row_bytes

    def add(self, slots: Slots, rows: JobRows, matches: Mask, which: Slots) -> None:
        """Note rows `which` for the traces in `slots`."""
        self._rows.append(
            slot=slots,
            matches=matches[which],
            job_class=rows.job_class[which],
            fingerprint=rows.fingerprint[which],
            span=rows.span[which],
            enqueue=rows.enqueue[which],
            batch=rows.batch[which],
        )

    def of(self, slots: Slots, capacity: int) -> JobNotes | None:
        """Return the notes of traces, numbered by their place in `slots`."""
        if len(self._rows) == 0:
            return None
        place = np.full(capacity, -1)
        place[slots] = np.arange(len(slots))
        trace = place[self._rows["slot"]]
        which = np.flatnonzero(trace >= 0)
        return JobNotes(
            trace[which],
            self._rows["matches"][which],
            self._rows["job_class"][which],
            self._rows["fingerprint"][which],
        )

    def move(self, which: Slots, slots: Slots) -> None:
        """Give notes, as `jobs_of` numbers them, to other slots."""
        self._rows["slot"][which] = slots

    def jobs_of(self, wanted: Mask) -> tuple[Slots, Slots, Hashes, Mask, Mask]:
        """Return the notes of slots in a mask: number, slot, span, whether an enqueue, whether one of several jobs."""
        which = np.flatnonzero(wanted[self._rows["slot"]])
        return (
            which,
            self._rows["slot"][which],
            self._rows["span"][which],
            self._rows["enqueue"][which],
            self._rows["batch"][which],
        )

    def forget(self, gone: Mask) -> None:
        self._rows.forget(gone)


class Bonds:
    """Which traces name the same thing: a job, or a trace that they are linked with."""

    def __init__(self) -> None:
        self._rows = Columns(slot=(np.int64, ()), token=(np.uint64, ()))

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def used_bytes(self) -> int:
        return self._rows.used_bytes

    def add(self, slots: Slots, tokens: Hashes) -> None:
        self._rows.append(slot=slots, token=tokens)

    @property
    def slot(self) -> Slots:
        slots: Slots = self._rows["slot"]
        return slots

    @property
    def token(self) -> Hashes:
        tokens: Hashes = self._rows["token"]
        return tokens

    def having(self, tokens: Hashes) -> tuple[Slots, Slots]:
        """Return the slots that have one of ascending `tokens`, and the place of that token."""
        if len(tokens) == 0 or len(self) == 0:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        places = np.minimum(np.searchsorted(tokens, self.token), len(tokens) - 1)
        which = np.flatnonzero(tokens[places] == self.token)
        return self.slot[which], places[which]

    def forget(self, gone: Mask) -> None:
        self._rows.forget(gone)
