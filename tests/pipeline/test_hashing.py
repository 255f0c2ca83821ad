"""Ids written in hex, and hash tables that much is put into at once: what the obvious loop and a dictionary say."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.hash_table import HashTable
from pipeline.hashing import order_of, text_hashes, words_of_hex

IDS = st.one_of(
    st.none(),
    st.text("0123456789abcdefABCDEF", min_size=16, max_size=16),
    st.sampled_from(["", "0123", "g123456789abcdef", "0123456789abcde\u00e9", " 123456789abcdef", "0" * 16, "f" * 17]),
)


@given(st.lists(IDS), st.integers(0, 3))
def test_words_of_hex_equal_the_obvious_loop(ids: list[str | None], skipped: int) -> None:
    """Scenario: ids in either case, nulls and texts that are no ids among them, in a slice.

    Guarantees: the number of each id, 0 for everything else.
    """
    column = pa.array(ids, pa.string())[skipped:]

    words = words_of_hex(column, 8)[:, 0].tolist()

    digits = set("0123456789abcdefABCDEF")
    assert words == [int(id_, 16) if id_ and len(id_) == 16 and set(id_) <= digits else 0 for id_ in ids[skipped:]]


def test_long_ids_are_two_words() -> None:
    """Scenario: trace ids, all of them and some. Guarantees: the upper word first."""
    for ids in (["0123456789abcdef" + "f" * 16] * 3, ["0123456789abcdef" + "f" * 16, "", None]):
        words = words_of_hex(pa.array(ids, pa.string()), 16)
        assert words[0].tolist() == [0x0123456789ABCDEF, 0xFFFFFFFFFFFFFFFF]
        assert words.shape == (3, 2)


@given(st.integers(0, 300).flatmap(lambda size: st.lists(st.binary(min_size=size, max_size=size), max_size=5)))
def test_texts_of_one_length_have_the_hashes_that_they_have_among_others(values: list[bytes]) -> None:
    """Scenario: texts of one length, as ids are, and the same among others. Guarantees: the same hashes, never 0."""
    alone = text_hashes(pa.array(values, pa.binary()))
    among = text_hashes(pa.array([b"", *values, b"another one", None], pa.binary()))[1:-2]
    of_slice = text_hashes(pa.array([b"", *values], pa.binary()).slice(1))

    assert alone.tolist() == among.tolist() == of_slice.tolist()
    assert alone.all()
    assert len(set(alone.tolist())) == len({(value[:256], value[-8:]) for value in values})


@given(st.lists(st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 9), st.integers(2**63, 2**63 + 9)), max_size=40))
def test_order_of_keys(keys: list[int]) -> None:
    """Scenario: any keys, equal ones and those that differ in their last bits among them. Guarantees: they ascend."""
    order = order_of(np.array(keys, np.uint64))
    assert [keys[place] for place in order] == sorted(keys)
    assert sorted(order) == list(range(len(keys)))


@pytest.mark.parametrize("at_once", [10, 100, 700, 1500])
@pytest.mark.parametrize("spread", [1, 7, 2**40])
def test_keys_that_want_the_same_buckets(at_once: int, spread: int) -> None:
    """Scenario: keys that share few buckets, or many, added in small and in large parts.

    Guarantees: each has its value, no other is found, and the table holds exactly these.
    """
    wanted = np.random.default_rng(spread).integers(0, spread, 1500).astype(np.uint64)
    keys = (np.arange(1, 1501).astype(np.uint64) << np.uint64(41)) | wanted
    values = np.arange(1500)
    table = HashTable()
    for start in range(0, 1500, at_once):
        table.add(keys[start : start + at_once], values[start : start + at_once])

    assert table.find(keys).tolist() == values.tolist()
    assert (table.find(keys ^ np.uint64(1 << 40)) == -1).all()
    held, of_held = table.items()
    assert dict(zip(held.tolist(), of_held.tolist(), strict=True)) == dict(
        zip(keys.tolist(), values.tolist(), strict=True)
    )
    assert len(table) == len(held) == 1500
