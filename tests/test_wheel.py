from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile


def test_the_wheel_brings_our_packages_and_nothing_else(tmp_path: Path) -> None:
    """Scenario: the wheel as it would be published.

    Guarantees: our generic top-level names only, typed, with their data files.
    """
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = ZipFile(wheel).namelist()

    packages = {"pipeline", "receivers", "processors", "exporters", "extensions"}
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == packages
    assert {f"{package}/py.typed" for package in packages} <= set(names)
    data = {
        str(path) for package in packages for ending in ("sql", "yaml") for path in Path(package).rglob(f"*.{ending}")
    }
    assert data <= set(names)
