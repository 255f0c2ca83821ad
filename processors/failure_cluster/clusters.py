"""Clusters and their life. Pure: counts come in step by step, changes of state come out."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from typing import Any, Final

from processors.failure_cluster.causes import Attribute, Cause


class State(StrEnum):
    OPENED = "opened"
    GROWING = "growing"
    QUIET = "quiet"
    RESOLVED = "resolved"
    REOPENED = "reopened"


class Rule(StrEnum):
    """What opened a cluster."""

    THRESHOLD = "threshold"
    BURST = "burst"
    RATIO = "ratio"
    RETRY_LOOP = "retry_loop"
    SHARED_CAUSE = "shared_cause"


GAPS: Final = 5
"""A cluster whose failures come at intervals is not quiet before so many intervals have passed without one."""

FADED: Final = 0.1
"""A cluster is quiet, too, at this part of its worst pace: the noise that was there before it is no reason to wait."""

AGAIN: Final = 2
"""Times the pace at which a cluster goes quiet that ends the quiet."""


@dataclass(slots=True)
class Cluster:
    """Failures that belong together."""

    id: str
    rule: Rule
    opened_at: int
    """Nanoseconds, as all times that end in _at."""
    limit: int
    """So many failures within `window` steps are none of the rule's business."""
    window: int
    first_at: int = 0
    last_at: int = 0
    failures: int = 0
    state: State = State.OPENED
    classes: dict[str, int] = field(default_factory=dict)
    queues: dict[str, int] = field(default_factory=dict)
    units: dict[int, int] = field(default_factory=dict)
    """Failures of each unit."""
    faults: dict[int, int] = field(default_factory=dict)
    pairs: set[tuple[int, int]] = field(default_factory=set)
    """(unit, fault) whose failures belong here."""
    whole: set[int] = field(default_factory=set)
    """Units whose failures all belong here: no fault of theirs stands out."""
    everywhere: set[int] = field(default_factory=set)
    """Faults that belong here in whatever unit."""
    shared: list[Attribute] = field(default_factory=list)
    """Attributes whose failures belong here in whatever unit."""
    causes: list[Cause] = field(default_factory=list)
    """As last told."""
    suspects: set[Attribute] = field(default_factory=set)
    """Attributes that may be the cause."""
    jobs: list[str] = field(default_factory=list)
    """Ids of jobs in a retry loop."""
    messages: list[str] = field(default_factory=list)
    traces: list[str] = field(default_factory=list)
    error: tuple[str, str, str] = ("", "", "")
    """Type, category and fingerprint of the commonest error."""
    told: int = 0
    """Failures when it was told of last."""
    told_pace: float = 0.0
    worst: float = 0.0
    """The most failures a step, over a quiet time."""
    since: int = 0
    """Failures before it was opened last."""
    quiet_from: int = 0
    """Step in which it went quiet, or was resolved."""
    recent: deque[tuple[int, int]] = field(default_factory=deque)
    """(step, failures) of the last steps with some."""

    @property
    def active(self) -> bool:
        return self.state in (State.OPENED, State.GROWING, State.REOPENED)

    def count(self, bucket: int, failures: int, first_at: int, last_at: int) -> None:
        """Note failures of one step."""
        self.failures += failures
        self.first_at = min(self.first_at or first_at, first_at)
        self.last_at = max(self.last_at, last_at)
        if self.recent and self.recent[-1][0] == bucket:
            failures += self.recent.pop()[1]
        self.recent.append((bucket, failures))

    def reopen(self, bucket: int, first_at: int) -> None:
        """Begin anew after it was resolved."""
        self.state = State.REOPENED
        self.since = self.failures
        self.first_at, self.worst = first_at, 0.0
        self.recent.clear()

    def step(self, bucket: int, step_ns: int, quiet_after: int, resolve_after: int) -> State | None:
        """Return the state that it changes to at the end of a step, if it does; times in steps."""
        wait = self._wait(step_ns, quiet_after)
        while self.recent and self.recent[0][0] <= bucket - wait:
            self.recent.popleft()
        recent = sum(failures for _, failures in self.recent)
        pace = recent / wait
        self.worst = max(self.worst, pace)
        # once quiet, it takes more to come back: a failure now and then is no news
        allowed = self.limit * (AGAIN if self.state is State.QUIET else 1) * wait / self.window
        quiet = recent == 0 or pace <= FADED * self.worst or (self.window > wait and recent <= allowed)
        if self.state is State.QUIET:
            if not quiet and recent > 1:
                return self._change(State.REOPENED, pace)
            if bucket >= self.quiet_from + resolve_after:
                self.quiet_from = bucket
                return self._change(State.RESOLVED, pace)
            return None
        if quiet:
            self.quiet_from = bucket
            return self._change(State.QUIET, pace)
        if self.failures >= 2 * self.told or (pace >= 2 * self.told_pace > 0 and recent > self.limit):
            return self._change(State.GROWING, pace)
        return None

    def opened(self) -> State:
        """Return its state when it was opened or reopened in this step, as it is told of."""
        self.told = self.failures
        self.told_pace = 0.0
        return self.state

    def _wait(self, step_ns: int, quiet_after: int) -> int:
        number = self.failures - self.since
        gap = (self.last_at - self.first_at) / step_ns / max(1, number - 1)
        return max(quiet_after, min(int(GAPS * gap), self.window))

    def _change(self, state: State, pace: float) -> State:
        self.state = state
        self.told = self.failures
        self.told_pace = max(pace, self.worst)
        return state

    def as_json(self) -> dict[str, Any]:
        """Return all of it as JSON can say it."""
        return {
            "id": self.id,
            "rule": self.rule,
            "opened_at": self.opened_at,
            "limit": self.limit,
            "window": self.window,
            "first_at": self.first_at,
            "last_at": self.last_at,
            "failures": self.failures,
            "state": self.state,
            "classes": self.classes,
            "queues": self.queues,
            "units": list(self.units.items()),
            "faults": list(self.faults.items()),
            "pairs": sorted(self.pairs),
            "whole": sorted(self.whole),
            "everywhere": sorted(self.everywhere),
            "shared": self.shared,
            "causes": [(c.key, c.value, c.failures, c.successes) for c in self.causes],
            "suspects": sorted(self.suspects),
            "jobs": self.jobs,
            "messages": self.messages,
            "traces": self.traces,
            "error": self.error,
            "told": self.told,
            "told_pace": self.told_pace,
            "worst": self.worst,
            "since": self.since,
            "quiet_from": self.quiet_from,
            "recent": list(self.recent),
        }

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> Cluster:
        """Return what `as_json` gave. Raises KeyError, TypeError or ValueError for anything else."""
        values = dict(saved)
        values["rule"], values["state"] = Rule(values["rule"]), State(values["state"])
        values["units"], values["faults"] = dict(values["units"]), dict(values["faults"])
        values["pairs"] = {(unit, fault) for unit, fault in values["pairs"]}
        values["whole"], values["everywhere"] = set(values["whole"]), set(values["everywhere"])
        values["shared"] = [(key, value) for key, value in values["shared"]]
        values["suspects"] = {(key, value) for key, value in values["suspects"]}
        values["causes"] = [Cause(*cause) for cause in values["causes"]]
        values["error"] = tuple(values["error"])
        values["recent"] = deque((bucket, failures) for bucket, failures in values["recent"])
        return cls(**values)


def cluster_id(rule: Rule, subject: str, fault: str, opened_at: int) -> str:
    """Return the id of a cluster: the same for the same trouble, whenever and wherever its rows are replayed."""
    return blake2b(f"{rule}\x1f{subject}\x1f{fault}\x1f{opened_at}".encode(), digest_size=8).hexdigest()
