"""The receiver itself: a lane for each signal, a member of the group in front of them."""

from __future__ import annotations

import asyncio

from pipeline import ComponentId, Host, Receiver, StartError
from pipeline.kafka.client import connection
from pipeline.kafka.logs import calm_library
from pipeline.kinds import Signal
from pipeline.supervise import cancel
from receivers.kafka.config import KafkaReceiverConfig
from receivers.kafka.dead_letter import DeadLetters
from receivers.kafka.lane import Lane
from receivers.kafka.member import Member, request_seconds
from receivers.kafka.telemetry import Instruments
from receivers.kafka.topics import Wanted


class KafkaReceiver(Receiver[KafkaReceiverConfig]):
    """Receives OTLP from Kafka. The group's offsets follow what was delivered: a crash loses nothing."""

    kind = "kafka"
    Config = KafkaReceiverConfig

    def __init__(self, config: KafkaReceiverConfig, ident: ComponentId) -> None:
        super().__init__(config, ident)
        self._member: Member | None = None
        self._dead_letters: DeadLetters | None = None
        self._lanes: dict[Signal, Lane] = {}
        self._reading: list[asyncio.Task[None]] = []
        self._committing: list[asyncio.Task[None]] = []

    async def start(self, host: Host) -> None:
        """Prepare; brokers that are away, and topics that do not exist, are waited for."""
        calm_library()
        try:
            wanted = Wanted.of(self.config, host.signals())
            connection(self.config, request_seconds(self.config))  # certificates are read, or the start fails
        except StartError as error:
            raise StartError(f"{self.ident}: {error}") from error
        if "cooperative-sticky" in self.config.strategies:
            host.log.warning("cooperative-sticky is not supported and works as sticky.", receiver=str(self.ident))
        instruments = Instruments(host.metrics, str(self.ident), self._unfinished)
        dead_letters = self._dead_letters = DeadLetters(self.config, host, instruments)
        member = self._member = Member(self.config, wanted, self._lanes, host=host, instruments=instruments)
        for signal in sorted(host.signals()):
            self._lanes[signal] = Lane(
                signal,
                self.config.encoding_of(signal),
                host=host,
                instruments=instruments,
                dead_letters=dead_letters,
                on_room=member.has_room,
                on_finish=member.has_finished,
            )
        self._reading = [
            host.spawn(member.read(), name="read"),
            *(host.spawn(lane.run(), name=f"decode {signal}") for signal, lane in self._lanes.items()),
        ]
        self._committing = [host.spawn(member.commit(), name="commit")]

    async def stop_accepting(self) -> None:
        """Read nothing more. What was read goes its way, and offsets are committed for it until `stop`."""
        await cancel(self._reading)

    async def stop(self) -> None:
        await cancel([*self._reading, *self._committing])
        member, self._member = self._member, None
        if member is not None:
            await member.close()
        if self._dead_letters is not None:
            await self._dead_letters.close()

    def _unfinished(self) -> float:
        return 0 if self._member is None else self._member.unfinished_messages
