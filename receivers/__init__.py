"""Receivers: what takes telemetry in."""
