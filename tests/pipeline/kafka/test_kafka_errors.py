from __future__ import annotations

import logging
import ssl

import aiokafka.errors
import pytest

from pipeline.errors import Permanent, Rejected, TimedOut, TooLarge, Transient, Unavailable
from pipeline.kafka import errors
from pipeline.kafka.errors import classify
from pipeline.kafka.logs import Seldom, calm_library

NAMES = [*errors.TOO_LARGE, *errors.REJECTED, *errors.UNKNOWN_OUTCOME, *errors.WAITS]


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_name_is_one_of_aiokafkas(name: str) -> None:
    """Scenario: the names of the tables. Guarantees: each is an exception there, so none is misspelt."""
    assert issubclass(getattr(aiokafka.errors, name), Exception)


@pytest.mark.parametrize(
    ("error", "type_", "words"),
    [
        (aiokafka.errors.MessageSizeTooLargeError(), TooLarge, "max.message.bytes"),
        (aiokafka.errors.InvalidTimestampError(), Rejected, "the time of the message"),
        (aiokafka.errors.RequestTimedOutError(), TimedOut, "no answer in time"),
        (aiokafka.errors.UnknownTopicOrPartitionError(), Unavailable, "the topic does not exist; create it"),
        (aiokafka.errors.SaslAuthenticationFailed("bad"), Unavailable, "wrong username or password: bad"),
        (aiokafka.errors.OutOfOrderSequenceNumber(), Transient, "OutOfOrderSequenceNumber"),
        (ConnectionRefusedError(111, "Connect call failed"), Unavailable, "connection refused"),
        (TimeoutError(), Unavailable, "no answer in time"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong"), Unavailable, "TLS failed"),
        (ValueError("odd"), Transient, "ValueError: odd"),
    ],
)
def test_what_refusals_mean(error: Exception, type_: type[Permanent | Transient], words: str) -> None:
    """Scenario: one error of each sort. Guarantees: for good or for later, where it was, and what to do."""
    said = classify(error, "topic spans")

    assert type(said) is type_
    assert str(said).startswith("topic spans: ")
    assert words in str(said)


def test_the_library_repeats_itself_seldom() -> None:
    """Scenario: the same warning again and again, another in between. Guarantees: one of each passes; info does not."""
    calm_library()
    seldom = Seldom()
    records = [
        logging.LogRecord("aiokafka", logging.WARNING, "", 0, text, (number,), None)
        for number, text in enumerate(["cannot reach %s", "cannot reach %s", "lost %s", "cannot reach %s"])
    ]

    assert [seldom.filter(record) for record in records] == [True, False, True, False]
    assert not logging.getLogger("aiokafka.client").isEnabledFor(logging.INFO)
