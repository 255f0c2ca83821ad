"""Rows of failure clusters in the real engine."""

from __future__ import annotations

import pytest

from pipeline.testing import failure_clusters_batch
from tests.exporters.clickhouse.conftest import Start
from tests.exporters.clickhouse.servers import Store


@pytest.mark.integration
async def test_the_engine_has_every_column(start: Start, store: Store, database: str) -> None:
    """Scenario: changes of clusters are exported. Guarantees: each column has what the row has, causes by name."""
    exporter = await start()
    batch = failure_clusters_batch(3)
    sent = batch.table.to_pylist()[2]

    await exporter.export(batch)

    assert store.count(f"{database}.failure_clusters") == 3
    (row,) = store.rows(
        "SELECT * EXCEPT (Timestamp, OpenedAt, LastSeenAt, Causes, Failures), toUInt32(Failures) AS failures, "
        "toUnixTimestamp64Nano(Timestamp) AS at, toUnixTimestamp64Nano(OpenedAt) AS opened, "
        "toUnixTimestamp64Nano(LastSeenAt) AS seen, toString(Causes) AS causes, Causes.ShareInSuccesses AS shares "
        f"FROM {database}.failure_clusters WHERE State = 'resolved'"
    )
    assert row == {
        "ClusterId": sent["cluster_id"],
        "State": "resolved",
        "Rule": "threshold",
        "JobClasses": ["Job2", "Job9"],
        "Queues": ["mail"],
        "ErrorType": "ValueError",
        "ErrorCategory": "validation",
        "ErrorFingerprint": sent["error_fingerprint"],
        "SampleMessages": ["no such customer"],
        "SampleTraceIds": sent["sample_trace_ids"],
        "failures": 13,
        "at": sent["timestamp"],
        "opened": sent["opened_at"],
        "seen": sent["last_seen_at"],
        "causes": "[('dependency','mail-api',0.95,0),('queue','mail',1,NULL)]",
        "shares": [0, None],
    }
