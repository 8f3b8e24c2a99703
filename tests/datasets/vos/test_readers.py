"""Readers of video object segmentation on small trees in the exact layouts of their data sets."""

from __future__ import annotations

import json
import os
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from jsonargparse import ArgumentParser
from PIL import Image

from tests.datasets.vos import vos_trees as trees
from thriftseg.datasets import COCO, DAVIS, MOSE, TAOVOS, EmptySplitError, VideoObject, VOSDataset, YouTubeVOS
from thriftseg.datasets.registry import VOS_DATASETS, create_vos
from thriftseg.datasets.vos.base import is_held_out
from thriftseg.errors import ConfigError, DatasetError

WRITERS: dict[str, Callable[[Path], Path]] = {
    "davis": trees.write_davis,
    "youtube_vos": trees.write_youtube_vos,
    "mose": trees.write_mose,
    "tao_vos": trees.write_tao_vos,
    "coco": trees.write_coco,
}


@pytest.mark.parametrize("name", WRITERS)
class TestEveryReader:
    @pytest.fixture
    def dataset(self, name: str, tmp_path: Path) -> VOSDataset:
        return create_vos(name, WRITERS[name](tmp_path))

    def test_frames_and_masks_fit(self, dataset: VOSDataset):
        for clip in dataset.clips("train"):
            assert dataset.clip_size(clip) == (trees.HEIGHT, trees.WIDTH)
            for number in clip.annotated:
                assert dataset.read_frame(clip, number).shape == (trees.HEIGHT, trees.WIDTH, 3)
                mask = dataset.read_mask(clip, number)
                assert mask.shape == (trees.HEIGHT, trees.WIDTH)
                known = {item.id for item in dataset.objects(clip)}
                assert set(np.unique(mask).tolist()) <= {0, 255} | known

    def test_order_on_disk_does_not_matter(self, dataset: VOSDataset, monkeypatch: pytest.MonkeyPatch):
        """Listing folders backwards changes nothing."""
        expected = dataset.clips("train")
        scandir = os.scandir

        class Backwards:
            def __init__(self, path: str | Path) -> None:
                self.entries = iter(list(scandir(path))[::-1])

            def __enter__(self) -> Iterator[os.DirEntry[str]]:
                return self.entries

            def __exit__(self, *_: object) -> None: ...

            def __next__(self) -> os.DirEntry[str]:
                return next(self.entries)

        monkeypatch.setattr(os, "scandir", Backwards)
        assert type(dataset)(dataset.root).clips("train") == expected

    def test_survives_pickle(self, dataset: VOSDataset):
        clip = dataset.clips("train")[0]
        copy = pickle.loads(pickle.dumps(dataset))  # noqa: S301
        assert np.array_equal(copy.read_mask(clip, clip.annotated[0]), dataset.read_mask(clip, clip.annotated[0]))

    def test_absent_split_is_told_from_a_faulty_one(self, dataset: VOSDataset, name: str, tmp_path: Path):
        empty = tmp_path / "empty"
        empty.mkdir()
        with pytest.raises(EmptySplitError, match=r"split 'train' of .* is empty") as raised:
            type(dataset)(empty).clips("train")
        assert f"expected layout of {name}" in str(raised.value)

    def test_unknown_split(self, dataset: VOSDataset):
        with pytest.raises(DatasetError, match="no split 'minival'; expected train"):
            dataset.clips("minival")

    def test_root_from_the_environment(self, dataset: VOSDataset, name: str, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv(f"THRIFTSEG_DATA_{name.upper()}", str(dataset.root))
        assert create_vos(name).clips("train") == dataset.clips("train")


class TestDAVIS:
    def test_masks_keep_their_indices(self, tmp_path: Path):
        dataset = DAVIS(trees.write_davis(tmp_path))
        bear, camel = dataset.clips("train")
        assert (bear.video, camel.video) == ("bear", "camel")
        assert np.array_equal(dataset.read_mask(bear, 2), trees.ids_map((1, 2, 255)))
        assert dataset.objects(bear) == (VideoObject(1, 0), VideoObject(2, 0))
        assert [bear.frame_name(number) for number in bear.scored] == ["00000", "00001", "00002", "00003"]

    def test_every_index_survives(self, tmp_path: Path):
        root = trees.write_davis(tmp_path)
        every = np.resize(np.arange(256, dtype=np.uint8), (trees.HEIGHT, trees.WIDTH))
        image = Image.fromarray(every)
        image.putpalette(trees.PALETTE)
        image.save(root / "Annotations/480p/bear/00001.png")
        dataset = DAVIS(root)
        assert np.array_equal(dataset.read_mask(dataset.clips("train")[0], 1), every)

    def test_sixteen_bits(self, tmp_path: Path):
        root = trees.write_davis(tmp_path)
        ids = trees.ids_map((1, 300, 255, 1000), dtype=np.uint16)
        assert cv2.imwrite(str(root / "Annotations/480p/bear/00000.png"), ids)
        dataset = DAVIS(root)
        bear = dataset.clips("train")[0]
        assert np.array_equal(dataset.read_mask(bear, 0), ids)
        assert [item.id for item in dataset.objects(bear)] == [1, 300, 1000]

    def test_mask_of_one_object_keeps_what_is_ignored(self, tmp_path: Path):
        dataset = DAVIS(trees.write_davis(tmp_path))
        mask = dataset.read_object_mask(dataset.clips("train")[0], 0, 2)
        assert np.array_equal(mask, trees.ids_map((0, 1, 255)))

    def test_test_split_gives_first_masks_only(self, tmp_path: Path):
        dataset = DAVIS(trees.write_davis(tmp_path))
        (clip,) = dataset.clips("test-dev")
        assert (clip.annotated, len(clip.frames), len(clip.scored)) == ((0,), 4, 4)
        assert [item.id for item in dataset.objects(clip)] == [1, 2, 3]
        assert [dataset.masks_of(split) for split in dataset.splits] == ["all", "all", "first", "first"]

    def test_unsupervised_masks_and_lists(self, tmp_path: Path):
        root = trees.write_davis(tmp_path)
        trees.mask(root / "Annotations_unsupervised/480p/bear/00000.png", (1,))
        trees.mask(root / "Annotations_unsupervised/480p/bear/00001.png", (1, 2, 3, 4))
        trees.lines(root / "ImageSets/2019/test-dev.txt", "tennis")
        dataset = DAVIS(root, task="unsupervised")
        assert dataset.objects(dataset.clips("train")[0])[-1] == VideoObject(4, 1)
        assert dataset.clips("test-dev")[0].labels == {}
        assert dataset.masks_of("test-dev") == "none"

    def test_full_resolution(self, tmp_path: Path):
        trees.video(tmp_path, "bear", trees.numbered(2), {"00000": (1,)}, "Full-Resolution")
        trees.lines(tmp_path / "ImageSets/2017/train.txt", "bear")
        assert len(DAVIS(tmp_path, resolution="Full-Resolution").clips("train")[0].frames) == 2
        with pytest.raises(DatasetError, match=r"480p/bear/\{frame\}.jpg\|png: video bear has no frames"):
            DAVIS(tmp_path).clips("train")

    def test_wrong_settings(self):
        with pytest.raises(ConfigError, match="no such task of DAVIS; expected semi-supervised, unsupervised; found x"):
            DAVIS("x", task="x")  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="no such resolution of DAVIS"):
            DAVIS("x", resolution="720p")  # type: ignore[arg-type]

    def test_a_mask_without_a_frame(self, tmp_path: Path):
        root = trees.write_davis(tmp_path)
        trees.mask(root / "Annotations/480p/bear/00007.png", (1,))
        with pytest.raises(DatasetError, match=r"bear/00007.png: a mask has no frame of the same name; found 4 frames"):
            DAVIS(root).clips("train")

    def test_a_sequence_listed_twice(self, tmp_path: Path):
        root = trees.write_davis(tmp_path)
        trees.lines(root / "ImageSets/2017/train.txt", "bear", "camel", "bear")
        with pytest.raises(DatasetError, match=r"train.txt: a video is listed twice; found bear"):
            DAVIS(root).clips("train")

    def test_colours_instead_of_ids(self, tmp_path: Path):
        root = trees.write_davis(tmp_path)
        trees.frame(root / "Annotations/480p/bear/00001.png")
        dataset = DAVIS(root)
        with pytest.raises(DatasetError, match=r"00001.png: a label map with colours instead of ids"):
            dataset.read_mask(dataset.clips("train")[0], 1)

    def test_wrong_size_and_missing_mask(self, tmp_path: Path):
        root = trees.write_davis(tmp_path)
        trees.mask(root / "Annotations/480p/bear/00001.png", (1,), (12, 40))
        (root / "Annotations/480p/bear/00002.png").unlink()
        dataset = DAVIS(root)
        bear = dataset.clips("train")[0]
        with pytest.raises(DatasetError, match=r"sizes differ inside a clip; expected 40x24 .*; found 40x12"):
            dataset.read_mask(bear, 1)
        with pytest.raises(
            DatasetError, match=r"davis clip bear has no mask for frame 2; found none \(nearest: frame 1"
        ):
            dataset.read_mask(bear, 2)

    def test_real_sequences(self, reference_dir: Path):
        dataset = DAVIS(reference_dir / "data" / "davis_sample")
        jump = next(clip for clip in dataset.clips("val") if clip.video == "dogs-jump")
        assert len(jump.frames) == len(jump.labels) == 66
        assert dataset.objects(jump) == (VideoObject(1, 0), VideoObject(2, 0), VideoObject(3, 0))
        assert dataset.read_mask(jump, 65).shape == dataset.clip_size(jump)


