"""How the texts of errors are read and cut: one rule for all components, so that a span and its job row tell the same.

What is cut keeps both ends, which say who threw what, and a mark between them. Cutting again changes nothing, and what
was cut to a larger limit is cut to a smaller one as the whole text would have been.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import Column, first_sight, lengths_of, without_empty

LONGEST_TYPE: Final = 200
"""Characters of a type that are kept; what is longer is no name of a class."""

MESSAGE_BYTES: Final = 4 * 1024
STACKTRACE_BYTES: Final = 32 * 1024
"""What is kept and read of an error unless a component is told otherwise."""

NO_MESSAGE: Final = "\x00"
"""Stands in a stack where its message was taken out."""

_MARK: Final = re.compile(r"\.\.\. \[(\d{1,18}) bytes cut\] \.\.\.\n")
_NULL: Final = pa.scalar(None, pa.string())
_EMPTY: Final = pa.scalar("")

_RUBY_STATUS: Final = re.compile(r"(?:Unhandled exception of type: |Unexpected ActiveJob Error )(\S+)")
_TYPE_AND_TEXT: Final = re.compile(
    r"((?:[A-Za-z_]\w*\.)+[A-Z]\w*"  # qualified
    r"|[A-Z][a-z0-9]+(?=[A-Z])\w+"  # of two words: CardDeclined
    r"|\w*(?:Error|Exception|Timeout|Interrupt|Exit)): (.*)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class ErrorLimits:
    """Bytes of UTF-8 that are kept of an error; a mark, and in a stack the message, come on top."""

    message: int = MESSAGE_BYTES
    stack: int = STACKTRACE_BYTES


# reading


def status_error(text: str) -> tuple[str, str]:
    """Return (type, message) of a span's status message (job-conventions, section 4.4, source 7).

    `Unhandled exception of type: X` (Ruby) gives the type alone, `X: text` (the Python SDK) both, where X is surely a
    class: `ValueError`, `CardDeclined`, `shop.Declined`, but not `Order` or `POST`. Anything else is the message.
    """
    if match := _RUBY_STATUS.fullmatch(text):
        return match[1], ""
    if match := _TYPE_AND_TEXT.fullmatch(text):
        return match[1], match[2]
    return "", text


def python_message(arguments: str) -> str:
    """Return the message of an exception of which `repr` printed `Type(arguments)`: out of its quotes, if it is one."""
    if arguments[:1] in ("'", '"'):
        try:
            said = ast.literal_eval(arguments.removesuffix(","))
        except (ValueError, SyntaxError):
            return arguments
        return said if isinstance(said, str) else arguments
    return arguments


def both(texts: Column, read: Callable[[str], tuple[str, str]]) -> tuple[Column, Column]:
    """Return both parts of what `read` makes of each text, asked once for each distinct one; null for null."""
    encoded = texts.dictionary_encode()
    parts = [read(text) for text in encoded.dictionary.to_pylist()]
    first, second = (pa.array([part[place] for part in parts], pa.string()) for place in (0, 1))
    return first.take(encoded.indices), second.take(encoded.indices)


def beside_type(types: Column, messages: Column) -> Column:
    """Return what status messages add to types that are known, null where no type is, or nothing is left without it.

    The status of a span that failed describes the error that its `error.type` names (OpenTelemetry, recording errors).
    """
    named, texts = both(messages, status_error)
    said = pc.or_(pc.equal(named, _EMPTY), pc.equal(_last_part(named), _last_part(types)))
    return without_empty(pc.if_else(pc.not_equal(types, _EMPTY), pc.if_else(said, texts, messages), _NULL))


def _last_part(types: Column) -> Column:
    """Return types without module or namespace: one exception is `shop.Declined` here and `Declined` there."""
    return pc.replace_substring_regex(types, r"^.*[.:\\]", "")


# cutting


def short_type(type_: str) -> str:
    """Return a type of at most LONGEST_TYPE characters."""
    return type_ if len(type_) <= LONGEST_TYPE else f"{type_[: LONGEST_TYPE - 1]}…"


def is_cut(text: str) -> bool:
    """Return whether something was cut out of a message or a stack."""
    return _MARK.search(text) is not None


def capped(text: str, limit: int) -> str:
    """Return `text` in at most `limit` bytes of UTF-8, with a mark where something was cut out of its middle.

    Characters stay whole, and lines where one ends near the cut.
    """
    mark = _MARK.search(text)
    if mark is None:
        first = last = text.encode("utf-8", "replace")
        if len(first) <= limit:
            return text
        whole = len(first)
    else:
        first, last = (part.encode("utf-8", "replace") for part in (text[: mark.start()], text[mark.end() :]))
        whole = len(first) + int(mark[1]) + len(last)
    head, tail = _head(first, limit - limit // 2), _tail(last, limit // 2)
    gone = whole - len(head.encode()) - len(tail.encode())
    return f"{head}... [{gone} bytes cut] ...\n{tail}"


def _head(encoded: bytes, room: int) -> str:
    if len(encoded) <= room:
        return encoded.decode()
    text = encoded[:room].decode("utf-8", "ignore")
    end = text.rfind("\n") + 1
    return text[:end] if len(text[:end].encode()) >= room // 2 else text


def _tail(encoded: bytes, room: int) -> str:
    if len(encoded) <= room:
        return encoded.decode()
    text = encoded[len(encoded) - room :].decode("utf-8", "ignore")
    start = text.find("\n") + 1
    return text[start:] if len(text[start:].encode()) >= room // 2 else text


def without_message(stack: str, message: str, by: str = NO_MESSAGE) -> str:
    """Return the stack with `message` in its head line replaced, so that equal stacks of other messages are equal.

    Python has its head at the end, all others at the start; a message is taken out once, and only where it follows a
    colon and ends its line or stands before Ruby's `(Type)`.
    """
    if not message or not stack:
        return stack
    text = f": {message}"
    at = stack.rfind(text) if stack.startswith("Traceback ") or "\nTraceback (most" in stack else stack.find(text)
    end = at + len(text)
    if at < 0 or not (end == len(stack) or stack[end] in "\r\n" or stack.startswith(" (", end)):
        return stack
    return f"{stack[:at]}: {by}{stack[end:]}"


def cut_error(type_: str, message: str, stack: str, limits: ErrorLimits) -> tuple[str, str, str]:
    """Return an error within limits. The message in the head of a stack is cut like the message itself.

    So a huge message does not push the frames out, and can be found in the stack again.
    """
    short = capped(message, limits.message)
    skeleton = capped(without_message(stack, message), limits.stack)
    return short_type(type_), short, without_message(skeleton, NO_MESSAGE, short)


def cut_errors(types: Column, messages: Column, stacks: Column, limits: ErrorLimits) -> tuple[Column, Column, Column]:
    """Return columns of errors, null for what was not sent, within limits; only what is over them is touched."""
    columns = (types, messages, stacks)
    long = (lengths_of(messages) > limits.message) | (lengths_of(stacks) > limits.stack)
    # a type of no more bytes has no more characters
    wide = np.flatnonzero(lengths_of(types) > LONGEST_TYPE)
    if len(wide):
        characters: Column = pc.utf8_length(types.take(pa.array(wide)))
        long[wide] |= characters.to_numpy() > LONGEST_TYPE
    if not long.any():
        return columns
    here: Column = pa.array(long)
    some = [column.filter(here) for column in columns]
    numbers, firsts = first_sight(some)
    distinct = zip(*(column.take(pa.array(firsts)).fill_null("").to_pylist() for column in some), strict=True)
    cut = [cut_error(type_, message, stack, limits) for type_, message, stack in distinct]
    replaced = []
    for place, (column, sent) in enumerate(zip(columns, some, strict=True)):
        texts: Column = pa.array([error[place] for error in cut], pa.string())
        short = texts.take(pa.array(numbers))
        some_sent: Column = pc.if_else(sent.is_valid(), short, _NULL)
        replaced.append(pc.replace_with_mask(column, here, some_sent))
    return replaced[0], replaced[1], replaced[2]
