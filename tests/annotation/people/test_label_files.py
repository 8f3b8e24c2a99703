from __future__ import annotations

import json
from pathlib import Path
from xml.etree.ElementTree import SubElement

import numpy as np
import pytest
from PIL import Image

from thriftseg.annotation.people.images import OUTLINE_COLOR
from thriftseg.annotation.people.label_files import FilesAnnotator
from thriftseg.annotation.people.requests import Request
from thriftseg.annotation.ranking.selection import Sample
from thriftseg.costs import AnnotationCost
from thriftseg.datasets.images import read_frame, write_label_png
from thriftseg.errors import ConfigError, DatasetError, WaitingForLabels
from thriftseg.exchange import ExportedFrame, ExportedObject
from thriftseg.exchange.cvat import mask_attributes
from thriftseg.exchange.formats import FORMATS
from thriftseg.parsing import dump_xml, read_xml
from thriftseg.taxonomies import CAMVID
from thriftseg.types import Clip

HEIGHT, WIDTH = 120, 160
VIDEO = "drive"
EXCHANGES = ["png", "coco", "cvat"]


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(0)
    return {number: rng.integers(0, 200, (HEIGHT, WIDTH, 3)).astype(np.uint8) for number in (0, 30)}


@pytest.fixture
def truth():
    truth = np.zeros((HEIGHT, WIDTH), np.uint8)
    truth[60:, 50:] = 3
    truth[70:80, 60:70] = 8
    truth[:, 150:] = 255
    return truth


def tile(number: int, region: int, top: int, left: int, size: int = 40) -> Request:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top : top + size, left : left + size] = True
    return Request.of(VIDEO, Sample(number, region), mask, "rec40")


@pytest.fixture
def requests():
    diamond = np.abs(np.arange(HEIGHT)[:, None] - 75) + np.abs(np.arange(WIDTH) - 55) <= 12
    return [
        tile(30, 5, 40, 40),
        tile(0, 0, 0, 0),
        Request.of(VIDEO, Sample(30, 99), diamond, "sp"),
    ]


@pytest.fixture
def make(tmp_path, frames):
    def annotator(exchange="png", **settings) -> FilesAnnotator:
        return FilesAnnotator(tmp_path, CAMVID, lambda video, number: frames[number], exchange=exchange, **settings)

    return annotator


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "round_1"


def crop_of(request: Request) -> tuple[slice, slice]:
    """With 32 pixels around it, as far as the frame reaches."""
    left, top, right, bottom = request.box
    return np.s_[max(0, top - 32) : bottom + 32, max(0, left - 32) : right + 32]


def name_of(request: Request) -> str:
    return f"{VIDEO}/{request.sample.number:06d}_{request.sample.region:05d}"


class Person:
    """Labels the images of a round as a tool would write them, in the region only unless told otherwise."""

    def __init__(self, exchange, folder, truth):
        self.exchange, self.folder, self.truth = exchange, folder, truth

    def label(self, *requests, beyond=False):
        crops = {}
        for request in requests:
            label = self.truth if beyond else np.where(request.region, self.truth, np.uint8(255))
            crops[name_of(request)] = np.ascontiguousarray(label[crop_of(request)])
        if self.exchange == "png":
            for name, crop in crops.items():
                write_label_png(self.folder / f"labels/{name}.png", crop, CAMVID.flat_palette())
        else:
            FORMATS[self.exchange].write(self.folder, map(self._exported, crops, crops.values()), CAMVID)

    @staticmethod
    def _exported(name, crop):
        present = [value for value in np.unique(crop).tolist() if value != 255]
        ids = np.zeros(crop.shape, np.uint16)
        for index, value in enumerate(present, start=1):
            ids[crop == value] = index
        video, file = name.split("/")
        clip = Clip(video, {0: Path(f"{file}.png")})
        return ExportedFrame(clip, 0, ids, tuple(ExportedObject(value) for value in present))


def note(folder, request, **notes):
    path = folder / "task.json"
    content = json.loads(path.read_text())
    [row] = [row for row in content["tasks"] if row["name"] == name_of(request)]
    row.update(notes)
    path.write_text(json.dumps(content))


def start(annotator, requests, round=1):
    with pytest.raises(WaitingForLabels) as waiting:
        annotator.ask(requests, round)
    return waiting.value


