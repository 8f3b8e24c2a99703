"""Files as the tools write them, and what is said about malformed ones."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from thriftseg.errors import DatasetError
from thriftseg.exchange import encode_brush
from thriftseg.exchange.formats import FORMATS
from thriftseg.exchange.records import ExportedFrame, ExportedObject
from thriftseg.parsing import dump_xml
from thriftseg.taxonomies import CITYSCAPES
from thriftseg.types import Clip

ROAD, CAR, SKY = 0, 13, 10
IDS = {"road": ROAD, "car": CAR, "sky": SKY}


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def label_of(image, height=6, width=8):
    return image.paint((height, width), IDS)


def box(label, rows, columns, height=6, width=8):
    expected = np.full((height, width), 255, np.uint8)
    expected[rows, columns] = label
    return expected


class TestCoco:
    @pytest.fixture
    def content(self):
        return {
            "info": {
                "description": "",
                "url": "",
                "version": "1.0",
                "year": 2024,
                "contributor": "",
                "date_created": "",
            },
            "licenses": [{"id": 1, "name": "", "url": ""}],
            "images": [
                {
                    "id": 397133,
                    "license": 1,
                    "file_name": "a.jpg",
                    "height": 6,
                    "width": 8,
                    "date_captured": "2013-11-14 17:02:52",
                    "flickr_url": "",
                    "coco_url": "",
                }
            ],
            "annotations": [
                {
                    "id": 1,
                    "image_id": 397133,
                    "category_id": 3,
                    "segmentation": [[2.0, 1.0, 6.0, 1.0, 6.0, 5.0, 2.0, 5.0], [7, 0, 8, 0, 8, 1, 7, 1]],
                    "area": 17.0,
                    "bbox": [2, 0, 6, 5],
                    "iscrowd": 0,
                },
                {
                    "id": 2,
                    "image_id": 397133,
                    "category_id": 1,
                    "segmentation": {"size": [6, 8], "counts": [20, 2, 26]},
                    "area": 2,
                    "bbox": [3, 2, 1, 2],
                    "iscrowd": 1,
                },
                {
                    "id": 3,
                    "image_id": 397133,
                    "category_id": 1,
                    "segmentation": {"size": [6, 8], "counts": "0?Q1"},
                    "area": 15,
                    "bbox": [0, 0, 3, 6],
                    "iscrowd": 1,
                },
            ],
            "categories": [
                {"id": 3, "name": "car", "supercategory": "vehicle"},
                {"id": 1, "name": "road", "supercategory": "flat"},
            ],
        }

    def test_polygons_and_both_run_lengths(self, content, tmp_path):
        content["annotations"][2]["segmentation"]["counts"] = "0?Q1"  # 0, 15 and 33 = 0b100001: 1 + 32 + 48, 1 + 48
        (image,) = FORMATS["coco"].read(write(tmp_path / "instances.json", content))
        expected = box(CAR, slice(1, 5), slice(2, 6))
        expected[0, 7] = CAR
        expected[2:4, 3] = ROAD  # 20 = 3 columns of 6, and 2
        expected[:, :2] = expected[:3, 2] = ROAD
        np.testing.assert_array_equal(label_of(image), expected)
        assert (image.name, image.size) == ("a.jpg", (6, 8))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda c: c.pop("categories"), r"malformed at \$; expected an entry categories"),
            (lambda c: c["images"][0].pop("width"), r"malformed at \$\.images\[0\]; expected an entry width"),
            (lambda c: c["images"].append(c["images"][0]), r"images\[1\] has the id of another; found 397133"),
            (
                lambda c: c["annotations"][1].pop("segmentation"),
                r"malformed at \$\.annotations\[1\]; expected an entry seg",
            ),
            (
                lambda c: c["annotations"][0].update(image_id=7),
                r"annotations\[0\] has the image_id 7, which",
            ),
            (lambda c: c["annotations"][2].update(category_id=9), r"annotations\[2\] .* category_id 9, which"),
            (lambda c: c["annotations"][0].update(segmentation=[]), r"annotations\[0\] .* found segmentation \[\]"),
            (lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3]]), r"annotations\[0\] is malformed"),
            (
                lambda c: c["annotations"][1]["segmentation"].update(counts=[20, 2]),
                r"annotations\[1\] .* found run lengths of 22 pixels for a box of 8x6",
            ),
            (
                lambda c: c["annotations"][1]["segmentation"].update(size=[8, 6]),
                r"annotations\[1\] .* found run lengths of size 6x8 in an image of 8x6",
            ),
        ],
    )
    def test_malformed(self, content, tmp_path, change, message):
        change(content)
        path = write(tmp_path / "instances.json", content)
        with pytest.raises(DatasetError, match=message) as error:
            FORMATS["coco"].read(path)
        assert str(error.value).startswith(f"{path}: ")
        assert "\n" not in str(error.value)

    def test_no_json(self, tmp_path):
        with pytest.raises(DatasetError, match=r"x.json: is not JSON"):
            FORMATS["coco"].read(write(tmp_path / "x.json", "{"))
        with pytest.raises(DatasetError, match=r"annotations.json: no such file"):
            FORMATS["coco"].read(tmp_path)


CVAT_HEAD = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <task>
      <id>5</id>
      <name>{name}</name>
      <size>6</size>
      <mode>{mode}</mode>
      <overlap>0</overlap>
      <bugtracker></bugtracker>
      <labels>
        <label><name>car</name><color>#00008e</color><type>any</type><attributes></attributes></label>
      </labels>
      <owner><username>admin</username><email></email></owner>
      {extra}
    </task>
    <dumped>2024-09-25 11:38:28.799808+00:00</dumped>
  </meta>
"""

