"""Masks of objects to train on: those of the data set, or those of a source of the label store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from thriftseg.arrays import Int32Array, UInt8Array
from thriftseg.costs import AnnotationCost
from thriftseg.datasets import VOSClip, VOSDataset, usual_step
from thriftseg.errors import ConfigError, DatasetError
from thriftseg.stores import LabelStore, store_root
from thriftseg.taxonomies import OBJECT_IDS

MANUAL = "manual"
"""Name of the data set's own masks."""


@dataclass(frozen=True)
class MaskedVideo:
    """A video and the frames of it that have a mask.

    Attributes:
        clip: The video.
        numbers: Native numbers of the frames with a mask, increasing.
    """

    clip: VOSClip
    numbers: tuple[int, ...]

    @property
    def step(self) -> int:
        """Usual distance of the masks in native numbers."""
        return usual_step(self.numbers)


class MaskSource:
    """Reads frames with their masks; a frame without a mask of this source is never drawn.

    Args:
        dataset: Reader of the videos.
        labels: "manual" for the masks of the data set, else a source of the label store that holds object ids.
        store: Folder of the label store, by default `labels/<dataset>`.
    """

    def __init__(self, dataset: VOSDataset, labels: str = MANUAL, store: str | Path | None = None) -> None:
        self.dataset, self.labels = dataset, labels
        self._root = store_root(store, dataset.name)

    def videos(self, split: str, least: int = 1) -> list[MaskedVideo]:
        """The videos of a split with enough masks.

        Args:
            split: Name of the split.
            least: Masks that a video needs.

        Raises:
            ConfigError: The split comes without the masks to train on.
            DatasetError: No video has enough masks.
            LabelStoreError: The store is damaged.
        """
        if self.labels == MANUAL and self.dataset.masks_of(split) != "all":
            raise ConfigError(
                f"split {split!r} of {self.dataset.name} comes without the masks of all frames",
                fix="train on another split, or on labels of a source of the label store",
            )
        clips = self.dataset.clips(split)
        found = [MaskedVideo(clip, self._numbers(clip)) for clip in clips]
        enough = [video for video in found if len(video.numbers) >= least]
        if not enough:
            raise DatasetError(
                f"no video of split {split!r} has {least} frames with a mask of source {self.labels!r}",
                path=self.dataset.root if self._store is None else self._store.manifest_path,
                found=f"{len(clips)} videos with {sum(len(video.numbers) for video in found)} masks",
                fix="choose another split or source, or make the labels first",
            )
        return enough

    def frame(self, clip: VOSClip, number: int) -> UInt8Array:
        """Frame (H, W, 3), RGB."""
        return self.dataset.read_frame(clip, number)

    def mask(self, clip: VOSClip, number: int) -> UInt8Array | Int32Array:
        """Ids of the objects of a frame, (H, W), 255 = ignore.

        Raises:
            DatasetError: The mask has another size than the frame.
        """
        if self._store is None:
            return self.dataset.read_mask(clip, number)
        mask = self._store.read(clip.video, number)
        if mask.shape != self.dataset.clip_size(clip):
            raise DatasetError(
                "mask and frame differ in size",
                path=self._store.path_of(clip.video, number),
                expected="{}x{}".format(*self.dataset.clip_size(clip)),
                found="{}x{}".format(*mask.shape),
                fix="make labels at the size of the frames",
            )
        return mask

    def cost(self, videos: Sequence[MaskedVideo]) -> AnnotationCost | None:
        """What the human actions cost that the masks descend from; `None` where nobody noted it."""
        if self._store is None:
            return None
        rows = [self._store.labels[video.clip.video, number] for video in videos for number in video.numbers]
        actions = {parent for row in rows for parent in row.parents}
        known = self._store.actions
        return sum((known[action].cost for action in sorted(actions) if action in known), AnnotationCost())

    @cached_property
    def _store(self) -> LabelStore | None:
        return None if self.labels == MANUAL else LabelStore(self._root, self.labels, OBJECT_IDS)

    @cached_property
    def _stored(self) -> dict[str, list[int]]:
        """Frames with usable object ids, by video."""
        frames: dict[str, list[int]] = {}
        for (video, number), row in self._store.usable.items() if self._store is not None else ():
            if row.space == "object_id":
                frames.setdefault(video, []).append(number)
        return frames

    def _numbers(self, clip: VOSClip) -> tuple[int, ...]:
        if self._store is None:
            return clip.annotated
        return tuple(number for number in sorted(self._stored.get(clip.video, ())) if number in clip.frames)
