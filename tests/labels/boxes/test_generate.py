"""Labels from boxes: the whole way from a data set to the store, by a network that answers with its box."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from thriftseg.datasets import DAVIS, pixel_box
from thriftseg.datasets.images import write_label_png
from thriftseg.datasets.vos.base import PALETTE
from thriftseg.errors import ConfigError, DatasetError, LabelStoreError
from thriftseg.exchange import export_objects
from thriftseg.exchange.box_tracks import read_box_tracks, write_box_tracks
from thriftseg.labels import (
    Box2SegSegmenter,
    FineTuning,
    MaskFilter,
    Prompt,
    PromptedSegmenter,
    UnfinishedError,
    create_prompter,
    label_boxes,
)
from thriftseg.labels.boxes.generate import LabelQuality
from thriftseg.labels.boxes.settings import drawn_frame
from thriftseg.labels.boxes.table import MaskRow, MaskTable
from thriftseg.stores.label_store import LabelStore, rows_equal
from thriftseg.taxonomies import OBJECT_IDS
from thriftseg.zoo import Box2Seg

SIZE = (60, 90)
FRAMES = (0, 5, 10, 20)  # with a gap
GREY = {1: 230, 7: 140}


def truth(number: int) -> np.ndarray:
    """A bright square that moves to the right, and a grey disc that enters at frame 10 and partly hides it."""
    ids = np.zeros(SIZE, np.uint8)
    left = 10 + number
    ids[15:35, left : left + 20] = 1
    if number >= 10:
        cv2.circle(ids, (50, 30), 9, 7, cv2.FILLED)
    return ids


@pytest.fixture
def davis(tmp_path: Path) -> DAVIS:
    """One video whose objects have the ids 1 and 7."""
    root = tmp_path / "davis"
    for number in FRAMES:
        ids = truth(number)
        image = np.full((*SIZE, 3), 30, np.uint8)
        for object_id, grey in GREY.items():
            image[ids == object_id] = grey
        for folder in ("JPEGImages", "Annotations"):
            (root / folder / "480p" / "film").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / "JPEGImages" / "480p" / "film" / f"{number:05d}.jpg"), image)
        write_label_png(root / "Annotations" / "480p" / "film" / f"{number:05d}.png", ids, PALETTE)
    (root / "ImageSets" / "2017").mkdir(parents=True)
    (root / "ImageSets" / "2017" / "train.txt").write_text("film\n")
    return DAVIS(root)


class AnswersWithTheBox(Box2Seg):
    """A tiny true network: the logit is a learned factor of the box, of the brightness, and a bias."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.factors = torch.nn.Parameter(torch.tensor([8.0, 0.0, -4.0]))

    def forward(self, frames: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        box, grey, bias = self.factors
        return (box * boxes.float() + grey * frames.mean(1) + bias).unsqueeze(1)


def segmenter(**settings) -> Box2SegSegmenter:
    return Box2SegSegmenter(AnswersWithTheBox(), **{"crop": (61, 61), "margin": 10} | settings)


def run(dataset: DAVIS, folder: Path, method=None, **settings):
    return label_boxes(
        dataset,
        "train",
        method or segmenter(),
        **{"store": folder, "source": "made", "accelerator": "cpu", "progress": False} | settings,
    )


def labels_of(folder: Path, source: str = "made") -> dict[int, np.ndarray]:
    store = LabelStore(folder, source, OBJECT_IDS)
    return {number: store.read("film", number) for _, number in sorted(store.labels)}


def table_of(folder: Path, source: str = "made") -> dict[tuple[int, int], MaskRow]:
    return {(row.frame, row.object): row for row in MaskTable(folder / source).read()}


class TestFromMasks:
    def test_labels_are_the_boxes_of_a_network_that_answers_with_them(self, davis, tmp_path):
        summary = run(davis, tmp_path)
        labels = labels_of(tmp_path)
        assert list(labels) == list(FRAMES)
        assert np.array_equal(labels[0], truth(0))  # a square fills its box
        assert (labels[20][21:40, 50:60] == 7).all()  # right of the square, the whole box and nothing beside it
        assert not (labels[20][:, 60:]).any()
        assert (summary.written, summary.boxes, summary.manual, summary.invalid) == (4, 6, 0, 0)

    def test_every_box_has_a_row(self, davis, tmp_path):
        run(davis, tmp_path)
        table = table_of(tmp_path)
        assert sorted(table) == [(0, 1), (5, 1), (10, 1), (10, 7), (20, 1), (20, 7)]
        first = table[0, 1]
        assert (first.box, first.status, first.source, first.area) == ((10, 15, 30, 35), "mask", "box2seg", 400)
        assert first.iou == 1.0
        assert first.kept
        assert first.confidence == pytest.approx(1 / (1 + np.exp(-4)), abs=0.01)
        disc = table[20, 7]
        made, true = labels_of(tmp_path)[20] == 7, truth(20) == 7
        assert disc.iou == pytest.approx((made & true).sum() / (made | true).sum(), abs=1e-6)
        with (tmp_path / "made" / "masks.csv").open() as stream:
            rows = list(csv.DictReader(stream))
        assert [row["object"] for row in rows] == ["1", "1", "1", "7", "1", "7"]
        assert rows[0]["x1"] == "30"

    def test_a_box_is_paid_once_by_all_sources(self, davis, tmp_path):
        assert run(davis, tmp_path).cost.boxes == 6
        summary = run(davis, tmp_path, PromptedSegmenter(create_prompter("grabcut")), source="other")
        assert summary.cost.seconds == 6 * 7
        first, second = (LabelStore(tmp_path, source, OBJECT_IDS).actions for source in ("made", "other"))
        assert set(first) == set(second)
        assert "box.7:davis/film/000020" in first

    def test_grabcut_cuts_the_disc_out_of_its_box(self, davis, tmp_path):
        summary = run(davis, tmp_path, PromptedSegmenter(create_prompter("grabcut")))
        assert summary.quality.j_mean > 0.95
        assert table_of(tmp_path)[20, 7].source == "grabcut"

    def test_sam2_answers_box_prompts(self, davis, tmp_path, sam2_checkpoint):
        pytest.importorskip("sam2")
        prompter = create_prompter("sam2", weights=sam2_checkpoint, image_size=128, device="cpu")
        run(davis, tmp_path, PromptedSegmenter(prompter))
        frame = davis.read_frame(davis.clips("train")[0], 0)
        (answer,) = prompter.embed(frame).predict([Prompt(box=(10, 15, 30, 35))], candidates=1)
        assert np.array_equal(labels_of(tmp_path)[0] == 1, answer.masks[0])
        assert table_of(tmp_path)[0, 1].source == "sam2"

    def test_clipping_to_the_box(self, davis, tmp_path):
        network = AnswersWithTheBox()
        network.factors.data = torch.tensor([0.0, 0.0, 4.0])  # everything is foreground
        run(davis, tmp_path, Box2SegSegmenter(network, crop=(61, 61), margin=10, clip_to_box=True))
        assert np.array_equal(labels_of(tmp_path)[0], truth(0))

    def test_noise_moves_boxes_and_depends_on_the_seed_alone(self, davis, tmp_path):
        boxes = []
        for source, seed in (("a", 1), ("b", 1), ("c", 2)):
            run(davis, tmp_path, source=source, seed=seed, box_noise=0.1)
            boxes.append([row.box for row in table_of(tmp_path, source).values()])
        assert boxes[0] == boxes[1] != boxes[2]

    def test_soft_masks(self, davis, tmp_path):
        run(davis, tmp_path, keep_soft=True)
        with Image.open(tmp_path / "made" / "film" / "000020.7.soft.png") as image:
            soft = np.array(image)
        assert soft.shape == SIZE
        assert np.unique(soft > 127).tolist() == [False, True]
        assert (soft > 127).sum() == 19 * 19


class TestDrawnMasks:
    @pytest.mark.parametrize(("count", "index"), [(1, 0), (2, 1), (3, 1), (4, 2)])
    def test_the_middle_frame(self, count, index):
        numbers = [3, 90, 91, 400][:count]
        assert drawn_frame(numbers[::-1], "middle") == numbers[index]
        assert drawn_frame(numbers, "first") == 3
        assert drawn_frame(numbers, "random", (1,)) in numbers

    def test_fine_tuning_changes_only_the_copy(self, davis, tmp_path):
        network = AnswersWithTheBox()
        before = {name: value.clone() for name, value in network.state_dict().items()}
        tuning = FineTuning(steps=30, lr=0.3)
        summary = run(
            davis, tmp_path, Box2SegSegmenter(network, crop=(61, 61), margin=10, tuning=tuning), finetune="middle"
        )
        for name, value in network.state_dict().items():
            assert torch.equal(value, before[name])
        table = table_of(tmp_path)
        assert {key: row.source for key, row in table.items()} == {
            (0, 1): "box2seg_ft",
            (5, 1): "box2seg_ft",
            (10, 1): "manual",
            (20, 1): "box2seg_ft",
            (10, 7): "box2seg_ft",
            (20, 7): "manual",
        }
        assert summary.manual == 2
        assert (summary.cost.boxes, summary.cost.masks, summary.cost.seconds) == (6, 2, 6 * 7 + 2 * 80)
        assert np.array_equal(labels_of(tmp_path)[20] == 7, truth(20) == 7)  # the drawn mask itself

    def test_steps_are_counted(self, davis):
        clip = davis.clips("train")[0]
        calls = []
        network = AnswersWithTheBox()
        forward = network.two_class_logits
        method = Box2SegSegmenter(network, crop=(33, 33), tuning=FineTuning(steps=300))
        type(network).two_class_logits = lambda self, *inputs: calls.append(1) or forward.__func__(self, *inputs)
        try:
            method.fine_tuned(davis.read_frame(clip, 0), davis.read_object_mask(clip, 0, 1), [0])
        finally:
            del type(network).two_class_logits
        assert len(calls) == 300

    def test_objects_do_not_influence_each_other(self, davis, tmp_path):
        """The order of the boxes of a frame, and the other object altogether, change no mask."""
        clip = davis.clips("train")[0]
        masks = {}
        for name, ids in {"both": (1, 7), "swapped": (7, 1), "alone": (1,)}.items():
            boxes = {n: {k: b for k in ids if (b := box_in(n, k)) is not None} for n in FRAMES}
            path = tmp_path / f"{name}.json"
            write_box_tracks(path, {"film": boxes}, [clip])
            content = json.loads(path.read_text())
            content["videos"]["film"] = {str(k): content["videos"]["film"][str(k)] for k in ids}
            path.write_text(json.dumps(content))
            method = segmenter(tuning=FineTuning(steps=20, lr=0.2))
            tracks = read_box_tracks(path, davis, "train")
            run(davis, tmp_path, method, tracks=tracks, finetune="middle", source=name, keep_soft=True)
            soft = sorted((tmp_path / name / "film").glob("*.1.soft.png"))
            masks[name] = [np.array(Image.open(file)) for file in soft]
        for one, other in (("both", "swapped"), ("both", "alone")):
            assert all(np.array_equal(a, b) for a, b in zip(masks[one], masks[other], strict=True))

    def test_prompters_learn_nothing(self, davis, tmp_path):
        with pytest.raises(ConfigError, match="grabcut cannot be fine-tuned"):
            run(davis, tmp_path, PromptedSegmenter(create_prompter("grabcut")), finetune="middle")


def box_in(number: int, object_id: int) -> tuple[float, float, float, float] | None:
    rows, columns = np.nonzero(truth(number) == object_id)
    return (columns.min(), rows.min(), columns.max() + 1.0, rows.max() + 1.0) if len(rows) else None


class TestFilter:
    def test_oracle_ignores_the_boxes_of_bad_masks(self, davis, tmp_path):
        """The disc covers 0.79 of its box, the square all of it where nothing hides it."""
        summary = run(davis, tmp_path, mask_filter=MaskFilter("oracle", 0.9))
        table = table_of(tmp_path)
        assert {key for key, row in table.items() if not row.kept} == {(10, 7), (20, 7), (10, 1), (20, 1)} & {
            key for key, row in table.items() if row.iou < 0.9
        }
        assert summary.bad == sum(not row.kept for row in table.values()) >= 2
        label = labels_of(tmp_path)[20]
        kept = table[20, 1].kept
        assert (label[21:40, 41:60][~((label == 1)[21:40, 41:60])] == 255).all()
        assert (label == 1).any() == kept
        assert "oracle-filtered" in str(summary)

    def test_kept_masks_are_those_without_a_filter(self, davis, tmp_path):
        run(davis, tmp_path, source="plain")
        (tmp_path / "bad.csv").write_text("video,frame,object\nfilm,20,7\n")
        run(davis, tmp_path, mask_filter=MaskFilter.from_file(tmp_path / "bad.csv"))
        plain, filtered = labels_of(tmp_path, "plain"), labels_of(tmp_path)
        assert np.array_equal(plain[10], filtered[10])
        assert np.array_equal(plain[20] == 1, filtered[20] == 1)
        box = np.zeros(SIZE, bool)
        box[21:40, 41:60] = True
        assert np.array_equal(filtered[20] == 255, box & (plain[20] != 1))

    def test_the_report_tells_of_masks_before_the_filter(self, davis, tmp_path):
        plain = run(davis, tmp_path, source="plain").quality
        assert run(davis, tmp_path, mask_filter=MaskFilter("oracle", 0.9)).quality == plain

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "no such file"),
            ("video;frame\n", "lacks a column; expected video, frame, object; found video, frame"),
            ("video,frame,object\nfilm,x,7\n", r"line 2 is malformed at \$\.frame; expected int; found 'x'"),
            ("video,frame,object\nfilm,1\n", r"line 2 is malformed at \$; expected an entry object"),
        ],
    )
    def test_a_list_that_is_none(self, tmp_path, content, message):
        if content is not None:
            (tmp_path / "bad.csv").write_text(content)
        with pytest.raises(DatasetError, match=rf"bad\.csv: {message}"):
            MaskFilter.from_file(tmp_path / "bad.csv")


