"""Reads OTLP from Kafka, as one of a consumer group; offsets move when the rows were delivered."""

from receivers.kafka.receiver import KafkaReceiver

__all__ = ["KafkaReceiver"]
