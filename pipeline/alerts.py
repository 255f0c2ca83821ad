"""Alerts: what any processor may raise for a person to know, as rows of kind `alerts`.

Who raises one says it whenever it is true and does not care who hears it: repetition, cooldown, grouping, silences and
routing are the business of processor `alerts`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import pyarrow as pa

from pipeline.batch import Batch
from pipeline.kinds import SHAPES, Kind
from pipeline.receipt import Receipt

SUPPRESSED: Final = "suppressed"
"""Label that processor `alerts` adds: how often the alert was raised, unheard, since it was told last."""

GROUPED: Final = "alerts"
"""Label that processor `alerts` adds to a message for a whole group: how many alerts it stands for."""


RUNBOOKS: Final = "https://github.com/jobsight/jobsight/blob/main/docs/runbooks/"
"""What stands before a page's name in the links of our own alerts; processor `alerts` has a key to replace it."""


class Severity(StrEnum):
    """How soon a person should look, most urgent first."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 for the most urgent."""
        return _RANKS[self]


_RANKS: Final = {severity: rank for rank, severity in enumerate(Severity)}


class AlertState(StrEnum):
    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing to know. `name` and `subject` are its identity: `resolved` ends what `firing` with both began."""

    name: str
    """The kind of trouble, the same for all of its kind: `FailureCluster`, `RetryLoop`, `JobCycle`."""
    severity: Severity
    subject: str
    """What has the trouble: a cluster's id, a job's id, a path of classes."""
    text: str
    """One or two sentences for a person, with figures."""
    timestamp: int
    """When it became true, nanoseconds since 1970."""
    state: AlertState = AlertState.FIRING
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """What routing, silences and grouping go by: `job_class`, `queue`, `service`, `error_type`."""
    runbook: str = ""
    """Where it says what to do: a page of `RUNBOOKS`, or any other link."""
    trace_ids: tuple[str, ...] = ()
    """Examples, lower-case hex."""


def alert_batch(alerts: Sequence[Alert], receipt: Receipt) -> Batch:
    """Return alerts as a batch, in order."""
    rows = [
        {
            "timestamp": alert.timestamp,
            "name": alert.name,
            "severity": alert.severity,
            "state": alert.state,
            "subject": alert.subject,
            "text": alert.text,
            "labels": sorted(alert.labels.items()),
            "runbook": alert.runbook,
            "trace_ids": list(alert.trace_ids),
        }
        for alert in alerts
    ]
    return Batch(Kind.ALERTS, pa.Table.from_pylist(rows, SHAPES[Kind.ALERTS].schema), receipt)


def read_alerts(batch: Batch) -> list[Alert]:
    """Return a batch of kind alerts as objects; there are few of them."""
    return [
        Alert(
            **{
                **row,
                "severity": Severity(row["severity"]),
                "state": AlertState(row["state"]),
                "labels": dict(row["labels"]),
                "trace_ids": tuple(row["trace_ids"]),
            }
        )
        for row in batch.table.to_pylist()
    ]
