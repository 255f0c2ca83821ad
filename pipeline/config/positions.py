"""YAML text -> a tree of values that know where they stand.

PyYAML reads the text, this module gives it meaning: the scalars of YAML 1.2's core schema (`on` is text, `22:22` is
text, `0777` is 777, `1e3` is a number), duplicate keys refused, anchors and merge keys (`<<`) resolved.
Not here: where the text comes from and `${...}` (`pipeline.config.sources`, `pipeline.config.expand`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import yaml
from yaml.composer import Composer
from yaml.error import Mark, MarkedYAMLError, YAMLError
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.scanner import Scanner

Path: TypeAlias = tuple[str | int, ...]
"""Where a value is in the tree: keys of maps, positions in lists."""

MAX_VALUES: Final = 50_000
"""Of one text, aliases counted as often as they are used: a few nested anchors could stand for billions."""

MAX_DEPTH: Final = 100
"""Levels of maps and lists."""

_MANY: Final = 1000
"""Signs of nesting that are worth a look before libyaml composes the text: its recursion ends in a crash."""

_TAG: Final = "tag:yaml.org,2002:"
_PLAIN: Final = "plain"

# YAML 1.2.2, section 10.3.2 (core schema)
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT: Final = re.compile(r"[-+]?[0-9]+")
_OCTAL: Final = re.compile(r"0o[0-7]+")
_HEX: Final = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)")
_NAN: Final = frozenset({".nan", ".NaN", ".NAN"})

_BARE_KEY: Final = re.compile(r'[^\s."\[\]]+')


@dataclass(frozen=True, slots=True)
class Place:
    """A position in a source, counted from 1; line 0 stands for the source as a whole."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that the user should change."""

    place: Place
    path: Path
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {path_text(self.path)}: {self.text}" if self.path else f"{self.place}: {self.text}"


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it stands. Maps keep their order."""

    value: bool | int | float | str | list[Node] | dict[str, Node] | None
    place: Place
    key: Place | None = None
    """Where its key stands, if it is in a map."""
    text: str | None = None
    """The original text of a value that came whole from `${...}`."""
    origin: str | None = None
    """The `${...}` that it came from."""
    broken: bool = False
    """True where a problem was reported already and the value is not known."""

    def plain(self) -> Any:
        """Return the values alone."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def children(self) -> Iterator[tuple[str | int, Node]]:
        """Yield what is directly inside a map or list."""
        if isinstance(self.value, dict):
            yield from self.value.items()
        elif isinstance(self.value, list):
            yield from enumerate(self.value)

    def child(self, step: str | int) -> Node | None:
        """Return the value under a key or at a position, None if there is none."""
        if isinstance(self.value, dict):
            return self.value.get(step) if isinstance(step, str) else None
        if isinstance(self.value, list):
            return self.value[step] if isinstance(step, int) and 0 <= step < len(self.value) else None
        return None

    def at(self, path: Path) -> Node | None:
        """Return the value at `path` below this one, None if there is none."""
        node: Node | None = self
        for step in path:
            if node is None:
                return None
            node = node.child(step)
        return node

    def nearest(self, path: Path) -> Node:
        """Return the value at `path`, or the innermost that there is on the way to it."""
        node = self
        for step in path:
            inner = node.child(step)
            if inner is None:
                return node
            node = inner
        return node


def path_text(path: Path) -> str:
    """Write a path as people do: `processors.tail_sampling.policies[1].type`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            quoted = step if _BARE_KEY.fullmatch(step) else f'"{step}"'
            text += f".{quoted}" if text else quoted
    return text


def read_yaml(text: str, source: str) -> tuple[Node, list[Problem]]:
    """Read one document. `source` names the text in places, as in `source:line:column`.

    Returns the tree (a null where nothing can be read) and what is wrong with the text.
    """
    try:
        text.encode()
        root, second = _compose(text)
    except UnicodeEncodeError as error:  # an argument or a variable that is no UTF-8
        return _unreadable(Problem(Place(source), (), f"is not UTF-8 at character {error.start + 1}"))
    except MarkedYAMLError as error:
        return _unreadable(_syntax_problem(error, text, source))
    except ReaderError as error:
        return _unreadable(_character_problem(error, text, source))
    except YAMLError as error:
        return _unreadable(Problem(Place(source), (), f"cannot be read as YAML: {error}"))
    except _TooDeep as error:
        return _unreadable(Problem(_place(error.mark, source), (), _TOO_DEEP))
    if root is None:
        return Node(None, Place(source, 1, 1)), []
    resolver = _Meaning(source)
    if second is not None:
        place = resolver.place(second)
        resolver.problems.append(Problem(place, (), 'a second document begins here; a config is one, without "---"'))
    try:
        return resolver.node(root, ()), resolver.problems
    except _TooMany as error:
        return _unreadable(Problem(_place(error.mark, source), (), _TOO_MANY))
    except _TooDeep as error:
        return _unreadable(Problem(_place(error.mark, source), (), _TOO_DEEP))


def scalar(text: str) -> bool | int | float | str | None:
    """Return what unquoted text means in YAML 1.2's core schema."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        return int(text) if len(text) < 4000 else text  # Python refuses to read longer ones
    if _OCTAL.fullmatch(text):
        return int(text, 0)
    if _HEX.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITE.fullmatch(text):
        return -math.inf if text.startswith("-") else math.inf
    if text in _NAN:
        return math.nan
    return text


