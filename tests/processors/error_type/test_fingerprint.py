"""One fault, one fingerprint; another fault, another one."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.demo.faults import FAULTS
from pipeline.error_text import ErrorLimits
from processors.error_type.cache import BoundedCache
from processors.error_type.categories import Categories
from processors.error_type.fingerprint import canonical_type, of_frames, of_message
from processors.error_type.frames import Ownership
from processors.error_type.known import Category
from processors.error_type.scrub import scrubbed_message, scrubbed_path
from processors.error_type.stacks import Language
from processors.error_type.verdict import Error, Judge
from tests.processors.error_type import traces

VALUES: dict[str, st.SearchStrategy[str]] = {
    "number": st.one_of(
        st.integers(-(10**12), 10**18).map(str),
        st.floats(allow_nan=False, allow_infinity=False).map(str),
        st.integers(0, 10**9).map(lambda number: f"{number:,}"),
    ),
    "id": st.one_of(
        st.uuids().map(str),
        st.uuids().map(lambda value: value.hex),
        st.uuids().map(lambda value: str(value).upper()),
        st.integers(0, 2**64).map(hex),
        st.integers(0, 10**15).map(str),
    ),
    "address": st.one_of(st.ip_addresses(v=4).map(str), st.ip_addresses(v=4).map(lambda value: f"{value}:5432")),
    "time": st.datetimes().map(lambda value: value.isoformat()),
    "quoted": st.text(st.characters(exclude_characters="'\"`\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")).map(
        lambda text: f'"{text}"'
    ),
    "email": st.from_regex(r"[a-z0-9.]{1,9}[a-z0-9]@[a-z0-9]{1,9}\.(com|org)", fullmatch=True),
    "url": st.from_regex(r"https?://[a-z0-9.]{1,9}(:[0-9]{1,4})?/[a-z0-9/?=&_.-]{0,20}[a-z0-9]", fullmatch=True),
    "path": st.from_regex(r"(/[a-z0-9_.-]{1,9}){1,4}", fullmatch=True),
}
SENTENCES = (
    "order {} was refused",
    "{}: no such customer",
    "could not reach {}, tried ({})",
    "value={} too large",
    "[{}] failed",
    "worker lost on {}",
)


RULES = Categories()


def judge(*, innermost: bool = False, entries: int = 1000) -> Judge:
    return Judge(RULES, Ownership(), ErrorLimits(), BoundedCache(entries, 1 << 20), innermost=innermost)


def mark(error: Error, *, innermost: bool = False) -> str | None:
    return judge(innermost=innermost).verdict(error).fingerprint


@given(st.sampled_from(SENTENCES), st.sampled_from(sorted(VALUES)), st.data())
def test_values_in_a_message_do_not_matter(sentence: str, kind: str, data: st.DataObject) -> None:
    """Scenario: a message with other numbers, ids, addresses, quotations, paths. Guarantees: the same fingerprint."""
    one, other = (data.draw(VALUES[kind]) for _ in range(2))

    first, second = (Error("ShopError", sentence.replace("{}", value)) for value in (one, other))

    assert mark(first) == mark(second)


@settings(max_examples=25)
@given(st.integers(1, 10**6), st.integers(0, 2**64), st.uuids(), st.integers(0, 10**14))
@pytest.mark.parametrize("trace", traces.TRACES, ids=lambda trace: trace.name)
def test_lines_and_addresses_in_a_stack_do_not_matter(
    trace: traces.Trace, line: int, address: int, ident: uuid.UUID, release: int
) -> None:
    """Scenario: other line numbers, columns, addresses, goroutines, message ids. Guarantees: the same fingerprint."""
    lines_moved = re.sub(r":\d+(?=[:)\n ]|$)", f":{line}", trace.text)
    lines_moved = re.sub(r"(line |\.php\()\d+", rf"\g<1>{line}", lines_moved)
    moved = re.sub(r"0x[0-9a-f]+", hex(address), lines_moved).replace("4711", str(ident)).replace("77123", str(release))
    moved = re.sub(r"goroutine \d+", f"goroutine {line}", moved).replace("d__12", f"d__{line}")

    assert mark(Error(stack=moved)) == mark(Error(stack=trace.text))


@pytest.mark.parametrize(
    "roots", [("/srv/shop/orders/", "/app/orders/"), ("/srv/", "/tmp/build_8fa/"), ("/srv/shop/", "C:\\shop\\")]
)
def test_where_the_program_lies_does_not_matter(roots: tuple[str, str]) -> None:
    """Scenario: one program under two roots. Guarantees: one fingerprint."""
    text = 'Traceback (most recent call last):\n  File "{}shop/tasks.py", line 1, in run\n    x()\nValueError: 1\n'
    one, other = (text.replace("{}", root) for root in roots)

    assert mark(Error("ValueError", "1", one)) == mark(Error("ValueError", "1", other))


def test_each_trace_has_its_own_fingerprint() -> None:
    """Scenario: the faults of traces.py and some messages. Guarantees: no two share a fingerprint, none is missing."""
    errors = [Error(stack=trace.text) for trace in traces.TRACES]
    errors += [Error("A", "x"), Error("B", "x"), Error("A", "y"), Error("", "x"), Error("A"), Error("KeyError", "'a'")]
    marks = [mark(error) for error in errors]

    assert None not in marks
    # the two Ruby prints are one fault, told by two versions of Ruby
    assert len(set(marks)) == len(marks) - 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("in run", "in other"),
        ("tasks.py", "jobs.py"),
        ("PaymentFailed", "PaymentLost"),
        ("payments/tasks", "refunds/tasks"),
    ],
)
def test_another_place_or_type_is_another_fault(old: str, new: str) -> None:
    """Scenario: function, file, folder or type differ. Guarantees: another fingerprint."""
    assert mark(Error(stack=traces.PYTHON_CHAIN)) != mark(Error(stack=traces.PYTHON_CHAIN.replace(old, new)))


def test_the_depth_of_a_recursion_does_not_matter() -> None:
    """Scenario: the same recursion 30 and 900 deep, over the cap. Guarantees: one fingerprint."""
    frame = '  File "/srv/shop/tree.py", line 3, in walk\n    walk(child)\n'
    texts = [f"Traceback (most recent call last):\n{frame * depth}RecursionError: deep\n" for depth in (30, 9000)]

    assert len({mark(Error("RecursionError", "deep", text)) for text in texts}) == 1


def test_the_asked_cause_is_named() -> None:
    """Scenario: a chain of three. Guarantees: type and category of the asked end; a library's frames do not count."""
    outermost = judge().verdict(Error("payments.errors.PaymentFailed", "order 7", traces.PYTHON_CHAIN))
    innermost = judge(innermost=True).verdict(Error("payments.errors.PaymentFailed", "order 7", traces.PYTHON_CHAIN))

    assert outermost.type == "payments.errors.PaymentFailed"
    assert outermost.category is Category.TIMEOUT  # no rule knows PaymentFailed, so its cause is asked
    assert innermost.type == "TimeoutError"
    assert innermost.fingerprint == of_frames("TimeoutError", ["payments/client.py:post"])


