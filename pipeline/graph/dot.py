"""A graph in Graphviz's language, and through Graphviz as a picture."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from typing import Final

from pipeline.graph.model import Edge, Graph, Node, counted, share, shown

_SHAPES: Final = {"job": "box", "request": "oval", "external": "cylinder", "unknown": "circle"}

_COLOURS: Final = {
    "well": ("#3a7d44", "#eef6ee"),
    "troubled": ("#c98a00", "#fff4d6"),
    "failing": ("#c62828", "#fde2e0"),
    "outside": ("#4a64a8", "#eef2fb"),
}


_LONGEST: Final = 40
"""Characters on one line of a box."""

_MANY: Final = 200
"""Edges from which on `dot` takes minutes for a better order of the boxes, if it is let."""

_SOONER: Final = ", nslimit=1, nslimit1=1, mclimit=0.3, splines=line"

_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "&": "&amp;", "\n": "\\n"})


class NoGraphviz(Exception):
    """Graphviz cannot draw; the message says what to do."""


def dot(graph: Graph) -> str:
    """Return the text of a digraph."""
    return "\n".join(_lines(graph)) + "\n"


def drawn(graph: Graph, form: str, seconds: float = 60.0) -> bytes:
    """Return the picture that Graphviz makes, `form` being `svg` or `png`. Raises NoGraphviz."""
    program = shutil.which("dot")
    if program is None:
        raise NoGraphviz(
            f"{form} needs Graphviz, whose program dot is not on PATH: install it (apt install graphviz, "
            "brew install graphviz), or use --format mermaid or --format dot"
        )
    try:
        done = subprocess.run(  # noqa: S603 - a program from PATH, with arguments of ours
            [program, f"-T{form}"], input=dot(graph).encode(), capture_output=True, check=True, timeout=seconds
        )
    except subprocess.TimeoutExpired as error:
        raise NoGraphviz(
            f"dot did not draw {len(graph.edges)} edges within {seconds:g} s: choose fewer with --root or --service"
        ) from error
    except (subprocess.CalledProcessError, OSError) as error:
        words = (
            error.stderr.decode(errors="replace").strip() if isinstance(error, subprocess.CalledProcessError) else ""
        )
        raise NoGraphviz(f"dot failed: {words or error}") from error
    return done.stdout


def _lines(graph: Graph) -> Iterator[str]:
    yield "digraph jobs {"
    yield f"  graph [rankdir=LR, ranksep=0.8{_SOONER if len(graph.edges) > _MANY else ''}];"
    yield '  node [style="filled,rounded", fontname="Helvetica", fontsize=11];'
    yield '  edge [fontname="Helvetica", fontsize=9, arrowsize=0.6];'
    numbers = {node: number for number, node in enumerate(graph.nodes)}
    for node, number in numbers.items():
        trouble = graph.trouble(node)
        colour, fill = _COLOURS["outside" if trouble == "well" and node.kind != "job" else trouble]
        shape = _SHAPES.get(node.kind, "circle")
        yield (
            f"  n{number} [label={_quoted(_text(graph, node))}, tooltip={_quoted(shown(node))}, "
            f'shape={shape}, color="{colour}", fillcolor="{fill}"];'
        )
    for edge in graph.edges:
        cycle = graph.in_cycle(edge)
        colour = _COLOURS[edge.trouble][0] if edge.trouble != "well" else "#777777"
        style = ", style=dashed" if cycle else ""
        label = _quoted(("↻ " if cycle else "") + counted(edge.calls))
        yield (
            f"  n{numbers[edge.parent]} -> n{numbers[edge.child]} "
            f'[label={label}, tooltip={_quoted(_tip(edge))}, color="{colour}", penwidth={graph.width(edge):g}{style}];'
        )
    yield "}"


def _text(graph: Graph, node: Node) -> str:
    calls, failures = graph.received(node)
    name = shown(node)
    lines = [name[at : at + _LONGEST] for at in range(0, len(name), _LONGEST)]
    if failures > 0 and calls > 0:
        lines.append(f"{share(failures, calls)} failed")
    return "\n".join(lines)


def _tip(edge: Edge) -> str:
    parts = [f"{shown(edge.parent)} -> {shown(edge.child)}", f"{edge.calls} calls, {edge.failures} failed"]
    if edge.duration:
        parts.append(f"duration p50 {edge.duration[0] / 1e6:.0f} ms, p99 {edge.duration[-1] / 1e6:.0f} ms")
    return ", ".join(parts)


def _quoted(text: str) -> str:
    return f'"{text.translate(_ESCAPES)}"'
