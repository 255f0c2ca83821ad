"""Graphs as text: what is shown, what is marked, and that no name breaks the picture."""

from __future__ import annotations

import re
import shutil
import subprocess
from itertools import pairwise
from random import Random
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.digraph import cyclic_components, shortest_path
from pipeline.graph.dot import NoGraphviz, dot, drawn
from pipeline.graph.mermaid import mermaid
from pipeline.graph.model import Edge, Graph, Node

with_graphviz = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")

ORDER, PAY, MAIL = Node("job", "Order"), Node("job", "Pay"), Node("job", "Mail")
WEB, DATABASE, NOBODY = Node("request", "POST /orders"), Node("external", "postgresql/shop"), Node("unknown", "")

SHOP = Graph(
    (
        Edge(WEB, ORDER, 1000, 0),
        Edge(ORDER, PAY, 1000, 200),
        Edge(PAY, ORDER, 10, 0),
        Edge(ORDER, DATABASE, 2000, 1),
        Edge(NOBODY, MAIL, 1, 0),
    )
)


def test_mermaid() -> None:
    """Scenario: a small shop. Guarantees: shapes, what fails, widths by volume, the cycle, the classes used."""
    assert mermaid(SHOP) == (
        "flowchart LR\n"
        '  n0(["POST /orders"]):::outside\n'
        '  n1["Order"]:::well\n'
        '  n2["Pay<br/>20\u2009% failed"]:::failing\n'
        '  n3[("postgresql/shop<br/>0.05\u2009% failed")]:::troubled\n'
        '  n4(("?")):::outside\n'
        '  n5["Mail"]:::well\n'
        '  n0 -->|"1\u2009000"| n1\n'
        '  n1 -->|"↻ 1\u2009000"| n2\n'
        '  n2 -->|"↻ 10"| n1\n'
        '  n1 -->|"2\u2009000"| n3\n'
        '  n4 -->|"1"| n5\n'
        "  linkStyle 0 stroke:#777777,stroke-width:5.5px\n"
        "  linkStyle 1 stroke:#c62828,stroke-width:5.5px,stroke-dasharray:6 3\n"
        "  linkStyle 2 stroke:#777777,stroke-width:2.5px,stroke-dasharray:6 3\n"
        "  linkStyle 3 stroke:#c98a00,stroke-width:6px\n"
        "  linkStyle 4 stroke:#777777,stroke-width:1px\n"
        "  classDef well fill:#eef6ee,stroke:#3a7d44,color:#1b1b1b\n"
        "  classDef troubled fill:#fff4d6,stroke:#c98a00,color:#1b1b1b\n"
        "  classDef failing fill:#fde2e0,stroke:#c62828,color:#1b1b1b\n"
        "  classDef outside fill:#eef2fb,stroke:#4a64a8,color:#1b1b1b\n"
    )


def test_dot() -> None:
    """Scenario: the same shop. Guarantees: the same in Graphviz's words."""
    text = dot(SHOP)

    assert text.startswith("digraph jobs {\n")
    assert text.endswith("}\n")
    assert (
        'n2 [label="Pay\\n20\u2009% failed", tooltip="Pay", shape=box, color="#c62828", fillcolor="#fde2e0"];' in text
    )
    assert 'n1 -> n2 [label="↻ 1\u2009000", tooltip="Order -> Pay, 1000 calls, 200 failed"' in text
    assert text.count("style=dashed") == 2
    assert "penwidth=6" in text


@given(st.text(), st.text())
def test_no_name_breaks_the_picture(one: str, other: str) -> None:
    """Scenario: any names. Guarantees: as many lines as for plain names, and labels that end where they should."""
    graph = Graph((Edge(Node("job", one), Node("external", f"x{other}"), 5, 0),))
    plain = Graph((Edge(Node("job", "a"), Node("external", "b"), 5, 0),))

    text = mermaid(graph)
    assert len(text.split("\n")) == len(mermaid(plain).split("\n"))
    assert all(line.count('"') in (0, 2) for line in text.split("\n"))
    for line in dot(graph).split("\n"):
        assert re.sub(r"\\.", "", line).count('"') % 2 == 0


def test_below_a_root() -> None:
    """Scenario: only what a class reaches. Guarantees: its edges and those below, not those into it from above."""
    below = SHOP.below("Order")

    assert {(edge.parent.name, edge.child.name) for edge in below.edges} == {
        ("Order", "Pay"),
        ("Pay", "Order"),
        ("Order", "postgresql/shop"),
    }
    assert SHOP.below("Nobody").edges == ()


