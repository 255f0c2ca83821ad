from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config.load import load_plan
from pipeline.registry import Registry
from pipeline.service import Service


@pytest.mark.parametrize("path", sorted(Path("configs").glob("*.yaml")), ids=lambda path: path.name)
async def test_shipped_configs_build(path: Path) -> None:
    """Scenario: each file in configs/, with an empty environment. Guarantees: valid, no warning, it builds."""
    plan = load_plan([str(path)], [], environ={}, registry=Registry())

    service = Service(plan)

    assert plan.warnings == ()
    assert service.pipelines
