"""Start and stop: addresses, taken ports, requests in flight."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import grpc
import pytest

from pipeline import ComponentId, StartError
from pipeline.config.values import split_endpoint
from pipeline.kinds import Signal
from receivers.otlp import OTLPReceiver, OTLPReceiverConfig
from receivers.otlp.listen import bound_sockets, close_all, is_wildcard
from tests.receivers.otlp.rig import ANY_PORT, PROTOBUF, Host, Served, export_call, serving, spans, until


def receiver(**protocols: Any) -> OTLPReceiver:
    return OTLPReceiver(OTLPReceiverConfig.model_validate({"protocols": protocols}), ComponentId("otlp"))


@pytest.mark.parametrize("protocol", ["grpc", "http"])
async def test_port_in_use(host: Host, protocol: str) -> None:
    """Scenario: somebody else listens on the port. Guarantees: one line that says which, and what it may mean."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        endpoint = f"127.0.0.1:{other.getsockname()[1]}"
        taken = receiver(**{protocol: {"endpoint": endpoint}})
        with pytest.raises(StartError) as caught:
            await taken.start(host)

    assert str(caught.value) == (
        f"otlp: cannot listen on {endpoint}: address already in use (is another collector running?)"
    )


async def test_two_receivers_never_share_a_port(host: Host, served: Served) -> None:
    """Scenario: a second receiver on the first one's gRPC port. Guarantees: StartError; by default gRPC would share."""
    with pytest.raises(StartError, match="address already in use"):
        await receiver(grpc={"endpoint": served.grpc_endpoint}).start(host)
    assert await served.export(spans("a")) == b""


