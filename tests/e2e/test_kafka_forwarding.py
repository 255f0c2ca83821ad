"""The shipped gateway where nothing needs columns: what comes in goes out as it came."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from pipeline import otlp
from pipeline.testing import points_batch, spans_batch
from pipeline.testing.program import Ports, Program
from tests.brokers import Broker, create_topic, read_all

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


def post(program: Program, signal: str, body: bytes) -> int:
    request = urllib.request.Request(
        f"http://127.0.0.1:{program.ports.http}/v1/{signal}", body, {"Content-Type": "application/x-protobuf"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_requests_pass_as_they_came(broker: Broker, tmp_path: Path) -> None:
    """Scenario: metrics, and spans without a key, a broken request, an empty one.

    Guarantees: both bodies in their topics byte for byte, even fields that OTLP does not have; the broken request is
    refused with 400 and nobody reads it; rows are counted as they are where requests are decoded.
    """
    topics = {signal: asyncio.run(create_topic(broker, signal)) for signal in ("traces", "metrics")}
    bodies = {
        "traces": otlp.encode(spans_batch(30)) + b"\xf8\x07\x01",
        "metrics": otlp.encode(points_batch(12)) + b"\xf8\x07\x02",
    }
    program = Program(
        tmp_path / "unused",
        Ports(),
        config="configs/gateway.yaml",
        sets=[
            f"exporters.kafka.brokers=[{broker.bootstrap}]",
            *(f"exporters.kafka.{signal}.topic={topic}" for signal, topic in topics.items()),
            "exporters.kafka.partition_traces_by_id=false",
            "service.pipelines.traces.processors=[]",
        ],
    ).started()
    try:
        statuses = [post(program, signal, body) for signal, body in bodies.items()]
        assert [*statuses, post(program, "traces", bodies["traces"][:-40]), post(program, "traces", b"")] == [
            200,
            200,
            400,
            200,
        ]
        for signal, topic in topics.items():
            assert [record.value for record in asyncio.run(read_all(broker, topic, 1))] == [bodies[signal]]
        assert program.metric("otelcol_receiver_accepted_spans") == 30
        assert program.metric("otelcol_exporter_sent_metric_points") == 12
    finally:
        program.stop()
