"""Boxes in the file formats of others, found again in the frames they belong to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.datasets.vos import vos_trees as trees
from thriftseg.datasets import DAVIS, TAOVOS
from thriftseg.errors import DatasetError
from thriftseg.exchange.box_tracks import read_box_tracks, write_box_tracks

BOX = (2.0, 3.5, 12.0, 20.0)


@pytest.fixture
def davis(tmp_path: Path) -> DAVIS:
    return DAVIS(trees.write_davis(tmp_path / "davis"))


@pytest.fixture
def tao(tmp_path: Path) -> TAOVOS:
    return TAOVOS(trees.write_tao_vos(tmp_path / "tao"))


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def coco_file(path: Path, images: dict[int, str], annotations: list[dict]) -> Path:
    files = [{"id": key, "file_name": name, "height": 24, "width": 40} for key, name in images.items()]
    return write(path, {"images": files, "annotations": annotations, "categories": []})


class TestOwnForm:
    def test_round_trip(self, davis, tmp_path):
        boxes = {"bear": {0: {1: BOX, 7: (0.0, 0.0, 3.0, 3.0)}, 2: {7: BOX}}}
        write_box_tracks(tmp_path / "boxes.json", boxes, davis.clips("train"))
        assert json.loads((tmp_path / "boxes.json").read_text())["videos"]["bear"]["7"]["00002"] == list(BOX)
        tracks = read_box_tracks(tmp_path / "boxes.json", davis, "train")
        assert tracks.boxes == boxes
        assert (tracks.unmatched, tracks.names) == (0, {})

    def test_boxes_of_other_videos_are_counted(self, davis, tmp_path):
        videos = {"bear": {"1": {"00000": BOX, "00099": BOX}}, "nowhere": {"1": {"00000": BOX}}}
        path = write(tmp_path / "b.json", {"format": "thriftseg/box_tracks", "version": 1, "videos": videos})
        tracks = read_box_tracks(path, davis, "train")
        assert tracks.unmatched == 2
        assert tracks.boxes == {"bear": {0: {1: BOX}}}

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("{", "is not JSON"),
            ({"a": 1}, r"\$; expected an entry images; .*; fix: give boxes in the format of COCO"),
            ({"format": "thriftseg/box_tracks", "version": 2, "videos": {}}, "unknown version; expected 1; found 2"),
            ({"format": "thriftseg/box_tracks", "version": 1}, r"malformed at \$; expected an entry videos"),
            (
                {"format": "thriftseg/box_tracks", "version": 1, "videos": {"bear": {"1": {"00000": [1, 2, 3]}}}},
                r"malformed at \$\.videos\.bear\['1'\]\['00000'\]; expected array of length 4; found a list of 3",
            ),
            ({"format": "thriftseg/box_tracks", "version": 1, "videos": {}}, "no box lies in a frame of split 'train'"),
        ],
    )
    def test_what_is_no_file_of_boxes(self, davis, tmp_path, content, message):
        with pytest.raises(DatasetError, match=rf"b\.json: .*{message}"):
            read_box_tracks(write(tmp_path / "b.json", content), davis, "train")


class TestCOCO:
    def test_boxes_are_corner_and_size(self, davis, tmp_path):
        annotations = [
            {"id": 5, "image_id": 1, "bbox": [2, 3.5, 10, 16.5], "track_id": 4},
            {"id": 6, "image_id": 1, "bbox": [0, 0, 5, 5], "iscrowd": 1},
        ]
        path = coco_file(tmp_path / "c.json", {1: "bear/00002.jpg"}, annotations)
        assert read_box_tracks(path, davis, "train").boxes == {"bear": {2: {4: BOX}}}

    def test_tao_finds_videos_of_sources_and_renumbers_large_ids(self, tao, tmp_path):
        images = {
            1: "train/Charades/X1Y2Z/frame0039.jpg",
            2: "train/Charades/X1Y2Z/frame0100.jpg",
            3: "train/BDD/q/1.jpg",
        }
        annotations = [
            {"id": 1, "image_id": 1, "bbox": [2, 3.5, 10, 16.5], "track_id": 90210},
            {"id": 2, "image_id": 2, "bbox": [2, 3.5, 10, 16.5], "track_id": 90210},
            {"id": 3, "image_id": 2, "bbox": [0, 0, 4, 4], "track_id": 300},
            {"id": 4, "image_id": 3, "bbox": [0, 0, 4, 4], "track_id": 1},
        ]
        tracks = read_box_tracks(coco_file(tmp_path / "t.json", images, annotations), tao, "train")
        assert tracks.boxes == {"Charades/X1Y2Z": {39: {2: BOX}, 100: {2: BOX, 1: (0, 0, 4, 4)}}}
        assert tracks.names == {"Charades/X1Y2Z": {1: 300, 2: 90210}}
        assert tracks.unmatched == 1

    def test_two_boxes_of_an_object(self, davis, tmp_path):
        annotation = {"image_id": 1, "bbox": [2, 3.5, 10, 16.5], "track_id": 4}
        path = coco_file(tmp_path / "c.json", {1: "bear/00002.jpg"}, [annotation, annotation])
        with pytest.raises(DatasetError, match="object 4 has two boxes in frame 2 of 'bear'"):
            read_box_tracks(path, davis, "train")


class TestMOT:
    def test_pixels_count_from_one_and_confidence_zero_is_out(self, davis, tmp_path):
        text = "1,4,3,4.5,10,16.5,1,1,1.0\n1,5,1,1,4,4,0,1,1.0\n2,4,3,4.5,10,16.5\n77,4,1,1,2,2,1\n"
        tracks = read_box_tracks(write(tmp_path / "bear.csv", text), davis, "train")
        assert tracks.boxes == {"bear": {1: {4: BOX}, 2: {4: BOX}}}
        assert tracks.unmatched == 1

    @pytest.mark.parametrize("name", ["{video}.txt", "{video}/gt/gt.txt"])
    def test_folders(self, davis, tmp_path, name):
        for video in ("bear", "camel"):
            path = tmp_path / "mot" / name.format(video=video)
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, "1,4,3,4.5,10,16.5,1\n")
        tracks = read_box_tracks(tmp_path / "mot", davis, "train")
        assert tracks.boxes == {"bear": {1: {4: BOX}}, "camel": {1: {4: BOX}}}

    def test_malformed_lines_are_named(self, davis, tmp_path):
        with pytest.raises(DatasetError, match=r"bear\.csv: line 2 is malformed"):
            read_box_tracks(write(tmp_path / "bear.csv", "1,4,3,4,10,16\n1,five,3,4,10,16\n"), davis, "train")
