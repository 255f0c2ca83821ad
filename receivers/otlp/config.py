"""What users may write for the `otlp` receiver: the Collector's keys, and `intake`, which is ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Self

from pydantic import Field, field_validator, model_validator

from pipeline import Config
from pipeline.config.tls import TLSServer
from pipeline.config.values import ByteSize, Duration, Endpoint, Present
from pipeline.kinds import Signal
from receivers.otlp.limits import ENCODINGS

MIB: Final = 1 << 20

_TRANSPORTS: Final = ("tcp", "tcp4", "tcp6")

_NO_AUTHENTICATORS: Final = (
    "jobsight has no authenticator extensions; use tls.client_ca_file to admit known clients only"
)
_NO_MIDDLEWARES: Final = "jobsight has no middleware extensions"


class _Listener(Config):
    """What both protocols have."""

    transport: str = "tcp"
    """`tcp`, `tcp4` (IPv4 only) or `tcp6` (IPv6 only)."""

    tls: TLSServer | None = None
    """Certificate and key to serve TLS with, and `client_ca_file` for mutual TLS. Unset: plain text."""

    include_metadata: bool = False
    """Only false: no component of jobsight reads the metadata of requests."""

    @field_validator("transport")
    @classmethod
    def _known_transport(cls, value: str) -> str:
        if value in {"unix", "npipe"}:
            raise ValueError(f'not supported by jobsight: transport "{value}"; use one of {", ".join(_TRANSPORTS)}')
        if value not in _TRANSPORTS:
            raise ValueError(f'invalid transport type "{value}" (known: {", ".join(_TRANSPORTS)})')
        return value

    @field_validator("include_metadata")
    @classmethod
    def _no_metadata(cls, value: bool) -> bool:
        if value:
            raise ValueError("not supported by jobsight: no component reads the metadata of requests; leave it out")
        return value


class KeepaliveServerParameters(Config):
    """When idle and old connections are closed, and when the server asks whether a client is still there."""

    max_connection_idle: Duration = 0.0
    """Close a connection without calls after this long; 0: never."""

    max_connection_age: Duration = 0.0
    """Close every connection after this long, so that balancers spread clients anew; 0: never."""

    max_connection_age_grace: Duration = 0.0
    """How long calls may go on after `max_connection_age`; 0: without end."""

    time: Duration = 0.0
    """Ping a silent client after this long; 0: after 2 hours."""

    timeout: Duration = 0.0
    """Close the connection when a ping is not answered for this long; 0: 20 s."""


class KeepaliveEnforcementPolicy(Config):
    """How often clients may ping; who pings more often is cut off."""

    min_time: Duration = 0.0
    """Least time between two pings; 0: 5 minutes."""

    permit_without_stream: bool = False
    """Whether clients may ping while they have no call open."""


class Keepalive(Config):
    """Keepalive of gRPC connections."""

    server_parameters: Annotated[KeepaliveServerParameters, Present] = KeepaliveServerParameters()
    enforcement_policy: Annotated[KeepaliveEnforcementPolicy, Present] = KeepaliveEnforcementPolicy()


class GRPCConfig(_Listener):
    """OTLP over gRPC."""

    ignored_keys: ClassVar[Mapping[str, str]] = {
        "read_buffer_size": "gRPC for Python sizes its read buffers itself",
        "write_buffer_size": "gRPC for Python sizes its write buffers itself",
    }
    unsupported_keys: ClassVar[Mapping[str, str]] = {"auth": _NO_AUTHENTICATORS, "middlewares": _NO_MIDDLEWARES}

    endpoint: Endpoint = "localhost:4317"
    """Where to listen; port 0 lets the system choose."""

    max_recv_msg_size_mib: int = Field(default=0, ge=0, le=2047)
    """Biggest message after decompression, in MiB; 0: gRPC's own 4 MiB."""

    max_concurrent_streams: int = Field(default=0, ge=0, le=(1 << 31) - 1)
    """Most calls open at a time on one connection; 0: no limit."""

    keepalive: Annotated[Keepalive, Present] = Keepalive()

    @property
    def max_message_bytes(self) -> int:
        return (self.max_recv_msg_size_mib or 4) * MIB


