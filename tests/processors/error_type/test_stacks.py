"""Stacks of eight runtimes, taken apart."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.error_type.formats import FORMATS
from processors.error_type.frames import Ownership, identity
from processors.error_type.stacks import Language, parse
from tests.processors.error_type.traces import PYTHON_CHAIN, TRACES, Trace

OURS = Ownership()


@pytest.mark.parametrize("trace", TRACES, ids=lambda trace: trace.name)
def test_reads_what_runtimes_print(trace: Trace) -> None:
    """Scenario: a real print of each runtime. Guarantees: language, chain, messages, and which frames are our own."""
    stack = parse(trace.text, FORMATS)

    assert stack is not None
    assert stack.language is trace.language
    assert tuple(part.type for part in stack.parts) == trace.types
    assert tuple(part.message for part in stack.parts) == trace.messages
    assert (
        tuple(
            tuple(identity(stack.language, frame) for frame in part.frames if OURS.own(stack.language, frame))
            for part in stack.parts
        )
        == trace.own
    )


@pytest.mark.parametrize("trace", TRACES, ids=lambda trace: trace.name)
def test_reads_windows_line_ends(trace: Trace) -> None:
    """Scenario: the same prints with CR LF. Guarantees: the same is read."""
    assert parse(trace.text.replace("\n", "\r\n"), FORMATS) == parse(trace.text, FORMATS)


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        ("    at com.acme.Job.run(Job.java:1)\n    at com.acme.Main.main(Main.java:2)\n", 2),
        ("   at Shop.Job.Run(Int32 id)\n   at Shop.Main()", 2),
        ("/srv/a.rb:1:in `x'\n/srv/b.rb:2:in `y'", 2),
        ("goroutine 7 [running]:\nmain.run(0x1)\n\t/src/main.go:9 +0x1\n", 1),
        ('  File "/srv/a.py", line 3, in f\n    g()\n', 1),
    ],
)
def test_reads_stacks_without_a_head(text: str, frames: int) -> None:
    """Scenario: an instrumentation sends only frames. Guarantees: they are read, type and message are empty."""
    stack = parse(text, FORMATS)

    assert stack is not None
    assert [(part.type, part.message, len(part.frames)) for part in stack.parts] == [("", "", frames)]


@pytest.mark.parametrize("text", ["", "\n\n", "boom", "Traceback (most recent call last):\n", "at noon (today)\n"])
def test_no_stack_is_none(text: str) -> None:
    """Scenario: text that is no stack, or one without frames. Guarantees: None, so that the message is used."""
    assert parse(text, FORMATS) is None


def test_a_users_pattern_decides_whose_a_frame_is() -> None:
    """Scenario: a package of the house is installed, a folder of ours is generated.

    Guarantees: `application` takes the first in, `library` puts the second out.
    """
    stack = parse(PYTHON_CHAIN, FORMATS)
    assert stack is not None
    house = Ownership((re.compile("/celery/"),), (re.compile(r"client\.py$"),))

    assert [
        identity(Language.PYTHON, frame) for frame in stack.parts[0].frames if house.own(Language.PYTHON, frame)
    ] == [
        "payments/tasks.py:run",
        "app/trace.py:trace_task",
    ]


PIECES = st.sampled_from(
    [line for trace in TRACES for line in trace.text.split("\n")]
    + [
        "\n",
        "\t",
        " at ",
        "(",
        ")",
        ":1",
        ":in `",
        "'",
        ' File "',
        '", line 1',
        " ---> ",
        "[cause]: ",
        "panic: ",
        "\x00",
        "\u2028",
    ]
)


@given(st.one_of(st.text(), st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=30).map("\n".join)))
def test_any_text_is_read_without_a_crash(text: str) -> None:
    """Scenario: any text, and lines of all runtimes in a jumble. Guarantees: no error, and each identity is text."""
    stack = parse(text, FORMATS)

    for part in stack.parts if stack else ():
        for frame in part.frames:
            assert stack is not None
            assert isinstance(identity(stack.language, frame), str)
            OURS.own(stack.language, frame)


@pytest.mark.parametrize(
    "bad",
    [
        "\n" * 60_000,
        " " * 60_000,
        "\t" * 60_000,
        "    at " + "(" * 60_000,
        "at ((((:1:1)\n" * 5_000,
        ("    at " + "a.b(" * 140 + "\n") * 100,
        "a:" * 30_000,
        '  File "' * 8_000,
        "[cause]: " * 7_000,
        "<" * 60_000,
        "/a" * 30_000,
        ("/" * 590 + ":1:in `" + "\n") * 100,
        " ---> " * 10_000,
        ("    at " + ":1" * 290 + "\n") * 100,
        ("\t" + ".go:" * 140 + "\n") * 100,
        "(" * 60_000,
        ("x " * 290 + "\n") * 100,
    ],
    ids=range(17),
)
def test_hostile_stacks_cost_little(bad: str) -> None:
    """Scenario: 60 kB made to send regular expressions astray. Guarantees: well under a second each."""
    start = time.process_time()

    stack = parse(bad, FORMATS)
    for part in stack.parts if stack else ():
        for frame in part.frames:
            assert stack is not None
            if OURS.own(stack.language, frame):
                identity(stack.language, frame)

    assert time.process_time() - start < 0.5
