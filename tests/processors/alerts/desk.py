"""The processor on a clock that tests move, and what it tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline import Batch, ComponentId
from pipeline.alerts import Alert, AlertState, Severity, alert_batch, read_alerts
from pipeline.testing import Ledger
from processors.alerts import AlertsProcessor
from processors.alerts.config import AlertsConfig

SECOND = 1_000_000_000
MINUTE = 60.0
HOUR = 3600.0


class Desk:
    """Time begins at 0, 1970, for the engine's clock and for alerts alike, unless told otherwise."""

    def __init__(self, *, now: float = 0.0, state: bytes | None = None, **keys: Any) -> None:
        self.processor = AlertsProcessor(AlertsConfig.model_validate(keys), ComponentId("alerts"))
        if state is not None:
            self.processor.restore(state)
        self.ledger = Ledger()
        self.now = now
        self.given = 0
        self.told: list[Alert] = []
        self.dropped: list[str] = []
        self.batches: list[Sequence[Alert]] = []
        self._take(self.processor.tick(now))

    def alert(self, subject: str, **fields: Any) -> Alert:
        known: dict[str, Any] = {
            "name": "FailureCluster",
            "severity": Severity.WARNING,
            "text": f"{subject} fails.",
            "timestamp": int(self.now * SECOND),
        }
        return Alert(subject=subject, **{**known, **fields})

    def give(self, *alerts: Alert) -> None:
        """Hand over a batch, and tick as the engine does."""
        self.given += 1
        self._take(self.processor.process(alert_batch(alerts, self.ledger.receipt(str(self.given)))))
        self.until(self.now)

    def fire(self, *subjects: str, **fields: Any) -> None:
        self.give(*(self.alert(subject, **fields) for subject in subjects))

    def resolve(self, *subjects: str, **fields: Any) -> None:
        self.fire(*subjects, state=AlertState.RESOLVED, **fields)

    def until(self, now: float) -> list[Alert]:
        """Move on to `now`, waking the processor whenever it wants; return what it told on the way."""
        before = len(self.told)
        while (wake := self.processor.wake_at()) is not None and wake <= now:
            self.now = max(self.now, wake)
            self._take(self.processor.tick(self.now))
        self.now = now
        return self.told[before:]

    def drain(self) -> list[Alert]:
        before = len(self.told)
        self._take(self.processor.drain())
        return self.told[before:]

    def _take(self, batches: Any) -> None:
        for batch in batches:
            assert isinstance(batch, Batch)
            for reason, rows in batch.receipt.dropped.items():
                self.dropped += [reason] * rows
            batch.receipt.settle()
            if batch.rows:
                self.batches.append(read_alerts(batch))
                self.told += read_alerts(batch)

    @property
    def settled(self) -> bool:
        """Whether no intake is owed any more."""
        return len(self.ledger.complete) == self.given


def said(alerts: Sequence[Alert]) -> list[tuple[str, str]]:
    """Return subjects and states."""
    return [(alert.subject, str(alert.state)) for alert in alerts]


def labels(alert: Alert) -> Mapping[str, str]:
    return dict(alert.labels)
