"""Exporters: what delivers batches."""
