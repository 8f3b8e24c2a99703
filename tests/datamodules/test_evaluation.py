from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from thriftseg.datamodules.evaluation import StreamFrames, build_stream, shard_stream
from thriftseg.datamodules.reading import ClipDecoder
from thriftseg.flow import DIS, FlowStore
from thriftseg.types import Clip


def clip(video: str, frames, labels, step: int = 1) -> Clip:
    return Clip(video, {n: Path(f"{n}.png") for n in frames}, {n: Path(f"{n}_l.png") for n in labels}, frame_step=step)


CLIPS = [
    clip("a", range(30), [19]),
    clip("b", range(0, 20, 2), range(0, 20, 2), step=2),
    clip("c", [4, 5, 7, 8], [4, 7, 8]),
    clip("d", range(5), []),
]


def rows(items) -> list[tuple[str, int, bool, bool]]:
    return [(item.clip.video, item.number, item.scored, item.paired) for item in items]


def test_labelled_frames_and_their_predecessors():
    stream = rows(build_stream(CLIPS, "labelled"))
    assert stream[:2] == [("a", 18, False, False), ("a", 19, True, True)]
    assert stream[2:12] == [("b", n, True, n > 0) for n in range(0, 20, 2)]
    assert stream[12:] == [("c", 4, True, False), ("c", 7, True, False), ("c", 8, True, True)]


def test_all_pairs_and_no_pairs():
    everything = rows(build_stream(CLIPS, "all"))
    assert len(everything) == 30 + 10 + 4 + 5
    assert sum(paired for *_, paired in everything) == 29 + 9 + 2 + 4
    assert sum(scored for _, _, scored, _ in everything) == 1 + 10 + 3
    assert rows(build_stream(CLIPS, "off")) == [(v, n, True, False) for v, n, scored, _ in everything if scored]


@pytest.mark.parametrize("pairs", ["labelled", "all", "off"])
@pytest.mark.parametrize("world_size", range(1, 6))
def test_every_label_and_every_pair_counts_exactly_once(pairs: str, world_size: int):
    stream = build_stream(CLIPS, pairs)
    shards = [shard_stream(stream, rank, world_size) for rank in range(world_size)]
    assert len({len(shard) for shard in shards}) == 1
    assert len(shards[0]) <= -(-len(stream) // world_size) + 1
    scored, paired = Counter(), Counter()
    for shard in shards:
        for before, item in pairwise([None, *shard]):
            scored[item.clip.video, item.number] += item.scored
            paired[item.clip.video, item.number] += item.paired
            if item.paired:
                assert before.clip is item.clip
                assert before.number == item.number - item.clip.frame_step
            if item.padding:
                assert not item.scored
                assert not item.paired
                assert not item.labelled
    assert +scored == Counter({(v, n): 1 for v, n, s, _ in rows(stream) if s})
    assert +paired == Counter({(v, n): 1 for v, n, _, p in rows(stream) if p})


def test_one_video_on_two_ranks_repeats_the_lead_in_frame():
    stream = build_stream([clip("v", range(6), range(6))], "labelled")
    first, second = (shard_stream(stream, rank, 2) for rank in range(2))
    assert [i.number for i in first] == [0, 1, 2, 2]
    assert first[-1].padding
    assert [i.number for i in second] == [2, 3, 4, 5]
    assert not second[0].scored
    assert second[0].labelled


def test_more_ranks_than_frames_gives_padding_only():
    stream = build_stream([clip("v", [3], [3])])
    assert [item.padding for item in shard_stream(stream, 0, 3)] == [False]
    for rank in (1, 2):
        (only,) = shard_stream(stream, rank, 3)
        assert only.padding


def test_frames_labels_and_flow_of_a_stream(squares):
    stream = build_stream(squares.clips("val"))
    frames = StreamFrames(ClipDecoder(squares), stream, past_frames=2)
    items = [frames[i] for i in range(len(frames))]
    assert [item["number"] for item in items] == [0, 1, 2, 3, 4, 5, 0, 24, 25, 28, 29]
    every = items[:6]
    assert every[0]["frames"].shape == (3, 3, 48, 64)
    assert (every[0]["frames"][0] == every[0]["frames"][2]).all()
    assert (every[3]["frames"][1] == every[2]["frames"][2]).all()
    assert every[3]["label"].unique().tolist() == [0, 1]
    assert (items[7]["label"] == 255).all()
    assert not items[7]["labelled"]
    assert not every[0]["flow"].any()
    # The ground moves 3 px to the left per frame, so frame t shows at x what frame t-1 showed at x + 3.
    ground = np.s_[30:44, 12:52]
    assert np.median(every[3]["flow"][0, 0][ground]) == pytest.approx(3, abs=0.3)
    assert np.median(every[3]["flow"][1, 0][ground]) == pytest.approx(-3, abs=0.3)


def test_evaluation_size(squares):
    stream = build_stream(squares.clips("val"))
    item = StreamFrames(ClipDecoder(squares), stream, size=(24, 32))[3]
    assert item["frames"].shape == (1, 3, 24, 32)
    assert item["label"].shape == (24, 32)
    assert set(item["label"].unique().tolist()) == {0, 1}
    assert item["flow"].shape == (2, 2, 24, 32)
    assert np.median(item["flow"][0, 0][15:22, 6:26]) == pytest.approx(1.5, abs=0.3)


class CountingDIS(DIS):
    calls = 0

    def estimate(self, a, b):
        CountingDIS.calls += 1
        return super().estimate(a, b)


def test_flow_is_kept(squares, tmp_path):
    stream = build_stream(squares.clips("val"))
    plain = StreamFrames(ClipDecoder(squares), stream)[3]
    CountingDIS.calls = 0
    cached = StreamFrames(ClipDecoder(squares), stream, flow=FlowStore(tmp_path, CountingDIS()))
    first, second = cached[3], cached[3]
    assert CountingDIS.calls == 2
    assert (first["flow"] == second["flow"]).all()
    assert (first["flow"] == plain["flow"]).all()
    store = FlowStore(tmp_path, CountingDIS())
    other_size = StreamFrames(ClipDecoder(squares), stream, size=(24, 32), flow=store)
    assert other_size[3]["flow"].shape == (2, 2, 24, 32)
    assert CountingDIS.calls == 4
    video = stream[3].clip.video
    for size in ((48, 64), (24, 32)):
        assert store.has(video, 3, 2, size)
        assert store.has(video, 2, 3, size)
