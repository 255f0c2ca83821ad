"""Spans and log records -> facts about jobs, by the table of conventions. Pure; loops over conventions, not over rows.

Rules: job-conventions, sections 2 (recognising), 3 (fields) and 4.4 (errors).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import Batch
from pipeline.arrays import Column, changes, picked
from pipeline.columns import attribute_texts
from pipeline.error_text import ErrorLimits, beside_type, cut_errors
from pipeline.hashing import (
    Hashes,
    combined,
    mixed,
    name_hashes,
    span_hashes,
    text_hashes,
    words_of,
)
from pipeline.records import Records
from pipeline.spans import span_hashes_of
from processors.jobs.conventions import CANONICAL, TEXT_FIELDS, Convention, Source
from processors.jobs.facts import OUTCOMES, TEXTS, ErrorSource, Evidence, Outcome, Role, blank, no_texts
from processors.jobs.looking import EXCEPTION_KEYS, Look, Mask, Numbers, Vocabulary, resource_texts
from processors.jobs.parsing import ABSENT, durations_ns, integers, retry_errors, status_errors, times_ns

_IGNORED: Final = 255
_DAY_NS: Final = np.uint64(24 * 3600 * 10**9)
_LARGEST_COUNT: Final = 2**31 - 1
_EXCEPTION_LOGS: Final = r"^$|^exception$|\.exception$"
_IDS: Final = (("trace_id", 16), ("span_id", 8))
_NO_HASHES: Final = np.zeros(0, np.uint64)


@dataclass(frozen=True, slots=True)
class Recogniser:
    """A table of conventions, made ready for columns."""

    table: tuple[Convention, ...]
    limits: ErrorLimits
    database_attribute: str | None
    vocabulary: Vocabulary = field(init=False)
    system_hashes: Hashes = field(init=False)
    """For each convention the hash of the system that its rows have unless they name one themselves."""

    key_with_queue: Mask = field(init=False)
    recurring_ids: Mask = field(init=False)
    """These, as columns: one value a convention."""

    labels: tuple[str, ...] = field(init=False)
    """What `enqueued_at_source` can be; facts hold numbers in this list."""

    database_systems: Hashes = field(init=False)
    """Hashes of the systems whose ids are numbers of a database."""

    def __post_init__(self) -> None:
        labels = {
            source.label: None
            for convention in self.table
            for name in ("available_at", "created_at", "inserted_at")
            for source in getattr(convention.fields, name)
        }
        systems = [convention.system for convention in self.table if convention.database_ids]
        names = pa.array([_system(convention) for convention in self.table], pa.string())
        object.__setattr__(self, "vocabulary", Vocabulary.of(self.table))
        object.__setattr__(self, "system_hashes", text_hashes(names))
        for name in ("key_with_queue", "recurring_ids"):
            object.__setattr__(self, name, np.array([getattr(one, name) for one in self.table], np.bool_))
        object.__setattr__(self, "labels", tuple(labels))
        object.__setattr__(self, "database_systems", text_hashes(pa.array(systems, pa.string())))

    def spans(self, batch: Batch, resources: npt.NDArray[np.int32]) -> Evidence:
        """Return the facts in a batch of spans. `resources` are the window's numbers of the batch's resources."""
        hashes, parents = span_hashes_of(batch)
        look = Look(batch, self.vocabulary)
        ordinary = (parents != 0) & (hashes != 0)
        if look.size == 0:
            return _nothing(hashes[ordinary], parents[ordinary])
        conventions, roles, outcomes = self._judged(look)
        # a span without id can be neither a row nor matched
        roles[hashes[look.rows] == 0] = _IGNORED
        found = (roles != _IGNORED).nonzero()[0]
        if len(found) == 0:
            return _nothing(hashes[ordinary], parents[ordinary])
        found = found[np.argsort(conventions[found], kind="stable")]
        rows = look.rows[found]
        ordinary[rows] = False

        facts = blank(len(found))
        taken = pa.array(rows)
        traces, span_ids = (words_of(batch.column(name).take(taken), width) for name, width in _IDS)
        facts["span"], facts["parent"], facts["span_id"] = hashes[rows], parents[rows], span_ids[:, 0]
        facts["trace_hi"], facts["trace_lo"] = traces[:, 0], traces[:, 1]
        facts["start"] = batch.column("start_time_unix_nano").to_numpy()[rows]
        facts["end"] = np.maximum(batch.column("end_time_unix_nano").to_numpy()[rows], facts["start"])
        facts["resource"] = resources[batch.column("resource").to_numpy()[rows]]
        facts["convention"], facts["role"], facts["outcome"] = conventions[found], roles[found], outcomes[found]

        columns = self._fields(look, found, facts)
        columns |= self._errors(look, found, facts)
        self._keys(batch, rows, columns, facts)
        facts["lane"] = mixed(facts["system"] ^ text_hashes(pa.array(look.scope_names))[look.scopes[found]])
        texts = pa.Table.from_arrays([columns[name] for name in TEXTS.names], schema=TEXTS)
        return Evidence(facts, texts, self._links(look, found, facts), hashes[ordinary], parents[ordinary])

    def logs(self, batch: Batch) -> Evidence:
        """Return the exceptions in a batch of log records that name a span."""
        spans = span_hashes(words_of(batch.column("trace_id"), 16), words_of(batch.column("span_id"), 8)[:, 0])
        names: Column = pc.match_substring_regex(batch.column("event_name"), _EXCEPTION_LOGS)
        named = np.flatnonzero((spans != 0) & names.to_numpy(zero_copy_only=False))
        if len(named) == 0:
            return _nothing(_NO_HASHES, _NO_HASHES)
        keys = batch.column("attributes").values.field("key")  # type: ignore[attr-defined]  # a list of structs
        if not pc.any(pc.is_in(keys, value_set=pa.array(EXCEPTION_KEYS))).as_py():
            return _nothing(_NO_HASHES, _NO_HASHES)
        texts = attribute_texts(batch.column("attributes"), named, EXCEPTION_KEYS)
        told: Column = pc.or_(pc.or_(pc.is_valid(texts[0]), pc.is_valid(texts[1])), pc.is_valid(texts[2]))
        rows = named[told.to_numpy(zero_copy_only=False)]
        facts = blank(len(rows))
        facts["parent"], facts["role"], facts["error"] = spans[rows], Role.LOG, ErrorSource.LOG_RECORD
        times = batch.column("time_unix_nano").to_numpy()[rows]
        observed = batch.column("observed_time_unix_nano").to_numpy()[rows]
        facts["start"] = np.where(times > 0, times, observed)
        said = [text.filter(told) for text in texts]
        facts["span_id"] = combined(*map(text_hashes, said))
        columns = no_texts(len(rows))
        columns |= self._capped(*said)
        table = pa.Table.from_arrays([columns[name] for name in TEXTS.names], schema=TEXTS)
        return Evidence(facts, table, (np.zeros(0, np.int64), _NO_HASHES), _NO_HASHES, _NO_HASHES)

    def _judged(self, look: Look) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Return for each span the convention that judges it, what it is, and the outcome that it says."""
        conventions = np.full(look.size, -1, np.int16)
        roles = np.full(look.size, _IGNORED, np.uint8)
        outcomes = np.zeros(look.size, np.uint8)
        free = np.ones(look.size, np.bool_)
        for number, convention in enumerate(self.table):
            if not look.may_hold(convention.match):
                continue
            ours = look.holds(convention.match) & free
            if not ours.any():
                continue
            conventions[ours] = number
            free &= ~ours
            _judge(look, convention, ours, roles, outcomes)
            if not free.any():
                break
        return conventions, roles, outcomes

    def _fields(self, look: Look, found: Numbers, facts: Records) -> dict[str, Column]:
        """Fill the numbers of `facts` and return the texts."""
        parts: dict[str, list[Column]] = {name: [] for name in ("system", *TEXT_FIELDS)}
        bounds = np.searchsorted(facts["convention"], np.arange(len(self.table) + 1))
        for number, convention in enumerate(self.table):
            first, last = int(bounds[number]), int(bounds[number + 1])
            if first == last:
                continue
            spans, part = found[first:last], facts[first:last]
            fields = convention.fields
            executions = part["role"] != Role.ENQUEUE
            for name in TEXT_FIELDS:
                parts[name].append(_either(look, getattr(fields, name), spans, executions))
            systems = _systems(look, convention, spans)
            parts["system"].append(systems)
            part["system"] = name_hashes(systems) if fields.system else self.system_hashes[number]
            for name in ("attempt", "max_attempts", "batch_count"):
                sources = getattr(fields, name)
                if sources:
                    part[name] = _counts(look, sources, spans, executions)
            if fields.retries:
                part["retries"] = _counts(look, fields.retries, spans, executions) > 0
            self._times(look, convention, spans, part)
        columns = {name: pa.concat_arrays(arrays) for name, arrays in parts.items()}
        facts["batch_count"][facts["batch_count"] <= 1] = ABSENT
        if columns["adapter"].null_count < len(facts):
            own = pc.equal(columns["adapter"], columns["system"])
            columns["adapter"] = pc.if_else(own, pa.scalar(None, pa.string()), columns["adapter"])
            facts["adapter"] = name_hashes(columns["adapter"])
        facts["has_queue"] = _valid(columns["queue"])
        facts["has_flow_parent"] = _valid(columns["flow_parent_job_id"])
        return columns

    def _times(self, look: Look, convention: Convention, spans: Numbers, part: Records) -> None:
        fields = convention.fields
        executions = part["role"] != Role.ENQUEUE
        for name, target in (("available_at", "available"), ("created_at", "created"), ("inserted_at", "inserted")):
            sources = getattr(fields, name)
            if not sources:
                continue
            times, labels = self._labelled_times(look, sources, spans, executions)
            # Sidekiq before 0.26.1 misread its own stamps (section 5.8); a cause does not follow its effect by a day
            absurd = times > part["start"] + _DAY_NS
            part[target] = np.where(absurd, 0, times)
            part[f"{target}_source"] = np.where(absurd, ABSENT, labels)
        for name, sources in (("due", fields.due_at), ("first_due", fields.first_due_at)):
            if sources:
                part[name] = self._labelled_times(look, sources, spans, executions)[0]
        for source in fields.latency:
            text = look.value(source, spans)
            if text is not None:
                part["latency"] = np.where(part["latency"] == ABSENT, durations_ns(text, source.unit), part["latency"])

    def _labelled_times(
        self, look: Look, sources: Sequence[Source], spans: Numbers, executions: Mask
    ) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
        """Return the first time that `sources` have, 0 without one, and the number of its label."""
        times = np.zeros(len(spans), np.uint64)
        labels = np.full(len(spans), ABSENT, np.int64)
        for source in sources:
            more = _instants(look, source, spans)
            if more is None:
                continue
            if source.rows != "both":
                more = np.where(executions == (source.rows == "process"), more, 0)
            taken = (times == 0) & (more > 0)
            times[taken] = more[taken]
            if source.label in self.labels:
                labels[taken] = self.labels.index(source.label)
        return times, labels

    def _keys(self, batch: Batch, rows: Numbers, columns: dict[str, Column], facts: Records) -> None:
        zeros = np.zeros(len(facts), np.uint64)
        queue = databases = zeros
        with_queue = self.key_with_queue[facts["convention"]]
        if with_queue.any():
            queue = np.where(with_queue, name_hashes(columns["queue"]), zeros)
        if self.database_attribute is not None:
            of_resource = text_hashes(resource_texts(batch, [self.database_attribute])[self.database_attribute])
            databases = of_resource[batch.column("resource").to_numpy()[rows]]
        ids = text_hashes(columns["job_id"])
        keys = combined(facts["system"], queue, _of(facts["system"], self.database_systems, databases), ids)
        keys[(ids == 0) | self.recurring_ids[facts["convention"]]] = 0
        facts["own_key"] = keys
        if not facts["adapter"].any():
            return
        providers = text_hashes(columns["provider_job_id"])
        keys = combined(facts["adapter"], zeros, _of(facts["adapter"], self.database_systems, databases), providers)
        keys[(providers == 0) | (facts["adapter"] == 0)] = 0
        facts["provider_key"] = keys

    def _errors(self, look: Look, found: Numbers, facts: Records) -> dict[str, Column]:
        """Set the source of each row's error and return its texts: the first source with a type or a message."""
        place_of_span = np.full(look.size, -1)
        place_of_span[found] = np.arange(len(found))
        offered: list[tuple[Numbers, tuple[Column, ...]]] = []

        def offer(source: int, spans: Numbers, kinds: Column, messages: Column, stack: Column | None) -> None:
            places = place_of_span[spans]
            said = _valid(kinds) | _valid(messages)
            # a stack names its type in its head line
            told = (places >= 0) & (said if stack is None else said | _valid(stack))
            told[told] = facts["error"][places[told]] == ErrorSource.NONE
            if not told.any():
                return
            facts["error"][places[told]] = source
            stacks = pa.nulls(len(spans), pa.string()) if stack is None else stack
            offered.append((places[told], tuple(picked(text, told.nonzero()[0]) for text in (kinds, messages, stacks))))

        spans, (kinds, messages, stacks) = look.exceptions
        if len(spans):
            offer(ErrorSource.SPAN_EVENT, spans, kinds, messages, stacks)
        bounds = changes(facts["convention"])
        for first, last in pairwise(bounds.tolist()):
            self._own_errors(look, self.table[facts["convention"][first]], found[first:last], offer)
        types = look.text("error.type")
        left = look.failed if types is None else look.failed | _valid(types)
        spans = found[left[found] & (facts["error"] == ErrorSource.NONE)]
        if len(spans):
            said = look.status_messages(spans)
            if types is not None:
                kinds = types.take(pa.array(spans))
                offer(ErrorSource.ATTRIBUTE, spans, kinds, beside_type(kinds, said), None)
            offer(ErrorSource.STATUS_MESSAGE, spans, *status_errors(said), None)
        if not offered:
            none = pa.nulls(len(found), pa.string())
            return dict.fromkeys(("error_type", "error_message", "exception_stacktrace"), none)
        places = np.concatenate([where for where, _ in offered])
        texts = self._capped(*map(pa.concat_arrays, zip(*(columns for _, columns in offered), strict=True)))
        where = np.full(len(found), -1)
        where[places] = np.arange(len(places))
        taken = pa.array(where, mask=where < 0)
        return {name: text.take(taken) for name, text in texts.items()}

    def _own_errors(self, look: Look, convention: Convention, ours: Numbers, offer: object) -> None:
        """Offer what a convention has for errors of its own: an attribute of an event, the reason of a retry."""
        assert callable(offer)
        keys = [source.attribute for source in convention.fields.failure_message if source.attribute is not None]
        if convention.failure_event is not None and keys:
            spans, columns = look.event_texts(convention.failure_event, keys)
            if len(spans):
                messages = pc.coalesce(*columns)
                offer(ErrorSource.EVENT_ATTRIBUTE, spans, pa.nulls(len(spans), pa.string()), messages, None)
        for source in convention.fields.retry_reason:
            reasons = None if source.attribute is None else look.text(source.attribute)
            if reasons is not None:
                kinds, messages = retry_errors(reasons.take(pa.array(ours)), source.pattern)
                offer(ErrorSource.RETRY_REASON, ours, kinds, messages, None)

    def _capped(self, kinds: Column, messages: Column, stacks: Column) -> dict[str, Column]:
        cut = cut_errors(kinds, messages, stacks, self.limits)
        return dict(zip(("error_type", "error_message", "exception_stacktrace"), cut, strict=True))

    def _links(self, look: Look, found: Numbers, facts: Records) -> tuple[Numbers, Hashes]:
        """Set the first link of each row and return the links that are dependencies."""
        spans, traces, ids = look.links
        place_of_span = np.full(look.size, -1)
        place_of_span[found] = np.arange(len(found))
        places = place_of_span[spans]
        linked = np.flatnonzero(places >= 0)
        if len(linked) == 0:
            return np.zeros(0, np.int64), _NO_HASHES
        places = places[linked]
        kept = pa.array(linked)
        targets = span_hashes(words_of(traces.take(kept), 16), words_of(ids.take(kept), 8)[:, 0])
        # back to front, so that the first link is written last
        facts["link"][places[::-1]] = targets[::-1]
        waits = np.zeros(look.size, np.bool_)
        for number in np.unique(facts["convention"]):
            conditions = self.table[number].links_are_dependencies
            if conditions:
                ours = found[facts["convention"] == number]
                waits[ours] = look.holds(conditions)[ours]
        facts["waits"] = waits[found] & (facts["role"] == Role.ENQUEUE)
        depends = facts["waits"][places]
        return places[depends], targets[depends]


