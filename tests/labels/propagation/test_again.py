from __future__ import annotations

import shutil

import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image

from tests.labels.propagation.known_motion import KnownMotion, shifted
from tests.labels.review.reviewed_street import (
    CAR,
    FIXED,
    PERSON,
    TRUCK,
    Street,
    changed,
    contents,
    correct,
    corrected_label,
    decide,
    propagated,
    repropagate,
    stored,
)
from thriftseg.datasets import Cityscapes, write_label_png
from thriftseg.errors import ConfigError, LabelStoreError
from thriftseg.labels import (
    NearestPropagator,
    create_propagator,
    label_propagate,
    label_repropagate,
)
from thriftseg.labels.propagation.again import propagator_like
from thriftseg.stores.label_store import LabelStore
from thriftseg.stores.manifest import Manifest
from thriftseg.types import LabelKind


class TestReach:
    def test_frames_nearer_to_the_correction(self, street, tmp_path):
        """Halfway to the annotated frame on one side, to the end on the other, and as a tracker would label them."""
        before = contents(tmp_path)
        correct(street, tmp_path, 14)
        summary = repropagate(street, tmp_path)
        assert (summary.written, summary.done, summary.corrected) == (8, 0, 1)
        assert changed(before, contents(tmp_path)) == [*range(13, 21)]
        store = stored(tmp_path)
        for number in range(13, 21):
            label = store.read("clip0", number, verify=True)
            expected = shifted(corrected_label(street, 14), number - 14, 255)
            np.testing.assert_array_equal(label, expected, str(number))
            assert np.count_nonzero(label == TRUCK) == 64
            assert store.labels["clip0", number].parents == ("manual:scene/clip0/000010", "fixed:scene/clip0/000014")
        assert store.labels["clip0", 14].label_kind == LabelKind.MANUAL
        assert store.labels["clip0", 12].parents == ("manual:scene/clip0/000010",)

    def test_a_correction_that_has_changed_since_is_not_followed(self, street, tmp_path):
        before = contents(tmp_path)
        correct(street, tmp_path, 14)
        path = stored(tmp_path, FIXED).path_of("clip0", 14)
        write_label_png(path, corrected_label(street, 14, PERSON))
        with pytest.raises(LabelStoreError, match="8 of 8 labels could not be made") as caught:
            repropagate(street, tmp_path)
        assert str(caught.value).count(f"{path}: the label is not the one that was written") == 8
        assert changed(before, contents(tmp_path)) == []

    def test_another_annotated_frame_stops_it(self, tmp_path):
        dataset = propagated(Street(annotated=(2, 10)), tmp_path)
        before = contents(tmp_path)
        correct(dataset, tmp_path, 5)
        repropagate(dataset, tmp_path)
        assert changed(before, contents(tmp_path)) == [4, 5, 6, 7]

    def test_an_annotated_frame_that_was_withheld_does_not(self, tmp_path):
        """Frames that only serve to test the labels are targets like any other."""
        dataset = propagated(Street(annotated=(0, 10)), tmp_path, "0..10", annotated_every=2)
        before = contents(tmp_path)
        correct(dataset, tmp_path, 8)
        repropagate(dataset, tmp_path)
        assert changed(before, contents(tmp_path)) == [5, 6, 7, 8, 9, 10]

    def test_corrections_share_what_lies_between_them(self, street, tmp_path):
        correct(street, tmp_path, 14, 17)
        assert repropagate(street, tmp_path).corrected == 2
        rows = stored(tmp_path).labels
        starts = {number: rows["clip0", number].parents[-1][-2:] for number in range(12, 21)}
        assert starts == {12: "10", 13: "14", 14: "14", 15: "14", **dict.fromkeys(range(16, 21), "17")}

    def test_frames_without_a_label_get_none(self, tmp_path):
        dataset = propagated(Street(), tmp_path, "-2,-1,1,2,5")
        correct(dataset, tmp_path, 13)
        assert repropagate(dataset, tmp_path).written == 2
        assert sorted(contents(tmp_path)) == [8, 9, 11, 12, 15]
        assert TRUCK not in stored(tmp_path).read("clip0", 11)
        assert TRUCK in stored(tmp_path).read("clip0", 15)

    def test_annotated_frame_corrected_itself(self, street, tmp_path):
        before = contents(tmp_path)
        correct(street, tmp_path, 10)
        assert repropagate(street, tmp_path).written == 20
        assert changed(before, contents(tmp_path)) == [*range(10), *range(11, 21)]

    def test_newly_annotated_frames_of_the_data_set(self, street, tmp_path):
        before = contents(tmp_path)
        more = Street(annotated=(10, 16))
        settings = {"propagator": KnownMotion(), "accelerator": "cpu", "progress": False, "store": tmp_path}
        more.read_label = lambda clip, number: corrected_label(street, number)
        for number in (10, 16):
            more.clips("train")[0].labels[number] = tmp_path / f"{number}.png"
            (tmp_path / f"{number}.png").write_bytes(b"label %d" % number)
        assert label_repropagate(more, "train", "known_motion", "manual", **settings).written == 7
        assert changed(before, contents(tmp_path)) == [*range(14, 21)]
        assert label_repropagate(more, "train", "known_motion", "manual", **settings).written == 0


