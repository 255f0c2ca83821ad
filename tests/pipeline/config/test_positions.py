"""YAML with positions: what scalars mean, where values stand, what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import positions
from pipeline.config.positions import Node, Place, Problem, path_text, read_yaml, scalar

KEYS = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), min_size=1, max_size=8)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12)
TREES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("on", "on"), ("yes", "yes"), ("No", "No"), ("22:22", "22:22"), ("0777", 777), ("1e3", 1000.0),
        ("1_000", "1_000"), ("0b1", "0b1"), ("0o17", 15), ("0x1F", 31), ("-5", -5), ("+5", 5), ("1.", 1.0), (".5", 0.5),
        ("true", True), ("FALSE", False), ("tRue", "tRue"), ("null", None), ("~", None), ("", None), ("nil", "nil"),
        (".inf", math.inf), ("-.INF", -math.inf), ("2026-01-01", "2026-01-01"), ("=", "="), ("1e", "1e"), (".", "."),
        ("9" * 5000, "9" * 5000),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text: str, expected: object) -> None:
    """Scenario: what 1.1 and 1.2 read differently, and the edges. Guarantees: 1.2's core schema, type for type."""
    assert expected == scalar(text)
    assert type(expected) is type(scalar(text))
    assert math.isnan(scalar(".nan"))  # type: ignore[arg-type]  # the table cannot compare it


@given(TREES)
def test_reads_what_was_written(tree: Any) -> None:
    """Scenario: any tree, its text in quotes. Guarantees: the same values, with nothing to complain of."""
    node, problems = read_yaml(_written(tree), "f")

    assert problems == []
    assert node.plain() == tree


@given(TREES)
def test_places_point_to_the_text(tree: Any) -> None:
    """Scenario: any tree. Guarantees: at the place of every key and value stands just that text."""
    text = _written(tree)
    lines = text.split("\n")

    node, _ = read_yaml(text, "f")

    for step, inner in _all(node):
        if inner.key is not None:
            assert lines[inner.key.line - 1][inner.key.column - 1 :].startswith(_written(step))
        if not isinstance(inner.value, (dict, list)):
            assert lines[inner.place.line - 1][inner.place.column - 1 :].startswith(_written(inner.value))


@given(st.text(st.sampled_from("a:-[]{}\"'\n\t &*<#|>!?%@,$0"), max_size=30))
def test_no_text_breaks_it(text: str) -> None:
    """Scenario: any mess of YAML's own characters. Guarantees: a tree or problems with places, never an exception."""
    node, problems = read_yaml(text, "f")

    assert problems or not any(inner.broken for _, inner in _all(node))
    assert all(problem.place.source == "f" for problem in problems)


def test_the_python_reader_is_a_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenario: a machine without libyaml. Guarantees: PyYAML's own reader gives the same tree."""
    text = "a: &x {b: [1, on], c: 'x'}\nd:\n  <<: *x\n  e: !!str 5\n"
    fast = read_yaml(text, "f")
    monkeypatch.setattr(positions, "_Loader", positions._PythonLoader)
    assert fast == read_yaml(text, "f")


@pytest.mark.parametrize("depth", [positions.MAX_DEPTH + 1, 2_000, 200_000])
def test_depth_is_a_problem_not_a_crash(depth: int) -> None:
    """Scenario: lists in lists, more than allowed, more than Python or libyaml can follow. Guarantees: one line."""
    _, problems = read_yaml("[" * depth + "]" * depth, "f")
    assert [str(problem) for problem in problems] == ["f:1:101: more than 100 levels of maps and lists"]


def test_places_of_block_and_flow() -> None:
    """Scenario: maps, lists, flow style, quotes, a block scalar, non-ASCII text before. Guarantees: exact places."""
    node, problems = read_yaml("# é\nä: {b: [1, 'x']}\nc:\n  - d: |\n      text\n", "f")

    assert problems == []
    assert _place(node, ("ä",)) == (Place("f", 2, 1), Place("f", 2, 4))
    assert _place(node, ("ä", "b")) == (Place("f", 2, 5), Place("f", 2, 8))
    assert _place(node, ("ä", "b", 1)) == (None, Place("f", 2, 12))
    assert _place(node, ("c", 0, "d")) == (Place("f", 4, 5), Place("f", 4, 8))
    assert node.nearest(("c", 0, "nothing", "at all")).place == Place("f", 4, 5)
    assert node.at(("c", 1)) is None


