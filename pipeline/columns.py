"""What components do with OTLP's columns: lists taken apart, attributes found and added, values and ids as text."""

from pipeline.arrays import hex_text, nest, offsets_of, parents_of, unnest
from pipeline.otlp.adding import Group, with_attributes
from pipeline.otlp.values import any_value_text, attributes

__all__ = [
    "Group",
    "any_value_text",
    "attributes",
    "hex_text",
    "nest",
    "offsets_of",
    "parents_of",
    "unnest",
    "with_attributes",
]