class TestLocks:
    def test_locked_frame_stops_the_reach(self, street, tmp_path):
        before = contents(tmp_path)
        assert decide(street, tmp_path, "lock,clip0,17,").frames == {"lock": 1}
        correct(street, tmp_path, 14)
        summary = repropagate(street, tmp_path)
        assert summary.locked == 1
        assert changed(before, contents(tmp_path)) == [13, 14, 15, 16]

    def test_locked_frame_that_was_corrected(self, street, tmp_path):
        """The label stays, and its neighbours follow the correction."""
        before = contents(tmp_path)
        decide(street, tmp_path, "lock,clip0,14,")
        correct(street, tmp_path, 14)
        repropagate(street, tmp_path)
        assert changed(before, contents(tmp_path)) == [13, *range(15, 21)]

    def test_locked_frame_cannot_be_written(self, street, tmp_path):
        decide(street, tmp_path, "lock,clip0,000017,")
        store = stored(tmp_path)
        with pytest.raises(LabelStoreError, match=r"the label of frame 17 of 'clip0' is locked; fix: accept the frame"):
            store.write("clip0", 17, street.label, kind=LabelKind.MANUAL, generator="test")
        decide(street, tmp_path, "accept,clip0,17,")
        stored(tmp_path).write("clip0", 17, street.label, kind=LabelKind.MANUAL, generator="test")

    def test_locked_object_keeps_its_pixels(self, street, tmp_path):
        car = next(item.id for item in stored(tmp_path).object_log.read()["clip0", 16] if item.train_id == CAR)
        before = stored(tmp_path).read("clip0", 16)
        assert decide(street, tmp_path, f"lock,clip0,16,{car}").objects == {"lock": 1}
        correct(street, tmp_path, 14)
        repropagate(street, tmp_path)
        store = stored(tmp_path)
        after = store.read("clip0", 16)
        np.testing.assert_array_equal(after == CAR, before == CAR)
        assert TRUCK not in after
        assert TRUCK in store.read("clip0", 15)
        assert TRUCK in store.read("clip0", 17)
        logged = {item.train_id: item for item in store.object_log.read()["clip0", 16]}
        assert (logged[CAR].id, logged[CAR].pixels, logged[TRUCK].pixels) == (car, 64, 0)
        assert len({item.id for item in logged.values()}) == len(logged) == 4
        correct(street, tmp_path, 14, what=PERSON)  # and once more
        repropagate(street, tmp_path)
        np.testing.assert_array_equal(stored(tmp_path).read("clip0", 16) == CAR, before == CAR)

    def test_locked_class_does_not_grow(self, street, tmp_path):
        """Other pixels that the new label gives to the class of a locked object carry none."""
        decide(street, tmp_path, "lock,clip0,16,3")
        store = stored(tmp_path, FIXED)
        label = corrected_label(street, 14, CAR)
        label[22:, :10] = CAR
        store.write("clip0", 14, label, kind=LabelKind.MANUAL, generator="import/coco")
        repropagate(street, tmp_path)
        after = stored(tmp_path).read("clip0", 16)
        assert np.count_nonzero(after == CAR) == 64
        assert (after[22:, 2:12] == 255).all()
        assert np.count_nonzero(stored(tmp_path).read("clip0", 15) == CAR) == 64 + 20

    def test_one_of_two_cars(self, tmp_path):
        dataset = Street()
        dataset.label[12:20, 32:36] = CAR
        dataset.instances = np.where(dataset.label == CAR, CAR * 1000 + 1 + (np.arange(48) >= 32), 0).astype(np.int32)
        options = {"object_unit": "instance"}
        propagated(dataset, tmp_path / "without", **options)
        with pytest.raises(ConfigError, match=r"line 2: .*several objects of this class.*--save_objects true"):
            decide(dataset, tmp_path / "without", "lock,clip0,16,3")
        propagated(dataset, tmp_path, save_objects=True, **options)
        before = stored(tmp_path).read("clip0", 16)
        decide(dataset, tmp_path, "lock,clip0,16,4")
        correct(dataset, tmp_path, 14)
        repropagate(dataset, tmp_path)
        store = stored(tmp_path)
        after, columns = store.read("clip0", 16), np.arange(48)
        np.testing.assert_array_equal(after == CAR, (before == CAR) & (columns >= 38))
        np.testing.assert_array_equal(after == TRUCK, (before == CAR) & (columns < 38))
        ids = np.asarray(Image.open(store.object_log.path_of_ids("clip0", 16)))
        np.testing.assert_array_equal(ids == 4, after == CAR)
        sizes = {item.id: item.pixels for item in store.object_log.read()["clip0", 16]}
        assert sizes == {number: np.count_nonzero(ids == number) for number in (1, 2, 3, 4)}