@pytest.mark.parametrize(
    ("type_", "language", "canonical"),
    [
        ("orders.CardDeclined", Language.PYTHON, "CardDeclined"),
        ("orders.CardDeclined", None, "CardDeclined"),
        ("__main__.SmtpDown", None, "SmtpDown"),
        ("Elixir.MyApp.Error", None, "MyApp.Error"),
        ("MyApp.Error", Language.ELIXIR, "MyApp.Error"),
        ("Net::ReadTimeout", Language.RUBY, "Net::ReadTimeout"),
        ("com.acme.CardDeclined", None, "com.acme.CardDeclined"),
        ("java.net.ConnectException", Language.JVM, "java.net.ConnectException"),
        ("System.TimeoutException", None, "System.TimeoutException"),
        ("*errors.errorString", Language.GO, "errors.errorString"),
        ("", None, ""),
    ],
)
def test_types_are_compared_in_one_form(type_: str, language: Language | None, canonical: str) -> None:
    """Scenario: one type as different senders write it. Guarantees: the form of the conventions, section 4.4."""
    assert canonical_type(type_, language) == canonical


@pytest.mark.parametrize(
    ("message", "scrubbed"),
    [
        ("GET https://pay.example/charges/17 answered 503", "GET <url> answered <id>"),
        ("try user7@example.org again in 12 s", "try <email> again in <id> s"),
        ("undefined method `email' for nil:NilClass", "undefined method <text> for nil:NilClass"),
        ("can't open 'a.jpg', isn't there", "can't open <text>, isn't there"),
        ("/var/uploads/7f3a9c1b.jpg: unsupported", "<path>: unsupported"),
        ("read ECONNRESET 10.9.0.77:443", "read ECONNRESET <id>"),
        ("with #<TCPSocket:(closed) 0x7f3ab2>", "with #<TCPSocket:(closed) <id>>"),
        ("took 2026-01-31T12:00:00.5+02:00", "took <id>"),
        ("charge ch_3MtwBwLkdIwHu7ix28a3tqPa: no", "charge ch_<id>: no"),
        ("sku-9 and/or sku-10", "sku-<id> and/or sku-<id>"),
        ("\n  first\nsecond 2", "first"),
        ("", ""),
    ],
)
def test_what_is_left_of_a_message(message: str, scrubbed: str) -> None:
    """Scenario: messages as they come. Guarantees: placeholders for values, words untouched, only the first line."""
    assert scrubbed_message(message) == scrubbed


