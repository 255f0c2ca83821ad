"""The keys that the Collector's Kafka exporter and receiver have in common: brokers, identity, TLS, SASL, metadata."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Self

from pydantic import Field, field_validator, model_validator

from pipeline.config import Config
from pipeline.config.tls import TLSClient
from pipeline.config.values import Duration, Present, Secret, split_endpoint

MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_ELSEWHERE: Final = frozenset({"AWS_MSK_IAM_OAUTHBEARER", "AWS_MSK_IAM", "OAUTHBEARER"})
_VERSION: Final = re.compile(r"\d+\.\d+(\.\d+){0,2}")


class SASL(Config):
    """`auth.sasl`: who we are, by name and password."""

    unsupported_keys: ClassVar[Mapping[str, str]] = {
        "aws_msk": "there are no AWS credentials here; use a SCRAM user",
        "oauthbearer_token_source": "there are no token extensions",
    }

    username: str = ""
    password: Secret = Secret("")
    mechanism: str = "PLAIN"
    """PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512."""

    version: int = 0
    """Version of the handshake, 0 or 1; what the broker can do is found out, so either is right."""

    @field_validator("mechanism")
    @classmethod
    def _known_mechanism(cls, value: str) -> str:
        if value in _ELSEWHERE:
            raise ValueError(f"not supported by jobsight: {value} (known: {', '.join(MECHANISMS)})")
        if value not in MECHANISMS:
            known = ", ".join(f"'{name}'" for name in MECHANISMS)
            raise ValueError(f"mechanism should be one of {known}. configured value {value}")
        return value

    @field_validator("version")
    @classmethod
    def _known_version(cls, value: int) -> int:
        if value not in (0, 1):
            raise ValueError(f"version has to be either 0 or 1. configured value {value}")
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not self.username:
            raise ValueError("username is required")
        if not self.password.get_secret_value():
            raise ValueError("password is required")
        return self


class PlainText(Config):
    """`auth.plain_text`: the deprecated spelling of `auth.sasl` with mechanism PLAIN."""

    username: str = Field(min_length=1)
    password: Secret


class Auth(Config):
    """`auth`."""

    unsupported_keys: ClassVar[Mapping[str, str]] = {"kerberos": "it needs the system's Kerberos libraries; use SCRAM"}

    sasl: SASL | None = None
    plain_text: PlainText | None = None
    """Deprecated: use `sasl`."""

    tls: TLSClient | None = None
    """Deprecated: use `tls` beside `auth`."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.sasl is not None and self.plain_text is not None:
            raise ValueError("sasl, plain_text: give one of them")
        return self


class MetadataRetry(Config):
    """`metadata.retry`."""

    max: int = Field(3, ge=0)
    """Not needed: metadata are asked for until they are there."""

    backoff: Duration = Field(0.25, gt=0)
    """The wait between attempts to reach a broker, of the client itself."""


class Metadata(Config):
    """`metadata`: what is where in the cluster."""

    refresh_interval: Duration = Field(600.0, gt=0)
    """How often topics and leaders are asked for where nothing else demands it; new partitions are found so."""

    full: bool = True
    """Deprecated in the Collector and without effect: only the topics in use are asked for."""

    retry: MetadataRetry = MetadataRetry()


class KafkaClient(Config):
    """How to reach a cluster."""

    brokers: tuple[str, ...] = ("localhost:9092",)
    """Some of the cluster's brokers; the others are found."""

    protocol_version: str = "2.1.0"
    """Accepted and not needed: versions are negotiated with each broker."""

    client_id: str = "otel-collector"
    """The name that brokers know us by, in their logs and quotas."""

    resolve_canonical_bootstrap_servers_only: bool = False
    conn_idle_timeout: Duration = Field(540.0, gt=0)
    """Connections that nobody used for so long are closed."""

    tls: Annotated[TLSClient | None, Present] = None
    """Its presence turns TLS on, even without a value."""

    auth: Auth = Auth()
    metadata: Metadata = Metadata()

    @field_validator("brokers")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("brokers must be specified")
        for broker in value:
            host, port = split_endpoint(broker)
            if not host or not port:
                raise ValueError(f'must be host:port, is "{broker}"')
        return value

    @field_validator("protocol_version")
    @classmethod
    def _version(cls, value: str) -> str:
        if not _VERSION.fullmatch(value):
            raise ValueError(f'invalid protocol version: must be such as "2.1.0", is "{value}"')
        return value

    @field_validator("resolve_canonical_bootstrap_servers_only")
    @classmethod
    def _names_as_given(cls, value: bool) -> bool:
        if value:
            raise ValueError("not supported by jobsight: brokers are reached by the names given")
        return value

    @model_validator(mode="after")
    def _one_tls(self) -> Self:
        if self.tls is not None and self.auth.tls is not None:
            raise ValueError("tls, auth.tls: give one of them; auth.tls is the deprecated spelling")
        if self.encryption is not None and self.encryption.server_name_override:
            raise ValueError("tls.server_name_override: not supported with Kafka, where every broker has its own name")
        return self

    @property
    def encryption(self) -> TLSClient | None:
        """The TLS settings, wherever they were given."""
        return self.tls or self.auth.tls

    @property
    def credentials(self) -> SASL | None:
        """The SASL settings, however they were given."""
        plain = self.auth.plain_text
        return self.auth.sasl if plain is None else SASL(username=plain.username, password=plain.password)