def test_json_names_nodes_by_number() -> None:
    """Scenario: the graph as JSON. Guarantees: edges and cycles refer to nodes by their place."""
    written = SHOP.as_json()

    assert written["nodes"][2] == {"kind": "job", "name": "Pay", "calls": 1000, "failures": 200}
    assert [(edge["parent"], edge["child"], edge["in_cycle"]) for edge in written["edges"]][:3] == [
        (0, 1, False),
        (1, 2, True),
        (2, 1, True),
    ]
    assert [sorted(cycle) for cycle in written["cycles"]] == [[1, 2]]


def test_without_graphviz(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenario: `dot` is not on PATH. Guarantees: one line that says what to install and what works without."""
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(NoGraphviz, match=r"^svg needs Graphviz, whose program dot is not on PATH: .*--format mermaid"):
        drawn(SHOP, "svg")


def texts(svg: bytes) -> list[str]:
    """Return what an SVG shows as text; it has to be XML."""
    return [element.text or "" for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


@with_graphviz
def test_a_drawing() -> None:
    """Scenario: the same shop through Graphviz. Guarantees: a PNG; an SVG that shows names, shares and calls."""
    assert drawn(SHOP, "png").startswith(b"\x89PNG")
    shown = texts(drawn(SHOP, "svg"))
    assert {"POST /orders", "Order", "Pay", "20\u2009% failed", "↻ 10", "postgresql/shop", "?", "Mail"} <= set(shown)


@with_graphviz
@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ('say "hi"', ['say "hi"']),
        ("a\nb\tc\x00d\x1be\ufffef\ud800g", ["a b c d e f g"]),
        ("<b>bold</b> & &lt;", ["<b>bold</b> & &lt;"]),
        ("\\N \\n \\", ["\\N \\n \\"]),
        ("Größe 日本語", ["Größe 日本語"]),
        ("x" * 100, ["x" * 40, "x" * 40, "x" * 20]),
        ("", ["?"]),
    ],
)
def test_a_drawing_of_odd_names(name: str, lines: list[str]) -> None:
    """Scenario: names with quotes, control characters, markup, escapes, other scripts, a hundred letters, none.

    Guarantees: each is shown as it is, long ones on several lines, what no picture can have as spaces.
    """
    graph = Graph([Edge(Node("request", "GET /"), Node("external", name), 1, 0)])

    assert texts(drawn(graph, "svg")) == ["GET /", *lines, "1"]


@with_graphviz
def test_a_drawing_of_nothing_and_of_much() -> None:
    """Scenario: no edge at all, and five hundred classes. Guarantees: both are drawn; all classes are there."""
    assert texts(drawn(Graph([]), "svg")) == []
    random = Random(1)
    much = Graph(
        Edge(Node("job", f"Job{random.randrange(max(0, child - 30), child)}"), Node("job", f"Job{child}"), 1, 0)
        for child in [*range(1, 500), *range(1, 500)]
    )

    assert {text for text in texts(drawn(much, "svg")) if text.startswith("Job")} == {f"Job{n}" for n in range(500)}


def test_graphviz_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenario: `dot` is there and ends with an error, or does not end. Guarantees: its words; what to do."""
    monkeypatch.setattr("shutil.which", lambda _name: "/bin/false")

    with pytest.raises(NoGraphviz, match="dot failed: "):
        drawn(SHOP, "svg")

    def never(*_args: object, **_how: object) -> None:
        raise subprocess.TimeoutExpired("dot", 60)

    monkeypatch.setattr("subprocess.run", never)
    with pytest.raises(NoGraphviz, match="choose fewer with --root or --service"):
        drawn(SHOP, "svg")


GRAPHS = st.dictionaries(st.integers(0, 8), st.sets(st.integers(0, 8), max_size=4), max_size=9)


@given(GRAPHS)
def test_components_are_what_reaches_each_other(graph: dict[int, set[int]]) -> None:
    """Scenario: any small graph. Guarantees: components are the sets of nodes that reach each other.

    Where there is a way from a node to another, an edge back puts both into one component, and nowhere else.
    """

    def reached(node: int) -> set[int]:
        found: set[int] = set()
        waiting = [node]
        while waiting:
            for child in graph.get(waiting.pop(), ()):
                if child not in found:
                    found.add(child)
                    waiting.append(child)
        return found

    reach = {node: reached(node) for node in range(9)}
    expected = {frozenset(m for m in range(9) if m in reach[n] and n in reach[m]) for n in range(9) if n in reach[n]}

    assert {frozenset(component) for component in cyclic_components(graph)} == expected
    for start in range(9):
        for end in range(9):
            path = shortest_path(graph, start, end)
            assert (path is not None) == (start == end or end in reach[start])
            closed = {**graph, end: {*graph.get(end, ()), start}}
            assert any({start, end} <= set(component) for component in cyclic_components(closed)) == (path is not None)
            if path is not None:
                assert path[0] == start
                assert path[-1] == end
                assert all(after in graph[before] for before, after in pairwise(path))
