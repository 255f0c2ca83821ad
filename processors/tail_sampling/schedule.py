"""When traces are decided: each has its own time, and a sweep decides all whose time has come."""

from __future__ import annotations

from typing import Final

import numpy as np

from processors.tail_sampling.slots import Slots, TraceSlots

_SECONDS_A_ROW: Final = 150e-9
"""Deciding looks through batches that wait: with so long a pause between two sweeps it takes 2 % at most."""

_ROWS_WITHOUT_PAUSE: Final = 2_000
_SHORTEST_PAUSE: Final = 0.02
"""Every batch has its own time to be decided, and a decision costs a few milliseconds however few the traces."""

_LONGEST_PAUSE: Final = 1.0
"""As coarse as the Collector's one-second batches, at the worst."""


class Schedule:
    """Sets `due` and `seen` of traces. What comes has no time until the next tick tells it."""

    def __init__(self, slots: TraceSlots, *, wait: float, wait_after_root: float) -> None:
        """Seconds; 0 for `wait_after_root` is off."""
        self._slots = slots
        self._wait = wait
        self._wait_after_root = wait_after_root
        self._new: list[Slots] = []
        self._with_root: list[Slots] = []
        self._next_due = np.inf
        self._next_sweep = 0.0

    @property
    def has_news(self) -> bool:
        """Whether something came whose time is not known yet."""
        return bool(self._new or self._with_root)

    def arrived(self, slots: Slots) -> None:
        """Note traces whose first span has come."""
        self._new.append(slots)

    def rooted(self, slots: Slots) -> None:
        """Note traces of which a root has come; their first one counts."""
        if self._wait_after_root:
            fresh = slots[~self._slots.rooted[slots]]
            self._slots.rooted[fresh] = True
            self._with_root.append(fresh)

    def hasten(self) -> None:
        """Something is due that has set its time itself."""
        self._next_due = -np.inf

    def tell(self, now: float) -> None:
        """Give what came since the last call its times."""
        for slots in self._new:
            self._slots.seen[slots] = now
            self._set_due(slots, now + self._wait)
        for slots in self._with_root:
            self._set_due(slots, now + self._wait_after_root)
        self._new, self._with_root = [], []

    def _set_due(self, slots: Slots, due: float) -> None:
        if len(slots):
            self._slots.due[slots] = np.minimum(self._slots.due[slots], due)
            self._next_due = min(self._next_due, due)

    def next_sweep(self, now: float, *, urgent: bool) -> float | None:
        """Return when to sweep next: after the pause, for what is due or `urgent`; None for never."""
        due = now if urgent else self._next_due
        return max(due, self._next_sweep) if due < np.inf else None

    def may_sweep(self, now: float) -> bool:
        """Tell whether the pause is over."""
        return now >= self._next_sweep

    def due(self, now: float) -> Slots:
        """Return the traces whose time has come, the oldest first."""
        if now < self._next_due:
            return np.zeros(0, np.int64)
        return self._slots.oldest_first(np.flatnonzero(self._slots.due <= now))

    def swept(self, now: float, rows: int) -> None:
        """Begin a pause; `rows` are those that wait on."""
        self._next_due = float(self._slots.due.min())
        pause = min(_LONGEST_PAUSE, max(_SHORTEST_PAUSE, rows * _SECONDS_A_ROW))
        self._next_sweep = now if rows < _ROWS_WITHOUT_PAUSE else now + pause