CVAT_IMAGE = (
    CVAT_HEAD.format(name="drive", mode="annotation", extra="")
    + """
  <image id="0" name="drive/000001.png" width="8" height="6">
    <box label="car" source="manual" occluded="0" xtl="1.00" ytl="1.00" xbr="5.00" ybr="5.00" z_order="2">
      <attribute name="parked">yes</attribute>
    </box>
    <polygon label="road" source="manual" occluded="0" points="0.00,3.00;8.00,3.00;8.00,6.00;0.00,6.00" z_order="1">
    </polygon>
    <mask label="sky" source="semi-auto" occluded="0" rle="1, 3" left="6" top="0" width="2" height="2" z_order="0">
    </mask>
    <points label="sky" source="manual" occluded="0" points="0.50,0.50;2.90,1.20" z_order="3">
    </points>
    <tag label="night" source="manual"></tag>
  </image>
  <image id="1" name="drive/000002.png" width="8" height="6">
  </image>
</annotations>
"""
)


class TestCvat:
    def test_all_shapes_in_their_order(self, tmp_path):
        first, second = FORMATS["cvat"].read(write(tmp_path / "annotations.xml", CVAT_IMAGE))
        expected = box(ROAD, slice(3, 6), slice(0, 8))
        expected[1:5, 1:5] = CAR
        expected[0, 7] = expected[1, 6:8] = SKY
        expected[0, 0] = expected[1, 2] = SKY
        np.testing.assert_array_equal(label_of(first), expected)
        assert (first.name, first.size) == ("drive/000001.png", (6, 8))
        assert second.shapes == ()

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            (
                'rle="1, 3"',
                'rle="1, 2"',
                r"shape 2 of image 'drive/000001.png' .* run lengths of 3 pixels for a box of",
            ),
            ('rle="1, 3"', 'rle="1; 3"', "shape 2 of image .* invalid literal"),
            (' points="0.00,3.00;8.00,3.00;8.00,6.00;0.00,6.00"', "", "shape 1 of image .* has no 'points'"),
            ("0.00,3.00;8.00,3.00;8.00,6.00;0.00,6.00", "0.00,3.00;8.00,3.00", "shape 1 of image .* at least three"),
            ('xtl="1.00"', 'xtl="left"', "shape 0 of image .* could not convert"),
            ("<points ", "<polyline ", "mismatched tag"),
            (' name="drive/000001.png"', "", "image 0 has no 'name'"),
            ("</annotations>", "", "is not XML; found no element found: line"),
        ],
    )
    def test_malformed(self, tmp_path, old, new, message):
        assert old in CVAT_IMAGE
        path = write(tmp_path / "annotations.xml", CVAT_IMAGE.replace(old, new))
        with pytest.raises(DatasetError, match=message) as error:
            FORMATS["cvat"].read(path)
        assert str(error.value).startswith(f"{path}: ")

    def test_shapes_without_area(self, tmp_path):
        content = CVAT_IMAGE.replace("<points ", "<polyline ").replace("</points>", "</polyline>")
        with pytest.raises(DatasetError, match=r"shape 3 .* found a polyline, expected mask, polygon, box or points"):
            FORMATS["cvat"].read(write(tmp_path / "a.xml", content))

    def test_the_other_kind_of_file(self, tmp_path):
        image, video = write(tmp_path / "a.xml", CVAT_IMAGE), write(tmp_path / "b.xml", CVAT_VIDEO)
        with pytest.raises(DatasetError, match=r"b.xml: not a file of CVAT for images.*found tracks.*cvat-video"):
            FORMATS["cvat"].read(video)
        with pytest.raises(DatasetError, match=r"a.xml: not a file of CVAT for video.*found <image>.*--format cvat"):
            FORMATS["cvat-video"].read(image)