def _judge(
    look: Look, convention: Convention, ours: Mask, roles: npt.NDArray[np.uint8], outcomes: npt.NDArray[np.uint8]
) -> None:
    """Say what the spans in `ours` are, and what outcome they say, as one convention has it."""
    for conditions, role in (
        (convention.enqueue, Role.ENQUEUE),
        (convention.process, Role.PROCESS),
        (convention.receive, Role.RECEIVE),
    ):
        if conditions:
            roles[ours & (roles == _IGNORED) & look.holds(conditions)] = role
    executions = ours & ((roles == Role.PROCESS) | (roles == Role.RECEIVE))
    undecided = executions.copy()
    for rule in convention.outcomes:
        if undecided.any():
            here = undecided & look.holds((rule.when,))
            outcomes[here] = OUTCOMES.index(rule.outcome)
            undecided &= ~here
    outcomes[undecided] = np.where(look.failed, Outcome.FAILED, OUTCOMES.index(convention.otherwise))[undecided]
    enqueues = ours & (roles == Role.ENQUEUE)
    outcomes[enqueues] = Outcome.ENQUEUED
    for rule in reversed(convention.enqueue_outcomes):
        if enqueues.any():
            outcomes[enqueues & look.holds((rule.when,))] = OUTCOMES.index(rule.outcome)
    outcomes[enqueues & look.failed] = Outcome.FAILED
    for helper in convention.helpers:
        here = ours & (roles == _IGNORED)
        if here.any():
            here &= look.holds((helper.when,))
            roles[here] = Role.HELPER
            outcomes[here] = Outcome.NONE if helper.outcome is None else OUTCOMES.index(helper.outcome)


