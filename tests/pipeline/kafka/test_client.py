"""Why no broker can be used, asked of what answers in a broker's place."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.errors import KafkaConnectionError, UnsupportedVersionError

from pipeline.errors import Unavailable
from pipeline.kafka.client import start, why_unreachable
from pipeline.kafka.config import KafkaClient


async def test_who_hangs_up_is_asked_about() -> None:
    """Scenario: connections are closed at once, as by a port that wants TLS. Guarantees: the line says so, and asks."""

    def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        problem = await why_unreachable(KafkaClient(brokers=(f"127.0.0.1:{port}",)), 2.0)
    finally:
        server.close()

    assert str(problem) == (
        f"broker 127.0.0.1:{port}: it closed the connection; does the port expect TLS, SASL or a client certificate?"
    )


class Refused:
    """A client whose start fails."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.stopped = 0

    async def start(self) -> None:
        raise self.error

    async def stop(self) -> None:
        self.stopped += 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KafkaConnectionError(), "broker 127.0.0.1:1: connection refused"),
        (UnsupportedVersionError(), "brokers 127.0.0.1:1: the broker is too old"),
        (ValueError("Server sent wrong signature!"), "brokers 127.0.0.1:1: ValueError: Server sent wrong signature!"),
    ],
)
async def test_what_does_not_start_is_closed_and_said(error: Exception, words: str) -> None:
    """Scenario: each sort of failure. Guarantees: the client is closed once, one line says where and why."""
    client = Refused(error)

    with pytest.raises(Exception, match=words) as said:
        await start(client, KafkaClient(brokers=("127.0.0.1:1",)), 1.0)

    assert client.stopped == 1
    assert isinstance(said.value, Unavailable) or "ValueError" in words


async def test_who_is_cancelled_is_closed() -> None:
    """Scenario: the start is cancelled. Guarantees: the client is closed, the cancellation goes on."""
    client = Refused(asyncio.CancelledError())

    with pytest.raises(asyncio.CancelledError):
        await start(client, KafkaClient(brokers=("127.0.0.1:1",)), 1.0)

    assert client.stopped == 1
