"""`${...}` in values: variables, files and YAML from elsewhere, as the Collector's confmap resolves them.

`$$` is a literal `$`. A value that is one `${...}` takes the type that YAML gives to what stands there, and keeps the
text (`Node.text`) for where text is wanted; inside of longer text the text is used. What comes in is expanded again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Final, TypeAlias

from pipeline.config.positions import Node, Path, Place, Problem, read_yaml

MAX_EXPANSIONS: Final = 1000
"""Of one value, as in the Collector."""

MAX_NESTING: Final = 50
"""Expansions inside of what expansions gave; a variable that names itself ends here."""

_URI: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(.*)", re.DOTALL)
_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_WITH_DEFAULT: Final = re.compile(r"([^:]*):-(.*)", re.DOTALL)

SCHEMES: Final = ("env", "file", "yaml")


class Unreachable(Exception):
    """A source cannot be read; the message is for people."""


@dataclass(frozen=True, slots=True)
class _Reference:
    """One `${...}`; its address may have references inside."""

    address: _Parts
    written: str


_Parts: TypeAlias = "tuple[str | _Reference, ...]"


def expand(root: Node, environ: Mapping[str, str]) -> tuple[Node, list[Problem], list[Problem]]:
    """Return the tree without `${...}`, what went wrong, and warnings about variables that are not set."""
    expansion = _Expansion(environ)
    return expansion.tree(root, ()), expansion.problems, expansion.warnings


def split_uri(uri: str) -> tuple[str, str] | None:
    """Return scheme and rest of "scheme:rest", None where there is no scheme (one letter is a Windows drive)."""
    match = _URI.fullmatch(uri)
    return (match[1], match[2]) if match else None


def file_text(path: str) -> str:
    """Return a file's text without a byte order mark. Raises Unreachable."""
    try:
        content = FilePath(path).read_bytes()
    except (OSError, ValueError) as error:
        raise Unreachable(f'"{path}" cannot be read: {getattr(error, "strerror", None) or error}') from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise Unreachable(f'"{path}" is not UTF-8: line {line} has the byte 0x{content[error.start]:02x}') from error


def variable(name: str, environ: Mapping[str, str]) -> str | None:
    """Return a variable's text, None if it is not set. Raises Unreachable for bad names and bytes."""
    if not _NAME.fullmatch(name):
        raise Unreachable(
            f'environment variable "{name}" has invalid name: must match regex ^{_NAME.pattern}$; '
            "a literal $ is written $$"
        )
    text = environ.get(name)
    # os.environ keeps bytes that are no UTF-8 as lone surrogates
    if text is not None and any("\ud800" <= character <= "\udfff" for character in text):
        raise Unreachable(f'environment variable "{name}" is not UTF-8')
    return text


def no_such_scheme(scheme: str, uri: str) -> str:
    """Return what is wrong with a scheme that we do not read."""
    if scheme in {"http", "https"}:
        return f'"{uri}": jobsight reads no configuration over {scheme}; fetch it to a file first'
    return f'scheme "{scheme}" is not supported for uri "{uri}" (known: {", ".join(SCHEMES)})'


def _parse(text: str) -> _Parts:
    parts, _ = _parse_until(text, 0, closing=False)
    return parts


def _parse_until(text: str, start: int, *, closing: bool) -> tuple[_Parts, int]:
    """Return the parts from `start` and where they end; -1 where a `}` is missing that `closing` asks for."""
    parts: list[str | _Reference] = []
    literal = ""
    position = start
    while position < len(text):
        if text.startswith("$$", position):
            literal += "$"
            position += 2
        elif text.startswith("${", position):
            inner, end = _parse_until(text, position + 2, closing=True)
            if end < 0:  # never closed: plain text, as in the Collector
                literal += text[position:]
                position = len(text)
                continue
            if literal:
                parts.append(literal)
                literal = ""
            parts.append(_Reference(inner, text[position:end]))
            position = end
        elif closing and text[position] == "}":
            return (*parts, *([literal] if literal else [])), position + 1
        else:
            literal += text[position]
            position += 1
    return (*parts, *([literal] if literal else [])), -1 if closing else position


