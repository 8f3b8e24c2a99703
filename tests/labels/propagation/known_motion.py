"""A scene whose motion is known exactly, and a tracker that knows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from thriftseg.datasets.base import VideoDataset
from thriftseg.errors import DatasetError
from thriftseg.labels.propagation.merging import RunningMerge
from thriftseg.labels.propagation.propagators.protocol import Propagated
from thriftseg.stores.object_map import ObjectMap
from thriftseg.taxonomies import CITYSCAPES
from thriftseg.types import Clip


def shifted(image: np.ndarray, columns: int, fill: int) -> np.ndarray:
    """The image moved to the right (or to the left where negative)."""
    moved = np.full_like(image, fill)
    if columns >= 0:
        moved[:, columns:] = image[:, : image.shape[1] - columns]
    else:
        moved[:, :columns] = image[:, -columns:]
    return moved


def merge_logits(logits: Any, object_ids: Sequence[int], max_objects: int | None = None) -> np.ndarray:
    """The rule of `RunningMerge` on maps (K, H, W) that are all there, some objects at a time."""
    logits = torch.as_tensor(logits)
    merge = RunningMerge(logits.shape[1:], logits.device)
    step = max_objects or max(1, len(logits))
    for start in range(0, len(logits), step):
        merge.update(logits[start : start + step], object_ids[start : start + step])
    return merge.ids()


class Scene(VideoDataset):
    """Clips of 21 frames in memory: the label of frame n is the given one moved by n - 10 pixels to the right.

    Frames are grey; their brightness is ten times their number, which is all that the tracker below looks at.

    Args:
        label: Train ids of frame 10, the annotated one.
        instances: Instance ids of frame 10.
        broken: Frame that cannot be read.
        clips: Number of equal clips.
    """

    name = "scene"
    splits = ("train",)

    def __init__(
        self, label: np.ndarray, instances: np.ndarray | None = None, broken: int | None = None, clips: int = 1
    ) -> None:
        super().__init__(".")
        self.label, self.instances, self.broken, self.count = label, instances, broken, clips
        self.read: list[int] = []

    @property
    def taxonomy(self):
        return CITYSCAPES

    def _scan(self, split: str) -> list[Clip]:
        frames = {number: Path(f"{number}.png") for number in range(21)}
        return [Clip(f"clip{index}", frames, {10: Path("10_label.png")}) for index in range(self.count)]

    def read_frame(self, clip: Clip, number: int) -> np.ndarray:
        if number == self.broken:
            raise DatasetError("cannot decode the image", path=clip.frames[number])
        self.read.append(number)
        return np.full((*self.label.shape, 3), 10 * number, np.uint8)

    def read_label(self, clip: Clip, number: int) -> np.ndarray:
        return shifted(self.label, number - 10, 255)

    def read_instances(self, clip: Clip, number: int) -> np.ndarray | None:
        return self.instances


class KnownMotion:
    """Moves the mask of every object by the true motion and merges logits of +5 and -5.

    Args:
        max_objects: Objects that are merged at once.
        read_ahead: Whether to read all frames before the first result.
        speed: Pixels per frame; that of `Scene` is 1.
    """

    name = "known_motion"
    hard = True

    def __init__(self, max_objects: int = 32, read_ahead: bool = False, speed: int = 1) -> None:
        self.max_objects, self.read_ahead, self.speed = max_objects, read_ahead, speed

    @property
    def arguments(self) -> Mapping[str, Any]:
        return {"speed": self.speed}

    def probabilities(self, objects: ObjectMap, frames: Iterable[np.ndarray]) -> Iterator[Propagated]:
        remaining = iter(list(frames) if self.read_ahead else frames)
        start = int(next(remaining)[0, 0, 0])
        numbers = [item.id for item in objects.objects]
        for frame in remaining:
            moved = shifted(objects.ids, (int(frame[0, 0, 0]) - start) // 10 * self.speed, 0)
            logits = np.where(moved == np.array(numbers)[:, None, None], 5, -5).astype(np.float32)
            ids = merge_logits(logits, numbers, self.max_objects)
            yield Propagated(ids, 1.0, {number: 0.5 for number in numbers if (ids == number).any()})
