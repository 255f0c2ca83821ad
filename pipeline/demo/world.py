"""Where and when the shop's story plays: its clock, its processes, its outage and its deploys. All from one seed."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from functools import cached_property
from random import Random

from pipeline.demo.cast import (
    BROKEN_FROM,
    BROKEN_UNTIL,
    BROKEN_VERSION,
    DEPLOYED_SERVICE,
    FIXED_VERSION,
    LANGUAGES,
    PROCESSES,
    VERSIONS,
)
from pipeline.demo.records import Instance

SECOND = 1_000_000_000
NATURAL_SECONDS = 60.0
"""Runs shorter than this play the same story faster, so that retries and timers still fit in."""

ENDLESS_DAY_SECONDS = 600.0
"""A run without end repeats its outage and its deploys every ten minutes."""


def dice_of(*parts: object) -> Random:
    """A source of chance that depends on `parts` only: same parts, same numbers, on every machine."""
    return Random("/".join(map(str, parts)))  # noqa: S311 - a simulation wants numbers that repeat, not secret ones


@dataclass(frozen=True)
class World:
    """The circumstances of one run.

    `epoch_ns` is when it starts (cut to whole milliseconds), `seconds` how long it lasts, None without end; `outage`
    the start and end of the payments API's failure as shares of the run, None for a day without.
    """

    seed: int
    epoch_ns: int
    seconds: float | None
    outage: tuple[float, float] | None = (0.35, 0.65)
    _instances: dict[tuple[str, str, str], Instance] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @cached_property
    def start_ns(self) -> int:
        return self.epoch_ns - self.epoch_ns % 1_000_000

    @cached_property
    def end_ns(self) -> int | None:
        return None if self.seconds is None else self.start_ns + int(self.seconds * SECOND)

    @cached_property
    def tempo(self) -> float:
        """Seconds of the run for a second of the shop: 1, or less in short runs."""
        return 1.0 if self.seconds is None else min(1.0, self.seconds / NATURAL_SECONDS)

    def share(self, at_ns: int) -> float:
        """How far the run (or the endless run's day) has come at `at_ns`, 0 to 1."""
        day = ENDLESS_DAY_SECONDS if self.seconds is None else max(self.seconds, 1e-9)
        return (at_ns - self.start_ns) / SECOND / day % 1.0

    def is_outage(self, at_ns: int) -> bool:
        return self.outage is not None and self.outage[0] <= self.share(at_ns) < self.outage[1]

    def version_of(self, service: str, at_ns: int) -> str:
        if service != DEPLOYED_SERVICE:
            return VERSIONS[service]
        share = self.share(at_ns)
        if share < BROKEN_FROM:
            return VERSIONS[service]
        return BROKEN_VERSION if share < BROKEN_UNTIL else FIXED_VERSION

    def instance(self, service: str, role: str, at_ns: int, dice: Random) -> Instance:
        """One of the processes that play `role` for `service` at that time; a deploy starts new processes."""
        host = dice.choice(PROCESSES[service, role])
        version = self.version_of(service, at_ns)
        key = service, host, version
        if key not in self._instances:
            own = dice_of(self.seed, "instance", *key)
            pid = own.randrange(300, 30_000)
            instance_id = str(uuid.UUID(int=own.getrandbits(128), version=4))
            self._instances[key] = Instance(service, version, host, pid, instance_id, LANGUAGES[service])
        return self._instances[key]