class TestYouTubeVOS:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        return trees.write_youtube_vos(tmp_path)

    def test_an_object_that_starts_at_frame_15_is_introduced_there(self, root: Path):
        dataset = YouTubeVOS(root)
        (clip,) = dataset.clips("valid")
        assert clip.annotated == (0, 15)
        assert dataset.objects(clip) == (
            VideoObject(1, 0, "dog", (0, 5, 10, 15)),
            VideoObject(4, 15, "penguin", (15, 20, 25)),
        )
        assert dataset.introductions(clip) == {0: (1,), 15: (4,)}
        assert clip.scored == (0, 5, 10, 15, 20, 25)
        assert clip.frame_step == 5
        assert clip.offset_of(0, 25) == 5

    def test_all_frames_change_neither_masks_nor_scores(self, root: Path):
        sparse, (dense,) = YouTubeVOS(root).clips("valid")[0], YouTubeVOS(root, all_frames=True).clips("valid")
        assert (len(dense.frames), dense.frame_step) == (26, 1)
        assert dense.frames[7].parts[-4:-2] == ("valid_all_frames", "JPEGImages")
        assert (dense.labels, dense.scored, dense.listed) == (sparse.labels, sparse.scored, sparse.listed)

    def test_seen_categories(self, root: Path):
        dataset = YouTubeVOS(root)
        assert dataset.seen_categories == {"dog", "person", "bird"}
        assert dataset.seen(dataset.clips("valid")[0]) == {1: True, 4: False}

    def test_category_may_be_absent(self, root: Path):
        meta = json.loads((root / "valid/meta.json").read_text())
        del meta["videos"]["0062f687f1"]["objects"]["4"]["category"]
        (root / "valid/meta.json").write_text(json.dumps(meta))
        dataset = YouTubeVOS(root)
        assert dataset.seen(dataset.clips("valid")[0]) == {1: True}

    def test_held_out_videos(self, root: Path):
        whole = {clip.video for clip in YouTubeVOS(root).clips("train")}
        share = 0.5
        dataset = YouTubeVOS(root, held_out=share)
        expected = {video for video in whole if is_held_out(video, share)}
        assert 0 < len(expected) < len(whole)
        assert {clip.video for clip in dataset.clips("held_out")} == expected
        assert {clip.video for clip in dataset.clips("train")} == whole - expected

    def test_faults_of_the_list(self, root: Path):
        path = root / "valid/meta.json"
        trees.write_meta(root / "train", {"0a1b2c3d4e": {"1": ("dog", ["00000"])}})
        with pytest.raises(DatasetError, match=r"train/meta.json.*: video 1a1b2c3d4e has no entry"):
            YouTubeVOS(root).clips("train")
        trees.write_meta(root / "valid", {"0062f687f1": {"1": ("dog", ["00000", "00003"])}})
        with pytest.raises(DatasetError, match=r"object 1 of video 0062f687f1 is listed in a frame .*00003.jpg"):
            YouTubeVOS(root).clips("valid")
        trees.write_meta(root / "valid", {"0062f687f1": {"1": ("dog", [])}})
        expected = r"\$\.videos\['0062f687f1'\]\.objects\['1'\]\.frames; expected array of length >= 1"
        with pytest.raises(DatasetError, match=expected):
            YouTubeVOS(root).clips("valid")
        path.write_text("{")
        with pytest.raises(DatasetError, match=re.escape(str(path))):
            YouTubeVOS(root).clips("valid")