class TestResume:
    def test_second_run_does_nothing(self, street, tmp_path):
        decide(street, tmp_path, "reject,clip0,15,", "lock,clip0,16,3", "lock,clip0,18,")
        correct(street, tmp_path, 14)
        repropagate(street, tmp_path)
        before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.rglob("*.png")}
        summary = repropagate(street, tmp_path)
        assert (summary.written, summary.done, summary.corrected) == (0, 5, 0)
        assert before == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.rglob("*.png")}

    @pytest.mark.parametrize("moment", [0, 3, 5])
    @pytest.mark.parametrize("stem", ["manifest", "reviews"])
    def test_killed_run_goes_on(self, street, tmp_path, monkeypatch, stem, moment):
        """Killed before a row is written, the run ends in the same files as one that was left alone."""
        decide(street, tmp_path, "reject,clip0,15,", "lock,clip0,16,3", "lock,clip0,19,")
        correct(street, tmp_path, 14)
        whole = tmp_path / "whole"
        shutil.copytree(tmp_path / "known_motion", whole / "known_motion")
        shutil.copytree(tmp_path / FIXED, whole / FIXED)
        repropagate(street, whole)
        append, calls = Manifest.append, []

        def dying_append(self, rows):
            calls.extend([1] if self._stem == stem else [])
            if len(calls) > moment:
                raise KeyboardInterrupt
            append(self, rows)

        with monkeypatch.context() as patch:
            patch.setattr(Manifest, "append", dying_append)
            with pytest.raises(KeyboardInterrupt):
                repropagate(street, tmp_path)
        assert 0 < repropagate(street, tmp_path).written <= 6
        assert contents(tmp_path) == contents(whole)
        assert stored(tmp_path).rows() == stored(whole).rows()
        assert stored(tmp_path).reviews == stored(whole).reviews
        for name in ("manifest", "objects", "reviews"):
            files = [root / f"known_motion/{name}.jsonl" for root in (tmp_path, whole)]
            assert files[0].read_bytes() == files[1].read_bytes()

    def test_broken_frame_ends_its_side(self, street, tmp_path):
        before = contents(tmp_path)
        correct(street, tmp_path, 14)
        street.broken = 17
        with pytest.raises(LabelStoreError, match=r"4 of 8 labels could not be made") as caught:
            repropagate(street, tmp_path)
        assert "clip0/000017 (from frame 14)" in caught.value.detail
        assert changed(before, contents(tmp_path)) == [13, 14, 15, 16]
        street.broken = None
        assert repropagate(street, tmp_path).written == 4
        assert changed(before, contents(tmp_path)) == [*range(13, 21)]

    @pytest.mark.slow
    def test_several_processes_give_the_same_files(self, street, tmp_path):
        correct(street, tmp_path, 2, 5, 14, 17)
        decide(street, tmp_path, "reject,clip0,15,", "lock,clip0,16,3", "lock,clip0,19,")
        shutil.copytree(tmp_path, tmp_path / "two")
        for folder, devices in ((tmp_path, 1), (tmp_path / "two", 2)):
            assert repropagate(street, folder, devices=devices, accelerator="cpu").corrected == 4
        assert contents(tmp_path) == contents(tmp_path / "two")
        for name in ("manifest", "objects", "reviews"):
            files = [root / f"known_motion/{name}.jsonl" for root in (tmp_path, tmp_path / "two")]
            assert files[0].read_bytes() == files[1].read_bytes()

    def test_changed_correction_is_spread_again(self, street, tmp_path):
        correct(street, tmp_path, 14)
        repropagate(street, tmp_path)
        correct(street, tmp_path, 14, what=PERSON)
        assert repropagate(street, tmp_path).written == 8
        assert np.count_nonzero(stored(tmp_path).read("clip0", 18) == PERSON) == 64


