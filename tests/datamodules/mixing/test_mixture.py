from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from thriftseg.costs import AnnotationCost
from thriftseg.datamodules.mixing.mixture import Mixture, MixturePart, round_half_up
from thriftseg.datasets.base import VideoDataset
from thriftseg.errors import ConfigError, LabelStoreError, MixtureError
from thriftseg.stores.label_store import LabelStore
from thriftseg.stores.rows import ActionRow
from thriftseg.taxonomies import CAMVID, CITYSCAPES
from thriftseg.types import Clip, LabelKind


class FakeDataset(VideoDataset):
    """Clips without files, 30 frames each, the 20th annotated."""

    name = "cityscapes"
    splits = ("train",)
    layout = ""
    how_to_get = ""

    def __init__(self, clips: list[Clip], label: np.ndarray | None = None) -> None:
        super().__init__()
        self._clips["train"] = clips
        self._label = label
        self.reads = 0

    @property
    def taxonomy(self):
        return CITYSCAPES

    def _scan(self, split):
        raise AssertionError

    def read_label(self, clip, number):
        self.reads += 1
        return self._label


def make_clips(count: int, frames: int = 30, annotated: int = 19) -> list[Clip]:
    paths = {n: Path(f"{n}.png") for n in range(frames)}  # of all clips: paths take long to make, and nobody reads them
    return [
        Clip(
            video=f"city_{index:06d}_{annotated:06d}",
            frames=paths,
            labels={annotated: Path(f"{index}/{annotated}_label.png")},
            coarse={annotated: Path(f"{index}/{annotated}_coarse.png")},
        )
        for index in range(count)
    ]


CITYSCAPES_CLIPS = make_clips(2975)
IDD_CLIPS = make_clips(4032)

TABLE = {
    # pattern: clips, frames per clip, hours
    "N1": (2975, 1, 4462.5),
    "P2": (1488, 2, 2232.0),
    "P2s": (1488, 2, 2232.0),
    "F2": (1488, 2, 2232.0),
    "F2s": (1488, 2, 2232.0),
    "B2n": (1488, 2, 2232.0),
    "B3": (992, 3, 1488.0),
    "B3s": (992, 3, 1488.0),
    "B5": (595, 5, 892.5),
    "B5s": (595, 5, 892.5),
    "B7": (425, 7, 637.5),
    "B9": (331, 9, 496.5),
    "B11": (271, 11, 406.5),
    "P11": (271, 11, 406.5),
    "F11": (271, 11, 406.5),
}


@pytest.mark.parametrize("pattern", TABLE)
def test_pattern_counts_and_hours(pattern):
    clips, frames, hours = TABLE[pattern]
    mixture = Mixture(pattern=pattern, cost_model="published")
    drawn = mixture.plan(FakeDataset(CITYSCAPES_CLIPS), "train")
    assert len(drawn) == clips * frames
    assert drawn.cost().hours == pytest.approx(hours)
    by_clip = {}
    for sample in drawn.samples:
        by_clip.setdefault(sample.clip.video, []).append(sample.offset)
    assert len(by_clip) == clips
    assert all(tuple(offsets) == mixture.offsets for offsets in by_clip.values())
    manual = [sample for sample in drawn.samples if sample.kind == LabelKind.MANUAL]
    assert len(manual) == (0 if pattern == "B2n" else clips)
    assert all(sample.offset == 0 for sample in manual)


@pytest.mark.parametrize(("pattern", "clips", "frames"), [("N1", 4032, 1), ("F2", 2016, 2), ("B3", 1344, 3)])
def test_idd_counts(pattern, clips, frames):
    picks = Mixture(pattern=pattern).select(IDD_CLIPS)
    assert len(picks) == clips * frames == 4032
    assert len({pick.clip.video for pick in picks}) == clips


