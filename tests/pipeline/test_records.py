"""Records are moved as blocks of bytes and stay what they are."""

import numpy as np
import pytest

from pipeline.records import Records, appended, copied, together

POINT = np.dtype([("key", np.uint64), ("name", np.int32), ("here", np.bool_)], align=True)


def points(*keys: int) -> Records:
    records = np.zeros(len(keys), POINT)
    records["key"], records["name"], records["here"] = keys, np.array(keys) * 2, True
    return records


def test_appending_keeps_what_is_used_and_grows_when_it_must() -> None:
    """Scenario: records are appended one after the other. Guarantees: all are there in order, few of them moved."""
    records, moves = points(), 0
    for key in range(100):
        before = records
        records = appended(records, key, points(key))
        moves += records is not before
    assert records[:100].tolist() == points(*range(100)).tolist()
    assert moves < 10


def test_what_is_beyond_the_used_records_is_written_over() -> None:
    """Scenario: fewer records are used than there are. Guarantees: the next come behind those, in the same array."""
    records = points(1, 2, 3, 4)
    assert appended(records, 1, points(9)) is records
    assert records["key"].tolist() == [1, 9, 3, 4]


def test_the_last_record_may_be_looked_at_before_it_is_used() -> None:
    """Scenario: an array has grown. Guarantees: -1, which stands for none, finds zeros and no garbage."""
    records = appended(points(1, 2, 3), 3, points(4))
    assert len(records) > 4
    assert records[-1].tolist() == (0, 0, False)


@pytest.mark.parametrize("parts", [[(1, 2)], [(1,), (), (2, 3)], [(), ()]])
def test_parts_are_put_together(parts: list[tuple[int, ...]]) -> None:
    """Scenario: parts of any length. Guarantees: one array with all records in order, of the same type."""
    joined = together([points(*part) for part in parts])
    assert joined.dtype == POINT
    assert joined["key"].tolist() == [key for part in parts for key in part]


def test_slices_with_a_step_are_read_right() -> None:
    """Scenario: every second record of an array. Guarantees: those are appended, put together and copied."""
    some = points(1, 2, 3, 4)[::2]
    assert appended(points(9), 1, some)[:3]["key"].tolist() == [9, 1, 3]
    assert together([some, some])["key"].tolist() == [1, 3, 1, 3]
    assert copied(some)["key"].tolist() == [1, 3]


def test_a_copy_changes_alone() -> None:
    """Scenario: a copy is changed. Guarantees: what it was copied from stays."""
    records = points(1, 2)
    copy = copied(records)
    copy["key"] = 7
    assert records["key"].tolist() == [1, 2]
    assert copy.dtype == POINT
