"""What docs/configuration.md says is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.config.load import load_plan
from pipeline.config.plan import Plan
from pipeline.registry import Registry

PAGE = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def _plan(text: str, *sets: str) -> Plan:
    return load_plan([f"yaml:{text}"], sets, environ={}, registry=Registry())


@pytest.mark.parametrize("text", EXAMPLES)
def test_examples_load(text: str) -> None:
    """Scenario: every YAML block of the page, with what is installed. Guarantees: it loads without a warning."""
    assert _plan(text).warnings == ()


def test_defaults_are_those_of_the_page() -> None:
    """Scenario: the first example, which sets nothing of the service. Guarantees: the defaults of the page's tables."""
    plan = _plan(EXAMPLES[0])

    assert f"default `{plan.shutdown_timeout:g}s`" in PAGE
    assert f"| `metrics.address` | `{plan.telemetry.metrics.address}` |" in PAGE
    assert f"| `metrics.level` | `{plan.telemetry.metrics.level}` |" in PAGE
    assert f"| `logs.level` | `{plan.telemetry.logs.level}` |" in PAGE


def test_the_setting_of_the_page() -> None:
    """Scenario: the --set of the page. Guarantees: it does what the page says."""
    (setting,) = re.findall(r"--set (service\S+=\S+)", PAGE)
    assert _plan(EXAMPLES[0], setting).telemetry.logs.level == "debug"
