"""Joint decode: who is decoded with whom, and what each caller is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog

from pipeline.errors import JobsightError, Malformed, Overloaded, Permanent, ShuttingDown
from pipeline.kinds import Signal
from pipeline.otlp import Columns, decode, decode_json
from receivers.otlp.config import IntakeConfig
from receivers.otlp.intake import SLICE_BYTES, JointDecoder
from receivers.otlp.refusals import Refusals
from receivers.otlp.status import InternalFault
from receivers.otlp.telemetry import Meter, joint_decodes
from tests.receivers.otlp.rig import MALFORMED, Host, spans


class Rig:
    """A decoder at work, and the sizes of the joint decodes it made."""

    def __init__(self, host: Host, limits: IntakeConfig, broken: bytes | None = None) -> None:
        self.host = host
        self.decoded: list[int] = []
        self.broken = broken
        self.grpc = Meter(host.metrics, "otlp", "grpc", Signal.TRACES)
        self.http = Meter(host.metrics, "otlp", "http", Signal.TRACES)
        self.decoder = JointDecoder(
            Signal.TRACES,
            "protobuf",
            self._decode,
            limits,
            host=host,
            boot="boot",
            joint=joint_decodes(host.metrics, "otlp"),
            refusals=Refusals(host.log, host.clock),
        )

    def _decode(self, signal: Signal, bodies: Sequence[bytes]) -> Columns:
        if self.broken is not None and self.broken in bodies:
            raise RuntimeError("a bug in the decoder")
        columns = decode(signal, bodies)
        self.decoded.append(len(bodies))
        return columns

    def send(self, *bodies: bytes, meter: Meter | None = None) -> list[asyncio.Task[int]]:
        return [asyncio.create_task(self.decoder.take(body, meter or self.grpc)) for body in bodies]

    async def hold(self) -> asyncio.Task[int]:
        """Fill the pipeline: the first request is decoded and waits, whatever comes then piles up."""
        self.host.open.clear()
        (first,) = self.send(spans("first"))
        await turn()
        assert self.decoded == [1]
        return first


async def turn() -> None:
    """Let everything that can run do so."""
    for _ in range(20):
        await asyncio.sleep(0)


async def results(tasks: list[asyncio.Task[int]]) -> list[int | BaseException]:
    return await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def working(host: Host, broken: bytes | None = None, **limits: Any) -> AsyncIterator[Rig]:
    rig = Rig(host, IntakeConfig(**limits), broken)
    worker = asyncio.create_task(rig.decoder.run())
    try:
        yield rig
    finally:
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)


async def test_a_lone_request_is_decoded_at_once(host: Host) -> None:
    """Scenario: an idle decoder, one request. Guarantees: emitted within turns of the loop, without any timer."""
    async with working(host) as rig:
        (sent,) = rig.send(spans("a", "b"))
        await turn()

        assert sent.done()
        assert await sent == 2
        assert host.names() == ["a", "b"]


async def test_what_piles_up_is_decoded_together(host: Host) -> None:
    """Scenario: five requests arrive while the pipeline is full. Guarantees: one decode and one batch for the five."""
    async with working(host) as rig:
        first = await rig.hold()
        others = rig.send(*(spans(f"s{number}") for number in range(5)))
        await turn()
        host.open.set()

        assert await results([first, *others]) == [1] * 6
        assert rig.decoded == [1, 5]
        assert host.names() == ["first", "s0", "s1", "s2", "s3", "s4"]
        assert [batch.receipt.token for batch in host.emitted] == ["boot/traces/protobuf/1", "boot/traces/protobuf/2"]


@pytest.mark.parametrize("bad", [[0], [3], [6], [1, 2, 5], list(range(7))])
async def test_bad_neighbours_harm_nobody(host: Host, bad: list[int]) -> None:
    """Scenario: malformed bodies in a joint decode. Guarantees: they are refused; the others' rows, once, in order."""
    bodies = [MALFORMED if number in bad else spans(f"s{number}") for number in range(7)]
    good = [f"s{number}" for number in range(7) if number not in bad]
    async with working(host) as rig:
        first = await rig.hold()
        others = rig.send(*bodies)
        await turn()
        host.open.set()
        answers = await results([first, *others])

    assert [number for number, answer in enumerate(answers[1:]) if isinstance(answer, Malformed)] == bad
    assert [answer for answer in answers if isinstance(answer, int)] == [1] * (1 + len(good))
    assert host.names() == ["first", *good]
    assert host.counts()["accepted_spans{grpc}"] == 1 + len(good)


