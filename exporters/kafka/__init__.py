"""Writes every kind of batch to Kafka: OTLP as the Collector does it, our own kinds as JSON rows."""

from exporters.kafka.exporter import KafkaExporter

__all__ = ["KafkaExporter"]
