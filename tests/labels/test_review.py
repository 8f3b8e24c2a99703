from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.labels.known_motion import KnownMotion, Scene, shifted
from thriftseg.cli.main import main
from thriftseg.costs import AnnotationCost
from thriftseg.datamodules.mixture import Mixture, MixturePart
from thriftseg.datasets import CamVid, Cityscapes
from thriftseg.datasets.label_rows import ActionRow, action_id
from thriftseg.datasets.label_store import LabelStore
from thriftseg.datasets.manifest import Manifest
from thriftseg.datasets.review_log import ReviewLog
from thriftseg.errors import ConfigError, LabelStoreError, MixtureError
from thriftseg.labels import (
    NearestPropagator,
    apply_decisions,
    create_propagator,
    export_labels,
    label_clicks,
    label_propagate,
    label_repropagate,
    least_confident,
    write_point_maps,
)
from thriftseg.labels.inspect import inspect_labels
from thriftseg.labels.repropagate import propagator_like
from thriftseg.labels.sources import LabelSource
from thriftseg.taxonomies import CITYSCAPES
from thriftseg.types import LabelKind

ROAD, SKY, PERSON, CAR, TRUCK = 0, 10, 11, 13, 14
FIXED = "fixed"


class Street(Scene):
    """A scene of sky, road and a car that moves by a pixel per frame; the car is label enough to see motion."""

    def __init__(self, annotated=(10,), instances=None) -> None:
        label = np.full((24, 48), ROAD, np.uint8)
        label[:8] = SKY
        label[12:20, 20:28] = CAR
        super().__init__(label, instances)
        self._annotated = annotated

    def _scan(self, split):
        (clip,) = super()._scan(split)
        labels = {number: Path(f"{number}_label.png") for number in self._annotated}
        return [type(clip)(clip.video, clip.frames, labels)]

    def clip_size(self, clip):
        return self.label.shape


