"""The tls section: what it refuses, and contexts that shake hands."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.config.tls import TLSClient, TLSServer, client_context, client_pem, server_context, server_pem
from pipeline.config.values import Secret
from pipeline.errors import StartError

CERTS = Path(__file__).parent / "certs"


def _path(name: str) -> str:
    return str(CERTS / name)


def _text(name: str) -> str:
    return (CERTS / name).read_text(encoding="ascii")


def _server(**keys: Any) -> TLSServer:
    return TLSServer.model_validate({"cert_file": _path("server.pem"), "key_file": _path("server.key")} | keys)


def _client(**keys: Any) -> TLSClient:
    return TLSClient.model_validate({"ca_file": _path("ca.pem")} | keys)


def _handshake(server: TLSServer, client: TLSClient, name: str = "localhost") -> str | None:
    """Let both sides talk in memory and return the version that they agreed on. Raises ssl.SSLError."""
    context = client_context(client)
    assert context is not None
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        server_context(server).wrap_bio(to_server, to_client, server_side=True),
        context.wrap_bio(to_client, to_server, server_hostname=client.server_name_override or name),
    ]
    for _ in range(10):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    to_client.write(b"")
    try:
        ends[0].write(b"x")
        assert ends[1].read(1) == b"x"
        ends[1].write(b"y")
        assert ends[0].read(1) == b"y"
    except ssl.SSLWantReadError:
        pytest.fail("no end of the handshake")
    return ends[1].version()


def test_both_sides_agree() -> None:
    """Scenario: files, PEM text, another name. Guarantees: an encrypted connection of the newest version."""
    assert _handshake(_server(), _client()) == "TLSv1.3"
    by_text = TLSServer(cert_pem=_text("server.pem"), key_pem=Secret(_text("server.key")))
    assert _handshake(by_text, TLSClient(ca_pem=_text("ca.pem"))) == "TLSv1.3"
    assert _handshake(_server(), _client(server_name_override="server.example"), name="elsewhere") == "TLSv1.3"


def test_versions_and_suites() -> None:
    """Scenario: one side stops at 1.2 with one suite. Guarantees: 1.2; against a side that begins at 1.3 nothing."""
    old = _server(max_version="1.2", cipher_suites=["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"])
    assert _handshake(old, _client()) == "TLSv1.2"
    with pytest.raises(ssl.SSLError):
        _handshake(old, _client(min_version="1.3"))


def test_mutual() -> None:
    """Scenario: client_ca_file. Guarantees: a client with a signed certificate gets in, one without does not."""
    server = _server(client_ca_file=_path("ca.pem"))
    pair = {"cert_file": _path("client.pem"), "key_file": _path("client.key")}
    assert _handshake(server, _client(**pair)) == "TLSv1.3"
    with pytest.raises(ssl.SSLError):
        _handshake(server, _client())


def test_trust() -> None:
    """Scenario: a wrong name, unknown authorities, the switch to believe all. Guarantees: only that connects."""
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(_server(), _client(), name="elsewhere")
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(_server(), TLSClient())
    assert _handshake(_server(), TLSClient(insecure_skip_verify=True)) == "TLSv1.3"


def test_plain_text() -> None:
    """Scenario: insecure with and without an authority. Guarantees: only without is it plain, as in the Collector."""
    assert client_context(TLSClient(insecure=True)) is None
    assert client_pem(TLSClient(insecure=True)) is None
    assert client_context(_client(insecure=True)) is not None


def test_pem_for_grpc() -> None:
    """Scenario: what gRPC needs. Guarantees: the files' bytes, the key out of sight, system authorities when asked."""
    pem = server_pem(_server(client_ca_file=_path("ca.pem")))
    assert (pem.certificate, pem.key) == (_text("server.pem").encode(), _text("server.key").encode())
    assert pem.authorities == _text("ca.pem").encode()
    assert "PRIVATE" not in repr(pem)

    own = client_pem(_client())
    assert own is not None
    assert (own.authorities, own.certificate, own.key) == (_text("ca.pem").encode(), None, None)
    both = client_pem(_client(include_system_ca_certs_pool=True))
    assert both is not None
    assert both.authorities is not None
    assert both.authorities.startswith(_text("ca.pem").encode())


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"cert_file": "no/such"}, 'tls.cert_file: cannot read "no/such": No such file or directory'),
        ({"key_file": "no/such"}, 'tls.key_file: cannot read "no/such": No such file or directory'),
        ({"client_ca_file": "no/such"}, 'tls.client_ca_file: cannot read "no/such": No such file or directory'),
        ({"client_ca_file": _path("server.key")}, "tls.client_ca_file: holds no certificate in PEM form"),
        ({"cert_file": _path("server.key")}, "tls.cert_file: holds no certificate in PEM form"),
        ({"key_file": _path("client.key")}, "tls.key_file: the key does not belong to the certificate of cert_file"),
        ({"key_file": _path("locked.key")}, "tls.key_file: the key has a password; give one without"),
        ({"key_file": _path("ca.pem")}, "tls.cert_file and tls.key_file: OpenSSL cannot use the pair"),
    ],
)
def test_files_that_do_not_fit(keys: dict[str, str], words: str) -> None:
    """Scenario: missing files, other things in them, a foreign key, a locked key. Guarantees: which and why."""
    for build in (server_context, server_pem):
        with pytest.raises(StartError) as caught:
            build(_server(**keys))
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"min_version": "1.3"}, "tls.min_version: not supported with gRPC"),
        ({"max_version": "1.2"}, "tls.max_version: not supported with gRPC"),
        ({"cipher_suites": ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]}, "tls.cipher_suites: not supported with gRPC"),
        ({"insecure_skip_verify": True}, "tls.insecure_skip_verify: not supported with gRPC"),
    ],
)
def test_what_grpc_cannot_do(keys: dict[str, Any], words: str) -> None:
    """Scenario: settings that gRPC for Python does not have. Guarantees: an error at start."""
    with pytest.raises(StartError, match=words):
        client_pem(_client(**keys))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, "must include both certificate and key"),
        ({"cert_file": "a"}, "must include both certificate and key"),
        ({"cert_file": "a", "cert_pem": "b", "key_file": "c"}, "either certificate file or PEM"),
        ({"cert_file": "a", "key_pem": "b", "key_file": "c"}, "either key file or PEM"),
        ({"cert_file": "a", "key_file": "c", "ca_file": "a", "ca_pem": "b"}, "either a CA file or the PEM"),
        ({"cert_file": "a", "key_file": "c", "min_version": "1.3", "max_version": "1.2"}, "min_version 1.3 must not"),
        ({"cert_file": "a", "key_file": "c", "min_version": "1.0"}, "which RFC 8996 forbids"),
        ({"cert_file": "a", "key_file": "c", "max_version": "2"}, 'unsupported TLS version: "2"'),
        ({"cert_file": "a", "key_file": "c", "cipher_suites": ["X"]}, 'invalid TLS cipher suite: "X"'),
        ({"cert_file": "a", "key_file": "c", "reload_interval": "1h"}, "not supported by jobsight"),
        ({"cert_file": "a", "key_file": "c", "client_ca_file_reload": True}, "not supported by jobsight"),
    ],
)
def test_servers_on_paper(keys: dict[str, Any], words: str) -> None:
    """Scenario: keys that cannot be together, and values that we do not have. Guarantees: refused by the model."""
    with pytest.raises(ValidationError, match=words):
        TLSServer.model_validate(keys)


def test_clients_on_paper() -> None:
    """Scenario: half a pair. Guarantees: refused; nothing at all is fine."""
    with pytest.raises(ValidationError, match="provide both certificate and key, or neither"):
        TLSClient.model_validate({"key_pem": "x"})
    assert not TLSClient().plain
