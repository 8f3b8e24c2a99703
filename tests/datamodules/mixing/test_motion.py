from __future__ import annotations

import json
from collections import Counter

import cv2
import numpy as np
import pytest

from thriftseg.cli.main import main
from thriftseg.datamodules import Mixture, MixturePart, measure_motion
from thriftseg.datamodules.mixing.motion import CACHE_NAME, spread_pairs
from thriftseg.datasets import Folder
from thriftseg.datasets.images import write_label_png
from thriftseg.errors import DatasetError, MixtureError
from thriftseg.types import Clip

SPEEDS = {"a": 0, "b": 5, "c": 2, "d": 0, "e": 3, "f": 1}


def write_moving(folder, motion, frames=12, labelled=(6,), size=(48, 64), single=False):
    """A smooth random picture that moves `motion` pixels to the left per frame."""
    rng = np.random.default_rng(7)
    wide = cv2.GaussianBlur(rng.integers(0, 256, (size[0], size[1] + 200, 3), dtype=np.uint8), (0, 0), 2.5)
    (folder / "frames").mkdir(parents=True)
    for place, number in enumerate(labelled if single else range(frames)):
        start = place * motion
        cv2.imwrite(str(folder / "frames" / f"{number:06d}.png"), wide[:, start : start + size[1]])
    for number in labelled:
        write_label_png(folder / "labels" / f"{number:06d}.png", np.zeros(size, np.uint8))


class CountedVideos(Folder):
    """Counts how often each frame is decoded."""

    def __init__(self, root):
        super().__init__(root)
        self.decoded = Counter()

    def read_frame(self, clip, number):
        self.decoded[clip.video, number] += 1
        return super().read_frame(clip, number)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "classes.yaml").write_text("classes: [{name: ground}, {name: other}]\n")
    for name, speed in SPEEDS.items():
        write_moving(folder / "train" / name, speed)
    return folder


def test_motion_is_that_of_the_frames(root):
    motion = measure_motion(Folder(root), Folder(root).clips("train"), progress=False)
    assert {video.split("/")[-1] for video, _ in motion} == set(SPEEDS)
    for (video, number), found in motion.items():
        assert number == 6
        assert found == pytest.approx(SPEEDS[video.split("/")[-1]], abs=0.35), video


def test_wide_frames_are_measured_in_their_own_pixels(tmp_path):
    (tmp_path / "classes.yaml").write_text("classes: [{name: ground}, {name: other}]\n")
    write_moving(tmp_path / "train" / "wide", motion=6, size=(96, 1024), frames=3, labelled=(1,))
    dataset = Folder(tmp_path)
    (found,) = measure_motion(dataset, dataset.clips("train"), progress=False).values()
    assert found == pytest.approx(6, abs=0.4)


@pytest.mark.parametrize("settings", [{"pattern": "N1", "total": 3}, {"parts": [MixturePart(share=0.5)]}])
def test_the_clips_that_move_most_are_drawn(root, tmp_path, settings):
    mixture = Mixture(**settings, store=tmp_path / "store", clip_selection="flow")
    drawn = mixture.draw(Folder(root), "train")
    assert {sample.clip.video.split("/")[-1] for sample in drawn.samples} == {"b", "e", "c"}


def test_every_part_and_the_coarse_share_honour_the_order():
    clips = [Clip(f"v{n}", {0: None, 1: None}, labels={0: None}, coarse={0: None}) for n in range(8)]
    motion = {(f"v{n}", 0): float(n) for n in range(8)}

    def drawn(source, **settings):
        picks = Mixture(clip_selection="flow", **settings).select(clips, motion)
        return sorted(pick.clip.video for pick in picks if pick.source == source)

    assert drawn("flow", parts=[MixturePart("flow", offsets=1, clips=2)]) == ["v6", "v7"]
    two = [MixturePart("clicks", clips=2), MixturePart(clips=3)]
    assert drawn("manual", parts=two) == ["v3", "v4", "v5"]  # the next ones, since no frame is labelled twice
    assert drawn("coarse", coarse_percent=25) == ["v6", "v7"]
    assert drawn("manual", coarse_percent=25) == [f"v{n}" for n in range(6)]
    assert drawn("flow", pattern="F2s", total=4) == ["v6", "v7"]


def test_clips_that_move_alike_come_by_seed():
    clips = [Clip(f"v{n}", {0: None}, labels={0: None}) for n in range(40)]
    alike = {(clip.video, 0): 1.0 for clip in clips}

    def videos(seed, selection, motion=None):
        return [p.clip.video for p in Mixture(total=10, seed=seed, clip_selection=selection).select(clips, motion)]

    assert videos(1, "flow", alike) == videos(1, "random")
    assert videos(1, "flow", alike) != videos(2, "flow", alike)
    assert "v3" in videos(1, "flow", alike | {("v3", 0): 1.1})


