from __future__ import annotations

from pathlib import Path

import pytest

from thriftseg.errors import DatasetError
from thriftseg.exchange import AnnotatedImage, FrameNames, train_ids_of
from thriftseg.taxonomies import CAMVID, CITYSCAPES, IDD26, VEIS_TABLE
from thriftseg.types import Clip

ROOT = Path("/data/mine")


def numbered(video: str, count: int = 3) -> Clip:
    return Clip(video, {n: ROOT / f"train/{video}/frames/{n:06d}.png" for n in range(0, 10 * count, 10)})


CITY = Clip(
    "aachen_000000_000019",
    {n: ROOT / f"leftImg8bit_sequence/train/aachen/aachen_000000_{n:06d}_leftImg8bit.png" for n in range(10, 30)},
)
OWN = [numbered("street"), numbered("alley")]


def image(name: str, position: int | None = None, path: str = "labels/a.xml") -> AnnotatedImage:
    return AnnotatedImage(Path(path), name, (), None, position)


def found(clips, name, **where):
    return [(clip.video, number) for clip, number in FrameNames(clips, ROOT).find(image(name, **where))]


class TestFrames:
    @pytest.mark.parametrize(
        "name",
        [
            "street/000010.png",
            "street/000010",
            "street/10.jpg",
            "street/00010.png",
            "street_000010",
            "train/street/frames/000010.png",
            "/root/images/street/000010.png",
            "upload\\street\\000010.png",
            "3f2a1b0c-street_000010.png",
        ],
    )
    def test_names_of_a_numbered_frame(self, name):
        assert found(OWN, name) == [("street", 10)]

    @pytest.mark.parametrize("name", ["street/000011.png", "avenue/000010.png", "streets_000010", "frames/000010.png"])
    def test_unknown(self, name):
        assert found(OWN, name) == []

    def test_a_bare_number_is_ambiguous_or_clear(self):
        assert found(OWN, "000010.png") == [("alley", 10), ("street", 10)]
        assert found(OWN[:1], "000010.png") == [("street", 10)]
        assert found(OWN[:1], "elsewhere/000010.png") == []

    @pytest.mark.parametrize(
        "name",
        [
            "aachen_000000_000012_leftImg8bit.png",
            "aachen_000000_000012_gtFine",
            "aachen_000000_000012_gtFine_polygons",
            "aachen_000000_000012.jpg",
            "aachen_000000_000019/aachen_000000_000012_leftImg8bit.png",
            "deadbeef-aachen_000000_000012_leftImg8bit.png",
        ],
    )
    def test_names_of_cityscapes(self, name):
        assert found([CITY], name) == [("aachen_000000_000019", 12)]

    @pytest.mark.parametrize(
        ("name", "path"), [("street", "a.xml"), ("videos/street.mp4", "a.xml"), ("Task 7", "out/street.xml")]
    )
    def test_position_in_a_video(self, name, path):
        assert found(OWN, name, position=2, path=path) == [("street", 20)]
        assert found(OWN, name, position=3, path=path) == []

    def test_all_unknown_names_in_one_line(self):
        images = [image("street/000000.png"), *(image(f"moon/{n}.png") for n in range(7))]
        with pytest.raises(DatasetError) as error:
            FrameNames(OWN, ROOT).match(images)
        assert str(error.value) == (
            "labels/a.xml: 7 of 8 images fit no frame of the split; "
            "expected names such as street/000000.png or street/000000; "
            "found moon/0.png, moon/1.png, moon/2.png, moon/3.png, moon/4.png, ...; "
            "fix: choose the right --split, or give the images these names"
        )

    def test_ambiguous(self):
        with pytest.raises(DatasetError, match=r"1 of 1 images fit several frames.*found 000010.png"):
            FrameNames(OWN, ROOT).match([image("000010.png")])

    def test_twice(self):
        names = [image("street/10.png"), image("street_000010.png")]
        with pytest.raises(DatasetError, match=r"1 of 2 images fit a frame that another image fits too.*street_000010"):
            FrameNames(OWN, ROOT).match(names)


class TestClasses:
    def test_names_and_aliases(self):
        names = ["Traffic Light", "traffic_sign", "bicyclegroup", "polegroup", "ego vehicle", "license plate"]
        expected = [6, 7, 18, 255, 255, None]
        assert train_ids_of(names, CITYSCAPES, Path("a.json")) == dict(zip(names, expected, strict=True))
        assert train_ids_of(["tunnel", "non-drivable fallback"], IDD26, Path("a")) == {
            "tunnel": 23,
            "non-drivable fallback": 3,
        }

    def test_unlabelled_in_any_table(self):
        for taxonomy in (CAMVID, VEIS_TABLE):
            assert set(train_ids_of(["unlabeled", "void", "Unlabelled"], taxonomy, Path("a")).values()) == {255}

    def test_renamed(self):
        assert train_ids_of(["Fahrzeug"], CAMVID, Path("a"), {"Fahrzeug": "car"}) == {"Fahrzeug": 8}

    def test_all_unknown_names_in_one_line(self):
        with pytest.raises(DatasetError) as error:
            train_ids_of(["car", "lorry", "alien"], CAMVID, Path("a.json"))
        assert str(error.value) == (
            "a.json: 2 class names outside the class table 'camvid'; expected sky, building, pole, road, pavement, "
            "tree, sign, fence, car, pedestrian, bicyclist; found 'alien', 'lorry'; "
            'fix: rename them in the tool, or pass --class_names \'{"alien": "sky"}\''
        )
