"""What a member says of topics that it cannot read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from pipeline.kinds import Signal
from pipeline.testing import FakeHost
from receivers.kafka.config import KafkaReceiverConfig
from receivers.kafka.member import Member
from receivers.kafka.telemetry import Instruments
from receivers.kafka.topics import Wanted


def test_no_right_is_not_no_topic(host: FakeHost, log_events: list[Any]) -> None:
    """Scenario: a topic that is there, one that is not, one that we may not read; the brokers of tests know no rights.

    Guarantees: at the first look nothing is said; then each of the two in a line of its own, and both are asked for.
    """
    config = KafkaReceiverConfig.model_validate({"traces": {"topics": ["here", "gone", "secret"]}})
    instruments = Instruments(host.metrics, "kafka", lambda: 0.0)
    member = Member(config, Wanted.of(config, [Signal.TRACES]), {}, host=host, instruments=instruments)
    asked: list[bool] = []
    client = SimpleNamespace(
        cluster=SimpleNamespace(unauthorized_topics={"secret"}), force_metadata_update=lambda: asked.append(True)
    )
    consumer = SimpleNamespace(_client=client, partitions_for_topic=lambda name: {0} if name == "here" else None)

    member._look_for_missing(consumer, first=True)
    assert not log_events
    member._look_for_missing(consumer, first=False)

    said = {event["event"]: event["topics"] for event in log_events}
    assert said == {
        "Topics do not exist; waiting for them.": ["gone"],
        "No right to read topics; waiting for it.": ["secret"],
    }
    assert len(asked) == 2
