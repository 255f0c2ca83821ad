"""pydantic's errors in our words: what is wrong with the value, and what would be right."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic_core import ErrorDetails

from pipeline.config.trail import Trail, key_of
from pipeline.config.words import choice, listed, said, suggestion

_QUOTED: Final = re.compile(r"'((?:[^'\\]|\\.)*)'")

KINDS_OF_VALUE: Final[Mapping[str, str]] = {
    "string_type": "text",
    "string_sub_type": "text",
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_from_float": "an integer",
    "int_parsing_size": "an integer that fits",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "a map",
    "model_type": "a map",
    "model_attributes_type": "a map",
    "dataclass_type": "a map",
    "none_required": "null",
    "path_type": "a path",
    "bytes_type": "text",
}
"""Error types that say only: this is a value of another kind."""

NOT_THIS_MEMBER: Final = frozenset({*KINDS_OF_VALUE, "literal_error", "enum"})
"""Error types that, at a union, mean that another of its members was meant."""

_BOUNDS: Final[Mapping[str, tuple[str, str]]] = {
    "greater_than": ("greater than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
    "multiple_of": ("a multiple of", "multiple_of"),
}

_COUNTS: Final[Mapping[str, tuple[str, str, str]]] = {
    "string_too_short": ("at least", "min_length", "character"),
    "string_too_long": ("at most", "max_length", "character"),
    "too_short": ("at least", "min_length", "item"),
    "too_long": ("at most", "max_length", "item"),
}


def problem_text(error: ErrorDetails, trail: Trail, value: Any, origin: str | None) -> str:
    """Return what is wrong, for a value as it was read from `origin`; a secret value is never quoted."""
    kind = error["type"]
    shown = _shown(value, trail)
    text = _of_kind(kind, error, trail, value, shown)
    return text if origin is None or trail.secret else f"{text} (from {origin})"


def _of_kind(kind: str, error: ErrorDetails, trail: Trail, value: Any, shown: str) -> str:
    context: Mapping[str, Any] = error.get("ctx", {})
    message = error["msg"]
    if kind in KINDS_OF_VALUE:
        return f"must be {KINDS_OF_VALUE[kind]}, is {shown}{_quote_hint(kind, value, secret=trail.secret)}"
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"must be {words} {context[key]}, is {shown}"
    if kind in _COUNTS:
        comparison, key, unit = _COUNTS[kind]
        return _count_text(comparison, context[key], unit, context.get("actual_length"), shown)
    match kind:
        case "missing" | "union_tag_not_found":
            return "is required"
        case "extra_forbidden":
            key, known = str(trail.path[-1]), known_keys(trail)
            return f"unknown key{suggestion(key, known) or choice(key, known)}"
        case "literal_error" | "enum":
            allowed = _names(str(context["expected"]))
            near = suggestion(value, allowed) if isinstance(value, str) else ""
            return f"must be {listed(allowed)}, is {shown}{near}"
        case "union_tag_invalid":
            name = str(context["discriminator"]).strip("'")
            tag, known = str(context["tag"]), _names(str(context["expected_tags"]))
            return f'unknown {"variant" if name.endswith("()") else name} "{tag}"{choice(tag, known)}'
        case "value_error" | "assertion_error":
            return str(context.get("error", "")) or message
        case "jobsight":
            return message
        case "finite_number":
            return f"must be a finite number, is {shown}"
        case "string_pattern_mismatch":
            return f"must match the regular expression {context['pattern']}, is {shown}"
        case _:
            return f"{message[:1].lower()}{message[1:]}, is {shown}"


def _shown(value: Any, trail: Trail) -> str:
    if not trail.secret or isinstance(value, (dict, list)) or value is None:
        return said(value)
    return {str: "text", bool: "a truth value"}.get(type(value), "a number")


def _count_text(comparison: str, number: int, unit: str, actual: int | None, shown: str) -> str:
    if comparison == "at least" and number == 1:
        return "must not be empty"
    plural = unit if number == 1 else f"{unit}s"
    return f"must have {comparison} {number} {plural}, {f'is {shown}' if actual is None else f'has {actual}'}"


def members_text(errors: list[ErrorDetails], trail: Trail, value: Any, origin: str | None) -> str:
    """Return one sentence for a value that is of none of the kinds that a union takes."""
    kinds: dict[str, None] = {}
    for error in errors:
        kind = KINDS_OF_VALUE.get(error["type"])
        kinds.update(dict.fromkeys([kind] if kind else _names(str(error.get("ctx", {}).get("expected", "")))))
    source = "" if origin is None or trail.secret else f" (from {origin})"
    return f"must be {listed(kinds)}, is {_shown(value, trail)}{source}"


def known_keys(trail: Trail) -> list[str]:
    """Return the keys that the innermost model has, as they are written."""
    if trail.model is None:
        return []
    return [key_of(name, field) for name, field in trail.model.model_fields.items()]


def _quote_hint(kind: str, value: Any, *, secret: bool) -> str:
    if kind == "string_type" and type(value) in (int, float, bool):
        return "; put it in quotes" if secret else f'; put it in quotes: "{said(value)}"'
    if kind == "bool_type" and isinstance(value, str) and value.lower() in {"on", "off", "yes", "no"}:
        return " (YAML 1.2 knows only true and false)"
    if kind == "bool_type" and value in ("true", "false"):
        return "; take the quotes away"
    if kind in {"int_type", "float_type", "int_parsing"} and isinstance(value, str) and value.isdigit() and not secret:
        return "; take the quotes away"
    return ""


def _names(expected: str) -> list[str]:
    """Take apart pydantic's list: `'a', 'b' or 'c'`, `1, 2 or 3`."""
    quoted = _QUOTED.findall(expected)
    return quoted or re.split(r", | or ", expected)
