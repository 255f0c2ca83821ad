"""How far back, as people write it on the command line."""

from __future__ import annotations

import argparse
import math
import re
from typing import Final

LONGEST_SECONDS: Final = 2**32 - 1

UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def written(seconds: int) -> str:
    """Write seconds in the largest unit that divides them."""
    for unit in ("d", "h", "m"):
        if seconds % UNITS[unit] == 0:
            return f"{int(seconds / UNITS[unit])}{unit}"
    return f"{seconds}s"


def duration(text: str) -> int:
    """Return whole seconds, rounded up. Raises ArgumentTypeError."""
    found = DURATION.fullmatch(text)
    seconds = float(found[1]) * UNITS[found[2]] if found else 0.0 if text == "0" else math.inf
    if seconds > LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: write 90s, 15m, 1h, 7d, or 0")
    return math.ceil(seconds)
