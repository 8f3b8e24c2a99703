"""Motion of a clip around its annotated frames, measured by optical flow and remembered."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np

from thriftseg.arrays import UInt8Array
from thriftseg.datasets import VideoDataset, frame_file, resize_frame
from thriftseg.flow import DIS, FlowEstimator
from thriftseg.progress import progress_bar
from thriftseg.resources import available_cpus
from thriftseg.stores import MeasurementCache, file_stamp
from thriftseg.types import Clip, Frame

CACHE_NAME = "motion.json"
"""File that remembers what was measured, in the folder of a label store."""

REACH = 10
"""Offsets from the annotated frame, forwards and backwards, between which motion is measured."""

_SCHEMA = 1
_PAIRS = 4
_WIDTH = 512
_BATCH = 32  # clips between two writings of the cache


def measure_motion(
    dataset: VideoDataset,
    clips: Sequence[Clip],
    *,
    store: Path | None = None,
    estimator: FlowEstimator | None = None,
    jobs: int | None = None,
    progress: bool = True,
) -> dict[Frame, float]:
    """Mean length of the optical flow between adjacent frames around every annotated frame.

    At most four pairs of adjacent frames are looked at, evenly spread over the frames within ten offsets of the
    annotated one; where frames are missing there are fewer, and without any pair the motion is 0. The flow is estimated
    on frames of at most 512 columns and told in pixels of the full frame per frame step.

    What was measured is kept in `motion.json` and measured again when a frame file changes. The file is written every
    few clips, so an interrupted run goes on where it stopped.

    Args:
        dataset: Reads the frames.
        clips: The clips; motion is measured around every frame with a manual or coarse label.
        store: Folder that keeps `motion.json`, such as the root of the label store; `None` keeps nothing.
        estimator: Estimates the flow; DIS of the medium preset by default.
        jobs: Threads; by default one per core, at most 8.
        progress: Whether to show a progress bar.

    Returns:
        Pixels per frame step, by video and native number of the annotated frame.

    Raises:
        DatasetError: A frame is missing or unreadable.

    Example:
        >>> import tempfile
        >>> from thriftseg.datasets import FrameFolder, write_label_png
        >>> from thriftseg.taxonomies import CAMVID
        >>> wall = np.random.default_rng(0).integers(0, 255, (8, 17), np.uint8).repeat(8, 0).repeat(8, 1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = {number: Path(folder, f"{number}.png") for number in range(3)}
        ...     for number, path in paths.items():
        ...         write_label_png(path, wall[:, 2 * number : 2 * number + 128])  # it moves by two columns a frame
        ...     clip = Clip("drive", paths, labels={1: paths[1]})
        ...     motion = measure_motion(FrameFolder(folder, CAMVID), [clip], jobs=1, progress=False)
        >>> {frame: round(pixels, 1) for frame, pixels in motion.items()}
        {('drive', 1): 2.0}
    """
    flow = estimator if estimator is not None else DIS()
    header = {"schema": _SCHEMA, "estimator": repr(flow), "software": str(getattr(flow, "software", ""))}
    cache = MeasurementCache(store / CACHE_NAME if store is not None else None, header, float)
    plans = [_Plan(clip, {n: spread_pairs(clip, n) for n in sorted({*clip.labels, *clip.coarse})}) for clip in clips]
    stamps = {frame: stamp for plan in plans for frame, stamp in plan.stamps().items()}
    todo = [missing for plan in plans if (missing := plan.without(cache, stamps)).pairs]
    with progress_bar(progress) as bar, ThreadPoolExecutor(jobs or min(8, available_cpus())) as pool:
        task = bar.add_task("measuring motion", total=len(todo))
        for start in range(0, len(todo), _BATCH):
            try:
                for motion in pool.map(lambda plan: plan.measure(dataset, flow), todo[start : start + _BATCH]):
                    for frame, value in motion.items():
                        cache.add(_name(frame), stamps[frame], value)
                    bar.advance(task)
            finally:
                cache.save()
    return {frame: float(cache.get(_name(frame), stamp)) for frame, stamp in stamps.items()}


def spread_pairs(clip: Clip, annotated: int) -> list[tuple[int, int]]:
    """Up to four pairs of adjacent frames, evenly spread around an annotated frame.

    Args:
        clip: The clip.
        annotated: Native number of the annotated frame.

    Returns:
        Native numbers of both frames of each pair, increasing.

    Example:
        >>> clip = Clip("drive", {n: Path(f"{n}.png") for n in range(30)})
        >>> spread_pairs(clip, 19)
        [(9, 10), (15, 16), (22, 23), (28, 29)]
        >>> spread_pairs(clip, 0)
        [(0, 1), (3, 4), (6, 7), (9, 10)]
    """
    starts = [clip.number_at(annotated, offset) for offset in range(-REACH, REACH)]
    pairs = [(n, n + clip.frame_step) for n in starts if n in clip.frames and n + clip.frame_step in clip.frames]
    places = np.linspace(0, len(pairs) - 1, _PAIRS).round().astype(int) if len(pairs) > _PAIRS else range(len(pairs))
    return [pairs[place] for place in places]


@dataclass(frozen=True)
class _Plan:
    """Pairs of adjacent frames of a clip to look at, by annotated frame."""

    clip: Clip
    pairs: Mapping[int, Sequence[tuple[int, int]]]

    def stamps(self) -> dict[Frame, str]:
        """By annotated frame, a digest of the frame files that its motion is measured from."""
        stamps = {}
        for annotated, pairs in self.pairs.items():
            numbers = sorted({number for pair in pairs for number in pair})
            files = [(number, *file_stamp(frame_file(self.clip.frames[number]))) for number in numbers]
            digest = hashlib.blake2b(repr(files).encode(), digest_size=16).hexdigest()
            stamps[self.clip.video, annotated] = digest
        return stamps

    def without(self, cache: MeasurementCache, stamps: Mapping[Frame, str]) -> _Plan:
        """The part that is not in the cache."""
        frames = {number: (self.clip.video, number) for number in self.pairs}
        missing = [number for number, frame in frames.items() if cache.get(_name(frame), stamps[frame]) is None]
        return _Plan(self.clip, {number: self.pairs[number] for number in missing})

    def measure(self, dataset: VideoDataset, flow: FlowEstimator) -> dict[Frame, float]:
        """Motion by annotated frame; each frame of the clip is decoded once."""
        lengths: dict[tuple[int, int], float] = {}
        seen: dict[int, UInt8Array] = {}
        for first, second in sorted({pair for pairs in self.pairs.values() for pair in pairs}):
            # In this order, only the second frame of the last pair can be needed again.
            seen = {n: seen[n] if n in seen else dataset.read_frame(self.clip, n) for n in (first, second)}
            lengths[first, second] = _mean_length(seen[first], seen[second], flow)
        return {
            (self.clip.video, number): fmean(lengths[pair] for pair in pairs) if pairs else 0.0
            for number, pairs in self.pairs.items()
        }


def _mean_length(first: UInt8Array, second: UInt8Array, estimator: FlowEstimator) -> float:
    """Mean length of the flow between two frames in their pixels, estimated on at most 512 columns."""
    height, width = first.shape[:2]
    size = (max(1, round(height * _WIDTH / width)), _WIDTH) if width > _WIDTH else (height, width)
    across, down = estimator.estimate(resize_frame(first, size), resize_frame(second, size))
    lengths = np.hypot(across * (width / size[1]), down * (height / size[0]))
    return float(lengths.mean(dtype=np.float64))


def _name(frame: Frame) -> str:
    return f"{frame[0]}/{frame[1]:06d}"
