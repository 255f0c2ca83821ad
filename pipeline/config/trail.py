"""From pydantic's `loc` of an error to the path in the YAML and what the model wanted there.

A `loc` mixes keys with names of union members and tags; only the annotations tell them apart.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from pipeline.config.model import Config
from pipeline.config.positions import Path

Loc: TypeAlias = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Trail:
    """What stands at the end of a `loc`."""

    path: Path
    annotation: Any
    """The wanted type; None where the model says nothing (an unknown key)."""
    models: tuple[tuple[int, type[BaseModel]], ...]
    """The models on the way, outermost first, with the number of steps to each."""
    branches: tuple[tuple[Path, str], ...] = ()
    """The members of unions that were tried on the way: where, and pydantic's name for the member."""
    unread: int = 0
    """How many elements of the `loc` fitted nothing."""

    @property
    def secret(self) -> bool:
        return contains_secret(self.annotation)

    @property
    def model(self) -> type[BaseModel] | None:
        """The innermost model."""
        return self.models[-1][1] if self.models else None


def trail(model: type[Config], loc: Loc) -> Trail:
    """Follow `loc` from `model` inwards."""
    return _follow(model, loc, Trail((), model, ()))


def key_of(name: str, field: FieldInfo) -> str:
    """Return how a field is written in the YAML."""
    return field.alias or name


def contains_secret(annotation: Any, seen: frozenset[Any] = frozenset()) -> bool:
    """Tell whether values of this type, or parts of them, must not be shown."""
    if annotation is SecretStr:
        return True
    inner: Iterable[Any] = get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in seen:
        seen |= {annotation}  # models may contain themselves
        inner = (field.annotation for field in annotation.model_fields.values())
    return any(contains_secret(part, seen) for part in inner)


def _follow(annotation: Any, loc: Loc, so_far: Trail) -> Trail:
    annotation = _bare(annotation)
    here = replace(so_far, annotation=annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        here = replace(here, models=(*here.models, (len(here.path), annotation)))
        return _into_model(annotation, loc, here) if loc else here
    if not loc:
        return here
    members = _members(annotation)
    if len(members) > 1:
        return _into_union(members, loc, here)
    step, rest = loc[0], loc[1:]
    origin, arguments = get_origin(annotation), get_args(annotation)
    inner = replace(here, path=(*here.path, step))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _follow(arguments[1], tuple(part for part in rest if part != "[key]"), inner)
    if isinstance(origin, type) and issubclass(origin, (Sequence, AbstractSet)) and isinstance(step, int):
        # tuple[X, ...] and list[X] have one type for all, tuple[X, Y] one for each
        each = origin is tuple and arguments[-1] is not Ellipsis
        return _follow(arguments[step] if each and step < len(arguments) else arguments[0], rest, inner)
    return replace(here, unread=len(loc))


def _into_model(model: type[BaseModel], loc: Loc, here: Trail) -> Trail:
    step, rest = loc[0], loc[1:]
    inner = replace(here, path=(*here.path, step))
    model.model_rebuild()  # a model that contains itself may know its fields by name only
    for name, field in model.model_fields.items():
        if step in (name, field.alias):
            return _follow(field.annotation, rest, inner)
    return replace(inner, annotation=None, unread=len(rest))


def _into_union(members: list[Any], loc: Loc, here: Trail) -> Trail:
    label, rest = str(loc[0]), loc[1:]
    here = replace(here, branches=(*here.branches, (here.path, label)))
    named = [member for member in members if _is_called(member, label)] or members
    return min((_follow(member, rest, here) for member in named), key=lambda found: found.unread)


def _is_called(member: Any, label: str) -> bool:
    bare = _bare(member)
    if not (isinstance(bare, type) and issubclass(bare, BaseModel)):
        return False
    tags = (get_args(field.annotation) for field in bare.model_fields.values() if _is_literal(field.annotation))
    return bare.__name__ == label or any(label in tag for tag in tags)


def _is_literal(annotation: Any) -> bool:
    return get_origin(annotation) is Literal


def _bare(annotation: Any) -> Any:
    """Take off Annotated and `| None`, neither of which shows in a `loc`."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    members = _members(annotation)
    return _bare(members[0]) if len(members) == 1 else annotation


def _members(annotation: Any) -> list[Any]:
    """Return the members of a union but None; nothing for what is no union."""
    if get_origin(annotation) not in (Union, types.UnionType):
        return []
    return [member for member in get_args(annotation) if member is not type(None)]