def _either(look: Look, sources: Sequence[Source], spans: Numbers, executions: Mask) -> Column:
    """Return the first value of `sources`, which may hold for enqueues and for executions only."""
    if all(source.rows == "both" for source in sources):
        return look.first(sources, spans, "both")
    of_execution = look.first(sources, spans, "process")
    if executions.all():
        return of_execution
    of_enqueue = look.first(sources, spans, "enqueue")
    return pc.if_else(pa.array(executions), of_execution, of_enqueue)


def _systems(look: Look, convention: Convention, spans: Numbers) -> Column:
    """Return the canonical names of the systems, the convention's name where none is said."""
    default = _system(convention)
    if not convention.fields.system:
        return pa.repeat(pa.scalar(default), len(spans))
    names = look.first(convention.fields.system, spans, "both").dictionary_encode()
    lower = [None if name is None else name.lower() for name in names.dictionary.to_pylist()]
    canonical = [name if name is None else CANONICAL.get(name, name) for name in lower]
    return pa.array(canonical, pa.string()).take(names.indices).fill_null(default)


def _system(convention: Convention) -> str:
    return convention.system or convention.name


def _counts(look: Look, sources: Sequence[Source], spans: Numbers, executions: Mask) -> npt.NDArray[np.int64]:
    """Return the first number of `sources`, `ABSENT` without one."""
    counts = np.full(len(spans), ABSENT, np.int64)
    for source in sources:
        if (counts != ABSENT).all():
            break
        text = look.value(source, spans)
        if text is None:
            continue
        # of few distinct ones
        encoded = text.dictionary_encode(null_encoding="encode")
        numbers = integers(encoded.dictionary)[encoded.indices.to_numpy()]
        if source.rows != "both":
            numbers = np.where(executions == (source.rows == "process"), numbers, ABSENT)
        stated = (numbers >= 0) & (counts == ABSENT) & (numbers + source.plus <= _LARGEST_COUNT)
        values = numbers + source.plus
        if source.zero_is is not None:
            values[numbers == 0] = source.zero_is
        counts[stated] = values[stated]
    return counts


def _instants(look: Look, source: Source, spans: Numbers) -> npt.NDArray[np.uint64] | None:
    """Return the times that a source has, 0 where it has none; None if it has none at all."""
    if source.event is not None:
        return look.event_times(source.event)[spans]
    text = look.value(source, spans)
    if text is None:
        return None
    if source.after is None:
        return times_ns(text, source.unit)
    delay = durations_ns(text, source.unit)
    base_text = look.value(Source(attribute=source.after), spans)
    if base_text is None:
        return None
    base = times_ns(base_text, source.unit)
    return np.where((base > 0) & (delay > 0), base + np.maximum(delay, 0).astype(np.uint64), 0)


def _of(systems: Hashes, those: Hashes, values: Hashes) -> Hashes:
    """Return `values` for rows of some systems, 0 for the others."""
    return np.where(np.isin(systems, those), values, np.uint64(0)) if values.any() else values


def _valid(column: Column) -> Mask:
    valid: Mask = column.is_valid().to_numpy(zero_copy_only=False)
    return valid


def _nothing(spans: Hashes, parents: Hashes) -> Evidence:
    return Evidence(blank(0), TEXTS.empty_table(), (np.zeros(0, np.int64), _NO_HASHES), spans, parents)
