"""A graph as Mermaid text, as GitHub and many wikis draw it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pipeline.graph.model import Edge, Graph, Node, counted, share, shown

_SHAPES: Final = {"job": ("[", "]"), "request": ("([", "])"), "external": ("[(", ")]"), "unknown": ("((", "))")}

_CLASSES: Final = {
    "well": "fill:#eef6ee,stroke:#3a7d44,color:#1b1b1b",
    "troubled": "fill:#fff4d6,stroke:#c98a00,color:#1b1b1b",
    "failing": "fill:#fde2e0,stroke:#c62828,color:#1b1b1b",
    "outside": "fill:#eef2fb,stroke:#4a64a8,color:#1b1b1b",
}

_STROKES: Final = {"well": "#777777", "troubled": "#c98a00", "failing": "#c62828"}

_ESCAPES: Final = str.maketrans({"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;", "`": "#96;"})


def mermaid(graph: Graph) -> str:
    """Return the text of a flow chart; a node is `n` and its number."""
    return "\n".join(_lines(graph)) + "\n"


def _lines(graph: Graph) -> Iterator[str]:
    yield "flowchart LR"
    numbers = {node: number for number, node in enumerate(graph.nodes)}
    for node, number in numbers.items():
        before, after = _SHAPES.get(node.kind, _SHAPES["unknown"])
        yield f'  n{number}{before}"{_text(graph, node)}"{after}:::{_class(graph, node)}'
    for edge in graph.edges:
        yield f'  n{numbers[edge.parent]} -->|"{_label(graph, edge)}"| n{numbers[edge.child]}'
    for number, edge in enumerate(graph.edges):
        dashes = ",stroke-dasharray:6 3" if graph.in_cycle(edge) else ""
        yield f"  linkStyle {number} stroke:{_STROKES[edge.trouble]},stroke-width:{graph.width(edge):g}px{dashes}"
    used = {_class(graph, node) for node in graph.nodes}
    yield from (f"  classDef {name} {style}" for name, style in _CLASSES.items() if name in used)


def _text(graph: Graph, node: Node) -> str:
    name = shown(node).translate(_ESCAPES)
    calls, failures = graph.received(node)
    return f"{name}<br/>{share(failures, calls)} failed" if failures > 0 and calls > 0 else name


def _label(graph: Graph, edge: Edge) -> str:
    return ("↻ " if graph.in_cycle(edge) else "") + counted(edge.calls)


def _class(graph: Graph, node: Node) -> str:
    trouble = graph.trouble(node)
    return "outside" if trouble == "well" and node.kind != "job" else trouble
