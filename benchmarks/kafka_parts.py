"""What the parts of a gateway and of a consumer cost a span, each by itself and in this process.

Part of `python -m benchmarks.kafka`. Spans as there: 512 a request, four a trace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from aiokafka import codec

from benchmarks.payloads import make_spans
from benchmarks.stages import cost
from exporters.clickhouse.tables import parts
from exporters.clickhouse.wire import encoded
from exporters.kafka.config import KafkaExporterConfig, SignalTopic
from exporters.kafka.messages import made
from pipeline import Batch, Receipt, Signal, allocator, otlp

REQUESTS: Final = 40
LIMIT: Final = 1_000_000
"""Bytes of a message at most, as by default."""

DECODED_BYTES: Final = 4 << 20
"""Messages that the receiver decodes together."""

CODECS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "snappy": codec.snappy_encode,
    "zstd": codec.zstd_encode,
    "lz4": codec.lz4_encode,
    "gzip": codec.gzip_encode,
}

_KEYED: Final = KafkaExporterConfig(partition_traces_by_id=True)
_KEYED_JSON: Final = KafkaExporterConfig(partition_traces_by_id=True, traces=SignalTopic(encoding="otlp_json"))


def rows() -> Iterator[tuple[str, float]]:
    """Yield each part and its cost, in microseconds of processor time a span."""
    allocator.keep_large_buffers()
    otlp.warm_up()
    bodies = make_spans(REQUESTS, 512)
    total = 512 * REQUESTS
    receipt = Receipt.issue("bench")
    checked = otlp.check(Signal.TRACES, bodies)

    def columns() -> Batch:
        return otlp.decode(Signal.TRACES, bodies).batch(receipt)

    def messages(batch: Batch, config: KafkaExporterConfig) -> list[bytes]:
        return [value for _, fit in made(batch, config, LIMIT, 0) for value in fit.values]

    batch, values = columns(), messages(checked.batch(receipt), _KEYED)
    tables = [part.columns for part in parts(batch) if part.columns.num_rows]
    payload = b"".join(values)
    at_once = len(values) * DECODED_BYTES // len(payload)

    def read() -> None:
        for start in range(0, len(values), at_once):
            otlp.decode(Signal.TRACES, values[start : start + at_once])

    yield "gateway: check requests", cost(lambda: [otlp.check(Signal.TRACES, [body]) for body in bodies], total)
    yield (
        "gateway: find trace ids, sort rows, write a message a trace",
        cost(lambda: messages(checked.batch(receipt), _KEYED), total),
    )
    yield "gateway: instead, for JSON: decode", cost(columns, total)
    yield "gateway: instead, for JSON: write a message a trace", cost(lambda: messages(batch, _KEYED_JSON), total)
    for name, compress in CODECS.items():
        yield f"gateway: {name}", cost(partial(compress, payload), total)
    yield "consumer: decode messages of a trace each", cost(read, total)
    yield "consumer: columns for ClickHouse", cost(lambda: parts(batch), total)
    yield "consumer: Arrow stream", cost(lambda: [encoded(table, "none") for table in tables], total)