@pytest.mark.parametrize(
    ("path", "scrubbed"),
    [
        ("/srv/app/releases/20260131120000/app/jobs/x.rb", "jobs/x.rb"),
        ("/srv/app/releases/20260131120000/x.rb", "#/x.rb"),
        ("/tmp/d20260131-7-abc/x.rb", "x.rb"),
        ("file:///srv/dist/main.3f2a9c1b.js?v=12", "dist/main.#.js"),
        ("C:\\src\\Shop\\Job.cs", "Shop/Job.cs"),
        ("webpack-internal:///./src/jobs.js", "src/jobs.js"),
        ("orders_v2.py", "orders_v2.py"),
        ("", ""),
    ],
)
def test_what_is_left_of_a_path(path: str, scrubbed: str) -> None:
    """Scenario: paths of several systems. Guarantees: folder and file, without releases, hashes, temporary folders."""
    assert scrubbed_path(path) == scrubbed


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_the_demos_faults_are_one_group_each(fault: str) -> None:
    """Scenario: a fault of the demo, forty times with other ids. Guarantees: one fingerprint, stack or not."""
    dice = Random(7)
    thrown = [FAULTS[fault](dice, "SendReceipt") for _ in range(40)]
    reasons = 3 if fault == "card_declined" else 1  # the message names the bank's reason, which is no id

    with_stack = {mark(Error(one.type, one.message, one.stacktrace)) for one in thrown}
    without = {mark(Error(one.type, one.message)) for one in thrown}

    assert len(with_stack) == 1
    assert len(without) == reasons


def test_nothing_known_has_no_fingerprint() -> None:
    """Scenario: neither type, message nor stack. Guarantees: None, so that such failures do not become one group."""
    assert mark(Error()) is None
    assert of_message("", " \n ") is None


@given(st.text(), st.text(), st.text())
def test_any_error_has_a_verdict(type_: str, message: str, stack: str) -> None:
    """Scenario: any three texts. Guarantees: no error; the same verdict from memory, and without memory."""
    remembering, forgetting = judge(), judge(entries=0)
    error = Error(type_, message, stack)

    first = remembering.verdict(error)

    assert remembering.verdict(error) == first == forgetting.verdict(error)


@pytest.mark.parametrize(
    "make",
    [
        lambda n: "a" * n,
        lambda n: "'" * n,
        lambda n: "a@" * (n // 2),
        lambda n: "/" * n,
        lambda n: "/a" * (n // 2),
        lambda n: "0a" * (n // 2),
        lambda n: "1." * (n // 2),
        lambda n: "a." * (n // 2),
        lambda n: "abcdef" * (n // 6),
        lambda n: "`\"'“" * (n // 4),
        lambda n: "a@" + "a." * (n // 2),
        lambda n: "1e" * (n // 2),
        lambda n: "x" + "a0" * (n // 2) + "-",
        lambda n: "\\a" * (n // 2),
        lambda n: "violates " * (n // 9),
    ],
    ids=range(15),
)
def test_hostile_texts_cost_little(make: Callable[[int], str]) -> None:
    """Scenario: 64 kB made to send regular expressions astray. Guarantees: well under a second."""
    start = time.process_time()

    text = make(65_536)
    scrubbed_message(text)
    scrubbed_path(text)
    judge().verdict(Error(text, text, text))

    assert time.process_time() - start < 0.7


@pytest.mark.parametrize("cause", ["innermost", "outermost"])
def test_endless_chains_cost_little(cause: str) -> None:
    """Scenario: five thousand causes. Guarantees: both ends are looked at, and it takes well under a second."""
    links = "".join(f"Caused by: com.acme.E{number}: x\n\tat com.acme.F.g(F.java:1)\n" for number in range(5000))
    start = time.process_time()

    verdict = judge(innermost=cause == "innermost").verdict(Error("", "", f"com.acme.Top: x\n{links}"))

    assert verdict.type == ("com.acme.E4999" if cause == "innermost" else "com.acme.Top")
    assert time.process_time() - start < 0.5