@pytest.mark.parametrize("exchange", EXCHANGES)
class TestEveryExchange:
    def test_labels_come_back(self, exchange, make, requests, folder, truth):
        error = start(make(exchange), requests)
        assert error.headline == (
            f"{folder}: 3 of 3 regions are not labelled yet: drive/000030_00005, drive/000000_00000, "
            "drive/000030_00099; fix: label them as instructions.md there says, then run the same command again"
        )
        Person(exchange, folder, truth).label(*requests)
        answers = make(exchange).ask(requests, 1)
        assert [answer.sample for answer in answers] == [(30, 5), (0, 0), (30, 99)]
        for answer, request in zip(answers, requests, strict=True):
            np.testing.assert_array_equal(answer.label, np.where(request.region, truth, 255))

    def test_the_run_goes_on_in_the_middle(self, exchange, make, requests, folder, truth):
        start(make(exchange), requests)
        person = Person(exchange, folder, truth)
        person.label(requests[0], requests[2])
        before = {path: path.read_bytes() for path in folder.rglob("*.*")}
        error = start(make(exchange), requests)
        assert "1 of 3 regions are not labelled yet: drive/000000_00000;" in error.headline
        assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before
        person.label(*requests)
        assert len(make(exchange).ask(requests, 1)) == 3
        assert len(make(exchange).ask(requests, 1)) == 3

    def test_files_that_got_lost_come_back(self, exchange, make, requests, folder):
        start(make(exchange), requests)
        before = {path: path.read_bytes() for path in folder.rglob("*.*")}
        for path in before:
            path.unlink()
            start(make(exchange), requests)
        assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before

    def test_what_lies_outside_of_the_region_is_counted_and_left_out(self, exchange, make, requests, folder, truth):
        [request] = requests[2:]
        start(make(exchange), [request])
        Person(exchange, folder, truth).label(request, beyond=True)
        count = np.count_nonzero((truth != 255)[crop_of(request)]) - request.pixels
        with pytest.warns(UserWarning, match=rf"round_1/.*: {count} labelled pixels lie outside of the regions"):
            [answer] = make(exchange).ask([request], 1)
        np.testing.assert_array_equal(answer.label, np.where(request.region, truth, 255))

    def test_labels_beside_the_region_are_no_answer(self, exchange, make, requests, folder, truth):
        [request] = requests[:1]
        start(make(exchange), [request])
        truth[request.region] = 255
        Person(exchange, folder, truth).label(request, beyond=True)
        with pytest.warns(UserWarning, match="were left out"):
            start(make(exchange), [request])

    def test_what_cannot_be_told_is_marked_as_done(self, exchange, make, requests, folder, truth):
        start(make(exchange), requests)
        Person(exchange, folder, truth).label(*requests[:2])
        note(folder, requests[2], done=True)
        answers = make(exchange).ask(requests, 1)
        assert (answers[2].label == 255).all()
        assert answers[2].cost == AnnotationCost()

    def test_costs(self, exchange, make, requests, folder, truth):
        """The first region holds three classes, the second is a square of one; noted seconds replace counted ones."""
        square = requests[0]
        start(make(exchange), [square, requests[1]])
        Person(exchange, folder, truth).label(square, requests[1])
        answers = make(exchange).ask([square, requests[1]], 1)
        assert answers[1].cost == AnnotationCost(seconds=7.0, clicks=4, class_clicks=1)
        assert answers[0].cost.class_clicks == 3
        assert answers[0].cost.seconds == 1.5 * answers[0].cost.clicks + 3
        assert {answer.cost_model for answer in answers} == {"polygon"}
        note(folder, requests[1], seconds=40)
        answers = make(exchange, seconds_per_sample=12.5).ask([square, requests[1]], 1)
        assert [answer.cost.seconds for answer in answers] == [12.5, 40.0]
        assert answers[1].cost == AnnotationCost(seconds=40.0, clicks=4, class_clicks=1)
        assert {answer.cost_model for answer in answers} == {""}

    def test_rounds_have_folders_of_their_own(self, exchange, make, requests, tmp_path, truth):
        start(make(exchange), requests[:1], round=1)
        start(make(exchange), requests[1:], round=2)
        Person(exchange, tmp_path / "round_2", truth).label(*requests[1:])
        assert len(make(exchange).ask(requests[1:], 2)) == 2
        start(make(exchange), requests[:1], round=1)

    def test_nothing_to_ask(self, exchange, make, folder):
        assert make(exchange).ask([], 1) == []
        assert not folder.exists()


