"""Text of an OTTL condition -> an expression that is evaluated on columns.

What of the language is here: `and`, `or`, `not`, parentheses, comparisons, `+ - * /`, literals, enums, the paths of
`paths` and the functions of `functions`. The rest is refused when the config is read, with what there is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from pipeline.config.words import choice, said
from processors.tail_sampling.ottl.functions import FUNCTIONS
from processors.tail_sampling.ottl.paths import ENUMS, SPAN, SPAN_EVENT, Rows, path
from processors.tail_sampling.ottl.values import Error, Value, calculated, compared, constant
from processors.tail_sampling.spans import EventColumns, SpanColumns, Truths

__all__ = ["SPAN", "SPAN_EVENT", "Condition", "parse"]

Expression = Callable[[Rows], tuple[Value, Error]]
Boolean = Callable[[Rows], tuple[Truths, Error]]

_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*")
    |(?P<number>\d+\.\d*|\.\d+|\d+)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<sign>==|!=|<=|>=|[<>()\[\],.+\-*/]))""",
    re.VERBOSE,
)
_COMPARISONS: Final = frozenset({"==", "!=", "<", "<=", ">", ">="})


@dataclass(frozen=True)
class Condition:
    """A condition on spans, or on events of spans. Two of the same text and context are equal."""

    text: str
    on_events: bool
    evaluate: Any
    """A `Boolean`."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Condition) and (self.text, self.on_events) == (other.text, other.on_events)

    def __hash__(self) -> int:
        return hash((self.text, self.on_events))

    def spans(self, columns: SpanColumns) -> tuple[Truths, Error]:
        """Return where it is true of a span, or of one of its events, and where it cannot be evaluated."""
        if not self.on_events:
            true, error = self.evaluate(columns)
            return true & ~error, error
        events = EventColumns(columns)
        found, failed = np.zeros(len(columns), np.bool_), np.zeros(len(columns), np.bool_)
        if len(events):
            true, error = self.evaluate(events)
            found[events.parents[true & ~error]] = True
            failed[events.parents[error]] = True
        return found, failed


def parse(text: str, context: frozenset[str]) -> Condition:
    """Raises ValueError with a message for people."""
    try:
        return Condition(text, context is SPAN_EVENT, _Parser(text, context).condition())
    except ValueError as error:
        raise ValueError(f"is no OTTL condition that jobsight knows: {error}, in {said(text)}") from error


class _Parser:
    def __init__(self, text: str, context: frozenset[str]) -> None:
        self._context = context
        self._tokens: list[tuple[str, str]] = []
        position = 0
        text = text.rstrip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise ValueError(f"cannot read {said(text[position:].strip()[:20])}")
            self._tokens.append((match.lastgroup or "", match.group(match.lastgroup or 0)))
            position = match.end()
        self._at = 0

    def condition(self) -> Boolean:
        result = self._or()
        if self._at < len(self._tokens):
            raise ValueError(f"expected and, or or the end before {said(self._tokens[self._at][1])}")
        return result

    def _peek(self, ahead: int = 0) -> str:
        at = self._at + ahead
        return self._tokens[at][1] if at < len(self._tokens) else ""

    def _take(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise ValueError("it ends too early")
        self._at += 1
        return self._tokens[self._at - 1]

    def _expect(self, sign: str) -> None:
        kind, word = self._take()
        if word != sign or kind == "text":
            raise ValueError(f"expected {said(sign)} before {said(word)}")

    def _or(self) -> Boolean:
        parts = [self._and()]
        while self._peek() == "or":
            self._take()
            parts.append(self._and())
        return parts[0] if len(parts) == 1 else _joined(parts, until=True)

    def _and(self) -> Boolean:
        parts = [self._not()]
        while self._peek() == "and":
            self._take()
            parts.append(self._not())
        return parts[0] if len(parts) == 1 else _joined(parts, until=False)

    def _not(self) -> Boolean:
        if self._peek() == "not":
            self._take()
            inner = self._not()

            def negated(rows: Rows) -> tuple[Truths, Error]:
                true, error = inner(rows)
                return ~true, error

            return negated
        return self._comparison()

    def _comparison(self) -> Boolean:
        start = self._at
        if self._peek() == "(":
            try:
                self._take()
                inner = self._or()
                self._expect(")")
            except ValueError:
                self._at = start  # a sum in parentheses
            else:
                if (self._peek() not in _COMPARISONS and self._peek() not in "+-*/") or not self._peek():
                    return inner
                self._at = start
        left = self._sum()
        if self._peek() not in _COMPARISONS:
            return _truth(left)
        sign = self._take()[1]
        right = self._sum()

        def comparison(rows: Rows) -> tuple[Truths, Error]:
            (a, wrong_a), (b, wrong_b) = left(rows), right(rows)
            return compared(a, sign, b), wrong_a | wrong_b

        return comparison

    def _sum(self) -> Expression:
        return self._chain(("+", "-"), lambda: self._chain(("*", "/"), self._value))

    def _chain(self, signs: tuple[str, ...], operand: Callable[[], Expression]) -> Expression:
        left = operand()
        while self._peek() in signs:
            left = _calculation(left, self._take()[1], operand())
        return left

    def _value(self) -> Expression:
        kind, word = self._take()
        if word == "-" and self._tokens[self._at : self._at + 1] and self._tokens[self._at][0] == "number":
            return _literal(-_number(self._take()[1]))
        if kind == "text":
            return _literal(_text(word))
        if kind == "number":
            return _literal(_number(word))
        if word == "(" and kind == "sign":
            inner = self._sum()
            self._expect(")")
            return inner
        if kind != "name":
            raise ValueError(f"expected a value before {said(word)}")
        if word in ("true", "false"):
            return _literal(word == "true")
        if word == "nil":
            return _literal(None)
        if word in ENUMS:
            return _literal(ENUMS[word])
        if self._peek() == "(":
            return self._call(word)
        return self._path(word)

    def _call(self, name: str) -> Expression:
        if name not in FUNCTIONS:
            raise ValueError(f'there is no function "{name}" here{choice(name, FUNCTIONS)}')
        self._expect("(")
        arguments: list[Expression] = []
        raw: list[str | None] = []
        while self._peek() != ")":
            if arguments:
                self._expect(",")
            kind, word = self._tokens[self._at] if self._at < len(self._tokens) else ("", "")
            raw.append(_text(word) if kind == "text" else None)
            arguments.append(self._sum())
        self._expect(")")
        return FUNCTIONS[name](arguments, raw)

    def _path(self, first: str) -> Expression:
        names, key = [first], None
        while self._peek() == ".":
            self._take()
            names.append(self._take()[1])
        if self._peek() == "[":
            self._take()
            kind, word = self._take()
            if kind != "text":
                raise ValueError(f"expected a key in quotes before {said(word)}")
            key = _text(word)
            self._expect("]")
            if self._peek() == "[":
                raise ValueError("keys inside of a value that is a map are not supported here")
        return path(names, key, self._context)


def _literal(value: Any) -> Expression:
    def literal(rows: Rows) -> tuple[Value, Error]:
        return constant(value, len(rows)), np.zeros(len(rows), np.bool_)

    return literal


def _number(word: str) -> int | float:
    number = float(word) if "." in word else int(word)
    if isinstance(number, int) and number >= 1 << 63:
        raise ValueError(f"{word} does not fit in 64 bits")
    return number


def _text(word: str) -> str:
    try:
        text: str = json.loads(word)
    except ValueError:
        # patterns are written with single backslashes, which JSON refuses
        text = re.sub(r"\\(.)", lambda match: {"n": "\n", "t": "\t"}.get(match[1], match[0]), word[1:-1])
        text = text.replace('\\"', '"').replace("\\\\", "\\")
    return text


def _calculation(left: Expression, sign: str, right: Expression) -> Expression:
    def calculation(rows: Rows) -> tuple[Value, Error]:
        (a, wrong_a), (b, wrong_b) = left(rows), right(rows)
        value, wrong = calculated(a, sign, b)
        return value, wrong | wrong_a | wrong_b

    return calculation


def _truth(value: Expression) -> Boolean:
    """Return a value as a condition of its own: it must be a truth value."""

    def truth(rows: Rows) -> tuple[Truths, Error]:
        found, error = value(rows)
        is_bool = found.mask("is_bool")
        bools = np.zeros(len(rows), np.bool_) if found.bools is None else found.bools & is_bool
        return bools, error | ~is_bool

    return truth


def _joined(parts: list[Boolean], *, until: bool) -> Boolean:
    """Ask one after the other; a part behind the one that settled it does no harm by an error."""

    def joined(rows: Rows) -> tuple[Truths, Error]:
        result = np.full(len(rows), not until)
        failed = np.zeros(len(rows), np.bool_)
        open_ = np.ones(len(rows), np.bool_)
        for part in parts:
            true, error = part(rows)
            failed |= open_ & error
            open_ &= ~error
            settled = open_ & (true == until)
            result[settled] = until
            open_ &= ~settled
        return result & ~failed, failed

    return joined
