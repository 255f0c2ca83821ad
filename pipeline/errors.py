"""The errors of jobsight, and what each means for the data.

JobsightError
├─ ConfigError            the user's YAML; every problem at once, before anything starts
├─ StartError             a component could not start; one line, what had started is stopped again
├─ Permanent              will fail again with the same data: drop, count, say why
│   ├─ Malformed          not decodable                          400 / INVALID_ARGUMENT
│   ├─ TooLarge           over a limit of ours                   413 / RESOURCE_EXHAUSTED without RetryInfo
│   └─ Rejected           the backend refused these rows
├─ Transient              may work later: keep the data, try again
│   ├─ Unavailable                                               503 / UNAVAILABLE
│   ├─ TimedOut
│   ├─ ShuttingDown
│   └─ Overloaded         a queue of ours is full                429 / RESOURCE_EXHAUSTED with RetryInfo
└─ Partial                some rows delivered; only the rest is tried again
"""

from __future__ import annotations

import os
import socket
import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.batch import Batch


class JobsightError(Exception):
    """Anything that jobsight itself raises on purpose."""


class ConfigError(JobsightError):
    """The configuration is wrong. `problems` are ready lines: `file:line:column: path.to.key: what is wrong`."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class StartError(JobsightError):
    """A component cannot start; the message is one line that says what to do."""


class Permanent(JobsightError):
    """Repeating the same data fails again."""


class Malformed(Permanent):
    """The bytes do not decode as what they claim to be."""


class TooLarge(Permanent):
    """The data is over one of our limits; the message names the limit and its key."""


class Rejected(Permanent):
    """The backend refused the rows; the message has its code and words."""


class Transient(JobsightError):
    """May work later. `retry_after` is the least wait in seconds that the other side asked for, if it did."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(Transient):
    """The other side cannot be reached or says that it cannot serve."""


class TimedOut(Transient):
    """No answer in time; whether the data arrived is unknown, so repeat only with the same deduplication token."""


class ShuttingDown(Transient):
    """We are stopping; another collector may take it."""


class Overloaded(Transient):
    """A queue of ours is full."""


class Partial(JobsightError):
    """Some rows are delivered and owed no more. `failed` holds the rest, `cause` says why."""

    def __init__(self, failed: Batch, cause: Permanent | Transient) -> None:
        super().__init__(str(cause))
        self.failed = failed
        self.cause = cause


def system_words(error: OSError) -> str:
    """Return what the system, or OpenSSL, calls an error, without what libraries put around it."""
    if isinstance(error, ssl.SSLError):  # its errno is OpenSSL's own
        return f"TLS: {error.reason.lower().replace('_', ' ')}" if error.reason else str(error)
    if isinstance(error, socket.gaierror) or not error.errno:
        return error.strerror or str(error)
    return os.strerror(error.errno).lower()
