"""Rows out of nested columns, against Arrow's own `take`."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from processors.tail_sampling.gather import gathered_table
from tests.processors.tail_sampling.scenes import S, batch_of

VALUES = st.sampled_from([None, "", "text", 7, 0.5, True, b"bytes", [1, "two"]])
ATTRIBUTES = st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES, max_size=3)
SPANS = st.builds(
    S,
    attrs=ATTRIBUTES,
    status=st.sampled_from(["UNSET", "ERROR"]),
    events=st.lists(st.tuples(st.just("event"), ATTRIBUTES), max_size=2),
    links=st.lists(st.integers(1, 3), max_size=2),
)


@given(spans=st.lists(SPANS, min_size=1, max_size=8), data=st.data())
def test_equals_arrows_take(spans: list[S], data: st.DataObject) -> None:
    """Scenario: any spans, whole or a slice of a batch, any rows. Guarantees: what Arrow takes, and a valid table."""
    table = batch_of(spans).table
    start = data.draw(st.integers(0, len(spans)))
    table = table.slice(start)
    rows = np.array(data.draw(st.lists(st.integers(0, len(spans) - start - 1))) if start < len(spans) else [], np.int64)

    found = gathered_table(table, rows)

    found.validate(full=True)
    assert found.schema == table.schema
    assert found.to_pylist() == table.take(rows).to_pylist()
