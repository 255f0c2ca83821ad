"""The configuration of the otlp receiver."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.kinds import Signal
from receivers.otlp import OTLPReceiverConfig
from receivers.otlp.config import MIB, HTTPConfig


def load(**protocols: Any) -> OTLPReceiverConfig:
    return OTLPReceiverConfig.model_validate({"protocols": protocols})


def test_the_collectors_defaults() -> None:
    """Scenario: both protocols without a value, as in most files. Guarantees: both on with the Collector's defaults."""
    config = load(grpc=None, http=None)
    grpc, http = config.protocols.grpc, config.protocols.http

    assert grpc is not None
    assert http is not None
    assert (grpc.endpoint, grpc.max_message_bytes, grpc.tls) == ("localhost:4317", 4 * MIB, None)
    assert (http.endpoint, http.max_request_body_size, http.cors) == ("localhost:4318", 20 * MIB, None)
    assert http.paths == {Signal.TRACES: "/v1/traces", Signal.METRICS: "/v1/metrics", Signal.LOGS: "/v1/logs"}
    assert http.compression_algorithms == ("", "gzip", "zstd", "zlib", "snappy", "deflate", "lz4", "x-snappy-framed")


def test_a_missing_protocol_is_off() -> None:
    """Scenario: only grpc. Guarantees: no HTTP listener is configured."""
    assert load(grpc=None).protocols.http is None


@pytest.mark.parametrize("whole", [{}, {"protocols": None}, {"protocols": {}}])
def test_no_protocol(whole: dict[str, Any]) -> None:
    """Scenario: the receiver without a protocol. Guarantees: the Collector's message."""
    with pytest.raises(ValidationError, match="must specify at least one protocol when using the OTLP receiver"):
        OTLPReceiverConfig.model_validate(whole)


@pytest.mark.parametrize(
    ("protocol", "keys", "problem"),
    [
        ("grpc", {"transport": "udp"}, 'invalid transport type "udp"'),
        ("grpc", {"transport": "unix"}, "not supported by jobsight: transport"),
        ("grpc", {"endpoint": "localhost"}, "has no port"),
        ("grpc", {"max_recv_msg_size_mib": -1}, "greater than or equal to 0"),
        ("grpc", {"include_metadata": True}, "not supported by jobsight"),
        ("grpc", {"keepalive": {"server_parameters": {"time": "soon"}}}, "must be a duration"),
        ("http", {"traces_url_path": "/v1/tr aces"}, "invalid HTTP URL path set for signal"),
        ("http", {"traces_url_path": "/x", "logs_url_path": "x"}, "logs_url_path and traces_url_path must differ"),
        ("http", {"compression_algorithms": ["br"]}, 'unknown compression algorithm "br"'),
        ("http", {"response_headers": {"X Y": "1"}}, "is no name of a header"),
        ("http", {"response_headers": {"X-Y": "1\r\nSet-Cookie: a=b"}}, "must be one line"),
        ("http", {"cors": {"allowed_origins": ["https://*.*.example"]}}, 'an origin may have one "*"'),
    ],
)
def test_mistakes(protocol: str, keys: dict[str, Any], problem: str) -> None:
    """Scenario: one wrong value. Guarantees: a message that says what is wrong."""
    with pytest.raises(ValidationError, match=problem):
        load(**{protocol: keys})


@pytest.mark.parametrize(
    "intake",
    [{"max_wait": "0s"}, {"max_wait": "30s"}, {"max_pending_requests": 0}, {"max_pending_size": 0}],
)
def test_intake_bounds(intake: dict[str, Any]) -> None:
    """Scenario: bounds that would stop everything, or outlast the SDKs' patience. Guarantees: refused."""
    with pytest.raises(ValidationError):
        OTLPReceiverConfig.model_validate({"protocols": {"grpc": None}, "intake": intake})


def test_harmless_forms_of_the_collector() -> None:
    """Scenario: values that the Collector corrects. Guarantees: the same correction."""
    http = HTTPConfig.model_validate({"traces_url_path": "in/traces", "max_request_body_size": 0})

    assert http.traces_url_path == "/in/traces"
    assert http.max_request_body_size == 20 * MIB
