from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures.annotation_page import Page


@pytest.fixture
def page(tmp_path: Path) -> Page:
    return Page(tmp_path)
