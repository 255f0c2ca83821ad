"""Workflows: all jobs that came from one root, and the chain of waiting and running that made them so long.

Pure. Times are nanoseconds since 1970.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple


class Spent(StrEnum):
    """What a job did with its time."""

    DELAYED = "delayed"
    """Held back on purpose: it was not due."""
    WAITING = "waiting"
    """Due, and waiting for a worker."""
    RUNNING = "running"
    RETRYING = "retrying"
    """Between two attempts."""


class JobName(NamedTuple):
    """What children call their parent by: ids are unique inside a class, whatever the system."""

    job_class: str
    job_id: str


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of time of one job."""

    job: Job
    spent: Spent
    begin: int
    end: int


@dataclass(slots=True, eq=False)
class Job:
    """One job with all its attempts."""

    name: JobName
    created: int
    """When it was enqueued, or first known of."""
    due: int = 0
    runs: list[tuple[int, int]] = field(default_factory=list)
    """Start and end of each attempt, in order."""
    outcome: str = ""
    """Of the last attempt; that of the enqueue where there is none."""
    error: str = ""
    service: str = ""
    trace_id: str = ""
    traces: frozenset[str] = frozenset()
    """The traces of its enqueues and attempts."""
    parent: JobName | None = None
    children: list[Job] = field(default_factory=list)

    @property
    def end(self) -> int:
        """When its last attempt ended; when it was created if it did not run."""
        return max((end for _, end in self.runs), default=self.created)

    def spent(self, kind: Spent) -> int:
        """Return how long it did something, in nanoseconds."""
        return sum(stretch.end - stretch.begin for stretch in self.stretches() if stretch.spent is kind)

    def stretches(self, until: int | None = None) -> Iterator[Stretch]:
        """Yield how it spent its time up to some moment, in order and without a gap."""
        at = self.created
        for number, (start, end) in enumerate(self.runs):
            if number == 0 and self.due > at:
                yield from self._stretch(Spent.DELAYED, at, min(self.due, start), until)
                at = max(at, min(self.due, start))
            yield from self._stretch(Spent.RETRYING if number else Spent.WAITING, at, start, until)
            yield from self._stretch(Spent.RUNNING, max(at, start), end, until)
            at = max(at, end)

    def _stretch(self, spent: Spent, begin: int, end: int, until: int | None) -> Iterator[Stretch]:
        end = end if until is None else min(end, until)
        if end > begin:
            yield Stretch(self, spent, begin, end)


@dataclass(frozen=True, slots=True)
class Workflow:
    """A root and everything below it."""

    root: Job

    def jobs(self) -> Iterator[Job]:
        """Yield all jobs, parents before children."""
        waiting = [self.root]
        while waiting:
            job = waiting.pop()
            yield job
            waiting += reversed(job.children)

    @property
    def unfinished(self) -> list[Job]:
        """The jobs that did not run, or will run again."""
        return [job for job in self.jobs() if not job.runs or job.outcome == "retried"]

    @property
    def nanoseconds(self) -> int:
        """From the root's enqueue to the end of the last job."""
        return max(job.end for job in self.jobs()) - self.root.created

    def path(self) -> list[Job]:
        """Return the jobs from the root to the one that ended last: what each of them waited for is the one before."""
        last = max(self.jobs(), key=lambda job: (job.end, job.created))
        above = {id(child): job for job in self.jobs() for child in job.children}
        path = [last]
        while (parent := above.get(id(path[-1]))) is not None:
            path.append(parent)
        return path[::-1]

    def critical(self) -> list[Stretch]:
        """Return how the jobs of the path spent the time, each up to the moment that it enqueued the next."""
        path = self.path()
        stretches: list[Stretch] = []
        for number, job in enumerate(path):
            stretches += job.stretches(path[number + 1].created if number + 1 < len(path) else None)
        return stretches


def jobs_of(rows: Iterable[Mapping[str, Any]]) -> dict[JobName, Job]:
    """Return the jobs of rows of `workflow.sql`, linked with their children, which are in order of creation."""
    by_name: defaultdict[JobName, list[Mapping[str, Any]]] = defaultdict(list)
    class_of: dict[tuple[str, str], str] = {}
    listed = sorted(rows, key=lambda row: (int(row["at"]), row["operation"], row["span_id"]))
    for row in listed:
        if row["job_class"]:
            class_of[row["system"], row["job_id"]] = row["job_class"]
    for row in listed:
        # an enqueue that does not know its class is about the job whose execution does
        known = row["job_class"] or class_of.get((row["system"], row["job_id"]), "")
        by_name[JobName(known, row["job_id"])].append(row)
    jobs = {name: _job(name, some) for name, some in by_name.items()}
    for job in sorted(jobs.values(), key=lambda job: (job.created, job.name)):
        above = jobs.get(job.parent) if job.parent is not None else None
        if above is not None and above is not job:
            above.children.append(job)
    return jobs


def workflows_of(jobs: Mapping[JobName, Job]) -> list[Workflow]:
    """Return the workflows that jobs belong to, in order of their roots: those whose parent is not known here.

    Jobs that are their own ancestors, which no telemetry should say, have no root and are left out.
    """
    roots = [job for job in jobs.values() if job.parent is None or job.parent not in jobs or job.parent == job.name]
    return [Workflow(root) for root in sorted(roots, key=lambda job: (job.created, job.name))]


def _job(name: JobName, rows: list[Mapping[str, Any]]) -> Job:
    """Make a job of its rows, which are in order of time."""
    runs = [row for row in rows if row["operation"] == "process"]
    enqueues = [row for row in rows if row["operation"] == "enqueue" and not row["is_retry_enqueue"]]
    told = [int(row["at"]) for row in (enqueues or rows)[:1]]
    if not enqueues and runs and runs[0]["enqueued_at"] is not None:
        told.append(int(runs[0]["enqueued_at"]))
    parents = [row for row in rows if row["parent_job_id"]]
    first = (runs or rows)[0]
    last = (runs or enqueues or rows)[-1]
    due = next((int(row["scheduled_for"]) for row in (*runs[:1], *enqueues) if row["scheduled_for"] is not None), 0)
    return Job(
        name,
        created=min(told),
        due=due,
        runs=[(int(row["at"]), int(row["at"]) + int(row["duration"])) for row in runs],
        outcome=last["outcome"],
        error=last["error_type"],
        service=first["service"],
        trace_id=first["trace_id"],
        traces=frozenset(row["trace_id"] for row in rows),
        parent=JobName(parents[0]["parent_job_class"], parents[0]["parent_job_id"]) if parents else None,
    )