class CORSConfig(Config):
    """Which web pages may send telemetry from a browser."""

    allowed_origins: tuple[str, ...] = ()
    """Origins such as `https://*.example.com`, one `*` each; `["*"]` is any. Empty: CORS is off."""

    allowed_headers: tuple[str, ...] = ()
    """Request headers besides the ones that are always allowed; `["*"]` is any."""

    exposed_headers: tuple[str, ...] = ()
    """Response headers that pages may read."""

    max_age: int = Field(default=0, ge=0)
    """Seconds for which browsers may remember the answer; 0: their own choice."""

    @field_validator("allowed_origins")
    @classmethod
    def _one_wildcard(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if origin.count("*") > 1:
                raise ValueError(f'an origin may have one "*", is "{origin}"')
        return value


class HTTPConfig(_Listener):
    """OTLP over HTTP, protobuf and JSON."""

    ignored_keys: ClassVar[Mapping[str, str]] = {
        "read_header_timeout": "headers have no limit of their own; read_timeout bounds the body",
        "write_timeout": "answers are a few bytes",
    }
    unsupported_keys: ClassVar[Mapping[str, str]] = {"auth": _NO_AUTHENTICATORS, "middlewares": _NO_MIDDLEWARES}

    endpoint: Endpoint = "localhost:4318"
    """Where to listen; port 0 lets the system choose."""

    traces_url_path: str = "/v1/traces"
    """Path for traces; a missing leading slash is added."""

    metrics_url_path: str = "/v1/metrics"
    """Path for metrics."""

    logs_url_path: str = "/v1/logs"
    """Path for logs."""

    max_request_body_size: ByteSize = 20 * MIB
    """Limit of a body, as sent and again after decompression; 0: 20 MiB."""

    compression_algorithms: tuple[str, ...] = ENCODINGS
    """Accepted `Content-Encoding`s; `""` is none."""

    response_headers: Mapping[str, str] = {}
    """Headers added to every answer."""

    cors: CORSConfig | None = None
    """Cross-origin requests from browsers. Unset: refused by the browser."""

    read_timeout: Duration = 0.0
    """Longest time for a body to arrive; 0: no limit."""

    idle_timeout: Duration = 0.0
    """How long an idle connection is kept; 0: about an hour."""

    keep_alives_enabled: bool = True
    """Whether connections serve more than one request."""

    @field_validator("traces_url_path", "metrics_url_path", "logs_url_path")
    @classmethod
    def _is_path(cls, value: str) -> str:
        if not value.isprintable() or any(mark in value for mark in " ?#%"):
            raise ValueError(
                f'invalid HTTP URL path set for signal: must be a plain path like /v1/traces, is "{value}"'
            )
        return value if value.startswith("/") else f"/{value}"

    @field_validator("max_request_body_size")
    @classmethod
    def _default_size(cls, value: int) -> int:
        return value or 20 * MIB

    @field_validator("compression_algorithms")
    @classmethod
    def _known_algorithms(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in ENCODINGS:
                known = ", ".join(f'"{encoding}"' for encoding in ENCODINGS)
                raise ValueError(f'unknown compression algorithm "{name}" (known: {known})')
        return value

    @field_validator("response_headers")
    @classmethod
    def _one_line_each(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for name, text in value.items():
            if not name or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f'"{name}" is no name of a header')
            if not text.isprintable():
                raise ValueError(f"the value of {name} must be one line of text")
        return value

    @model_validator(mode="after")
    def _different_paths(self) -> Self:
        paths = self.paths
        for signal, path in paths.items():
            for other in paths:
                if other > signal and paths[other] == path:
                    raise ValueError(f'{signal}_url_path and {other}_url_path must differ, both are "{path}"')
        return self

    @property
    def paths(self) -> Mapping[Signal, str]:
        return {
            Signal.TRACES: self.traces_url_path,
            Signal.METRICS: self.metrics_url_path,
            Signal.LOGS: self.logs_url_path,
        }


class Protocols(Config):
    """A protocol is on when its key is there, even without a value."""

    grpc: Annotated[GRPCConfig | None, Present] = None
    http: Annotated[HTTPConfig | None, Present] = None


class IntakeConfig(Config):
    """How much may wait to be decoded, for each signal and encoding, before callers are asked to try again."""

    max_pending_requests: int = Field(default=2048, gt=0)
    """Requests that wait."""

    max_pending_size: ByteSize = Field(default=32 * MIB, gt=0)
    """Their bodies, uncompressed. A single request over it is taken when nothing else waits."""

    max_wait: Annotated[Duration, Field(gt=0, le=8)] = 2.0
    """Longest wait for room in the pipelines; SDKs give up on a request after 10 s."""


class OTLPReceiverConfig(Config):
    """Receives OTLP over gRPC and HTTP."""

    protocols: Annotated[Protocols, Present] = Protocols()
    """The protocols to serve."""

    intake: Annotated[IntakeConfig, Present] = IntakeConfig()
    """Bounds of what waits."""

    @model_validator(mode="after")
    def _some_protocol(self) -> Self:
        if self.protocols.grpc is None and self.protocols.http is None:
            raise ValueError(
                "must specify at least one protocol when using the OTLP receiver: protocols.grpc, protocols.http"
            )
        return self