class TestFolder:
    def test_image_shows_the_region_with_a_line_around_it(self, make, requests, folder, frames):
        start(make(), requests)
        for request in requests:
            crop = crop_of(request)
            image, region = read_frame(folder / f"images/{name_of(request)}.png"), request.region[crop]
            np.testing.assert_array_equal(image[region], frames[request.sample.number][crop][region])
            line = (image == OUTLINE_COLOR).all(axis=-1)
            beside = np.zeros_like(region)
            for row, column in np.argwhere(region).tolist():
                beside[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = True
            np.testing.assert_array_equal(line, beside & ~region)

    def test_whole_frame_has_no_line(self, make, folder, frames):
        start(make(), [Request.of(VIDEO, Sample(30, 0), np.ones((HEIGHT, WIDTH), bool), "frame")])
        np.testing.assert_array_equal(read_frame(folder / "images/drive/000030_00000.png"), frames[30])

    def test_instructions_list_the_classes(self, make, requests, folder):
        start(make(), requests)
        text = (folder / "instructions.md").read_text()
        assert "round_1: 3 regions to label" in text
        assert f"| 10 | {CAMVID.class_names[10]} |" in text
        assert json.loads((folder / "task.json").read_text())["classes"][10]["name"] == CAMVID.class_names[10]

    def test_frames_are_read_once(self, tmp_path, frames, requests):
        read = []

        def read_frame(video, number):
            read.append(number)
            return frames[number]

        start(FilesAnnotator(tmp_path, CAMVID, read_frame), requests)
        start(FilesAnnotator(tmp_path, CAMVID, read_frame), requests)
        assert read == [0, 30]

    def test_other_requests_are_refused(self, make, requests, folder):
        start(make(), requests)
        message = r"task\.json: this folder asks for other labels than the run does; expected 2 tasks; found 3 tasks"
        with pytest.raises(DatasetError, match=message):
            make().ask(requests[:2], 1)
        moved = tile(30, 5, 41, 40)
        with pytest.raises(DatasetError, match="of which 1 differ, first drive/000030_00005"):
            make().ask([moved, *requests[1:]], 1)
        with pytest.raises(DatasetError, match="expected exchange coco; found exchange png"):
            make("coco").ask(requests, 1)
        assert not (folder / "annotations.json").exists()

    @pytest.mark.parametrize(
        ("notes", "message"),
        [
            ({"seconds": -1}, r"'drive/000000_00000' is malformed at \$\.seconds; expected float >= 0\.0; found -1"),
            ({"seconds": "ten"}, r"malformed at \$\.seconds; expected float \| null; found 'ten'"),
            ({"seconds": True}, r"malformed at \$\.seconds; .*found True"),
            ({"done": "yes"}, r"malformed at \$\.done; expected bool; found 'yes'"),
        ],
    )
    def test_wrong_notes(self, make, requests, folder, notes, message):
        start(make(), requests)
        note(folder, requests[1], **notes)
        with pytest.raises(DatasetError, match=message):
            make().ask(requests, 1)

    def test_settings(self, make):
        with pytest.raises(ConfigError, match="no such exchange of labels; expected png, coco, cvat; found 'yolo'"):
            make("yolo")
        with pytest.raises(ConfigError, match="seconds_per_sample; expected 0 or more; found -1"):
            make(seconds_per_sample=-1)


class TestWrongPNGs:
    @pytest.fixture
    def label(self, make, requests, folder, truth):
        """A label of the right size and its path."""
        start(make(), requests[:1])
        return np.ascontiguousarray(truth[crop_of(requests[0])]), folder / f"labels/{name_of(requests[0])}.png"

    def refused(self, make, requests, message):
        with pytest.raises(DatasetError, match=message):
            make().ask(requests[:1], 1)

    def test_size(self, label, make, requests):
        write_label_png(label[1], label[0][:-1], CAMVID.flat_palette())
        self.refused(
            make, requests, r"00005\.png: the label of drive/000030_00005 has .*; expected 104x104; found 104x103"
        )

    def test_ids(self, label, make, requests):
        label[0][3, 3] = 11
        write_label_png(label[1], label[0], CAMVID.flat_palette())
        self.refused(
            make, requests, r"00005\.png: label ids outside .*; expected 0\.\.10, or 255 .*; found 11; fix: paint"
        )

    def test_colours(self, label, make, requests):
        Image.fromarray(label[0]).convert("RGB").save(label[1])
        self.refused(
            make, requests, r"00005\.png: a label map with colours .* found mode RGB; fix: save it as an indexed"
        )

    def test_no_image(self, label, make, requests):
        label[1].write_bytes(b"nothing")
        self.refused(make, requests, r"00005\.png: cannot decode the image")

    def test_sorted_palette(self, label, make, requests):
        write_label_png(label[1], label[0], bytes(reversed(CAMVID.flat_palette())))
        self.refused(
            make, requests, r"the palette has changed.*; expected colour \(128, 128, 128\) for id 0; found \(0, 0, 0\)"
        )

    def test_greyscale_is_fine(self, label, make, requests, truth):
        label[0][~requests[0].region[crop_of(requests[0])]] = 255
        write_label_png(label[1], label[0])
        [answer] = make().ask(requests[:1], 1)
        np.testing.assert_array_equal(answer.label, np.where(requests[0].region, truth, 255))


class TestWrongToolFiles:
    def content(self, make, requests, folder):
        start(make("coco"), requests[:1])
        return json.loads((folder / "annotations.json").read_text())

    def refused(self, make, requests, folder, content, message):
        (folder / "annotations.json").write_text(json.dumps(content))
        with pytest.raises(DatasetError, match=message):
            make("coco").ask(requests[:1], 1)

    def test_size(self, make, requests, folder):
        content = self.content(make, requests, folder)
        content["images"][0]["height"] = 50
        self.refused(
            make, requests, folder, content, r"annotations\.json: .*; expected 104x104; found 104x50; fix: label"
        )

    def test_class(self, make, requests, folder):
        content = self.content(make, requests, folder)
        content["categories"][0]["name"] = "cloud"
        corners = [40, 40, 60, 40, 60, 60, 40, 60]
        content["annotations"].append({"id": 1, "image_id": 1, "category_id": 1, "segmentation": [corners]})
        message = r"annotations\.json: 1 class names outside .*; found 'cloud'; fix: rename the classes in the tool"
        self.refused(make, requests, folder, content, message)

    def test_unknown_image(self, make, requests, folder):
        content = self.content(make, requests, folder)
        content["images"][0]["file_name"] = "drive/000031_00005.png"
        message = (
            r"image 'drive/000031_00005\.png' is none of this round.*; expected names such as drive/000030_00005\.png"
        )
        self.refused(make, requests, folder, content, message)

    def test_image_twice(self, make, requests, folder):
        content = self.content(make, requests, folder)
        content["images"].append(content["images"][0] | {"id": 2})
        self.refused(make, requests, folder, content, "image 'drive/000030_00005.png' is there twice")

    def test_no_file_of_the_tool(self, make, requests, folder):
        start(make("cvat"), requests[:1])
        (folder / "annotations.xml").write_text("{}")
        with pytest.raises(DatasetError, match=r"annotations\.xml: is not XML"):
            make("cvat").ask(requests[:1], 1)

    def test_images_left_out_of_the_file_are_asked_for(self, make, requests, folder):
        content = self.content(make, requests, folder)
        content["images"] = []
        (folder / "annotations.json").write_text(json.dumps(content))
        assert "1 of 1 regions" in start(make("coco"), requests[:1]).headline

    def test_shapes_of_a_person(self, make, requests, folder):
        """A polygon, and a mask on top of it, of an image that the tool knows by its file name only."""
        start(make("cvat"), requests[:1])
        root = read_xml(folder / "annotations.xml")
        image = root.find("image")
        image.set("name", "000030_00005.png")
        points = "32,32;72,32;72,72;32,72"
        SubElement(image, "polygon", {"label": CAMVID.class_names[3], "points": points, "z_order": "0"})
        mask = np.zeros((104, 104), bool)
        mask[40:50, 40:50] = True
        SubElement(image, "mask", {"label": CAMVID.class_names[8], "z_order": "1", **mask_attributes(mask)})
        (folder / "annotations.xml").write_bytes(dump_xml(root))
        [answer] = make("cvat").ask(requests[:1], 1)
        expected = np.full((40, 40), 3, np.uint8)
        expected[8:18, 8:18] = 8
        np.testing.assert_array_equal(answer.patch, expected)
        assert answer.cost == AnnotationCost(seconds=14.0, clicks=8, class_clicks=2)