def test_at_most_four_pairs_of_what_is_there():
    frames = {n: None for n in (*range(0, 12, 2), 40, 42)}
    clip = Clip("v", frames, labels={4: None}, frame_step=2)
    assert spread_pairs(clip, 4) == [(0, 2), (2, 4), (6, 8), (8, 10)]
    assert spread_pairs(clip, 40) == [(40, 42)]
    assert spread_pairs(Clip("v", {3: None}), 3) == []
    dense = Clip("v", {n: None for n in range(100)})
    pairs = spread_pairs(dense, 50)
    assert [first for first, _ in pairs] == [40, 46, 53, 59]


def test_a_single_frame_does_not_move(root):
    write_moving(root / "train" / "still", motion=9, single=True)
    dataset = Folder(root)
    motion = measure_motion(dataset, dataset.clips("train"), progress=False)
    assert {video: value for (video, _), value in motion.items() if "still" in video}.popitem()[1] == 0.0


def test_no_frame_is_decoded_twice(root, tmp_path):
    write_moving(root / "train" / "dense", motion=2, labelled=(3, 4, 5))
    dataset = CountedVideos(root)
    clips = dataset.clips("train")
    first = measure_motion(dataset, clips, store=tmp_path, progress=False)
    assert set(dataset.decoded.values()) == {1}
    again = CountedVideos(root)
    assert measure_motion(again, clips, store=tmp_path, progress=False) == first
    assert not again.decoded
    assert measure_motion(CountedVideos(root), clips, progress=False, jobs=1) == first


def test_changed_frames_are_measured_again(root, tmp_path):
    dataset = CountedVideos(root)
    clips = dataset.clips("train")
    measure_motion(dataset, clips, store=tmp_path, progress=False)
    dataset.decoded.clear()
    clip = next(clip for clip in clips if clip.video.endswith("b"))
    first, second = spread_pairs(clip, 6)[0]
    clip.frames[first].write_bytes(clip.frames[second].read_bytes())
    changed = measure_motion(dataset, clips, store=tmp_path, progress=False)
    assert {video for video, _ in dataset.decoded} == {clip.video}
    assert changed[clip.video, 6] == pytest.approx(5 * 3 / 4, abs=0.4)  # one of four pairs stands still


def test_interrupted_work_goes_on(root, tmp_path):
    dataset = CountedVideos(root)
    clips = dataset.clips("train")
    broken = clips[-1].frames[7]
    content = broken.read_bytes()
    broken.write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"000007\.png: cannot decode the image"):
        measure_motion(dataset, clips, store=tmp_path, progress=False)
    broken.write_bytes(content)
    dataset.decoded.clear()
    motion = measure_motion(dataset, clips, store=tmp_path, progress=False)
    assert {video for video, _ in dataset.decoded} == {clips[-1].video}
    assert len(motion) == len(SPEEDS)
    assert sorted(path.name for path in tmp_path.iterdir()) == [CACHE_NAME, "own"]


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"schema": 0, "entries": {}})])
def test_a_damaged_cache_counts_as_empty(root, tmp_path, content):
    (tmp_path / CACHE_NAME).write_text(content)
    dataset = Folder(root)
    assert len(measure_motion(dataset, dataset.clips("train"), store=tmp_path, progress=False)) == len(SPEEDS)


def test_drawing_at_random_measures_nothing(root, tmp_path):
    dataset = CountedVideos(root)
    drawn = Mixture(store=tmp_path / "store").draw(dataset, "train")
    assert not dataset.decoded
    assert drawn.motion is None
    assert "motion" not in drawn.as_rows()[0]


def test_wrong_settings():
    with pytest.raises(MixtureError, match="clip_selection; expected random or flow; found 'fast'"):
        Mixture(clip_selection="fast")
    with pytest.raises(MixtureError, match="needs the motion around the annotated frames; fix: pass what"):
        Mixture(clip_selection="flow").select([Clip("v", {0: None}, labels={0: None})])
    assert repr(Mixture("B3", clip_selection="flow")).endswith("clip_selection='flow', seed=0, cost_model='polygon')")


def test_command_shows_the_motion(root, tmp_path, capsys):
    config = tmp_path / "flow.yaml"
    mixture = {"pattern": "N1", "total": 2, "clip_selection": "flow", "store": str(tmp_path / "store")}
    config.write_text(json.dumps({"data": {"init_args": {"dataset": "thriftseg.datasets.Folder", "mixture": mixture}}}))
    assert main(["data", "mixture", f"--config={config}", f"--root={root}"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split("\t")[-1] == "motion"
    assert [float(row.split("\t")[-1]) for row in rows[:2]] == pytest.approx([5, 3], abs=0.35)
    assert rows[-1].startswith("clips with the largest motion first: 4.0")
    assert (tmp_path / "store" / CACHE_NAME).is_file()
