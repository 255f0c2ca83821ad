"""The receiver's own metrics, under the Collector's names where it has them.

| name | type | labels | meaning |
|---|---|---|---|
| `otelcol_receiver_accepted_<items>` | counter | receiver, transport | rows handed to the pipelines |
| `otelcol_kafka_receiver_records` | counter | receiver, topic | messages read |
| `otelcol_kafka_receiver_bytes_uncompressed` | counter | receiver, topic | their values |
| `otelcol_kafka_receiver_unmarshal_failed_<items>` | counter | receiver | messages that do not decode |
| `otelcol_kafka_receiver_current_offset` | gauge | receiver, topic, partition | read up to here |
| `otelcol_kafka_receiver_offset_lag` | gauge | receiver, topic, partition | messages of the partition not read yet |
| `otelcol_kafka_receiver_partition_start`, `_close` | counter | receiver | partitions that came and went |
| `jobsight_kafka_receiver_committed_offset` | gauge | receiver, topic, partition | committed up to here |
| `jobsight_kafka_receiver_unfinished_messages` | gauge | receiver | messages read whose rows were not delivered yet |
| `jobsight_kafka_receiver_dead_letters` | counter | receiver | messages sent to the dead-letter topic |
| `jobsight_kafka_receiver_reread_messages` | counter | receiver | messages that went to another consumer before they \
were delivered, and may be there twice |
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from pipeline.kinds import KIND_OF, SHAPES, Signal
from pipeline.metrics import Metrics


class Instruments:
    """The instruments of the table at the top of this file."""

    def __init__(self, metrics: Metrics, receiver: str, unfinished: Callable[[], float]) -> None:
        self._metrics = metrics
        self._receiver = receiver
        by_topic, by_partition = ("receiver", "topic"), ("receiver", "topic", "partition")
        self._records = metrics.counter("otelcol_kafka_receiver_records", "Messages read.", *by_topic)
        self._bytes = metrics.counter("otelcol_kafka_receiver_bytes_uncompressed", "Bytes of values read.", *by_topic)
        self._offset = metrics.gauge("otelcol_kafka_receiver_current_offset", "Read up to here.", *by_partition)
        self._lag = metrics.gauge("otelcol_kafka_receiver_offset_lag", "Messages not read yet.", *by_partition)
        self._committed = metrics.gauge(
            "jobsight_kafka_receiver_committed_offset", "Delivered up to here, known to the group.", *by_partition
        )
        counters = {
            "started": ("otelcol_kafka_receiver_partition_start", "Partitions that came."),
            "closed": ("otelcol_kafka_receiver_partition_close", "Partitions that went."),
            "dead_letters": ("jobsight_kafka_receiver_dead_letters", "Messages sent to the dead-letter topic."),
            "reread": (
                "jobsight_kafka_receiver_reread_messages",
                "Messages that went to another consumer before they were delivered.",
            ),
        }
        made = {key: metrics.counter(name, text, "receiver").labels(receiver) for key, (name, text) in counters.items()}
        self._started, self._closed, self._reread = made["started"], made["closed"], made["reread"]
        self.dead_letters = made["dead_letters"]
        metrics.gauge(
            "jobsight_kafka_receiver_unfinished_messages", "Messages read and not delivered yet.", "receiver"
        ).labels(receiver).set_function(unfinished)

    def read(self, topic: str, messages: int, nbytes: int) -> None:
        self._records.labels(self._receiver, topic).inc(messages)
        self._bytes.labels(self._receiver, topic).inc(nbytes)

    def accepted(self, signal: Signal, rows: int) -> None:
        name = f"otelcol_receiver_accepted_{SHAPES[KIND_OF[signal]].items}"
        counter = self._metrics.counter(name, "Rows handed to the pipelines.", "receiver", "transport")
        counter.labels(self._receiver, "kafka").inc(rows)

    def undecodable(self, signal: Signal) -> None:
        name = f"otelcol_kafka_receiver_unmarshal_failed_{SHAPES[KIND_OF[signal]].items}"
        self._metrics.counter(name, "Messages that do not decode.", "receiver").labels(self._receiver).inc()

    def position(self, topic: str, partition: int, offset: int, end: int | None) -> None:
        """Note where a partition was read up to, and where it ends, if that is known."""
        labels = (self._receiver, topic, str(partition))
        self._offset.labels(*labels).set(offset)
        if end is not None:
            self._lag.labels(*labels).set(max(0, end - offset))

    def committed(self, topic: str, partition: int, offset: int) -> None:
        self._committed.labels(self._receiver, topic, str(partition)).set(offset)

    def came(self, partitions: int) -> None:
        self._started.inc(partitions)

    def gone(self, topic: str, partition: int, unfinished_messages: int) -> None:
        """Forget a partition that somebody else reads now, who reads again what we had not delivered."""
        self._closed.inc()
        self._reread.inc(unfinished_messages)
        for gauge in (self._offset, self._lag, self._committed):
            with suppress(KeyError):
                gauge.remove(self._receiver, topic, str(partition))
