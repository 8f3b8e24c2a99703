from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def camvid_copy(camvid_root: Path, tmp_path: Path) -> Path:
    """CamVid files that a test may break."""
    return Path(shutil.copytree(camvid_root, tmp_path / "camvid"))


@pytest.fixture
def cityscapes_copy(cityscapes_root: Path, tmp_path: Path) -> Path:
    """Cityscapes files that a test may break."""
    return Path(shutil.copytree(cityscapes_root, tmp_path / "cityscapes"))
