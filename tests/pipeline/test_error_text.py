"""Error texts: what is read out of them, and what is left of huge ones."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.error_text import (
    ErrorLimits,
    capped,
    cut_error,
    cut_errors,
    is_cut,
    python_message,
    status_error,
    without_message,
)
from tests.processors.error_type.traces import GO_PANIC, JAVA, PYTHON_CHAIN

MARK = "... [999999 bytes cut] ...\n"
TEXTS = st.text() | st.text("añ\n€😀", max_size=400) | st.just(JAVA * 3) | st.just(f"a\n{MARK}b")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Unhandled exception of type: Net::ReadTimeout", ("Net::ReadTimeout", "")),
        ("Unexpected ActiveJob Error RecordGone", ("RecordGone", "")),
        ("ValueError: bad url x", ("ValueError", "bad url x")),
        ("CardDeclined: card 7: no", ("CardDeclined", "card 7: no")),
        ("shop.Declined: no\nfunds", ("shop.Declined", "no\nfunds")),
        ("Timeout: 5 s", ("Timeout", "5 s")),
        ("POST: failed", ("", "POST: failed")),
        ("Order: 5 is missing", ("", "Order: 5 is missing")),
        ("ledger: account locked", ("", "ledger: account locked")),
        ("ValueError:none", ("", "ValueError:none")),
        ("", ("", "")),
    ],
)
def test_status_messages(text: str, parts: tuple[str, str]) -> None:
    """Scenario: status messages of Ruby, Python and others. Guarantees: a type only where one is surely named."""
    assert status_error(text) == parts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [("'a'", "a"), ('"it\'s"', "it's"), ("'it\\'s\\nlate',", "it's\nlate"), ("'a', 1", "'a', 1"), ("'open", "'open")],
)
def test_messages_out_of_reprs(arguments: str, message: str) -> None:
    """Scenario: what `repr` prints of arguments. Guarantees: the one text that they are, else as they stand."""
    assert python_message(arguments) == message


@given(TEXTS, st.integers(1, 300))
def test_a_cap_holds_and_leaves_a_mark(text: str, limit: int) -> None:
    """Scenario: any text and limit. Guarantees: at most the limit and a mark, whole characters of both ends, a count.

    Short texts are untouched, and cutting again changes nothing.
    """
    short = capped(text, limit)

    size = len(text.encode())
    if size <= limit and not is_cut(text):
        assert short is text
        return
    assert len(short.encode()) <= limit + len(MARK) + 12
    assert capped(short, limit) == short
    if not is_cut(text):
        head, _, rest = short.partition("... [")
        count, _, tail = rest.partition(" bytes cut] ...\n")
        assert text.startswith(head)
        assert text.endswith(tail)
        assert int(count) == size - len(head.encode()) - len(tail.encode())


@given(TEXTS, st.integers(1, 300), st.integers(1, 300))
def test_cut_twice_is_cut_once(text: str, some: int, other: int) -> None:
    """Scenario: a text is cut to a limit, then to a smaller one. Guarantees: as if cut to the smaller one at once."""
    large, small = max(some, other), min(some, other)

    assert capped(capped(text, large), small) == capped(text, small)


@pytest.mark.parametrize(
    ("text", "kept"), [(PYTHON_CHAIN * 40, "of customer 9"), (JAVA * 40, "... 12 more"), (GO_PANIC * 40, "main.other")]
)
def test_both_ends_of_a_capped_stack_are_kept(text: str, kept: str) -> None:
    """Scenario: a stack far over the cap. Guarantees: its first line and its last ones are there, cut at line ends."""
    short = capped(text, 2000)

    lines = short.split("\n")
    assert lines[0] == text.partition("\n")[0]
    assert kept in short.partition("bytes cut] ...")[2]
    assert set(lines) - set(text.split("\n")) == {line for line in lines if "bytes cut" in line}


def test_the_message_is_taken_out_of_the_head_only() -> None:
    """Scenario: prints with their message, and a message that is not there. Guarantees: frames stay as they are."""
    assert without_message("ValueError: x\n    at f (/a.js:1:1)", "x") == "ValueError: \x00\n    at f (/a.js:1:1)"
    assert without_message("a.rb:1:in `f': x (E)\n\tfrom b: x", "x") == "a.rb:1:in `f': \x00 (E)\n\tfrom b: x"
    assert without_message("Traceback (m\n  raise E: x\nE: x\n", "x") == "Traceback (m\n  raise E: x\nE: \x00\n"
    assert without_message("E: xy\n", "x") == "E: xy\n"
    assert without_message("E: x", "") == "E: x"


def test_a_huge_message_leaves_the_frames_alone() -> None:
    """Scenario: a stack that is short but for the message in its head. Guarantees: all frames are left."""
    message = "m" * 100_000
    stack = JAVA.replace("invoice 4711 failed", message)

    _, short, cut = cut_error("E", message, stack, ErrorLimits(100, 2000))

    assert cut == JAVA.replace("invoice 4711 failed", short)


@given(st.lists(st.tuples(*[st.none() | TEXTS] * 3), max_size=6))
def test_columns_are_cut_like_single_errors(errors: list[tuple[str | None, str | None, str | None]]) -> None:
    """Scenario: any errors. Guarantees: what is over a limit is cut as alone, null stays null, the rest as it is."""
    limits = ErrorLimits(50, 100)
    types, messages, stacks = (pa.array([error[place] for error in errors], pa.string()) for place in range(3))

    cut_columns = cut_errors(types, messages, stacks, limits)
    found = list(zip(*(column.to_pylist() for column in cut_columns), strict=True))

    for error, cut in zip(errors, found, strict=True):
        said = [text or "" for text in error]
        over = len(said[0]) > 200 or len(said[1].encode()) > 50 or len(said[2].encode()) > 100
        alone = cut_error(said[0], said[1], said[2], limits) if over else said
        assert cut == tuple(None if sent is None else text for sent, text in zip(error, alone, strict=True))
