"""The zip that servers take, and what is refused before it is written."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.datasets.vos import vos_trees as trees
from thriftseg.datasets import DAVIS, MOSE, TAOVOS, YouTubeVOS
from thriftseg.errors import ConfigError, DatasetError
from thriftseg.exchange.submission import write_submission


def predict(folder: Path, names: list[str], ids: tuple[int, ...]) -> None:
    for name in names:
        trees.mask(folder / f"{name}.png", ids)


def test_davis(tmp_path: Path):
    dataset = DAVIS(trees.write_davis(tmp_path / "data"))
    predict(tmp_path / "results/480p/tennis", trees.numbered(4), (1, 3))
    made = write_submission(dataset, "test-dev", tmp_path / "results", tmp_path / "davis.zip")
    assert (made.videos, made.frames) == (1, 4)
    with zipfile.ZipFile(tmp_path / "davis.zip") as packed:
        assert packed.namelist() == [f"tennis/{name}.png" for name in trees.numbered(4)]
        image = Image.open(BytesIO(packed.read("tennis/00002.png")))
        assert image.mode == "P"
        assert image.getpalette()[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]
        assert np.array_equal(np.array(image), trees.ids_map((1, 3)))


def test_equal_predictions_give_equal_files(tmp_path: Path):
    dataset = MOSE(trees.write_mose(tmp_path / "data"))
    predict(tmp_path / "results/ff00ff00", trees.numbered(4), (7,))
    for name in ("a.zip", "b.zip"):
        write_submission(dataset, "valid", tmp_path / "results", tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_youtube_vos_takes_the_listed_frames_only(tmp_path: Path):
    root = trees.write_youtube_vos(tmp_path / "data")
    predict(tmp_path / "results/Annotations/0062f687f1", [f"{number:05d}" for number in range(26)], (4,))
    write_submission(YouTubeVOS(root, all_frames=True), "valid", tmp_path / "results", tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as packed:
        assert packed.namelist() == [f"Annotations/0062f687f1/{name}.png" for name in trees.numbered(6, 5)]


def test_all_faults_are_listed_and_nothing_is_written(tmp_path: Path):
    dataset = DAVIS(trees.write_davis(tmp_path / "data"))
    folder = tmp_path / "results/tennis"
    predict(folder, ["00000"], (1, 2, 3))
    predict(folder, ["00001"], (1, 4, 255))
    trees.mask(folder / "00002.png", (1,), (12, 20))
    with pytest.raises(DatasetError, match="3 predictions cannot be submitted") as raised:
        write_submission(dataset, "test-dev", tmp_path / "results", tmp_path / "out.zip")
    unknown, small, missing = str(raised.value).splitlines()[1:]
    assert "00001.png: ids of no object; expected [0, 1, 2, 3]; found [4, 255]" in unknown
    assert "00002.png: a mask of the wrong size; expected 40x24; found 20x12" in small
    assert "00003.png: no such file" in missing
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []


def test_proposals_of_the_unsupervised_task(tmp_path: Path):
    root = trees.write_davis(tmp_path / "data")
    trees.lines(root / "ImageSets/2019/test-dev.txt", "tennis")
    predict(tmp_path / "results/tennis", trees.numbered(4), (1, 20))
    dataset = DAVIS(root, task="unsupervised")
    assert write_submission(dataset, "test-dev", tmp_path / "results", tmp_path / "out.zip").frames == 4
    predict(tmp_path / "results/tennis", ["00001"], (21,))
    with pytest.raises(DatasetError, match="1 predictions cannot be submitted"):
        write_submission(dataset, "test-dev", tmp_path / "results", tmp_path / "out.zip")


def test_wrong_requests(tmp_path: Path):
    dataset = DAVIS(trees.write_davis(tmp_path / "data"))
    with pytest.raises(DatasetError, match=r"no predictions; expected tennis/00000\.png"):
        write_submission(dataset, "test-dev", tmp_path / "nowhere", tmp_path / "out.zip")
    with pytest.raises(ConfigError, match=r"out\.tar: not the name of a zip"):
        write_submission(dataset, "test-dev", tmp_path, tmp_path / "out.tar")
    with pytest.raises(ConfigError, match="no server scores tao_vos"):
        write_submission(TAOVOS(tmp_path), "valid", tmp_path, tmp_path / "out.zip")
