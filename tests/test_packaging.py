"""What the wheel takes along beside the modules."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_wheel_holds_every_config_and_no_generator() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    included: dict[str, str] = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert all(target == f"thriftseg/{source}" for source, target in included.items())
    files = {
        path
        for source in included
        for path in ((ROOT / source).rglob("*") if (ROOT / source).is_dir() else [ROOT / source])
    }
    assert {path for path in files if path.suffix == ".py"} == set()
    assert set((ROOT / "configs").rglob("*.yaml")) <= files
