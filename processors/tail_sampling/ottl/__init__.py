"""Conditions in OTTL, the Collector's transformation language: parsed once, evaluated on whole columns."""

from processors.tail_sampling.ottl.parse import SPAN, SPAN_EVENT, Condition, parse

__all__ = ["SPAN", "SPAN_EVENT", "Condition", "parse"]
