"""Each reader on a small tree in the exact layout of its data set."""

from __future__ import annotations

import json
import pickle
import random
import re
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

from thriftseg.datasets import IDD, VEIS, CamVid, Cityscapes, EmptySplitError
from thriftseg.datasets.polygons import draw_instances, draw_labels, read_polygons
from thriftseg.datasets.registry import DATASETS, create
from thriftseg.errors import ConfigError, DatasetError
from thriftseg.taxonomies import CITYSCAPES, IDD26

HEIGHT, WIDTH = 24, 40


def write_image(path: Path, seed: int = 0, size: tuple[int, int] = (HEIGHT, WIDTH)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), cv2.resize(coarse, size[::-1]))


def write_ids(path: Path, value: int | np.ndarray, size: tuple[int, int] = (HEIGHT, WIDTH)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = np.full(size, value, dtype=np.uint8) if isinstance(value, int) else value
    assert cv2.imwrite(str(path), ids)


def write_polygons(path: Path, *objects: tuple[str, list[list[float]]], **extra: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = [{"label": label, "polygon": points, **extra} for label, points in objects]
    path.write_text(json.dumps({"imgHeight": HEIGHT, "imgWidth": WIDTH, "objects": entries}))


def square(x0: float, y0: float, x1: float, y1: float) -> list[list[float]]:
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


EVERYWHERE = square(0, 0, WIDTH, HEIGHT)


class TestCityscapes:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        """A short snippet (aachen) and two snippets of one long recording (frankfurt); written in random order."""
        snippets = [("train", "aachen_000000", 19, range(30)), ("val", "frankfurt_000000", 294, range(275, 305))]
        snippets.append(("val", "frankfurt_000000", 576, range(557, 587)))
        for split, recording, annotated, numbers in snippets:
            city = recording.split("_")[0]
            for number in random.Random(0).sample(numbers, len(numbers)):
                name = f"leftImg8bit_sequence/{split}/{city}/{recording}_{number:06d}_leftImg8bit.png"
                write_image(tmp_path / name, number)
            labels = tmp_path / "gtFine" / split / city / f"{recording}_{annotated:06d}_gtFine_labelIds.png"
            write_ids(labels, 26)
            write_ids(labels.with_name(labels.name.replace("labelIds", "labelTrainIds")), 99)  # must not be read
        return tmp_path

    def test_snippets_around_the_annotated_frame(self, root: Path):
        dataset = Cityscapes(root)
        (aachen,) = dataset.clips("train")
        assert (aachen.video, aachen.drive, aachen.annotated) == ("aachen_000000_000019", "aachen_000000", (19,))
        assert list(aachen.frames) == list(range(30))
        first, second = dataset.clips("val")
        assert list(first.frames) == list(range(275, 305))
        assert list(second.frames) == list(range(557, 587))
        assert [first.offset_of(294, number) for number in (275, 304)] == [-19, 10]
        assert first.frames[284].name == "frankfurt_000000_000284_leftImg8bit.png"

    def test_labels_are_train_ids_of_label_ids(self, root: Path):
        dataset = Cityscapes(root)
        assert np.unique(dataset.read_label(dataset.clips("train")[0], 19)).tolist() == [13]

    def test_adjoining_snippets_of_one_recording_do_not_mix(self, root: Path):
        for number in range(305, 330):
            write_image(root / f"leftImg8bit_sequence/val/frankfurt/frankfurt_000000_{number:06d}_leftImg8bit.png")
        assert list(Cityscapes(root).clips("val")[0].frames) == list(range(275, 305))

    def test_gaps_and_jpeg_are_fine(self, root: Path):
        folder = root / "leftImg8bit_sequence/train/aachen"
        (folder / "aachen_000000_000007_leftImg8bit.png").unlink()
        (folder / "aachen_000000_000008_leftImg8bit.png").unlink()
        write_image(folder / "aachen_000000_000008_leftImg8bit.jpg")
        clip = Cityscapes(root).clips("train")[0]
        assert 7 not in clip.frames
        assert clip.frames[8].suffix == ".jpg"
        assert clip.past(9, 2) == [8, 8]

    def test_annotated_frame_prefers_the_image_package(self, root: Path):
        write_image(root / "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png")
        clip = Cityscapes(root).clips("train")[0]
        assert clip.frames[19].parts[-4] == "leftImg8bit"
        assert clip.frames[18].parts[-4] == "leftImg8bit_sequence"

    def test_images_alone_are_one_frame_clips(self, tmp_path: Path):
        write_image(tmp_path / "leftImg8bit/val/ulm/ulm_000003_000019_leftImg8bit.png")
        write_ids(tmp_path / "gtFine/val/ulm/ulm_000003_000019_gtFine_labelIds.png", 7)
        assert list(Cityscapes(tmp_path).clips("val")[0].frames) == [19]

    def test_missing_label_is_named(self, root: Path):
        write_image(root / "leftImg8bit/train/bochum/bochum_000000_000019_leftImg8bit.png")
        with pytest.raises(
            DatasetError, match=r"gtFine/train/bochum/bochum_000000_000019_gtFine_labelIds\.png: a frame has no label"
        ) as raised:
            Cityscapes(root).clips("train")
        assert "leftImg8bit_sequence/{split}/{city}" in str(raised.value)

    def test_missing_frame_is_named(self, root: Path):
        write_ids(root / "gtFine/train/aachen/aachen_000001_000019_gtFine_labelIds.png", 7)
        with pytest.raises(DatasetError, match=r"aachen_000001_000019_leftImg8bit\.png: a label has no frame"):
            Cityscapes(root).clips("train")

    def test_split_without_labels_asks_for_the_first_one(self, root: Path):
        for path in (root / "gtFine/train/aachen").iterdir():
            path.unlink()
        with pytest.raises(DatasetError, match=r"aachen_000000_000019_gtFine_labelIds\.png: a frame has no label"):
            Cityscapes(root).clips("train")

    def test_test_split_has_frames_but_no_labels(self, root: Path):
        for number in range(100, 160):
            write_image(root / f"leftImg8bit_sequence/test/berlin/berlin_000000_{number:06d}_leftImg8bit.png")
        write_ids(root / "gtFine/test/berlin/berlin_000000_000119_gtFine_labelIds.png", 0)
        clips = Cityscapes(root).clips("test")
        assert [clip.video for clip in clips] == ["berlin_000000_000119", "berlin_000000_000149"]
        assert [len(clip.frames) for clip in clips] == [30, 30]
        assert all(not clip.labels for clip in clips)

    def test_train_extra_is_coarse_and_leaves_the_blank_image_out(self, tmp_path: Path):
        for name in ("troisdorf_000000_000073", "troisdorf_000000_000074"):
            write_image(tmp_path / f"leftImg8bit/train_extra/troisdorf/{name}_leftImg8bit.png")
            write_ids(tmp_path / f"gtCoarse/train_extra/troisdorf/{name}_gtCoarse_labelIds.png", 21)
        dataset = Cityscapes(tmp_path)
        (clip,) = dataset.clips("train_extra")
        assert clip.video == "troisdorf_000000_000074"
        assert not clip.labels
        assert np.unique(dataset.read_coarse(clip, 74)).tolist() == [8]

    def test_coarse_labels_of_single_frames_join_train(self, root: Path):
        write_ids(root / "gtCoarse/train/aachen/aachen_000000_000019_gtCoarse_labelIds.png", 21)
        write_image(root / "leftImg8bit/train_extra/ulm/ulm_000001_000019_leftImg8bit.png")
        write_ids(root / "gtCoarse/train_extra/ulm/ulm_000001_000019_gtCoarse_labelIds.png", 21)
        own = Cityscapes(root).clips("train")
        assert [(list(clip.labels), list(clip.coarse)) for clip in own] == [([19], [19])]
        dataset = Cityscapes(root, coarse_source="train_extra")
        aachen, ulm = dataset.clips("train")
        assert (list(aachen.labels), list(aachen.coarse)) == ([19], [])
        assert (list(ulm.labels), list(ulm.coarse), ulm.past(19, 2)) == ([], [19], [19, 19])
        assert "train_extra" not in dataset.splits
        with pytest.raises(ConfigError, match="expected train or train_extra"):
            Cityscapes(root, coarse_source="extra")

    def test_coarse_polygons_are_drawn(self, root: Path):
        write_polygons(
            root / "gtCoarse/train/aachen/aachen_000000_000019_gtCoarse_polygons.json",
            ("road", square(0, 12, 39, 23)),
            ("cargroup", square(10, 10, 19, 19)),
            ("license plate", square(12, 12, 14, 14)),
        )
        dataset = Cityscapes(root)
        label = dataset.read_coarse(dataset.clips("train")[0], 19)
        assert label[5, 5] == 255
        assert label[20, 30] == 0
        assert label[13, 13] == 13  # the plate is not drawn over the cars
        assert (label == 13).sum() == 100

    def test_coarse_label_that_is_absent_is_an_error(self, root: Path):
        dataset = Cityscapes(root)
        with pytest.raises(DatasetError, match="aachen_000000_000019 has no coarse label for frame 19"):
            dataset.read_coarse(dataset.clips("train")[0], 19)

    def test_instances(self, root: Path):
        raw = np.full((HEIGHT, WIDTH), 7, dtype=np.uint16)
        raw[0], raw[1], raw[2], raw[3] = 26000, 26001, 29003, 26  # two cars, a caravan (ignored), a group of cars
        path = root / "gtFine/train/aachen/aachen_000000_000019_gtFine_instanceIds.png"
        assert cv2.imwrite(str(path), raw)
        dataset = Cityscapes(root)
        instances = dataset.read_instances(dataset.clips("train")[0], 19)
        assert instances.dtype == np.int32
        assert instances[:5, 0].tolist() == [13001, 13002, 0, 0, 0]
        assert dataset.read_instances(dataset.clips("val")[0], 294) is None

    def test_customary_variable(self, root: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("CITYSCAPES_DATASET", str(root))
        monkeypatch.delenv("THRIFTSEG_DATA", raising=False)
        assert Cityscapes().root_origin == "CITYSCAPES_DATASET"
        assert len(Cityscapes().clips("val")) == 2


class TestPolygons:
    def test_later_regions_cover_earlier_ones(self, tmp_path: Path):
        path = tmp_path / "polygons.json"
        write_polygons(
            path,
            ("building", EVERYWHERE),
            ("car", square(2, 2, 9, 9)),
            ("car", square(6, 2, 13, 9)),
            ("persongroup", square(20, 2, 23, 5)),
            ("polegroup", square(30, 2, 33, 5)),
            ("sky", square(-50, 20, 90, 90)),
        )
        file = read_polygons(path)
        label, instances = draw_labels(file, CITYSCAPES), draw_instances(file, CITYSCAPES)
        assert [label[row, column] for row, column in ((15, 15), (5, 5), (3, 21), (3, 31), (23, 0))] == [
            2,
            13,
            11,
            255,
            10,
        ]
        assert [instances[5, column] for column in (3, 7, 12, 21)] == [13001, 13002, 13002, 0]
        assert np.unique(instances).tolist() == [0, 13001, 13002]

    def test_deleted_and_degenerate_regions_are_skipped(self, tmp_path: Path):
        write_polygons(tmp_path / "a.json", ("car", EVERYWHERE), deleted=1)
        write_polygons(tmp_path / "b.json", ("car", [[0, 0], [5, 5]]))
        for name in "ab":
            assert (draw_labels(read_polygons(tmp_path / f"{name}.json"), CITYSCAPES) == 255).all()

    def test_unknown_label_is_named(self, tmp_path: Path):
        write_polygons(tmp_path / "a.json", ("spaceship", EVERYWHERE))
        with pytest.raises(DatasetError, match=r"a\.json: region label outside.*'spaceship'"):
            draw_labels(read_polygons(tmp_path / "a.json"), CITYSCAPES)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{", "is not JSON"),
            ("[]", r"malformed at \$; expected object"),
            ('{"objects": []}', r"malformed at \$; expected an entry imgHeight"),
            ('{"imgHeight": 1, "imgWidth": 1, "objects": [3]}', r"malformed at \$\.objects\[0\]; expected object"),
        ],
    )
    def test_damaged_file_is_named(self, tmp_path: Path, text: str, message: str):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(DatasetError, match=rf"a\.json: {message}"):
            read_polygons(tmp_path / "a.json")


CAMVID_NAMES = {
    "train": ["0001TP_006690", "0001TP_006720", "0016E5_07890", "0016E5_07920", "0016E5_08190"],
    "val": [f"0016E5_{number:05d}" for number in (7959, 7961, 7963, 7971, 7973)],
    "test": ["Seq05VD_f00000", "Seq05VD_f00030"],
}


class TestCamVid:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        for split, names in CAMVID_NAMES.items():
            for index, name in enumerate(names):
                write_image(tmp_path / split / f"{name}.png", index)
                write_ids(tmp_path / f"{split}annot" / f"{name}.png", index % 12)
            lines = [f"/SegNet/CamVid/{split}/{name}.png /SegNet/CamVid/{split}annot/{name}.png" for name in names]
            (tmp_path / f"{split}.txt").write_text("\n".join([*lines[:2], "", *lines[2:]]))  # no final newline
        return tmp_path

    def test_one_clip_per_recording_at_a_second_apart(self, root: Path):
        clips = CamVid(root).clips("train")
        assert [(c.video, c.drive, c.frame_step) for c in clips] == [
            ("0001TP_006690", "0001TP", 30),
            ("0016E5_07890", "0016E5", 30),
        ]
        assert clips[1].annotated == tuple(clips[1].frames) == (7890, 7920, 8190)

    def test_gaps_at_video_rate_start_a_new_clip(self, root: Path):
        clips = CamVid(root).clips("val")
        assert [(clip.video, clip.frame_step, clip.annotated) for clip in clips] == [
            ("0016E5_07959", 2, (7959, 7961, 7963)),
            ("0016E5_07971", 2, (7971, 7973)),
        ]

    def test_frames_of_the_video_join_the_labelled_ones(self, root: Path):
        for number in (*range(6686, 6690), *range(6691, 6725), 9000, 9001):  # the last two have no label near
            write_image(root / "train_sequence" / f"0001TP_{number:06d}.png")
        write_image(root / "train_sequence" / "0006R0_f00900.png")  # a recording that the split does not list
        first, second = CamVid(root).clips("train")
        assert (first.video, first.frame_step, first.annotated) == ("0001TP_006690", 1, (6690, 6720))
        assert list(first.frames) == list(range(6686, 6725))
        assert first.frames[6690] == root / "train" / "0001TP_006690.png"
        assert (second.video, second.frame_step) == ("0016E5_07890", 30)

    def test_names_with_a_letter_before_the_number(self, root: Path):
        (clip,) = CamVid(root).clips("test")
        assert (clip.drive, clip.annotated) == ("Seq05VD", (0, 30))

    def test_clip_names_are_unique_over_splits(self, root: Path):
        videos = [clip.video for split in ("train", "val", "test") for clip in CamVid(root).clips(split)]
        assert len(set(videos)) == len(videos)

    def test_both_packings_give_equal_labels(self, root: Path):
        plain = CamVid(root)
        expected = [plain.read_label(clip, number) for clip in plain.clips("train") for number in clip.annotated]
        for path in (root / "trainannot").iterdir():
            write_ids(path.with_name(f"{path.stem}_L.png"), (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) + 1) % 12)
            path.unlink()
        packed = CamVid(root, void_first=True)
        found = [packed.read_label(clip, number) for clip in packed.clips("train") for number in clip.annotated]
        np.testing.assert_array_equal(found, expected)
        assert packed.taxonomy.name == plain.taxonomy.name

    def test_jpeg_frames_under_png_names(self, root: Path):
        (root / "test/Seq05VD_f00000.png").unlink()
        write_image(root / "test/Seq05VD_f00000.jpg")
        dataset = CamVid(root)
        assert dataset.read_frame(dataset.clips("test")[0], 0).shape == (HEIGHT, WIDTH, 3)

    @pytest.mark.parametrize(("folder", "kind"), [("val", "frame"), ("valannot", "label")])
    def test_missing_file_is_named(self, root: Path, folder: str, kind: str):
        (root / folder / "0016E5_07961.png").unlink()
        with pytest.raises(DatasetError, match=rf"{folder}/0016E5_07961\.png.*: {kind} in the list but not on disk"):
            CamVid(root).clips("val")

    def test_missing_list(self, root: Path):
        (root / "test.txt").unlink()
        with pytest.raises(EmptySplitError, match=r"test\.txt: split 'test' of camvid is empty"):
            CamVid(root).clips("test")


class TestIDD:
    @pytest.fixture(autouse=True)
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        return tmp_path / "cache"

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        root = tmp_path / "idd"
        write_image(root / "leftImg8bit/val/66/894867_leftImg8bit.png", seed=5)
        write_polygons(
            root / "gtFine/val/66/894867_gtFine_polygons.json",
            ("sky", EVERYWHERE),
            ("autorickshaw", square(2, 2, 9, 9)),
            ("vehicle fallback", square(12, 2, 19, 9)),
            ("animal", square(22, 2, 29, 9)),
            ("person", square(32, 2, 35, 9)),
        )
        write_image(root / "leftImg8bit/val/202/frame0014_leftImg8bit.jpg", seed=1, size=(30, 50))
        write_ids(root / "gtFine/val/202/frame0014_gtFine_labellevel3Ids.png", 8, size=(30, 50))
        write_ids(root / "gtFine/val/202/frame0014_gtFine_labelcsTrainIds.png", 13, size=(30, 50))
        return root

    @pytest.fixture
    def temporal(self, root: Path) -> Path:
        folder = root / "idd_temporal_val_1/00066/894867_leftImg8bit"
        for number in (2260, 2263, 2267, 2268):  # 2267 shows what the annotated image shows
            write_image(folder / f"{number:07d}.jpeg", seed=5 if number == 2267 else number)
        return folder

    def test_single_frames_without_the_temporal_package(self, root: Path):
        clips = IDD(root).clips("val")
        assert [(clip.video, clip.annotated, clip.drive) for clip in clips] == [
            ("202_frame0014", (14,), "202"),
            ("66_894867", (894867,), "66"),
        ]

    @pytest.mark.parametrize(
        ("view", "drawn", "from_png"), [("level3", [8, 12, 4, 4, 25], 8), ("cityscapes", [255, 255, 255, 11, 10], 13)]
    )
    def test_labels_of_both_views(self, root: Path, view: str, drawn: list[int], from_png: int):
        dataset = IDD(root, view=view)
        made, polygons = dataset.clips("val")
        assert np.unique(dataset.read_label(made, 14)).tolist() == [from_png]
        label = dataset.read_label(polygons, 894867)
        assert label[5, [5, 15, 25, 34, 38]].tolist() == drawn

    def test_instances_from_polygons_and_from_png(self, root: Path):
        raw = np.full((30, 50), 0, dtype=np.uint16)
        raw[0], raw[1] = 8000, 4007
        assert cv2.imwrite(str(root / "gtFine/val/202/frame0014_gtFine_instancelevel3Ids.png"), raw)
        dataset = IDD(root)
        made, polygons = dataset.clips("val")
        assert np.unique(dataset.read_instances(made, 14)).tolist() == [0, 4008, 8001]
        assert np.unique(dataset.read_instances(polygons, 894867)).tolist() == [0, 4001, 4002, 8001, 12001]
        assert IDD(root, view="cityscapes").clips("val")[0].instances == {}

    def test_temporal_frame_that_resembles_the_image_is_the_annotated_one(self, root: Path, temporal: Path):
        clip = IDD(root).clips("val")[1]
        assert clip.annotated == (2267,)
        assert list(clip.frames) == [2260, 2263, 2267, 2268]
        assert clip.frames[2267].name == "894867_leftImg8bit.png"
        assert clip.frames[2268] == temporal / "0002268.jpeg"

    def test_located_frames_are_remembered_until_the_image_changes(self, root: Path, temporal: Path, cache: Path):
        IDD(root).clips("val")
        (kept,) = cache.rglob("*.json")
        answer = json.loads(kept.read_text())
        (entry,) = answer.values()
        entry["number"] = 2260
        kept.write_text(json.dumps(answer))
        assert IDD(root).clips("val")[1].annotated == (2260,)
        write_image(root / "leftImg8bit/val/66/894867_leftImg8bit.png", seed=2268, size=(HEIGHT, WIDTH))
        assert IDD(root).clips("val")[1].annotated == (2268,)

    def test_warns_when_nothing_resembles_the_image(self, root: Path, temporal: Path):
        (temporal / "0002267.jpeg").unlink()
        with pytest.warns(UserWarning, match=r"1 of 1 annotated images resemble no frame.*894867"):
            IDD(root).clips("val")

    def test_no_warning_when_one_does(self, root: Path, temporal: Path):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            IDD(root).clips("val")

    def test_missing_label_is_named(self, root: Path):
        (root / "gtFine/val/66/894867_gtFine_polygons.json").unlink()
        with pytest.raises(DatasetError, match=r"66/894867_gtFine_labellevel3Ids\.png: an image has neither label"):
            IDD(root).clips("val")

    def test_test_split_needs_no_labels(self, root: Path):
        write_image(root / "leftImg8bit/test/7/000001_leftImg8bit.png")
        (clip,) = IDD(root).clips("test")
        assert (clip.labels, list(clip.frames)) == ({}, [1])

    def test_only_images_of_one_size(self, root: Path, temporal: Path):
        (clip,) = IDD(root, frame_size=(HEIGHT, WIDTH)).clips("val")
        assert clip.video == "66_894867"
        (other,) = IDD(root, frame_size=[30, 50]).clips("val")
        assert other.video == "202_frame0014"
        found = rf"expected 1920x1080; found {WIDTH}x{HEIGHT}, 50x30; fix: give frame_size as height and width"
        with pytest.raises(DatasetError, match=rf"leftImg8bit/val: no image has the wanted frame_size; {found}"):
            IDD(root, frame_size=(1080, 1920)).clips("val")

    def test_unknown_view(self):
        with pytest.raises(ConfigError, match="no view 'level2'"):
            IDD(view="level2")

    def test_every_polygon_name_of_the_table_is_drawn(self, tmp_path: Path):
        for name, train_id in IDD26.train_id_of_name.items():
            write_polygons(tmp_path / "a.json", (name, EVERYWHERE))
            assert (draw_labels(read_polygons(tmp_path / "a.json"), IDD26) == train_id).all(), name


class TestVEIS:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        for sequence in "abcde":
            for number in (4, 1, 7):
                write_image(tmp_path / f"images/{sequence}/img_{number:04d}.png", number)
            write_ids(tmp_path / f"labels/{sequence}/img_0004.png", np.array([[0, 18], [19, 255]], dtype=np.uint8))
        return tmp_path

    def test_one_sequence_per_folder_and_a_fifth_held_out(self, root: Path):
        dataset = VEIS(root)
        assert [clip.video for clip in dataset.clips("train")] == ["a", "b", "c", "d"]
        (clip,) = dataset.clips("val")
        assert (clip.video, list(clip.frames), clip.annotated, clip.frame_step) == ("e", [1, 4, 7], (4,), 3)
        with pytest.raises(EmptySplitError, match="split 'test' of veis is empty"):
            dataset.clips("test")

    def test_values_above_the_classes_are_unlabelled(self, tmp_path: Path):
        write_image(tmp_path / "images/a/1.png", size=(2, 2))
        write_ids(tmp_path / "labels/a/1.png", np.array([[0, 18], [19, 255]], dtype=np.uint8))
        dataset = VEIS(tmp_path)
        assert dataset.read_label(dataset.clips("train")[0], 1).tolist() == [[0, 18], [255, 255]]

    def test_lists_fix_the_splits(self, root: Path):
        (root / "train.txt").write_text("b\n\na")
        (root / "val.txt").write_text("e\n")
        dataset = VEIS(root)
        assert [clip.video for clip in dataset.clips("train")] == ["a", "b"]
        (root / "val.txt").write_text("e\nzebra\n")
        with pytest.raises(DatasetError, match=r"images/zebra: sequence 'zebra' of val\.txt has no frames"):
            VEIS(root).clips("val")

    def test_pattern_and_expression_of_the_user(self, tmp_path: Path):
        for name in ("cam1-0001", "cam1-0002", "cam2-0001"):
            write_image(tmp_path / f"images/{name}.jpg")
        write_image(tmp_path / "images/depth.png")
        dataset = VEIS(tmp_path, pattern="*.jpg", regex=r"(?P<sequence>cam\d)-(?P<frame>\d+)", val_share=0.5)
        assert [clip.video for split in ("train", "val") for clip in dataset.clips(split)] == ["cam1", "cam2"]
        with pytest.raises(DatasetError, match="4 images, but none whose name fits the regex"):
            VEIS(tmp_path, regex=r"(?P<sequence>x)(?P<frame>y)").clips("train")

    def test_settings_are_checked(self):
        with pytest.raises(ConfigError, match="lacks a group"):
            VEIS(regex=r"(\d+)")
        with pytest.raises(ConfigError, match="val_share"):
            VEIS(val_share=1)


class TestWhatReadersShare:
    @pytest.fixture
    def dataset(self, tmp_path: Path) -> CamVid:
        for number in (0, 2, 4):
            write_image(tmp_path / f"val/a_{number:05d}.png", number)
            write_ids(tmp_path / f"valannot/a_{number:05d}.png", 3)
        lines = [f"val/a_{number:05d}.png valannot/a_{number:05d}.png" for number in (4, 0, 2)]
        (tmp_path / "val.txt").write_text("\n".join(lines))
        return CamVid(tmp_path)

    def test_frames_of_another_size_are_refused(self, dataset: CamVid):
        write_image(dataset.root / "val/a_00002.png", size=(20, 40))
        (clip,) = dataset.clips("val")
        dataset.read_frame(clip, 0)
        with pytest.raises(
            DatasetError, match=r"a_00002\.png: sizes differ inside a clip; expected 40x24 as the first.*found 40x20"
        ):
            dataset.read_frame(clip, 2)

    def test_labels_of_another_size_are_refused(self, dataset: CamVid):
        write_ids(dataset.root / "valannot/a_00004.png", 3, size=(24, 39))
        with pytest.raises(DatasetError, match=r"a_00004\.png: sizes differ inside a clip"):
            dataset.read_label(dataset.clips("val")[0], 4)

    def test_unknown_ids_are_named(self, dataset: CamVid):
        write_ids(dataset.root / "valannot/a_00000.png", 12)
        with pytest.raises(DatasetError, match=r"valannot/a_00000\.png: label ids outside.*'camvid'.*found 12"):
            dataset.read_label(dataset.clips("val")[0], 0)

    def test_number_that_is_not_there(self, dataset: CamVid):
        with pytest.raises(DatasetError, match=r"camvid clip a_00000 has no frame for frame 3; found none \(nearest"):
            dataset.read_frame(dataset.clips("val")[0], 3)

    def test_unknown_split(self, dataset: CamVid):
        with pytest.raises(DatasetError, match="no split 'validation'; expected train, val, test"):
            dataset.clips("validation")

    def test_survives_pickling(self, dataset: CamVid):
        clips = dataset.clips("val")
        assert pickle.loads(pickle.dumps(dataset)).clips("val") == clips  # noqa: S301 - our own bytes

    def test_listing_opens_no_image(self, dataset: CamVid):
        for path in [*dataset.root.glob("val/*"), *dataset.root.glob("valannot/*")]:
            path.write_bytes(b"")
        assert len(dataset.clips("val")[0].frames) == 3

    @pytest.mark.parametrize("name", DATASETS)
    def test_missing_root(self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        with pytest.raises(DatasetError, match=r"nowhere: no such folder.*fix: pass --root DIR"):
            create(name, tmp_path / "nowhere").clips("train")
        for variable in ("THRIFTSEG_DATA", f"THRIFTSEG_DATA_{name.upper()}", "CITYSCAPES_DATASET"):
            monkeypatch.delenv(variable, raising=False)
        with pytest.raises(DatasetError, match=f"no root given for {name}"):
            create(name).clips("train")
        monkeypatch.setenv("THRIFTSEG_DATA", str(tmp_path))
        (tmp_path / name).mkdir()
        assert create(name).root == tmp_path / name

    @pytest.mark.parametrize("name", DATASETS)
    def test_empty_root_draws_the_tree(self, name: str, tmp_path: Path):
        dataset = create(name, tmp_path)
        with pytest.raises(DatasetError) as raised:
            dataset.clips("train")
        assert dataset.layout in str(raised.value)
        assert dataset.how_to_get in raised.value.headline
        assert str(tmp_path) in raised.value.headline
        assert "\n" not in raised.value.headline

    def test_unknown_data_set(self):
        with pytest.raises(ConfigError, match=re.escape("no data set 'kitti'; expected cityscapes, camvid")):
            create("kitti")


class TestRealFiles:
    def test_camvid(self, reference_dir: Path):
        dataset = CamVid(reference_dir / "data" / "camvid")
        frames = {split: sum(len(clip.frames) for clip in dataset.clips(split)) for split in dataset.splits}
        assert frames == {"train": 367, "val": 101, "test": 233}
        (val,) = dataset.clips("val")
        assert val.annotated == tuple(range(7959, 8160, 2))
        assert [clip.drive for clip in dataset.clips("train")] == ["0001TP", "0006R0", "0016E5"]
        assert {clip.frame_step for split in ("train", "test") for clip in dataset.clips(split)} == {30}
        assert dataset.read_frame(val, 7959).shape == (360, 480, 3)
        assert set(np.unique(dataset.read_label(val, 8159))) <= {*range(11), 255}

    def test_cityscapes(self, reference_dir: Path):
        dataset = Cityscapes(reference_dir / "data" / "cityscapes_sample")
        (clip,) = dataset.clips("val")
        assert (clip.video, list(clip.frames)) == ("frankfurt_000001_047552", list(range(47548, 47563)))
        label, instances = dataset.read_label(clip, 47552), dataset.read_instances(clip, 47552)
        assert np.unique(label).tolist() == [0, 1, 2, 3, 5, 7, 8, 9, 10, 13, 255]
        assert set(np.unique(instances // 1000)) == {0, 13}
        assert (label[instances > 0] == 13).all()
