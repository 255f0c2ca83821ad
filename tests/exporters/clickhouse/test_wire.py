"""Bodies of inserts: compression, tokens, and days."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cramjam
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters.clickhouse.wire import DAYS, NS_PER_DAY, bodies, divide_by_days, encoded, fingerprint

LATEST = 2**63 - 1
TIMES = st.lists(st.one_of(st.integers(0, LATEST), st.integers(0, 60).map(lambda day: day * NS_PER_DAY)), max_size=200)


def table(times: Sequence[int]) -> pa.Table:
    return pa.table(
        {
            "Time": pa.array(times, pa.timestamp("ns")),
            "Row": pa.array(range(len(times)), pa.int64()),
            "Name": pa.array([f"n{row % 3}" for row in range(len(times))]).dictionary_encode(),
        }
    )


def read(data: memoryview | bytes) -> pa.Table:
    return pa.ipc.open_stream(pa.py_buffer(data)).read_all()


@pytest.mark.parametrize(
    ("compression", "encoding", "decompress"),
    [
        ("none", None, bytes),
        ("lz4", None, bytes),
        ("zstd", None, bytes),
        ("gzip", "gzip", cramjam.gzip.decompress),
        ("deflate", "deflate", cramjam.zlib.decompress),
        ("br", "br", cramjam.brotli.decompress),
    ],
)
def test_every_compression_gives_the_rows_back(compression: Any, encoding: str | None, decompress: Any) -> None:
    """Scenario: each value of `compress`. Guarantees: the stream is read as it was written, and is smaller."""
    rows = table([1, 2, 3] * 5000)

    data, said = encoded(rows, compression)

    assert said == encoding
    assert read(bytes(decompress(data))).equals(rows)
    assert (len(data) < len(encoded(rows, "none")[0])) == (compression != "none")


@given(TIMES)
def test_days_are_divided_and_no_row_is_lost(times: list[int]) -> None:
    """Scenario: rows of any days. Guarantees: parts of at most DAYS days, each row in one part, order kept inside."""
    rows = table(times)

    parts = divide_by_days(rows, "Time")

    seen: list[int] = []
    for part in parts:
        days = set(part.column("Time").cast(pa.int64()).to_numpy() // NS_PER_DAY)
        numbers = part.column("Row").to_numpy().tolist()
        assert len(days) <= DAYS
        assert numbers == sorted(numbers)
        seen += numbers
    assert sorted(seen) == list(range(len(times)))
    if len({time // NS_PER_DAY for time in times}) <= DAYS:
        assert len(parts) == 1


def test_tokens_tell_rows_apart_and_repetitions_not() -> None:
    """Scenario: equal rows, other rows, other times under one receipt. Guarantees: only the repetition is the same."""
    first, again = table([1, 2, 3]), table([1, 2, 3])

    assert fingerprint(first, "Time") == fingerprint(again, "Time")
    assert len({fingerprint(table(times), "Time") for times in ([1, 2, 3], [1, 2], [1, 2, 4], [3, 2, 1])}) == 4


def test_each_body_has_a_token_of_its_own() -> None:
    """Scenario: rows of 120 days. Guarantees: three bodies whose tokens differ and name receipt and table."""
    rows = table([day * NS_PER_DAY for day in range(120)])

    made = list(bodies(rows, time_column="Time", compression="none", token="intake:otel_logs"))

    assert [body.rows for body in made] == [50, 50, 20]
    assert len({body.token for body in made}) == 3
    assert all(body.token.startswith("intake:otel_logs:") for body in made)
