"""Alert rows in the real engine."""

from __future__ import annotations

import pytest

from pipeline import Receipt
from pipeline.alerts import Alert, AlertState, Severity, alert_batch, read_alerts
from pipeline.testing import alerts_batch
from tests.exporters.clickhouse.conftest import Start
from tests.exporters.clickhouse.servers import Store

FULL = Alert(
    name="RetryLoop",
    severity=Severity.CRITICAL,
    subject="a1b2",
    text="Job a1b2 was retried 4 times.",
    timestamp=1_795_300_000_123_456_789,
    state=AlertState.RESOLVED,
    labels={"queue": "mail", "job_class": "Send “now”"},
    runbook="https://example.com/RetryLoop",
    trace_ids=("00" * 16, "ff" * 16),
)
BARE = Alert(name="x", severity=Severity.INFO, subject="", text="", timestamp=1)


def test_alerts_come_back_as_they_went_in() -> None:
    """Scenario: a full and a bare alert as a batch. Guarantees: reading the batch gives them again."""
    assert read_alerts(alert_batch([FULL, BARE], Receipt.issue("a"))) == [FULL, BARE]


@pytest.mark.integration
async def test_the_engine_has_every_column(start: Start, store: Store, database: str) -> None:
    """Scenario: alerts are exported. Guarantees: each column has what the alert has, times to the nanosecond."""
    exporter = await start()

    await exporter.export(alert_batch([FULL, BARE], Receipt.issue("a")))
    await exporter.export(alerts_batch(3))

    assert store.count(f"{database}.job_alerts") == 5
    (row,) = store.rows(
        "SELECT * EXCEPT Timestamp REPLACE (toString(Labels) AS Labels), toUnixTimestamp64Nano(Timestamp) AS at "
        f"FROM {database}.job_alerts WHERE Name = 'RetryLoop'"
    )
    assert row == {
        "Name": "RetryLoop",
        "Severity": "critical",
        "State": "resolved",
        "Subject": "a1b2",
        "Text": "Job a1b2 was retried 4 times.",
        "Labels": "{'job_class':'Send “now”','queue':'mail'}",
        "Runbook": "https://example.com/RetryLoop",
        "TraceIds": ["00" * 16, "ff" * 16],
        "at": FULL.timestamp,
    }
