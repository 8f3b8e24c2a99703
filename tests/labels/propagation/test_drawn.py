"""Propagation from labels that people drew into the store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.labels.propagation.known_motion import KnownMotion, Scene, shifted
from tests.labels.review.reviewed_street import (
    CAR,
    FIXED,
    PERSON,
    SKY,
    TRUCK,
    Street,
    changed,
    contents,
    correct,
    corrected_label,
    decide,
    repropagate,
    stored,
)
from thriftseg.costs import AnnotationCost
from thriftseg.datasets import Cityscapes
from thriftseg.errors import ConfigError, LabelStoreError
from thriftseg.exchange import export_labels
from thriftseg.labels import FlowPropagator, NearestPropagator, label_propagate, label_repropagate
from thriftseg.stores.label_source import LabelSource
from thriftseg.stores.label_store import LabelStore
from thriftseg.stores.object_log import LoggedObject
from thriftseg.stores.rows import ActionRow, action_id
from thriftseg.types import LabelKind

QUIET = {"accelerator": "cpu", "progress": False}


def propagate(dataset, folder: Path, offsets="-10..10", **settings):
    settings = {"method": KnownMotion(), "annotations": FIXED, "on_missing": "skip", **settings}
    return label_propagate(dataset, "train", offsets, store=folder, **QUIET, **settings)


def two_cars() -> tuple[np.ndarray, np.ndarray]:
    """A street with two cars that touch, and their instance ids."""
    label = Street().label.copy()
    label[12:20, 28:32] = CAR
    columns = np.arange(48)
    return label, np.where(label == CAR, CAR * 1000 + 1 + (columns >= 28), 0).astype(np.int32)


def draw(dataset: Scene, folder: Path, number: int, label: np.ndarray, instances: np.ndarray) -> None:
    """A label with its instances, as a person leaves it: sky 1, road 2, cars 4 and 7."""
    store = stored(folder, FIXED)
    ids = np.select([instances % 1000 == 1, instances % 1000 == 2, label == SKY], [4, 7, 1], 2).astype(np.uint16)
    known = ((1, SKY, None), (2, 0, None), (4, CAR, 1), (7, CAR, 2))
    logged = [LoggedObject(item, train_id, instance, int((ids == item).sum())) for item, train_id, instance in known]
    store.object_log.write("clip0", number, logged)
    store.object_log.write_ids("clip0", number, ids, 7)
    action = action_id(FIXED, dataset.name, "clip0", number)
    store.record_action(ActionRow(action, FIXED, "clip0", number, AnnotationCost(seconds=30, clicks=5)))
    store.write("clip0", number, label, kind=LabelKind.MANUAL, generator="page", parents=[action], licences=["MIT"])


class TestAnnotations:
    def test_frames_and_actions_are_those_of_the_source(self, tmp_path):
        """Frames 4 and 14 are drawn; the manual label of frame 10 does not count."""
        street = Street()
        correct(street, tmp_path, 4, 14)
        summary = propagate(street, tmp_path, "-6..6")
        store = stored(tmp_path)
        starts = {number: row.parents for (_, number), row in store.labels.items()}
        expected = {number: 4 if number < 10 else 14 for number in range(21) if number not in (4, 14)}
        assert starts == {number: (f"fixed:scene/clip0/{start:06d}",) for number, start in expected.items()}
        for number, start in expected.items():
            label = shifted(corrected_label(street, start), number - start, 255)
            np.testing.assert_array_equal(store.read("clip0", number), label, str(number))
        assert summary.cost == AnnotationCost(seconds=120, masks=2)
        assert {action.cost.seconds for action in store.actions.values()} == {60}

    def test_the_same_label_gives_the_same_files(self, cityscapes_root, tmp_path):
        dataset = Cityscapes(cityscapes_root)
        drawn = LabelStore(tmp_path, "drawn", dataset.taxonomy)
        for clip in dataset.clips("train"):
            label = dataset.read_label(clip, 5)
            drawn.write(clip.video, 5, label, kind=LabelKind.MANUAL, generator="page", parents=["drawn:x/a/000005"])
        for name in ("manual", "drawn"):
            settings = {"store": tmp_path, "annotations": name, "source": f"from_{name}"}
            label_propagate(dataset, "train", "-2..2", method="flow", **settings, **QUIET)
        frames = {name: LabelStore(tmp_path, f"from_{name}", dataset.taxonomy) for name in ("manual", "drawn")}
        manual, other = (store.labels for store in frames.values())
        assert manual.keys() == other.keys()
        assert len(manual) == 12
        assert {frame: row.sha256 for frame, row in manual.items()} == {
            frame: row.sha256 for frame, row in other.items()
        }
        assert {row.parents for row in other.values()} == {("drawn:x/a/000005",)}

    def test_an_annotated_frame_is_copied(self, tmp_path):
        street = Street()
        correct(street, tmp_path, 4)
        propagate(street, tmp_path, "0..1", include_annotated=True)
        assert sorted(contents(tmp_path)) == [4, 5]
        assert contents(tmp_path)[4] == contents(tmp_path, FIXED)[4]

    def test_what_is_no_work_of_people(self, tmp_path):
        street = Street()
        with pytest.raises(LabelStoreError, match="source 'fixed' has no labels for split 'train'"):
            propagate(street, tmp_path)
        draw(street, tmp_path, 10, *two_cars())
        with pytest.raises(ConfigError, match="labels propagated into themselves; found fixed"):
            propagate(street, tmp_path, source=FIXED)
        stored(tmp_path, FIXED).write("clip0", 3, street.label, kind=LabelKind.FILLED, generator="fill")
        with pytest.raises(ConfigError, match=r"clip0/000003 is not a label that a person made; .* found filled"):
            propagate(street, tmp_path)
        assert not (tmp_path / "known_motion").exists()


class TestInstances:
    def test_ids_of_a_drawn_label(self, tmp_path):
        label, instances = two_cars()
        street = Street()
        draw(street, tmp_path, 10, label, instances)
        (found,) = LabelSource(street, tmp_path, FIXED).labels("train")
        np.testing.assert_array_equal(LabelSource(street, tmp_path, FIXED).read_instances(found), instances)

    @pytest.mark.parametrize("again", [False, True])
    def test_drawn_instances_are_followed(self, tmp_path, again):
        """As those of the data set are, in labels made for the first time and made again."""
        label, instances = two_cars()
        street = Street()
        draw(street, tmp_path, 10, label, instances)
        if again:
            settings = {"frames": {"clip0": range(9, 13)}, "object_unit": "instance", "save_objects": True}
            assert repropagate(street, tmp_path, **settings).written == 3
        else:
            propagate(street, tmp_path, "-1..2", object_unit="instance", save_objects=True)
        store = stored(tmp_path)
        logged = store.object_log.read()
        assert sorted(number for _, number in logged) == [9, 11, 12]
        assert logged["clip0", 12][2:] == (LoggedObject(3, CAR, 1, 64, 0.5), LoggedObject(4, CAR, 2, 32, 0.5))
        np.testing.assert_array_equal(store.read_instances("clip0", 12), shifted(instances, 2, 0))
        assert {row.licences for row in store.labels.values()} == {("MIT",)}

    def test_stored_labels_without_instances(self, tmp_path):
        """A generator says so, and a correction is followed by class."""
        street = Street()
        correct(street, tmp_path, 10)
        with pytest.raises(LabelStoreError, match=r"1 of 1 labels could not be made") as caught:
            propagate(street, tmp_path, "1", object_unit="instance")
        assert "000010.png: no instance ids for this frame; fix: choose --object_unit class" in caught.value.detail
        repropagate(street, tmp_path, frames={"clip0": [11]}, object_unit="instance")
        assert [item.instance for item in stored(tmp_path).object_log.read()["clip0", 11]] == [None] * 3

    def test_ids_that_the_log_does_not_explain(self, tmp_path):
        store, ids = stored(tmp_path, FIXED), np.full((24, 48), 3, np.uint16)
        store.object_log.write_ids("clip0", 10, ids, 3)
        with pytest.raises(LabelStoreError, match=r"that the object log does not explain; .* found id 3; fix: delete"):
            store.read_instances("clip0", 10)
        store.object_log.write("clip0", 10, [LoggedObject(3, CAR, 1000, 1152)])
        store.refresh()
        with pytest.raises(LabelStoreError, match="too many instances"):
            store.read_instances("clip0", 10)
        assert store.read_instances("clip0", 11) is None

    def test_propagated_labels_are_exported_as_they_were(self, tmp_path):
        """Ids that a propagator saved are no instances that a person drew."""
        label, instances = two_cars()
        street = Street()
        draw(street, tmp_path, 10, label, instances)
        propagate(street, tmp_path, "1", object_unit="instance", save_objects=True)
        shapes = {}
        for source in (FIXED, "known_motion"):
            out = tmp_path / "out" / source
            export_labels(street, "train", out, "cvat", source=source, store=tmp_path, progress=False)
            shapes[source] = sum(path.read_text().count('<mask label="car"') for path in out.glob("*.xml"))
        assert shapes == {FIXED: 2, "known_motion": 1}


class TestFramesWithoutLabels:
    def test_each_gets_that_of_the_nearest_correction(self, tmp_path):
        """Frame 9 is as far from 4 as from 14, and the earlier wins; what is corrected itself needs none."""
        street = Street()
        correct(street, tmp_path, 4, 14)
        frames = {"clip0": range(21)}
        summary = repropagate(street, tmp_path, propagator=NearestPropagator(), frames=frames)
        assert (summary.written, summary.done, summary.corrected) == (19, 0, 2)
        store = stored(tmp_path)
        assert sorted(contents(tmp_path)) == [number for number in range(21) if number not in (4, 14)]
        for number in contents(tmp_path):
            start = 4 if number <= 9 else 14
            np.testing.assert_array_equal(store.read("clip0", number), corrected_label(street, start), str(number))
            assert store.labels["clip0", number].parents == (f"fixed:scene/clip0/{start:06d}",)
        assert sorted(store.actions) == ["fixed:scene/clip0/000004", "fixed:scene/clip0/000014"]
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
        summary = repropagate(street, tmp_path, propagator=NearestPropagator(), frames=frames)
        assert (summary.written, summary.done) == (0, 19)
        assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}

    def test_one_range_of_one_video(self, tmp_path):
        dataset = Street()
        (clip,) = dataset.clips("train")
        dataset._clips["train"] = [clip, type(clip)("clip1", clip.frames, clip.labels)]
        correct(dataset, tmp_path, 4, 14)
        fixed = stored(tmp_path, FIXED)
        fixed.write("clip1", 4, corrected_label(dataset, 4), kind=LabelKind.MANUAL, generator="page")
        assert repropagate(dataset, tmp_path, frames={"clip0": range(4, 9)}).written == 4
        assert sorted(stored(tmp_path).labels) == [("clip0", number) for number in range(5, 9)]
        assert repropagate(dataset, tmp_path, frames={"clip0": range(8, 17)}).written == 7
        assert sorted(contents(tmp_path)) == [*range(5, 14), 15, 16]

    def test_flow_gives_what_label_propagate_gives(self, cityscapes_root, tmp_path):
        dataset = Cityscapes(cityscapes_root)
        clip = dataset.clips("train")[0]
        drawn = LabelStore(tmp_path, "drawn", dataset.taxonomy)
        label = dataset.read_label(clip, 5)
        drawn.write(clip.video, 5, label, kind=LabelKind.MANUAL, generator="page", parents=["drawn:x/a/000005"])
        label_propagate(dataset, "train", "-2..2", annotations="drawn", store=tmp_path, source="first", **QUIET)
        settings = {"propagator": FlowPropagator(), "frames": {clip.video: range(3, 8)}, "store": tmp_path}
        label_repropagate(dataset, "train", "second", "drawn", **settings, **QUIET)
        first, second = (LabelStore(tmp_path, name, dataset.taxonomy).labels for name in ("first", "second"))
        assert sorted(first) == sorted(second) == [(clip.video, number) for number in (3, 4, 6, 7)]
        for frame, row in first.items():
            assert (row.sha256, row.confidence) == (second[frame].sha256, second[frame].confidence)
            assert (row.parents, row.arguments) == (second[frame].parents, second[frame].arguments)

    def test_locked_frames_and_objects_stay(self, tmp_path):
        """The locked frame 8 ends what the correction of frame 4 reaches; those of frame 14 are as near as before."""
        street = Street()
        frames = {"clip0": range(21)}
        correct(street, tmp_path, 4, 14)
        repropagate(street, tmp_path, frames=frames)
        before = contents(tmp_path)
        truck = next(item.id for item in stored(tmp_path).object_log.read()["clip0", 6] if item.train_id == TRUCK)
        decide(street, tmp_path, "lock,clip0,8,", f"lock,clip0,6,{truck}")
        correct(street, tmp_path, 4, what=PERSON)
        assert repropagate(street, tmp_path, frames=frames).written == 7
        after = contents(tmp_path)
        assert changed(before, after) == [0, 1, 2, 3, 5, 7]
        found = stored(tmp_path)
        for number in (0, 1, 2, 3, 5, 7):
            assert (TRUCK in found.read("clip0", number), PERSON in found.read("clip0", number)) == (False, True)
        assert np.count_nonzero(found.read("clip0", 6) == TRUCK) == 64

    def test_a_corrected_frame_that_has_a_label(self, tmp_path):
        """It gets the corrected one, and its neighbours follow."""
        street = Street()
        frames = {"clip0": range(21)}
        correct(street, tmp_path, 4)
        assert repropagate(street, tmp_path, frames=frames).written == 20
        correct(street, tmp_path, 14, what=PERSON)
        assert repropagate(street, tmp_path, frames=frames).written == 11
        assert contents(tmp_path)[14] == contents(tmp_path, FIXED)[14]
        kinds = {number: row.label_kind for (_, number), row in stored(tmp_path).labels.items()}
        assert [number for number, kind in kinds.items() if kind == LabelKind.MANUAL] == [14]

    def test_a_new_source_needs_a_propagator(self, tmp_path):
        street = Street()
        correct(street, tmp_path, 4)
        with pytest.raises(LabelStoreError, match="no labels of source 'known_motion'"):
            repropagate(street, tmp_path, propagator=None, frames={"clip0": [5]})
        with pytest.raises(LabelStoreError, match="no labels of source 'known_motion'"):
            repropagate(street, tmp_path)
        repropagate(street, tmp_path, frames={"clip0": [5]}, object_unit="component")
        with pytest.raises(ConfigError, match="source 'known_motion' was propagated in another way"):
            repropagate(street, tmp_path, frames={"clip0": [6]}, object_unit="class")
        assert repropagate(street, tmp_path, frames={"clip0": [6]}).written == 1
        assert repropagate(street, tmp_path, frames={"elsewhere": [6]}).written == 0
