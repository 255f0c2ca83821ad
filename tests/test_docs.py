from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.config.load import load_plan
from pipeline.registry import Registry

PAGES = sorted([Path("README.md"), Path("CONTRIBUTING.md"), *Path("docs").rglob("*.md")])
BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")
WHOLE = [(page, block) for page in PAGES for block in BLOCK.findall(page.read_text("utf-8")) if "  pipelines:" in block]


@pytest.mark.parametrize(("page", "block"), WHOLE, ids=[str(page) for page, _ in WHOLE])
def test_whole_configs_in_the_pages_are_right(page: Path, block: str) -> None:
    """Scenario: a config with pipelines, as a page shows it. Guarantees: it loads without a warning."""
    plan = load_plan([f"yaml:{block}"], [], environ={}, registry=Registry())

    assert plan.pipelines
    assert plan.warnings == ()


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    """Scenario: the links of a page to files of the project. Guarantees: each is there."""
    missing = [link for link in LINK.findall(page.read_text("utf-8")) if not (page.parent / link).exists()]

    assert missing == []


def test_every_runbook_is_in_the_index() -> None:
    """Scenario: the pages of docs/runbooks. Guarantees: the index links to each."""
    folder = Path("docs/runbooks")
    listed = set(LINK.findall((folder / "README.md").read_text("utf-8")))

    assert {page.name for page in folder.glob("*.md")} - {"README.md"} <= listed