def test_merge_keys_and_anchors() -> None:
    """Scenario: `<<` with one map and with a list of maps. Guarantees: own keys win, then the first map."""
    node, problems = read_yaml(
        "base: &base {a: 1, b: 2}\nmore: &more {b: 3, c: 4}\nall:\n  b: 5\n  <<: [*base, *more]\none:\n  <<: *more\n",
        "f",
    )

    assert problems == []
    assert node.plain()["all"] == {"a": 1, "b": 5, "c": 4}
    assert node.plain()["one"] == {"b": 3, "c": 4}
    assert _place(node, ("all", "a")) == (Place("f", 1, 14), Place("f", 1, 17))


def test_anchors_that_stand_for_billions() -> None:
    """Scenario: ten levels of ten aliases each. Guarantees: one line, soon."""
    levels = ["a0: &a0 [x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    _, problems = read_yaml("\n".join(levels), "f")
    assert [problem.text for problem in problems] == ["the anchors stand for more than 50000 values"]


def test_all_duplicates_are_named_with_both_places() -> None:
    """Scenario: two keys given twice. Guarantees: a problem for each, and the first value is kept."""
    node, problems = read_yaml("a: 1\nb: {c: 1, c: 2}\na: 2\n", "f")

    assert [str(problem) for problem in problems] == [
        "f:2:11: b.c: duplicate key, first given at f:2:5",
        "f:3:1: a: duplicate key, first given at f:1:1",
    ]
    assert node.plain() == {"a": 1, "b": {"c": 1}}


@pytest.mark.parametrize("text", ["\udc80", "a: \udc80"])
def test_bytes_that_are_no_text(text: str) -> None:
    """Scenario: an argument that was no UTF-8. Guarantees: a problem, no exception."""
    _, problems = read_yaml(text, "--set a")
    assert problems[0].text.startswith("is not UTF-8")


def test_tags() -> None:
    """Scenario: explicit tags of the core schema. Guarantees: they decide, and a value that does not fit is refused."""
    node, problems = read_yaml('a: !!str 5\nb: !!int "5"\nc: !!float 5\nd: !!bool maybe\nf: !!map {}\n', "f")
    assert node.plain() == {"a": "5", "b": 5, "c": 5.0, "d": None, "f": {}}
    assert [problem.text for problem in problems] == ['"maybe" is no !!bool']


def test_paths_in_words() -> None:
    """Scenario: keys, positions, keys with dots and spaces. Guarantees: readable, and unambiguous."""
    assert (
        path_text(("processors", "tail_sampling/eu", "policies", 1, "type"))
        == "processors.tail_sampling/eu.policies[1].type"
    )
    assert path_text(("labels", "service.name", "a b", "")) == 'labels."service.name"."a b".""'
    assert str(Problem(Place("--config"), (), "is missing")) == "--config: is missing"


def _written(tree: Any) -> str:
    """Flow style on one line, every text quoted: the obvious writer."""
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{_written(key)}: {_written(value)}" for key, value in tree.items()) + "}"
    if isinstance(tree, list):
        return "[" + ", ".join(_written(item) for item in tree) + "]"
    if isinstance(tree, str):
        text: str = yaml.safe_dump(tree, default_style='"', allow_unicode=True, width=10**9)
        return text.removesuffix("\n")
    if isinstance(tree, float):
        return {math.inf: ".inf", -math.inf: "-.inf"}.get(tree, repr(tree))
    return {None: "null", True: "true", False: "false"}[tree] if tree is None or isinstance(tree, bool) else str(tree)


def _all(node: Node) -> list[tuple[Any, Node]]:
    return [pair for step, inner in node.children() for pair in [(step, inner), *_all(inner)]]


def _place(node: Node, path: positions.Path) -> tuple[Place | None, Place]:
    found = node.at(path)
    assert found is not None
    return found.key, found.place
