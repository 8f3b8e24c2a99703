"""A mixture trains on the same labels that are inspected, exported and priced."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from thriftseg.costs import AnnotationCost, CostModel
from thriftseg.datamodules.mixing.mixture import Mixture, MixturePart
from thriftseg.datamodules.reading import ClipDecoder
from thriftseg.datamodules.vos.labels import masked_videos, recorded_cost
from thriftseg.datasets import DAVIS, VideoDataset, create, read_label_png, write_label_png
from thriftseg.errors import ConfigError, DatasetError, LabelStoreError, MixtureError
from thriftseg.exchange import export_labels, export_objects, image_name, import_labels
from thriftseg.labels import inspect_labels, label_clicks, label_coarse, least_confident
from thriftseg.stores import (
    ActionRow,
    Decision,
    LabelSource,
    LabelStore,
    MaskSource,
    SourceLabel,
    action_id,
    is_given,
)
from thriftseg.taxonomies import OBJECT_IDS
from thriftseg.types import Clip, Frame, LabelKind

READERS = ("cityscapes", "camvid", "idd", "veis", "scenenet", "folder")
SOURCES = ("manual", "coarse", "carried", "drawn", "clicks", "mended")
QUIET = {"progress": False}


@dataclass(frozen=True)
class Labelled:
    """A data set, and a store with labels of every kind for it.

    Attributes:
        dataset: The data set.
        root: The label store.
        offset: Where the labels of `carried` lie, seen from the annotated frames.
        rejected: A rejected label of each stored source.
    """

    dataset: VideoDataset
    root: Path
    offset: int
    rejected: dict[str, Frame]

    @property
    def clips(self) -> list[Clip]:
        return self.dataset.clips("train")

    def source(self, name: str) -> LabelSource:
        return LabelSource(self.dataset, self.root, name)

    def store(self, name: str) -> LabelStore:
        return LabelStore(self.root, name, self.dataset.taxonomy)


@pytest.fixture(scope="module", params=READERS)
def labelled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Labelled:
    dataset = create(request.param, request.getfixturevalue(f"{request.param}_root"))
    root = tmp_path_factory.mktemp(request.param)
    clips = dataset.clips("train")
    starts = [(clip, number) for clip in clips for number in clip.annotated]
    offset = next(o for o in (-1, 1, 0) if all(clip.number_at(n, o) in clip.frames for clip, n in starts))
    _carry(dataset, LabelStore(root, "carried", dataset.taxonomy), starts, offset)
    has_coarse = any(clip.coarse for clip in clips)
    for name in ("drawn",) if has_coarse else ("drawn", "coarse"):
        label_coarse(dataset, "train", store=root, source=name, **QUIET)
    label_clicks(dataset, "train", store=root, **QUIET)
    export_labels(dataset, "train", root / "out", "davis", source="drawn", store=root, **QUIET)
    import_labels(dataset, "train", root / "out", "davis", source="mended", store=root, based_on="drawn", **QUIET)
    rejected = {}
    for name in set(SOURCES) - {"manual"} - ({"coarse"} if has_coarse else set()):
        store = LabelStore(root, name, dataset.taxonomy)
        first, second, *_ = sorted(frame for frame in store.labels if frame[0] in {clip.video for clip in clips})
        store.review_log.add([Decision(*first, "reject"), Decision(*second, "lock")])
        rejected[name] = first
    return Labelled(dataset, root, offset, rejected)


def _carry(dataset: VideoDataset, store: LabelStore, starts: list[tuple[Clip, int]], offset: int) -> None:
    """Labels such as propagation makes, and two of frames that the split does not have."""
    for clip, number in starts:
        settings = {
            "kind": LabelKind.PROPAGATED,
            "generator": "test",
            "parents": [action_id("manual", dataset.name, clip.video, number)],
            "confidence": 0.5,
        }
        store.write(clip.video, clip.number_at(number, offset), dataset.read_label(clip, number), **settings)
    store.write(clip.video, 900000, dataset.read_label(clip, number), **settings)
    store.write("elsewhere", number, dataset.read_label(clip, number), **settings)


def frames_of(labelled: Labelled, name: str) -> set[Frame]:
    """The frames that have a label of a source, told without `LabelSource`."""
    if name == "manual":
        return {(clip.video, number) for clip in labelled.clips for number in clip.labels}
    if name not in labelled.rejected:
        return {(clip.video, number) for clip in labelled.clips for number in clip.coarse}
    existing = {(clip.video, number) for clip in labelled.clips for number in clip.frames}
    return set(labelled.store(name).labels) & existing - {labelled.rejected[name]}


def price_of(labelled: Labelled, name: str) -> AnnotationCost:
    """What the labels of a source cost, told without `price_actions`."""
    data, frames, model = labelled.dataset, frames_of(labelled, name), CostModel.named("polygon")
    clips = {clip.video: clip for clip in labelled.clips}
    if name not in labelled.rejected:
        read = data.read_coarse if name == "coarse" else data.read_label
        return sum((model.manual_frame(data.name, read(clips[v], n)) for v, n in frames), AnnotationCost())
    store = labelled.store(name)
    parents = {parent for frame in frames for parent in store.labels[frame].parents}
    prices = {action: row.cost for name in {"drawn", name} for action, row in labelled.store(name).actions.items()}
    if name == "carried":
        for clip in labelled.clips:
            for number in clip.labels:
                price = model.manual_frame(data.name, data.read_label(clip, number))
                prices[action_id("manual", data.name, clip.video, number)] = price
    return sum((prices[parent] for parent in parents), AnnotationCost())


@pytest.mark.parametrize("name", SOURCES)
def test_the_same_labels_everywhere(labelled: Labelled, name: str, tmp_path: Path) -> None:
    data, root = labelled.dataset, labelled.root
    expected = frames_of(labelled, name)
    assert len(expected) > 1
    part = MixturePart(name, offsets=labelled.offset if name == "carried" else 0)
    mixture = Mixture(parts=[part], store=root).draw(data, "train")
    inspection = inspect_labels(data, "train", name, store=root, **QUIET)
    assert {(sample.clip.video, sample.number) for sample in mixture.samples} == expected
    assert {(entry.label.clip.video, entry.label.number) for entry in inspection.labels} == expected
    assert len(mixture.samples) == len(inspection.labels) == len(expected)
    assert mixture.rejected == (name in labelled.rejected)
    assert [sample.kind for sample in mixture.samples] == [entry.label.kind for entry in inspection.labels]
    assert [sample.actions for sample in mixture.samples] == [entry.label.actions for entry in inspection.labels]

    assert mixture.cost() == inspection.cost
    price = price_of(labelled, name)
    assert price.masks + price.clicks > 0
    assert mixture.cost().seconds == pytest.approx(price.seconds)
    assert (mixture.cost().masks, mixture.cost().clicks) == (price.masks, price.clicks)

    if name == "clicks":  # annotation tools take label maps: clicks leave as a click file or as point maps
        with pytest.raises(LabelStoreError, match=r"'clicks' has no label maps for split 'train'; found clicks"):
            export_labels(data, "train", tmp_path, "coco", source=name, store=root, **QUIET)
        return
    summary = export_labels(data, "train", tmp_path, "coco", source=name, store=root, **QUIET)
    images = {image["file_name"] for image in json.loads((tmp_path / "annotations.json").read_text())["images"]}
    clips = {clip.video: clip for clip in labelled.clips}
    assert images == {image_name(clips[video], number) for video, number in expected}
    assert summary.frames == len(expected)


@pytest.mark.parametrize("name", SOURCES)
def test_the_same_pixels_are_trained_on_and_shown(labelled: Labelled, name: str) -> None:
    source, decoder = labelled.source(name), ClipDecoder(labelled.dataset)
    part = MixturePart(name, offsets=labelled.offset if name == "carried" else 0)
    samples = Mixture(parts=[part], store=labelled.root).draw(labelled.dataset, "train").samples
    for sample, label in zip(samples, source.labels("train"), strict=True):
        shown, frame = source.read(label), labelled.dataset.read_frame(sample.clip, sample.number)
        if name == "clicks":
            assert sample.label is None
            assert {(column, row): shown[row, column] for column, row, _ in sample.points} == {
                (column, row): train_id for column, row, train_id in sample.points
            }
            assert np.count_nonzero(shown != 255) == len({point[:2] for point in sample.points})
        else:
            np.testing.assert_array_equal(decoder.label(sample, frame), shown)


def test_what_a_name_means(labelled: Labelled) -> None:
    clips = labelled.clips
    for name in SOURCES:
        given = name not in labelled.rejected
        assert [is_given(name, clip) for clip in clips] == [given] * len(clips)
        for label in labelled.source(name).labels("train"):
            assert isinstance(label, SourceLabel)
            assert (label.source, label.path.is_file()) == (name, True)
            assert labelled.source(name).find(label.clip, label.number) == label
            assert (label.ignored_share is None) == given


def test_decisions_of_people(labelled: Labelled) -> None:
    clips = {clip.video: clip for clip in labelled.clips}
    for name, (video, number) in labelled.rejected.items():
        source = labelled.source(name)
        assert source.verdict(clips[video], number) == "reject"
        assert source.find(clips[video], number) is not None
        verdicts = [source.verdict(label.clip, label.number) for label in source.labels("train")]
        assert verdicts.count("lock") == 1
        assert set(verdicts) <= {"lock", None}
        listed = least_confident(labelled.dataset, "train", name, store=labelled.root, worst=1, progress=False)
        assert (listed.undecided, listed.decided) == (len(verdicts) - 1, 1)
    manual = labelled.source("manual")
    assert {manual.verdict(label.clip, label.number) for label in manual.labels("train")} == {None}


def test_names_of_given_labels_are_not_free(cityscapes_root: Path, tmp_path: Path) -> None:
    dataset = create("cityscapes", cityscapes_root)
    export_labels(dataset, "train", tmp_path / "out", "davis", **QUIET)
    for name in ("manual", "coarse"):
        with pytest.raises(ConfigError, match=f"'train' of cityscapes has {name} labels of its own.* as '{name}'"):
            import_labels(dataset, "train", tmp_path / "out", "davis", source=name, store=tmp_path / "s", **QUIET)
    assert not (tmp_path / "s").exists()


def test_given_coarse_labels_leave_with_their_instances(cityscapes_root: Path, tmp_path: Path) -> None:
    dataset = create("cityscapes", cityscapes_root)
    export_labels(dataset, "train", tmp_path / "out", "cvat", source="coarse", **QUIET)
    import_labels(dataset, "train", tmp_path / "out", "cvat", source="back", store=tmp_path, based_on="coarse", **QUIET)
    back, source = LabelStore(tmp_path, "back", dataset.taxonomy), LabelSource(dataset, tmp_path, "coarse")
    for label in source.labels("train"):
        video, number = label.clip.video, label.number
        np.testing.assert_array_equal(back.read(video, number), dataset.read_coarse(label.clip, number))
        assert back.labels[video, number].parents == (
            f"coarse:cityscapes/{video}/{number:06d}",
            f"back:cityscapes/{video}/{number:06d}",
        )
        np.testing.assert_array_equal(source.read_instances(label), dataset.read_coarse_instances(label.clip, number))


def test_missing_given_label_is_named(cityscapes_root: Path, tmp_path: Path) -> None:
    dataset = create("cityscapes", cityscapes_root)
    clip = dataset.clips("train")[0]
    unlabelled = next(number for number in clip.frames if number not in clip.labels)
    assert LabelSource(dataset, tmp_path, "manual").find(clip, unlabelled) is None
    step = round(clip.offset_of(clip.annotated[0], unlabelled))
    with pytest.raises(MixtureError, match=rf"has no manual label at offset {step}; expected a label of frame \d+"):
        Mixture(parts=[MixturePart(offsets=step, clips=1)], store=tmp_path).draw(dataset, "train")


@pytest.fixture
def film(tmp_path: Path) -> DAVIS:
    """A video of three frames with masks of two objects."""
    root = tmp_path / "davis"
    for number in range(3):
        mask = np.zeros((24, 32), np.uint8)
        mask[4:12, 4 + number : 12], mask[14:20, 20:28] = 1, 2
        for folder, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
            (root / folder / "480p/film").mkdir(parents=True, exist_ok=True)
            path = root / folder / f"480p/film/{number:05d}.{suffix}"
            cv2.imwrite(str(path), np.zeros((24, 32, 3), np.uint8)) if suffix == "jpg" else write_label_png(path, mask)
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/train.txt").write_text("film\n")
    return DAVIS(root)


class TestMasks:
    @pytest.fixture
    def store(self, film: DAVIS, tmp_path: Path) -> LabelStore:
        store = LabelStore(tmp_path / "store", "boxed", OBJECT_IDS)
        for number in (0, 1, 2, 9):
            action = ActionRow(f"boxed:davis/film/{number}", "boxed", "film", number, AnnotationCost(7.0, boxes=1))
            store.record_action(action)
            label = np.full((24, 32), number % 3, np.uint8)
            settings = {"kind": LabelKind.BOXES, "generator": "test", "parents": [action.id]}
            store.write("film", number, label, space="object_id", **settings)
        store.review_log.add([Decision("film", 1, "reject")])
        return store

    @pytest.mark.parametrize(("name", "numbers"), [("manual", (0, 1, 2)), ("boxed", (0, 2))])
    def test_the_same_masks_everywhere(self, film: DAVIS, store: LabelStore, tmp_path: Path, name, numbers) -> None:
        source = MaskSource(film, store.root, name)
        (video,) = masked_videos(source, "train")
        assert video.numbers == numbers
        assert export_objects(film, "train", tmp_path / "out", source=name, store=store.root) == len(numbers)
        written = sorted((tmp_path / "out").rglob("*.png"))
        assert [int(path.stem) for path in written] == list(numbers)
        for number, path in zip(numbers, written, strict=True):
            np.testing.assert_array_equal(read_label_png(path), source.read(video.clip, number))
        assert recorded_cost(source, [video]) == {"manual": None, "boxed": AnnotationCost(14.0, boxes=2)}[name]

    def test_masks_of_another_size_and_classes_are_refused(self, film: DAVIS, store: LabelStore) -> None:
        clip = film.clips("train")[0]
        settings = {"kind": LabelKind.BOXES, "generator": "test"}
        store.write("film", 0, np.zeros((12, 32), np.uint8), space="object_id", **settings)
        source = MaskSource(film, store.root, "boxed")
        with pytest.raises(LabelStoreError, match=r"000000.png: the stored label has another size.*found 32x12"):
            source.read(clip, 0, verify=False)
        store.write("film", 0, np.zeros((24, 32), np.uint8), **settings)
        with pytest.raises(LabelStoreError, match="holds classes, not object ids; expected space object_id"):
            MaskSource(film, store.root, "boxed").labels("train")

    def test_a_mask_that_was_changed_later(self, film: DAVIS, store: LabelStore) -> None:
        clip, source = film.clips("train")[0], MaskSource(film, store.root, "boxed")
        write_label_png(store.path_of("film", 2), np.ones((24, 32), np.uint8))
        assert source.read(clip, 2, verify=False).all()
        with pytest.raises(LabelStoreError, match="not the one that was written"):
            source.read(clip, 2)

    def test_nothing_to_train_on(self, film: DAVIS, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match="no video of split 'train' has 4 frames with a mask of source 'manual'"):
            masked_videos(MaskSource(film, tmp_path, "manual"), "train", least=4)