@pytest.mark.parametrize(
    ("percent", "samples", "hours"),
    [
        (0, 0, 4462.5),
        (10, 298, 4050.3),
        (20, 595, 3639.4),
        (30, 893, None),
        (50, 1488, 2404.1),
        (80, 2380, 1170.2),
        (100, 2975, 347.1),
    ],
)
def test_coarse_counts_and_hours(percent, samples, hours):
    drawn = Mixture(coarse_percent=percent, cost_model="published").draw(FakeDataset(CITYSCAPES_CLIPS), "train")
    coarse = {sample.clip.video for sample in drawn.samples if sample.kind == LabelKind.COARSE}
    manual = {sample.clip.video for sample in drawn.samples if sample.kind == LabelKind.MANUAL}
    assert (len(coarse), len(manual), len(drawn)) == (samples, 2975 - samples, 2975)
    assert not coarse & manual
    if hours is not None:
        assert drawn.cost().hours == pytest.approx(hours, abs=0.05)


def test_half_is_rounded_up():
    assert [round_half_up(value) for value in (892.5, 0.3 * 2975, 2.4999, 1487.5)] == [893, 893, 2, 1488]


def test_draw_depends_on_seed_only():
    def videos(seed, clips=CITYSCAPES_CLIPS):
        return {pick.clip.video for pick in Mixture(pattern="B3", seed=seed).select(clips)}

    assert videos(3) == videos(3) == videos(3, CITYSCAPES_CLIPS[::-1])
    # Two independent draws of a third share a third of their clips: 331 +- 5 standard deviations.
    assert 260 < len(videos(3) & videos(4)) < 400