CVAT_VIDEO = (
    CVAT_HEAD.format(
        name="drive", mode="interpolation", extra="<original_size><width>8</width><height>6</height></original_size>"
    )
    + """
  <track id="0" label="car" source="manual">
    <box frame="0" keyframe="1" outside="0" occluded="0" xtl="0.00" ytl="1.00" xbr="2.00" ybr="3.00" z_order="0"></box>
    <box frame="4" keyframe="1" outside="1" occluded="0" xtl="4.00" ytl="1.00" xbr="6.00" ybr="3.00" z_order="0"></box>
  </track>
  <track id="1" label="road" source="manual">
    <polygon frame="1" keyframe="1" outside="0" occluded="0" points="0,4;2,4;2,6;0,6" z_order="0"></polygon>
    <polygon frame="3" keyframe="1" outside="0" occluded="1" points="4,4;6,4;6,6;4,6" z_order="0"></polygon>
  </track>
  <track id="2" label="sky" source="manual">
    <mask frame="0" keyframe="1" outside="0" occluded="0" rle="0, 4" left="0" top="0" width="4" height="1" z_order="0">
    </mask>
    <mask frame="3" keyframe="1" outside="0" occluded="0" rle="0, 2" left="6" top="0" width="2" height="1" z_order="0">
    </mask>
  </track>
  <track id="3" label="car" source="manual">
    <box frame="4" keyframe="1" outside="0" occluded="0" xtl="0" ytl="1" xbr="2" ybr="3" z_order="0"></box>
    <box frame="5" keyframe="0" outside="0" occluded="0" xtl="5" ytl="1" xbr="7" ybr="3" z_order="0"></box>
  </track>
</annotations>
"""
)


