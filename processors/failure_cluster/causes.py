"""What failures have in common: attributes that they have, and that the successes of the same time have not.

Shares are of samples. Several classes are weighed by their failures, on both sides, so that an attribute of a class
that succeeds a lot does not look like the failures' opposite (direct standardisation).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.records import Records
from processors.failure_cluster.names import Names

DEPENDENCY: Final = "dependency"
QUEUE: Final = "queue"
WORKER: Final = "worker"

_COLUMNS: Final = {DEPENDENCY: "peer", QUEUE: "queue", WORKER: "worker"}

_ORDER: Final = (DEPENDENCY, "service.version", "host.name", QUEUE, WORKER)
"""Of causes that say the same, these come first."""

ENOUGH: Final = 5
"""Successes that are enough to compare with."""

_MOST: Final = 8
"""Causes that are told."""

Attribute = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Cause:
    """An attribute with its share in the failures, and in the successes if there are any to compare with."""

    key: str
    value: str
    failures: float
    successes: float | None

    @property
    def attribute(self) -> Attribute:
        return self.key, self.value

    @property
    def lift(self) -> float:
        return self.failures - (self.successes or 0.0)


def shares(rows: Records, weights: npt.NDArray[np.float64], names: Names) -> dict[Attribute, float]:
    """Return the share of the rows' weight that has each attribute."""
    total = float(weights.sum())
    found: dict[Attribute, float] = {}
    if total <= 0:
        return found
    for key, column in _COLUMNS.items():
        values, inverse = np.unique(rows[column], return_inverse=True)
        for value, weight in zip(values.tolist(), np.bincount(inverse, weights=weights).tolist(), strict=True):
            if value:
                found[key, names.text(value)] = weight / total
    resources, inverse = np.unique(rows["resource"], return_inverse=True)
    for resource, weight in zip(resources.tolist(), np.bincount(inverse, weights=weights).tolist(), strict=True):
        for attribute in names.resources.get(resource, ()):
            found[attribute] = found.get(attribute, 0.0) + weight / total
    return found


def has(rows: Records, attribute: Attribute, names: Names) -> npt.NDArray[np.bool_]:
    """Return which rows have an attribute."""
    key, value = attribute
    if key in _COLUMNS:
        numbers, inverse = np.unique(rows[_COLUMNS[key]], return_inverse=True)
        same = np.array([bool(number) and names.text(number) == value for number in numbers.tolist()], np.bool_)
    else:
        numbers, inverse = np.unique(rows["resource"], return_inverse=True)
        same = np.array([attribute in names.resources.get(number, ()) for number in numbers.tolist()], np.bool_)
    return same[inverse] if len(same) else np.zeros(len(rows), np.bool_)


def compared(failures: Records, successes: Records, counts: dict[int, int], since: int, names: Names) -> list[Cause]:
    """Return all attributes of the failures, the most telling first.

    `counts` are the failures of each unit, `successes` are of the same units. Those since a time are compared; those
    before, where a unit has too few.
    """
    mine = _weights(failures["unit"], counts)
    ours = shares(failures, mine, names)
    chosen = _same_time(successes, since)
    enough = len(chosen) >= ENOUGH
    theirs = shares(chosen, _weights(chosen["unit"], counts), names) if enough else {}
    causes = [
        Cause(key, value, round(share, 4), round(theirs.get((key, value), 0.0), 4) if enough else None)
        for (key, value), share in ours.items()
    ]
    return sorted(causes, key=lambda cause: (-round(cause.lift, 2), rank(cause.key), cause.key, cause.value))


def rank(key: str) -> int:
    """Return the place of a key among causes that say the same."""
    return _ORDER.index(key) if key in _ORDER else len(_ORDER)


def told(causes: Iterable[Cause]) -> list[Cause]:
    """Return the causes that are worth telling: most of the failures, clearly more than of the successes.

    Where nothing can be compared, only a failed call tells something.
    """
    return [
        cause
        for cause in causes
        if cause.failures >= 0.5
        and (
            (cause.successes is None and cause.key == DEPENDENCY)
            or (cause.successes is not None and cause.lift >= 0.25)
        )
    ][:_MOST]


def telling(causes: Iterable[Cause], share: float) -> list[Cause]:
    """Return those that may be the cause: `share` of the failures have it, and at most half as many successes."""
    return [
        cause
        for cause in causes
        if cause.failures >= share
        and (cause.successes <= cause.failures / 2 if cause.successes is not None else cause.key == DEPENDENCY)
    ]


def _same_time(successes: Records, since: int) -> Records:
    """Return of each unit the successes since a time; all of a unit that has too few since then."""
    late = successes["end"] >= since
    units, inverse = np.unique(successes["unit"], return_inverse=True)
    if len(units) == 0:
        return successes
    enough = np.bincount(inverse, weights=late) >= ENOUGH
    return successes[late | ~enough[inverse]]


def _weights(units: npt.NDArray[np.int32], counts: dict[int, int]) -> npt.NDArray[np.float64]:
    """Return weights of samples, so that each unit weighs as it fails."""
    distinct, inverse, numbers = np.unique(units, return_inverse=True, return_counts=True)
    weight = np.array([counts.get(unit, 0) for unit in distinct.tolist()], np.float64) / numbers
    return weight[inverse]
