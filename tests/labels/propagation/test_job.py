from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.labels.propagation.known_motion import KnownMotion, Scene, shifted
from thriftseg.datasets import CamVid, Cityscapes
from thriftseg.datasets.images import read_label_png
from thriftseg.errors import LabelStoreError
from thriftseg.labels import UnfinishedError, label_propagate
from thriftseg.stores.label_store import LabelStore
from thriftseg.stores.object_log import LoggedObject
from thriftseg.stores.object_map import OBJECT_UNITS
from thriftseg.taxonomies import CITYSCAPES

CAR, PERSON, SKY = 13, 11, 10


def street() -> tuple[np.ndarray, np.ndarray]:
    """Sky over road; two cars that touch, a person of one pixel, void at the right."""
    label = np.zeros((24, 48), np.uint8)
    instances = np.zeros((24, 48), np.int32)
    label[:8] = SKY
    label[10:20, 20:30], label[10:20, 30:36] = CAR, CAR
    instances[10:20, 20:30], instances[10:20, 30:36] = CAR * 1000 + 1, CAR * 1000 + 2
    label[14, 5], instances[14, 5] = PERSON, PERSON * 1000 + 1
    label[:, 44:] = 255
    return label, instances


def propagate(dataset, folder: Path, offsets="-10..10", tracker=None, **settings):
    tracker = KnownMotion() if tracker is None else tracker
    return label_propagate(
        dataset, "train", offsets, method=tracker, store=folder, progress=False, accelerator="cpu", **settings
    )


def stored(folder: Path, source: str = "known_motion") -> LabelStore:
    return LabelStore(folder, source, CITYSCAPES)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("unit", OBJECT_UNITS)
def test_labels_follow_the_motion(tmp_path, unit):
    """Every label is the manual one moved; what enters and what was void is ignored."""
    label, instances = street()
    summary = propagate(Scene(label, instances), tmp_path, object_unit=unit, min_area=1, include_annotated=True)
    assert summary.written == 21
    for number in range(21):
        expected = label if number == 10 else shifted(label, number - 10, 255)
        np.testing.assert_array_equal(stored(tmp_path).read("clip0", number), expected, str(number))
    assert not summary.agreement  # no target has a manual label


def test_annotated_frame_is_written_unchanged(tmp_path):
    """Small components are no objects, but the manual label keeps them."""
    label, _ = street()
    propagate(
        Scene(label), tmp_path, "0..1", object_unit="component", include_annotated=True, tracker=KnownMotion(speed=0)
    )
    np.testing.assert_array_equal(stored(tmp_path).read("clip0", 10), label)
    np.testing.assert_array_equal(stored(tmp_path).read("clip0", 11), np.where(label == PERSON, 255, label))


def test_what_enters_later_never_appears(tmp_path):
    """From offset 3 on, a truck comes in from the left; its pixels carry no label."""
    label, _ = street()
    propagate(Scene(label), tmp_path, "1..10")
    for number in range(11, 21):
        found = stored(tmp_path).read("clip0", number)
        assert 14 not in found
        assert (found[:, : number - 10] == 255).all()


@pytest.mark.parametrize("max_objects", [1, 2])
def test_chunks_of_objects_change_nothing(tmp_path, max_objects):
    label, instances = street()
    for folder, size in (("all", 100), ("chunks", max_objects)):
        propagate(Scene(label, instances), tmp_path / folder, tracker=KnownMotion(size), object_unit="instance")
    assert contents(tmp_path / "all") == contents(tmp_path / "chunks")


def test_directions_do_not_see_each_other(cityscapes_copy, tmp_path):
    """Other frames after the annotated one leave the labels before it as they are."""
    dataset = Cityscapes(cityscapes_copy)
    clip = dataset.clips("train")[0]
    forward_only = {}
    for run in ("as_is", "altered"):
        label_propagate(dataset, "train", "-3..2", store=tmp_path / run, progress=False, accelerator="cpu")
        store = LabelStore(tmp_path / run, "flow", dataset.taxonomy)
        forward_only[run] = store.path_of(clip.video, 7).read_bytes()
        for number in (6, 7):
            noise = np.random.default_rng(number).integers(0, 255, (64, 128, 3)).astype(np.uint8)
            cv2.imwrite(str(clip.frames[number]), noise)
    assert forward_only["as_is"] != forward_only["altered"]
    for number in (2, 3, 4):
        paths = [tmp_path / run / "flow" / clip.video / f"{number:06d}.png" for run in ("as_is", "altered")]
        assert paths[0].read_bytes() == paths[1].read_bytes()


