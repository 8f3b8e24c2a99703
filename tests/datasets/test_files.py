"""Names of files and folders on disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from thriftseg.datasets.files import list_files, list_folders
from thriftseg.errors import DatasetError


def test_names_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / os.fsdecode(b"\xff.png")).mkdir()
    for listing in (list_folders, list_files):
        with pytest.raises(DatasetError, match=r"/\\udcff\.png: a name that is not UTF-8; fix: rename the file"):
            listing(tmp_path)
    assert list_files(tmp_path, (".jpg",)) == []