def test_clips_are_drawn_evenly():
    first_half = {clip.video for clip in CITYSCAPES_CLIPS[: 2975 // 2]}
    shares = [
        len({p.clip.video for p in Mixture("B3", seed=s).select(CITYSCAPES_CLIPS)} & first_half) for s in range(5)
    ]
    assert all(420 < share < 570 for share in shares), shares


def test_larger_coarse_share_contains_the_smaller():
    def coarse(percent):
        picks = Mixture(coarse_percent=percent).select(CITYSCAPES_CLIPS)
        return {pick.clip.video for pick in picks if pick.source == "coarse"}

    assert coarse(10) < coarse(20) < coarse(80)


def test_refined_run_uses_the_samples_of_the_coarse_run():
    plain = Mixture(coarse_percent=30, seed=5).select(CITYSCAPES_CLIPS)
    refined = Mixture(coarse_percent=30, seed=5, coarse="refined").select(CITYSCAPES_CLIPS)
    assert [(p.clip.video, p.offset) for p in plain] == [(p.clip.video, p.offset) for p in refined]
    assert [p.source.replace("coarse", "refined") for p in plain] == [p.source for p in refined]


def test_refined_labels_cost_their_coarse_ones():
    mixture = Mixture(coarse_percent=100, coarse="refined", cost_model="published")
    drawn = mixture.plan(FakeDataset(CITYSCAPES_CLIPS), "train")
    assert drawn.cost().hours == pytest.approx(347.083, abs=1e-3)


def test_missing_offset_names_clip_and_offset():
    clips = make_clips(4, frames=25)
    with pytest.raises(MixtureError, match=r"clip 'city_00000\d_000019' has no frame at offset 10 .*-19\.\.5"):
        Mixture(pattern="B3").select(clips)


def test_offsets_count_steps_not_positions():
    clip = Clip("v", {n: Path(f"{n}") for n in (10, 14, 16, 20)}, labels={10: Path("l")}, frame_step=2)
    parts = [MixturePart("flow", offsets=[2, 3])]
    assert [pick.number for pick in Mixture(parts=parts).select([clip])] == [14, 16]
    with pytest.raises(MixtureError, match="offset 1 "):
        Mixture(parts=[MixturePart("flow", offsets=1)]).select([clip])


class TestParts:
    def test_equal_seeds_share_clips_at_different_offsets(self):
        parts = [
            MixturePart(share=1 / 3),
            MixturePart("flow", offsets="-1..1", share=0),
            MixturePart("flow", [-1, 1], 992),
        ]
        picks = Mixture(parts=parts, seed=2).select(CITYSCAPES_CLIPS)
        named = Mixture(pattern="B3s", seed=2).select(CITYSCAPES_CLIPS)
        assert [(p.clip.video, p.offset, p.source) for p in picks] == [
            (p.clip.video, p.offset, p.source) for p in named
        ]

    def test_no_frame_is_labelled_twice(self):
        parts = [MixturePart(share=0.4), MixturePart("clicks", share=0.4), MixturePart("boxes", share=0.2)]
        picks = Mixture(parts=parts).select(CITYSCAPES_CLIPS)
        assert len({pick.clip.video for pick in picks}) == len(picks) == 2975

    def test_too_much_is_refused(self):
        parts = [MixturePart(share=0.6), MixturePart("clicks", share=0.5)]
        with pytest.raises(MixtureError, match=r"'clicks' asks for more .* at most 4; found 5"):
            Mixture(parts=parts).select(make_clips(10))

    def test_part_seed_and_weights(self):
        parts = [MixturePart(clips=2, seed=1, weight=0.5), MixturePart("flow", offsets=1, clips=2, seed=2)]
        picks = Mixture(parts=parts, weights={"manual": 0.5}).select(CITYSCAPES_CLIPS)
        assert sorted({(pick.source, pick.weight) for pick in picks}) == [("flow", 1.0), ("manual", 0.25)]
        assert len({pick.clip.video for pick in picks}) == 4

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"labels": "flow", "clips": 3, "share": 0.5}, "both clips and share"),
            ({"share": 1.5}, "share of part 'manual'; expected 0..1; found 1.5"),
            ({"clips": -1}, "clips of part"),
            ({"weight": -1.0}, "weight of part"),
        ],
    )
    def test_bad_parts(self, settings, message):
        with pytest.raises(MixtureError, match=message):
            MixturePart(**settings)

    @pytest.mark.parametrize("offsets", ["1..", "5..1", "a", "1,1", []])
    def test_bad_offsets(self, offsets):
        with pytest.raises(ConfigError, match="offsets"):
            MixturePart(offsets=offsets)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pattern": "B4"}, "no such pattern; expected N1, P2, .*; found 'B4'"),
        ({"pattern": "B3", "coarse_percent": 10}, "several ways; found pattern and coarse_percent"),
        ({"coarse_percent": 101}, "coarse_percent; expected 0..100"),
        ({"total": 0}, "total; expected at least 1"),
        ({"parts": [MixturePart()], "total": 3}, "parts have clips or share"),
    ],
)
def test_contradicting_settings(settings, message):
    with pytest.raises(MixtureError, match=message):
        Mixture(**settings)


def test_unknown_weight_and_empty_split():
    with pytest.raises(MixtureError, match="not in the mixture; expected manual, flow; found refined"):
        Mixture(pattern="B3", weights={"refined": 2.0}).select(CITYSCAPES_CLIPS)
    with pytest.raises(MixtureError, match="no frame of the split is annotated"):
        Mixture(total=1).select([Clip("v", {1: Path("1.png")})])


def test_total_may_be_set():
    assert len(Mixture(pattern="B3", total=30).select(CITYSCAPES_CLIPS)) == 30
    assert len(Mixture(total=30).select(CITYSCAPES_CLIPS)) == 30


@pytest.fixture
def flow_store(tmp_path):
    """A store with labels at offsets -1 and 1 of three clips, as the flow generator would write it."""
    clips = make_clips(3)
    store = LabelStore(tmp_path, "flow", CITYSCAPES)
    for clip in clips:
        for number in (18, 20):
            store.write(
                clip.video,
                number,
                np.zeros((4, 4), np.uint8),
                kind=LabelKind.PROPAGATED,
                generator="test",
                parents=[f"manual:cityscapes/{clip.video}/000019"],
            )
    return FakeDataset(clips), store


