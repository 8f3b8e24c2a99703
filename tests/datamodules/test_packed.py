from __future__ import annotations

import gc
import pickle
from pathlib import Path

import pytest

from thriftseg.datamodules.base import start_worker
from thriftseg.datamodules.evaluation import StreamItem
from thriftseg.datamodules.packed import Packed
from thriftseg.types import Clip, LabelKind, TrainingSample


@pytest.fixture
def samples():
    clips = [
        Clip(f"drive{k}", {n: Path(f"/data/drive{k}/{n:06d}.png") for n in range(0, 300, 3)}, {6: Path("6\udce4.png")})
        for k in range(40)
    ]
    made = [
        TrainingSample(
            clip, n, 6, "flow", LabelKind.PROPAGATED, Path(f"{n}.png"), actions=("manual:a/b/6",), weight=0.5
        )
        for clip in clips
        for n in (3, 9)
    ]
    return [*made, TrainingSample(clips[0], 6, 6, "clicks", LabelKind.CLICKS, points=((1, 2, 3),), licences=("mit",))]


def test_items_come_back_equal(samples):
    packed = Packed(samples)
    assert len(packed) == 81
    for number in (0, 79, -1, 1):  # more clips than are kept at hand lie between
        assert packed[number] == samples[number]
    assert list(packed) == samples
    assert packed[3:6] == samples[3:6]
    assert packed[-1].kind is LabelKind.CLICKS
    with pytest.raises(IndexError):
        packed[81]
    assert list(pickle.loads(pickle.dumps(packed))) == samples  # noqa: S301
    stream = [StreamItem(samples[0].clip, 6, True)]
    assert (list(Packed(stream)), list(Packed([]))) == (stream, [])


def test_files_of_a_clip_are_a_mapping_of_paths(samples):
    clip = Packed(samples)[0].clip
    assert (list(clip.frames), clip.frames[3]) == (list(range(0, 300, 3)), Path("/data/drive0/000003.png"))
    assert (3 in clip.frames, 4 in clip.frames, 300 in clip.frames, len(clip.frames)) == (True, False, False, 100)
    assert (clip.past(6, 3), clip.annotated) == ([3, 6, 6], (6,))
    with pytest.raises(KeyError):
        clip.frames[4]


def test_few_objects_remain_of_a_long_list(samples):
    gc.collect()
    before = len(gc.get_objects())
    packed = Packed(samples * 100)
    assert len(packed) == 8100
    assert len(gc.get_objects()) - before < 50


def test_the_collector_of_a_worker_passes_over_what_the_parent_made():
    kept = [[] for _ in range(1000)]
    try:
        start_worker(0)
        assert gc.get_freeze_count() >= len(kept)
    finally:
        gc.unfreeze()
