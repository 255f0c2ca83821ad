"""The `tls` section: keys as in the Collector's configtls, made into what Python's ssl and gRPC take.

The models check what can be checked on paper. Files are read when a component starts, by the functions below, which
raise StartError; the engine adds which component it was.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Self

from pydantic import field_validator, model_validator

from pipeline.config.model import Config
from pipeline.config.values import Duration, Secret
from pipeline.errors import StartError

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

_CIPHERS: Final = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}
"""The suites that Go's crypto/tls counts as secure for TLS up to 1.2, in OpenSSL's spelling."""


class _TLS(Config):
    """What both sides of a connection have."""

    unsupported_keys: ClassVar[Mapping[str, str]] = {
        "curve_preferences": "OpenSSL's own order of curves is used",
        "include_insecure_cipher_suites": "suites that Go calls insecure cannot be switched on",
        "tpm": "keys are read from files or PEM text",
    }

    ca_file: str = ""
    """File with the certificates of the authorities that sign the other side's, PEM. Unset: the system's."""
    ca_pem: str = ""
    """The same as text."""
    include_system_ca_certs_pool: bool = False
    """Trust the system's authorities besides `ca_file` or `ca_pem`."""
    cert_file: str = ""
    """File with this side's certificate and its chain, PEM."""
    cert_pem: str = ""
    """The same as text."""
    key_file: str = ""
    """File with the private key of the certificate, PEM without a password."""
    key_pem: Secret = Secret("")
    """The same as text."""
    min_version: str = "1.2"
    """Oldest TLS version: 1.2 or 1.3."""
    max_version: str = ""
    """Newest TLS version: 1.2 or 1.3. Unset: the newest."""
    cipher_suites: tuple[str, ...] = ()
    """Suites for TLS 1.2 in IANA's names, such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256. Unset: Python's choice."""
    reload_interval: Duration = 0.0
    """Only 0: certificates are read at the start."""

    @field_validator("min_version", "max_version")
    @classmethod
    def _known_version(cls, value: str) -> str:
        if value in {"1.0", "1.1"}:
            raise ValueError(f'must be 1.2 or 1.3, is "{value}", which RFC 8996 forbids')
        if value not in ("", *_VERSIONS):
            raise ValueError(f'unsupported TLS version: "{value}" (known: 1.2, 1.3)')
        return value

    @field_validator("cipher_suites")
    @classmethod
    def _known_suites(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for suite in value:
            if suite not in _CIPHERS:
                raise ValueError(f'invalid TLS cipher suite: "{suite}" (known: {", ".join(sorted(_CIPHERS))})')
        return value

    @field_validator("reload_interval")
    @classmethod
    def _no_reload(cls, value: float) -> float:
        if value:
            raise ValueError("not supported by jobsight: certificates are read at the start; restart to renew them")
        return value

    @model_validator(mode="after")
    def _one_source_each(self) -> Self:
        if self.ca_file and self.ca_pem:
            raise ValueError("ca_file and ca_pem: provide either a CA file or the PEM-encoded string, but not both")
        if self.cert_file and self.cert_pem:
            raise ValueError("cert_file and cert_pem: provide either certificate file or PEM, but not both")
        if self.key_file and self.key_pem.get_secret_value():
            raise ValueError("key_file and key_pem: provide either key file or PEM, but not both")
        if self.min_version > (self.max_version or "9"):
            raise ValueError(f"min_version {self.min_version} must not be above max_version {self.max_version}")
        return self

    @property
    def _has_certificate(self) -> bool:
        return bool(self.cert_file or self.cert_pem)

    @property
    def _has_key(self) -> bool:
        return bool(self.key_file or self.key_pem.get_secret_value())


class TLSServer(_TLS):
    """`tls` of a component that listens. `client_ca_file` makes it mutual."""

    client_ca_file: str = ""
    """Clients must show a certificate that one of these authorities signed."""
    client_ca_file_reload: bool = False
    """Only false: the file is read at the start."""

    @field_validator("client_ca_file_reload")
    @classmethod
    def _no_ca_reload(cls, value: bool) -> bool:
        if value:
            raise ValueError("not supported by jobsight: client_ca_file is read at the start; restart to renew it")
        return value

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if not (self._has_certificate and self._has_key):
            raise ValueError(
                "TLS configuration must include both certificate and key for server connections: "
                "cert_file or cert_pem, and key_file or key_pem"
            )
        return self


class TLSClient(_TLS):
    """`tls` of a component that connects. Without `insecure: true` the connection is encrypted and verified."""

    insecure: bool = False
    """No TLS at all, unless `ca_file` or `ca_pem` is given."""
    insecure_skip_verify: bool = False
    """Encrypt, but believe whoever answers."""
    server_name_override: str = ""
    """The name to ask for and to verify, instead of the endpoint's host."""

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if self._has_certificate != self._has_key:
            raise ValueError(
                "for auth via TLS, provide both certificate and key, or neither: "
                "cert_file or cert_pem, and key_file or key_pem"
            )
        return self

    @property
    def plain(self) -> bool:
        """True where the connection is not encrypted."""
        return self.insecure and not (self.ca_file or self.ca_pem)


@dataclass(frozen=True, slots=True)
class PEM:
    """What gRPC's credentials are made of: PEM bytes, None where not configured. The key is kept out of `repr`."""

    authorities: bytes | None
    certificate: bytes | None
    key: bytes | None

    def __repr__(self) -> str:
        return "PEM(...)"


def server_context(tls: TLSServer) -> ssl.SSLContext:
    """Return the context for listening. Raises StartError for unreadable files, bad PEM, a wrong key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _restrict(context, tls)
    _load_pair(context, tls)
    if tls.client_ca_file:
        _trust(context, _read("client_ca_file", tls.client_ca_file), "client_ca_file")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(tls: TLSClient) -> ssl.SSLContext | None:
    """Return the context for connecting, None for plain text. Raises StartError as `server_context` does.

    `server_name_override` is the caller's to pass on (aiohttp: `server_hostname`).
    """
    if tls.plain:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _restrict(context, tls)
    authorities = _authorities(tls)
    if authorities is not None:
        _trust(context, authorities, "ca_file" if tls.ca_file else "ca_pem")
    if authorities is None or tls.include_system_ca_certs_pool:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if tls._has_certificate:  # noqa: SLF001 - the same module
        _load_pair(context, tls)
    if tls.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def server_pem(tls: TLSServer) -> PEM:
    """Return the same as PEM, for `grpc.ssl_server_credentials`; `authorities` are those of clients.

    Checked as `server_context` checks. Raises StartError also for what gRPC cannot be told: versions and suites.
    """
    server_context(tls)
    _refuse_for_grpc(tls)
    authorities = _read("client_ca_file", tls.client_ca_file) if tls.client_ca_file else None
    return PEM(authorities, *_pair(tls))


def client_pem(tls: TLSClient) -> PEM | None:
    """Return the same as PEM, for `grpc.ssl_channel_credentials`; None for plain text.

    `server_name_override` goes into the channel option `grpc.ssl_target_name_override`. Raises StartError as
    `server_pem` does, and for `insecure_skip_verify`, which gRPC for Python does not have.
    """
    if client_context(tls) is None:
        return None
    _refuse_for_grpc(tls)
    if tls.insecure_skip_verify:
        raise StartError("tls.insecure_skip_verify: not supported with gRPC; give the server's certificate as ca_file")
    authorities = _authorities(tls)
    system = ssl.get_default_verify_paths().cafile
    if system and (authorities is None or tls.include_system_ca_certs_pool):
        authorities = b"\n".join([authorities or b"", _read("system certificates", system)])
    return PEM(authorities, *(_pair(tls) if tls._has_certificate else (None, None)))  # noqa: SLF001 - the same module


def _refuse_for_grpc(tls: _TLS) -> None:
    # gRPC for Python has TLS 1.2 to 1.3 built in and takes suites from its environment only.
    for key, given, fixed in (
        ("min_version", tls.min_version, ("", "1.2")),
        ("max_version", tls.max_version, ("", "1.3")),
        ("cipher_suites", tls.cipher_suites, ((),)),
    ):
        if given not in fixed:
            raise StartError(f"tls.{key}: not supported with gRPC, which speaks TLS 1.2 and 1.3 with its own suites")


def _restrict(context: ssl.SSLContext, tls: _TLS) -> None:
    context.minimum_version = _VERSIONS[tls.min_version or "1.2"]
    if tls.max_version:
        context.maximum_version = _VERSIONS[tls.max_version]
    if tls.cipher_suites:
        context.set_ciphers(":".join(_CIPHERS[suite] for suite in tls.cipher_suites))


def _authorities(tls: _TLS) -> bytes | None:
    if tls.ca_file:
        return _read("ca_file", tls.ca_file)
    return tls.ca_pem.encode() if tls.ca_pem else None


def _pair(tls: _TLS) -> tuple[bytes, bytes]:
    certificate = _read("cert_file", tls.cert_file) if tls.cert_file else tls.cert_pem.encode()
    key = _read("key_file", tls.key_file) if tls.key_file else tls.key_pem.get_secret_value().encode()
    return certificate, key


def _read(key: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise StartError(f'tls.{key}: cannot read "{path}": {error.strerror}') from error


def _trust(context: ssl.SSLContext, authorities: bytes, key: str) -> None:
    try:
        context.load_verify_locations(cadata=authorities.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError) as error:
        raise StartError(f"tls.{key}: holds no certificate in PEM form") from error


def _load_pair(context: ssl.SSLContext, tls: _TLS) -> None:
    certificate, key = _pair(tls)
    certificate_key = "cert_file" if tls.cert_file else "cert_pem"
    key_key = "key_file" if tls.key_file else "key_pem"
    try:
        with _as_file(certificate) as certificate_path, _as_file(key) as key_path:
            context.load_cert_chain(certificate_path, key_path, password=_no_password)
    except _EncryptedKey as error:
        raise StartError(f"tls.{key_key}: the key has a password; give one without") from error
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            problem = f"tls.{key_key}: the key does not belong to the certificate of {certificate_key}"
        elif b"-----BEGIN CERTIFICATE-----" not in certificate:
            problem = f"tls.{certificate_key}: holds no certificate in PEM form"
        else:
            problem = f"tls.{certificate_key} and tls.{key_key}: OpenSSL cannot use the pair ({error.reason or error})"
        raise StartError(problem) from error


class _EncryptedKey(Exception):
    pass


def _no_password() -> bytes:
    # Without this OpenSSL would ask on the terminal.
    raise _EncryptedKey


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """Give bytes a path, for ssl takes pairs from paths only; a key must not touch a disk for that."""
    descriptor = os.memfd_create("jobsight-pem", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