class TestMOSE:
    NAMES = tuple(f"{number:08x}" for number in range(40))

    def test_late_object_and_gaps(self, tmp_path: Path):
        dataset = MOSE(trees.write_mose(tmp_path), held_out=0)
        clip = dataset.clips("train")[0]
        assert dataset.objects(clip) == (VideoObject(2, 0), VideoObject(5, 0), VideoObject(9, 2))
        (valid,) = dataset.clips("valid")
        assert (valid.annotated, dataset.masks_of("valid")) == ((0,), "first")

    def test_held_out_split_is_fixed_and_disjoint(self, tmp_path: Path):
        trees.write_mose(tmp_path, self.NAMES)
        dataset = MOSE(tmp_path)
        train, held_out = ({clip.video for clip in dataset.clips(split)} for split in ("train", "held_out"))
        assert train | held_out == set(self.NAMES)
        assert not train & held_out
        assert held_out == {"0000000e", "0000001c", "00000022"}
        assert held_out < {clip.video for clip in MOSE(tmp_path, held_out=0.3).clips("held_out")}

    def test_share_is_met_on_many_names(self):
        names = [f"{number:08x}" for number in range(5000)]
        assert 0.09 < np.mean([is_held_out(name, 0.1) for name in names]) < 0.11

    def test_own_lists_win(self, tmp_path: Path):
        trees.write_mose(tmp_path, self.NAMES[:5])
        trees.lines(tmp_path / "ImageSets/train.txt", *self.NAMES[:3])
        with pytest.raises(DatasetError, match=r"held_out.txt: only one of the two lists"):
            MOSE(tmp_path).clips("train")
        trees.lines(tmp_path / "ImageSets/held_out.txt", self.NAMES[3])
        assert [clip.video for clip in MOSE(tmp_path).clips("train")] == list(self.NAMES[:3])
        assert [clip.video for clip in MOSE(tmp_path).clips("held_out")] == [self.NAMES[3]]
        trees.lines(tmp_path / "ImageSets/held_out.txt", "gone")
        with pytest.raises(DatasetError, match=r"held_out.txt: video gone is in the list but not on disk"):
            MOSE(tmp_path).clips("held_out")

    def test_share_out_of_range(self):
        with pytest.raises(ConfigError, match=r"held_out is out of range; expected 0 to below 1; found 1\.5"):
            MOSE("x", held_out=1.5)


