from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline import Batch, ComponentId, Kind
from pipeline.testing import Ledger, logs_batch, points_batch, sample_batch, spans_batch
from processors.batch import BatchConfig, BatchProcessor

ID = ComponentId("batch")


def rows(batches: Iterable[Batch]) -> list[int]:
    return [batch.rows for batch in batches]


def test_sends_when_full() -> None:
    """Scenario: 3 + 3 rows at a size of 5. Guarantees: nothing at first, then all six in one batch, in order."""
    processor = BatchProcessor(BatchConfig(send_batch_size=5), ID)
    first, second = spans_batch(3, seed=1), spans_batch(3, seed=2)

    assert rows(processor.process(first)) == []
    (joined,) = processor.process(second)

    assert joined.column("span_id").to_pylist() == [
        *first.column("span_id").to_pylist(),
        *second.column("span_id").to_pylist(),
    ]
    assert processor.wake_at() is None


def test_sends_when_time_is_up() -> None:
    """Scenario: two rows at time 100, time-out 0.2 s. Guarantees: kept until exactly 100.2, then sent."""
    processor = BatchProcessor(BatchConfig(), ID)
    assert rows(processor.process(spans_batch(2))) == []
    assert processor.wake_at() == 0.0
    assert rows(processor.tick(100.0)) == []
    assert processor.wake_at() == 100.2

    assert rows(processor.tick(100.1999)) == []
    assert rows(processor.tick(100.2)) == [2]
    assert processor.wake_at() is None


def test_splits_at_the_maximum_and_keeps_the_rest() -> None:
    """Scenario: 11 rows, size 4, maximum 5. Guarantees: parts of 5 and 5 at once, the last one waits for more."""
    processor = BatchProcessor(BatchConfig(send_batch_size=4, send_batch_max_size=5), ID)

    assert rows(processor.process(spans_batch(11))) == [5, 5]
    assert rows(processor.drain()) == [1]


def test_a_steady_stream_completes_its_intakes() -> None:
    """Scenario: batches that never add up to the maximum, for long.

    Guarantees: old intakes complete, side tables stay small.
    """
    processor = BatchProcessor(BatchConfig(send_batch_size=8, send_batch_max_size=8), ID)
    ledger = Ledger()
    for number in range(100):
        for batch in processor.process(spans_batch(3, receipt=ledger.receipt(str(number)))):
            assert batch.sides["resource"].num_rows <= 4
            batch.receipt.settle()

    assert len(ledger.complete) >= 97


@pytest.mark.parametrize("config", [BatchConfig.model_validate({"timeout": "0s"}), BatchConfig(send_batch_size=0)])
def test_may_send_at_once(config: BatchConfig) -> None:
    """Scenario: time-out 0, or size 0. Guarantees: nothing waits."""
    assert rows(BatchProcessor(config, ID).process(spans_batch(1))) == [1]


def test_kinds_stay_apart() -> None:
    """Scenario: spans, points and log records in turn. Guarantees: one batch of each, with the rows it came with."""
    processor = BatchProcessor(BatchConfig(), ID)
    for batch in (spans_batch(1), points_batch(2), logs_batch(3), spans_batch(4)):
        assert rows(processor.process(batch)) == []

    assert {batch.kind: batch.rows for batch in processor.drain()} == {Kind.SPANS: 5, Kind.METRICS: 2, Kind.LOGS: 3}


def test_maximum_below_the_size_is_refused() -> None:
    """Scenario: sizes that contradict each other. Guarantees: an error that names both keys."""
    with pytest.raises(
        ValidationError, match="'send_batch_max_size' must be greater than or equal to 'send_batch_size'"
    ):
        BatchConfig(send_batch_size=10, send_batch_max_size=5)


def said(batch: Batch) -> list[object]:
    """Return what tells the rows of different batches apart: their resource, or where a kind has none, the rows."""
    return [*(batch.side("resource", "attributes") if "resource" in batch.sides else batch.table).to_pylist()]


@given(
    sizes=st.lists(st.tuples(st.sampled_from(list(Kind)), st.integers(1, 9)), max_size=12),
    size=st.integers(0, 10),
    extra=st.none() | st.integers(0, 5),
)
def test_all_rows_come_out_in_order_and_receipts_complete(
    sizes: list[tuple[Kind, int]], size: int, extra: int | None
) -> None:
    """Scenario: any batches and sizes.

    Guarantees: each kind's rows all come out, in order, no part over the maximum; receipts complete.
    """
    maximum = 0 if extra is None else size + extra
    processor = BatchProcessor(BatchConfig(send_batch_size=size, send_batch_max_size=maximum), ID)
    ledger = Ledger()
    went_in: dict[Kind, list[object]] = {}
    came_out: dict[Kind, list[object]] = {}
    outputs: list[Batch] = []
    for number, (kind, count) in enumerate(sizes):
        batch = sample_batch(kind, count, seed=number, receipt=ledger.receipt(str(number)))
        went_in.setdefault(kind, []).extend(said(batch))
        outputs += processor.process(batch)
    for batch in [*outputs, *processor.drain()]:
        assert not maximum or batch.rows <= maximum
        came_out.setdefault(batch.kind, []).extend(said(batch))
        batch.receipt.settle()

    assert came_out == went_in
    assert sorted(ledger.complete) == sorted(str(number) for number in range(len(sizes)))
