"""The graph is asked of the real engine, whose fixtures are those of the exporter that fills it."""

from __future__ import annotations

from tests.exporters.clickhouse.conftest import database, start, store, unused_port

__all__ = ["database", "start", "store", "unused_port"]
