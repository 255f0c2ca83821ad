"""Takes out of messages and paths what differs from one failure to the next though the fault is the same.

The patterns walk a text once: none can take more than linear time, whatever the text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_HEX_ID: Final = r"(?=[0-9a-fA-F]*[0-9])[0-9a-fA-F]{7,}|[0-9a-fA-F]{16,}"
_UUID: Final = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
_EDGE: Final = r"(?<![0-9A-Za-z])"
_END: Final = r"(?![0-9A-Za-z])"

_MESSAGE: Final[Sequence[tuple[re.Pattern[str], str]]] = (
    (re.compile(r"(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>)\]}]+"), "<url>"),
    (re.compile(r"(?<![\w.%+-])[\w.%+-]+@(?:[\w-]+\.)+[\w-]+"), "<email>"),
    # an apostrophe inside a word opens nothing; `name' is how Ruby quoted before 3.4
    (re.compile(r"`[^`'\n]*['`]|(?<!\w)'[^'\n]*'(?!\w)|\"[^\"\n]*\"|“[^“”\n]*”|«[^«»\n]*»"), "<text>"),
    (re.compile(r"(?<![\w./<>])(?:[A-Za-z]:)?[.~]{0,2}(?:[/\\][\w.@+~%=-]+)+[/\\]?"), "<path>"),
    (re.compile(r"(?<![^\s=(:\[,])[-+](?=[0-9])"), ""),
    (
        re.compile(
            _EDGE
            + rf"(?:{_UUID}|0[xX][0-9a-fA-F]+|{_HEX_ID}|(?=[A-Za-z]*[0-9]+[A-Za-z]+[0-9])[0-9A-Za-z]{{12,}}){_END}"
        ),
        "<id>",
    ),
    (re.compile(r"[0-9]+(?:[eE][-+]?[0-9]+(?![0-9A-Za-z]))?"), "<id>"),
    # 10.2.0.7:443, 2026-01-31T12:00:00.5, 1,000.00, 1 of several ids in a row: one value, however it is written
    (re.compile(r"<id>(?:[.,:/_+-]?T?<id>)+"), "<id>"),
)

_PATH: Final[Sequence[tuple[re.Pattern[str], str]]] = (
    (re.compile(r"^\w+:/+"), "/"),
    (re.compile(r"\\"), "/"),
    (re.compile(r"[?#].*$"), ""),
    (re.compile(r"^.*/(?:te?mp|T|Temp)/[^/]*/"), "/"),
    (re.compile(_EDGE + rf"(?:{_UUID}|{_HEX_ID}|[0-9]+){_END}"), "#"),
    (re.compile(r"[0-9]{4,}"), "#"),
)

_KEPT_SEGMENTS: Final = 2
"""Of a path: the file and its folder. Roots differ between hosts and releases of one program."""


def scrubbed_message(message: str) -> str:
    """Return the first line of a message with placeholders for URLs, e-mail addresses, quotations, paths, ids, numbers.

    Numbers, hex ids, UUIDs, addresses and tokens get the same placeholder, so that an id of digits alone is no other.
    """
    line = next((line for line in message.splitlines() if line.strip()), "").strip()
    for pattern, placeholder in _MESSAGE:
        line = pattern.sub(placeholder, line)
    return line


def scrubbed_path(path: str) -> str:
    """Return the last folder and the file of a path, without temporary roots, releases and hashes in names."""
    for pattern, replacement in _PATH:
        path = pattern.sub(replacement, path)
    return "/".join([segment for segment in path.split("/") if segment not in ("", ".", "..")][-_KEPT_SEGMENTS:])
