"""Several sources, merged; `--set`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.positions import Node, Place
from pipeline.config.sources import Loaded, merge, read_sources

KEYS = st.sampled_from(["a", "b", "c"])
TREES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers(0, 9) | st.lists(st.integers(0, 9), max_size=2),
    lambda inner: st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
MAPS = st.dictionaries(KEYS, TREES, max_size=3)


def _node(tree: Any, source: str = "f") -> Node:
    if isinstance(tree, dict):
        return Node({key: _node(value, source) for key, value in tree.items()}, Place(source))
    if isinstance(tree, list):
        return Node([_node(item, source) for item in tree], Place(source))
    return Node(tree, Place(source))


def _merged(older: Any, newer: Any) -> Any:
    """The obvious way."""
    if isinstance(older, dict) and isinstance(newer, dict):
        return {key: _merged(older[key], newer[key]) if key in older and key in newer else {**older, **newer}[key]
                for key in [*older, *newer]}  # fmt: skip
    return newer


def _read(*configs: str, sets: tuple[str, ...] = ()) -> Loaded:
    return read_sources(configs, sets, {"WHOLE": "b: {c: 3}", "N": "5"})


@given(MAPS, MAPS)
def test_merging_is_the_obvious_merging(older: Any, newer: Any) -> None:
    """Scenario: any two maps. Guarantees: maps merge deep, in order, anything else is replaced."""
    result = merge(_node(older), _node(newer)).plain()
    assert result == _merged(older, newer)
    assert list(result) == list(_merged(older, newer))


@given(MAPS)
def test_merging_nothing_changes_nothing(tree: Any) -> None:
    """Scenario: an empty map before or after, or the same again. Guarantees: the tree itself."""
    for pair in [(tree, {}), ({}, tree), (tree, tree)]:
        assert merge(*map(_node, pair)).plain() == tree


@given(MAPS, MAPS)
def test_a_value_keeps_the_place_it_came_from(older: Any, newer: Any) -> None:
    """Scenario: two sources. Guarantees: a value of the later source points there, any other to the earlier."""
    result = merge(_node(older, "old"), _node(newer, "new"))
    for key, inner in result.children():
        if not isinstance(inner.value, dict):
            assert inner.place.source == ("new" if key in newer else "old")


def test_sources(tmp_path: Path) -> None:
    """Scenario: a path, file:, env:, yaml: with levels, then --set. Guarantees: later wins, places tell."""
    (tmp_path / "a.yaml").write_text("b: {c: 1, d: [1, 2], e: 1}\n", encoding="utf-8")
    (tmp_path / "b.yaml").write_text("b: {c: 2, d: [3]}\n", encoding="utf-8")

    loaded = _read(
        str(tmp_path / "a.yaml"),
        f"file:{tmp_path / 'b.yaml'}",
        "env:WHOLE",
        "yaml:b::f::g: 1s",
        sets=("b.f.h=[1, {x: y}]", "b.e=${env:N}"),
    )

    assert loaded.problems == []
    assert loaded.root.plain() == {"b": {"c": 3, "d": [3], "e": 5, "f": {"g": "1s", "h": [1, {"x": "y"}]}}}
    places = {
        path: str(loaded.root.nearest(path).place) for path in [("b", "c"), ("b", "d"), ("b", "e"), ("b", "f", "g")]
    }
    assert places == {
        ("b", "c"): "env:WHOLE:1:8",
        ("b", "d"): f"{tmp_path / 'b.yaml'}:1:14",
        ("b", "e"): "--set b.e",
        ("b", "f", "g"): "--config yaml:1:10",
    }


def test_an_empty_source_changes_nothing_and_null_wipes(tmp_path: Path) -> None:
    """Scenario: an empty file after a full one; a null for a map. Guarantees: only the second has an effect."""
    (tmp_path / "empty.yaml").write_text("# nothing\n", encoding="utf-8")
    loaded = _read("yaml:a: {b: 1}", str(tmp_path / "empty.yaml"), "yaml:c: {d: 1}", "yaml:c:")
    assert loaded.root.plain() == {"a": {"b": 1}, "c": None}


@pytest.mark.parametrize(
    ("configs", "sets", "line"),
    [
        ((), (), "--config: at least one config flag must be provided"),
        (("no/such.yaml",), (), '--config: "no/such.yaml" cannot be read: No such file or directory'),
        (("env:NOT_SET",), (), '--config: environment variable "NOT_SET" is not set'),
        (
            ("http://x/y",),
            (),
            '--config: "http://x/y": jobsight reads no configuration over http; fetch it to a file first',
        ),
        (("s3:x",), (), '--config: scheme "s3" is not supported for uri "s3:x" (known: env, file, yaml)'),
        (("yaml:5",), (), '--config yaml:1:1: must be a map with "receivers", "exporters" and "service", is one value'),
        (("yaml:a: 1",), ("a.b",), '--set: missing equal sign in "a.b"; write key.path=value'),
        (("yaml:a: 1",), ("a..b=1",), '--set: "a..b" has an empty level; write key.path=value'),
        (("yaml:a: 1",), ("=1",), '--set: "" has an empty level; write key.path=value'),
        (("yaml:a: 1",), ("a.b={c: 1, c: 2}",), "--set a.b: a.b.c: duplicate key, first given at --set a.b:1:2"),
        (("yaml:a: 1",), ("a=\udcff",), "--set a: a: is not UTF-8 at character 1"),
    ],
)
def test_what_cannot_be_read(configs: tuple[str, ...], sets: tuple[str, ...], line: str) -> None:
    """Scenario: one thing wrong on the command line. Guarantees: one line that names it."""
    assert [str(problem) for problem in _read(*configs, sets=sets).problems] == [line]


def test_all_sources_are_read_though_one_is_wrong() -> None:
    """Scenario: two unreadable sources around a good one. Guarantees: both problems, and the good one's values."""
    loaded = _read("no/such", "yaml:a: 1", "yaml:b: [")
    assert len(loaded.problems) == 2
    assert loaded.root.plain() == {"a": 1}
