"""The table of answers."""

from __future__ import annotations

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from pipeline.errors import (
    JobsightError,
    Malformed,
    Overloaded,
    Permanent,
    Rejected,
    ShuttingDown,
    TimedOut,
    TooLarge,
    Transient,
    Unavailable,
)
from receivers.otlp.status import InternalFault, answer_to, retry_metadata, status_of

FINAL = [
    (Malformed("bad"), grpc.StatusCode.INVALID_ARGUMENT, 400),
    (TooLarge("big"), grpc.StatusCode.RESOURCE_EXHAUSTED, 413),
    (Rejected("no"), grpc.StatusCode.INTERNAL, 500),
    (Permanent("no"), grpc.StatusCode.INTERNAL, 500),
]
TEMPORARY = [
    (Overloaded("full"), grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
    (Unavailable("away"), grpc.StatusCode.UNAVAILABLE, 503),
    (TimedOut("slow"), grpc.StatusCode.UNAVAILABLE, 503),
    (ShuttingDown("bye"), grpc.StatusCode.UNAVAILABLE, 503),
    (Transient("later"), grpc.StatusCode.UNAVAILABLE, 503),
    (JobsightError("?"), grpc.StatusCode.UNAVAILABLE, 503),
]


@pytest.mark.parametrize(("error", "code", "http"), FINAL, ids=lambda value: type(value).__name__)
def test_final_refusals(error: Exception, code: grpc.StatusCode, http: int) -> None:
    """Scenario: repeating is useless. Guarantees: the codes of the table and nothing that invites a repetition."""
    answer = answer_to(error)

    assert (answer.code, answer.http_status, answer.message, answer.retry_after) == (code, http, str(error), None)
    assert retry_metadata(answer) == ()
    assert status_of(answer) == Status(code=code.value[0], message=str(error))
    assert not answer.fault


@pytest.mark.parametrize(("error", "code", "http"), TEMPORARY, ids=lambda value: type(value).__name__)
def test_temporary_refusals(error: Exception, code: grpc.StatusCode, http: int) -> None:
    """Scenario: it may work later. Guarantees: the table's codes, and RetryInfo in both keys that clients read."""
    answer = answer_to(error)
    metadata = dict(retry_metadata(answer))

    assert (answer.code, answer.http_status, answer.message, answer.fault) == (code, http, str(error), False)
    bare = RetryInfo.FromString(metadata["google.rpc.retryinfo-bin"])
    status = Status.FromString(metadata["grpc-status-details-bin"])
    packed = RetryInfo()
    assert status.details[0].Unpack(packed)
    assert bare == packed
    assert bare.retry_delay.seconds == 1
    assert (status.code, status.message) == (code.value[0], str(error))


@pytest.mark.parametrize(("asked", "told"), [(None, 1.0), (0.2, 1.0), (2.5, 2.5), (60.0, 5.0)])
def test_the_wait_suits_sdks(asked: float | None, told: float) -> None:
    """Scenario: the error asks for a wait. Guarantees: 1 to 5 s are told, for SDKs drop the data at a longer one."""
    answer = answer_to(Overloaded("full", asked))

    assert answer.retry_after == told
    delay = RetryInfo.FromString(dict(retry_metadata(answer))["google.rpc.retryinfo-bin"]).retry_delay
    assert delay.seconds + delay.nanos / 1e9 == told


@pytest.mark.parametrize("error", [ValueError("secret detail"), InternalFault()], ids=["unclassified", "classified"])
def test_a_fault_of_ours_is_temporary_and_keeps_its_secrets(error: Exception) -> None:
    """Scenario: an exception that nobody classified. Guarantees: retryable, marked as fault, its text not sent out."""
    answer = answer_to(error)

    assert (answer.code, answer.http_status, answer.fault) == (grpc.StatusCode.UNAVAILABLE, 503, True)
    assert answer.retry_after == 1.0
    assert "secret" not in answer.message


def test_long_messages_fit_into_metadata() -> None:
    """Scenario: a message of 1 MB. Guarantees: at most 1000 characters of it are sent."""
    assert len(answer_to(Malformed("x" * 1_000_000)).message) == 1000
