"""How much a clip moves around its annotated frames, measured by optical flow and remembered."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean

import numpy as np

from thriftseg.arrays import Float32Array, UInt8Array
from thriftseg.datasets.base import VideoDataset
from thriftseg.datasets.images import resize_frame
from thriftseg.datasets.measurements import MeasurementCache, file_stamp
from thriftseg.flow import DIS, FlowEstimator
from thriftseg.progress import progress_bar
from thriftseg.types import Clip

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
) -> dict[tuple[str, int], float]:
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
    """
    estimator = estimator if estimator is not None else DIS()
    cache = _cache(store, estimator)
    frames = [(clip, number) for clip in clips for number in sorted({*clip.labels, *clip.coarse})]
    pairs = {(clip.video, number): spread_pairs(clip, number) for clip, number in frames}
    stamps = {(clip.video, number): _stamp(clip, pairs[clip.video, number]) for clip, number in frames}
    wanted = [(clip, {n: pairs[clip.video, n] for n in _unknown(clip, stamps, cache)}) for clip in clips]
    todo = [(clip, around) for clip, around in wanted if around]
    with progress_bar(progress) as bar, ThreadPoolExecutor(jobs or min(8, os.cpu_count() or 1)) as pool:
        task = bar.add_task("measuring motion", total=len(todo))
        for start in range(0, len(todo), _BATCH):
            try:
                measured = pool.map(lambda work: _measure_clip(dataset, *work, estimator), todo[start : start + _BATCH])
                for motion in measured:
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


def _measure_clip(
    dataset: VideoDataset, clip: Clip, around: Mapping[int, Sequence[tuple[int, int]]], estimator: FlowEstimator
) -> dict[tuple[str, int], float]:
    """Motion around annotated frames from the pairs that belong to each; every frame is decoded once."""
    lengths: dict[tuple[int, int], float] = {}
    size = dataset.clip_size(clip)
    seen: dict[int, UInt8Array] = {}
    for first, second in sorted({pair for pairs in around.values() for pair in pairs}):
        # Pairs come in order, so of the frames before this one only the second of the last pair can be needed again.
        seen = {n: seen[n] if n in seen else _reduced(dataset.read_frame(clip, n)) for n in (first, second)}
        lengths[first, second] = _mean_length(estimator.estimate(seen[first], seen[second]), size)
    return {
        (clip.video, number): fmean(lengths[pair] for pair in pairs) if pairs else 0.0
        for number, pairs in around.items()
    }


def _reduced(frame: UInt8Array) -> UInt8Array:
    height, width = frame.shape[:2]
    if width <= _WIDTH:
        return frame
    return resize_frame(frame, (max(1, round(height * _WIDTH / width)), _WIDTH))


def _mean_length(flow: Float32Array, size: tuple[int, int]) -> float:
    """Mean length of a flow (2, h, w), in pixels of frames of height and width `size`."""
    across, down = flow[0] * (size[1] / flow.shape[2]), flow[1] * (size[0] / flow.shape[1])
    return float(np.hypot(across, down).mean(dtype=np.float64))


def _unknown(clip: Clip, stamps: Mapping[tuple[str, int], str], cache: MeasurementCache) -> list[int]:
    """Annotated frames of a clip whose motion is not in the cache."""
    own = {number: stamps[clip.video, number] for number in sorted({*clip.labels, *clip.coarse})}
    return [number for number, stamp in own.items() if cache.get(_name((clip.video, number)), stamp) is None]


def _stamp(clip: Clip, pairs: Sequence[tuple[int, int]]) -> str:
    """Digest of the frame files that motion is measured from."""
    numbers = sorted({number for pair in pairs for number in pair})
    files = [(number, *file_stamp(clip.frames[number])) for number in numbers]
    return hashlib.blake2b(repr(files).encode(), digest_size=16).hexdigest()


def _name(frame: tuple[str, int]) -> str:
    return f"{frame[0]}/{frame[1]:06d}"


def _cache(store: Path | None, estimator: FlowEstimator) -> MeasurementCache:
    header = {"schema": _SCHEMA, "estimator": repr(estimator), "software": str(getattr(estimator, "software", ""))}
    return MeasurementCache(store / CACHE_NAME if store is not None else None, header)
