"""TLS and mutual TLS on both protocols."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

from pipeline import ComponentId, StartError
from receivers.otlp import OTLPReceiver, OTLPReceiverConfig
from tests.receivers.otlp.rig import ANY_PORT, PROTOBUF, Host, Served, export_call, serving, spans

CERTS = Path(__file__).parent / "certs"
SERVER = {"cert_file": str(CERTS / "server.pem"), "key_file": str(CERTS / "server.key")}
MUTUAL = SERVER | {"client_ca_file": str(CERTS / "ca.pem")}


def pem(name: str) -> bytes:
    return (CERTS / name).read_bytes()


async def over_grpc(served: Served, client: str | None) -> None:
    """Send a span, showing the certificate of `client`. Raises AioRpcError."""
    own = (pem(f"{client}.key"), pem(f"{client}.pem")) if client else (None, None)
    credentials = grpc.ssl_channel_credentials(pem("ca.pem"), *own)
    async with grpc.aio.secure_channel(served.grpc_endpoint, credentials) as channel:
        await export_call(channel)(spans("grpc"))


async def over_http(served: Served, client: str | None) -> int:
    """Send a span, showing the certificate of `client`; return the status. Raises ClientError."""
    context = ssl.create_default_context(cafile=str(CERTS / "ca.pem"))
    if client:
        context.load_cert_chain(CERTS / f"{client}.pem", CERTS / f"{client}.key")
    url = f"https://{served.http_endpoint}/v1/traces"
    async with served.session.post(url, data=spans("http"), headers=PROTOBUF, ssl=context) as response:
        return response.status


async def test_tls(host: Host) -> None:
    """Scenario: clients who trust our authority, and one who speaks plain text. Guarantees: only the first get in."""
    async with serving(host, grpc_config={"tls": SERVER}, http_config={"tls": SERVER}) as served:
        await over_grpc(served, None)
        assert await over_http(served, None) == 200
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await served.export(spans("plain"))
        with pytest.raises(aiohttp.ClientError):
            await served.status(spans("plain"))
        assert ("OTLP over HTTP", f"https://{served.http_endpoint}") in served.receiver.guide()

    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    assert host.names() == ["grpc", "http"]


async def test_mutual_tls(host: Host) -> None:
    """Scenario: clients with our authority's certificate, a foreign one, none. Guarantees: only the first get in."""
    async with serving(host, grpc_config={"tls": MUTUAL}, http_config={"tls": MUTUAL}) as served:
        await over_grpc(served, "client")
        assert await over_http(served, "client") == 200
        for stranger in ("stranger", None):
            with pytest.raises(grpc.aio.AioRpcError):
                await over_grpc(served, stranger)
            with pytest.raises(aiohttp.ClientError):
                await over_http(served, stranger)

    assert host.names() == ["grpc", "http"]


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize(
    ("tls", "problem"),
    [
        (SERVER | {"key_file": "absent.key"}, 'cannot read "absent.key"'),
        (SERVER | {"key_file": str(CERTS / "client.key")}, "does not belong to the certificate"),
    ],
)
async def test_unusable_certificates(host: Host, protocol: str, tls: dict[str, Any], problem: str) -> None:
    """Scenario: a key that is absent or another's. Guarantees: one line that names component and key; no start."""
    config = {"protocols": {protocol: {"endpoint": ANY_PORT, "tls": tls}}}
    receiver = OTLPReceiver(OTLPReceiverConfig.model_validate(config), ComponentId("otlp"))

    with pytest.raises(StartError, match=rf"^otlp: tls\.key_file: .*{problem}"):
        await receiver.start(host)
    await receiver.stop()
