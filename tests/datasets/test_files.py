"""Names of files and folders on disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from thriftseg.datasets.files import frame_number, list_files, list_folders
from thriftseg.datasets.veis import VEIS
from thriftseg.errors import DatasetError, LabelStoreError
from thriftseg.stores.manifest import Manifest


def test_names_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / os.fsdecode(b"\xff.png")).mkdir()
    with pytest.raises(DatasetError, match=r"a name that is not UTF-8; found '\\udcff\.png'; fix: rename it"):
        list_folders(tmp_path)
    with pytest.raises(DatasetError, match="a name that is not UTF-8") as caught:
        list_files(tmp_path)
    str(caught.value).encode()
    error = DatasetError("cannot be read", path=tmp_path / os.fsdecode(b"\xff"))
    assert error.headline.encode().endswith(b"\\udcff: cannot be read")


def test_a_row_of_such_a_name_is_not_written(tmp_path: Path) -> None:
    lines = Manifest(tmp_path)
    lines.append([{"video": "a"}])
    with pytest.raises(LabelStoreError, match=r"a name that is not UTF-8; found '\\udcff'"):
        lines.append([{"video": os.fsdecode(b"a\xff")}])
    assert lines.read() == [{"video": "a"}]


def test_frame_numbers_fit_64_bits(tmp_path: Path) -> None:
    assert frame_number("frame" + "0" * 200 + "7") == 7
    assert frame_number("9" * 18) == 10**18 - 1
    with pytest.raises(DatasetError, match="frame number of more than 18 digits; found f9999"):
        frame_number("f" + "9" * 200)
    (tmp_path / "images/part").mkdir(parents=True)
    (tmp_path / f"images/part/{'9' * 200}.png").touch()
    with pytest.raises(DatasetError, match="frame number of more than 18 digits"):
        VEIS(tmp_path, pattern="*/*.png", regex=r"(?P<sequence>\w+)/(?P<frame>\d+)").clips("train")
