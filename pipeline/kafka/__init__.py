"""What Kafka's two sides share: how brokers are reached, and what their refusals mean.

The library (aiokafka) is imported where it is used, so that a configuration can be checked without it.
"""
