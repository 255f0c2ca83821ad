"""Configuration: YAML with positions, its values, and the models that components declare."""

from pipeline.config.model import Config

__all__ = ["Config"]
