"""The receiver itself: puts listeners in front of joint decoders, starts and stops them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from functools import partial
from typing import Final

from pipeline import ComponentId, Host, Receiver, StartError
from pipeline.kinds import Signal
from pipeline.otlp import check, decode, decode_json
from receivers.otlp.config import OTLPReceiverConfig
from receivers.otlp.grpc import GRPCDoor, GRPCListener
from receivers.otlp.http import HTTPDoor, HTTPListener
from receivers.otlp.intake import Decode, JointDecoder
from receivers.otlp.refusals import Refusals
from receivers.otlp.telemetry import Encoding, Meter, joint_decodes, show_pending

_ANSWER_SECONDS: Final = 1.0
"""To decode and to send the answer, besides the wait for room in the pipelines."""


class OTLPReceiver(Receiver[OTLPReceiverConfig]):
    """Receives traces, metrics and logs from OpenTelemetry SDKs and Collectors.

    A request is answered once the pipelines have its rows. Until then nothing is promised: whoever gets no answer, or
    one that asks to try again, still has the data.
    """

    kind = "otlp"
    Config = OTLPReceiverConfig

    def __init__(self, config: OTLPReceiverConfig, ident: ComponentId) -> None:
        super().__init__(config, ident)
        self._workers: list[asyncio.Task[None]] = []
        self._decoders: list[JointDecoder] = []
        self.grpc: GRPCListener | None = None
        self.http: HTTPListener | None = None

    async def start(self, host: Host) -> None:
        refusals = Refusals(host.log, host.clock)
        joint = joint_decodes(host.metrics, str(self.ident))
        boot = secrets.token_hex(8)
        meter = partial(Meter, host.metrics, str(self.ident))

        def decoder(signal: Signal, encoding: Encoding) -> JointDecoder:
            made = JointDecoder(
                signal,
                encoding,
                _decode(encoding, needs_columns=host.needs_columns(signal)),
                self.config.intake,
                host=host,
                boot=boot,
                joint=joint,
                refusals=refusals,
            )
            show_pending(
                host.metrics,
                (str(self.ident), signal, encoding),
                requests=lambda: made.pending_requests,
                nbytes=lambda: made.pending_bytes,
                capacity=(self.config.intake.max_pending_requests, self.config.intake.max_pending_size),
            )
            self._decoders.append(made)
            self._workers.append(host.spawn(made.run(), name=f"decode {signal} {encoding}"))
            return made

        protobuf = {signal: decoder(signal, "protobuf") for signal in sorted(host.signals())}
        protocols = self.config.protocols
        try:
            if protocols.grpc is not None:
                grpc_doors = {signal: GRPCDoor(protobuf[signal], meter("grpc", signal)) for signal in protobuf}
                self.grpc = GRPCListener(protocols.grpc, grpc_doors, refusals, str(self.ident))
                await self.grpc.start()
            if protocols.http is not None:
                http_doors = {
                    protocols.http.paths[signal]: HTTPDoor(
                        protobuf[signal], decoder(signal, "json"), meter("http", signal)
                    )
                    for signal in protobuf
                }
                self.http = HTTPListener(protocols.http, http_doors, refusals)
                await self.http.start()
        except StartError as error:
            await self.stop()
            raise StartError(f"{self.ident}: {error}") from error

    async def stop_accepting(self) -> None:
        grace = self.config.intake.max_wait + _ANSWER_SECONDS
        await asyncio.gather(*(listener.stop_accepting(grace) for listener in self._listeners()))

    async def stop(self) -> None:
        for listener in self._listeners():
            await listener.stop()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        self._workers.clear()
        for decoder in self._decoders:
            decoder.close()

    def guide(self) -> Iterator[tuple[str, str]]:
        if self.grpc is not None:
            yield "OTLP over gRPC", self.grpc.endpoint
        if self.http is not None:
            yield "OTLP over HTTP", f"{self.http.scheme}://{self.http.endpoint}"

    def _listeners(self) -> Iterator[GRPCListener | HTTPListener]:
        if self.grpc is not None:
            yield self.grpc
        if self.http is not None:
            yield self.http


def _decode(encoding: Encoding, *, needs_columns: bool) -> Decode:
    if encoding == "json":
        return decode_json
    return decode if needs_columns else check
