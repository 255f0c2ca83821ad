"""Sources named on the command line -> one tree: read, merged from left to right, `--set` last, `${...}` expanded.

The rules are those of the Collector's confmap; what the tree means is decided in `pipeline.config.load`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pipeline.config.expand import Unreachable, expand, file_text, no_such_scheme, split_uri, variable
from pipeline.config.positions import Node, Place, Problem, read_yaml

_LEVELS: Final = "::"


@dataclass(frozen=True, slots=True)
class Loaded:
    """The merged and expanded tree, whose root is a map, and what was found on the way."""

    root: Node
    problems: list[Problem]
    warnings: list[Problem]
    sources: list[str]
    """The names of the sources as places have them, in the order in which they were given."""


def read_sources(configs: Sequence[str], sets: Sequence[str], environ: Mapping[str, str]) -> Loaded:
    """Read every source (`path`, `file:path`, `env:NAME`, `yaml:text`) and every `key.path=value`.

    Problems do not stop it: what can be read is read, so that all of them are reported at once.
    """
    problems: list[Problem] = []
    root = Node({}, Place(configs[0] if configs else "--config"))
    if not configs:
        problems.append(Problem(Place("--config"), (), "at least one config flag must be provided"))
    sources = ["--config"]
    for node, found in [*(_read(uri, environ) for uri in configs), *map(_setting, sets)]:
        sources.append(node.place.source)
        problems += found
        root = _merged_root(root, node, problems)
    root, found, warnings = expand(root, environ)
    return Loaded(root, problems + found, warnings, sources)


def merge(older: Node, newer: Node) -> Node:
    """Lay one tree over another: maps deep, anything else (null too) replaces. Keys keep their first order."""
    if not (isinstance(older.value, dict) and isinstance(newer.value, dict)):
        return newer
    entries = dict(older.value)
    for key, node in newer.value.items():
        entries[key] = merge(entries[key], node) if key in entries else node
    return replace(newer, value=entries)


def _merged_root(root: Node, node: Node, problems: list[Problem]) -> Node:
    if isinstance(node.value, dict):
        return merge(root, node)
    if node.value is not None:
        form = "a list" if isinstance(node.value, list) else "one value"
        problems.append(
            Problem(node.place, (), f'must be a map with "receivers", "exporters" and "service", is {form}')
        )
    return root


def _read(uri: str, environ: Mapping[str, str]) -> tuple[Node, list[Problem]]:
    scheme, rest = split_uri(uri) or ("file", uri)
    label = {"file": rest, "yaml": "--config yaml"}.get(scheme, uri)
    try:
        match scheme:
            case "file":
                text = file_text(rest)
            case "yaml":
                text = rest
            case "env":
                text = _whole_variable(rest, environ)
            case _:
                raise Unreachable(no_such_scheme(scheme, uri))  # noqa: TRY301 - one place turns it into a problem
    except Unreachable as error:
        return Node(None, Place("--config"), broken=True), [Problem(Place("--config"), (), str(error))]
    node, problems = read_yaml(text, label)
    return (_with_levels(node) if scheme == "yaml" else node), problems


def _whole_variable(name: str, environ: Mapping[str, str]) -> str:
    text = variable(name, environ)
    if text is None:
        raise Unreachable(f'environment variable "{name}" is not set')
    return text


def _with_levels(node: Node) -> Node:
    """Make levels of "::" in keys, as the Collector does for `yaml:processors::batch::timeout: 2s`."""
    if not isinstance(node.value, dict):
        return node
    whole = replace(node, value={})
    for key, value in node.value.items():
        inner = _with_levels(value)
        first, *others = key.split(_LEVELS)
        for level in reversed(others):
            inner = Node({level: inner}, inner.place, inner.key)
        whole = merge(whole, replace(node, value={first: inner}))
    return whole


def _setting(setting: str) -> tuple[Node, list[Problem]]:
    key, equals, text = setting.partition("=")
    place = Place(f"--set {key}")
    path = tuple(key.split("."))
    if not equals:
        return Node(None, place), [
            Problem(Place("--set"), (), f'missing equal sign in "{setting}"; write key.path=value')
        ]
    if not all(path):
        return Node(None, place), [Problem(Place("--set"), (), f'"{key}" has an empty level; write key.path=value')]
    node, problems = read_yaml(text, place.source)
    node = replace(_at(node, place), text=None if isinstance(node.value, str) else text)
    for level in reversed(path):
        node = Node({level: node}, place, place)
    return node, [Problem(place, (*path, *problem.path), problem.text) for problem in problems]


def _at(node: Node, place: Place) -> Node:
    """A command line has no lines: everything of a setting stands at the setting."""
    if isinstance(node.value, dict):
        return replace(
            node, value={key: _at(inner, place) for key, inner in node.value.items()}, place=place, key=place
        )
    if isinstance(node.value, list):
        return replace(node, value=[_at(item, place) for item in node.value], place=place, key=place)
    return replace(node, place=place, key=place)
