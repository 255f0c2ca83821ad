"""Attributes and their values: found by key for many rows at once, and written as text.

All of it is columnar: costs are per column and per distinct array or map, never a Python loop over rows.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import Column, Ints, nest, parents_of, ranges, unnest, without_empty
from pipeline.kinds import ANY_VALUE
from pipeline.otlp import descriptors
from pipeline.otlp.json_text import base64_text, glued, mapped, quoted

_NULL: Final = pa.scalar(None, pa.string())
_NOT_FINITE: Final = {
    "nan": "json: unsupported value: NaN",
    "inf": "json: unsupported value: +Inf",
    "-inf": "json: unsupported value: -Inf",
}


def attributes(lists: Column, keys: Sequence[str]) -> dict[str, Column]:
    """Return the values of some attributes: for each key an ANY_VALUE for each row of `lists` (of kinds.ATTRIBUTES).

    Null where the row has no such key, and where the key was sent without value. Of equal keys in a row the first
    counts.
    """
    offsets, items = unnest(lists)
    names, values = items.field("key"), items.field("value")
    codes = pc.fill_null(
        pc.index_in(names, value_set=pa.array(keys, pa.string())), pa.scalar(-1, pa.int32())
    ).to_numpy()
    found = np.flatnonzero(codes >= 0)
    rows = np.searchsorted(offsets, found, side="right") - 1
    result = {}
    for code, key in enumerate(keys):
        of_key = codes[found] == code
        # back to front, so that the first of equal keys is written last
        here, at = rows[of_key][::-1], found[of_key][::-1]
        where = np.full(len(lists), -1)
        where[here] = at
        taken = pa.nulls(len(lists), ANY_VALUE) if len(at) == 0 else values.take(pa.array(where, mask=where < 0))
        result[key] = taken
    return result


def any_value_text(values: Column) -> Column:
    """Return each ANY_VALUE as the Collector writes it for people and string columns (`pcommon.Value.AsString`).

    A string as it is, `true`/`false`, decimal integers, doubles as Go's JSON has them, bytes in base64, arrays and maps
    as compact JSON with sorted keys. Null and unset values become the empty string. As there, a double that is no
    number reads `json: unsupported value: NaN`, and an array or map with such a double inside is empty. Other than
    there, the HTML characters `<>&` are not escaped inside that JSON.
    """
    text = values.field("string_value")
    if not text.null_count and not values.null_count:
        return text
    unset = ~_valid(text)
    texts, place = [text, pa.array([""])], np.where(unset, len(text), np.arange(len(text)))
    written_before = len(text) + 1
    for name, written in _WRITTEN.items():
        others = values.field(name)
        if others.null_count < len(others):
            rows = np.flatnonzero(unset & _valid(others))
            place[rows] = np.arange(written_before, written_before + len(rows))
            written_before += len(rows)
            unset[rows] = False
            texts.append(written(others.take(pa.array(rows))))
    if values.null_count:
        place[~_valid(values)] = len(text)  # nothing of what is null here is shown, whatever stands beneath it
    shown = pa.concat_arrays(texts).take(pa.array(place))
    return shown.fill_null("") if shown.null_count else shown


def texts_at(values: Column, places: Ints) -> Column:
    """Return `any_value_text` of the values at `places`, null for empty text and at places below 0.

    Only what is no string is taken out whole.
    """
    taken = pa.array(places) if len(places) == 0 or places.min() >= 0 else pa.array(places, mask=places < 0)
    if values.null_count:
        texts = any_value_text(values.take(taken))
    else:
        texts = values.field("string_value").take(taken)
        if texts.null_count > taken.null_count:
            others = pc.and_(texts.is_null(), taken.is_valid())
            texts = pc.replace_with_mask(texts, others, any_value_text(values.take(taken.filter(others))))
    return without_empty(texts)


def attribute_texts(lists: Column, rows: Ints, keys: Sequence[str]) -> list[Column]:
    """Return attributes of some rows of `lists` (of kinds.ATTRIBUTES) as text, one column for each of `keys`.

    Null where absent or empty. Of equal keys in a row the first counts; other values are not copied.
    """
    offsets, items = unnest(lists)
    places, numbers = ranges(offsets, rows)
    names, values = items.field("key").take(pa.array(places)), items.field("value")
    codes = pc.index_in(names, value_set=pa.array(keys, pa.string())).fill_null(-1).to_numpy()
    columns = []
    for code in range(len(keys)):
        # back to front, so that the first of equal keys is written last
        here = np.flatnonzero(codes == code)[::-1]
        where = np.full(len(rows), -1)
        where[numbers[here]] = places[here]
        columns.append(texts_at(values, where) if len(here) else pa.nulls(len(rows), pa.string()))
    return columns


def _json(values: Column) -> Column:
    """Return each ANY_VALUE as plain JSON, null where there is none for it."""
    unset = pa.scalar("null")
    strings, doubles = values.field("string_value"), values.field("double_value")
    finite = pc.if_else(pc.is_finite(doubles), _double_text(doubles), _NULL)
    array_text = _of_distinct(values.field("array_value"), _array_json)
    map_text = _of_distinct(values.field("kvlist_value"), _map_json)
    text = pc.coalesce(
        quoted(strings),
        values.field("int_value").cast(pa.string()),
        finite,
        values.field("bool_value").cast(pa.string()),
        glued('"', base64_text(values.field("bytes_value")), '"'),
        array_text,
        map_text,
        unset,
    )
    impossible = np.zeros(len(values), np.bool_)
    for name, written in (("double_value", finite), ("array_value", array_text), ("kvlist_value", map_text)):
        impossible |= _valid(values.field(name)) & ~_valid(written)
    return pc.if_else(pa.array(impossible), _NULL, text)


def _array_json(encoded: Column) -> Column:
    rows = descriptors.handler(descriptors.ARRAY).array_to_record_batch(encoded)
    offsets, items = unnest(rows.column("values"))
    return glued("[", pc.binary_join(nest(offsets, _json(items)), ","), "]")


def _map_json(encoded: Column) -> Column:
    """Go sorts the keys of a map, and of equal keys the last one sent is in it."""
    rows = descriptors.handler(descriptors.MAP).array_to_record_batch(encoded)
    offsets, items = unnest(rows.column("values"))
    parents, keys = parents_of(offsets), items.field("key")
    order = pc.sort_indices(
        pa.table({"parent": parents, "key": keys}), sort_keys=[("parent", "ascending"), ("key", "ascending")]
    )
    parents, keys = parents[order.to_numpy()], keys.take(order)
    last = np.ones(len(keys), np.bool_)
    if len(keys) > 1:
        last[:-1] = pc.not_equal(keys[1:], keys[:-1]).to_numpy(zero_copy_only=False) | (parents[1:] != parents[:-1])
    kept = pa.array(last)
    members = glued(quoted(keys.filter(kept)), ":", _json(items.field("value").take(order.filter(kept))))
    lengths = np.bincount(parents[last], minlength=len(offsets) - 1)
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    return glued("{", pc.binary_join(nest(bounds, members), ","), "}")


def _of_distinct(encoded: Column, text: Any) -> Column:
    """Return `text` of encoded values, worked out once for each distinct one; this also ends the recursion."""
    if encoded.null_count == len(encoded):
        return pa.nulls(len(encoded), pa.string())
    distinct = encoded.dictionary_encode()
    return text(distinct.dictionary).take(distinct.indices)


def _valid(array: Column) -> npt.NDArray[np.bool_]:
    valid: npt.NDArray[np.bool_] = array.is_valid().to_numpy(zero_copy_only=False)
    return valid


def _double_text(doubles: Column) -> Column:
    """Return doubles as Go's encoding/json (and ES6) has them: shortest digits, exponents below 1e-6 and from 1e21."""
    text = doubles.cast(pa.string())
    written = text.buffers()[2]
    if written is None or np.frombuffer(written, np.uint8).max(initial=0) < ord("a"):
        return text  # there is no exponent, and no nan or inf
    size = np.abs(doubles.to_numpy(zero_copy_only=False))
    rewritten = ~np.isfinite(size) | ((size >= 1e-6) & (size < 1e21) & _has_exponent(text))
    rewritten &= _valid(doubles)
    return mapped(text, _go_number, pa.string()) if rewritten.any() else text


def _has_exponent(text: Column) -> npt.NDArray[np.bool_]:
    found: Column = pc.match_substring(text, "e")
    exponent: npt.NDArray[np.bool_] = found.fill_null(False).to_numpy(zero_copy_only=False)
    return exponent


def _plain_text(values: Column) -> Column:
    return values.cast(pa.string())


def _go_number(text: str) -> str:
    if text in _NOT_FINITE:
        return _NOT_FINITE[text]
    number = decimal.Decimal(text)
    if "e" not in text or not decimal.Decimal("1e-6") <= abs(number) < decimal.Decimal("1e21"):
        return text
    return f"{number:f}"


_WRITTEN: Final[Mapping[str, Callable[[Column], Column]]] = {
    "int_value": _plain_text,
    "double_value": _double_text,
    "bool_value": _plain_text,
    "bytes_value": base64_text,
    "array_value": partial(_of_distinct, text=_array_json),
    "kvlist_value": partial(_of_distinct, text=_map_json),
}
"""How values that are no strings become text, by their column."""
