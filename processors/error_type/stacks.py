"""Stack traces as people's runtimes print them, taken apart: which exceptions, caused by which, thrown where.

What a printed form looks like is in `formats`; which frames matter is in `frames`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_LONGEST_LINE: Final = 600
"""Characters of a line that are looked at: no frame is longer, and what patterns can cost stays bounded."""


class Language(StrEnum):
    """Whose print a stack is. JVM is Java, Kotlin, Scala, Clojure; NODE is any JavaScript."""

    PYTHON = "python"
    RUBY = "ruby"
    GO = "go"
    ELIXIR = "elixir"
    JVM = "jvm"
    PHP = "php"
    NODE = "node"
    DOTNET = "dotnet"


@dataclass(frozen=True, slots=True)
class Frame:
    """One place of a stack, as printed; either may be empty."""

    file: str
    function: str


@dataclass(frozen=True, slots=True)
class Part:
    """One exception of a chain: what its head line says, and its frames, the newest first."""

    type: str
    message: str
    frames: tuple[Frame, ...]


@dataclass(frozen=True, slots=True)
class Stack:
    """A chain of exceptions, the one that was raised last (the outermost) first."""

    language: Language
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Format:
    """How a language prints: `sign` is found in its stacks and in none of those that are asked later."""

    language: Language
    sign: re.Pattern[str]
    parse: Callable[[list[str]], list[Part]]


def parse(text: str, formats: tuple[Format, ...]) -> Stack | None:
    """Return the stack that `text` prints, None where no format knows it or it has no frames.

    Any text is fine: what a format does not know is left out.
    """
    lines = [line[:_LONGEST_LINE].rstrip() for line in text.split("\n")]
    clipped = "\n".join(lines)
    for format_ in formats:
        if format_.sign.search(clipped):
            parts = tuple(format_.parse(lines))
            return Stack(format_.language, parts) if any(part.frames for part in parts) else None
    return None