class TestQuality:
    def test_by_hand(self):
        rows = [
            MaskRow("a", number, 1, (0, 0, 9, 9), "mask", "box2seg", 9, 0.9, iou, True)
            for number, iou in enumerate([0.4, 0.5, 0.7, 1.0, None])  # the object is absent from the last frame
        ]
        quality = LabelQuality.of(rows)
        assert (quality.masks, quality.objects) == (4, 1)
        assert quality.recall_50 == 0.75
        assert quality.recall_70 == 0.5
        assert quality.j_mean == pytest.approx(0.65)
        assert LabelQuality.of(rows[-1:]) is None

    def test_report_file(self, davis, tmp_path):
        summary = run(davis, tmp_path)
        report = json.loads((tmp_path / "made" / "quality.json").read_text())
        assert report["quality"]["j_mean"] == pytest.approx(summary.quality.j_mean)
        assert report["cost"] == {"seconds": 42.0, "boxes": 6}
        assert (report["labels"], report["manual"]) == (4, 0)


class TestTracks:
    def tracks(self, davis, tmp_path, boxes):
        write_box_tracks(tmp_path / "boxes.json", {"film": boxes}, davis.clips("train"))
        return read_box_tracks(tmp_path / "boxes.json", davis, "train")

    def test_bad_boxes_are_noted(self, davis, tmp_path):
        boxes = {0: {1: (10, 15, 30, 35), 2: (40, 40, 40, 50), 3: (50, 50, 40, 40), 4: (95, 5, 120, 20)}}
        summary = run(davis, tmp_path, tracks=self.tracks(davis, tmp_path, boxes))
        table = table_of(tmp_path)
        assert [table[0, key].status for key in (1, 2, 3, 4)] == ["mask", *["invalid_box"] * 3]
        assert summary.invalid == 3
        assert summary.cost.boxes == 1
        assert np.unique(labels_of(tmp_path)[0]).tolist() == [0, 1]

    def test_an_empty_answer_is_noted(self, davis, tmp_path):
        network = AnswersWithTheBox()
        network.factors.data = torch.tensor([0.0, 0.0, -4.0])
        summary = run(davis, tmp_path, Box2SegSegmenter(network, crop=(33, 33)))
        assert summary.empty == 6
        assert table_of(tmp_path)[0, 1].iou == 0.0
        rows = table_of(tmp_path).values()
        for number, label in labels_of(tmp_path).items():
            unknown = np.zeros(label.shape, bool)
            for row in rows:
                if row.frame == number:
                    left, top, right, bottom = pixel_box(row.box, label.shape)
                    unknown[top:bottom, left:right] = True
            np.testing.assert_array_equal(label, np.where(unknown, 255, 0))  # an object is there, nobody knows where

    def test_sources_of_other_making_are_refused(self, davis, tmp_path):
        run(davis, tmp_path)
        with pytest.raises(LabelStoreError, match="made in another way"):
            run(davis, tmp_path, mask_filter=MaskFilter("oracle"))


