"""Sends alerts to any HTTP endpoint as JSON."""

from exporters.webhook.exporter import WebhookExporter

__all__ = ["WebhookExporter"]
