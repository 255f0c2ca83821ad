from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters.clickhouse.jobs import columns as clickhouse_columns
from pipeline import SHAPES, Batch, Kind
from pipeline.receipt import Receipt
from pipeline.rows_json import json_rows
from pipeline.testing.data import jobs_batch

OWN = [kind for kind, shape in SHAPES.items() if shape.signal is None]


def table_batch(columns: dict[str, pa.Array[Any]]) -> Batch:
    return Batch(Kind.JOBS, pa.table(columns), Receipt.issue("rows"))


def rows(batch: Batch) -> list[Any]:
    return [orjson.loads(text) for text in json_rows(batch).to_pylist()]


def test_names_are_clickhouses() -> None:
    """Scenario: job rows in which everything is known. Guarantees: the names of the columns of table `jobs`."""
    batch = jobs_batch(1)
    filled = batch.table.to_pylist()[0]
    for field in batch.table.schema:
        if filled[field.name] is None:
            filled[field.name] = pa.scalar(0 if pa.types.is_integer(field.type) else "x").as_py()
            if pa.types.is_boolean(field.type):
                filled[field.name] = True
    known = batch.with_table(pa.Table.from_pylist([filled], batch.table.schema))

    (row,) = rows(known)

    assert sorted(row) == sorted(clickhouse_columns(known).column_names)


@pytest.mark.parametrize("number", [0, 1, 3])
def test_values(number: int) -> None:
    """Scenario: rows with times, durations, lists, flags and nulls.

    Guarantees: times in RFC 3339 with nine digits, the rest as it is; what is null is left out.
    """
    read = rows(jobs_batch(number))

    assert len(read) == number
    for row, source in zip(read, jobs_batch(number).table.to_pylist(), strict=True):
        moment = datetime.fromtimestamp(source["timestamp"] // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        assert row["Timestamp"] == f"{moment}.{source['timestamp'] % 10**9:09d}Z"
        assert row["Duration"] == source["duration"]
        assert row["AlsoSpanIds"] == []
        assert row["IsDeleted"] is False
        assert "Queue" not in row
        assert row["ResourceAttributes"]["service.name"] == "shop-0"


@given(
    st.lists(
        st.tuples(
            st.none() | st.text(),
            st.none() | st.lists(st.none() | st.text(max_size=5), max_size=4),
            st.none() | st.fixed_dictionaries({"key": st.text(), "share_in_failures": st.none() | st.floats(0, 1)}),
            st.none() | st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3),
            st.none() | st.integers(0, 2**63 - 1),
        ),
        max_size=20,
    )
)
def test_equals_the_obvious_loop(values: list[tuple[Any, ...]]) -> None:
    """Scenario: texts with anything in them, lists, structs, maps and times, null or not.

    Guarantees: what a row-by-row reading gives.
    """
    texts, lists, structs, maps, times = zip(*values, strict=True) if values else ((),) * 5
    struct = pa.struct([("key", pa.string()), ("share_in_failures", pa.float64())])
    batch = table_batch(
        {
            "text": pa.array(texts, pa.string()),
            "some_list": pa.array(lists, pa.list_(pa.string())),
            "cause": pa.array(structs, struct),
            "labels": pa.array([None if each is None else list(each.items()) for each in maps],
                               pa.map_(pa.string(), pa.string())),
            "opened_at": pa.array(times, pa.uint64()),
        }
    )  # fmt: skip

    expected = []
    for text, list_, cause, labels, time in values:
        row: dict[str, Any] = {"Text": text, "SomeList": list_, "Labels": labels}
        if cause is not None:
            share = cause["share_in_failures"]
            row["Cause"] = {"Key": cause["key"], **({} if share is None else {"ShareInFailures": share})}
        if time is not None:
            moment = datetime.fromtimestamp(time // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            row["OpenedAt"] = f"{moment}.{time % 10**9:09d}Z"
        expected.append({name: value for name, value in row.items() if value is not None})
    assert rows(batch) == expected


@pytest.mark.parametrize("kind", OWN)
def test_every_kind_of_ours_has_rows(kind: Kind) -> None:
    """Scenario: a batch of each kind without a signal. Guarantees: a JSON object a row."""
    from pipeline.testing import sample_batch

    assert all(isinstance(row, dict) for row in rows(sample_batch(kind)))
