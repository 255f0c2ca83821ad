"""The exporter's own metrics, under the Collector's names; labels `exporter`, `topic`, `outcome` (success, failure).

| name | type | unit | meaning |
|---|---|---|---|
| `otelcol_kafka_exporter_records` | counter | messages | messages in record batches that ended |
| `otelcol_kafka_exporter_bytes_uncompressed` | counter | bytes | their size before compression |
| `otelcol_kafka_exporter_write_latency` | histogram | s | from a full record batch to the brokers' answer |
| `jobsight_kafka_exporter_refused_rows` | counter | rows | rows too large for a message by themselves |
"""

from __future__ import annotations

from typing import Final

from pipeline.metrics import Metrics

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Instruments:
    """The instruments of the table at the top of this file."""

    def __init__(self, metrics: Metrics, exporter: str) -> None:
        self._exporter = exporter
        labels = ("exporter", "topic", "outcome")
        self._records = metrics.counter("otelcol_kafka_exporter_records", "Messages in record batches.", *labels)
        self._bytes = metrics.counter(
            "otelcol_kafka_exporter_bytes_uncompressed", "Bytes of record batches before compression.", *labels
        )
        self._seconds = metrics.histogram(
            "otelcol_kafka_exporter_write_latency", "From a full record batch to the answer.", _SECONDS, *labels
        )
        self._refused = metrics.counter(
            "jobsight_kafka_exporter_refused_rows", "Rows too large for a message.", "exporter"
        ).labels(exporter)

    def sent(self, place: tuple[str, int], records: int, nbytes: int, seconds: float, *, delivered: bool) -> None:
        """Count a record batch that ended."""
        labels = (self._exporter, place[0], "success" if delivered else "failure")
        self._records.labels(*labels).inc(records)
        self._bytes.labels(*labels).inc(nbytes)
        self._seconds.labels(*labels).observe(seconds)

    def refused(self, rows: int) -> None:
        self._refused.inc(rows)
