"""The categories of errors, and what is known about the errors of common runtimes and libraries, as data."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any, Final, NamedTuple

import yaml


class Category(StrEnum):
    """What kind of trouble an error tells of."""

    TIMEOUT = "timeout"
    CONNECTION = "connection"
    RATE_LIMITED = "rate_limited"
    DEPENDENCY = "dependency"
    DATABASE = "database"
    NOT_FOUND = "not_found"
    VALIDATION = "validation"
    AUTH = "auth"
    RESOURCE = "resource"
    CANCELLED = "cancelled"
    BUG = "bug"
    UNKNOWN = "unknown"


class Meaning(NamedTuple):
    """`transient` is whether running the job again may help, None where nobody can say."""

    transient: bool | None
    text: str


MEANINGS: Final[Mapping[Category, Meaning]] = {
    Category.TIMEOUT: Meaning(True, "something did not finish in time: a call, a lock, the job's own limit"),
    Category.CONNECTION: Meaning(True, "a peer could not be reached or broke off: refused, reset, DNS, TLS"),
    Category.RATE_LIMITED: Meaning(True, "a peer asked to slow down"),
    Category.DEPENDENCY: Meaning(True, "a peer answered that it failed or is not available"),
    Category.DATABASE: Meaning(False, "the database refused a statement"),
    Category.NOT_FOUND: Meaning(False, "a record, file, page or key of a peer is not there"),
    Category.VALIDATION: Meaning(False, "a value is not what a rule asks for"),
    Category.AUTH: Meaning(False, "not allowed: credentials, permissions, certificates"),
    Category.RESOURCE: Meaning(True, "out of memory, disk, handles, threads, pool slots"),
    Category.CANCELLED: Meaning(True, "stopped or given back on purpose: shutdown, interrupt, revoked, retry later"),
    Category.BUG: Meaning(False, "the program is wrong: nil, missing method, wrong type, index, assertion"),
    Category.UNKNOWN: Meaning(None, "no rule knows it"),
}


class Rule(NamedTuple):
    """A row of `known.yaml`: `words` are names or patterns. `transient` is None where the category's own holds."""

    category: Category
    words: tuple[str, ...]
    transient: bool | None = None
    language: str = ""


class Known(NamedTuple):
    """All of `known.yaml`; its head says what the sections are."""

    nothing: frozenset[str]
    names: tuple[Rule, ...]
    types: tuple[Rule, ...]
    messages: tuple[Rule, ...]


@cache
def shipped() -> Known:
    """Return the shipped data; it is read once."""
    text = files(__package__).joinpath("known.yaml").read_text(encoding="utf-8")
    data = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - safe, and in C if it can
    return Known(
        frozenset(data["nothing"].split()),
        *(tuple(map(_rule, data[section])) for section in ("names", "types", "messages")),
    )


def _rule(row: Mapping[str, Any]) -> Rule:
    words = row["names"].split() if "names" in row else row["patterns"]
    return Rule(Category(row["category"]), tuple(words), row.get("transient"), row.get("language", ""))
