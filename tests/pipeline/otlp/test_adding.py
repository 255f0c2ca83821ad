from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.columns import Group, attributes, with_attributes
from pipeline.kinds import ATTRIBUTES


def test_values_of_every_plain_type_are_added() -> None:
    """Scenario: text, a truth value, an int and a float for the second of two rows.

    Guarantees: each arrives as its OTLP type, and the first row is as it was.
    """
    lists: Any = pa.array([[], []], ATTRIBUTES)
    group: Group = [("text", "a"), ("truth", True), ("int", 3), ("double", 2.5)]

    tagged = with_attributes(lists, np.array([1]), np.array([0]), [group])

    assert len(tagged[0]) == 0
    found = attributes(tagged, [key for key, _ in group])
    set_ = {key: {k: v for k, v in value[1].as_py().items() if v is not None} for key, value in found.items()}
    assert set_ == {
        "text": {"string_value": "a"},
        "truth": {"bool_value": True},
        "int": {"int_value": 3},
        "double": {"double_value": 2.5},
    }