async def test_a_bug_in_the_decoder_refuses_its_body_only(
    host: Host, log_events: list[structlog.typing.EventDict]
) -> None:
    """Scenario: one body makes the decoder raise anything. Guarantees: InternalFault for it, logged with traceback."""
    broken = spans("broken")
    async with working(host, broken) as rig:
        first = await rig.hold()
        others = rig.send(spans("a"), broken, spans("b"))
        await turn()
        host.open.set()
        answers = await results([first, *others])

    assert isinstance(answers[2], InternalFault)
    assert host.names() == ["first", "a", "b"]
    assert isinstance(log_events[0]["exc_info"], RuntimeError)


async def test_empty_requests_never_reach_the_pipeline(host: Host) -> None:
    """Scenario: no bytes at all; a request without spans. Guarantees: success, no batch, nothing counted."""
    async with working(host) as rig:
        assert await results(rig.send(b"", spans())) == [0, 0]

    assert host.emitted == []
    assert host.counts() == {}


async def test_rows_are_counted_by_transport(host: Host) -> None:
    """Scenario: gRPC and HTTP callers in one decode. Guarantees: one batch, rows counted where they came from."""
    async with working(host) as rig:
        first = await rig.hold()
        others = [*rig.send(spans("a", "b")), *rig.send(spans("c"), spans("d", "e"), meter=rig.http)]
        await turn()
        host.open.set()
        await results([first, *others])

    assert host.counts() == {"accepted_spans{grpc}": 3.0, "accepted_spans{http}": 3.0}
    assert host.counts("jobsight_receiver_otlp_joint_decode_requests_count") == {"{}": 2.0}
    assert host.counts("jobsight_receiver_otlp_joint_decode_requests_sum") == {"{}": 4.0}


async def test_a_full_pipeline_is_waited_for_so_long(host: Host) -> None:
    """Scenario: no room for `max_wait`, then room. Guarantees: all who waited try again; later requests pass."""
    async with working(host, max_wait="50ms") as rig:
        first = await rig.hold()
        others = rig.send(spans("a"), spans("b"))
        answers = await results([first, *others])

        assert [type(answer) for answer in answers] == [Overloaded] * 3
        assert host.emitted == []
        # The rows of requests that never had their turn are not known.
        assert 1 <= host.counts()["refused_spans{grpc}"] <= 3

        host.open.set()
        assert await results(rig.send(spans("later"))) == [1]
        assert host.names() == ["later"]


async def test_too_many_requests_wait(host: Host) -> None:
    """Scenario: more requests than `max_pending_requests`. Guarantees: the rest is refused at once, naming the key."""
    async with working(host, max_pending_requests=3) as rig:
        first = await rig.hold()
        others = rig.send(*[spans("a")] * 5)
        await turn()

        assert [task.done() for task in others] == [False, False, False, True, True]
        for refused in others[3:]:
            with pytest.raises(Overloaded, match=r"intake\.max_pending_requests"):
                await refused
        assert rig.decoder.pending_requests == 3
        host.open.set()
        assert await results([first, *others[:3]]) == [1] * 4


async def test_too_many_bytes_wait(host: Host) -> None:
    """Scenario: more bytes than `max_pending_size`. Guarantees: refused, but a lone request of any size is taken."""
    body = spans("x" * 1000)
    async with working(host, max_pending_size=10) as rig:
        first = await rig.hold()
        big, refused = rig.send(body, body)
        await turn()

        with pytest.raises(Overloaded, match=r"intake\.max_pending_size"):
            await refused
        assert rig.decoder.pending_bytes == len(body)
        host.open.set()
        assert await results([first, big]) == [1, 1]
        assert rig.decoder.pending_bytes == 0


