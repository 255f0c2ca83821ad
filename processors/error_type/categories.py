"""Which category an error belongs to, and whether trying again may help: rules over type and message.

The shipped rules are data in `known.yaml`; users' rules come first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from processors.error_type.known import MEANINGS, Category, Rule, shipped


class Finding(NamedTuple):
    """What a rule says. `transient` is None where nobody knows."""

    category: Category
    transient: bool | None


@dataclass(frozen=True, slots=True)
class UserRule:
    """A rule of the configuration: holds when each pattern that is given is found."""

    type: re.Pattern[str] | None
    message: re.Pattern[str] | None
    finding: Finding

    def holds(self, type_: str, message: str) -> bool:
        return (self.type is None or self.type.search(type_) is not None) and (
            self.message is None or self.message.search(message) is not None
        )


UNKNOWN: Final = Finding(Category.UNKNOWN, None)
_LAST_COMPONENT: Final = re.compile(r"[^.:/\\$+#*&]*$")


def finding(category: Category, transient: bool | None = None) -> Finding:
    """Return the finding of a rule; the category's own transience where the rule states none."""
    return Finding(category, MEANINGS[category].transient if transient is None else transient)


def simple_name(type_: str) -> str:
    """Return the last component: `Error` of `Net::Error`, `a.b.Error`, `Outer$Error`, `*a.Error`, PHP's `A` `Error`."""
    match = _LAST_COMPONENT.search(type_.partition("[")[0].partition("`")[0])
    return match[0] if match else type_


class Categories:
    """The rules, ready to be asked; asking changes nothing."""

    def __init__(self, user_rules: Sequence[UserRule] = ()) -> None:
        known = shipped()
        self._user_rules = tuple(user_rules)
        self._says_nothing = known.nothing
        self._names: Mapping[str, Finding] = {
            name: finding(row.category, row.transient) for row in known.names for name in row.words
        }
        self._type_hints = _compiled(known.types)
        self._message_hints = _compiled(known.messages, re.IGNORECASE)

    def of(self, chain: Iterable[tuple[str, str]]) -> Finding:
        """Return the finding for a chain of (type, message), the one to ask first first.

        What a rule knows of the first counts; a cause is asked only where nothing is known of what came before it.
        """
        for type_, message in chain:
            found = self._one(type_, message)
            if found is not None:
                return found
        return UNKNOWN

    def _one(self, type_: str, message: str) -> Finding | None:
        for rule in self._user_rules:
            if rule.holds(type_, message):
                return rule.finding
        name = simple_name(type_)
        if type_ not in self._says_nothing and name not in self._says_nothing:
            known = self._names.get(type_.removeprefix("Elixir.")) or self._names.get(name)
            if known is not None:
                return known
            for pattern, found in self._type_hints:
                if pattern.search(name):
                    return found
        elif type_ in self._names:
            return self._names[type_]
        for pattern, found in self._message_hints:
            if pattern.search(message):
                return found
        return None


def _compiled(rules: Sequence[Rule], flags: re.RegexFlag = re.NOFLAG) -> tuple[tuple[re.Pattern[str], Finding], ...]:
    return tuple((re.compile("|".join(rule.words), flags), finding(rule.category, rule.transient)) for rule in rules)
