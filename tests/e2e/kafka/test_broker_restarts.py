"""The broker goes away and comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.testing.program import Program, eventually
from tests.brokers import Broker
from tests.e2e.clients import post_json
from tests.e2e.kafka.fleet import Fleet, spans


# Noida, back again, waits the whole rebalance timeout (15 s) for members that it believes to have had, and an answer
# that went with the old connection is waited for 20 s; Apache Kafka goes on with the members that it had
@pytest.mark.e2e
@pytest.mark.timeout(360)
def test_a_broker_restarts_during_load(clickhouse: int, running: list[Program], tmp_path: Path) -> None:
    """Scenario: gateway and consumer at work; the broker is stopped and started again while 40 000 spans come in.

    Guarantees: every request is answered with success, and every span is in ClickHouse.
    """
    folder = tmp_path / "broker"
    folder.mkdir()
    broker = Broker.noida(folder).start()
    try:
        fleet = Fleet(broker, clickhouse, running, tmp_path)
        gateway, consumer = fleet.gateway(), fleet.consumer().started()
        for part in range(20):
            if part == 5:
                broker.stop()
            if part == 12:
                broker.start()
            assert post_json(gateway.ports, spans(range(2000), part)) == 200

        distinct = "SELECT uniqExact(TraceId, SpanId) FROM otel_traces"
        eventually(lambda: fleet.number(distinct) == 40_000, within=240, what="all spans")
        assert gateway.metric("otelcol_exporter_send_failed_spans") == 0
        twice = fleet.number("SELECT count() - uniqExact(TraceId, SpanId) FROM otel_traces")
        print(f"{twice} of 40 000 spans are there twice")  # noqa: T201 - for whoever reads the test's output
        assert gateway.stop() == 0
        assert consumer.stop() == 0
    finally:
        broker.stop()
