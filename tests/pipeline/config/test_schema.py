"""The JSON Schema of the configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.config.schema import json_schema
from pipeline.registry import Registry
from tests.pipeline.config.toys import REGISTRY


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        schema = list(schema.values())
    if isinstance(schema, list):
        for inner in schema:
            yield from _references(inner)


@pytest.mark.parametrize("registry", [REGISTRY, Registry()], ids=["toys", "installed"])
def test_is_complete(registry: Registry) -> None:
    """Scenario: toys and what is installed. Guarantees: valid JSON, every reference leads somewhere."""
    schema = json.loads(json.dumps(json_schema(registry)))

    names = {reference.removeprefix("#/$defs/") for reference in _references(schema)}
    assert names
    assert names <= set(schema["$defs"])


def test_knows_ids_and_keys() -> None:
    """Scenario: the toys. Guarantees: ids match with names; a key has its type, or `${...}`."""
    schema = json_schema(REGISTRY)

    patterns = schema["properties"]["processors"]["anyOf"][0]["patternProperties"]
    matching = [pattern for pattern in patterns if re.search(pattern, "batch/eu")]
    assert matching == ["^batch(/.+)?$"]
    assert not any(re.search(pattern, "batches") for pattern in patterns)
    timeout, reference = schema["$defs"]["processors.batch"]["properties"]["timeout"]["anyOf"]
    assert timeout["type"] == ["string", "integer"]
    assert re.search(reference["pattern"], "${env:TIMEOUT}")
    assert schema["$defs"]["processors.batch"]["additionalProperties"] is False
    (pipelines,) = schema["properties"]["service"]["properties"]["pipelines"]["patternProperties"]
    assert re.search(pipelines, "traces/eu")
    assert not re.search(pipelines, "trace")
