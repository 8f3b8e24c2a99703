"""Synthetic video object segmentation: events, difficulty, exactness, and trees that the true readers read."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thriftseg.datasets import DAVIS, MOSE, TAOVOS, YouTubeVOS
from thriftseg.datasets.images import read_label_png
from thriftseg.datasets.registry import create_vos
from thriftseg.errors import ConfigError
from thriftseg.flow import warp_labels
from thriftseg.synthetic import (
    VOS_LAYOUTS,
    ObjectSynthesisSummary,
    SceneConfig,
    SyntheticObjectVideo,
    synthesize_objects,
)
from thriftseg.synthetic.objects.baselines import measure
from thriftseg.synthetic.objects.shapes import UNSEEN

TINY: dict[str, Any] = {"train_clips": 2, "val_clips": 2, "frames": 8, "height": 48, "width": 80, "devices": 1}


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> ObjectSynthesisSummary:
    """Twelve clips at the size of the small experiments; the numbers are fixed by the seed."""
    out = tmp_path_factory.mktemp("objects")
    return synthesize_objects(out, "mose", 8, 4, 0, frames=24, height=96, width=160, devices=1)


def test_neither_trivial_nor_hopeless(figures: ObjectSynthesisSummary):
    """Real sequences of DAVIS give 0.12 for the copied and 0.40 for the warped mask."""
    assert 0.08 < figures.copy_j < 0.25
    assert 0.25 < figures.flow_j < 0.55
    assert figures.flow_j > figures.copy_j + 0.1
    assert 0.1 < figures.color_j < 0.4


def test_colours_of_their_own_tell_objects_apart(figures: ObjectSynthesisSummary, tmp_path: Path):
    found = synthesize_objects(tmp_path, "mose", 8, 4, 0, frames=24, height=96, width=160, devices=1, own_colors=True)
    assert found.color_j > max(found.flow_j, figures.color_j) + 0.1
    assert abs(found.copy_j - figures.copy_j) < 0.1


def test_events_occur_in_every_few_clips(figures: ObjectSynthesisSummary):
    assert figures.late >= 4
    assert figures.occluded >= 8
    assert figures.gone >= 3
    assert 3 <= figures.clips_with_gaps <= 10
    assert 24 <= figures.objects <= 48


def test_masks_follow_the_exact_flow():
    for seed in range(3):
        video = SyntheticObjectVideo(SceneConfig(96, 160, num_frames=8, seed=seed, frame_interval=1 / 24))
        drawings = [video.draw(t) for t in range(8)]
        for t, (previous, drawing) in enumerate(itertools.pairwise(drawings), start=1):
            flow, occluded = video.flow(drawing, previous, t, t - 1)
            carried = warp_labels(previous.label, flow)
            assert (carried == drawing.label)[~occluded].mean() > 0.985
            assert 0 < occluded.mean() < 0.25


def test_silhouettes_hold_the_visible_pixels_and_more():
    hidden = 0
    for seed in range(6):
        drawing = SyntheticObjectVideo(SceneConfig(64, 96, num_frames=2, seed=seed, frame_interval=1 / 24)).draw(1)
        for number, whole in enumerate(drawing.silhouettes, start=1):
            visible = drawing.label == number
            assert not (visible & ~whole).any()
            hidden += int(whole.sum() - visible.sum())
    assert hidden > 0


def test_frames_can_be_drawn_in_any_order():
    config = SceneConfig(48, 80, num_frames=4, seed=5, frame_interval=1 / 24)
    one, other = SyntheticObjectVideo(config), SyntheticObjectVideo(config)
    forth = [one.draw(t).image for t in range(4)]
    back = [other.draw(t).image for t in (3, 2, 1, 0)][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(forth, back, strict=True))


def test_baselines_on_a_square_that_moves_its_own_width():
    ids = np.zeros((3, 40, 60), np.uint8)
    for t in range(3):
        ids[t, 10:30, 5 + 10 * t : 25 + 10 * t] = 7
    texture = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    moved = [np.roll(texture, 10 * t, axis=1) // 2 for t in range(3)]
    images = [np.where((frame == 7)[..., None], colors, 255) for frame, colors in zip(ids, moved, strict=True)]
    scores = measure(images, ids, {7: 0})
    assert scores["copy"] == pytest.approx([(1 / 3 + 0) / 2])
    assert scores["color"] == pytest.approx([1], abs=0.01)
    assert measure(images, ids, {7: 2}) == {"copy": [], "flow": [], "color": []}


@pytest.mark.parametrize("layout", VOS_LAYOUTS)
class TestLayouts:
    @pytest.fixture
    def root(self, layout: str, tmp_path: Path) -> Path:
        synthesize_objects(tmp_path / "a", layout, **TINY)
        return tmp_path / "a"

    def test_reader_reads_it(self, layout: str, root: Path):
        dataset = create_vos(layout, root)
        for split in dataset.splits[:2]:
            assert len(dataset.clips(split)) == 2
            for clip in dataset.clips(split):
                assert len(clip.frames) == 8
                first = {item.id: item.first for item in dataset.objects(clip)}
                assert min(first.values()) == min(clip.frames)
                for number in clip.annotated:
                    present = set(np.unique(dataset.read_mask(clip, number)).tolist()) - {0}
                    assert present <= {key for key, start in first.items() if start <= number}
                for key, start in first.items():
                    assert (dataset.read_mask(clip, start) == key).sum() >= 0.003 * 48 * 80

    def test_same_arguments_same_files(self, layout: str, root: Path, tmp_path: Path):
        synthesize_objects(tmp_path / "b", layout, **TINY)
        synthesize_objects(tmp_path / "c", layout, **TINY, seed=1)
        first, second, other = (_digests(tmp_path / name) for name in "abc")
        assert first == second
        frames = [name for name in first if name.endswith(".jpg")]
        assert len(frames) >= 32
        assert not any(first[name] == other[name] for name in frames)


def _digests(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_davis_introduces_all_objects_at_once(tmp_path: Path):
    synthesize_objects(tmp_path, "davis", 6, 0, 2, frames=12, height=48, width=80, devices=1)
    dataset = DAVIS(tmp_path)
    for clip in dataset.clips("train"):
        ids = [item.id for item in dataset.objects(clip)]
        assert ids == list(range(1, len(ids) + 1))
    test = dataset.clips("test-dev")
    assert [clip.annotated for clip in test] == [(0,), (0,)]
    assert len(list((tmp_path / "Annotations_truth" / "480p" / test[0].video).iterdir())) == 12


def test_youtube_vos_publishes_the_masks_that_introduce(tmp_path: Path):
    synthesize_objects(tmp_path, "youtube_vos", 6, 8, frames=16, height=48, width=80, devices=1)
    dataset = YouTubeVOS(tmp_path)
    late = 0
    for clip in dataset.clips("valid"):
        starts = sorted({item.first for item in dataset.objects(clip)})
        assert clip.annotated == tuple(starts)
        assert starts[0] == 0
        assert clip.frame_step == 5
        late += len(starts) > 1
        truth = sorted((tmp_path / "valid_truth" / "Annotations" / clip.video).iterdir())
        assert [path.stem for path in truth] == [clip.frame_name(number) for number in clip.scored]
        assert np.array_equal(read_label_png(truth[0]), dataset.read_mask(clip, 0))
    assert late >= 1
    assert not dataset.seen_categories & set(UNSEEN)
    seen = [known for clip in dataset.clips("valid") for known in dataset.seen(clip).values()]
    assert any(seen)
    assert not all(seen)


def test_mose_holds_out_what_the_reader_holds_out(tmp_path: Path):
    synthesize_objects(tmp_path, "mose", **TINY)
    dataset = MOSE(tmp_path)
    assert [len(dataset.clips(split)) for split in ("train", "held_out", "valid")] == [2, 2, 2]
    assert all(clip.annotated == (0,) or dataset.objects(clip)[-1].first for clip in dataset.clips("valid"))
    assert len(list((tmp_path / "train" / "JPEGImages").iterdir())) == 4


def test_tao_vos_frames_are_named_as_by_their_sources(tmp_path: Path):
    synthesize_objects(tmp_path, "tao_vos", **{**TINY, "train_clips": 3})
    clips = {clip.video.split("/")[0]: clip for clip in TAOVOS(tmp_path).clips("train")}
    assert list(clips) == ["ArgoVerse", "BDD", "Charades"]
    assert clips["ArgoVerse"].frame_name(min(clips["ArgoVerse"].frames)) == "ring_front_center_315971768012624488"
    assert clips["Charades"].frame_step == 30


def test_an_interrupted_run_goes_on(tmp_path: Path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    synthesize_objects(whole, "mose", **TINY)

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize_objects(cut, "mose", **TINY, progress=stop)
    summary = synthesize_objects(cut, "mose", **TINY)
    assert _digests(cut).keys() == _digests(whole).keys()
    recorded = json.loads((cut / "synthesis.json").read_text())["summary"]
    assert recorded["flow_j"] == summary.flow_j


def test_wrong_requests(tmp_path: Path):
    with pytest.raises(ConfigError, match="no layout 'vipseg' to synthesize; expected davis"):
        synthesize_objects(tmp_path, "vipseg")
    with pytest.raises(ConfigError, match="tao_vos has no split 'test'; expected test_clips 0; found 2"):
        synthesize_objects(tmp_path, "tao_vos", test_clips=2)
    with pytest.raises(ConfigError, match="at least 32 pixels"):
        synthesize_objects(tmp_path, "davis", height=16)
