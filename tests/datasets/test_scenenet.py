"""The reader of SceneNet RGB-D on small trees in its layout."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from thriftseg.cli.main import main
from thriftseg.datasets import EmptySplitError, SceneNet
from thriftseg.datasets.registry import create
from thriftseg.datasets.tools.check import check_dataset
from thriftseg.errors import DatasetError
from thriftseg.taxonomies import NYU13

HEIGHT, WIDTH = 24, 32
NUMBERS = [0, 25, 50, 75, 100]


def write_png(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), content)


def write_trajectory(folder: Path, numbers: list[int] = NUMBERS, value: int = 7) -> None:
    """Photos, class maps, maps of objects and depth, written in random order."""
    for number in random.Random(0).sample(numbers, len(numbers)):
        write_png(folder / f"photo/{number}.jpg", np.full((HEIGHT, WIDTH, 3), number, np.uint8))
        write_png(folder / f"class/{number}.png", np.full((HEIGHT, WIDTH), value, np.uint8))
        write_png(folder / f"instance/{number}.png", np.full((HEIGHT, WIDTH), 3, np.uint16))
        write_png(folder / f"depth/{number}.png", np.full((HEIGHT, WIDTH), 1500, np.uint16))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("train/0/7", "train/16/999", "val/0/223"):
        write_trajectory(tmp_path / name)
    return tmp_path


def remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


class TestClips:
    def test_a_clip_is_a_trajectory(self, root: Path):
        dataset = SceneNet(root)
        assert [clip.video for clip in dataset.clips("train")] == ["train_0_7", "train_16_999"]
        (clip,) = dataset.clips("val")
        assert (clip.video, clip.drive, clip.frame_step) == ("val_0_223", "val_0_223", 25)
        assert list(clip.frames) == list(clip.labels) == list(clip.instances) == NUMBERS
        assert clip.frames[25] == root / "val/0/223/photo/25.jpg"
        assert clip.past(50, 3) == [0, 0, 25]
        assert clip.offset_of(50, 100) == 2

    def test_test_split_is_empty(self, root: Path):
        with pytest.raises(EmptySplitError, match="split 'test' of scenenet is empty"):
            SceneNet(root).clips("test")

    def test_by_name(self, root: Path):
        assert isinstance(create("SceneNet", root), SceneNet)

    def test_a_trajectory_without_class_maps_has_no_labels(self, root: Path):
        remove(root / "train/16/999/class")
        labelled, other = SceneNet(root).clips("train")
        assert list(labelled.labels) == NUMBERS
        assert (list(other.frames), dict(other.labels), dict(other.instances)) == (NUMBERS, {}, {})


class TestContent:
    def test_train_ids_are_values_less_one(self, root: Path):
        values = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH) % 14
        write_png(root / "val/0/223/class/50.png", values)
        dataset = SceneNet(root)
        label = dataset.read_label(dataset.clips("val")[0], 50)
        np.testing.assert_array_equal(label, np.where(values == 0, 255, values.astype(int) - 1))
        assert dataset.taxonomy is NYU13

    @pytest.mark.parametrize("value", [14, 255])
    def test_other_values_are_refused(self, root: Path, value: int):
        write_png(root / "val/0/223/class/50.png", np.full((HEIGHT, WIDTH), value, np.uint8))
        dataset = SceneNet(root)
        with pytest.raises(
            DatasetError, match=rf"class/50\.png: label ids.*'nyu13'; expected ids 0\.\.13; found {value}"
        ):
            dataset.read_label(dataset.clips("val")[0], 50)

    def test_colour_pictures_of_the_tools_are_refused(self, root: Path):
        write_png(root / "val/0/223/class/50.png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        dataset = SceneNet(root)
        with pytest.raises(DatasetError, match="a label map with colours instead of ids"):
            dataset.read_label(dataset.clips("val")[0], 50)

    def test_instances_carry_their_class(self, root: Path):
        classes = np.full((HEIGHT, WIDTH), 4, np.uint8)  # chair
        classes[0], classes[1], classes[2] = 3, 0, 10  # ceiling, unknown, table
        objects = np.full((HEIGHT, WIDTH), 12, np.uint16)
        objects[2], objects[3] = 999, 0
        write_png(root / "val/0/223/class/25.png", classes)
        write_png(root / "val/0/223/instance/25.png", objects)
        dataset = SceneNet(root)
        instances = dataset.read_instances(dataset.clips("val")[0], 25)
        assert instances.dtype == np.int32
        assert instances[:5, 0].tolist() == [0, 0, 9999, 0, 3012]
        assert (instances[4:] == 3012).all()

    def test_number_that_does_not_fit(self, root: Path):
        write_png(root / "val/0/223/instance/25.png", np.full((HEIGHT, WIDTH), 1000, np.uint16))
        dataset = SceneNet(root)
        with pytest.raises(DatasetError, match=r"instance/25\.png: an object has too large.*below 1000; found 1000"):
            dataset.read_instances(dataset.clips("val")[0], 25)

    def test_instances_of_another_size(self, root: Path):
        write_png(root / "val/0/223/instance/25.png", np.ones((HEIGHT, WIDTH - 1), np.uint16))
        dataset = SceneNet(root)
        with pytest.raises(DatasetError, match=r"instance/25\.png: sizes differ inside a clip"):
            dataset.read_instances(dataset.clips("val")[0], 25)

    def test_no_map_of_objects(self, root: Path):
        (root / "val/0/223/instance/25.png").unlink()
        dataset = SceneNet(root)
        (clip,) = dataset.clips("val")
        assert dataset.read_instances(clip, 25) is None
        assert (dataset.read_instances(clip, 50) == 6003).all()


class TestMissingFiles:
    def test_class_maps_that_were_never_made(self, root: Path):
        remove(root / "val/0/223/class")
        with pytest.raises(
            DatasetError,
            match=r"val/0/223/class: split 'val' of scenenet has no class maps; fix: apply NYU_WNID_TO_CLASS",
        ) as raised:
            SceneNet(root).clips("val")
        assert "pySceneNetRGBD" in raised.value.headline
        assert "{split}/{group}/{trajectory}/class/{frame}.png" in str(raised.value)

    def test_class_map_that_is_missing(self, root: Path):
        (root / "train/0/7/class/75.png").unlink()
        with pytest.raises(
            DatasetError,
            match=r"train/0/7/class/75\.png: a photo has no class map; found 4 maps for 5 photos; fix: apply",
        ):
            SceneNet(root).clips("train")

    def test_photo_that_is_missing(self, root: Path):
        (root / "train/0/7/photo/75.jpg").unlink()
        with pytest.raises(DatasetError, match=r"train/0/7/photo/75\.jpg: a class map has no photo"):
            SceneNet(root).clips("train")

    def test_trajectory_without_photos(self, root: Path):
        remove(root / "train/0/7/photo")
        with pytest.raises(DatasetError, match=r"train/0/7/photo/0\.jpg: a trajectory has no photos"):
            SceneNet(root).clips("train")

    def test_name_that_is_no_number(self, root: Path):
        write_png(root / "val/0/223/photo/cover.jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        with pytest.raises(DatasetError, match=r"photo/cover\.jpg: the name of a file is no frame number"):
            SceneNet(root).clips("val")


class TestCheck:
    def test_synthetic_rooms(self, scenenet_root: Path, capsys: pytest.CaptureFixture[str]):
        report = check_dataset(SceneNet(scenenet_root), devices=1)
        assert report.faults == []
        assert [(split.clips, split.frames, split.labels, split.instances) for split in report.splits] == [
            (3, 24, 24, 24),
            (2, 16, 16, 16),
        ]
        assert report.splits[0].number_range == (0, 175)
        assert main(["data", "check", "--dataset", "scenenet", "--root", str(scenenet_root)]) == 0
        assert "scenenet in" in capsys.readouterr().out

    def test_damaged_maps_are_found(self, root: Path):
        write_png(root / "val/0/223/class/50.png", np.full((HEIGHT, WIDTH), 20, np.uint8))
        write_png(root / "val/0/223/instance/0.png", np.full((HEIGHT, WIDTH), 5000, np.uint16))
        found = {
            (fault.kind, Path(fault.message.partition(":")[0]).parts[-2:])
            for fault in check_dataset(SceneNet(root)).faults
        }
        assert found == {
            ("instances", ("instance", "0.png")),
            ("instances", ("class", "50.png")),  # the class of an object comes from there
            ("label", ("class", "50.png")),
        }


def test_synthesized_from_the_command_line(tmp_path: Path):
    sizes = ["--train_clips=1", "--val_clips=1", "--frames=2", "--height=48", "--width=64", "--devices=1"]
    arguments = ["data", "synthesize", "--layout", "scenenet", "--out", str(tmp_path), "--image_format", "jpg", *sizes]
    assert main(arguments) == 0
    (clip,) = SceneNet(tmp_path).clips("val")
    assert (clip.video, clip.frames[25]) == ("val_0_0", tmp_path / "val/0/0/photo/25.jpg")
