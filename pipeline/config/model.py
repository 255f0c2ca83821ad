"""The base of every configuration model."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """What users may write for a component.

    Unknown keys are errors, values are not coerced (`"5"` is no number), instances do not change. The docstring of a
    field is its documentation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)
