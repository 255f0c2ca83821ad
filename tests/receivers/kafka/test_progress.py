from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from receivers.kafka.progress import Progress


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3)), max_size=20), st.randoms())
def test_commits_follow_the_oldest_that_is_open(sizes: list[tuple[int, int]], random: object) -> None:
    """Scenario: stretches with gaps between them, finished in any order.

    Guarantees: after each step what may be committed is the start of the oldest unfinished one, else what was read.
    """
    progress = Progress(10)
    stretches = []
    offset = 10
    for messages, gap in sizes:
        first = offset + gap
        offset = first + messages
        stretches.append(progress.take(first, offset, messages))
    unfinished = list(stretches)
    order = list(stretches)
    random.shuffle(order)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    for stretch in order:
        assert progress.settled == unfinished[0].start
        progress.finish(stretch)
        unfinished.remove(stretch)
        assert progress.unfinished_messages == sum(each.messages for each in unfinished)
    assert progress.settled == progress.read == offset


def test_only_news_are_committed() -> None:
    """Scenario: a partition of which the group knows the offset, or does not. Guarantees: a commit only for news."""
    known, unknown = Progress(5), Progress(5, committed=False)

    assert known.to_commit() is None
    assert unknown.to_commit() == 5
    unknown.commit(5)
    assert unknown.to_commit() is None
    known.finish(known.take(5, 8, 3))
    assert known.to_commit() == 8
