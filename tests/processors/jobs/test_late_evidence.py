"""Evidence that comes late: everything that it changes is written again, as if it had come first."""

from __future__ import annotations

from itertools import permutations
from typing import Any

from tests.processors.jobs.senders import message, run, send
from tests.processors.jobs.telling import Event, Log, Span, Told, ns, raised, span_hex, without_version


def in_every_order(*story: Span | Log) -> Told:
    """Tell the story one by one in every order; return how it is told at once, after checking that nothing differs."""
    at_once = Told().tell(*story)
    for order in permutations(story):
        told = Told()
        for one in order:
            told.tell(one)
        assert without_version(told.table.rows) == without_version(at_once.table.rows)
    return at_once


def broker(id_: int, operation: str, job: str = "", **how: Any) -> Span:
    """Return a span of a messaging library."""
    values = message("rabbitmq", messaging__operation=operation, messaging__message__id=job)
    return Span(id_, operation, "producer" if operation == "publish" else "consumer", values, scope="pika", **how)


def test_what_hangs_below_transport_loses_it_as_its_parent() -> None:
    """Scenario: a broker's span turns out to be around a Celery execution; another job was enqueued below it.

    Guarantees: that job, first written as a child of the broker's span, has no parent, whatever comes last.
    """
    told = in_every_order(broker(1, "process", "m"), run(2, "a", parent=1, start=5), send(3, "b", parent=1, start=9))

    assert told.row(3)["parent_job_id"] is None
    assert [row["system"] for row in told.rows] == ["celery", "celery"]


def test_what_hangs_below_transport_belongs_to_what_is_above_it() -> None:
    """Scenario: the same with a second broker's execution above. Guarantees: that one is the parent."""
    told = in_every_order(
        broker(1, "process", "m"), broker(2, "process", "n", parent=1),
        run(3, "a", parent=2, start=5), send(4, "b", parent=2, start=9),
    )  # fmt: skip

    assert (told.row(4)["parent_job_id"], told.row(4)["parent_job_class"]) == ("m", "process")


def test_an_execution_that_was_none_is_not_counted() -> None:
    """Scenario: of two executions of one message the first turns out to be transport around a Celery execution.

    Guarantees: the second one is attempt 1, also where it was written as attempt 2 before.
    """
    told = in_every_order(
        broker(1, "process", "m"), broker(2, "process", "m", trace=2, start=20), run(3, parent=1, start=5)
    )

    assert told.row(2, trace=2)["attempt_inferred"] == 1


def test_an_id_comes_from_the_link_where_the_parent_has_none() -> None:
    """Scenario: an execution without id below an enqueue of another system, linked to one of its own.

    Guarantees: it takes the id of the link's, whatever comes last.
    """
    told = in_every_order(
        send(1, "c"),
        Span(2, "send", "producer", {"taskiq.action": "send", "messaging.message.id": "t"}),
        Span(3, "execute", "consumer", {"taskiq.action": "execute"}, parent=1, links=[(1, 2)], start=5),
    )

    assert (told.row(3)["job_id"], told.row(3)["enqueue_span_id"]) == ("t", span_hex(2))


def test_an_id_comes_from_the_parent_before_the_link() -> None:
    """Scenario: parent and link are two enqueues of its system. Guarantees: the parent's id, whatever comes last."""

    def sent(id_: int, job: str) -> Span:
        return Span(id_, "send", "producer", {"taskiq.action": "send", "messaging.message.id": job})

    execute = Span(3, "execute", "consumer", {"taskiq.action": "execute"}, parent=1, links=[(1, 2)], start=5)

    assert in_every_order(sent(1, "p"), sent(2, "l"), execute).row(3)["job_id"] == "p"


def test_the_parent_of_a_batch_reaches_who_links_to_it() -> None:
    """Scenario: an execution links to a batch in another trace, which job p enqueued. Guarantees: p is its parent."""
    resque = message("resque", messaging__resque__job_class="C")
    told = in_every_order(
        run(1, "p", end=50), Span(2, "q publish", "producer", resque, parent=1, start=5),
        Span(3, "q process", "consumer", resque, trace=2, links=[(1, 2)], start=9),
    )  # fmt: skip

    assert (told.row(3, trace=2)["parent_job_id"], told.row(3, trace=2)["parent_job_class"]) == ("p", "tasks.p")


def test_of_several_adapters_executions_the_last_one_tells_the_time() -> None:
    """Scenario: one ActiveJob execution below a Sidekiq one, another Sidekiq one has its back end's id.

    Guarantees: merged with both, and its time is that of the one that started last.
    """
    layer = message("active_job", messaging__message__id="A", messaging__active_job__adapter__name="sidekiq")
    layer = {**layer, "messaging.active_job.message.provider_job_id": "S"}
    adapter = message("sidekiq", messaging__message_id="S")
    told = in_every_order(
        Span(1, "q process", "consumer", adapter, start=10, end=40, events=[Event("enqueued_at", 4)]),
        Span(2, "q process", "consumer", layer, parent=1, start=30),
        Span(3, "q process", "consumer", adapter, trace=2, start=20, events=[Event("enqueued_at", 6)]),
    )

    (row,) = told.rows
    assert row["also_span_ids"] == [span_hex(1), span_hex(3)]
    assert row["enqueued_at"] == ns(6)


def test_the_last_log_counts_whichever_comes_first() -> None:
    """Scenario: two exception logs of one execution, at two times and at one. Guarantees: one of them, always it."""
    failed = run(1, "a", "FAILURE")

    told = in_every_order(failed, Log(1, {"exception.type": "Early"}, at=1), Log(1, {"exception.type": "Late"}, at=2))
    in_every_order(failed, Log(1, {"exception.type": "E"}, at=1), Log(1, {"exception.type": "F"}, at=1))

    assert told.row(1)["error_type"] == "Late"


def test_logs_and_events_of_one_exception_count_once() -> None:
    """Scenario: `logs/dup`: the exception is an event of the span and a log record. Guarantees: the event's, once."""
    failed = run(1, "a", "FAILURE", events=[raised("mod.E", "m", "stack")])

    told = in_every_order(failed, Log(1, {"exception.type": "E", "exception.message": "m"}, at=1))

    (row,) = told.rows
    assert (row["error_type"], row["error_source"], row["exception_stacktrace"]) == ("mod.E", "span_event", "stack")


def test_attempts_are_counted_on_where_executions_are_forgotten() -> None:
    """Scenario: more executions of one job than are remembered, one by one. Guarantees: none has an earlier number."""
    told = Told().tell(*(run(n, "a", start=n, trace=n) for n in range(1, 1101)))
    for n in range(1101, 1104):
        told.tell(run(n, "a", start=n, trace=n))

    numbers = [told.row(n, trace=n)["attempt_inferred"] for n in range(1, 1104)]
    assert numbers == list(range(1, 1104))