class TestRuns:
    def test_an_interrupted_run_goes_on(self, davis, tmp_path):
        whole, part = tmp_path / "whole", tmp_path / "part"
        run(davis, whole)
        run(davis, part)
        store = LabelStore(part, "made", OBJECT_IDS)
        rows = store.manifest_path.read_text().splitlines()
        store.manifest_path.write_text("".join(f"{row}\n" for row in rows if '"frame":10,' not in row))
        store.path_of("film", 10).unlink()
        summary = run(davis, part)
        assert (summary.written, summary.kept) == (1, 3)
        assert rows_equal(LabelStore(whole, "made", OBJECT_IDS), LabelStore(part, "made", OBJECT_IDS))
        assert run(davis, part).written == 0

    @pytest.mark.slow
    @pytest.mark.parametrize("finetune", [None, "middle"])
    def test_two_processes_write_what_one_does(self, davis, tmp_path, finetune):
        shutil.copytree(davis.root / "JPEGImages/480p/film", davis.root / "JPEGImages/480p/again")
        shutil.copytree(davis.root / "Annotations/480p/film", davis.root / "Annotations/480p/again")
        (davis.root / "ImageSets/2017/train.txt").write_text("film\nagain\n")
        for folder, devices in (("one", 1), ("two", 2)):
            method = PromptedSegmenter(create_prompter("grabcut")) if finetune is None else segmenter()
            if finetune:
                method = segmenter(tuning=FineTuning(steps=3, lr=0.1))
            run(DAVIS(davis.root), tmp_path / folder, method, devices=devices, finetune=finetune)
        one, two = (LabelStore(tmp_path / folder, "made", OBJECT_IDS) for folder in ("one", "two"))
        assert len(one.labels) == 8
        assert rows_equal(one, two)
        tables = [(tmp_path / folder / "made" / "masks.jsonl").read_bytes() for folder in ("one", "two")]
        assert tables[0] == tables[1]

    def test_unreadable_frames_are_listed_and_the_others_made(self, davis, tmp_path):
        (davis.root / "JPEGImages/480p/film/00005.jpg").write_bytes(b"no picture")
        with pytest.raises(UnfinishedError, match="1 of 4 labels could not be made") as caught:
            run(davis, tmp_path)
        assert caught.value.detail.startswith("film/000005: ")
        assert (caught.value.summary.written, caught.value.summary.boxes) == (3, 5)

    def test_export_is_read_as_davis(self, davis, tmp_path):
        run(davis, tmp_path)
        assert export_objects(davis, "train", tmp_path / "out", source="made", store=tmp_path) == 4
        shutil.copytree(davis.root / "JPEGImages", tmp_path / "out" / "JPEGImages")
        (clip,) = DAVIS(tmp_path / "out").clips("train")
        labels = labels_of(tmp_path)
        for number in FRAMES:
            with Image.open(clip.labels[number]) as image:
                assert (image.mode, image.size) == ("P", SIZE[::-1])
                assert bytes(image.getpalette()) == PALETTE
            assert np.array_equal(DAVIS(tmp_path / "out").read_mask(clip, number), labels[number])
