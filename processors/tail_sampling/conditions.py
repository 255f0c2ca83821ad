"""What policies ask of single spans.

A trace has what one of its spans has, so that the answers of a batch are or-ed into the trace when it comes, and the
spans are not looked at again.

Each condition is a value: two that ask the same are equal, and are asked once.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import Column, lengths_of
from processors.tail_sampling import ottl
from processors.tail_sampling.leaf_config import is_found
from processors.tail_sampling.spans import SpanColumns, Truths, truths


class SpanTest(Protocol):
    """Asked of whole batches; hashable by what it asks."""

    def spans(self, columns: SpanColumns) -> Truths:
        """Return the spans for which it holds."""


@dataclass(frozen=True)
class OfAttribute(ABC):
    """An attribute of the span or of its resource has a value that matches."""

    key: str

    def spans(self, columns: SpanColumns) -> Truths:
        own = self._found(columns.attribute(self.key), of_resource=False)
        return own | columns.where_side(
            "resource", lambda: self._found(columns.side_attribute("resource", self.key), of_resource=True)
        )

    def _found(self, values: Column, *, of_resource: bool) -> Truths:
        if values.null_count == len(values):
            return np.zeros(len(values), np.bool_)
        return self.matches(values, of_resource=of_resource) & truths(values.is_valid())

    @abstractmethod
    def matches(self, values: Column, *, of_resource: bool) -> Truths:
        """Return where ANY_VALUEs match; where one is null the answer does not matter."""


@dataclass(frozen=True)
class NumberIn(OfAttribute):
    """It is in a range; what is no integer counts as 0 (pcommon's `Value.Int`)."""

    least: int
    """0 is no bound, as for `most`."""
    most: int

    def matches(self, values: Column, *, of_resource: bool) -> Truths:
        numbers = values.field("int_value").fill_null(0).to_numpy()
        found = np.ones(len(values), np.bool_)
        if self.least:
            found &= numbers >= self.least
        if self.most:
            found &= numbers <= self.most
        return found


@dataclass(frozen=True)
class TextIs(OfAttribute):
    """It is one of some texts, or one of some patterns is found in it.

    What is no text counts as empty, and an empty attribute of a span never matches; that of a resource may match a
    pattern.
    """

    values: tuple[str, ...]
    patterns: bool

    def matches(self, values: Column, *, of_resource: bool) -> Truths:
        texts = pc.coalesce(values.field("string_value"), pa.scalar(""))
        wanted = [value for value in self.values if value]
        if not self.patterns:
            found = truths(pc.is_in(texts, value_set=pa.array(wanted, pa.string())))
        else:
            distinct = texts.dictionary_encode()
            matched = np.zeros(len(distinct.dictionary), np.bool_)
            for pattern in wanted:
                matched |= truths(is_found(distinct.dictionary, pattern))
            found = matched[distinct.indices.to_numpy()]
        return found if of_resource else found & (lengths_of(texts) > 0)


@dataclass(frozen=True)
class TruthIs(OfAttribute):
    """It is true, or false; what is no truth value counts as false."""

    value: bool

    def matches(self, values: Column, *, of_resource: bool) -> Truths:
        found: Truths = truths(values.field("bool_value")) == self.value
        return found


@dataclass(frozen=True, slots=True)
class StatusIs:
    """The status code is one of some, by OTLP's number."""

    codes: frozenset[int]

    def spans(self, columns: SpanColumns) -> Truths:
        status = columns.column("status")
        codes = pc.if_else(status.is_valid(), status.field("code"), pa.scalar(0, pa.int32()))
        found: Truths = np.isin(codes.to_numpy(zero_copy_only=False), list(self.codes))
        return found


@dataclass(frozen=True, slots=True)
class SampledFlag:
    """The W3C flag `sampled` is set."""

    def spans(self, columns: SpanColumns) -> Truths:
        flags = columns.column("flags").to_numpy()
        sampled: Truths = (flags & 1).astype(np.bool_)
        return sampled


@dataclass(frozen=True, slots=True)
class TraceStateHas:
    """The trace state has a key with exactly one of some values."""

    key: str
    values: tuple[str, ...]

    def spans(self, columns: SpanColumns) -> Truths:
        states = columns.column("trace_state").dictionary_encode()
        wanted = {value for value in self.values if len(self.key) + len(value) < _LONGEST_PAIR}
        matched = [parsed_trace_state(text).get(self.key) in wanted for text in states.dictionary.to_pylist()]
        found: Truths = np.array(matched, np.bool_)[states.indices.to_numpy()]
        return found


@dataclass(frozen=True, slots=True)
class Matches:
    """One of some OTTL conditions is true."""

    conditions: tuple[ottl.Condition, ...]

    def spans(self, columns: SpanColumns) -> Truths:
        return self.evaluated(columns)[0]

    def evaluated(self, columns: SpanColumns) -> tuple[Truths, Truths]:
        """Return where one is true, and where one cannot be evaluated."""

        def each() -> tuple[Truths, Truths]:
            found, failed = np.zeros(len(columns), np.bool_), np.zeros(len(columns), np.bool_)
            for condition in self.conditions:
                true, error = condition.spans(columns)
                found, failed = found | true, failed | error
            return found, failed

        result: tuple[Truths, Truths] = columns.once(self, each)
        return result


@dataclass(frozen=True, slots=True)
class Fails:
    """One of some OTTL conditions cannot be evaluated."""

    of: Matches

    def spans(self, columns: SpanColumns) -> Truths:
        return self.of.evaluated(columns)[1]


_LONGEST_PAIR: Final = 256
_MOST_MEMBERS: Final = 32
_KEY: Final = re.compile(r"[a-z][_0-9a-z\-*/]{0,255}|[a-z0-9][_0-9a-z\-*/]{0,240}@[a-z][_0-9a-z\-*/]{0,13}")
_VALUE: Final = re.compile(r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")


@lru_cache(maxsize=4096)
def parsed_trace_state(text: str) -> dict[str, str]:
    """Return the members of a W3C trace state, in order; none where it is not one (W3C Trace Context, 3.3.1)."""
    members: dict[str, str] = {}
    for part in text.split(","):
        member = part.strip(" \t")
        if not member:
            continue
        key, sign, value = member.partition("=")
        if not sign or not _KEY.fullmatch(key) or not _VALUE.fullmatch(value) or key in members:
            return {}
        members[key] = value
    return members if len(members) <= _MOST_MEMBERS else {}
