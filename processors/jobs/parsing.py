"""Texts of attributes -> numbers, times and errors, in columns. What cannot be read is absent, never an error."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import Column, without_empty
from pipeline.error_text import both, python_message, status_error
from processors.jobs.conventions import Unit

ABSENT: Final = -1
"""Stands for "not said" in columns of counts and durations."""

_INTEGER: Final = r"^-?\d{1,18}$"
_DECIMAL: Final = r"^-?\d{1,18}(\.\d{1,9})?$"
_ISO: Final = (
    r"^(?P<date>[12]\d{3}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01]))"
    r"[T ](?P<time>(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)(?P<fraction>\.\d+)?(?P<zone>Z|[-+]\d\d:?\d\d)?$"
)
_SCALES: Final = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1, "iso": 0}
_LATEST_NS: Final = 2**63 - 1

Times = npt.NDArray[np.uint64]


def integers(texts: Column) -> npt.NDArray[np.int64]:
    """Return whole numbers of 0 and more, `ABSENT` for everything else."""
    fits: Column = pc.match_substring_regex(texts, _INTEGER)
    numbers = pc.if_else(fits, texts, pa.scalar(None, pa.string())).cast(pa.int64()).fill_null(ABSENT)
    values: npt.NDArray[np.int64] = numbers.to_numpy()
    return np.maximum(values, ABSENT)


def durations_ns(texts: Column, unit: Unit) -> npt.NDArray[np.int64]:
    """Return numbers of `unit` as nanoseconds, `ABSENT` for what is no number or below 0."""
    values = _numbers_ns(texts, unit)
    return np.where(values < 0, ABSENT, values)


def times_ns(texts: Column, unit: Unit) -> Times:
    """Return times as nanoseconds since 1970: ISO 8601 (UTC without a zone), or numbers of `unit`. 0 is absent."""
    found = np.maximum(_numbers_ns(texts, unit), 0)
    if texts.null_count < len(texts):
        iso: Column = pc.match_substring_regex(texts, _ISO)
        rows = np.flatnonzero(iso.fill_null(False).to_numpy(zero_copy_only=False))
        if len(rows):
            found[rows] = _iso_ns(texts.take(pa.array(rows)))
    return found.astype(np.uint64)


def _numbers_ns(texts: Column, unit: Unit) -> npt.NDArray[np.int64]:
    scale = _SCALES[unit]
    if scale == 0 or texts.null_count == len(texts):
        return np.full(len(texts), ABSENT, np.int64)
    whole = integers(texts)
    fits = whole <= _LATEST_NS // scale
    values = np.where(fits & (whole >= 0), np.where(fits, whole, 0) * scale, ABSENT)
    decimal: Column = pc.match_substring_regex(texts, _DECIMAL)
    rest = np.flatnonzero((whole < 0) & decimal.fill_null(False).to_numpy(zero_copy_only=False))
    if len(rest):
        floats = texts.take(pa.array(rest)).cast(pa.float64()).to_numpy() * scale
        values[rest] = np.where((floats >= 0) & (floats < _LATEST_NS), floats, ABSENT).astype(np.int64)
    return values


def _iso_ns(texts: Column) -> npt.NDArray[np.int64]:
    parts = pc.extract_regex(texts, _ISO)
    # Arrow reads up to nine digits of a second, and zones with a colon
    fraction = pc.utf8_slice_codeunits(pc.struct_field(parts, "fraction"), 0, 10)
    zone = pc.replace_substring_regex(pc.struct_field(parts, "zone"), r"^([-+]\d\d)(\d\d)$", r"\1:\2")
    zone = pc.if_else(pc.equal(zone, pa.scalar("")), "Z", zone)
    date_time = pc.binary_join_element_wise(pc.struct_field(parts, "date"), pc.struct_field(parts, "time"), "T")
    text = pc.binary_join_element_wise(date_time, fraction, zone, "")
    try:
        micros = pc.cast(text, pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid:
        # more than six digits somewhere, or a day that its month does not have
        micros = np.array([_micros(one) for one in text.to_pylist()], np.int64)
    nanos = pc.utf8_slice_codeunits(pc.utf8_rpad(pc.struct_field(parts, "fraction"), 10, "0"), 7, 10)
    below = np.where(_present(pc.struct_field(parts, "fraction")), integers(nanos), 0)
    return np.where((micros > 0) & (micros < _LATEST_NS // 1000), micros * 1000 + below, 0)


def _present(texts: Column) -> npt.NDArray[np.bool_]:
    filled: Column = pc.not_equal(texts, pa.scalar(""))
    present: npt.NDArray[np.bool_] = filled.to_numpy(zero_copy_only=False)
    return present


def _micros(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return 0
    return round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000)


def status_errors(messages: Column) -> tuple[Column, Column]:
    """Return type and message that status messages give, null for what they do not."""
    types, texts = both(messages, status_error)
    return without_empty(types), without_empty(texts)


def retry_errors(reasons: Column, pattern: str | None) -> tuple[Column, Column]:
    """Return type and message that retry reasons give: the groups of `pattern`, else the whole text as the message.

    The group `value` is taken for what Python's `repr` makes of an exception's arguments.
    """
    if pattern is None:
        return pa.nulls(len(reasons), pa.string()), reasons
    types = _group(reasons, pattern, "type") if "(?P<type>" in pattern else pa.nulls(len(reasons), pa.string())
    value = pc.struct_field(pc.extract_regex(reasons, pattern), "value")
    _, messages = both(value, lambda text: ("", python_message(text)))
    return types, without_empty(pc.coalesce(messages, reasons))


def _group(texts: Column, pattern: str, name: str) -> Column:
    return without_empty(pc.struct_field(pc.extract_regex(texts, pattern), name))
