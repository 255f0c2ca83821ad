"""Looks at spans the way conventions ask: attributes, events, kinds, names of those that could be jobs, in columns.

Only spans with a telling attribute or scope are looked at closely; of the others one pass over their attribute names is
all that is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import Batch
from pipeline.arrays import Column, changes, parents_of, ranges, unnest, without_empty
from pipeline.batch import one_array
from pipeline.columns import any_value_text, attribute_texts, attributes, layouts_of, texts_at
from processors.jobs.conventions import KINDS, Condition, Convention, Source, conditions_of, sources_of

Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]

_STATUS: Final = {"unset": 0, "ok": 1, "error": 2}
_EXCEPTION: Final = "exception"
EXCEPTION_KEYS: Final = ("exception.type", "exception.message", "exception.stacktrace")
_NO_TEXT: Final = pa.scalar(None, pa.string())


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a table of conventions asks for, gathered once."""

    keys: pa.Array[Any]
    """Every attribute that some convention reads."""

    names: tuple[str, ...]
    """The same, for Python."""

    telling_keys: Mask
    """For each of `keys`: whether a span with it could be a job."""

    telling_prefixes: tuple[str, ...]
    scopes: tuple[tuple[str, str], ...]
    """(part in lower case, ending) of scope names whose spans could be jobs."""

    events: tuple[str, ...]
    event_names: pa.Array[Any]
    """The same, for Arrow."""

    @classmethod
    def of(cls, table: Sequence[Convention]) -> Vocabulary:
        keys: dict[str, bool] = {"error.type": False}
        events = {_EXCEPTION: None}
        prefixes: dict[str, None] = {}
        scopes: dict[tuple[str, str], None] = {}
        for convention in table:
            for _, source in sources_of(convention):
                for key in (source.attribute, source.after, *source.joined):
                    if key is not None:
                        keys.setdefault(key, False)
                if source.event is not None:
                    events[source.event] = None
            if convention.failure_event is not None:
                events[convention.failure_event] = None
            for condition in conditions_of(convention):
                keys.update({key: keys.get(key, False) for key in condition.attributes})
                if condition.event is not None:
                    events[condition.event] = None
                if condition.attribute_prefix is not None:
                    prefixes[condition.attribute_prefix] = None
            for condition in convention.match:
                wanted = [key for key, value in condition.attributes.items() if value is not False]
                if wanted:
                    keys[wanted[0]] = True
                elif condition.scope is not None or condition.scope_ends is not None:
                    scopes[(condition.scope or "").lower(), condition.scope_ends or ""] = None
                elif condition.attribute_prefix is None:
                    raise ValueError(
                        f"convention {convention.name!r}: 'match' needs an attribute, an attribute_prefix or a scope"
                    )
        return cls(
            pa.array(keys, pa.string()), tuple(keys), np.array(list(keys.values()), np.bool_), tuple(prefixes),
            tuple(scopes), tuple(events), pa.array(events, pa.string()),
        )  # fmt: skip


