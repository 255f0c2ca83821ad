"""The ClickHouse exporter: OTLP into the Collector's tables, over HTTP, as Arrow columns."""

from exporters.clickhouse.exporter import ClickHouseExporter

__all__ = ["ClickHouseExporter"]
