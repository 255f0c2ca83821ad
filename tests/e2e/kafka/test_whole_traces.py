"""A trace is decided whole, by one consumer of several."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.testing.program import Program, eventually
from tests.brokers import Broker
from tests.e2e.clients import post_json
from tests.e2e.kafka.fleet import Fleet, partitions, spans

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def test_every_trace_is_whole_on_one_consumer(
    groups_broker: Broker, clickhouse: int, running: list[Program], tmp_path: Path
) -> None:
    """Scenario: configs/gateway.yaml, three times configs/consumer.yaml, sampling traces of six spans or more.

    Requests have one span of each of their traces: 300 traces of six come, 60 of five.

    Guarantees: every consumer has work; every trace of six was decided on six, for it is in the tables of exactly one,
    whole; the others are nowhere.
    """
    fleet = Fleet(groups_broker, clickhouse, running, tmp_path)
    # Tansu knows no idempotent producers; with the gateway's own setting: test_a_broker_restarts_during_load.
    gateway = fleet.gateway("exporters.kafka.producer.idempotence=false")
    sampling = (
        "processors.tail_sampling.policies=[{name: six, type: span_count, span_count: {min_spans: 6}}]",
        "processors.tail_sampling.decision_wait=10s",
    )
    consumers = [fleet.consumer(*sampling, database=f"consumer_{number}").started() for number in range(3)]
    eventually(lambda: [partitions(each) for each in consumers] == [6, 6, 6], within=60, what="two of each topic")

    for part in range(6):
        for first in range(0, 300, 50):
            post_json(gateway.ports, spans(range(first, first + 50), part))
        if part < 5:
            post_json(gateway.ports, spans(range(300, 360), part))
    tables = [f"consumer_{number}.otel_traces" for number in range(3)]
    everything = " UNION ALL ".join(f"SELECT {n} AS Consumer, TraceId, SpanId FROM {t}" for n, t in enumerate(tables))
    eventually(lambda: fleet.number(f"SELECT count() FROM ({everything})") == 1800, within=60, what="all spans")

    decided = "otelcol_processor_tail_sampling_global_count_traces_sampled"
    eventually(lambda: sum(each.metric(decided) for each in consumers) >= 360, within=60, what="all decisions")
    assert sum(each.metric(decided) for each in consumers) == 360
    assert fleet.number(f"SELECT uniqExact(Consumer) FROM ({everything})") == 3
    split = f"SELECT TraceId FROM ({everything}) GROUP BY TraceId HAVING uniqExact(Consumer) > 1 OR count() != 6"
    assert fleet.number(f"SELECT count() FROM ({split})") == 0
    for program in [gateway, *consumers]:
        assert program.stop() == 0