class TestStoredLabels:
    def test_cost_is_paid_once_by_provenance(self, flow_store):
        dataset, store = flow_store
        both = Mixture(pattern="B3s", total=9, store=store.root, cost_model="published").draw(dataset, "train")
        neighbours = [MixturePart("flow", offsets=[-1, 1])]
        alone = Mixture(parts=neighbours, store=store.root, cost_model="published").draw(dataset, "train")
        assert both.cost() == alone.cost() == AnnotationCost(seconds=3 * 5400, masks=3)
        assert [(row.source, row.samples, row.hours) for row in both.table()] == [
            ("manual", 3, 4.5),
            ("flow", 6, 0.0),
            ("total", 9, 4.5),
        ]
        assert [(row.source, row.clips, row.hours) for row in alone.table()] == [("flow", 3, 4.5), ("total", 3, 4.5)]
        assert "flow    propagated        6      3   0.00       0" in str(both)

    def test_samples_point_to_files(self, flow_store):
        dataset, store = flow_store
        drawn = Mixture(pattern="B3s", total=9, store=store.root, cost_model="published").draw(dataset, "train")
        sample = next(sample for sample in drawn.samples if sample.offset == -1)
        assert sample.label == store.path_of(sample.clip.video, 18)
        assert sample.label.is_file()
        assert sample.actions == (f"manual:cityscapes/{sample.clip.video}/000019",)
        assert drawn.as_rows()[0]["offset"] == -1

    def test_missing_label_is_named(self, flow_store):
        dataset, store = flow_store
        mixture = Mixture(pattern="B3", total=9, store=store.root, cost_model="published")
        with pytest.raises(MixtureError, match=r"000009\.png: source 'flow' has no label at offset -10 .*no row"):
            mixture.draw(dataset, "train")
        with pytest.raises(MixtureError, match=r"at offset 0 .* offsets that have a label, such as \[-1, 1\], or make"):
            Mixture(parts=[MixturePart("flow")], store=store.root).draw(dataset, "train")
        with pytest.raises(MixtureError, match="no such source"):
            Mixture(parts=[MixturePart("sam2", offsets=1)], store=store.root).draw(dataset, "train")
        store.path_of(dataset.clips("train")[1].video, 20).unlink()
        with pytest.raises(MixtureError, match="found its row only"):
            Mixture(pattern="B3s", total=9, store=store.root).draw(dataset, "train")

    def test_store_of_another_class_table_is_refused(self, flow_store, tmp_path):
        dataset, _ = flow_store
        video = dataset.clips("train")[0].video
        LabelStore(tmp_path, "other", CAMVID).write(
            video, 19, np.zeros((4, 4), np.uint8), kind=LabelKind.FILLED, generator="test"
        )
        with pytest.raises(LabelStoreError, match="another class table; expected cityscapes version 1; found camvid"):
            Mixture(parts=[MixturePart("other", clips=1)], store=tmp_path).draw(dataset, "train")

    def test_object_ids_are_no_classes(self, flow_store, tmp_path):
        dataset, _ = flow_store
        video, objects = dataset.clips("train")[0].video, LabelStore(tmp_path, "objects", CITYSCAPES)
        label = np.full((4, 4), 3, np.uint8)
        objects.write(video, 20, label, kind=LabelKind.PROPAGATED, generator="test", space="object_id")
        part = MixturePart("objects", offsets=1, clips=1)
        only = FakeDataset([clip for clip in dataset.clips("train") if clip.video == video])
        with pytest.raises(LabelStoreError, match="'objects' holds object ids, not classes; expected space train_id"):
            Mixture(parts=[part], store=tmp_path).draw(only, "train")

    def test_unrecorded_action(self, flow_store, tmp_path):
        dataset, _ = flow_store
        stray = LabelStore(tmp_path, "stray", CITYSCAPES)
        for clip in dataset.clips("train"):
            stray.write(
                clip.video,
                19,
                np.zeros((4, 4), np.uint8),
                kind=LabelKind.BOXES,
                generator="test",
                parents=["boxes:x/y/1"],
            )
        mixture = Mixture(parts=[MixturePart("stray")], store=tmp_path)
        with pytest.raises(LabelStoreError, match=r"nobody recorded.*found boxes:x/y/1"):
            mixture.draw(dataset, "train")
        stray.record_action(ActionRow("boxes:x/y/1", "stray", "y", 1, AnnotationCost(7.0, boxes=1)))
        assert mixture.draw(dataset, "train").cost() == AnnotationCost(7.0, boxes=1)

    def test_two_cost_models_never_mix(self, flow_store, tmp_path):
        dataset, _ = flow_store
        store = LabelStore(tmp_path, "polygons", CITYSCAPES)
        for clip in dataset.clips("train"):
            store.record_action(ActionRow("human:1", "polygons", clip.video, 19, AnnotationCost(9.0), "polygon"))
            store.write(
                clip.video, 19, np.zeros((4, 4), np.uint8), kind=LabelKind.MANUAL, generator="test", parents=["human:1"]
            )
        parts = [MixturePart("polygons")]
        assert Mixture(parts=parts, store=tmp_path).draw(dataset, "train").cost().seconds == 9.0
        with pytest.raises(LabelStoreError, match="another cost model; expected published; found polygon"):
            Mixture(parts=parts, store=tmp_path, cost_model="published").draw(dataset, "train")


