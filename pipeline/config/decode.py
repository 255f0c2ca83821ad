"""A part of the tree -> the model that a component declares, or every problem that keeps it from being one.

Values are taken as they are written, with the exceptions that the Collector makes (`_REPAIRS`): each is tried where
the model refused a value, and kept only if the model then agrees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pipeline.config.model import Config
from pipeline.config.positions import Node, Path, Problem
from pipeline.config.report import KINDS_OF_VALUE, NOT_THIS_MEMBER, members_text, problem_text
from pipeline.config.trail import Trail, trail
from pipeline.config.values import WRITTEN

C = TypeVar("C", bound=Config)


@dataclass(frozen=True, slots=True)
class Decoded(Generic[C]):
    """`config` is None where there are problems."""

    config: C | None
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def decode(model: type[C], node: Node, path: Path) -> Decoded[C]:
    """Validate what stands at `node` (null: all defaults) as `model`. `path` is where it is in the whole tree."""
    if node.broken:
        return Decoded(None)
    if node.value is None:
        node = Node({}, node.place, node.key)
    return _Decoding(model, node, path).run()


class _Absent:
    """Stands for a key that is left out."""


_ABSENT: Final = _Absent()
_LISTS: Final = frozenset({"list_type", "tuple_type", "set_type", "frozen_set_type"})

_Repair = Callable[[Node, ErrorDetails], Any]


def _original_text(node: Node, error: ErrorDetails) -> Any:
    """`${env:ZIP}` is the number 1234 or the text 01234, whichever is wanted."""
    return None if node.text is None or node.text == node.value else node.text


def _split_text(node: Node, error: ErrorDetails) -> Any:
    """`receivers: otlp,kafka` is a list."""
    if error["type"] not in _LISTS or not isinstance(node.value, str):
        return None
    return [item.strip() for item in node.value.split(",")] if node.value.strip() else []


def _left_out(node: Node, error: ErrorDetails) -> Any:
    """A null means that the key is not given."""
    return _ABSENT if node.value is None else None


_REPAIRS: Final[tuple[_Repair, ...]] = (_original_text, _split_text, _left_out)


@dataclass(frozen=True, slots=True)
class _Found:
    """An error of pydantic and where it belongs."""

    error: ErrorDetails
    trail: Trail

    @property
    def path(self) -> Path:
        return self.trail.path


class _Decoding(Generic[C]):
    def __init__(self, model: type[C], node: Node, path: Path) -> None:
        self._model = model
        self._node = node
        self._path = path
        self._changes: dict[Path, Any] = {}
        self._tried: dict[Path, int] = {}
        self._warnings: list[Problem] = []

    def run(self) -> Decoded[C]:
        """Validate, repair, validate again, until it is right or nothing is left to try."""
        while True:
            config, found = self._validated()
            if config is not None:
                return Decoded(config, [], self._warnings)
            if not self._repaired(found):
                break
        return Decoded(None, list(self._problems(found)), self._warnings)

    def _validated(self) -> tuple[C | None, list[_Found]]:
        try:
            return self._model.model_validate(self._plain(self._node, ()), context=WRITTEN), []
        except ValidationError as error:
            details = error.errors(include_url=False)
            return None, [_Found(detail, trail(self._model, detail["loc"])) for detail in details]

    def _plain(self, node: Node, path: Path) -> Any:
        if path in self._changes:
            return self._changes[path]
        if isinstance(node.value, dict):
            entries = ((key, self._plain(inner, (*path, key))) for key, inner in node.value.items())
            return {key: value for key, value in entries if value is not _ABSENT}
        if isinstance(node.value, list):
            return [self._plain(item, (*path, position)) for position, item in enumerate(node.value)]
        return node.value

    def _repaired(self, found: Sequence[_Found]) -> bool:
        """Change what may be changed; False where nothing new is left to try."""
        changed = False
        wrong = [one.path for one in found]
        for path in [path for path in self._changes if path in self._tried]:
            inside = [one.error["type"] for one in found if one.path[: len(path)] == path]
            if inside and self._changes[path] is not _ABSENT and not self._of_right_kind(path, inside):
                del self._changes[path]  # that was not it
                changed = True
        for one in found:
            changed |= self._ignored(one) or self._try_next(one, wrong)
        return changed

    def _of_right_kind(self, path: Path, errors: Sequence[str]) -> bool:
        """Tell whether a repair was right and only what it says is wrong; a null that could be left out is not kept."""
        node = self._node.at(path)
        is_null = node is not None and node.value is None
        return not is_null and not any(error in KINDS_OF_VALUE for error in errors)

    def _try_next(self, found: _Found, wrong: Sequence[Path]) -> bool:
        node = self._node.at(found.path)
        if node is None or not found.path or found.path in self._changes or found.error["type"] == "extra_forbidden":
            return False
        if _holds_any(found.path, wrong):
            return False  # something inside is wrong, so the map or list as such is welcome
        for number in range(self._tried.get(found.path, 0), len(_REPAIRS)):
            value = _REPAIRS[number](node, found.error)
            if value is not None and not (value is _ABSENT and isinstance(found.path[-1], int)):
                self._changes[found.path] = value
                self._tried[found.path] = number + 1
                return True
        return False

    def _ignored(self, found: _Found) -> bool:
        """Leave out an unknown key that a model ignores on purpose, with a warning."""
        if found.error["type"] != "extra_forbidden" or found.path in self._changes:
            return False
        changed = False
        for path, reason in _declared(found.trail, self._node, "ignored_keys"):
            if path not in self._changes:
                self._changes[path] = _ABSENT
                self._warnings.append(self._problem(path, f"is ignored: {reason}", at_key=True))
                changed = True
        parent = self._node.at(found.path)
        if changed and parent is not None and isinstance(parent.value, dict):
            inner = [(*found.path, key) for key in parent.value]
            if all(self._changes.get(path) is _ABSENT for path in inner):
                self._changes[found.path] = _ABSENT
        return changed

    def _problems(self, found: Sequence[_Found]) -> Iterator[Problem]:
        known_broken = [path for path, node in _walk(self._node, ()) if node.broken]
        # pydantic counts only the items that are right, so a list with a wrong one may look too short to it.
        wrong = [one.path for one in found]
        counted = [one for one in found if not (one.error["type"] == "too_short" and _holds_any(one.path, wrong))]
        for group in _by_union(counted):
            for problem in self._worded(group):
                below = problem.path[len(self._path) :]
                if not any(below[: len(broken)] == broken for broken in known_broken):
                    yield problem

    def _worded(self, group: Sequence[_Found]) -> Iterator[Problem]:
        """One problem for each error, one for all where a union refused the kind of value."""
        first = group[0]
        if len(group) == 1:
            yield from self._one(first)
            return
        errors = [one.error for one in group]
        node = self._node.nearest(first.path)
        text = members_text(errors, first.trail, node.plain(), node.origin)
        yield self._problem(first.path, text, at_key=isinstance(node.value, dict))

    def _one(self, found: _Found) -> Iterator[Problem]:
        kind = found.error["type"]
        if kind == "extra_forbidden":
            unsupported = list(_declared(found.trail, self._node, "unsupported_keys"))
            for path, reason in unsupported:
                yield self._problem(path, f"not supported by jobsight: {reason}", at_key=True)
            strangers = list(self._strangers(found))
            for path in strangers:
                yield self._problem(path, "unknown key", at_key=True)
            if unsupported or strangers:
                return
        path = found.path
        if kind in {"union_tag_invalid", "union_tag_not_found"}:
            discriminator = str(found.error.get("ctx", {}).get("discriminator", "")).strip("'")
            path = path if discriminator.endswith("()") else (*path, discriminator)
        node = self._node.nearest(path)
        as_written = self._node.at(path) is not None and path not in self._changes
        value = node.plain() if as_written else found.error["input"]
        text = problem_text(found.error, found.trail, value, node.origin)
        yield self._problem(path, text, at_key=isinstance(node.value, dict) or kind in {"extra_forbidden", "missing"})

    def _strangers(self, found: _Found) -> Iterator[Path]:
        """Yield what nobody declared, inside of an unknown map of which something is declared."""
        node = self._node.at(found.path)
        declared = [
            path
            for name in ("ignored_keys", "unsupported_keys")
            for path, _ in _declared(found.trail, self._node, name)
            if len(path) > len(found.path)
        ]
        if node is None or not declared:
            return
        for key, _ in node.children():
            inner = (*found.path, key)
            if not any(path[: len(inner)] == inner for path in declared):
                yield inner

    def _problem(self, path: Path, text: str, *, at_key: bool) -> Problem:
        """Point to a value, or to its key; to the innermost parent of what is not there."""
        node = self._node.nearest(path)
        place = node.key if at_key and node.key is not None else node.place
        return Problem(place, (*self._path, *path), text)


def _declared(where: Trail, root: Node, name: str) -> Iterator[tuple[Path, str]]:
    """Yield the paths at or below an unknown key that a model on the way declares in `name`, with the reasons."""
    for depth, model in where.models:
        declared: Mapping[str, str] = getattr(model, name, {})
        for key, reason in declared.items():
            path = (*where.path[:depth], *key.split("."))
            is_here = where.path[: len(path)] == path
            is_below = path[: len(where.path)] == where.path and root.at(path) is not None
            if is_here or is_below:
                yield path, reason


def _by_union(found: Sequence[_Found], level: int = 0) -> Iterator[list[_Found]]:
    """Yield errors that belong together: of a union only those of the member that was meant."""
    unions: dict[Path, dict[str, list[_Found]]] = {}
    for one in found:
        if len(one.trail.branches) <= level:
            yield [one]
        else:
            at, member = one.trail.branches[level]
            unions.setdefault(at, {}).setdefault(member, []).append(one)
    for at, members in unions.items():
        # A member that took the kind of value, and refused only something about it, is the one that was meant.
        meant = [errors for errors in members.values() if not _wrong_kind(errors, at)]
        if meant:
            yield from _by_union(min(meant, key=len), level + 1)
        else:
            refusals = [one for errors in members.values() for one in errors]
            yield [one for one in refusals if one.path == at and one.error["type"] in NOT_THIS_MEMBER]


def _wrong_kind(errors: Sequence[_Found], at: Path) -> bool:
    return any(one.path == at and one.error["type"] in NOT_THIS_MEMBER for one in errors)


def _holds_any(path: Path, others: Sequence[Path]) -> bool:
    """Tell whether one of the others is inside of what stands at `path`."""
    return any(len(other) > len(path) and other[: len(path)] == path for other in others)


def _walk(node: Node, path: Path) -> Iterator[tuple[Path, Node]]:
    yield path, node
    for step, inner in node.children():
        yield from _walk(inner, (*path, step))