@pytest.fixture(scope="module")
def propagated_street(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("street")
    propagated(Street(), folder)
    return folder


@pytest.fixture
def street(propagated_street, tmp_path) -> Street:
    """The street, propagated from frame 10 to all others into `tmp_path`, source "known_motion"."""
    shutil.copytree(propagated_street, tmp_path, dirs_exist_ok=True)
    return Street()


def propagated(dataset, folder, offsets="-10..10", **settings):
    settings = {"method": KnownMotion(), "accelerator": "cpu", "progress": False, **settings}
    label_propagate(dataset, "train", offsets, store=folder, on_missing="skip", **settings)
    return dataset


def stored(folder: Path, source: str = "known_motion") -> LabelStore:
    return LabelStore(folder, source, CITYSCAPES)


def decide(dataset, folder: Path, *lines: str):
    path = folder / "decisions.csv"
    path.write_text("\n".join(["decision,video,frame,object", *lines]) + "\n")
    return apply_decisions(dataset, "known_motion", path, store=folder)


def corrected_label(dataset: Street, number: int, what: int = TRUCK) -> np.ndarray:
    """The true label of a frame, whose car a person calls a truck."""
    label = shifted(dataset.label, number - 10, 255)
    return np.where(label == CAR, np.uint8(what), label)


def correct(dataset: Street, folder: Path, *numbers: int, what: int = TRUCK) -> None:
    store = stored(folder, FIXED)
    for number in numbers:
        action = action_id(FIXED, dataset.name, "clip0", number)
        store.record_action(ActionRow(action, FIXED, "clip0", number, AnnotationCost(seconds=60, masks=1)))
        label = corrected_label(dataset, number, what)
        store.write("clip0", number, label, kind=LabelKind.MANUAL, generator="import/coco", parents=[action])


def repropagate(dataset, folder: Path, **settings):
    settings = {"propagator": KnownMotion(), "accelerator": "cpu", "progress": False, **settings}
    return label_repropagate(dataset, "train", "known_motion", FIXED, store=folder, **settings)


def contents(folder: Path, source: str = "known_motion") -> dict[int, bytes]:
    return {int(path.stem): path.read_bytes() for path in (folder / source / "clip0").glob("??????.png")}


def changed(before: dict[int, bytes], after: dict[int, bytes]) -> list[int]:
    assert before.keys() == after.keys()
    return sorted(number for number in before if before[number] != after[number])


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
        with pytest.raises(LabelStoreError, match=r"4 of 8 labels could not be made again") as caught:
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

    def test_killed_decisions_go_on(self, street, tmp_path, monkeypatch):
        """Killed between the decision and the label that has to follow it."""
        lines = ["reject,clip0,16,3", "lock,clip0,16,"]
        with monkeypatch.context() as patch:
            patch.setattr(LabelStore, "write", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                decide(street, tmp_path, *lines)
        assert CAR in stored(tmp_path).read("clip0", 16)
        assert not stored(tmp_path).reviews.locked
        summary = decide(street, tmp_path, *lines)
        assert (summary.repainted, summary.known) == (1, 1)
        assert CAR not in stored(tmp_path).read("clip0", 16)
        assert stored(tmp_path).reviews.locked == {("clip0", 16)}


class TestDecisions:
    def test_reject_and_accept(self, street, tmp_path):
        before = contents(tmp_path)
        summary = decide(street, tmp_path, "reject,clip0,12,", "accept,clip0,13,", "lock,clip0,14,", ",clip0,15,")
        assert summary.frames == {"accept": 1, "reject": 1, "lock": 1}
        assert str(summary) == "1 frames accepted, 1 frames rejected, 1 frames locked; 0 decisions held already"
        store = stored(tmp_path)
        assert set(store.labels) - set(store.usable) == {("clip0", 12)}
        assert propagated(street, tmp_path)  # does not make it again
        assert contents(tmp_path) == before
        assert len(LabelSource(street, tmp_path, "known_motion").labels("train")) == 19
        listed = least_confident(street, "train", "known_motion", store=tmp_path, worst=100, progress=False)
        assert (len(listed.labels), listed.undecided, listed.decided) == (17, 17, 2)
        assert str(decide(street, tmp_path, "accept,clip0,13,")) == "no new decision; 1 decisions held already"
        decide(street, tmp_path, "accept,clip0,12,")
        assert set(stored(tmp_path).usable) == set(store.labels)
        assert contents(tmp_path) == before

    def test_the_last_decision_holds(self, street, tmp_path):
        decide(street, tmp_path, "reject,clip0,12,", "lock,clip0,12,", "accept,clip0,13,", "reject,clip0,13,")
        reviews = stored(tmp_path).reviews
        assert (reviews.locked, reviews.rejected) == ({("clip0", 12)}, {("clip0", 13)})

    def test_a_new_label_is_no_longer_rejected(self, street, tmp_path):
        decide(street, tmp_path, "reject,clip0,12,", "reject,clip0,16,", "reject,clip0,17,3")
        correct(street, tmp_path, 14)
        repropagate(street, tmp_path)
        assert stored(tmp_path).reviews.rejected == {("clip0", 12)}
        assert TRUCK in stored(tmp_path).read("clip0", 17)
        decide(street, tmp_path, "reject,clip0,16,")
        repropagate(street, tmp_path)
        assert stored(tmp_path).reviews.rejected == {("clip0", 12), ("clip0", 16)}

    def test_rejected_object_is_taken_out_and_put_back(self, street, tmp_path):
        before = stored(tmp_path).path_of("clip0", 16).read_bytes()
        summary = decide(street, tmp_path, "reject,clip0,16,3")
        assert summary.repainted == 1
        store = stored(tmp_path)
        label = store.read("clip0", 16, verify=True)
        assert (label[12:20, 26:34] == 255).all()
        assert store.labels["clip0", 16].ignored_share == pytest.approx((64 + 6 * 24) / label.size, abs=1e-6)
        assert decide(street, tmp_path, "reject,clip0,16,3").repainted == 0
        assert decide(street, tmp_path, "accept,clip0,16,3").repainted == 1
        assert stored(tmp_path).path_of("clip0", 16).read_bytes() == before
        assert stored(tmp_path).verify() == []

    def test_objects_of_locked_frames_are_safe(self, street, tmp_path):
        decide(street, tmp_path, "lock,clip0,16,")
        for lines in (["reject,clip0,16,3"], ["lock,clip0,16,", "reject,clip0,16,3"]):
            with pytest.raises(ConfigError, match=rf"line {1 + len(lines)}: frame 16 of 'clip0' is locked"):
                decide(street, tmp_path, *lines)
        assert decide(street, tmp_path, "accept,clip0,16,", "reject,clip0,16,3").repainted == 1

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("maybe,clip0,16,", r"line 3: no such decision; expected accept, reject, lock or nothing; found 'maybe'"),
            ("lock,clip0,10,", r"line 3: no label of frame 10 of 'clip0'; expected a label of source 'known_motion'"),
            ("lock,clip9,16,", r"line 3: no label of frame 16 of 'clip9'"),
            ("lock,clip0,six,", r"line 3: no number of frame; expected digits; found 'six'"),
            ("lock,clip0,16,car", r"line 3: no number of object; expected digits; found 'car'"),
            ("lock,clip0,16,7", r"line 3: no such object in this frame; expected one of 1, 2, 3; found 7"),
        ],
    )
    def test_bad_lines(self, street, tmp_path, line, message):
        with pytest.raises(ConfigError, match=message) as caught:
            decide(street, tmp_path, "reject,clip0,12,", line)
        assert caught.value.path == tmp_path / "decisions.csv"
        assert not stored(tmp_path).review_log.path.exists()

    def test_bad_files(self, street, tmp_path):
        path = tmp_path / "d.csv"
        for content, message in ((b"frame,word\n", "expected the columns decision, video, frame"), (b"\xff", "cannot")):
            path.write_bytes(content)
            with pytest.raises(ConfigError, match=message):
                apply_decisions(street, "known_motion", path, store=tmp_path)
        with pytest.raises(ConfigError, match="cannot read the decisions"):
            apply_decisions(street, "known_motion", tmp_path / "absent.csv", store=tmp_path)
        path.write_text("\ufeffdecision;video;frame;object\r\nReject;clip0;12;\r\n", encoding="utf-8")
        assert apply_decisions(street, "known_motion", path, store=tmp_path).frames == {"reject": 1}

    def test_damaged_reviews(self, street, tmp_path):
        log = ReviewLog(tmp_path / "known_motion")
        for row, message in (('{"schema": 9}', "unknown version"), ('{"schema": 1, "verdict": "x"}', "damaged row")):
            log.path.write_text(row + "\n")
            with pytest.raises(LabelStoreError, match=message):
                _ = stored(tmp_path).usable


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


