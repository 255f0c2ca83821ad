"""What is counted apart: a class, or a class on the queues that an override is for. Each has a number."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Column
from pipeline.hash_table import HashTable
from pipeline.hashing import Hashes, combined, text_hashes
from processors.failure_cluster.config import Override

Numbers = npt.NDArray[np.int32]

OTHER: Final = 0
"""The unit of all classes beyond the limit."""

OTHER_NAME: Final = "(other classes)"
UNNAMED: Final = "(no class)"

_NO_CLASS: Final = np.uint64(1)
"""The hash of a class that has none."""


class Units:
    """Numbers units, and knows which rules hold for each: 0 the general ones, n those of override n - 1."""

    def __init__(self, overrides: tuple[Override, ...], limit: int) -> None:
        self._overrides = overrides
        self._by_queue = any(override.queue is not None for override in overrides)
        self._limit = limit
        self._numbers: dict[tuple[str, int], int] = {}
        self._known = HashTable()
        self._rules: npt.NDArray[np.int64] | None = None
        self.names: list[str] = [OTHER_NAME]
        self.rules: list[int] = [0]
        self._queues: list[str] = [""]
        """The queue on which a unit was seen first: says which override is meant when the rules have changed."""
        self._free: list[int] = []
        self.crowded = False
        """Whether a class found no number since `retire` was called."""

    def __len__(self) -> int:
        return len(self.names)

    def of(self, classes: Column, queues: Column) -> Numbers:
        """Return the unit of each row."""
        names = classes.dictionary_encode(null_encoding="encode")
        codes, labels = names.indices.to_numpy(), names.dictionary
        units: Numbers
        if len(codes) == 0:
            return np.zeros(0, np.int32)
        if not self._by_queue:
            units = self._numbers_of(text_hashes(labels), labels, None)[codes]
            return units
        others = queues.dictionary_encode(null_encoding="encode")
        number = len(others.dictionary)
        pairs, inverse = np.unique(codes * np.int64(number) + others.indices.to_numpy(), return_inverse=True)
        labels, queue_names = labels.take(pairs // number), others.dictionary.take(pairs % number)
        units = self._numbers_of(combined(text_hashes(labels), text_hashes(queue_names)), labels, queue_names)[inverse]
        return units

    def _numbers_of(self, hashes: Hashes, labels: Column, queues: Column | None) -> Numbers:
        """Return the unit of each of distinct classes, or pairs of class and queue; only new ones cost a look."""
        hashes[hashes == 0] = _NO_CLASS
        numbers = self._known.find(hashes)
        unknown = np.flatnonzero(numbers < 0)
        if len(unknown):
            if len(self._known) > 4 * self._limit:
                self._known = HashTable()
            for place in unknown.tolist():
                queue = "" if queues is None else queues[place].as_py() or ""
                numbers[place] = self.number(labels[place].as_py() or UNNAMED, queue)
            named = unknown[numbers[unknown] != OTHER]
            self._known.swap(hashes[named], numbers[named])
        return numbers.astype(np.int32)

    def number(self, job_class: str, queue: str) -> int:
        """Return the unit of a class on a queue."""
        rules = self._rules_for(job_class, queue)
        number = self._numbers.get((job_class, rules))
        if number is None:
            number = self._new(job_class, rules, queue)
        return number

    def _rules_for(self, job_class: str, queue: str) -> int:
        return next((n for n, override in enumerate(self._overrides, 1) if override.matches(job_class, queue)), 0)

    @property
    def rule_numbers(self) -> npt.NDArray[np.int64]:
        """The rules of each unit."""
        if self._rules is None:
            self._rules = np.array(self.rules, np.int64)
        return self._rules

    def _new(self, job_class: str, rules: int, queue: str) -> int:
        if self._free:
            number = self._free.pop()
            self.names[number], self.rules[number], self._queues[number] = job_class, rules, queue
        elif len(self.names) <= self._limit:
            number = len(self.names)
            self.names.append(job_class)
            self.rules.append(rules)
            self._queues.append(queue)
        else:
            self.crowded = True
            return OTHER
        self._numbers[job_class, rules] = number
        self._rules = None
        return number

    def retire(self, numbers: Iterable[int]) -> None:
        """Free the numbers of idle units, for classes to come."""
        free = set(self._free)
        for number in sorted(set(numbers) - {OTHER} - free, reverse=True):
            key = self.names[number], self.rules[number]
            if self._numbers.get(key) == number:
                del self._numbers[key]
            self._free.append(number)
        self._known = HashTable()
        self.crowded = False

    def as_json(self) -> dict[str, Any]:
        return {"names": list(self.names), "queues": list(self._queues), "free": list(self._free)}

    def load(self, names: list[str], queues: list[str], free: list[int]) -> None:
        """Take over numbers that were given; the rules are those that hold for the class and queue now.

        Where rules have changed, two units may have become one: the first is counted on, the other is idle from now.
        """
        self.names, self._queues, self._free = [OTHER_NAME, *names[1:]], list(queues), list(free)
        pairs = zip(self.names[1:], self._queues[1:], strict=True)
        self.rules = [0, *(self._rules_for(name, queue) for name, queue in pairs)]
        gone = set(free)
        self._numbers = {}
        for number, key in enumerate(zip(self.names, self.rules, strict=True)):
            if number != OTHER and number not in gone:
                self._numbers.setdefault(key, number)
        self._known, self._rules = HashTable(), None
