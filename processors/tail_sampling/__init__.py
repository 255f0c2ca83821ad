"""Processor `tail_sampling`: keeps the traces that matter, see `processor`."""

from processors.tail_sampling.processor import TailSampling

__all__ = ["TailSampling"]
