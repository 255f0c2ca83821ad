"""The fingerprint of a fault: equal for failures of one cause, whatever ids, lines and hosts they name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from processors.error_type.scrub import scrubbed_message
from processors.error_type.stacks import Language

VERSION: Final = 1
"""Stands before each fingerprint. Raise it with every change that makes other groups, so that they do not mix."""

_MOST_FRAMES: Final = 40
_PYTHON_MODULE: Final = re.compile(r"^(?:[a-z_][a-z0-9_]*\.)+(?=[A-Za-z_]\w*$)")
_QUALIFIED: Final = re.compile(
    r"(?:app|br|ch|cn|co|com|de|edu|eu|fr|gov|groovy|in|int|io|it|jakarta|javax?|jp|kotlinx?|net|nl|org|ru|scala|se"
    r"|software|tech|uk|us)\."
)
"""First words of package names in languages that keep theirs (JVM); a Python module is hardly called so."""

_MESSAGE_IS_DATA: Final = frozenset({"KeyError"})
"""Python's KeyError has nothing in its message but the key, quoted in one place and bare in another."""


def canonical_type(type_: str, language: Language | None) -> str:
    """Return the form in which types are compared: without `Elixir.`, `__main__.` and the module path of Python.

    One failure appears as `orders.CardDeclined` in a span and as `CardDeclined` in a log record. Names of Ruby, JVM,
    PHP and .NET stay whole. Where no stack tells the language, the form of the name does.
    """
    type_ = type_.strip().removeprefix("Elixir.").removeprefix("__main__.").removeprefix("*")
    if language is Language.PYTHON:
        return type_.rpartition(".")[2]
    if language is None and not _QUALIFIED.match(type_):
        return _PYTHON_MODULE.sub("", type_)
    return type_


def of_frames(type_: str, frames: Sequence[str]) -> str:
    """Return the fingerprint of a canonical type thrown in the application's `frames`, the newest first.

    Each frame counts once: how deep a recursion was says nothing of the fault.
    """
    return _digest("frames", type_, *list(dict.fromkeys(frames))[:_MOST_FRAMES])


def of_message(type_: str, message: str) -> str | None:
    """Return the fingerprint where no frame is known; None where nothing is known at all."""
    said = "" if type_ in _MESSAGE_IS_DATA else scrubbed_message(message)
    return _digest("message", type_, said) if type_ or said else None


def _digest(*parts: str) -> str:
    text = "\x1f".join(parts).encode("utf-8", "replace")
    return f"{VERSION}:{blake2b(text, digest_size=8).hexdigest()}"