class TestTAOVOS:
    def test_names_sort_by_their_numbers_and_stay_strings(self, tmp_path: Path):
        dataset = TAOVOS(trees.write_tao_vos(tmp_path))
        (clip,) = dataset.clips("train")
        assert [clip.frame_name(number) for number in clip.frames] == [
            "frame0009",
            "frame0039",
            "frame0069",
            "frame0100",
        ]
        assert list(clip.frames) == [9, 39, 69, 100]
        assert clip.frame_step == 30
        (argo,) = dataset.clips("valid")
        assert argo.video == "ArgoVerse/aebe6aaa-6a95"
        assert argo.frame_name(argo.scored[0]) == "ring_front_center_315971768012624488"
        assert dataset.objects(argo) == (VideoObject(3, argo.scored[0]), VideoObject(4, argo.scored[1]))

    def test_frames_between_masks(self, tmp_path: Path):
        (clip,) = TAOVOS(trees.write_tao_vos(tmp_path), all_frames=True).clips("train")
        assert list(clip.frames) == [9, 10, 39, 69, 100]
        assert clip.scored == clip.annotated == (9, 39, 69, 100)

    def test_names_without_numbers_count_positions(self, tmp_path: Path):
        trees.video(tmp_path / "train", "YFCC100M/v", ("b", "a", "c"), {"c": (1,)})
        (clip,) = TAOVOS(tmp_path, all_frames=True).clips("train")
        assert {number: path.stem for number, path in clip.frames.items()} == {0: "a", 1: "b", 2: "c"}
        assert clip.annotated == (2,)

    def test_slashes_may_have_been_replaced(self, tmp_path: Path):
        trees.video(tmp_path / "train", "Charades_X1", ("frame0001",), {"frame0001": (1,)})
        trees.lines(tmp_path / "ImageSets/train.txt", "Charades/X1")
        assert TAOVOS(tmp_path).clips("train")[0].video == "Charades/X1"
        trees.lines(tmp_path / "ImageSets/train.txt", "Charades/X2")
        with pytest.raises(DatasetError, match=r"train.txt: video Charades/X2 is in the list but not on disk"):
            TAOVOS(tmp_path).clips("train")

    def test_meta_file_is_used_where_it_is(self, tmp_path: Path):
        trees.write_tao_vos(tmp_path)
        frames = sorted(trees.TAO_FRAMES)
        trees.write_meta(tmp_path / "train", {"Charades_X1Y2Z": {"1": ("cat", frames[1:])}})
        (clip,) = TAOVOS(tmp_path).clips("train")
        assert clip.listed == (VideoObject(1, 39, "cat", (39, 69, 100)),)


