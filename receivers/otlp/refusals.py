"""Refused requests: what is counted and logged about them."""

from __future__ import annotations

from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from pipeline.clock import Clock
from pipeline.errors import JobsightError, Overloaded, ShuttingDown
from receivers.otlp.status import Answer, answer_to
from receivers.otlp.telemetry import Meter

_LOG_EVERY_SECONDS: Final = 10.0


class Refusals:
    """Turns errors into answers, counts them, and logs each sort at most once in ten seconds."""

    def __init__(self, log: FilteringBoundLogger, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._logged_at: dict[str, float] = {}
        self._unlogged: dict[str, int] = {}

    def answer(self, error: Exception, meter: Meter) -> Answer:
        """Return what to tell the caller of a request that failed with `error`."""
        if not isinstance(error, JobsightError):
            self.fault(error)
        answer = answer_to(error)
        (meter.failure if answer.fault else meter.refused).inc()
        if answer.retry_after is None:
            self._warn("Refused a request.", error=answer.message)
        elif not answer.fault and not isinstance(error, ShuttingDown):
            event = "Overloaded; told a sender to try again." if isinstance(error, Overloaded) else "Told to try again."
            self._warn(event, error=answer.message)
        return answer

    def fault(self, error: Exception) -> None:
        """Log an exception that nobody classified, with its traceback."""
        self._warn("Failed to take a request: this is a fault of jobsight.", exc_info=error)

    def no_http(self, error: str) -> None:
        """Log that something else than HTTP came, to which the HTTP library has given the answer itself."""
        self._warn("Got no proper HTTP.", error=error)

    def _warn(self, event: str, **fields: Any) -> None:
        now = self._clock.now()
        if now - self._logged_at.get(event, -_LOG_EVERY_SECONDS) < _LOG_EVERY_SECONDS:
            self._unlogged[event] = self._unlogged.get(event, 0) + 1
            return
        self._logged_at[event] = now
        self._log.warning(event, not_logged_since=self._unlogged.pop(event, 0), **fields)
