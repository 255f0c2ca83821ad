"""Arrow primitives against slow, obvious twins; `unnest` and `hex_text` are in test_columns.py."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.arrays import changes, first_sight, joined, nest, offsets_of, parents_of, picked, unnest

ROWS = st.lists(
    st.tuples(st.sampled_from([b"", b"a", b"b", None]), st.sampled_from(["", "u"]), st.booleans()), max_size=12
)


@given(ROWS)
def test_first_sight(rows: list[tuple[bytes | None, str, bool]]) -> None:
    """Scenario: rows of three columns, nulls and equal rows among them. Guarantees: numbers in order of first sight."""
    types = (pa.binary(), pa.string(), pa.bool_())
    columns = [pa.array([row[number] for row in rows], type_) for number, type_ in enumerate(types)]

    codes, firsts = first_sight(columns)

    distinct = list(dict.fromkeys(rows))
    assert codes.tolist() == [distinct.index(row) for row in rows]
    assert firsts.tolist() == [rows.index(row) for row in distinct]


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), max_size=10))
def test_changes(rows: list[tuple[int, int]]) -> None:
    """Scenario: two columns of codes. Guarantees: offsets of the runs of equal rows."""
    columns = [np.array([row[number] for row in rows], np.int64) for number in (0, 1)]
    lengths = [len(list(run)) for _, run in groupby(rows)]
    assert np.diff(changes(*columns)).tolist() == lengths
    assert changes(*columns)[0] == 0


@given(st.lists(st.lists(st.binary(max_size=3), max_size=3), max_size=6), st.integers(0, 3))
def test_joined_parents_and_back(rows: list[list[bytes]], skipped: int) -> None:
    """Scenario: lists of binary values, sliced. Guarantees: each joined; taken apart and nested again the same."""
    lists = pa.array(rows, pa.list_(pa.binary())).slice(skipped)

    offsets, values = unnest(lists)

    assert joined(offsets, values).to_pylist() == [b"".join(row) for row in rows[skipped:]]
    assert parents_of(offsets).tolist() == [number for number, row in enumerate(rows[skipped:]) for _ in row]
    assert nest(offsets, values).to_pylist() == rows[skipped:]
    assert offsets_of(np.diff(offsets)).tolist() == offsets.tolist()


def test_picked_does_not_copy_what_is_whole() -> None:
    """Scenario: all rows, and some. Guarantees: the array itself, or the rows asked for."""
    array = pa.array(["a", "b", "c"])
    assert picked(array, np.arange(3)) is array
    assert picked(array, np.array([0, 2])).to_pylist() == ["a", "c"]
