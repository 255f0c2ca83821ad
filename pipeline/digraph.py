"""Directed graphs as plain mappings: cycles and the paths that close them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import TypeVar

N = TypeVar("N")


def shortest_path(graph: Mapping[N, Iterable[N]], start: N, end: N) -> list[N] | None:
    """Return the nodes from `start` to `end`, both included, by the fewest edges; None where there is no way.

    From a node to itself it is the node alone.
    """
    came_from: dict[N, N] = {start: start}
    waiting = deque([start])
    while waiting and end not in came_from:
        node = waiting.popleft()
        for after in graph.get(node, ()):
            if after not in came_from:
                came_from[after] = node
                waiting.append(after)
    if end not in came_from:
        return None
    path = [end]
    while path[-1] != start:
        path.append(came_from[path[-1]])
    return path[::-1]


def cyclic_components(graph: Mapping[N, Iterable[N]]) -> list[list[N]]:
    """Return the strongly connected components that have a cycle: two nodes or more, or an edge to itself.

    Tarjan's algorithm (SIAM Journal on Computing 1, 1972), without recursion: graphs may be deep.
    """
    order: dict[N, int] = {}
    low: dict[N, int] = {}
    open_: dict[N, None] = {}
    components = []
    for root in graph:
        if root in order:
            continue
        order[root] = low[root] = len(order)
        open_[root] = None
        work = [(root, iter(graph[root]))]
        while work:
            node, after = work[-1]
            for child in after:
                if child not in order:
                    order[child] = low[child] = len(order)
                    open_[child] = None
                    work.append((child, iter(graph.get(child, ()))))
                    break
                if child in open_:
                    low[node] = min(low[node], order[child])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == order[node]:
                    component: list[N] = []
                    while not component or component[-1] != node:
                        component.append(open_.popitem()[0])
                    if len(component) > 1 or node in graph.get(node, ()):
                        components.append(component[::-1])
    return components
