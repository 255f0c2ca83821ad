"""What callers are told: one table from our errors to the words of gRPC and HTTP.

SDKs repeat a request only after some answers, and drop the data after every other one, so nothing temporary may become
INTERNAL, UNKNOWN or 500. They give up when asked to wait longer than what is left of their 10 s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from pipeline.errors import JobsightError, Malformed, Overloaded, Permanent, TooLarge, Transient, Unavailable

_TABLE: Final[tuple[tuple[type[JobsightError], grpc.StatusCode, int], ...]] = (
    (Malformed, grpc.StatusCode.INVALID_ARGUMENT, 400),
    (TooLarge, grpc.StatusCode.RESOURCE_EXHAUSTED, 413),
    (Permanent, grpc.StatusCode.INTERNAL, 500),
    (Overloaded, grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
    (Transient, grpc.StatusCode.UNAVAILABLE, 503),
)
"""The first class that fits answers. Transient errors carry RetryInfo; without it RESOURCE_EXHAUSTED is final."""

_LEAST_WAIT_SECONDS: Final = 1.0
_LONGEST_WAIT_SECONDS: Final = 5.0

_LONGEST_MESSAGE: Final = 1000
"""Characters; gRPC sends the message as metadata, of which clients accept 8 KiB."""


class InternalFault(Unavailable):
    """A fault of ours: an exception that nobody classified. For the caller it is temporary."""

    def __init__(self) -> None:
        super().__init__("the collector failed to take the request; its log has the reason")


@dataclass(frozen=True, slots=True)
class Answer:
    """The refusal of a request. `retry_after` is in seconds, or None where repeating the request is useless."""

    code: grpc.StatusCode
    http_status: int
    message: str
    retry_after: float | None
    fault: bool
    """Whether the reason is a fault of ours."""


def answer_to(error: Exception) -> Answer:
    """Return what to tell the caller of a request that failed with `error`."""
    if not isinstance(error, JobsightError):
        error = InternalFault()
    code, http_status = next(
        ((code, http_status) for type_, code, http_status in _TABLE if isinstance(error, type_)),
        (grpc.StatusCode.UNAVAILABLE, 503),
    )
    retry_after = None
    if not isinstance(error, Permanent):
        asked = error.retry_after if isinstance(error, Transient) else None
        retry_after = min(max(asked or 0.0, _LEAST_WAIT_SECONDS), _LONGEST_WAIT_SECONDS)
    return Answer(code, http_status, str(error)[:_LONGEST_MESSAGE], retry_after, isinstance(error, InternalFault))


def status_of(answer: Answer) -> Status:
    """Return the answer as the `google.rpc.Status` that OTLP puts into HTTP bodies and gRPC details."""
    status = Status(code=answer.code.value[0], message=answer.message)
    if answer.retry_after is not None:
        detail = AnyMessage()
        detail.Pack(_retry_info(answer.retry_after))
        status.details.append(detail)
    return status


def retry_metadata(answer: Answer) -> tuple[tuple[str, bytes], ...]:
    """Return the trailing metadata that makes a gRPC caller try again; empty where it should not.

    RetryInfo stands twice: in the details that gRPC's own conventions name, and bare in the key that the Python SDK
    reads.
    """
    if answer.retry_after is None:
        return ()
    return (
        ("grpc-status-details-bin", status_of(answer).SerializeToString()),
        ("google.rpc.retryinfo-bin", _retry_info(answer.retry_after).SerializeToString()),
    )


def _retry_info(seconds: float) -> RetryInfo:
    return RetryInfo(retry_delay=Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9)))
