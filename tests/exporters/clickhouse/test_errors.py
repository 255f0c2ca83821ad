"""What ClickHouse's codes and other answers mean for the data."""

from __future__ import annotations

import pytest

from exporters.clickhouse.errors import REJECTED, UNKNOWN_OUTCOME, WAITS, Refusal, classify
from pipeline.errors import Rejected, TimedOut, Transient, Unavailable
from tests.exporters.clickhouse.servers import Store

CODES = [
    *((code, name, Rejected) for code, name in REJECTED.items()),
    *((code, name, TimedOut) for code, name in UNKNOWN_OUTCOME.items()),
    *((code, name, Unavailable) for code, (name, _) in WAITS.items()),
]


@pytest.mark.parametrize(("code", "name", "expected"), CODES)
def test_each_code(code: int, name: str, expected: type[Exception]) -> None:
    """Scenario: a server's code. Guarantees: its class, its words, and where it happened, without version noise."""
    refusal = Refusal("http://db", 500, code, f"Code: {code}. DB::Exception: Why. ({name}) (version 26.9.2.1)\n")

    error = classify(refusal, "insert into otel.spans")

    assert type(error) is expected
    assert str(error).startswith("insert into otel.spans: ")
    assert str(error).endswith(f"Why. ({name})")


def test_no_code_is_in_two_tables() -> None:
    """Scenario: the three tables. Guarantees: a code has one meaning."""
    assert len(CODES) == len({code for code, _, _ in CODES})


@pytest.mark.integration
def test_names_are_those_of_a_real_engine(store: Store) -> None:
    """Scenario: the engine is asked for its names. Guarantees: no code here has another meaning there."""
    codes = [code for code, _, _ in CODES]

    found = store.run(f"SELECT arrayJoin(arrayMap(c -> errorCodeToName(c), {codes}))").split()

    assert found == [name for _, name, _ in CODES]


@pytest.mark.parametrize(
    ("status", "code", "text", "expected", "words"),
    [
        (500, 49, "Code: 49. DB::Exception: logical", Transient, "logical"),
        (500, 1001, "std::exception. No space left on device", Unavailable, "the server's disk is full"),
        (502, None, "Bad Gateway", Unavailable, 'answered HTTP 502 "Bad Gateway"'),
        (429, None, "slow down", Unavailable, "HTTP 429"),
        (413, None, "too big", Rejected, "sending_queue.batch.max_size"),
        (401, None, "", Unavailable, "wrong username or password"),
        (403, None, "", Unavailable, "wrong username or password"),
        (404, None, "nginx", Unavailable, "HTTP 404"),
        (200, None, "<html>", Unavailable, "is the endpoint right?"),
    ],
)
def test_other_answers(status: int, code: int | None, text: str, expected: type[Exception], words: str) -> None:
    """Scenario: an unlisted code, or a proxy's answer. Guarantees: data waits, but for what is too large."""
    error = classify(Refusal("http://db", status, code, text), "insert into otel.spans")

    assert type(error) is expected
    assert words in str(error)


def test_the_wait_that_was_asked_for_is_kept() -> None:
    """Scenario: Retry-After. Guarantees: the engine gets it."""
    error = classify(Refusal("http://db", 503, None, "", retry_after=7.0), "x")

    assert isinstance(error, Transient)
    assert error.retry_after == 7.0


def test_long_answers_are_cut() -> None:
    """Scenario: a page of text, several lines. Guarantees: one line, short enough for a log."""
    error = classify(Refusal("http://db", 500, 999, "a\nb " + "x" * 5000), "x")

    assert "\n" not in str(error)
    assert len(str(error)) < 800
