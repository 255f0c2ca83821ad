"""Raises alerts of what runs away: cycles of classes, chains of jobs without end, executions with too many children.

A class that enqueues itself is no cycle here: paging and Celery's `chain` do so. Whether it ends shows in the chain of
its jobs, which `max_depth` limits. A retry is no call at all, so it closes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from pipeline.alerts import RUNBOOKS, Alert, AlertState, Severity
from pipeline.digraph import cyclic_components, shortest_path
from pipeline.hash_table import Rows
from pipeline.hashing import hex_of
from processors.job_dependencies.book import Book
from processors.job_dependencies.counting import Counted
from processors.job_dependencies.facts import NONE, NodeKind
from processors.job_dependencies.names import Edges, Names

_KEPT: Final = ("name", "severity", "subject", "text", "timestamp", "runbook")
"""What a saved state has of an alert that fires."""

_SHOWN: Final = 8
"""Classes of a long chain that are named."""


@dataclass(slots=True)
class _Firing:
    alert: Alert
    seen: float
    pairs: tuple[tuple[int, int], ...] = ()


@dataclass(slots=True)
class Watch:
    """Knows the graph of job classes of the last while, and which alerts fire."""

    max_depth: int
    max_fanout: int
    quiet_seconds: float
    """An alert about depth or fan-out is over when it was not true for so long."""
    window_seconds: float
    """An edge between classes, and with it a cycle, is over when it was not taken for so long."""
    _graph: dict[int, dict[int, float]] = field(default_factory=dict)
    """Class -> class it enqueued -> when that was seen last, on the engine's clock."""
    _firing: dict[tuple[str, str], _Firing] = field(default_factory=dict)
    _latest_ns: int = 0

    @property
    def nbytes(self) -> int:
        return 200 * sum(map(len, self._graph.values())) + 1000 * len(self._firing)

    def look(self, book: Book, edges: Edges, names: Names, counted: Counted, now: float) -> Iterator[Alert]:
        """Yield the alerts that are true by what was counted at `now`, once each."""
        if len(counted.jobs) == 0:
            return
        self._latest_ns = max(self._latest_ns, int(book.jobs["time"][counted.jobs].max()))
        raised: dict[tuple[str, str], tuple[Alert, tuple[tuple[int, int], ...]]] = {}
        for alert, pairs in (
            *self._cycles(book, edges, names, counted, now),
            *((alert, ()) for alert in self._deep(book, names, counted.jobs)),
            *((alert, ()) for alert in self._crowded(book, edges, names, counted)),
        ):
            raised.setdefault((alert.name, alert.subject), (alert, pairs))
        for name, (alert, pairs) in raised.items():
            self._firing[name] = _Firing(alert, now, pairs)
            yield alert

    def resolve(self, now: float) -> Iterator[Alert]:
        """Yield the ends of alerts that are true no more."""
        stale = {
            (parent, child)
            for parent, children in self._graph.items()
            for child, seen in children.items()
            if seen < now - self.window_seconds
        }
        for parent, child in stale:
            del self._graph[parent][child]
        for name, firing in list(self._firing.items()):
            over = bool(stale & set(firing.pairs)) if firing.pairs else firing.seen < now - self.quiet_seconds
            if over:
                del self._firing[name]
                alert = firing.alert
                yield Alert(
                    name=alert.name,
                    severity=alert.severity,
                    subject=alert.subject,
                    text=f"No longer seen: {alert.text}",
                    timestamp=self._latest_ns,
                    state=AlertState.RESOLVED,
                    labels=alert.labels,
                    runbook=alert.runbook,
                )

    @property
    def firing(self) -> bool:
        """Whether an alert is to be ended some time."""
        return bool(self._firing)

    def shift(self, seconds: float) -> None:
        """Move every time by `seconds`."""
        for children in self._graph.values():
            for child in children:
                children[child] += seconds
        for firing in self._firing.values():
            firing.seen += seconds

    def saved(self) -> dict[str, Any]:
        """Return what is known in the types of JSON, for `load`."""
        return {
            "latest_ns": self._latest_ns,
            "pairs": [[parent, child, seen] for parent, to in self._graph.items() for child, seen in to.items()],
            "firing": [
                {
                    "seen": firing.seen,
                    "pairs": firing.pairs,
                    "labels": dict(firing.alert.labels),
                    **{name: getattr(firing.alert, name) for name in _KEPT},
                }
                for firing in self._firing.values()
            ],
        }

    def load(self, known: dict[str, Any]) -> None:
        """Take over what another knew: what its edges close was told before."""
        self._latest_ns = known["latest_ns"]
        for parent, child, seen in known["pairs"]:
            self._graph.setdefault(parent, {})[child] = seen
        for one in known["firing"]:
            fields = {name: one[name] for name in _KEPT}
            alert = Alert(**{**fields, "severity": Severity(one["severity"]), "labels": one["labels"]})
            pairs = tuple((parent, child) for parent, child in one["pairs"])
            self._firing[alert.name, alert.subject] = _Firing(alert, one["seen"], pairs)

    def _cycles(
        self, book: Book, edges: Edges, names: Names, counted: Counted, now: float
    ) -> Iterator[tuple[Alert, tuple[tuple[int, int], ...]]]:
        """Yield what the edges that are new close.

        An edge closes a cycle exactly if both its ends are in one strongly connected component of the graph with it.
        So components are made once for all edges that are new, and only inside of them a way back is looked for, the
        shortest: one edge after the other, as if they had not come together.
        """
        distinct, firsts = np.unique(counted.edges, return_index=True)
        table = edges.table.take(distinct)
        between = (table["parent_kind"] == NodeKind.JOB) & (table["child_kind"] == NodeKind.JOB)
        between &= table["parent"] != table["child"]
        new: dict[tuple[int, int], tuple[int, int]] = {}
        for edge, job in zip(table[between], counted.jobs[firsts[between]].tolist(), strict=True):
            parent, child = int(edge["parent"]), int(edge["child"])
            if child in self._graph.get(parent, ()):
                self._graph[parent][child] = now
            else:
                new.setdefault((parent, child), (job, int(edge["parent_service"])))
        if not new:
            return
        together = {parent: set(children) for parent, children in self._graph.items()}
        for parent, child in new:
            together.setdefault(parent, set()).add(child)
        components = cyclic_components(together)
        component = {node: number for number, nodes in enumerate(components) for node in nodes}
        for (parent, child), (job, service) in new.items():
            self._graph.setdefault(parent, {})[child] = now
            if component.get(parent, NONE) != component.get(child):
                continue
            way = shortest_path(self._graph, child, parent)
            if way is not None:
                yield self._cycle(book, names, way, job, service), tuple(zip(way, [*way[1:], way[0]], strict=True))

    def _cycle(self, book: Book, names: Names, way: list[int], job: int, service: int) -> Alert:
        classes = [names.texts[number] for number in way]
        # the same cycle has the same subject, whichever edge closed it
        begin = classes.index(min(classes))
        subject = " → ".join([*classes[begin:], *classes[: begin + 1]])
        return Alert(
            name="JobCycle",
            severity=Severity.WARNING,
            subject=subject,
            text=(
                f"Jobs enqueue each other in a circle: {subject}. "
                f"It was closed by {classes[-1]} enqueueing {classes[0]}. "
                "Workflows that poll do so on purpose; JobDepth tells of one that does not end."
            ),
            timestamp=int(book.jobs["time"][job]),
            labels={"job_class": classes[-1], "service": names.texts[service]},
            runbook=RUNBOOKS + "job-cycle.md",
            trace_ids=_trace(book, job),
        )

    def _deep(self, book: Book, names: Names, jobs: Rows) -> Iterator[Alert]:
        if self.max_depth == 0:
            return
        going = jobs
        origin = np.arange(len(jobs))
        for _ in range(self.max_depth):
            above = book.jobs_named(book.jobs["parent_key"][going])
            known = above >= 0
            going, origin = above[known], origin[known]
            if len(going) == 0:
                return
        deep = jobs[origin[book.jobs["parent_key"][going] != 0]]
        _, firsts = np.unique(book.jobs["job_class"][deep], return_index=True)
        for job in deep[firsts].tolist():
            yield self._depth(book, names, job)

    def _depth(self, book: Book, names: Names, job: int) -> Alert:
        chain = [job]
        while len(chain) <= self.max_depth:
            (above,) = book.jobs_named(book.jobs["parent_key"][chain[-1:]]).tolist()
            chain.append(above)
        classes = [names.texts[number] for number in book.jobs["job_class"][chain[::-1]].tolist()]
        last = classes[-1]
        alone = len(set(classes)) == 1
        way = f"{last} enqueues itself" if alone else " → ".join(["…", *classes[-_SHOWN:]])
        return Alert(
            name="JobDepth",
            severity=Severity.CRITICAL,
            subject=last,
            text=(
                f"More than {self.max_depth} jobs (max_depth), each enqueued by the one before, "
                f"and {last} is the latest: {way}."
            ),
            timestamp=int(book.jobs["time"][job]),
            labels={"job_class": last, "service": names.texts[int(book.jobs["service"][job])]},
            runbook=RUNBOOKS + "job-depth.md",
            trace_ids=_trace(book, job),
        )

    def _crowded(self, book: Book, edges: Edges, names: Names, counted: Counted) -> Iterator[Alert]:
        if self.max_fanout == 0:
            return
        crowded = counted.sizes > self.max_fanout
        jobs, sizes = counted.examples[crowded], counted.sizes[crowded]
        edge = edges.table.take(book.jobs["edge"][jobs])
        # the largest of each class or request
        order = np.lexsort((-sizes, edge["parent"], edge["parent_kind"]))
        _, firsts = np.unique(edge[order][["parent_kind", "parent"]], return_index=True)
        for place in order[firsts].tolist():
            parent, kind = names.texts[int(edge["parent"][place])], NodeKind(int(edge["parent_kind"][place]))
            job, size = int(jobs[place]), int(sizes[place])
            labels = {"job_class": parent} if kind == NodeKind.JOB else {"request": parent}
            yield Alert(
                name="JobFanout",
                severity=Severity.WARNING,
                subject=parent,
                text=(
                    f"One {'execution' if kind == NodeKind.JOB else 'request'} of {parent} enqueued {size} jobs "
                    f"(max_fanout {self.max_fanout}), {names.texts[int(book.jobs['job_class'][job])]} among them."
                ),
                timestamp=int(book.jobs["time"][job]),
                labels={**labels, "service": names.texts[int(edge["parent_service"][place])]},
                runbook=RUNBOOKS + "job-fanout.md",
                trace_ids=_trace(book, job),
            )


def _trace(book: Book, job: int) -> tuple[str, ...]:
    record = book.jobs[job : job + 1]
    return (str(hex_of(record["trace_hi"], record["trace_lo"])[0].as_py()),)
