"""Attributes found by layout: what a look at every attribute would find."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline import Kind, Receipt
from pipeline.columns import Layouts, attributes, layouts_of
from pipeline.kinds import ATTRIBUTES
from pipeline.testing.data import spans_batch

# cut in other places, several of these are the same bytes
KEYS = st.sampled_from(["a", "b", "ab", "ba", "aba", "", "été"])
VALUES: st.SearchStrategy[dict[str, Any] | None] = st.sampled_from([None, {}, {"string_value": "x"}, {"int_value": 7}])
ROW = st.one_of(st.none(), st.lists(st.fixed_dictionaries({"key": KEYS, "value": VALUES}), max_size=4))


@st.composite
def columns(draw: st.DrawFn) -> Any:
    """Lists of attributes, null and empty ones among them, whole or as a slice."""
    rows = draw(st.lists(ROW, max_size=12))
    column = pa.array(rows, ATTRIBUTES)
    begin = draw(st.integers(0, len(rows)))
    return column.slice(begin, draw(st.integers(0, len(rows) - begin)))


@given(columns(), KEYS)
def test_finds_what_a_look_at_every_attribute_finds(column: Any, key: str) -> None:
    """Scenario: any lists, keys twice and keys that run into each other. Guarantees: the first value, or none."""
    found = Layouts(column).any_values(key)
    assert found.to_pylist() == attributes(column, [key])[key].to_pylist()


@given(columns())
def test_a_layout_is_the_keys_of_its_lists(column: Any) -> None:
    """Scenario: any lists. Guarantees: lists have one layout if, and only if, their keys are equal."""
    layouts = Layouts(column)
    keys = layouts.keys.to_pylist()
    of_layouts = [keys[first:last] for first, last in zip(layouts.bounds, layouts.bounds[1:], strict=False)]
    of_lists = [[attribute["key"] for attribute in row or ()] for row in column.to_pylist()]
    assert [of_layouts[number] for number in layouts.numbers] == of_lists
    assert len(layouts) == len({tuple(row) for row in of_lists})


def test_layouts_are_found_once_for_the_same_rows() -> None:
    """Scenario: components ask one after the other, and exporters hold the rows.

    Guarantees: the same rows are read once, others anew; what is held keeps nothing of it.
    """
    batch = spans_batch(4)
    assert batch.kind is Kind.SPANS
    assert layouts_of(batch) is layouts_of(batch)
    assert layouts_of(batch.owing(Receipt.issue("other"))) is layouts_of(batch)
    (copy,) = batch.copies(1)
    for held in (copy, batch.held(batch.receipt)):
        assert layouts_of(held) is not layouts_of(batch)
    some = batch.with_table(batch.table.slice(1))
    assert len(layouts_of(some).numbers) == batch.rows - 1