class TestPolygonCost:
    @pytest.fixture
    def square_dataset(self, tmp_path):
        label = np.full((20, 20), 255, np.uint8)
        label[5:15, 5:15] = 1
        path = tmp_path / "label.png"
        path.write_bytes(b"stands for the label map")
        clips = [Clip(f"v{i}", {1: Path("1.png")}, labels={1: path}) for i in range(3)]
        return FakeDataset(clips, label)

    def test_manual_cost_is_counted_and_cached(self, square_dataset, tmp_path):
        mixture = Mixture(store=tmp_path / "store")
        cost = mixture.draw(square_dataset, "train").cost()
        assert cost == AnnotationCost(3 * (4 * 1.5 + 1), masks=3, clicks=12, class_clicks=3)
        assert square_dataset.reads == 3
        assert Mixture(store=tmp_path / "store").draw(square_dataset, "train").cost() == cost
        assert square_dataset.reads == 3
        (tmp_path / "label.png").write_bytes(b"another label map")
        mixture.draw(square_dataset, "train")
        assert square_dataset.reads == 6

    def test_damaged_cache_is_counted_again(self, square_dataset, tmp_path):
        (tmp_path / "costs.polygon.json").write_text("{")
        assert Mixture(store=tmp_path).draw(square_dataset, "train").cost().clicks == 12

    def test_published_model_has_no_price_for_others(self, square_dataset):
        square_dataset.name = "veis"
        with pytest.raises(ConfigError, match=r"no annotation time is published for 'veis'.*set cost_model to polygon"):
            Mixture(cost_model="published").draw(square_dataset, "train")


def test_state_holds_plain_values(flow_store):
    dataset, store = flow_store
    drawn = Mixture(pattern="B3s", total=9, store=store.root, cost_model="published").draw(dataset, "train")
    state = drawn.state()
    assert state["cost"]["seconds"] == 16200
    assert state["table"][0] == {
        "source": "manual",
        "kind": "manual",
        "samples": 3,
        "clips": 3,
        "hours": 4.5,
        "clicks": 0,
    }
    again = Mixture(pattern="B3s", total=9, seed=7, store=store.root, cost_model="published").draw(dataset, "train")
    assert again.digest() == state["digest"]  # all three clips, whatever the seed
    fewer = Mixture(pattern="B3s", total=6, store=store.root, cost_model="published").draw(dataset, "train")
    assert fewer.digest() != state["digest"]