class TestCvatVideo:
    def test_tracks(self, tmp_path):
        images = FORMATS["cvat-video"].read(write(tmp_path / "x.xml", CVAT_VIDEO))
        assert [(image.name, image.position, image.size) for image in images] == [
            ("drive", position, (6, 8)) for position in range(6)
        ]
        labels = [label_of(image) for image in images]
        # a track that ends outside stays where it is until then; boxes and polygons move between visible key frames
        starts = {CAR: [0, 0, 0, 0, 0, 5], ROAD: [None, 0, 2, 4, 4, 4], SKY: [0, 0, 0, 6, 6, 6]}
        width = {CAR: 2, ROAD: 2, SKY: 4}
        for train_id, columns in starts.items():
            for label, column in zip(labels, columns, strict=True):
                found = np.unique(np.nonzero(label == train_id)[1]).tolist()
                expected = [] if column is None else list(range(column, min(8, column + width[train_id])))
                assert found == expected

    def test_boxes_move_on_straight_lines(self, tmp_path):
        content = CVAT_VIDEO.replace('frame="4" keyframe="1" outside="1"', 'frame="4" keyframe="1" outside="0"', 1)
        images = FORMATS["cvat-video"].read(write(tmp_path / "x.xml", content))
        firsts = [int(np.nonzero(label_of(image)[1:3] == CAR)[1].min()) for image in images[:4]]
        assert firsts == [0, 1, 2, 3]

    def test_polygons_of_other_corner_counts_stay(self, tmp_path):
        content = CVAT_VIDEO.replace("4,4;6,4;6,6;4,6", "4,4;6,4;6,6;5,6;4,6")
        images = FORMATS["cvat-video"].read(write(tmp_path / "x.xml", content))
        assert (label_of(images[2])[4:, :2] == ROAD).all()

    def test_task_of_every_second_frame(self, tmp_path):
        filtered = "<start_frame>0</start_frame><stop_frame>5</stop_frame><frame_filter>step=2</frame_filter>"
        content = CVAT_VIDEO.replace("<original_size>", filtered + "<original_size>")
        images = FORMATS["cvat-video"].read(write(tmp_path / "x.xml", content))
        assert {image.position for image in images if any(shape.label == "sky" for shape in image.shapes)} >= {0, 2}

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ('frame="3" keyframe="1"', 'keyframe="1"', "<meta> has no 'frame'"),
            ('<track id="2" label="sky"', '<track id="2"', "track 2 has no 'label'"),
            ('rle="0, 2"', 'rle="0, 3"', "track 2 is malformed; found run lengths of 3 pixels"),
        ],
    )
    def test_malformed(self, tmp_path, old, new, message):
        path = write(tmp_path / "x.xml", CVAT_VIDEO.replace(old, new))
        with pytest.raises(DatasetError, match=message) as error:
            FORMATS["cvat-video"].read(path)
        assert str(error.value).startswith(f"{path}: ")

    def test_frames_are_written_one_by_one(self, tmp_path):
        """The memory does not grow with the clip, and the file is as if the whole of it had been made first."""

        def frames(count):
            clip = Clip("drive", {number: Path(f"{number}.png") for number in range(count)})
            for number in range(count):
                ids = np.random.default_rng(number).integers(0, 3, (60, 80)).astype(np.uint16)
                yield ExportedFrame(clip, number, ids, (ExportedObject(CAR), ExportedObject(ROAD)))

        peaks = []
        for count in (4, 40):
            tracemalloc.start()
            path, _ = FORMATS["cvat-video"].write(tmp_path, frames(count), CITYSCAPES)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert peaks[1] < 1.5 * peaks[0] < path.stat().st_size
        assert dump_xml(ElementTree.parse(path).getroot()) == path.read_bytes()  # noqa: S314
        images = FORMATS["cvat-video"].read(path)
        assert [image.position for image in images] == list(range(40))
        for image, frame in zip(images, frames(40), strict=True):
            np.testing.assert_array_equal(label_of(image, 60, 80), np.array([255, CAR, ROAD])[frame.ids])

    def test_empty_folder(self, tmp_path):
        with pytest.raises(DatasetError, match=r"expected one XML file per clip; found no \*.xml"):
            FORMATS["cvat-video"].read(tmp_path)


