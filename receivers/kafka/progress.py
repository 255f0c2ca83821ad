"""How far one partition was read, and how far everything read from it was delivered. Pure.

Stretches of messages are taken in the order of their offsets and finish in any order; what may be committed is the
offset up to which all are finished.
"""

from __future__ import annotations

from collections import deque


class Stretch:
    """Messages of a partition that were taken at once, and are finished at once."""

    __slots__ = ("finished", "messages", "start")

    def __init__(self, start: int, messages: int) -> None:
        self.start = start
        self.messages = messages
        self.finished = False


class Progress:
    """One partition, from where this consumer began with it."""

    def __init__(self, start: int, *, committed: bool = True) -> None:
        """`committed` says whether the group has an offset already; if not, the start itself is worth a commit."""
        self.read = start
        """The offset that is to be read next."""

        self.unfinished_messages = 0
        self._committed = start if committed else -1
        self._open: deque[Stretch] = deque()

    def take(self, first: int, following: int, messages: int) -> Stretch:
        """Note that offsets from `first` to before `following` were read; gaps exist, so `messages` may be fewer."""
        stretch = Stretch(first, messages)
        self._open.append(stretch)
        self.read = following
        self.unfinished_messages += messages
        return stretch

    def finish(self, stretch: Stretch) -> None:
        """Note that nothing of a stretch is owed any more."""
        stretch.finished = True
        self.unfinished_messages -= stretch.messages
        while self._open and self._open[0].finished:
            self._open.popleft()

    @property
    def settled(self) -> int:
        """The offset up to which everything is finished: where a new owner is to begin."""
        return self._open[0].start if self._open else self.read

    def to_commit(self) -> int | None:
        """Return the offset that is worth a commit, None where nothing has changed since the last one."""
        return self.settled if self.settled > self._committed else None

    def commit(self, offset: int) -> None:
        """Note that the group has this offset."""
        self._committed = max(self._committed, offset)
