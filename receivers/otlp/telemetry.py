"""The receiver's own metrics.

otelcol_receiver_accepted_<items>        rows handed to the pipelines
otelcol_receiver_refused_<items>         rows that the pipelines did not take; the caller was told
otelcol_receiver_failed_<items>          rows lost to a fault of ours; the caller was told to try again
otelcol_receiver_requests                requests by outcome: success, refused, failure
jobsight_receiver_otlp_joint_decode_requests                    requests decoded together
jobsight_receiver_otlp_pending_{requests,bytes}[_capacity]      what waits to be decoded, and how much may

<items> is spans, metric_points or log_records. Rows of a request that could not be decoded are not known, so it counts
as a request only. Requests without rows count nowhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from prometheus_client import Histogram

from pipeline.kinds import KIND_OF, SHAPES, Signal
from pipeline.metrics import Metrics

Transport = Literal["grpc", "http"]
Encoding = Literal["protobuf", "json"]

_JOINT_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Meter:
    """The counters of one signal over one transport."""

    __slots__ = ("accepted", "failed", "failure", "refused", "refused_rows", "success")

    def __init__(self, metrics: Metrics, receiver: str, transport: Transport, signal: Signal) -> None:
        items = SHAPES[KIND_OF[signal]].items
        labels = ("receiver", "transport")
        self.accepted = metrics.counter(
            f"otelcol_receiver_accepted_{items}", "Rows handed to the pipelines.", *labels
        ).labels(receiver, transport)
        self.refused_rows = metrics.counter(
            f"otelcol_receiver_refused_{items}", "Rows that the pipelines did not take.", *labels
        ).labels(receiver, transport)
        self.failed = metrics.counter(
            f"otelcol_receiver_failed_{items}", "Rows lost to a fault of the collector.", *labels
        ).labels(receiver, transport)
        requests = metrics.counter("otelcol_receiver_requests", "Requests by outcome.", *labels, "outcome")
        self.success = requests.labels(receiver, transport, "success")
        self.refused = requests.labels(receiver, transport, "refused")
        self.failure = requests.labels(receiver, transport, "failure")


def joint_decodes(metrics: Metrics, receiver: str) -> Histogram:
    """Return the histogram of how many requests were decoded together."""
    return metrics.histogram(
        "jobsight_receiver_otlp_joint_decode_requests", "Requests decoded together.", _JOINT_BUCKETS, "receiver"
    ).labels(receiver)


def show_pending(
    metrics: Metrics,
    labels: tuple[str, Signal, Encoding],
    *,
    requests: Callable[[], float],
    nbytes: Callable[[], float],
    capacity: tuple[int, int],
) -> None:
    """Show what waits to be decoded (read when Prometheus asks), and the `capacity` in requests and bytes."""
    for name, meaning, read, most in (
        ("requests", "Requests that wait to be decoded", requests, capacity[0]),
        ("bytes", "Bytes of requests that wait to be decoded", nbytes, capacity[1]),
    ):
        gauge = f"jobsight_receiver_otlp_pending_{name}"
        keys = ("receiver", "signal", "encoding")
        metrics.gauge(gauge, f"{meaning}.", *keys).labels(*labels).set_function(read)
        metrics.gauge(f"{gauge}_capacity", f"{meaning}, at most.", *keys).labels(*labels).set(most)