class _NoResolver:
    """Marks plain scalars instead of deciding by YAML 1.1 what they are."""

    def resolve(self, kind: type[yaml.Node], value: str | None, implicit: Any) -> str:
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else f"{_TAG}str"
        return f"{_TAG}seq" if kind is yaml.SequenceNode else f"{_TAG}map"

    def descend_resolver(self, current_node: object, current_index: object) -> None:
        pass

    def ascend_resolver(self) -> None:
        pass


class _PythonLoader(_NoResolver, Reader, Scanner, Parser, Composer):
    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)


if yaml.__with_libyaml__:
    from yaml import cyaml

    class _Loader(_NoResolver, cyaml.CParser):  # type: ignore[name-defined,misc]  # the stubs hide CParser
        def __init__(self, text: str) -> None:
            super().__init__(text)

else:  # pragma: no cover - PyYAML's wheels have libyaml
    _Loader = _PythonLoader  # type: ignore[misc,assignment]  # the slow twin of the same shape


def _compose(text: str) -> tuple[yaml.Node | None, yaml.Node | None]:
    """Return the first document and the second, None where there is none."""
    if sum(map(text.count, ("[", "{", "- ", "? "))) > _MANY:
        _check_depth(text)
    loader: Any = _Loader(text)
    first = loader.get_node() if loader.check_node() else None
    second = loader.get_node() if loader.check_node() else None
    return first, second


def _check_depth(text: str) -> None:
    """Raise _TooDeep for too many levels. Events come one by one, without recursion."""
    depth = 0
    loader: Any = _Loader(text)
    while loader.check_event():
        event = loader.get_event()
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH and event.start_mark is not None:
                raise _TooDeep(event.start_mark)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


_TOO_DEEP: Final = f"more than {MAX_DEPTH} levels of maps and lists"
_TOO_MANY: Final = f"the anchors stand for more than {MAX_VALUES} values"


class _TooDeep(Exception):
    def __init__(self, mark: Any) -> None:
        super().__init__()
        self.mark = mark


class _TooMany(Exception):
    def __init__(self, mark: Mark) -> None:
        super().__init__()
        self.mark = mark


