"""The graph of who calls whom, made of the rows that ClickHouse adds up. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from pipeline.digraph import cyclic_components

FAILING: Final = 0.1
"""The share of failures from which on a node or edge is shown as failing; below it, if there are any, as troubled."""

WIDEST: Final = 6.0

_UNSHOWN: Final = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\ud800-\\udfff\\ufffe\\uffff]")
"""Characters that XML 1.0 forbids or that break lines."""


class Node(NamedTuple):
    """`job`, `request`, `external` or `unknown`, and its name."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Edge:
    """What happened on an edge; quantiles (0.5, 0.95, 0.99) in nanoseconds, None where there is none."""

    parent: Node
    child: Node
    calls: int
    failures: int
    executions: int = 0
    fan_out: float = 0.0
    fan_out_max: int = 0
    linked: int = 0
    duration: tuple[float, ...] | None = None
    queue_latency: tuple[float, ...] | None = None
    first_seen: str = ""
    last_seen: str = ""
    parent_services: tuple[str, ...] = ()
    child_services: tuple[str, ...] = ()

    @property
    def trouble(self) -> str:
        """How it is: `well`, `troubled` or `failing`."""
        return _trouble(self.calls, self.failures)


class Graph:
    """Edges in order of calls, most first; `cycles` are the strongly connected components that have a cycle."""

    def __init__(self, edges: Iterable[Edge]) -> None:
        self.edges = tuple(edges)
        self.nodes = tuple(dict.fromkeys(node for edge in self.edges for node in (edge.parent, edge.child)))
        self.cycles = tuple(tuple(component) for component in cyclic_components(_children(self.edges)))
        self._cycle_of = {node: number for number, cycle in enumerate(self.cycles) for node in cycle}
        self._most = max((edge.calls for edge in self.edges), default=1)
        self._received = dict.fromkeys(self.nodes, (0, 0))
        for edge in self.edges:
            calls, failures = self._received[edge.child]
            self._received[edge.child] = calls + edge.calls, failures + edge.failures

    def below(self, root: str) -> Graph:
        """Return what is reached from the nodes of this name."""
        children = _children(self.edges)
        reached = {node for node in self.nodes if node.name == root}
        waiting = list(reached)
        while waiting:
            for child in children.get(waiting.pop(), ()):
                if child not in reached:
                    reached.add(child)
                    waiting.append(child)
        return Graph(edge for edge in self.edges if edge.parent in reached)

    def in_cycle(self, edge: Edge) -> bool:
        """Tell whether the edge is part of a cycle."""
        return edge.parent in self._cycle_of and self._cycle_of[edge.parent] == self._cycle_of.get(edge.child)

    def received(self, node: Node) -> tuple[int, int]:
        """Return how often a node was called, and how often that failed."""
        return self._received[node]

    def trouble(self, node: Node) -> str:
        """How a node is: `well`, `troubled` or `failing`."""
        return _trouble(*self.received(node))

    def width(self, edge: Edge) -> float:
        """Return how wide an edge is drawn, from 1: ten times the calls are the same step wider."""
        if edge.calls <= 1:
            return 1.0
        return round(1.0 + (WIDEST - 1.0) * math.log(edge.calls) / math.log(self._most), 1)

    def as_json(self) -> dict[str, Any]:
        """Return everything in the types of JSON."""
        numbers = {node: number for number, node in enumerate(self.nodes)}
        return {
            "nodes": [
                {"kind": node.kind, "name": node.name, "calls": calls, "failures": failures}
                for node in self.nodes
                for calls, failures in (self.received(node),)
            ],
            "edges": [
                {
                    "parent": numbers[edge.parent],
                    "child": numbers[edge.child],
                    "calls": edge.calls,
                    "failures": edge.failures,
                    "executions": edge.executions,
                    "fan_out": edge.fan_out,
                    "fan_out_max": edge.fan_out_max,
                    "linked": edge.linked,
                    "duration_ns": edge.duration,
                    "queue_latency_ns": edge.queue_latency,
                    "first_seen": edge.first_seen,
                    "last_seen": edge.last_seen,
                    "parent_services": edge.parent_services,
                    "child_services": edge.child_services,
                    "in_cycle": self.in_cycle(edge),
                }
                for edge in self.edges
            ],
            "cycles": [[numbers[node] for node in cycle] for cycle in self.cycles],
        }


def graph_of(rows: Iterable[Mapping[str, Any]]) -> Graph:
    """Return the graph of rows of `graph.sql`."""
    edges = [
        Edge(
            parent=Node(row["parent_kind"], row["parent"]),
            child=Node(row["child_kind"], row["child"]),
            calls=int(row["calls"]),
            failures=int(row["failures"]),
            executions=int(row["executions"]),
            fan_out=float(row["fan_out"] or 0),
            fan_out_max=int(row["fan_out_max"]),
            linked=int(row["linked"]),
            duration=_quantiles(row["duration"]),
            queue_latency=_quantiles(row["queue_latency"]),
            first_seen=row["first_seen"],
            last_seen=row["last_seen"],
            parent_services=tuple(row["parent_services"]),
            child_services=tuple(row["child_services"]),
        )
        for row in rows
    ]
    return Graph(sorted(edges, key=lambda edge: (-edge.calls, edge.parent, edge.child)))


def shown(node: Node) -> str:
    """Write a node's name for a picture: `?` for none, and spaces for control characters, which no format may have."""
    return _UNSHOWN.sub(" ", node.name) or "?"


def counted(number: int) -> str:
    """Write a number for people: 1 234 567."""
    return f"{number:,}".replace(",", "\u2009")


def share(part: int, whole: int) -> str:
    """Write a share for people; any at all is more than 0 %."""
    percent = 100 * part / whole
    return f"{percent:.0f}\u2009%" if percent >= 1 else f"{percent:.1g}\u2009%"


def _quantiles(values: Sequence[float | None]) -> tuple[float, ...] | None:
    # not a number is written as null: there was no sample
    known = tuple(value for value in values if value is not None)
    return known if len(known) == len(values) else None


def _trouble(calls: int, failures: int) -> str:
    if failures <= 0:
        return "well"
    return "failing" if failures >= FAILING * calls else "troubled"


def _children(edges: Iterable[Edge]) -> dict[Node, list[Node]]:
    children: dict[Node, list[Node]] = {}
    for edge in edges:
        children.setdefault(edge.parent, []).append(edge.child)
    return children