class Look:
    """The spans of a batch that could be jobs: `rows` are their row numbers, everything else has one value for each."""

    def __init__(self, batch: Batch, vocabulary: Vocabulary) -> None:
        self._batch = batch
        self._vocabulary = vocabulary
        layouts = layouts_of(batch)
        known: Column = pc.index_in(layouts.keys, value_set=vocabulary.keys)
        # a short type, by which numpy sorts in linear time
        code_of_key = known.fill_null(-1).to_numpy().astype(np.int16)
        telling = np.zeros(len(code_of_key), np.bool_)
        telling[code_of_key >= 0] = vocabulary.telling_keys[code_of_key[code_of_key >= 0]]
        self._prefixed = {}
        for prefix in vocabulary.telling_prefixes:
            begins: Column = pc.starts_with(layouts.keys, prefix)
            self._prefixed[prefix] = begins.to_numpy(zero_copy_only=False)
            telling |= self._prefixed[prefix]
        telling_layouts = np.zeros(len(layouts), np.bool_)
        telling_layouts[parents_of(layouts.bounds)[telling]] = True
        self.scope_names = [name or "" for name in batch.sides["scope"].column("name").to_pylist()]
        """The names of the batch's scopes, by their number in `scopes`."""

        self.rows = np.flatnonzero(self._telling_scopes(batch) | telling_layouts[layouts.numbers])
        self.size = len(self.rows)
        """How many spans could be jobs."""

        looked, self._spans_of_items = ranges(layouts.offsets, self.rows)
        self._keys_of_items, _ = ranges(layouts.bounds, layouts.numbers[self.rows])
        codes = code_of_key[self._keys_of_items]
        found = (codes >= 0).nonzero()[0]
        found = found[np.argsort(codes[found], kind="stable")]
        self._spans = self._spans_of_items[found]
        self._texts = texts_at(layouts.values, looked[found])
        bounds = changes(codes[found]).tolist()
        self._slices = {
            vocabulary.names[code]: (first, last)
            for code, first, last in zip(codes[found[bounds[:-1]]].tolist(), bounds, bounds[1:], strict=False)
        }
        self._columns: dict[str, Column | None] = {}
        self._values: dict[str, tuple[list[str], Numbers]] = {}
        self._times: dict[str, npt.NDArray[np.uint64]] = {}

    def _telling_scopes(self, batch: Batch) -> Mask:
        if not self._vocabulary.scopes:
            return np.zeros(batch.rows, np.bool_)
        telling = [
            any(part in name.lower() and name.endswith(ending) for part, ending in self._vocabulary.scopes)
            for name in self.scope_names
        ]
        if not any(telling):
            return np.zeros(batch.rows, np.bool_)
        mask: Mask = np.array(telling, np.bool_)[batch.column("scope").to_numpy()]
        return mask

    def text(self, key: str) -> Column | None:
        """Return the attribute as text, null where a span lacks it or has it empty; None if all lack it."""
        if key not in self._columns:
            bounds = self._slices.get(key)
            self._columns[key] = None if bounds is None else self._aligned(*bounds)
        return self._columns[key]

    def _aligned(self, first: int, last: int) -> Column:
        spans = self._spans[first:last]
        if len(spans) == self.size and (spans[1:] > spans[:-1]).all():
            # every span has it, once
            return self._texts.slice(first, last - first)
        where = np.full(self.size, -1)
        # back to front, so that the first of equal keys is written last
        where[spans[::-1]] = np.arange(first, last)[::-1]
        return self._texts.take(pa.array(where, mask=where < 0))

    def _distinct(self, key: str, column: Column) -> tuple[list[str], Numbers]:
        """Return the distinct texts of an attribute, and for each span the number of its own, their count for null."""
        if key not in self._values:
            encoded = column.dictionary_encode()
            values = encoded.dictionary.to_pylist()
            self._values[key] = (values, encoded.indices.fill_null(len(values)).to_numpy())
        return self._values[key]

    @cached_property
    def kinds(self) -> npt.NDArray[np.int32]:
        kinds: npt.NDArray[np.int32] = self._batch.column("kind").to_numpy()[self.rows]
        return kinds

    @cached_property
    def names(self) -> Column:
        return self.of_batch("name")

    @cached_property
    def scopes(self) -> npt.NDArray[np.int32]:
        scopes: npt.NDArray[np.int32] = self._batch.column("scope").to_numpy()[self.rows]
        return scopes

    @cached_property
    def status(self) -> npt.NDArray[np.int32]:
        codes: Column = pc.struct_field(self._batch.column("status"), "code")
        status: npt.NDArray[np.int32] = codes.fill_null(0).to_numpy()[self.rows]
        return status

    @cached_property
    def failed(self) -> Mask:
        """Which spans have the status error."""
        failed: Mask = self.status == _STATUS["error"]
        return failed

    def status_messages(self, spans: Numbers) -> Column:
        """Return what the status of each of `spans` says, null where it is not the status error."""
        messages: Column = pc.struct_field(self._batch.column("status"), "message")
        return without_empty(messages.take(pa.array(self.rows[spans], mask=~self.failed[spans])))

    def of_batch(self, column: str) -> Column:
        """Return a column of the batch."""
        values: Column = self._batch.column(column)
        return values.take(pa.array(self.rows))

    @cached_property
    def _events(self) -> tuple[Column, dict[str, tuple[Numbers, Numbers]]]:
        """All events of the batch, and by name (position, span) of those that conventions ask for."""
        offsets, events = unnest(self._batch.column("events"))
        if len(events) == 0:
            return events, {}
        names = self._vocabulary.events
        codes = pc.index_in(events.field("name"), value_set=self._vocabulary.event_names).fill_null(-1).to_numpy()
        places = (codes >= 0).nonzero()[0]
        rows = np.searchsorted(offsets, places, side="right") - 1
        spans = np.minimum(np.searchsorted(self.rows, rows), self.size - 1)
        ours = self.rows[spans] == rows
        places, spans = places[ours], spans[ours]
        of_name = {}
        for code, name in enumerate(names):
            here = codes[places] == code
            if here.any():
                of_name[name] = (places[here], spans[here])
        return events, of_name

    def has_event(self, name: str) -> Mask:
        """Return which spans have an event of this name."""
        mask = np.zeros(self.size, np.bool_)
        _, of_name = self._events
        if name in of_name:
            mask[of_name[name][1]] = True
        return mask

    def event_times(self, name: str) -> npt.NDArray[np.uint64]:
        """Return the time of the last event of this name; 0 where there is none."""
        if name not in self._times:
            times = np.zeros(self.size, np.uint64)
            events, of_name = self._events
            if name in of_name:
                places, spans = of_name[name]
                times[spans] = events.field("time_unix_nano").to_numpy()[places]
            self._times[name] = times
        return self._times[name]

    def event_texts(self, name: str, keys: Sequence[str]) -> tuple[Numbers, list[Column]]:
        """Return the spans with an event of this name, and of the last such event the attributes `keys` as text."""
        events, of_name = self._events
        if name not in of_name:
            return np.zeros(0, np.int64), [pa.array([], pa.string())] * len(keys)
        places, spans = of_name[name]
        last = np.append(spans[1:] != spans[:-1], True)
        return spans[last], attribute_texts(events.field("attributes"), places[last], keys)

    @cached_property
    def exceptions(self) -> tuple[Numbers, list[Column]]:
        """The spans with an exception event, and of the last one its type, message and stack trace."""
        return self.event_texts(_EXCEPTION, EXCEPTION_KEYS)

    @cached_property
    def links(self) -> tuple[Numbers, Column, Column]:
        """Span, trace id and span id of each link."""
        offsets, links = unnest(self._batch.column("links"))
        if len(links) == 0:
            return np.zeros(0, np.int64), links.field("trace_id"), links.field("span_id")
        places, spans = ranges(offsets, self.rows)
        taken = pa.array(places)
        return spans, links.field("trace_id").take(taken), links.field("span_id").take(taken)

    def may_hold(self, conditions: Iterable[Condition]) -> bool:
        """Return whether the batch has attributes and a scope that one of `conditions` wants: no look at spans."""
        return any(
            all(key in self._slices for key, wanted in condition.attributes.items() if wanted is not False)
            and any(self._of_scope(condition))
            for condition in conditions
        )

    def _of_scope(self, condition: Condition) -> list[bool]:
        """Return which of the batch's scopes a condition admits."""
        if condition.scope is None and condition.scope_ends is None:
            return [True]
        part, ending = (condition.scope or "").lower(), condition.scope_ends or ""
        return [part in name.lower() and name.endswith(ending) for name in self.scope_names]

    def holds(self, conditions: Iterable[Condition]) -> Mask:
        """Return for which spans one of `conditions` holds."""
        mask = np.zeros(self.size, np.bool_)
        for condition in conditions:
            mask |= self._one_holds(condition)
        return mask

    def _one_holds(self, condition: Condition) -> Mask:
        if not self.may_hold((condition,)):
            return np.zeros(self.size, np.bool_)
        mask = np.ones(self.size, np.bool_)
        for key, wanted in condition.attributes.items():
            column = self.text(key)
            if column is None:
                continue
            if isinstance(wanted, bool):
                present = column.is_valid().to_numpy(zero_copy_only=False)
                mask &= present if wanted else ~present
            else:
                values, numbers = self._distinct(key, column)
                # null is nothing that could be wanted
                mask &= np.array([*(_equals(value, wanted) for value in values), False])[numbers]
        if condition.attribute_prefix is not None:
            begins = np.zeros(self.size, np.bool_)
            named = self._prefixed[condition.attribute_prefix][self._keys_of_items]
            begins[self._spans_of_items[named]] = True
            mask &= begins
        if condition.span_kind:
            mask &= np.any([self.kinds == KINDS.index(kind) for kind in condition.span_kind], axis=0)
        if condition.scope is not None or condition.scope_ends is not None:
            mask &= np.array(self._of_scope(condition), np.bool_)[self.scopes]
        if condition.status is not None:
            mask &= self.status == _STATUS[condition.status]
        # the rest is looked at only where it matters
        if condition.span_name is not None and mask.any():
            mask &= _true(pc.match_substring_regex(self.names, condition.span_name))
        if condition.event is not None and mask.any():
            mask &= self.has_event(condition.event)
        if condition.error_type is not None and mask.any():
            spans, (types, *_) = self.exceptions
            of_type = np.zeros(self.size, np.bool_)
            of_type[spans[_true(pc.equal(types, pa.scalar(condition.error_type)))]] = True
            mask &= of_type
        return mask

    def first(self, sources: Sequence[Source], spans: Numbers, operation: str) -> Column:
        """Return the first value that `sources` have for each of `spans`, all rows of one operation, as text."""
        text: Column | None = None
        for source in sources:
            if source.rows not in ("both", operation):
                continue
            more = self.value(source, spans)
            if more is not None:
                text = more if text is None else pc.coalesce(text, more)
            if text is not None and text.null_count == 0:
                return text
        return pa.nulls(len(spans), pa.string()) if text is None else text

    def value(self, source: Source, spans: Numbers) -> Column | None:
        """Return what one source has for each of `spans`, whatever rows it is for; None if it has nothing at all."""
        if source.constant is not None:
            text: Column | None = pa.repeat(pa.scalar(source.constant), len(spans))
        elif source.joined:
            text = self._joined(source, spans)
        else:
            text = self.names if source.attribute is None else self.text(source.attribute)
            if text is None:
                return None
            if len(spans) < self.size:
                text = text.take(pa.array(spans))
        if text is None or text.null_count == len(text):
            return None
        if source.only_value:
            text = only_values(text)
        if source.pattern is not None:
            text = pc.struct_field(pc.extract_regex(text, source.pattern), "value")
            text = without_empty(text)
        if source.when is not None:
            text = pc.if_else(pa.array(self._one_holds(source.when)[spans]), text, _NO_TEXT)
        return text

    def _joined(self, source: Source, spans: Numbers) -> Column | None:
        parts = [column for key in source.joined if (column := self.text(key)) is not None]
        if not parts:
            return None
        parts = [part.take(pa.array(spans)) for part in parts]
        # rows without any part would be left out, and what stands below them moved up
        some = np.any([_true(part.is_valid()) for part in parts], axis=0)
        joined = pc.binary_join_element_wise(
            *(part.filter(pa.array(some)) for part in parts), source.separator, null_handling="skip"
        )
        return spread(without_empty(joined), np.flatnonzero(some), len(spans))