class TestUse:
    """What mixtures and exports see, on the fixture's clips of eight frames, the sixth annotated."""

    @pytest.fixture(scope="class")
    def propagated_flow(self, cityscapes_root, tmp_path_factory) -> Path:
        folder = tmp_path_factory.mktemp("flow")
        dataset = Cityscapes(cityscapes_root)
        label_propagate(dataset, "train", "-3..2", store=folder, progress=False, accelerator="cpu")
        return folder

    @pytest.fixture
    def flow(self, cityscapes_root, propagated_flow, tmp_path) -> Cityscapes:
        shutil.copytree(propagated_flow, tmp_path, dirs_exist_ok=True)
        return Cityscapes(cityscapes_root)

    def run(self, dataset, tmp_path, *options: str) -> int:
        where = ["--dataset=cityscapes", f"--root={dataset.root}", f"--store={tmp_path}", "--source=flow"]
        return main(["label", "review", *where, "--accelerator=cpu", *options])

    def test_from_the_list_to_the_mixture(self, flow, tmp_path, capsys, monkeypatch):
        monkeypatch.setenv("COLUMNS", "160")
        table, sheet = tmp_path / "d.csv", tmp_path / "sheet.png"
        options = [f"--decisions={table}", f"--sheet={sheet}", "--worst=3", "--objects=true"]
        assert self.run(flow, tmp_path, *options) == 0
        out = capsys.readouterr().out
        assert "15 labels without a decision, 0 accepted or locked" in out
        store = LabelStore(tmp_path, "flow", flow.taxonomy)
        worst = sorted(store.labels.values(), key=lambda row: row.confidence)[:3]
        rows = list(csv.DictReader(table.open()))
        frames = [row for row in rows if not row["object"]]
        assert [(row["video"], int(row["frame"])) for row in frames] == [(row.video, row.frame) for row in worst]
        assert [float(row["confidence"]) for row in frames] == pytest.approx([r.confidence for r in worst], abs=1e-3)
        assert f"{worst[0].video}/{worst[0].frame:06d}" in out
        logged = store.object_log.read()[worst[0].video, worst[0].frame]
        of_first = [row for row in rows if row["object"] and row["frame"] == frames[0]["frame"]]
        assert len(of_first) >= sum(not item.lost for item in logged) > 2
        assert Image.open(sheet).size[0] == 3 * 400 + 2 * 4
        assert self.run(flow, tmp_path, *options) == 2
        assert "is there already" in capsys.readouterr().err

        parts = [MixturePart("flow", offsets=[-3, -2, -1, 1, 2], clips=3)]
        everything = Mixture(parts=parts, store=tmp_path).draw(flow, "train")
        frames[0]["decision"] = "reject"
        with table.open("w") as stream:
            writer = csv.DictWriter(stream, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
        assert self.run(flow, tmp_path, f"--decisions={table}", "--apply=true") == 0
        assert "1 frames rejected; 0 decisions held already" in capsys.readouterr().out
        rest = Mixture(parts=parts, store=tmp_path).draw(flow, "train")
        gone = f"{worst[0].video}/{worst[0].frame:06d}"
        assert {sample.id for sample in everything.samples} - {sample.id for sample in rest.samples} == {gone}
        assert (len(everything), len(rest), rest.rejected) == (15, 14, 1)
        assert "1 rejected labels are left out" in str(rest)
        with pytest.raises(MixtureError, match="people have rejected all labels of the mixture"):
            self.draw_rejected(flow, tmp_path)
        export = export_labels(flow, "train", tmp_path / "out", "coco", source="flow", store=tmp_path, progress=False)
        assert export.frames == 14

    def draw_rejected(self, flow, tmp_path) -> None:
        """Draw a mixture of one clip and offset after rejecting that offset in every clip."""
        shutil.copytree(tmp_path / "flow", tmp_path / "none" / "flow")
        table = tmp_path / "none.csv"
        table.write_text("decision,video,frame\n" + "".join(f"reject,{clip.video},6\n" for clip in flow.clips("train")))
        apply_decisions(flow, "flow", table, store=tmp_path / "none")
        parts = [MixturePart("flow", offsets=[1], clips=1)]
        Mixture(parts=parts, store=tmp_path / "none").draw(flow, "train")

    def test_clicks(self, camvid_root, tmp_path):
        dataset = CamVid(camvid_root)
        label_clicks(dataset, "train", store=tmp_path, progress=False)
        store = LabelStore(tmp_path, "clicks", dataset.taxonomy)
        (video, first), (_, second) = sorted(store.labels)[:2]
        clicks = {(video, second): store.points(video, second)}
        table = tmp_path / "d.csv"
        table.write_text(f"decision,video,frame,object\nreject,{video},{first},\nlock,{video},{second},\n")
        apply_decisions(dataset, "clicks", table, store=tmp_path)
        drawn = Mixture(parts=[MixturePart("clicks", share=1)], store=tmp_path).draw(dataset, "train")
        assert (len(drawn), drawn.rejected) == (len(store.labels) - 1, 1)
        maps = write_point_maps(dataset, "train", store=tmp_path, progress=False)
        assert len(list(maps.rglob("*.png"))) == len(drawn)
        store.refresh()
        with pytest.raises(LabelStoreError, match=f"the label of frame {second} of '{video}' is locked"):
            store.write_points(clicks, dataset="camvid", generator="test", costs={}, sizes={})
        table.write_text(f"decision,video,frame,object\nreject,{video},{first},1\n")
        with pytest.raises(ConfigError, match="line 2: only label maps of classes have objects"):
            apply_decisions(dataset, "clicks", table, store=tmp_path)

    def test_corrections_count_once(self, flow, tmp_path, capsys):
        clip = flow.clips("train")[0]
        store = LabelStore(tmp_path, FIXED, flow.taxonomy)
        action = action_id(FIXED, flow.name, clip.video, 7)
        store.record_action(ActionRow(action, FIXED, clip.video, 7, AnnotationCost(seconds=3600, masks=1)))
        label = flow.read_label(clip, 5)
        store.write(clip.video, 7, label, kind=LabelKind.MANUAL, generator="import/coco", parents=[action])
        parts = [MixturePart("flow", offsets=[-1, 1, 2], clips=3)]
        before = Mixture(parts=parts, store=tmp_path).draw(flow, "train").cost()
        assert self.run(flow, tmp_path, f"--corrections={FIXED}") == 0
        assert f"{clip.video}: the correction of frame 7 reaches 7\n1 labels to make again" in capsys.readouterr().out
        assert self.run(flow, tmp_path, f"--corrections={FIXED}", "--repropagate=true") == 0
        assert "1 labels of " in capsys.readouterr().out
        after = Mixture(parts=parts, store=tmp_path).draw(flow, "train").cost()
        assert after.seconds - before.seconds == pytest.approx(3600)
        rows = LabelStore(tmp_path, "flow", flow.taxonomy)
        np.testing.assert_array_equal(rows.read(clip.video, 7), label)
        both = inspect_labels(flow, "train", "flow", store=tmp_path, progress=False).cost
        assert both.seconds == pytest.approx(after.seconds)
        assert self.run(flow, tmp_path, f"--corrections={FIXED}", "--repropagate=true") == 0
        assert "0 labels of " in capsys.readouterr().out

    def test_by_way_of_an_annotation_tool(self, camvid_root, tmp_path, capsys):
        """From the propagated labels to a tool, back as corrections, and from there to their neighbours."""
        where = ["--dataset=camvid", f"--root={camvid_root}", f"--store={tmp_path}", "--split=val"]
        flow = [*where, "--source=flow"]
        options = ["--offsets=-3..3", "--on_missing=skip", "--annotated_every=4", "--accelerator=cpu"]
        assert main(["label", "propagate", *flow, *options]) == 0
        before = LabelStore(tmp_path, "flow", CamVid(camvid_root).taxonomy)
        digests = {frame: row.sha256 for frame, row in before.labels.items()}
        out = ["--format=davis", f"--out={tmp_path / 'tool'}", "--frames=least-confident:1"]
        assert main(["label", "export", *flow, *out]) == 0
        (drawn,) = (tmp_path / "tool").rglob("*/*.png")
        picture = Image.open(drawn)
        ids = np.array(picture)
        ids[:20, :20] = ids.max()
        corrected = Image.fromarray(ids, "P")
        corrected.putpalette(picture.getpalette())
        corrected.save(drawn)
        back = ["--format=davis", f"--path={tmp_path / 'tool'}", "--based_on=flow", "--seconds_per_frame=60"]
        assert main(["label", "import", *where, f"--source={FIXED}", *back]) == 0
        spread = ["--accelerator=cpu", f"--corrections={FIXED}", "--repropagate=true"]
        assert main(["label", "review", *flow, *spread]) == 0
        (fixed,) = LabelStore(tmp_path, FIXED, before.taxonomy).labels.values()
        before.refresh()
        again = {frame for frame, row in before.labels.items() if row.sha256 != digests[frame]}
        made_from_it = {frame for frame, row in before.labels.items() if fixed.parents[-1] in row.parents}
        assert again == made_from_it == set(before.reviews.remade)
        assert (fixed.video, fixed.frame) in again
        assert before.labels[fixed.video, fixed.frame].sha256 == fixed.sha256
        assert 1 < len(again) < len(digests)
        assert before.verify() == []
        assert f"{len(again)} labels of {before.folder} made again from 1 corrected frames" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("option", "message"),
        [
            ("--apply=true", "--apply true without decisions"),
            ("--repropagate=true", "without corrections"),
            ("--worst=0", "worst; expected at least 1 label; found 0"),
        ],
    )
    def test_bad_options(self, flow, tmp_path, capsys, option, message):
        assert self.run(flow, tmp_path, option) == 2
        assert message in capsys.readouterr().err
