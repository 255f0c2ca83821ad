"""A JSON Schema of the whole configuration, for editors that complete keys and mark mistakes."""

from __future__ import annotations

import re
from typing import Any, Final

from pipeline.config.model import Config
from pipeline.config.sections import PipelineSection, ServiceSection, TelemetrySection
from pipeline.kinds import Signal
from pipeline.registry import Registry, Role, UnusableComponent

_REFERENCE: Final[dict[str, Any]] = {"type": "string", "pattern": r"\$\{.+\}"}
"""Any value may come from `${...}`."""


def json_schema(registry: Registry) -> dict[str, Any]:
    """Return a schema of draft 2020-12 for every component that can be used. Imports all of them."""
    definitions: dict[str, Any] = {}
    sections = {str(role): _section(role, registry, definitions) for role in Role}
    service = _referable(_schema(ServiceSection, "service", definitions))
    pipeline = _schema(PipelineSection, "pipeline", definitions)
    signals = "|".join(str(signal) for signal in Signal)
    service["properties"]["pipelines"] = _closed({f"^({signals})(/.+)?$": _or_null(pipeline)})
    service["properties"]["telemetry"] = _or_null(_schema(TelemetrySection, "telemetry", definitions))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "jobsight configuration",
        "type": "object",
        "properties": {**sections, "service": service},
        "additionalProperties": False,
        "$defs": {name: _referable(definition) for name, definition in definitions.items()},
    }


def _section(role: Role, registry: Registry, definitions: dict[str, Any]) -> dict[str, Any]:
    patterns: dict[str, Any] = {}
    for name in registry.names(role):
        try:
            component = registry.component(role, name)
        except UnusableComponent:
            continue
        own = f"{role}.{component.kind}"
        if own not in definitions:
            definitions[own] = _schema(component.Config, own, definitions)
        patterns[f"^{re.escape(name)}(/.+)?$"] = _or_null({"$ref": f"#/$defs/{own}"})
    return _or_null(_closed(patterns))


def _schema(model: type[Config], owner: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """Return a model's schema; the schemas that it refers to go to `definitions` under the owner's name."""
    schema = model.model_json_schema(ref_template=f"#/$defs/{owner}.{{model}}")
    for name, definition in schema.pop("$defs", {}).items():
        definitions[f"{owner}.{name}"] = definition
    return schema


def _referable(schema: dict[str, Any]) -> dict[str, Any]:
    if "properties" not in schema:
        return schema
    properties = {key: {"anyOf": [inner, _REFERENCE]} for key, inner in schema["properties"].items()}
    return schema | {"properties": properties}


def _closed(patterns: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "patternProperties": patterns, "additionalProperties": False}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}