class TestObjects:
    def test_log_tells_what_became_of_each(self, tmp_path):
        label, instances = street()
        summary = propagate(Scene(label, instances), tmp_path, object_unit="instance")
        log = stored(tmp_path).object_log.read()
        assert sorted(number for _, number in log) == [*range(10), *range(11, 21)]
        assert log["clip0", 12][2:] == (
            LoggedObject(3, PERSON, 1, 1, 0.5),
            LoggedObject(4, CAR, 1, 100, 0.5),
            LoggedObject(5, CAR, 2, 60, 0.5),
        )
        assert log["clip0", 4][2] == LoggedObject(3, PERSON, 1, 0, None)
        assert log["clip0", 4][2].lost
        assert summary.lost == 1
        assert "1 objects lost on the way" in str(summary)
        first = json.loads((tmp_path / "known_motion/objects.jsonl").read_text().splitlines()[0])
        assert first["objects"][0] == {"id": 1, "train_id": 0, "instance": None, "pixels": 384, "score": 0.5}

    @pytest.mark.parametrize(("count", "mode"), [(80, "L"), (254, "L"), (255, "I;16"), (300, "I;16")])
    def test_ids_of_many(self, tmp_path, count, mode):
        label = np.full((20, 60), CAR, np.uint8)
        instances = (np.arange(1200).reshape(20, 60) % count + 1 + CAR * 1000).astype(np.int32)
        propagate(Scene(label, instances), tmp_path, 1, object_unit="instance", save_objects=True)
        path = tmp_path / "known_motion/clip0/000011.objects.png"
        assert Image.open(path).mode == mode
        np.testing.assert_array_equal(read_label_png(path), shifted(instances - CAR * 1000, 1, 0))
        assert len(stored(tmp_path).object_log.read()["clip0", 11]) == count

    def test_damaged_log(self, tmp_path):
        propagate(Scene(street()[0]), tmp_path, 1)
        log = tmp_path / "known_motion/objects.jsonl"
        log.write_text(log.read_text().replace('"schema":1', '"schema":2'))
        with pytest.raises(LabelStoreError, match="unknown version; expected schema 1; found schema 2"):
            stored(tmp_path).object_log.read()
        log.write_text('{"schema":1,"video":"a","frame":3}\n')
        with pytest.raises(
            LabelStoreError, match=r"objects\.jsonl: line 1 is malformed at \$; expected an entry objects"
        ):
            stored(tmp_path).object_log.read()

    def test_none_at_all(self, tmp_path):
        """All labels are 255, of confidence 0, and the summary says so."""
        dataset = Scene(np.full((24, 48), 255, np.uint8))
        summary = propagate(dataset, tmp_path, "-2..2")
        assert (summary.written, summary.empty, summary.ignored_share) == (4, 1, 1.0)
        assert {row.confidence for row in stored(tmp_path).labels.values()} == {0.0}
        assert "1 annotated frames without an object" in str(summary)

    def test_instances_where_there_are_none(self, tmp_path):
        with pytest.raises(UnfinishedError, match="no instance ids for this frame; fix: choose --object_unit class"):
            propagate(Scene(street()[0]), tmp_path, 1, object_unit="instance")

    def test_sixteen_bit_instance_files(self, cityscapes_root, tmp_path):
        dataset = Cityscapes(cityscapes_root)
        clip = dataset.clips("train")[0]
        assert read_label_png(clip.instances[5]).dtype == np.int32
        label_propagate(dataset, "train", 1, method="nearest", object_unit="instance", store=tmp_path, progress=False)
        store = LabelStore(tmp_path, "nearest", dataset.taxonomy)
        np.testing.assert_array_equal(store.read(clip.video, 6), dataset.read_label(clip, 5))
        logged = store.object_log.read()[clip.video, 6]
        things = {item.train_id for item in logged if item.instance is not None}
        assert things
        assert things <= set(dataset.taxonomy.thing_ids)


