"""What exporters of alerts have in common: which alerts they send, in what order, and what becomes of the rest."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, ClassVar, TypeVar

from prometheus_client import Counter
from pydantic import BeforeValidator, Field, field_validator

from pipeline.alert_matching import Match
from pipeline.alerts import Alert, AlertState, read_alerts
from pipeline.batch import Batch
from pipeline.component import Exporter, Host
from pipeline.config.tls import TLSClient
from pipeline.config.values import Duration, Secret, listed
from pipeline.errors import Partial, Permanent, Transient
from pipeline.exporting import ExporterConfig, QueueConfig
from pipeline.http_posting import Poster, SecretURL, checked_headers
from pipeline.kinds import Kind
from pipeline.retry import RetryConfig


class AlertRetryConfig(RetryConfig):
    """`retry_on_failure` of exporters of alerts."""

    max_elapsed_time: Duration = 3600.0
    """A message that could not be delivered for this long is dropped and counted: it is no news any more."""


class AlertQueueConfig(QueueConfig):
    """`sending_queue` of exporters of alerts."""

    num_consumers: int = Field(1, gt=0)
    """One keeps the order: an end that overtakes its beginning would leave an alert open for ever."""


class AlertExporterConfig(ExporterConfig):
    """The keys that every exporter of alerts has."""

    retry_on_failure: AlertRetryConfig = AlertRetryConfig()
    sending_queue: AlertQueueConfig = AlertQueueConfig()

    match: Annotated[tuple[Match, ...], BeforeValidator(listed)] = ()
    """Send only these alerts; of several one must fit. Without it all of them."""

    send_resolved: bool = True
    """Tell when an alert is over, too."""

    headers: Mapping[str, Secret] = {}
    """Sent with every request."""

    tls: TLSClient = TLSClient()
    """For https: which certificates to believe, and which to show."""

    proxy_url: SecretURL | None = None
    """The proxy that leads to the service."""

    @field_validator("headers")
    @classmethod
    def _usable(cls, value: Mapping[str, Secret]) -> Mapping[str, Secret]:
        return checked_headers(value)

    def wants(self, alert: Alert) -> bool:
        """Tell whether people behind this exporter are to hear of it."""
        if alert.state is AlertState.RESOLVED and not self.send_resolved:
            return False
        return not self.match or any(match.fits(alert) for match in self.match)


@dataclass(frozen=True, slots=True)
class Message:
    """One request, and the rows of the batch that it delivers."""

    rows: Sequence[int]
    url: str
    body: bytes
    headers: Mapping[str, str] | None = None
    method: str = "POST"


A = TypeVar("A", bound=AlertExporterConfig)
Row = tuple[int, Alert]


class AlertExporter(Exporter[A]):
    """Sends alerts as HTTP requests, in order. A subclass says which requests."""

    handles = frozenset({Kind.ALERTS})
    times_requests = True

    divisible: ClassVar[bool] = False
    """Whether a refused message is sent again alert by alert, so that one bad alert takes no others with it."""

    _poster: Poster | None = None
    _host: Host | None = None
    _unmatched: Counter | None = None

    @abstractmethod
    def messages(self, alerts: Sequence[Row]) -> Iterable[Message]:
        """Return the requests that tell of these alerts (at least one), with their row numbers."""

    def delivered(self, alerts: Iterable[Alert]) -> None:
        """Take note that the service has a message with these alerts."""

    async def start(self, host: Host) -> None:
        config = self.config
        self._host = host
        self._poster = Poster(
            timeout_seconds=config.timeout,
            tls=config.tls,
            headers=config.headers,
            proxy=config.proxy_url,
            time_ns=host.clock.time_ns,
        )
        self._unmatched = host.metrics.counter(
            "jobsight_exporter_unmatched_alerts", "Alerts that the exporter's config does not send.", "exporter"
        ).labels(str(self.ident))

    async def stop(self) -> None:
        if self._poster is not None:
            poster, self._poster = self._poster, None
            await poster.close()

    async def export(self, batch: Batch) -> None:
        """Send what is wanted of the batch. Raises Transient, Rejected, and Partial where some of it went through."""
        assert self._unmatched is not None, "export before start"
        wanted = [(row, alert) for row, alert in enumerate(read_alerts(batch)) if self.config.wants(alert)]
        self._unmatched.inc(batch.rows - len(wanted))
        alerts = dict(wanted)
        waiting = deque(self.messages(wanted) if wanted else ())
        refused: list[int] = []
        cause: Permanent | None = None
        while waiting:
            message = waiting.popleft()
            try:
                await self._send(message)
            except Permanent as error:
                if self.divisible and len(message.rows) > 1:
                    parts = [part for row in message.rows for part in self.messages([(row, alerts[row])])]
                    waiting.extendleft(reversed(parts))
                else:
                    refused += message.rows
                    cause = error
            except Transient as error:
                left = [row for each in (message, *waiting) for row in each.rows]
                raise _failure(batch, [*refused, *left], error) from error
            else:
                self.delivered(alerts[row] for row in message.rows)
        if cause is not None:
            raise _failure(batch, refused, cause) from cause

    async def _send(self, message: Message) -> None:
        assert self._poster is not None, "export before start"
        await self._poster.send(message.url, message.body, message.headers, message.method)


def _failure(batch: Batch, rows: Sequence[int], cause: Permanent | Transient) -> Exception:
    if len(rows) == batch.rows:
        return cause
    return Partial(batch.with_table(batch.table.take(sorted(rows))), cause)


def rfc3339(timestamp: int) -> str:
    """Write nanoseconds since 1970 as RFC 3339 does, in UTC to the millisecond."""
    moment = datetime.fromtimestamp(timestamp // 1_000_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{timestamp // 1_000_000 % 1000:03d}Z"


def link(alert: Alert) -> str:
    """Return the runbook where it is a link that a person can follow, else nothing."""
    return alert.runbook if alert.runbook.startswith(("http://", "https://")) else ""


def cut(text: str, limit: int) -> str:
    """Return the text with at most `limit` characters, the last of them an ellipsis where it was longer."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
