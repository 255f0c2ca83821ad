"""The JSON that goes to Kafka, and the tables that it names its columns after."""

from __future__ import annotations

import pytest

from pipeline.rows_json import json_rows
from tests.exporters.clickhouse.conftest import Start
from tests.exporters.clickhouse.job_rows import SECOND, job_row, jobs_batch
from tests.exporters.clickhouse.servers import Store
from tests.exporters.clickhouse.test_jobs import stored


@pytest.mark.integration
async def test_clickhouse_reads_job_rows_as_they_are(store: Store, database: str, start: Start) -> None:
    """Scenario: job rows written by the exporter, and the JSON of the same rows inserted into a table like it.

    Guarantees: equal rows, times to the nanosecond; what JSON leaves out is what the columns have for "not known".
    """
    exporter = await start()
    rows = [
        job_row(error_message='no "answer"\n', enqueued_at=5 * SECOND + 123, queue_latency=7),
        job_row(job_class=None, depends_on_job_ids=["a", "b"], error_transient=True),
    ]
    await exporter.export(jobs_batch(rows))
    store.run(f"CREATE TABLE {database}.others AS {database}.jobs")

    texts = "\n".join(json_rows(jobs_batch(rows)).to_pylist())
    store.run(
        f"INSERT INTO {database}.others SETTINGS date_time_input_format='best_effort' FORMAT JSONEachRow\n{texts}"
    )

    assert stored(store, f"{database}.others") == stored(store, f"{database}.jobs")
    assert len(stored(store, f"{database}.others")) == 2