class TestCOCO:
    @pytest.fixture
    def dataset(self, tmp_path: Path) -> COCO:
        return COCO(trees.write_coco(tmp_path))

    def test_images_are_videos_of_one_frame(self, dataset: COCO):
        clips = dataset.clips("train")
        assert [clip.video for clip in clips] == ["000000000009", "000000000025", "000000000030"]
        assert [[item.category for item in dataset.objects(clip)] for clip in clips] == [
            ["dog", "person"],
            ["toothbrush"],
            [],
        ]

    def test_smaller_instance_is_in_front_and_crowds_are_ignored(self, dataset: COCO):
        clip = dataset.clips("train")[0]
        ids = dataset.read_mask(clip, 0)
        expected = trees.ids_map([0, 0, 0, 0, 255])
        expected[2:12, 2:12] = 2
        expected[4:8, 4:8] = 1
        assert np.array_equal(ids, expected)

    def test_each_instance_in_full(self, dataset: COCO):
        clip = dataset.clips("train")[0]
        mask = dataset.read_object_mask(clip, 0, 2)
        assert (mask == 1).sum() == 100
        assert (mask == 255).sum() == 80
        with pytest.raises(DatasetError, match="image 000000000009 has no instance 3; expected 1 to 2"):
            dataset.read_object_mask(clip, 0, 3)

    def test_compressed_run_lengths(self, dataset: COCO):
        ids = dataset.read_mask(dataset.clips("train")[1], 0)
        assert np.argwhere(ids == 1).min(axis=0).tolist() == [4, 30]
        assert (ids == 1).sum() == 8

    def test_images_without_annotations(self, dataset: COCO):
        clip = dataset.clips("train")[2]
        assert not dataset.read_mask(clip, 0).any()

    def test_ids_pass_255_over(self, dataset: COCO, tmp_path: Path):
        path = tmp_path / "annotations/instances_train2017.json"
        content = json.loads(path.read_text())
        content["annotations"] *= 100
        path.write_text(json.dumps(content))
        again = COCO(tmp_path)
        clip = again.clips("train")[0]
        ids = [item.id for item in again.objects(clip)]
        assert len(ids) == 200
        clip = again.clips("train")[1]
        assert len(again.objects(clip)) == 100
        content["annotations"] = [content["annotations"][3]] * 300
        path.write_text(json.dumps(content))
        many = COCO(tmp_path)
        clip = many.clips("train")[1]
        assert [item.id for item in many.objects(clip)][253:256] == [254, 256, 257]
        assert many.read_mask(clip, 0).max() == 301
        assert (many.read_object_mask(clip, 0, 301) == 1).sum() == 8

    def test_malformed_annotations_are_named(self, dataset: COCO, tmp_path: Path):
        path = tmp_path / "annotations/instances_train2017.json"
        content = json.loads(path.read_text())
        content["annotations"][0]["segmentation"] = {"size": [10, 10], "counts": [100]}
        path.write_text(json.dumps(content))
        again = COCO(tmp_path)
        with pytest.raises(DatasetError, match=r"annotations\[0\].*10x10 in an image of 40x24"):
            again.read_mask(again.clips("train")[0], 0)
        content["annotations"][0]["image_id"] = 77
        path.write_text(json.dumps(content))
        with pytest.raises(DatasetError, match=r"annotations\[0\]"):
            COCO(tmp_path).clips("train")


def test_readers_come_from_configs(tmp_path: Path):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--dataset", type=VOSDataset)
    settings = {"root": str(trees.write_davis(tmp_path)), "task": "unsupervised"}
    wanted = {"dataset": {"class_path": "thriftseg.datasets.DAVIS", "init_args": settings}}
    built = parser.instantiate_classes(parser.parse_object(wanted)).dataset
    assert (built.task, len(built.clips("train"))) == ("unsupervised", 2)


def test_names_on_the_command_line():
    assert list(VOS_DATASETS) == ["davis", "youtube_vos", "mose", "tao_vos", "coco"]
    with pytest.raises(ConfigError, match="no data set 'vipseg'; expected davis, youtube_vos"):
        create_vos("vipseg")
    with pytest.raises(ConfigError, match="the reader of mose has no setting 'year'; expected held_out"):
        create_vos("mose", year=2)