class TestRecipe:
    def test_another_method_or_setting_is_refused(self, street, tmp_path):
        correct(street, tmp_path, 14)
        before = contents(tmp_path)
        for other in (NearestPropagator(), KnownMotion(speed=2)):
            with pytest.raises(ConfigError, match="source 'known_motion' was propagated in another way"):
                repropagate(street, tmp_path, propagator=other)
        with pytest.raises(ConfigError, match="no such propagation method"):
            repropagate(street, tmp_path, propagator=None)
        assert contents(tmp_path) == before

    def test_settings_come_from_the_rows(self, cityscapes_root, tmp_path):
        from thriftseg.labels import FlowPropagator

        dataset, flow = Cityscapes(cityscapes_root), FlowPropagator(alpha=0.02, beta=0.25)
        label_propagate(dataset, "val", 1, method=flow, store=tmp_path, progress=False, accelerator="cpu")
        row = next(iter(LabelStore(tmp_path, "flow", dataset.taxonomy).labels.values()))
        assert propagator_like(row).arguments == flow.arguments

    def test_sam2_needs_its_weights_only(self, sam2_checkpoint, street, tmp_path):
        pytest.importorskip("sam2")
        sam2 = create_propagator("sam2", weights=sam2_checkpoint, image_size=256)
        row = next(iter(stored(tmp_path).labels.values()))
        row = replace(row, generator="propagate/sam2", arguments={**sam2.arguments, "object_unit": "class"})
        assert propagator_like(row, weights=sam2_checkpoint).arguments == sam2.arguments

    def test_corrections_are_the_work_of_people(self, street, tmp_path):
        stored(tmp_path, FIXED).write("clip0", 14, street.label, kind=LabelKind.FILLED, generator="fill")
        with pytest.raises(ConfigError, match=r"a label that a person made; expected manual; found filled"):
            repropagate(street, tmp_path)
        with pytest.raises(ConfigError, match="labels of source 'fixed' were not propagated"):
            label_repropagate(street, "train", FIXED, "known_motion", store=tmp_path)
        with pytest.raises(ConfigError, match="correct themselves"):
            label_repropagate(street, "train", FIXED, FIXED, store=tmp_path)
        with pytest.raises(LabelStoreError, match="no labels of source 'none'"):
            label_repropagate(street, "train", "none", FIXED, store=tmp_path)
