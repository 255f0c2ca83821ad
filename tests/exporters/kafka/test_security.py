"""TLS and SASL with real clients on both sides of a real broker, and what is said when they fail."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pipeline import Unavailable
from pipeline.kinds import Signal
from pipeline.testing import FakeHost
from pipeline.testing.data import spans_batch
from pipeline.testing.program import free_port
from tests.brokers import Broker, create_topic, until
from tests.exporters.kafka.conftest import exporter_of
from tests.guarded_broker import door
from tests.receivers.kafka.conftest import receiver_of

pytestmark = pytest.mark.integration

CERTS = "tests/receivers/otlp/certs"
USERS = {"shop": "pass,wörd"}


@asynccontextmanager
async def guarded(*, sasl: bool, tls: bool) -> AsyncIterator[tuple[str, str]]:
    """A broker behind a door; yields the door's address and a topic."""
    front = free_port()
    broker = Broker.tansu(advertised=front).start()
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{CERTS}/server.pem", f"{CERTS}/server.key")
    try:
        async with door(front, broker.port, users=None) as _:
            topic = await create_topic(broker, "traces", 1)
        async with door(front, broker.port, users=USERS if sasl else None, context=context):
            yield f"localhost:{front}", topic
    finally:
        broker.stop()


def credentials(mechanism: str, password: str = USERS["shop"]) -> dict[str, Any]:
    return {"auth": {"sasl": {"username": "shop", "password": password, "mechanism": mechanism}}}


TLS = {"tls": {"ca_file": f"{CERTS}/ca.pem"}}


@pytest.mark.parametrize(
    "keys",
    [
        TLS,
        credentials("PLAIN"),
        {"auth": {"plain_text": {"username": "shop", "password": USERS["shop"]}}},
        TLS | credentials("SCRAM-SHA-256"),
        {"auth": {**credentials("SCRAM-SHA-512")["auth"], "tls": TLS["tls"]}},
    ],
    ids=["tls", "plain", "plain_text", "tls scram-256", "auth.tls scram-512"],
)
async def test_rows_go_out_and_in(keys: Mapping[str, Any], real_host: FakeHost) -> None:
    """Scenario: TLS, SASL or both, in every spelling. Guarantees: exported rows come in through the receiver again."""
    sasl = any(key in keys.get("auth", {}) for key in ("sasl", "plain_text"))
    tls = "tls" in keys or "tls" in keys.get("auth", {})
    async with guarded(sasl=sasl, tls=tls) as (address, topic):
        exporter = exporter_of(brokers=[address], traces={"topic": topic}, **keys)
        receiver = receiver_of(brokers=[address], traces={"topics": [topic]}, initial_offset="earliest", **keys)
        host = FakeHost(clock=real_host.clock, signals=[Signal.TRACES])
        try:
            await exporter.start(real_host)
            await exporter.export(spans_batch(4))
            await receiver.start(host)
            await until(lambda: sum(batch.rows for batch in host.emitted) == 4)
        finally:
            await exporter.stop()
            await receiver.stop_accepting()
            await receiver.stop()
            await host.close()


@pytest.mark.parametrize(
    ("keys", "sasl", "tls", "words"),
    [
        (credentials("PLAIN", "wrong"), True, False, "authentication refused: wrong username or password"),
        (credentials("SCRAM-SHA-512", "wrong"), True, False, "authentication refused: wrong username or password"),
        ({"tls": {}}, False, True, "TLS failed: unable to get local issuer certificate"),
    ],
    ids=["plain", "scram", "unknown authority"],
)
async def test_what_is_refused_is_said(
    keys: Mapping[str, Any], sasl: bool, tls: bool, words: str, real_host: FakeHost, log_events: list[Any]
) -> None:
    """Scenario: a wrong password, an unknown authority.

    Guarantees: exporter and receiver go on trying, and say in one line which broker it is and why.
    """
    async with guarded(sasl=sasl, tls=tls) as (address, topic):
        exporter = exporter_of(brokers=[address], traces={"topic": topic}, timeout="3s", **keys)
        receiver = receiver_of(brokers=[address], traces={"topics": [topic]}, **keys)
        try:
            await exporter.start(real_host)
            with pytest.raises(Unavailable) as refused:
                await exporter.export(spans_batch(1))
            await receiver.start(real_host)
            await until(lambda: bool(_said(log_events)))
        finally:
            await exporter.stop()
            await receiver.stop_accepting()
            await receiver.stop()

    for text in (str(refused.value), *_said(log_events)):
        assert f"broker {address}" in text
        assert words in text
        assert "\n" not in text
        assert USERS["shop"] not in text


def _said(log_events: list[Any]) -> list[str]:
    return [event["error"] for event in log_events if event["event"] == "Reading from Kafka failed. Will retry."]