async def test_who_goes_away_is_not_decoded(host: Host) -> None:
    """Scenario: a caller gives up before its turn. Guarantees: its rows are not emitted, its neighbours' are."""
    async with working(host) as rig:
        first = await rig.hold()
        others = rig.send(spans("a"), spans("gone"), spans("b"))
        await turn()
        others[1].cancel()
        await turn()
        host.open.set()
        await results([first, others[0], others[2]])

    assert host.names() == ["first", "a", "b"]
    assert others[1].cancelled()


async def test_who_goes_away_during_the_wait_takes_nobody_along(host: Host) -> None:
    """Scenario: a caller gives up while its batch waits for room. Guarantees: the batch is emitted all the same."""
    async with working(host) as rig:
        first = await rig.hold()
        first.cancel()
        (other,) = rig.send(spans("other"))
        await turn()
        host.open.set()

        assert await other == 1
        assert host.names() == ["first", "other"]


async def test_slices_are_bounded(host: Host) -> None:
    """Scenario: more waits than a slice holds, one body larger than a slice among it. Guarantees: several decodes."""
    half = spans("x" * (SLICE_BYTES["protobuf"] // 2 - 100))
    huge = spans("y" * (SLICE_BYTES["protobuf"] + 100))
    async with working(host) as rig:
        first = await rig.hold()
        others = rig.send(half, half, half, huge, half)
        await turn()
        host.open.set()

        assert await results([first, *others]) == [1] * 6
        assert rig.decoded == [1, 2, 1, 1, 1]


@pytest.mark.parametrize("error", [ShuttingDown("draining"), Overloaded("memory", 3), Permanent("no")])
async def test_refusals_of_the_pipeline_reach_every_caller(host: Host, error: JobsightError) -> None:
    """Scenario: emit raises one of our errors. Guarantees: each caller gets that error, the rows count as refused."""
    async with working(host) as rig:
        host.raises = error
        answers = await results(rig.send(spans("a"), spans("b", "c")))

    assert answers == [error, error]
    assert host.counts() == {"refused_spans{grpc}": 3.0}


@pytest.mark.parametrize("error", [ValueError("bug"), TimeoutError("from inside")])
async def test_a_bug_in_the_pipeline_is_a_fault(
    host: Host, error: Exception, log_events: list[structlog.typing.EventDict]
) -> None:
    """Scenario: emit raises anything else. Guarantees: InternalFault, counted as failed, logged; then life goes on."""
    async with working(host) as rig:
        host.raises = error
        answers = await results(rig.send(spans("a"), spans("b")))
        host.raises = None
        assert await results(rig.send(spans("c"))) == [1]

    assert [type(answer) for answer in answers] == [InternalFault, InternalFault]
    assert host.counts() == {"failed_spans{grpc}": 2.0, "accepted_spans{grpc}": 1.0}
    assert log_events[0]["exc_info"] is error


async def test_stop_tells_everybody(host: Host) -> None:
    """Scenario: cancelled while one request waits for room and others for their turn. Guarantees: nobody hangs."""
    async with working(host) as rig:
        first = await rig.hold()
        others = rig.send(spans("a"), spans("b"))
        await turn()

    assert [type(answer) for answer in await results([first, *others])] == [ShuttingDown] * 3
    with pytest.raises(ShuttingDown):
        await rig.decoder.take(spans("late"), rig.grpc)
    assert host.emitted == []


async def test_tokens_differ_between_starts_and_encodings(host: Host) -> None:
    """Scenario: JSON and protobuf decoders of one receiver. Guarantees: no two receipts have the same token."""
    async with working(host) as rig:
        await results(rig.send(spans("a")))
        await results(rig.send(spans("b")))
    json = JointDecoder(
        Signal.TRACES,
        "json",
        decode_json,
        IntakeConfig(),
        host=host,
        boot="boot",
        joint=joint_decodes(host.metrics, "otlp"),
        refusals=Refusals(host.log, host.clock),
    )
    worker = host.spawn(json.run(), name="json")
    assert await json.take(b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"c"}]}]}]}', rig.http) == 1
    worker.cancel()

    tokens = [batch.receipt.token for batch in host.emitted]
    assert len(set(tokens)) == len(tokens) == 3
