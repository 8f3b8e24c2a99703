"""Footage that two splits share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from thriftseg.arrays import Int64Array
from thriftseg.types import Clip

NEAR_STEPS = 5
"""Frames of two splits are "near" when they are at most this many steps of the finer clip apart."""


@dataclass(frozen=True)
class Leak:
    """Two splits that show the same recording at nearly the same time.

    Attributes:
        recording: The recording.
        reference: The split with the longer stretch of it.
        other: The split whose frames lie close to, or between, those of the reference.
        near: Frames of `other` within `NEAR_STEPS` steps of a frame of the reference.
        enclosed: Frames of `other` with frames of the reference before and after them.
        frames: Frames of `other` in this recording.
        distance: Smallest distance between frames of the two, in frame numbers.
    """

    recording: str
    reference: str
    other: str
    near: int
    enclosed: int
    frames: int
    distance: int

    def describe(self) -> str:
        """One line for reports."""
        return (
            f"recording {self.recording}: of {self.frames} frames in {self.other}, {self.enclosed} lie between frames "
            f"of {self.reference} and {self.near} within {NEAR_STEPS} steps of one "
            f"(nearest: {self.distance} frame numbers)"
        )


def find_leaks(clips: Mapping[str, list[Clip]], near_steps: int = NEAR_STEPS) -> list[Leak]:
    """Find recordings of which two splits have frames close to or between each other's.

    Args:
        clips: Clips by split.
        near_steps: Distance that still counts as near, in steps of the finer of two clips.

    Returns:
        One entry per pair of splits and shared recording.

    Example:
        >>> train = Clip("a", dict.fromkeys([0, 30, 60, 90]), frame_step=30, drive="street")
        >>> val = Clip("b", dict.fromkeys([40, 42, 44]), frame_step=2, drive="street")
        >>> [(leak.other, leak.enclosed, leak.near) for leak in find_leaks({"train": [train], "val": [val]})]
        [('val', 3, 1)]
    """
    by_split = {split: _by_recording(listed) for split, listed in clips.items()}
    return [leak for pair in combinations(by_split, 2) for leak in _leaks_of(*pair, by_split, near_steps)]


@dataclass(frozen=True)
class _Stretch:
    numbers: Int64Array
    step: int


def _by_recording(clips: list[Clip]) -> dict[str, _Stretch]:
    members: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        members[clip.drive or clip.video].append(clip)
    return {
        recording: _Stretch(
            np.array(sorted({number for clip in listed for number in clip.frames}), dtype=np.int64),
            min(clip.frame_step for clip in listed),
        )
        for recording, listed in members.items()
    }


def _leaks_of(one: str, two: str, by_split: dict[str, dict[str, _Stretch]], near_steps: int) -> Iterator[Leak]:
    for recording in sorted(by_split[one].keys() & by_split[two].keys()):
        first, second = by_split[one][recording], by_split[two][recording]
        first_is_longer = np.ptp(first.numbers) >= np.ptp(second.numbers)
        reference, other = (first, second) if first_is_longer else (second, first)
        names = (one, two) if first_is_longer else (two, one)
        distances = _distances(reference.numbers, other.numbers)
        near = int((distances <= near_steps * min(first.step, second.step)).sum())
        inside = (other.numbers > reference.numbers[0]) & (other.numbers < reference.numbers[-1])
        if near or inside.any():
            yield Leak(recording, *names, near, int(inside.sum()), other.numbers.size, int(distances.min()))


def _distances(reference: Int64Array, numbers: Int64Array) -> Int64Array:
    """Distance of each number to the nearest reference number."""
    after = np.searchsorted(reference, numbers).clip(0, reference.size - 1)
    before = (after - 1).clip(0)
    distances: Int64Array = np.minimum(np.abs(reference[after] - numbers), np.abs(reference[before] - numbers))
    return distances
