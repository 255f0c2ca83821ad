"""What components do with OTLP's columns: lists taken apart, attributes found and added, values and ids as text."""

from pipeline.arrays import hex_text, nest, offsets_of, parents_of, unnest
from pipeline.otlp.adding import Group, with_attributes
from pipeline.otlp.layouts import Layouts, Positions, layouts_of
from pipeline.otlp.values import any_value_text, attribute_texts, attributes, texts_at

__all__ = [
    "Group",
    "Layouts",
    "Positions",
    "any_value_text",
    "attribute_texts",
    "attributes",
    "hex_text",
    "layouts_of",
    "nest",
    "offsets_of",
    "parents_of",
    "texts_at",
    "unnest",
    "with_attributes",
]
