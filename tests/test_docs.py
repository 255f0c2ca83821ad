from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from pipeline.config.load import load_plan
from pipeline.registry import Registry

PAGES = sorted([Path("README.md"), Path("CONTRIBUTING.md"), *Path("docs").rglob("*.md")])
BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://)([^)]+)\)")
FOLDERS = ("pipeline", "receivers", "processors", "exporters", "extensions")
WHOLE = [(page, block) for page in PAGES for block in BLOCK.findall(page.read_text("utf-8")) if "  pipelines:" in block]


@pytest.mark.parametrize(("page", "block"), WHOLE, ids=[str(page) for page, _ in WHOLE])
def test_whole_configs_in_the_pages_are_right(page: Path, block: str) -> None:
    """Scenario: a config with pipelines, as a page shows it. Guarantees: it loads without a warning."""
    plan = load_plan([f"yaml:{block}"], [], environ={}, registry=Registry())

    assert plan.pipelines
    assert plan.warnings == ()


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    """Scenario: the links of a page within the project. Guarantees: each file is there, and each heading."""
    missing = []
    for link in LINK.findall(page.read_text("utf-8")):
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(link)

    assert missing == []


def anchors(page: Path) -> set[str]:
    """Return what links can lead to, as GitHub makes it of headings."""
    titles = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_tables_are_whole() -> None:
    """Scenario: rows of tables on all pages. Guarantees: each is below another one, or names columns."""
    torn = []
    for page in PAGES:
        lines = ["", *FENCE.sub("", page.read_text("utf-8")).splitlines(), ""]
        for before, line, after in zip(lines, lines[1:], lines[2:], strict=False):
            if line.startswith("|") and not before.startswith("|") and not re.match(r"\|[ :|-]+$", after):
                torn.append(f"{page}: {line[:60]}")

    assert torn == []


def test_every_metric_is_on_a_page() -> None:
    """Scenario: the names of metrics in the code. Guarantees: each is explained on some page."""
    code = "".join(path.read_text("utf-8") for folder in FOLDERS for path in Path(folder).rglob("*.py"))
    pages = "".join(page.read_text("utf-8") for page in PAGES)

    names = set(re.findall(r'"((?:otelcol|jobsight)_[a-z_]+[a-z])"', code))

    def told(name: str) -> bool:
        # a page may shorten the second of two names to its end: `jobsight_x_records`, `_bytes`
        return name in pages or any(f"`{name[at.start() :]}`" in pages for at in re.finditer("_", name))

    assert len(names) > 50
    assert sorted(name for name in names if not told(name)) == []


def test_every_dependency_has_its_line() -> None:
    """Scenario: what pyproject.toml needs to run. Guarantees: docs/dependencies.md says why."""
    project = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *(each for name in extras if name != "all" for each in extras[name])]
    page = Path("docs/dependencies.md").read_text("utf-8").replace("OTLP exporters", "opentelemetry-exporter-otlp")

    names = [re.split(r"[<>=\[]", each)[0] for each in needed]

    assert [name for name in names if re.sub(r"(?<=otlp)-proto-\w+$", "", name) not in page] == []


def test_every_runbook_is_in_the_index() -> None:
    """Scenario: the pages of docs/runbooks. Guarantees: the index links to each."""
    folder = Path("docs/runbooks")
    listed = set(LINK.findall((folder / "README.md").read_text("utf-8")))

    assert {page.name for page in folder.glob("*.md")} - {"README.md"} <= listed