class TestFaults:
    @pytest.mark.parametrize("read_ahead", [False, True])
    def test_labels_before_a_broken_frame_are_kept(self, tmp_path, read_ahead):
        dataset = Scene(street()[0], broken=14, clips=2)
        with pytest.raises(UnfinishedError, match="14 of 40 labels could not be made") as caught:
            propagate(dataset, tmp_path, tracker=KnownMotion(read_ahead=read_ahead))
        assert [line[:12] for line in caught.value.detail.splitlines()][:2] == ["clip0/000014", "clip0/000015"]
        summary = caught.value.summary
        assert (summary.written, len(summary.failures)) == (26, 14)
        dataset.broken = None
        assert propagate(dataset, tmp_path, tracker=KnownMotion(read_ahead=read_ahead)).written == 14
        propagate(Scene(street()[0], clips=2), tmp_path / "whole")
        assert contents(tmp_path / "whole/known_motion") == contents(tmp_path / "known_motion")

    def test_broken_annotated_frame(self, tmp_path):
        """Nothing can be followed from it, but its manual label stands."""
        with pytest.raises(UnfinishedError, match="4 of 5 labels could not be made"):
            propagate(Scene(street()[0], broken=10), tmp_path, "-2..2", include_annotated=True)
        assert list(stored(tmp_path).labels) == [("clip0", 10)]

    def test_frames_are_read_once_and_no_further_than_needed(self, tmp_path):
        dataset = Scene(street()[0])
        propagate(dataset, tmp_path, "-2,3")
        assert dataset.read == [10, 11, 12, 13, 10, 9, 8]

    def test_frames_with_alpha(self, cityscapes_copy, tmp_path):
        dataset = Cityscapes(cityscapes_copy)
        labels = {}
        for run in ("rgb", "rgba"):
            label_propagate(dataset, "train", "-1,1", store=tmp_path / run, progress=False)
            labels[run] = contents(tmp_path / run)
            for clip in dataset.clips("train"):
                for path in clip.frames.values():
                    cv2.imwrite(str(path), cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2BGRA))
        assert labels["rgb"] == labels["rgba"]

    def test_labels_with_four_channels_are_listed(self, camvid_copy, tmp_path):
        dataset = CamVid(camvid_copy)
        clip = dataset.clips("val")[0]
        path = clip.labels[clip.annotated[0]]
        Image.fromarray(np.dstack([read_label_png(path).astype(np.uint8)] * 4), "RGBA").save(path)
        with pytest.raises(UnfinishedError, match=r"1 of .*could not be made") as caught:
            label_propagate(dataset, "val", 1, on_missing="skip", store=tmp_path, progress=False)
        assert "colours instead of ids; expected one channel" in caught.value.detail


class TestSummary:
    def test_agreement_and_cost(self, camvid_root, tmp_path):
        """Every second annotated frame is propagated to the others, which tell how good the labels are."""
        dataset = CamVid(camvid_root)
        clip = dataset.clips("val")[0]
        summary = label_propagate(
            dataset,
            "val",
            1,
            method="nearest",
            annotated_every=2,
            on_missing="skip",
            cost_model="polygon",
            store=tmp_path,
            progress=False,
        )
        pairs = [
            (clip, number, clip.number_at(number, 1))
            for clip in dataset.clips("val")
            for number in clip.annotated[::2]
            if clip.number_at(number, 1) in clip.frames
        ]
        assert summary.written == len(pairs)
        hits = known = 0
        for clip, start, target in pairs:
            truth, copied = dataset.read_label(clip, target), dataset.read_label(clip, start)
            hits += np.count_nonzero((truth == copied) & (truth != 255))
            known += np.count_nonzero(truth != 255)
        counts = summary.agreement[1].counts
        assert (np.diagonal(counts).sum(), counts.sum()) == (hits, known)
        assert summary.agreement[1].miou <= summary.agreement[1].kept_miou
        assert summary.cost.masks == len(pairs)

    def test_a_price_that_does_not_exist_is_refused_first(self, camvid_root, tmp_path):
        from thriftseg.errors import ConfigError

        with pytest.raises(ConfigError, match="published"):
            label_propagate(CamVid(camvid_root), "val", 1, on_missing="skip", cost_model="published", store=tmp_path)
        assert not list(tmp_path.iterdir())
