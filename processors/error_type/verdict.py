"""From one error as sent (type, message, stack) to what is known of it. Pure, and worked out once for equal errors."""

from __future__ import annotations

from typing import Final, NamedTuple

from pipeline.error_text import NO_MESSAGE, ErrorLimits, capped, is_cut, short_type, without_message
from processors.error_type import fingerprint
from processors.error_type.cache import BoundedCache
from processors.error_type.categories import Categories
from processors.error_type.formats import FORMATS
from processors.error_type.frames import Ownership, identity
from processors.error_type.known import Category
from processors.error_type.stacks import Language, parse

_MOST_CAUSES: Final = 8
"""Causes that are looked at from either end of a chain."""


class Error(NamedTuple):
    """An error as it was sent; what was not is empty."""

    type: str = ""
    message: str = ""
    stack: str = ""


class Verdict(NamedTuple):
    """What is known of an error.

    `type` is that of the cause that was asked for, as sent, empty if nobody says. `transient` and `fingerprint` are
    None where nothing is known. `truncated`: something was over its cap, so only the ends of it were read.
    """

    type: str
    category: Category
    transient: bool | None
    fingerprint: str | None
    truncated: bool


class _Cause(NamedTuple):
    """One exception of a chain: its head, and the identities of the application's frames in it."""

    type: str
    message: str
    frames: tuple[str, ...]


class _Chain(NamedTuple):
    language: Language | None
    causes: tuple[_Cause, ...]


class Judge:
    """Gives verdicts, and remembers them within the bounds of `cache`.

    The stack is remembered apart from the message in its head: one fault has one stack and as many messages as it
    names ids, and taking the stack apart is what costs.
    """

    def __init__(
        self, categories: Categories, ownership: Ownership, limits: ErrorLimits, cache: BoundedCache, *, innermost: bool
    ) -> None:
        self._categories = categories
        self._ownership = ownership
        self._limits = limits
        self._cache = cache
        self._innermost = innermost

    def verdict(self, error: Error) -> Verdict:
        """Return what is known of `error`."""
        known = self._cache.find(error)
        if isinstance(known, Verdict):
            return known
        verdict = self._judged(error)
        self._cache.put(error, verdict, sum(map(len, error)))
        return verdict

    def _judged(self, error: Error) -> Verdict:
        message = capped(error.message, self._limits.message)
        stack = capped(without_message(error.stack, error.message), self._limits.stack)
        sent = short_type(error.type)
        chain = self._chain(stack)
        causes = list(chain.causes) or [_Cause("", "", ())]
        outer = causes[0]
        causes[0] = _Cause(sent or outer.type, message or outer.message.removesuffix(NO_MESSAGE), outer.frames)
        if self._innermost:
            causes.reverse()
        found = self._categories.of((cause.type, cause.message) for cause in causes)
        chosen = causes[0]
        type_ = fingerprint.canonical_type(chosen.type, chain.language)
        # a cause thrown inside a library has no frame of ours: the nearest exception that has some tells the place
        frames = next((cause.frames for cause in causes if cause.frames), ())
        return Verdict(
            short_type(chosen.type),
            found.category,
            found.transient,
            fingerprint.of_frames(type_, frames) if frames else fingerprint.of_message(type_, chosen.message),
            is_cut(message) or is_cut(stack) or sent != error.type,
        )

    def _chain(self, stack: str) -> _Chain:
        if not stack:
            return _Chain(None, ())
        known = self._cache.find(stack)
        if isinstance(known, _Chain):
            return known
        parsed = parse(stack, FORMATS)
        chain = _Chain(None, ())
        if parsed is not None:
            language, own = parsed.language, self._ownership.own
            parts = parsed.parts
            if len(parts) > 2 * _MOST_CAUSES:
                parts = parts[:_MOST_CAUSES] + parts[-_MOST_CAUSES:]
            chain = _Chain(
                language,
                tuple(
                    _Cause(
                        part.type,
                        part.message,
                        tuple(identity(language, frame) for frame in part.frames if own(language, frame)),
                    )
                    for part in parts
                ),
            )
        self._cache.put(stack, chain, len(stack))
        return chain
