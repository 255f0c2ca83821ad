"""The rules: what is shipped, what users add, and the order in which they are asked."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from processors.error_type.categories import UNKNOWN, Categories, Finding, UserRule, finding, simple_name
from processors.error_type.known import MEANINGS, Category, shipped

SHIPPED = Categories()
C = Category


@pytest.mark.parametrize(
    ("type_", "message", "category", "transient"),
    [
        ("Net::ReadTimeout", "", C.TIMEOUT, True),
        ("payments.PaymentTimeout", "", C.TIMEOUT, True),
        ("billiard.exceptions.SoftTimeLimitExceeded", "", C.TIMEOUT, True),
        ("java.net.SocketTimeoutException", "", C.TIMEOUT, True),
        ("DEADLINE_EXCEEDED", "", C.TIMEOUT, True),
        ("504", "", C.TIMEOUT, True),
        ("ConnectionRefusedError", "", C.CONNECTION, True),
        ("Errno::ECONNRESET", "", C.CONNECTION, True),
        ("Error", "read ECONNRESET 10.9.0.1:443", C.CONNECTION, True),
        ("*net.OpError", "", C.CONNECTION, True),
        ("MyApp.Mailer.SMTPError", "", C.CONNECTION, True),
        ("Illuminate\\Http\\Client\\ConnectionException", "", C.CONNECTION, True),
        ("MailClient::RateLimited", "", C.RATE_LIMITED, True),
        ("429", "", C.RATE_LIMITED, True),
        ("RuntimeError", "429 Too Many Requests", C.RATE_LIMITED, True),
        ("503", "", C.DEPENDENCY, True),
        ("payments.CardDeclined", "", C.DEPENDENCY, False),
        ("psycopg.errors.DeadlockDetected", "deadlock detected", C.DATABASE, True),
        ("ActiveRecord::RecordNotUnique", "", C.DATABASE, False),
        ("", "ledger: account 7741 locked (SQLSTATE 55P03)", C.DATABASE, True),
        ("Ecto.NoResultsError", "", C.NOT_FOUND, False),
        ("app.models.Order.DoesNotExist", "", C.NOT_FOUND, False),
        ("ValueError", "anything", C.VALIDATION, False),
        ("UnrecoverableError", "a.jpg: Input buffer contains unsupported image format", C.VALIDATION, False),
        ("PermissionError", "", C.AUTH, False),
        ("System.OutOfMemoryException", "", C.RESOURCE, True),
        ("celery.exceptions.Ignore", "", C.CANCELLED, False),
        ("asyncio.exceptions.CancelledError", "", C.CANCELLED, True),
        ("NoMethodError", "", C.BUG, False),
        ("AttributeError", "", C.BUG, False),
        ("java.lang.NullPointerException", "", C.BUG, False),
        ("System.InvalidOperationException", "", C.BUG, False),
        ("Elixir.FunctionClauseError", "", C.BUG, False),
        ("panic", "runtime error: invalid memory address or nil pointer dereference", C.BUG, False),
        ("TranscodeError", "moov atom missing", C.UNKNOWN, None),
        ("", "", C.UNKNOWN, None),
        ("Exception", "something else", C.UNKNOWN, None),
    ],
)
def test_common_errors(type_: str, message: str, category: Category, transient: bool | None) -> None:
    """Scenario: errors of common libraries, and of applications named as people name them. Guarantees: the category."""
    assert SHIPPED.of([(type_, message)]) == (category, transient)


def test_a_cause_is_asked_where_the_exception_says_nothing() -> None:
    """Scenario: a wrapper around a time-out; a known error around one. Guarantees: the first that is known counts."""
    cause = ("java.net.SocketTimeoutException", "")

    assert SHIPPED.of([("java.util.concurrent.ExecutionException", ""), ("Wrapped", ""), cause]).category is C.TIMEOUT
    assert SHIPPED.of([("java.lang.NullPointerException", ""), cause]).category is C.BUG


def test_users_rules_come_first_and_in_order() -> None:
    """Scenario: rules on type, on message and on both. Guarantees: order counts, and every given pattern must hold."""
    rules = Categories(
        [
            UserRule(re.compile("^ValueError$"), re.compile("card"), finding(C.DEPENDENCY, transient=True)),
            UserRule(re.compile("^ValueError$"), None, finding(C.BUG)),
            UserRule(None, re.compile("moov"), finding(C.VALIDATION)),
        ]
    )

    assert rules.of([("ValueError", "bad card")]) == Finding(C.DEPENDENCY, transient=True)
    assert rules.of([("ValueError", "bad")]) == Finding(C.BUG, transient=False)
    assert rules.of([("TranscodeError", "moov atom")]) == Finding(C.VALIDATION, transient=False)
    assert rules.of([("Other", "")]) == UNKNOWN


def test_the_shipped_data_is_in_order() -> None:
    """Scenario: known.yaml. Guarantees: no name twice, each found as itself; patterns compile; no category missing."""
    known = shipped()
    names = Counter(name for rule in known.names for name in rule.words)

    assert [name for name, times in names.items() if times > 1] == []
    assert set(names).isdisjoint(known.nothing)
    for rule in known.names:
        for name in rule.words:
            assert SHIPPED.of([(name, "")]) == finding(rule.category, rule.transient)
    for rule in (*known.types, *known.messages):
        assert all(re.compile(pattern) for pattern in rule.words)
    assert {rule.category for rule in known.names} == set(Category) - {C.UNKNOWN}
    languages = {rule.language for rule in known.names}
    assert languages == {"Ruby", "Python", "Node", "Java", "Go", ".NET", "Elixir", "PHP", "HTTP"}


@pytest.mark.parametrize(
    ("type_", "name"),
    [
        ("Net::HTTP::Error", "Error"),
        ("a.b.C", "C"),
        ("Outer$Inner", "Inner"),
        ("*net.OpError", "OpError"),
        ("A\\B", "B"),
        ("Repo`1[System.Int32]", "Repo"),
        ("Plain", "Plain"),
        ("", ""),
        ("*main.E[int]", "E"),
    ],
)
def test_the_last_component_of_a_type(type_: str, name: str) -> None:
    """Scenario: types of all languages. Guarantees: their own name, without package, pointer or parameters."""
    assert simple_name(type_) == name


def category_table() -> str:
    """Return the page's table of categories, as the data has it."""
    words = {True: "yes", False: "no", None: "not known"}
    rows = ["| category | may pass | what it means | known, for example |", "|---|---|---|---|"]
    for category, meaning in MEANINGS.items():
        names = [name for rule in shipped().names if rule.category is category for name in rule.words[:1]]
        examples = ", ".join(f"`{name}`" for name in names) or "-"
        rows.append(f"| `{category}` | {words[meaning.transient]} | {meaning.text} | {examples} |")
    return "\n".join(rows)


def test_the_page_has_the_table_of_categories() -> None:
    """Scenario: docs/processors/error_type.md. Guarantees: its table says what the data says."""
    page = Path("docs/processors/error_type.md").read_text(encoding="utf-8")

    assert category_table() in page