async def test_a_failed_start_leaves_nothing(host: Host) -> None:
    """Scenario: gRPC listens, then HTTP cannot. Guarantees: the gRPC port is free again and nothing runs."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        half = receiver(grpc={"endpoint": ANY_PORT}, http={"endpoint": f"127.0.0.1:{other.getsockname()[1]}"})
        with pytest.raises(StartError):
            await half.start(host)
    assert half.grpc is not None
    close_all(await bound_sockets(half.grpc.endpoint, "tcp"))


@pytest.mark.parametrize(
    ("endpoint", "transport", "problem"),
    [
        ("no.such.host.invalid:0", "tcp", '"no.such.host.invalid" has no address'),
        ("203.0.113.7:0", "tcp", "no interface of this machine has it"),
        ("127.0.0.1:0", "tcp6", '"127.0.0.1" has no address'),
    ],
)
async def test_bad_addresses(endpoint: str, transport: str, problem: str) -> None:
    """Scenario: an unknown name, a foreign address, the wrong family. Guarantees: a line that says so."""
    with pytest.raises(StartError, match=problem):
        await bound_sockets(endpoint, transport)


@pytest.mark.parametrize(("endpoint", "families"), [(":0", {"0.0.0.0", "::"}), ("localhost:0", {"127.0.0.1", "::1"})])
async def test_one_port_on_all_addresses(endpoint: str, families: set[str]) -> None:
    """Scenario: an endpoint with several addresses, port 0. Guarantees: each that the machine has, on the same port."""
    sockets = await bound_sockets(endpoint, "tcp")
    try:
        assert {sock.getsockname()[0] for sock in sockets} <= families
        assert len({sock.getsockname()[1] for sock in sockets}) == 1
        assert {is_wildcard(sock) for sock in sockets} == {endpoint == ":0"}
    finally:
        close_all(sockets)


@pytest.mark.parametrize("endpoint", ["localhost:0", ":0", "0.0.0.0:0"])
async def test_names_and_wildcards(host: Host, endpoint: str) -> None:
    """Scenario: the usual ways to write an endpoint. Guarantees: both protocols answer on 127.0.0.1."""
    async with serving(host, grpc_config={"endpoint": endpoint}, http_config={"endpoint": endpoint}) as served:
        port = split_endpoint(served.http_endpoint)[1]
        async with served.session.post(
            f"http://127.0.0.1:{port}/v1/traces", data=spans("h"), headers=PROTOBUF
        ) as answer:
            assert answer.status == 200
        async with grpc.aio.insecure_channel(f"127.0.0.1:{split_endpoint(served.grpc_endpoint)[1]}") as channel:
            await export_call(channel)(spans("g"))
    assert host.names() == ["h", "g"]


async def test_stop_answers_what_is_in_flight(host: Host) -> None:
    """Scenario: stop while one request waits for room and others for their turn. Guarantees: each is answered first.

    What was answered with success was emitted.
    """
    async with serving(host, intake={"max_wait": "8s"}) as served:
        decoder = served.decoder(Signal.TRACES)
        host.open.clear()
        calls = [served.export(spans("first"))]
        await until(lambda: bool(host.counts("jobsight_receiver_otlp_joint_decode_requests_count")))
        calls.append(served.export(spans("grpc")))
        posted = asyncio.create_task(served.status(spans("http")))
        await until(lambda: decoder.pending_requests == 2)

        stopping = asyncio.create_task(served.receiver.stop_accepting())
        await until(lambda: served.receiver.http is not None and served.receiver.http._stopping)
        assert not stopping.done()
        host.open.set()
        await stopping

        assert [await call for call in calls] == [b"", b""]
        assert await posted == 200
    assert sorted(host.names()) == ["first", "grpc", "http"]


async def test_after_stop_accepting_callers_go_elsewhere(host: Host, served: Served) -> None:
    """Scenario: requests on open connections, and new connections, during the drain. Guarantees: UNAVAILABLE, 503."""
    assert await served.export(spans("before")) == b""
    assert await served.status(spans("before")) == 200
    await served.receiver.stop_accepting()

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.export(spans("after"))
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    async with served.post(spans("after")) as response:
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
        assert response.headers["Connection"] == "close"
    async with aiohttp.ClientSession() as fresh:
        with pytest.raises(aiohttp.ClientConnectorError):
            await fresh.post(f"http://{served.http_endpoint}/v1/traces", data=spans("after"), headers=PROTOBUF)
    assert host.names() == ["before", "before"]


async def test_aborting_calls_are_waited_for(host: Host) -> None:
    """Scenario: stop while calls wait that will be refused. Guarantees: each caller gets its RetryInfo."""
    async with serving(host, intake={"max_wait": "200ms"}) as served:
        host.open.clear()
        calls = [served.export(spans("a")) for _ in range(10)]
        grpc_listener = served.receiver.grpc
        assert grpc_listener is not None
        await until(lambda: grpc_listener._calls.open == 10)
        await served.receiver.stop_accepting()

        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "google.rpc.retryinfo-bin" in dict(caught.value.trailing_metadata() or ())
    assert host.emitted == []


async def test_an_upload_that_never_ends_does_not_hold_up_the_stop(host: Host) -> None:
    """Scenario: half a body has arrived when we stop. Guarantees: stop_accepting does not wait for the rest."""

    async def endless() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async with serving(host) as served:
        posted = asyncio.create_task(served.status(endless(), headers={"Content-Type": "application/json"}))
        listener = served.receiver.http
        assert listener is not None
        await until(lambda: listener._http is not None and bool(listener._http.connections))
        await served.receiver.stop_accepting()
        await served.receiver.stop()

        with pytest.raises(aiohttp.ClientError):
            await posted


async def test_stop_before_start_and_twice(host: Host) -> None:
    """Scenario: stop where nothing started, and again. Guarantees: no error, as the contract says."""
    never = receiver(grpc={"endpoint": ANY_PORT}, http={"endpoint": ANY_PORT})
    await never.stop_accepting()
    await never.stop()

    once = receiver(grpc={"endpoint": ANY_PORT}, http={"endpoint": ANY_PORT})
    await once.start(host)
    for _ in range(2):
        await once.stop_accepting()
        await once.stop()


async def test_guide(host: Host, served: Served) -> None:
    """Scenario: a person has just started the program. Guarantees: both addresses, with the ports they have."""
    assert list(served.receiver.guide()) == [
        ("OTLP over gRPC", served.grpc_endpoint),
        ("OTLP over HTTP", f"http://{served.http_endpoint}"),
    ]
    assert not served.grpc_endpoint.endswith(":0")
