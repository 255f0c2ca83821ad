"""What components do with the columns of OTLP: take lists apart, find attributes, write values and ids as text."""

from pipeline.arrays import hex_text, nest, offsets_of, parents_of, unnest
from pipeline.otlp.values import any_value_text, attributes

__all__ = ["any_value_text", "attributes", "hex_text", "nest", "offsets_of", "parents_of", "unnest"]
