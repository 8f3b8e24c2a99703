"""The labels of one source as maps: those of the data set, stored maps, and stored clicks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from thriftseg.arrays import UInt8Array
from thriftseg.datasets import VideoDataset
from thriftseg.errors import LabelStoreError
from thriftseg.stores.label_store import LabelStore
from thriftseg.stores.point_maps import draw_point_map
from thriftseg.stores.rows import POINTS, ActionRow, action_id
from thriftseg.types import Clip, LabelKind


@dataclass(frozen=True)
class SourceLabel:
    """One label of a source.

    Attributes:
        clip: The clip.
        number: Native frame number.
        kind: Kind of the label.
        actions: Identifiers of the human actions it descends from.
        confidence: 0..1 as its generator defines it, `None` where it does not.
        ignored_share: Share of pixels without a label; `None` for labels of the data set, which are not opened.
    """

    clip: Clip
    number: int
    kind: LabelKind
    actions: tuple[str, ...]
    confidence: float | None = None
    ignored_share: float | None = None

    @property
    def id(self) -> str:
        """`video/number`."""
        return f"{self.clip.video}/{self.number:06d}"


class LabelSource:
    """Lists and reads the labels of one source.

    Args:
        dataset: The data set.
        root: Folder of the label store.
        source: "manual", "coarse" where the data set has coarse labels, or a source of the label store.
    """

    def __init__(self, dataset: VideoDataset, root: Path, source: str) -> None:
        self.dataset, self.root, self.source = dataset, root, source

    @cached_property
    def store(self) -> LabelStore:
        """The stored labels of this source."""
        return LabelStore(self.root, self.source, self.dataset.taxonomy)

    def labels(self, split: str) -> list[SourceLabel]:
        """The labels of a split, ordered by video and number; without those that a person has rejected.

        Raises:
            LabelStoreError: There are none, or they are object ids.
        """
        clips = self.dataset.clips(split)
        found = self._given(clips) if any(map(self.is_given, clips)) else self._stored(clips)
        if not found:
            raise LabelStoreError(
                f"source {self.source!r} has no labels for split {split!r} of {self.dataset.name}",
                path=self.root / self.source,
                fix="make the labels first (thriftseg label --help), or give --store the folder that has them",
            )
        return found

    def read(self, label: SourceLabel) -> UInt8Array:
        """Label map of a frame, (H, W) uint8 train ids; 255 = no label. Clicks are single pixels.

        Raises:
            DatasetError: The file is missing or unreadable, or its size is not that of the frame.
            LabelStoreError: The stored label is not the one that was written.
        """
        clip, number = label.clip, label.number
        if self.source == "manual":
            return self.dataset.read_label(clip, number)
        if self.is_given(clip):
            return self.dataset.read_coarse(clip, number)
        height, width = self.dataset.clip_size(clip)
        if self.store.labels[clip.video, number].kind == POINTS:
            return draw_point_map(self.store.points(clip.video, number), height, width)
        stored = self.store.read(clip.video, number, verify=True)
        if stored.shape != (height, width):
            raise LabelStoreError(
                "the stored label has another size than the frame",
                path=self.store.path_of(clip.video, number),
                expected=f"{width}x{height}",
                found=f"{stored.shape[1]}x{stored.shape[0]}",
            )
        return stored

    def is_given(self, clip: Clip) -> bool:
        """Whether the labels of a clip came with the data set; else they lie in the store."""
        return self.source == "manual" or (self.source == "coarse" and bool(clip.coarse))

    def recorded_actions(self, label: SourceLabel) -> list[ActionRow]:
        """The human actions behind a label that stand in its store; those of given labels stand nowhere."""
        if self.is_given(label.clip):
            return []
        return [self.store.actions[action] for action in label.actions if action in self.store.actions]

    def _given(self, clips: list[Clip]) -> list[SourceLabel]:
        manual = self.source == "manual"
        kind = LabelKind.MANUAL if manual else LabelKind.COARSE
        return [
            SourceLabel(clip, number, kind, (action_id(self.source, self.dataset.name, clip.video, number),))
            for clip in clips
            for number in sorted(clip.labels if manual else clip.coarse)
        ]

    def _stored(self, clips: list[Clip]) -> list[SourceLabel]:
        by_video = {clip.video: clip for clip in clips}
        rows = [row for (video, _), row in sorted(self.store.usable.items()) if video in by_video]
        ids = next((row for row in rows if row.space != "train_id"), None)
        if ids is not None:
            raise LabelStoreError(
                f"source {self.source!r} holds object ids, not classes",
                path=self.store.manifest_path,
                expected="space train_id",
                found=f"space {ids.space}",
            )
        return [
            SourceLabel(by_video[row.video], row.frame, row.label_kind, row.parents, row.confidence, row.ignored_share)
            for row in rows
        ]
