"""The base of every configuration model."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Final, cast

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema

_RELAXED: Final = frozenset({"tuple", "set", "frozenset", "enum", "lax-or-strict"})
_BY_NAME: Final = frozenset({"fields", "choices"})
_NO_SCHEMAS: Final = frozenset({"metadata", "serialization", "config", "cls", "default", "members"})


def _relaxed(schema: Any) -> Any:
    """Take strictness off what YAML cannot write; everything inside keeps its own."""
    if isinstance(schema, (list, tuple)):
        return type(schema)(_relaxed(part) for part in schema)
    if not isinstance(schema, dict):
        return schema
    inner = {
        key: value if key in _NO_SCHEMAS else _by_name(value) if key in _BY_NAME else _relaxed(value)
        for key, value in schema.items()
    }
    return inner | {"strict": False} if schema.get("type") in _RELAXED else inner


def _by_name(schemas: Any) -> Any:
    """Relax schemas under names that users chose, which could be any word of a schema's own."""
    return {name: _relaxed(schema) for name, schema in schemas.items()} if isinstance(schemas, dict) else schemas


class Config(BaseModel):
    """What users may write for a component, or for one map inside of it.

    Unknown keys are errors, values are not coerced (`"5"` is no number), instances do not change. The docstring of a
    field is its documentation. A `model_validator` that compares keys names both of them in its ValueError.

    YAML has fewer types than Python: a list fills `tuple`, `frozenset` and `set` fields too, text fills enums and
    paths.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    ignored_keys: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Keys of the Collector without a field here, whose loss harms nobody, with the reason: a warning says so.

    A key is as it is written below this map, levels joined by dots: `{"read_buffer_size": "..."}`.
    """

    unsupported_keys: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Keys of the Collector without a field here, whose loss would surprise: the error gives the reason."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return cast("CoreSchema", _relaxed(handler(source)))
