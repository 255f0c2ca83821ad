"""Texts of attributes found by layout: what a look at every attribute would find."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.columns import Layouts
from pipeline.kinds import ATTRIBUTES
from processors.job_dependencies.texts import AttributeTexts

# cut in other places, several of these are the same bytes
KEYS = st.sampled_from(["a", "b", "ab", "ba", "aba", "", "c"])
VALUES: st.SearchStrategy[dict[str, Any] | None] = st.one_of(
    st.none(),
    st.just({}),
    st.sampled_from(["x", "y", "", "été"]).map(lambda text: {"string_value": text}),
    st.just({"int_value": 7}),
)
ATTRIBUTE = st.fixed_dictionaries({"key": KEYS, "value": VALUES})
ROWS = st.lists(st.lists(ATTRIBUTE, max_size=4), max_size=8)


def first(attributes: list[dict[str, Any]], keys: list[str]) -> str:
    """Return the text of the first of `keys` that has one, of equal keys in a span the first."""
    for key in keys:
        values = [attribute["value"] for attribute in attributes if attribute["key"] == key]
        text = ((values or [None])[0] or {}).get("string_value")
        if text:
            return str(text)
    return ""


@given(st.lists(ROWS, max_size=4).filter(any), st.lists(KEYS, unique=True, max_size=3), st.data())
def test_equals_the_obvious_loop(batches: list[Any], keys: list[str], data: st.DataObject) -> None:
    """Scenario: attributes of any layout in several batches, keys twice and values that are no text among them.

    Guarantees: for any rows and keys the first text, as reading row by row would find it.
    """
    lists = [pa.array(rows, ATTRIBUTES) for rows in batches]
    if data.draw(st.booleans()):
        lists = [pa.concat_arrays([pa.array([[]], ATTRIBUTES), column]).slice(1) for column in lists]
    rows = [attributes for batch in batches for attributes in batch]
    asked = sorted(data.draw(st.sets(st.sampled_from(range(len(rows))))))

    texts = AttributeTexts([Layouts(column) for column in lists])
    found = texts.first(keys, np.array(asked, np.int64))

    assert [texts.text(number) for number in found.tolist()] == [first(rows[row], keys) for row in asked]
