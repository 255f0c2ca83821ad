"""Which spans failed, and with what error: from columns of kinds.SPANS to columns of text.

The order of sources is that of the job conventions: the last `exception` event, BullMQ's `job failed` event, the retry
reasons of Celery and Taskiq, the attribute `error.type`, the status message.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.batch import one_array
from pipeline.columns import any_value_text, attribute_texts, texts_at, unnest
from processors.error_type.tag import KEYS

Rows = npt.NDArray[np.integer[Any]]
Mask = npt.NDArray[np.bool_]

_STATUS_ERROR: Final = 2
"""opentelemetry-proto `Status.StatusCode.STATUS_CODE_ERROR`."""

_NOTHING: Final = pa.scalar("")
_CELERY, _TASKIQ, _TYPE = "celery.retry.reason", "taskiq.retry.reason", "error.type"
_LOOKED_FOR: Final = (*KEYS, _CELERY, _TASKIQ)

_RUBY_STATUS: Final = re.compile(r"(?:Unhandled exception of type: |Unexpected ActiveJob Error )(\S+)")
_PYTHON_STATUS: Final = re.compile(
    r"((?:\w+\.)*(?:[A-Z][a-z0-9]+(?=[A-Z])\w+|\w*(?:Error|Exception|Timeout|Interrupt|Exit))): (.*)", re.DOTALL
)
_CELERY_REASON: Final = re.compile(r"(?:Retry in [^:]{1,80}: )?([A-Za-z_][\w.]*)\((.*)\)", re.DOTALL)


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


def failures(table: pa.Table) -> Failures | None:
    """Return what failed among spans, None if nothing did."""
    count = table.num_rows
    offsets, events = unnest(one_array(table.column("events")))
    exception_of, reason_of = (_last_event(offsets, events, name) for name in ("exception", "job failed"))
    status: Any = one_array(table.column("status"))
    failed = _flags(pc.equal(pc.struct_field(status, "code"), pa.scalar(_STATUS_ERROR, pa.int32())))
    own = _own_attributes(one_array(table.column("attributes")))
    for key in (_TYPE, _CELERY, _TASKIQ):
        failed[own.told(key)] = True
    failed[reason_of >= 0] = True
    rows = np.flatnonzero(failed | (exception_of >= 0))
    if len(rows) == 0:
        return None
    event = _event_texts(events, exception_of[rows], "exception.type", "exception.message", "exception.stacktrace")
    (reason,) = _event_texts(events, reason_of[rows], "bullmq.job.failed.reason")
    retried_type, retried_message = _split(own.text(_CELERY, rows), split_retry_reason)
    said = pc.struct_field(status.take(pa.array(rows)), "message").fill_null("")
    type_, message = event[0], _first(event[1], reason, retried_message, own.text(_TASKIQ, rows))
    type_ = _first(type_, retried_type, own.text(_TYPE, rows))
    if pc.any(pc.equal(type_, _NOTHING)).as_py() or pc.any(pc.equal(message, _NOTHING)).as_py():
        said_type, said_message = _split(said, split_status_message)
        type_, message = _first(type_, said_type), _first(message, said_message)
    return Failures(rows, ~failed[rows], own.present(count)[rows], type_, message, event[2])


def split_status_message(text: str) -> tuple[str, str]:
    """Return (type, message) of a status message, in the words of Ruby's and Python's instrumentations."""
    if match := _RUBY_STATUS.fullmatch(text):
        return match[1], ""
    if match := _PYTHON_STATUS.fullmatch(text):
        return match[1], match[2]
    return "", text


def split_retry_reason(text: str) -> tuple[str, str]:
    """Return (type, message) of Celery's `Retry in 1s: ConnectionError('refused')`; other text is all message.

    The brackets hold what Python's `repr` makes of the arguments; a message is taken out of its quotes.
    """
    match = _CELERY_REASON.fullmatch(text)
    if match is None:
        return "", text
    if match[2][:1] in ("'", '"'):
        try:
            said = ast.literal_eval(match[2].removesuffix(","))
        except (ValueError, SyntaxError):
            return match[1], match[2]
        return match[1], said if isinstance(said, str) else match[2]
    return match[1], match[2]


@dataclass(frozen=True, slots=True)
class _Own:
    """The attributes of spans that matter here: for each key the rows that have it, and where the value stands.

    The first of equal keys of a row counts.
    """

    values: Any
    found: Mapping[str, tuple[Rows, Rows]]
    length: int

    def told(self, key: str) -> Rows:
        """Return the rows that have the key with something in it."""
        rows, at = self.found[key]
        if len(rows) == 0:
            return rows
        return rows[_flags(texts_at(self.values, at).is_valid())]

    def text(self, key: str, rows: Rows) -> Any:
        """Return the value of a key for each of `rows` as text."""
        having, at = self.found[key]
        if len(having) == 0:
            return _blank(len(rows))
        where = np.full(self.length, -1)
        where[having] = at
        return any_value_text(_taken(self.values, where[rows]))

    def present(self, count: int) -> npt.NDArray[np.int64]:
        """Return for each row the bits of the tag.KEYS that it has."""
        bits = np.zeros(count, np.int64)
        for bit, key in enumerate(KEYS):
            bits[self.found[key][0]] |= 1 << bit
        return bits


def _own_attributes(lists: Any) -> _Own:
    offsets, items = unnest(lists)
    codes: Any = pc.index_in(items.field("key"), value_set=pa.array(_LOOKED_FOR))
    at = np.flatnonzero(codes.is_valid().to_numpy(zero_copy_only=False))
    rows = np.searchsorted(offsets, at, side="right") - 1
    code = codes.take(pa.array(at)).to_numpy(zero_copy_only=False)
    found = {}
    for number, key in enumerate(_LOOKED_FOR):
        of_key = code == number
        having, first = np.unique(rows[of_key], return_index=True)
        found[key] = (having, at[of_key][first])
    return _Own(items.field("value"), found, len(lists))


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


def _split(texts: Any, split: Callable[[str], tuple[str, str]]) -> tuple[Any, Any]:
    """Return both halves of `split`, asked once for each distinct text."""
    encoded = texts.dictionary_encode()
    halves = [split(text) for text in encoded.dictionary.to_pylist()]
    first, second = (pa.array([half[place] for half in halves], pa.string()) for place in (0, 1))
    return first.take(encoded.indices), second.take(encoded.indices)


def _first(*texts: Any) -> Any:
    """Return the first text that is not empty, row by row."""
    result = texts[0]
    for text in texts[1:]:
        empty: Any = pc.equal(result, _NOTHING)
        if not empty.true_count:
            break
        result = pc.if_else(empty, text, result)
    return result


def _taken(values: Any, where: Rows) -> Any:
    """Return the values at `where`, null at negative places."""
    return values.take(pa.array(where, mask=where < 0))


def _blank(length: int) -> Any:
    return pa.repeat(_NOTHING, length)


def _flags(array: Any) -> Mask:
    flags: Mask = array.fill_null(False).to_numpy(zero_copy_only=False).copy()
    return flags
