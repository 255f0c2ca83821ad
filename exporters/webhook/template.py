"""JSON with places for the fields of an alert: `{"content": "{severity}: {text}"}`. Pure.

The template is data, not text: what is filled in cannot break out of its string, and there is nothing to run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from string import Formatter
from typing import Any, Final

from pipeline.config.words import choice

LABEL: Final = "labels."


def check(template: Any, fields: Collection[str]) -> None:
    """Raises ValueError, with what would be right, for a place that no alert can fill."""
    for text in _texts(template):
        for field in _fields(text):
            if field not in fields and not (LABEL + "*" in fields and field.startswith(LABEL) and field != LABEL):
                raise ValueError(f'has no value for "{{{field}}}" in "{text}"{choice(field, fields)}')


def filled(template: Any, values: Mapping[str, Any]) -> Any:
    """Return the template with its places filled; one that is a whole string keeps the type of its value."""
    if isinstance(template, Mapping):
        return {_filled(name, values): filled(inner, values) for name, inner in template.items()}
    if isinstance(template, (list, tuple)):
        return [filled(inner, values) for inner in template]
    if not isinstance(template, str):
        return template
    fields = list(_fields(template))
    if len(fields) == 1 and template == f"{{{fields[0]}}}":
        return _value(fields[0], values)
    return _filled(template, values)


def _filled(text: str, values: Mapping[str, Any]) -> str:
    parts = []
    for literal, field, _, _ in Formatter().parse(text):
        parts.append(literal)
        if field is not None:
            parts.append(_as_text(_value(field, values)))
    return "".join(parts)


def _value(field: str, values: Mapping[str, Any]) -> Any:
    if field.startswith(LABEL):
        return values["labels"].get(field.removeprefix(LABEL), "")
    return values[field]


def _as_text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={inner}" for name, inner in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_as_text(inner) for inner in value)
    return str(value)


def _texts(template: Any) -> Iterator[str]:
    if isinstance(template, str):
        yield template
    elif isinstance(template, Mapping):
        for name, inner in template.items():
            yield name
            yield from _texts(inner)
    elif isinstance(template, (list, tuple)):
        for inner in template:
            yield from _texts(inner)


def _fields(text: str) -> Iterator[str]:
    try:
        places = list(Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f'has a lone brace in "{text}" ({error}); a brace that is meant is written twice') from error
    for _, field, form, conversion in places:
        if field is None:
            continue
        if form or conversion:
            raise ValueError(f'may not format its fields: "{text}"; write "{{{field}}}"')
        yield field