class TestLabelStudio:
    @pytest.fixture
    def content(self):
        mask = np.zeros((6, 8), bool)
        mask[1:3, 1:4] = True
        common = {
            "from_name": "tag",
            "to_name": "image",
            "original_width": 8,
            "original_height": 6,
            "image_rotation": 0,
        }
        result = [
            {
                "id": "aB3",
                "type": "polygonlabels",
                "origin": "manual",
                **common,
                "value": {
                    "points": [[25, 50], [100, 50], [100, 100], [25, 100]],
                    "closed": True,
                    "polygonlabels": ["road"],
                },
            },
            {
                "id": "xY1",
                "type": "brushlabels",
                "origin": "manual",
                **common,
                "value": {"format": "rle", "rle": encode_brush(mask), "brushlabels": ["car"]},
            },
            {
                "id": "q",
                "type": "rectanglelabels",
                **common,
                "value": {"x": 75, "y": 0, "width": 25, "height": 100 / 6, "rotation": 0, "rectanglelabels": ["sky"]},
            },
            {"id": "c", "type": "choices", "from_name": "ok", "to_name": "image", "value": {"choices": ["yes"]}},
            {"from_id": "aB3", "to_id": "xY1", "type": "relation", "direction": "right"},
        ]
        return [
            {
                "id": 1,
                "annotations": [
                    {"id": 1, "completed_by": 1, "result": [], "was_cancelled": False, "lead_time": 12.5},
                    {"id": 2, "completed_by": 1, "result": result, "was_cancelled": False, "ground_truth": False},
                    {"id": 3, "completed_by": 2, "result": [], "was_cancelled": True},
                ],
                "file_upload": "3f2a1b0c-000001.png",
                "predictions": [],
                "data": {"image": "/data/upload/7/3f2a1b0c-000001.png"},
                "meta": {},
                "project": 7,
            },
            {"id": 2, "annotations": [], "data": {"image": "/data/local-files/?d=drive/a%20b.png"}},
        ]

    def test_export_of_the_tool(self, content, tmp_path):
        image, bare = FORMATS["label-studio"].read(write(tmp_path / "project-7.json", content))
        expected = box(ROAD, slice(3, 6), slice(2, 8))
        expected[1:3, 1:4] = CAR
        expected[0, 6:8] = SKY
        np.testing.assert_array_equal(label_of(image), expected)
        assert (image.name, image.size) == ("data/upload/7/3f2a1b0c-000001.png", (6, 8))
        assert (bare.name, bare.shapes, bare.size) == ("drive/a b.png", (), None)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda t, r: t.pop("annotations"), r"\$\[0\]; expected an entry annotations; .* not as JSON-MIN"),
            (lambda t, r: t.pop("data"), r"malformed at \$\[0\]; expected an entry data"),
            (lambda t, r: r[0]["value"].pop("points"), "result 0 of task 0 has no 'points'"),
            (lambda t, r: r[1]["value"].update(rle=r[1]["value"]["rle"][:-3]), "result 1 of task 0 .* end early"),
            (lambda t, r: r[1].update(original_width=9), "result 1 of task 0 .* 192 bytes for an image of 9x6"),
            (lambda t, r: r[2].update(original_width=9), "task 0 .* different sizes"),
            (lambda t, r: r[0].update(image_rotation=90), "result 0 of task 0 .* turned by 90 degrees"),
            (lambda t, r: r[0].update(type="ellipselabels"), "result 0 of task 0"),
            (lambda t, r: r[0]["value"].update(polygonlabels=["road", "car"]), "result 0 .* expected one"),
        ],
    )
    def test_malformed(self, content, tmp_path, change, message):
        change(content[0], content[0]["annotations"][1]["result"])
        path = write(tmp_path / "p.json", content)
        with pytest.raises(DatasetError, match=message) as error:
            FORMATS["label-studio"].read(path)
        assert str(error.value).startswith(f"{path}: ")


