"""Makes few messages of many alerts."""

from processors.alerts.processor import AlertsProcessor

__all__ = ["AlertsProcessor"]
