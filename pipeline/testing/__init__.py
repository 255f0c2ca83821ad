"""Test doubles for components, shipped so that authors of plugins have them too."""

from pipeline.testing.clock import FakeClock
from pipeline.testing.data import (
    alerts_batch,
    failure_clusters_batch,
    jobs_batch,
    logs_batch,
    points_batch,
    sample_batch,
    spans_batch,
)
from pipeline.testing.host import FakeHost
from pipeline.testing.ledger import Ledger

__all__ = [
    "FakeClock",
    "FakeHost",
    "Ledger",
    "alerts_batch",
    "failure_clusters_batch",
    "jobs_batch",
    "logs_batch",
    "points_batch",
    "sample_batch",
    "spans_batch",
]
