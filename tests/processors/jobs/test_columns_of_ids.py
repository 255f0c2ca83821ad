"""Hashes, hash tables and parsing: each beside its slow and obvious twin."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.hash_table import HashTable, union, without
from pipeline.hashing import hex_of, name_hashes, span_hashes, text_hashes, words_of
from pipeline.index import Lineage, MultiTable
from processors.jobs.parsing import durations_ns, integers, retry_errors, status_errors, times_ns

TEXTS = st.lists(st.none() | st.text(max_size=20) | st.text("ab", min_size=250, max_size=300), max_size=20)
KEYS = st.integers(1, 40)


@given(TEXTS, TEXTS)
def test_text_hashes_are_equal_for_equal_texts_only(some: list[str | None], others: list[str | None]) -> None:
    """Scenario: any texts, short, long, empty, null, sliced.

    Guarantees: equal texts have equal hashes wherever they stand, others do not; null has 0.
    """
    column = pa.array([*others, *some], pa.string())
    hashes = [*text_hashes(pa.array(others, pa.string())).tolist(), *text_hashes(column.slice(len(others))).tolist()]

    by_text: dict[str | None, int] = {}
    for text, hash_ in zip([*others, *some], hashes, strict=True):
        assert by_text.setdefault(text, hash_) == hash_
    assert len(set(by_text.values())) == len(by_text)
    assert by_text.get(None, 0) == 0


def test_very_long_texts_differ_by_length_beginning_or_end() -> None:
    """Scenario: texts far over what is hashed whole. Guarantees: both ends and the length tell them apart."""
    long = "x" * 5000

    assert len(set(text_hashes(pa.array([long, long + "x", "y" + long[1:], long[:-1] + "y"])).tolist())) == 4


@given(st.lists(st.binary(max_size=20), max_size=10))
def test_ids_become_words_and_hex(ids: list[bytes]) -> None:
    """Scenario: span ids of any length, of which only 8 bytes are right, in a slice.

    Guarantees: right ids read back as their hex digits, empty ones are 0, others are cut or filled up.
    """
    words = words_of(pa.array([b"before", *ids], pa.binary()).slice(1), 8)[:, 0]

    assert hex_of(words).to_pylist() == [id_[:8].ljust(8, b"\0").hex() for id_ in ids]


def test_span_hashes_need_both_ids() -> None:
    """Scenario: equal span ids in two traces, and none at all. Guarantees: different hashes; 0 without a span id."""
    traces = np.array([[1, 2], [1, 3], [1, 2], [1, 2]], np.uint64)
    hashes = span_hashes(traces, np.array([5, 5, 5, 0], np.uint64))

    assert hashes[0] == hashes[2] != hashes[1]
    assert hashes[3] == 0


@given(st.lists(st.lists(st.tuples(KEYS, st.integers(0, 99)), max_size=9), max_size=9), st.lists(st.integers(0, 40)))
def test_hash_table_equals_a_dict(calls: list[list[tuple[int, int]]], asked: list[int]) -> None:
    """Scenario: keys that share buckets, set again and again, then looked up, 0 among them.

    Guarantees: what a dict has; the old value of each key is given back.
    """
    table = HashTable()
    twin: dict[int, int] = {}
    crowd = np.uint64(1 << 40)  # all in one bucket
    for call in calls:
        distinct = dict(call)
        keys = np.array(list(distinct), np.uint64) * crowd
        before = table.swap(keys, np.array(list(distinct.values()), np.int64))
        assert before.tolist() == [twin.get(key, -1) for key in distinct]
        twin |= distinct

    found = table.find(np.array(asked, np.uint64) * crowd)

    assert found.tolist() == [twin.get(key, -1) for key in asked]
    assert len(table) == len(twin)


def test_hash_table_grows() -> None:
    """Scenario: far more keys than a new table has room for. Guarantees: all are found, no other is."""
    table = HashTable()
    keys = np.random.default_rng(3).integers(1, 2**63, 20_000).astype(np.uint64)
    for start in range(0, len(keys), 1000):
        table.add(keys[start : start + 1000], np.arange(start, start + 1000))

    assert table.find(keys).tolist() == list(range(20_000))
    assert (table.find(keys + np.uint64(1)) == -1).all()


@given(st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 99)), max_size=9), max_size=9))
def test_multi_table_equals_a_dict_of_lists(calls: list[list[tuple[int, int]]]) -> None:
    """Scenario: rows added under few keys in many calls. Guarantees: all rows of each key, none under key 0."""
    table = MultiTable()
    twin: dict[int, list[int]] = {}
    for call in calls:
        table.add(np.array([key for key, _ in call], np.uint64), np.array([row for _, row in call], np.int64))
        for key, row in call:
            twin.setdefault(key, []).append(row)
    asked = np.arange(12, dtype=np.uint64)

    numbers, rows = table.find(asked)

    found: dict[int, list[int]] = {}
    for number, row in zip(numbers.tolist(), rows.tolist(), strict=True):
        found.setdefault(number, []).append(row)
    twin.pop(0, None)
    assert {key: sorted(rows) for key, rows in found.items()} == {key: sorted(rows) for key, rows in twin.items()}


def test_lineage_forgets_by_halves() -> None:
    """Scenario: spans told, a half forgotten, twice. Guarantees: known until the second time, then unknown."""
    lineage = Lineage()
    lineage.add(np.array([5, 6], np.uint64), np.array([50, 60], np.uint64))
    lineage.forget_half()
    lineage.add(np.array([7], np.uint64), np.array([70], np.uint64))

    assert lineage.parents(np.array([5, 7, 8], np.uint64)).tolist() == [50, 70, 0]
    lineage.forget_half()
    assert lineage.parents(np.array([5, 7], np.uint64)).tolist() == [0, 70]


@given(st.lists(st.integers(0, 20)), st.lists(st.integers(0, 20)))
def test_sets_of_rows(some: list[int], others: list[int]) -> None:
    """Scenario: any two lists of rows. Guarantees: union and difference as of sets, ascending."""
    first, second = np.array(some, np.int64), np.array(others, np.int64)

    assert union(first, second).tolist() == sorted({*some, *others})
    assert without(union(first), union(second)).tolist() == sorted(set(some) - set(others))


NUMBERS: list[tuple[str | None, int]] = [("5", 5), ("+7", -1), ("-3", -1), ("1.5", -1), ("x", -1), ("", -1), (None, -1)]


@pytest.mark.parametrize(("text", "number"), [*NUMBERS, ("9" * 30, -1), ("٣", -1)])
def test_integers(text: str | None, number: int) -> None:
    """Scenario: numbers, and texts that are none. Guarantees: -1 for what is no whole number of 0 and more."""
    assert integers(pa.array([text], pa.string())).tolist() == [number]


TIMES: list[tuple[str | None, Any, int]] = [
    ("2026-11-22T00:06:40.007000Z", "iso", 1_795_306_000_007_000_000),
    ("2026-11-22T00:06:40.0080001Z", "iso", 1_795_306_000_008_000_100),
    ("2026-11-22T01:06:40.123456789+0100", "iso", 1_795_306_000_123_456_789),
    ("2026-11-22 00:06:40", "iso", 1_795_306_000_000_000_000),
    ("2026-02-30T00:00:00Z", "iso", 0),
    ("2999-01-01T00:00:00Z", "iso", 0),
    ("1795306000007", "iso", 0),
    ("1795306000007", "ms", 1_795_306_000_007_000_000),
    ("1795306000.5", "s", 1_795_306_000_500_000_000),
    ("2026-11-22T00:06:40Z", "s", 1_795_306_000_000_000_000),
    ("99999999999999999", "s", 0),
    ("-5", "s", 0),
    ("soon", "iso", 0),
    (None, "iso", 0),
]


@pytest.mark.parametrize(("text", "unit", "time"), TIMES)
def test_times(text: str | None, unit: Any, time: int) -> None:
    """Scenario: ISO 8601 in all its forms, numbers of a unit, nonsense. Guarantees: nanoseconds, 0 for nonsense."""
    assert times_ns(pa.array([text, None], pa.string()), unit).tolist() == [time, 0]


@given(st.lists(st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1)), min_size=1))  # noqa: DTZ001 - made UTC below
def test_times_equal_the_standard_library(moments: list[datetime]) -> None:
    """Scenario: any times with microseconds. Guarantees: what datetime makes of the same text."""
    stamped = [moment.replace(tzinfo=UTC) for moment in moments]

    found = times_ns(pa.array([moment.isoformat() for moment in stamped]), "iso")

    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert found.tolist() == [(moment - epoch) // timedelta(microseconds=1) * 1000 for moment in stamped]


def test_durations() -> None:
    """Scenario: numbers with and without a fraction. Guarantees: nanoseconds, -1 for what is none."""
    assert durations_ns(pa.array(["52000", "1.5", "-1", "x", None]), "us").tolist() == [52_000_000, 1500, -1, -1, -1]


STATUS = [
    ("Unexpected ActiveJob Error RateLimited", "RateLimited", None),
    ("Unhandled exception of type: Net::ReadTimeout", "Net::ReadTimeout", None),
    ("ValueError: bad\nthing", "ValueError", "bad\nthing"),
    ("app.errors.Oops: x: y", "app.errors.Oops", "x: y"),
    ("ledger: account 7741 locked", None, "ledger: account 7741 locked"),
    ("cURL error 28: timed out", None, "cURL error 28: timed out"),
    (None, None, None),
]


@pytest.mark.parametrize(("message", "type_", "text"), STATUS)
def test_status_messages(message: str | None, type_: str | None, text: str | None) -> None:
    """Scenario: what SDKs put into the status. Guarantees: type and message as reference 4.4, source 7 has them."""
    kinds, messages = status_errors(pa.array([message], pa.string()))

    assert (kinds.to_pylist(), messages.to_pylist()) == ([type_], [text])


REASONS = [
    ("Retry in 1s: ConnectionError('refused (51)')", "ConnectionError", "refused (51)"),
    ('Retry in 3m 2s: KeyError("a\'b")', "KeyError", "a'b"),
    ("Retry in 1s: app.Oops('it\\'s')", "app.Oops", "it's"),
    ("Retry in 1s: Oops(1, 2)", "Oops", "1, 2"),
    ("Retry in 1s", None, "Retry in 1s"),
]
PATTERN = r"(?s)^(?:Retry(?: in [^:]*)?: )?(?P<type>[A-Za-z_][\w.]*)\((?P<value>.*)\)$"


@pytest.mark.parametrize(("reason", "type_", "text"), REASONS)
def test_retry_reasons(reason: str, type_: str | None, text: str) -> None:
    """Scenario: Celery's reasons of retries. Guarantees: type and message, or the whole text as the message."""
    kinds, messages = retry_errors(pa.array([reason]), PATTERN)

    assert (kinds.to_pylist(), messages.to_pylist()) == ([type_], [text])


@given(st.lists(st.none() | st.sampled_from(["", "mailers", "low", "high" * 90]) | st.text(max_size=40), max_size=200))
def test_names_have_the_hashes_of_texts(names: list[str | None]) -> None:
    """Scenario: columns short and long, with few and with many distinct names. Guarantees: as one by one."""
    one_by_one = [int(text_hashes(pa.array([name], pa.string()))[0]) for name in names]

    assert name_hashes(pa.array(names, pa.string())).tolist() == one_by_one
    assert text_hashes(pa.array(names, pa.string())).tolist() == one_by_one