def only_values(texts: Column) -> Column:
    """Return the one value that all elements of each array, given as JSON, have; null where they differ."""
    encoded = texts.dictionary_encode()
    return pa.array([_only_value(text) for text in encoded.dictionary.to_pylist()], pa.string()).take(encoded.indices)


def _only_value(text: str) -> str | None:
    try:
        values = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(values, list) or not values or any(value != values[0] for value in values):
        return None
    return values[0] if isinstance(values[0], str) else None


def _equals(text: str, wanted: str | int | tuple[str, ...]) -> bool:
    """Return whether a text is what a condition wants."""
    values = wanted if isinstance(wanted, tuple) else (str(wanted),)
    return any(text.startswith(value[:-1]) if value.endswith("*") else text == value for value in values)


def _true(booleans: Column) -> Mask:
    mask: Mask = booleans.fill_null(False).to_numpy(zero_copy_only=False)
    return mask


def spread(values: Column, places: Numbers, rows: int) -> Column:
    """Return an array of `rows` values: `values` at `places`, null elsewhere."""
    where = np.full(rows, -1)
    where[places] = np.arange(len(places))
    return values.take(pa.array(where, mask=where < 0))


def resource_texts(batch: Batch, keys: Sequence[str]) -> dict[str, Column]:
    """Return attributes of the batch's resources as text, one value a row of the side table."""
    lists: Column = one_array(batch.sides["resource"].column("attributes"))
    return {key: without_empty(any_value_text(values)) for key, values in attributes(lists, keys).items()}