class TestCityscapes:
    def test_file_of_the_tool(self, tmp_path):
        content = {
            "imgHeight": 6,
            "imgWidth": 8,
            "objects": [
                {"label": "sky", "polygon": [[0, 0], [7, 0], [7, 5], [0, 5]]},
                {"label": "car", "polygon": [[1, 1], [3, 1], [3, 2], [1, 2]], "deleted": 0, "user": "x", "id": 4},
                {"label": "car", "polygon": [[5, 1], [6, 1], [6, 2]], "deleted": 1},
            ],
        }
        write(tmp_path / "gtFine/train/aachen/aachen_000000_000019_gtFine_polygons.json", content)
        (image,) = FORMATS["cityscapes"].read(tmp_path)
        expected = np.full((6, 8), SKY, np.uint8)
        expected[1:3, 1:4] = CAR
        np.testing.assert_array_equal(label_of(image), expected)
        assert image.name == "aachen_000000_000019_gtFine"

    def test_malformed(self, tmp_path):
        path = write(tmp_path / "a_gtFine_polygons.json", {"objects": []})
        with pytest.raises(DatasetError, match=r"a_gtFine_polygons.json: malformed at .* an entry imgHeight"):
            FORMATS["cityscapes"].read(path)
        path.unlink()
        with pytest.raises(DatasetError, match=r"no annotations; expected \*_polygons.json"):
            FORMATS["cityscapes"].read(tmp_path)


class TestDavis:
    @pytest.fixture
    def root(self, tmp_path):
        ids = np.zeros((6, 8), np.uint8)
        ids[1:3], ids[4], ids[5, 7] = 1, 2, 255
        image = Image.fromarray(ids)
        image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, *[0] * 759])
        folder = tmp_path / "Annotations/480p/bear"
        folder.mkdir(parents=True)
        image.save(folder / "00004.png")
        write(tmp_path / "Annotations/objects.json", {"*": {"1": "sky"}, "bear": {"2": "car"}})
        return tmp_path

    def test_palette_file(self, root):
        (image,) = FORMATS["davis"].read(root)
        expected = box(SKY, slice(1, 3), slice(0, 8))
        expected[4] = CAR
        np.testing.assert_array_equal(label_of(image), expected)
        assert image.name == "bear/00004.png"

    @pytest.mark.parametrize("folder", ["Full-Resolution", "."])
    def test_other_folders(self, root, folder):
        source, target = root / "Annotations/480p/bear", root / "Annotations" / folder / "bear"
        target.parent.mkdir(exist_ok=True)
        source.rename(target)
        source.parent.rmdir()
        assert [image.name for image in FORMATS["davis"].read(root)] == ["bear/00004.png"]

    def test_sixteen_bits(self, root):
        ids = np.zeros((6, 8), np.uint16)
        ids[2, 3], ids[0, 0] = 40000, 255
        Image.fromarray(ids).save(root / "Annotations/480p/bear/00004.png")
        write(root / "Annotations/objects.json", {"bear": {"40000": "car", "255": "sky"}})
        (image,) = FORMATS["davis"].read(root)
        assert label_of(image)[2, 3] == CAR
        assert label_of(image)[0, 0] == SKY

    def test_object_without_class(self, root):
        write(root / "Annotations/objects.json", {"*": {"1": "sky"}})
        with pytest.raises(DatasetError, match=r"00004.png: object 2 has no class; fix: add its id to .*objects.json"):
            FORMATS["davis"].read(root)

    def test_no_table(self, root):
        (root / "Annotations/objects.json").unlink()
        with pytest.raises(DatasetError, match=r'objects.json: no class table of the objects; expected \{"\*"'):
            FORMATS["davis"].read(root)

    def test_malformed_table(self, root):
        path = write(root / "Annotations/objects.json", {"bear": {"one": "car"}})
        with pytest.raises(DatasetError, match=rf"{path}: malformed at \$\.bear; .* found 'one'"):
            FORMATS["davis"].read(root)
