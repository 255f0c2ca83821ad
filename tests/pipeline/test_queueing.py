from __future__ import annotations

import asyncio

import pytest

from pipeline import ShuttingDown
from pipeline.queueing import BatchQueue, Limits
from pipeline.testing import spans_batch


async def test_first_in_first_out() -> None:
    """Scenario: three batches. Guarantees: they come out in order, and None once closed and empty."""
    queue = BatchQueue(Limits())
    batches = [spans_batch(rows) for rows in (1, 2, 3)]
    for batch in batches:
        await queue.put(batch)
    queue.close()

    assert [await queue.get() for _ in range(4)] == [*batches, None]


@pytest.mark.parametrize("limits", [Limits(requests=2), Limits(items=6), Limits(nbytes=2 * spans_batch(3).nbytes)])
async def test_full_until_the_work_is_over(limits: Limits) -> None:
    """Scenario: a bound in each unit is reached.

    Guarantees: a put waits, also after get, until release; a cancelled put left nothing.
    """
    queue = BatchQueue(limits)
    await queue.put(spans_batch(3))
    await queue.put(spans_batch(3))
    waiting = asyncio.create_task(queue.put(spans_batch(3)))
    cancelled = asyncio.create_task(queue.put(spans_batch(3)))
    batch = await queue.get()
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.sleep(0)
    assert batch is not None
    assert not waiting.done()

    queue.release(batch)
    await waiting

    assert (queue.requests, queue.items) == (2, 6)


async def test_an_empty_queue_takes_any_one_batch() -> None:
    """Scenario: a batch over every bound. Guarantees: it passes alone rather than be stuck for ever."""
    queue = BatchQueue(Limits(items=1, nbytes=1))

    await queue.put(spans_batch(3))

    assert not queue.has_room(spans_batch(1))


async def test_closing_wakes_everyone() -> None:
    """Scenario: one waits to put and one to get while the queue closes.

    Guarantees: ShuttingDown for the one, None for the other.
    """
    full, empty = BatchQueue(Limits(requests=1)), BatchQueue(Limits())
    await full.put(spans_batch(1))
    putting = asyncio.create_task(full.put(spans_batch(1)))
    getting = asyncio.create_task(empty.get())
    await asyncio.sleep(0)

    full.close()
    empty.close()

    with pytest.raises(ShuttingDown):
        await putting
    assert await getting is None


async def test_a_large_batch_gets_its_turn() -> None:
    """Scenario: a batch that needs most of the room, while small ones keep coming.

    Guarantees: first come, first served.
    """
    queue = BatchQueue(Limits(items=10))
    await queue.put(spans_batch(5))
    large = asyncio.create_task(queue.put(spans_batch(9)))
    await asyncio.sleep(0)
    small = asyncio.create_task(queue.put(spans_batch(1)))
    await asyncio.sleep(0)
    first = await queue.get()
    assert first is not None
    queue.release(first)
    await asyncio.gather(large, small)

    assert [batch.rows for batch in (await queue.get(), await queue.get()) if batch is not None] == [9, 1]