class _Meaning:
    """One walk over PyYAML's nodes."""

    def __init__(self, source: str) -> None:
        self.problems: list[Problem] = []
        self._source = source
        self._open: list[yaml.Node] = []
        self._values = 0

    def place(self, node: yaml.Node) -> Place:
        return _place(node.start_mark, self._source)

    def node(self, node: yaml.Node, path: Path, key: Place | None = None) -> Node:
        place = self.place(node)
        self._values += 1
        if self._values > MAX_VALUES:
            raise _TooMany(node.start_mark)
        if len(self._open) >= MAX_DEPTH and not isinstance(node, yaml.ScalarNode):
            raise _TooDeep(node.start_mark)
        if any(node is outer for outer in self._open):
            return self._broken(place, path, "the alias stands inside of its own anchor", key)
        self._open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                self._known_tag(node, path, "map")
                return Node(self._map(node, path), place, key)
            if isinstance(node, yaml.SequenceNode):
                self._known_tag(node, path, "seq")
                return Node([self.node(item, (*path, i)) for i, item in enumerate(node.value)], place, key)
            return self._scalar(node, path, place, key)
        finally:
            self._open.pop()

    def _scalar(self, node: yaml.Node, path: Path, place: Place, key: Place | None) -> Node:
        text: str = node.value
        tag = node.tag.removeprefix(_TAG)
        if tag == _PLAIN:
            return Node(scalar(text), place, key)
        if tag == "str":
            return Node(text, place, key)
        value = scalar(text)
        wanted = {"null": type(None), "bool": bool, "int": int, "float": float}.get(tag)
        if tag == "float" and type(value) is int:
            value = float(value)
        if wanted is None:
            return self._broken(place, path, f'the tag "{node.tag}" is not supported', key)
        if type(value) is not wanted:
            return self._broken(place, path, f'"{text}" is no !!{tag}', key)
        return Node(value, place, key)

    def _map(self, node: yaml.MappingNode, path: Path) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        merges: list[tuple[yaml.Node, yaml.Node]] = []
        for key, value in node.value:
            place = self.place(key)
            if not isinstance(key, yaml.ScalarNode):
                self._broken(place, path, "a key must be text; is an unquoted value with { or [ meant?")
            elif key.tag == _PLAIN and key.value == "<<":
                merges.append((key, value))
            elif (name := str(key.value)) in entries:
                first = entries[name].key
                self._broken(place, (*path, name), f"duplicate key, first given at {first}")
            else:
                entries[name] = self.node(value, (*path, name), place)
        for key, value in merges:
            for merged in self._merged_maps(key, value, path):
                # What the map itself says wins, then the first of the merged maps: yaml.org/type/merge.html
                entries = {**merged, **entries}
        return entries

    def _merged_maps(self, key: yaml.Node, value: yaml.Node, path: Path) -> Iterator[dict[str, Node]]:
        nodes: Sequence[yaml.Node] = value.value if isinstance(value, yaml.SequenceNode) else [value]
        for node in nodes:
            inner = self.node(node, path)
            if isinstance(inner.value, dict):
                yield inner.value
            elif not inner.broken:
                self._broken(self.place(key), (*path, "<<"), "must name a map, or a list of maps, to merge")

    def _known_tag(self, node: yaml.Node, path: Path, expected: str) -> None:
        if node.tag != f"{_TAG}{expected}":
            self._broken(self.place(node), path, f'the tag "{node.tag}" is not supported')

    def _broken(self, place: Place, path: Path, text: str, key: Place | None = None) -> Node:
        self.problems.append(Problem(place, path, text))
        return Node(None, place, key, broken=True)


def _unreadable(problem: Problem) -> tuple[Node, list[Problem]]:
    return Node(None, problem.place, broken=True), [problem]


def _place(mark: Mark, source: str) -> Place:
    return Place(source, mark.line + 1, mark.column + 1)


_NO_KEY_HERE: Final = 'a key is not allowed here; is the indentation right, and is a value with ": " in quotes?'
_HINTS: Final = {
    "mapping values are not allowed": _NO_KEY_HERE,
    "found character that cannot start any token": 'a value cannot begin with "{}"; put it in quotes',
    "did not find expected node content": "a value is missing here, or a bracket before is not closed",
    "found undefined alias": "the alias names no anchor that was set before",
    "found unexpected end of stream": "the quotes are not closed",
    "could not find expected ':'": 'a key without ":"',
}
"""libyaml's most frequent words, and its Python twin's, in words for people."""


def _syntax_problem(error: MarkedYAMLError, text: str, source: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return Problem(Place(source), (), str(error.problem or error))
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    indentation = line[: len(line) - len(line.lstrip())]
    if "\t" in indentation:
        tab = Place(source, mark.line + 1, indentation.index("\t") + 1)
        return Problem(tab, (), "a tab cannot indent YAML; use spaces")
    problem = error.problem or "is no YAML"
    words = next((hint for known, hint in _HINTS.items() if problem.startswith(known)), problem)
    words = words.replace("{}", line[mark.column : mark.column + 1])
    start = error.context_mark
    if start is not None and (start.line, start.column) != (mark.line, mark.column) and error.context:
        words += f" ({error.context} that began at line {start.line + 1}, column {start.column + 1})"
    return Problem(_place(mark, source), (), words)


def _character_problem(error: ReaderError, text: str, source: str) -> Problem:
    before = text[: error.position]
    line = before.count("\n") + 1
    column = error.position - (before.rfind("\n") + 1) + 1
    code = error.character if isinstance(error.character, int) else ord(str(error.character)[:1] or "\0")
    return Problem(Place(source, line, column), (), f"the character U+{code:04X} is not allowed in YAML")