class _Expansion:
    """One walk over a tree."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._environ = environ
        self._left = MAX_EXPANSIONS
        self._nesting = 0
        self._at: tuple[Place, Path] = (Place(""), ())

    def tree(self, node: Node, path: Path) -> Node:
        """Expand a node of the files themselves: every value has its own budget and its own problem."""
        if isinstance(node.value, dict):
            return replace(node, value={key: self.tree(inner, (*path, key)) for key, inner in node.value.items()})
        if isinstance(node.value, list):
            return replace(node, value=[self.tree(item, (*path, i)) for i, item in enumerate(node.value)])
        if not isinstance(node.value, str) or "$" not in node.value:
            return node
        self._left = MAX_EXPANSIONS
        self._nesting = 0
        self._at = (node.place, path)
        try:
            found = self._text(node.value)
        except Unreachable as error:
            self.problems.append(Problem(node.place, path, str(error)))
            return Node(None, node.place, node.key, broken=True)
        return replace(found, place=node.place, key=node.key)

    def _text(self, text: str) -> Node:
        parts = _parse(text)
        match parts:
            case (_Reference() as reference,):
                return self._referenced(reference)
            case _:
                return Node(self._joined(parts), self._at[0])

    def _joined(self, parts: _Parts) -> str:
        return "".join(self._texts(parts))

    def _texts(self, parts: _Parts) -> Iterator[str]:
        for part in parts:
            if isinstance(part, str):
                yield part
                continue
            found = self._referenced(part)
            if isinstance(found.value, (dict, list)):
                form = "map" if isinstance(found.value, dict) else "list"
                raise Unreachable(f"{part.written} is a {form} and cannot stand inside of longer text")
            yield found.value if found.text is None and isinstance(found.value, str) else found.text or ""

    def _referenced(self, reference: _Reference) -> Node:
        """Return what a reference stands for. Raises Unreachable."""
        self._left -= 1
        if self._left < 0 or self._nesting >= MAX_NESTING:
            raise Unreachable(f"too many recursive expansions, the last of them {reference.written}")
        self._nesting += 1
        try:
            uri = self._joined(reference.address)
            text, label = self._fetched(uri)
            if text is None:
                written = f"{reference.written}, which is not set"
                found = Node(None, self._at[0], text="", origin=written)
            else:
                found = self._parsed(text, label, reference.written)
        finally:
            self._nesting -= 1
        return found

    def _fetched(self, uri: str) -> tuple[str | None, str]:
        """Return the text under an address, None for a variable that is not set, and a name for it in places."""
        scheme, rest = split_uri(uri) or ("env", uri)
        default = _WITH_DEFAULT.fullmatch(uri)
        if default and _NAME.fullmatch(default[1]):  # ${NAME:-default}
            scheme, rest = "env", uri
        if scheme == "file":
            return file_text(rest).rstrip("\r\n"), rest
        if scheme == "yaml":
            return rest, uri
        if scheme != "env":
            raise Unreachable(no_such_scheme(scheme, uri))
        default = _WITH_DEFAULT.fullmatch(rest)
        name = default[1] if default else rest
        text = variable(name, self._environ)
        if text is None and default is None:
            place, path = self._at
            warning = Problem(place, path, f'environment variable "{name}" is not set; the value is null')
            if warning not in self.warnings:
                self.warnings.append(warning)
        return (default[2] if text is None and default else text), f"env:{name}"

    def _parsed(self, text: str, label: str, written: str) -> Node:
        """Give fetched text its YAML meaning and expand it again."""
        place, path = self._at
        node, problems = read_yaml(text, label)
        if node.broken:
            # Passwords are seldom YAML; as in the Collector the text stands for itself then.
            return replace(self._again(text), origin=f"{written}, which is text because of {problems[0]}")
        if isinstance(node.value, (dict, list)):
            self.problems += [Problem(problem.place, (*path, *problem.path), problem.text) for problem in problems]
            return replace(self._inner(node), text=text, origin=written)
        if isinstance(node.value, str):
            # The text as it is: YAML would cut "pass #word" short. Only ${yaml:...} asks for YAML's reading.
            return replace(self._again(node.value if label.startswith("yaml:") else text), origin=written)
        return Node(node.value, place, text=text, origin=written)

    def _again(self, text: str) -> Node:
        return self._text(text) if "$" in text else Node(text, self._at[0])

    def _inner(self, node: Node) -> Node:
        """Expand inside of a map or list that came from elsewhere; its values keep their own places."""
        if isinstance(node.value, dict):
            return replace(node, value={key: self._inner(inner) for key, inner in node.value.items()})
        if isinstance(node.value, list):
            return replace(node, value=[self._inner(item) for item in node.value])
        if not isinstance(node.value, str) or "$" not in node.value:
            return node
        return replace(self._text(node.value), place=node.place, key=node.key)
