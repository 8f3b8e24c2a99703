"""J and F of the objects of videos: the work of one process on one video, and the scores of all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thriftseg.arrays import AnyArray, Float64Array, Int64Array, UInt8Array
from thriftseg.datasets import read_label_png
from thriftseg.errors import DatasetError
from thriftseg.metrics import VOSProtocol, frame_statistics, mean_of_known, ratio, score_sequence
from thriftseg.reports.scoring.bootstrap import LEAST_VIDEOS, Resampling, Scores
from thriftseg.reports.scoring.counting import check_size
from thriftseg.reports.scoring.effort import Effort
from thriftseg.reports.scoring.pairing import PairedVideo
from thriftseg.reports.scoring.report import ObjectResult, Score
from thriftseg.types import IGNORE_INDEX
from thriftseg.workers import run_tasks

NAMES = ("jf_mean", "j_mean", "j_recall", "j_decay", "f_mean", "f_recall", "f_decay")
"""Scores of an object, named as by `JAndF`."""


@dataclass(frozen=True)
class SequenceTask:
    """A video to score.

    Attributes:
        position: Position of the video.
        video: The video.
    """

    position: int
    video: PairedVideo


@dataclass(frozen=True)
class ScoredObject:
    """J and F of an object in the frames that count.

    Attributes:
        position: Position of its video.
        object: Its id.
        numbers: Native numbers of the frames, (n,).
        values: J and F, (2, n).
    """

    position: int
    object: int
    numbers: Int64Array
    values: Float64Array

    def scores(self) -> dict[str, float]:
        """The scores over its frames, by name."""
        j, f = (frame_statistics(values) for values in self.values)
        values = ((j.mean + f.mean) / 2, j.mean, j.recall, j.decay, f.mean, f.recall, f.decay)
        return dict(zip(NAMES, values, strict=True))


@dataclass(frozen=True)
class SequenceScorer:
    """Scores the objects of one video; both its maps are in memory meanwhile, a byte per pixel.

    Attributes:
        protocol: Which frames and objects count, see `JAndF`.
    """

    protocol: VOSProtocol

    def __call__(self, task: SequenceTask) -> list[ScoredObject]:
        """Score a video.

        Raises:
            DatasetError: A file is unreadable, sizes differ, or the prediction holds objects that the truth does not.
        """
        numbers = sorted(task.video.labels)
        target = _read_maps(task.video.labels, numbers, task.video.labels)
        pred = _read_maps(task.video.predictions, numbers, task.video.labels)
        return [
            ScoredObject(
                task.position,
                found.object,
                np.array(numbers)[self._frames(target, found.object, len(found.j))],
                np.stack([found.j, found.f]),
            )
            for found in score_sequence(pred, target, protocol=self.protocol, sequence=task.video.name)
        ]

    def _frames(self, target: UInt8Array, object_id: int, count: int) -> AnyArray:
        """Positions of the `count` frames that an object was scored in."""
        if self.protocol == "present_frames":
            return np.flatnonzero((target == object_id).any(axis=(1, 2)))
        last = len(target) - (self.protocol == "davis")
        return np.arange(last - count, last)


@dataclass(frozen=True)
class ObjectEvaluation:
    """Outcome of a comparison of object masks.

    Attributes:
        scores: Pooled scores by name.
        per_video: Means over the objects of each video, by name.
        per_object: Scores of each object.
        frames: Labelled frames per video.
        warnings: Doubts about the scores.
    """

    scores: dict[str, Score]
    per_video: list[dict[str, float]]
    per_object: list[ObjectResult]
    frames: list[int]
    warnings: list[str]


def score_objects(videos: Sequence[PairedVideo], protocol: VOSProtocol, fps: float, effort: Effort) -> ObjectEvaluation:
    """Read and score the objects of all videos.

    Args:
        videos: The videos.
        protocol: Which frames and objects count, see `JAndF`.
        fps: Native frame numbers per second.
        effort: Processes, draws of the bootstrap and their seed.

    Raises:
        DatasetError: See `SequenceScorer`; also when no video has an object in a frame that counts.
    """
    tasks = [SequenceTask(position, video) for position, video in enumerate(videos)]
    results = run_tasks(SequenceScorer(protocol), tasks, effort.workers, description="comparing objects")
    rows = sorted((row for result in results for row in result), key=lambda row: (row.position, row.object))
    if not any(row.numbers.size for row in rows):
        raise DatasetError(
            "no object has a frame that counts" if rows else "the true labels hold no object",
            path=next(iter(videos[0].labels.values())).parent,
            expected=f"objects in frames that the protocol {protocol!r} scores",
            found=f"{len(rows)} objects in {sum(len(video.labels) for video in videos)} labelled frames",
            fix="choose other frames with --jf_protocol, or check --gt",
        )
    totals = totals_per_video(rows, len(videos))
    pooled, per_video = scores_of_totals(totals.sum(axis=0)), scores_of_totals(totals)
    intervals, unit, units = _intervals(rows, videos, totals, fps, effort)
    none = math.nan, math.nan
    return ObjectEvaluation(
        scores={name: Score(float(v), *intervals.get(name, none), unit, units) for name, v in pooled.items()},
        per_video=[{name: float(values[index]) for name, values in per_video.items()} for index in range(len(videos))],
        per_object=[ObjectResult(videos[row.position].name, row.object, row.scores()) for row in rows],
        frames=[len(video.labels) for video in videos],
        warnings=list(_doubts(rows)),
    )


def _doubts(rows: Sequence[ScoredObject]) -> Iterator[str]:
    if all((row.values == 1).all() for row in rows):
        yield "every object is right in every frame: make sure that --pred is no copy of the truth"


def _intervals(
    rows: Sequence[ScoredObject], videos: Sequence[PairedVideo], totals: Float64Array, fps: float, effort: Effort
) -> tuple[dict[str, tuple[float, float]], str, int]:
    """Intervals by name, and what was drawn of how many."""
    used = sorted({row.position for row in rows})
    if len(used) >= LEAST_VIDEOS:
        resampling = Resampling.draw(len(used), effort.resamples, effort.seed)
        return resampling.intervals(totals[used], scores_of_totals), "video", len(used)
    seconds = totals_per_second(rows, [video.first for video in videos], fps)
    resampling = Resampling.draw(len(seconds), effort.resamples, effort.seed)
    return resampling.intervals(seconds, scores_of_seconds), "second", len(seconds)


def totals_per_video(rows: Sequence[ScoredObject], videos: int) -> Float64Array:
    """Sums over objects, and their number, per video and score: (V, 7, 2)."""
    totals = np.zeros((videos, len(NAMES), 2))
    for row in rows:
        values = np.array(list(row.scores().values()))
        known = ~np.isnan(values)
        totals[row.position, known] += np.stack([values[known], np.ones(known.sum())], axis=1)
    return totals


def scores_of_totals(totals: Float64Array) -> Scores:
    """Means over objects, by name, from (..., 7, 2) sums and numbers."""
    means = ratio(totals[..., 0], totals[..., 1])
    return {name: means[..., index] for index, name in enumerate(NAMES)}


def totals_per_second(rows: Sequence[ScoredObject], firsts: Sequence[int], fps: float) -> Float64Array:
    """Sums over frames, and their number, per second of video, object and J or F: (B, K, 2, 2).

    Args:
        rows: The objects.
        firsts: Number of the first frame of each video.
        fps: Native frame numbers per second.
    """
    keys = [[(row.position, int((n - firsts[row.position]) / fps)) for n in row.numbers.tolist()] for row in rows]
    blocks = {key: index for index, key in enumerate(sorted({key for row in keys for key in row}))}
    totals = np.zeros((len(blocks), len(rows), 2, 2))
    for index, (row, of_row) in enumerate(zip(rows, keys, strict=True)):
        for key, values in zip(of_row, row.values.T, strict=True):
            totals[blocks[key], index] += np.stack([values, np.ones(2)], axis=1)
    return totals


def scores_of_seconds(totals: Float64Array) -> Scores:
    """`jf_mean`, `j_mean`, `f_mean` from (..., K, 2, 2) sums and numbers, without the objects that were not drawn."""
    means = ratio(totals[..., 0], totals[..., 1])
    j, f = mean_of_known(means[..., 0]), mean_of_known(means[..., 1])
    return {"jf_mean": (j + f) / 2, "j_mean": j, "f_mean": f}


def _read_maps(files: Mapping[int, Path], numbers: Sequence[int], labels: Mapping[int, Path]) -> UInt8Array:
    """Maps (T, H, W) of the size of the first label; empty where a frame, which does not count then, has no file."""
    first = labels[numbers[0]]
    shape = _read_ids(first)
    maps = np.zeros((len(numbers), *shape.shape), np.uint8)
    for index, number in enumerate(numbers):
        if number in files:
            ids = _read_ids(files[number])
            check_size(ids, files[number], shape, first)
            maps[index] = ids
    return maps


def _read_ids(path: Path) -> UInt8Array:
    ids = read_label_png(path)
    if ids.dtype != np.uint8 and (ids.min() < 0 or ids.max() > IGNORE_INDEX):
        raise DatasetError(
            "ids that no object can have",
            path=path,
            expected=f"0 to {IGNORE_INDEX}",
            found=f"{ids.min()} to {ids.max()}",
            fix="number the objects of a video from 1 on",
        )
    return ids.astype(np.uint8, copy=False)
