"""Every wrong configuration in `bad/` and the lines that a user gets for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config.load import load_plan
from pipeline.errors import ConfigError
from tests.pipeline.config.toys import REGISTRY

BAD = Path(__file__).parent / "bad"
NAMES = sorted(path.stem for path in BAD.glob("*.yaml"))
ENVIRON = {"WORD": "five", "LOOP": "${env:LOOP}", "MAP": "{a: 1}"}


@pytest.mark.parametrize("name", NAMES)
def test_every_problem_has_its_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenario: a config with the mistake that its name tells. Guarantees: just the expected lines, no secret."""
    monkeypatch.chdir(BAD)
    expected = (BAD / f"{name}.expected").read_text(encoding="utf-8").splitlines()

    with pytest.raises(ConfigError) as caught:
        load_plan([f"{name}.yaml"], [], environ=ENVIRON, registry=REGISTRY)

    assert expected == caught.value.problems
    assert not any("hunter2" in line or "31337" in line for line in caught.value.problems)


def test_the_lines_and_the_configs_belong_together() -> None:
    """Scenario: the folder of bad configs. Guarantees: each has its lines, no lines are left of one that is gone."""
    assert sorted(path.stem for path in BAD.glob("*.expected")) == NAMES
    assert len(NAMES) >= 40
