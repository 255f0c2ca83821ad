"""Which spans failed, and with what error: from columns of kinds.SPANS to columns of text.

The first source that says something counts, alone, in the order of the job conventions (section 4.4): the last
`exception` event, BullMQ's `job failed` event, the retry reasons of Celery and Taskiq, the attribute `error.type` with
the status message beside it, the status message. So a span and its job row tell of the same error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import Batch
from pipeline.columns import Layouts, attribute_texts, layouts_of, texts_at, unnest
from pipeline.error_text import beside_type, both, python_message, status_error
from processors.error_type.tag import KEYS

Rows = npt.NDArray[np.integer[Any]]
Mask = npt.NDArray[np.bool_]

_STATUS_ERROR: Final = 2
"""opentelemetry-proto `Status.StatusCode.STATUS_CODE_ERROR`."""

_NOTHING: Final = pa.scalar("")
_CELERY, _TASKIQ, _TYPE = "celery.retry.reason", "taskiq.retry.reason", "error.type"

_CELERY_REASON: Final = re.compile(r"(?:Retry(?: in [^:]*)?: )?([A-Za-z_][\w.]*)\((.*)\)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Failures:
    """The spans with an error, one value a span in every field, in their order.

    `rescued`: an exception was recorded, but nothing says that the span failed. `present` has a bit for each of
    tag.KEYS that the span has already. Texts are empty where nothing was sent.
    """

    rows: Rows
    rescued: Mask
    present: npt.NDArray[np.int64]
    type: Any
    message: Any
    stack: Any


def failures(batch: Batch) -> Failures | None:
    """Return what failed among spans, None if nothing did."""
    offsets, events = unnest(batch.column("events"))
    exception_of, reason_of = (_last_event(offsets, events, name) for name in ("exception", "job failed"))
    status: Any = batch.column("status")
    failed = _flags(pc.equal(pc.struct_field(status, "code"), pa.scalar(_STATUS_ERROR, pa.int32())))
    own = _Own(layouts_of(batch))
    for key in (_TYPE, _CELERY, _TASKIQ):
        failed[own.told(key)] = True
    failed[reason_of >= 0] = True
    rows = np.flatnonzero(failed | (exception_of >= 0))
    if len(rows) == 0:
        return None
    event = _event_texts(events, exception_of[rows], "exception.type", "exception.message", "exception.stacktrace")
    nothing = _blank(len(rows))
    said = _Said.of(event[0], event[1], event[2])
    if (reason_of >= 0).any():
        said.further(nothing, *_event_texts(events, reason_of[rows], "bullmq.job.failed.reason"))
    if own.has(_CELERY):
        said.further(*both(own.text(_CELERY, rows), split_retry_reason))
    if own.has(_TASKIQ):
        said.further(nothing, own.text(_TASKIQ, rows))
    if not said.told.all():
        here = status.take(pa.array(rows))
        error = pc.equal(pc.struct_field(here, "code"), pa.scalar(_STATUS_ERROR, pa.int32()))
        messages = pc.if_else(error, pc.struct_field(here, "message"), _NOTHING).fill_null("")
        types = own.text(_TYPE, rows)
        said.further(types, beside_type(types, messages).fill_null(""))
        said.further(*both(messages, status_error))
    return Failures(rows, ~failed[rows], own.present(rows), said.type, said.message, event[2])


@dataclass(slots=True)
class _Said:
    """Type and message as the first source that says anything has them."""

    type: Any
    message: Any
    told: Mask

    @classmethod
    def of(cls, types: Any, messages: Any, stacks: Any) -> _Said:
        """Begin with exception events; a stack alone says something, too."""
        return cls(types, messages, _some(types) | _some(messages) | _some(stacks))

    def further(self, types: Any, messages: Any) -> None:
        """Ask the next source."""
        taken = ~self.told & (_some(types) | _some(messages))
        if taken.any():
            mask = pa.array(taken)
            self.type, self.message = pc.if_else(mask, types, self.type), pc.if_else(mask, messages, self.message)
            self.told |= taken


def _some(texts: Any) -> Mask:
    return _flags(pc.not_equal(texts, _NOTHING))


def split_retry_reason(text: str) -> tuple[str, str]:
    """Return (type, message) of Celery's `Retry in 1s: ConnectionError('refused')`; other text is all message.

    The brackets hold what Python's `repr` makes of the arguments; a message is taken out of its quotes.
    """
    match = _CELERY_REASON.fullmatch(text)
    return (match[1], python_message(match[2])) if match else ("", text)


@dataclass(frozen=True, slots=True)
class _Own:
    """The attributes of spans that matter here."""

    layouts: Layouts

    def has(self, key: str) -> bool:
        """Return whether any row has the key."""
        return self.layouts.positions(key) is not None

    def told(self, key: str) -> Rows:
        """Return the rows that have the key with something in it."""
        places = self.layouts.places(key)
        if places is None:
            return np.zeros(0, np.int64)
        rows = np.flatnonzero(places >= 0)
        return rows[_flags(texts_at(self.layouts.values, places[rows]).is_valid())]

    def text(self, key: str, rows: Rows) -> Any:
        """Return the value of a key for each of `rows` as text."""
        places = self.layouts.places(key)
        if places is None:
            return _blank(len(rows))
        return texts_at(self.layouts.values, places[rows]).fill_null("")

    def present(self, rows: Rows) -> npt.NDArray[np.int64]:
        """Return for each of `rows` the bits of the tag.KEYS that it has."""
        bits = np.zeros(len(self.layouts), np.int64)
        for bit, key in enumerate(KEYS):
            positions = self.layouts.positions(key)
            if positions is not None:
                bits[positions >= 0] |= 1 << bit
        return bits[self.layouts.numbers[rows]]


def _last_event(offsets: Rows, events: Any, name: str) -> Rows:
    """Return for each span the number of its last event called `name`, -1 for none."""
    last = np.full(len(offsets) - 1, -1)
    at = np.flatnonzero(_flags(pc.equal(events.field("name"), pa.scalar(name))))
    last[np.searchsorted(offsets, at, side="right") - 1] = at
    return last


def _event_texts(events: Any, where: Rows, *keys: str) -> list[Any]:
    """Return attributes of the events numbered in `where` as text, one array a key."""
    if len(where) == 0 or where.max() < 0:
        return [_blank(len(where)) for _ in keys]
    has = where >= 0
    texts = attribute_texts(events.field("attributes"), where[has], keys)
    if not has.all():
        places = np.where(has, np.cumsum(has) - 1, -1)
        texts = [_taken(text, places) for text in texts]
    return [text.fill_null("") if text.null_count else text for text in texts]


def _taken(values: Any, where: Rows) -> Any:
    """Return the values at `where`, null at negative places."""
    return values.take(pa.array(where, mask=where < 0))


def _blank(length: int) -> Any:
    return pa.repeat(_NOTHING, length)


def _flags(array: Any) -> Mask:
    flags: Mask = array.fill_null(False).to_numpy(zero_copy_only=False).copy()
    return flags
