from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.labels.review.reviewed_street import Street, propagated


@pytest.fixture(scope="session")
def sam2_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of "sam2.1_hiera_tiny"; use them with a small `image_size`."""
    from tests.labels.small_sam2 import write_checkpoint

    return write_checkpoint(tmp_path_factory.mktemp("sam2"))


@pytest.fixture(scope="session")
def propagated_street(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("street")
    propagated(Street(), folder)
    return folder


@pytest.fixture
def street(propagated_street, tmp_path) -> Street:
    """The street, propagated from frame 10 to all others into `tmp_path`, source "known_motion"."""
    shutil.copytree(propagated_street, tmp_path, dirs_exist_ok=True)
    return Street()
