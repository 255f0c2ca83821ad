"""How problems are put to people: values as they were written, suggestions, lists of what is allowed."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from typing import Any, Final

_LONGEST: Final = 60
_CREDENTIALS: Final = re.compile(r"://[^/@\s]*@")


def said(value: Any) -> str:
    """Write a value into a sentence; long text is cut, credentials in URLs are hidden."""
    match value:
        case str():
            text = _CREDENTIALS.sub("://***@", value)
            shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
            return json.dumps(shown, ensure_ascii=False)
        case bool() | None:
            return json.dumps(value)
        case dict():
            return "a map"
        case list() | tuple() | set() | frozenset():
            return "a list"
        case _:
            return str(value)


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean "x"?`, or nothing where no known word is near."""
    words = {name.lower(): name for name in known}
    nearest = difflib.get_close_matches(word.lower(), words, n=1, cutoff=0.6)
    return f'; did you mean "{words[nearest[0]]}"?' if nearest else ""


def choice(word: str, known: Iterable[str], label: str = "known") -> str:
    """Return a suggestion and the list of all that would be right, which is never empty handed."""
    names = sorted(set(known))
    return f"{suggestion(word, names)} ({label}: {', '.join(names) or 'none'})"


def listed(words: Iterable[str]) -> str:
    """Join as in a sentence: "a, b or c"."""
    *front, last = words
    return f"{', '.join(front)} or {last}" if front else last
