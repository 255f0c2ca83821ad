"""A memory of bounded size: the least recently used goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

_OVERHEAD: Final = 400
"""Bytes of an entry beside its text, about: tuples, links, the answer."""


class BoundedCache:
    """Remembers answers until they are more than `most_entries`, or their texts more than `most_bytes`."""

    def __init__(self, most_entries: int, most_bytes: int) -> None:
        self._most_entries = most_entries
        self._most_bytes = most_bytes
        self._entries: OrderedDict[Hashable, tuple[object, int]] = OrderedDict()
        self.nbytes = 0
        """What the entries take, about."""
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: Hashable) -> object | None:
        """Return the answer put under `key`, None if it is not remembered."""
        entry = self._entries.get(key)
        if entry is None:
            self.misses += 1
            return None
        self.hits += 1
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: Hashable, answer: object, size: int) -> None:
        """Remember `answer`; `size` is that of the key's text. What alone is over the bound is not remembered."""
        nbytes = size + _OVERHEAD
        if nbytes > self._most_bytes or self._most_entries == 0:
            return
        old = self._entries.pop(key, None)
        self.nbytes += nbytes - (old[1] if old else 0)
        self._entries[key] = (answer, nbytes)
        while len(self._entries) > self._most_entries or self.nbytes > self._most_bytes:
            _, (_, freed) = self._entries.popitem(last=False)
            self.nbytes -= freed
