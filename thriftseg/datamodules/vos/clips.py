"""Training clips: frames of a video, or one image under several warps, with the objects of the first frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import Dataset

from thriftseg.arrays import Int32Array, UInt8Array
from thriftseg.datamodules.photometric import PhotometricConfig
from thriftseg.datamodules.transforms import Geometry, draw_window
from thriftseg.datamodules.vos.curriculum import ClipDraw, GapCurriculum, draw_positions
from thriftseg.datamodules.vos.labels import MaskedVideo
from thriftseg.datamodules.vos.pseudo_clips import WarpConfig
from thriftseg.datasets import VOSClip, ids_in
from thriftseg.errors import ConfigError, DatasetError
from thriftseg.stores import MaskSource
from thriftseg.types import IGNORE_INDEX, Size

DRAWS_PER_SOURCE = 10
"""Clips drawn of one video, or crops of one image, before another one takes its place."""

MOST_DRAWS = 200
"""Draws without any object before that is an error."""

MOST_IDS = 254


@dataclass(frozen=True)
class ShorterSideCrop:
    """Resizes so that the shorter side has a given length, then draws a crop and a flip.

    Both are one resampling of the window that ends up in the crop. Where the resized frame is smaller than the crop,
    the crop is padded on the right and bottom.

    Attributes:
        crop: Height and width of the output.
        resize: Shorter side after resizing; `None` keeps the size of the files.
        scale: Smallest and largest factor on that, drawn uniformly.
        flip: Mirror every second clip.

    Raises:
        ConfigError: A setting is out of range.
    """

    crop: Size
    resize: int | None = None
    scale: tuple[float, float] = (1.0, 1.0)
    flip: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ConfigError("scale range is not increasing and positive", found=self.scale, fix="use e.g. 0.8, 1.2")
        if min(*self.crop, self.resize or 1) < 1:
            raise ConfigError("crop and resize must be positive", found=f"crop {self.crop}, resize {self.resize}")

    def draw(self, rng: np.random.Generator, height: int, width: int) -> Geometry:
        """Draw the augmentation of a clip whose frames are `height` x `width`."""
        base = self.resize / min(height, width) if self.resize else 1.0
        factor = base * rng.uniform(*self.scale)
        top, rows, shown_rows = draw_window(rng, height, height * factor, self.crop[0])
        left, columns, shown_columns = draw_window(rng, width, width * factor, self.crop[1])
        flip = self.flip and bool(rng.random() < 0.5)
        return Geometry(top, left, rows, columns, (shown_rows, shown_columns), self.crop, flip)


class Transform(Protocol):
    """Augmentation of a frame and its mask, see `Geometry` and `Warp`."""

    @property
    def shown(self) -> Size:
        """Height and width of the part of the crop that is no padding."""

    def frame(self, image: UInt8Array, out: UInt8Array) -> None:
        """Write the frame (h, w, 3) into `out` (3, H, W)."""

    def label(self, label: UInt8Array) -> UInt8Array:
        """The mask (h, w) as (H, W), 255 on padding."""


@dataclass(frozen=True)
class Take:
    """A drawn clip, of which nothing has been read yet but what was asked for.

    Attributes:
        source: Reads frames and masks.
        clip: The video.
        numbers: Native numbers of its frames, in order.
        transforms: What happens to each of them.
        weight: Factor on its loss.
    """

    source: MaskSource
    clip: VOSClip
    numbers: Sequence[int]
    transforms: Sequence[Transform]
    weight: float = 1.0
    _masks: dict[int, UInt8Array | Int32Array] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """`video/numbers`."""
        return f"{self.clip.video}/" + ",".join(f"{number:06d}" for number in self.numbers)

    def first_objects(self, least: int = 1) -> list[int]:
        """Ids of the objects that the crop of the first frame shows with at least some pixels."""
        mask = self._mask(self.numbers[0])
        ids = ids_in(mask)[:MOST_IDS]
        areas = np.bincount(self.transforms[0].label(renumbered(mask, ids)).ravel(), minlength=len(ids) + 1)
        return [object_id for object_id, area in zip(ids, areas[1:], strict=False) if area >= least]

    def masks(self, ids: Sequence[int]) -> UInt8Array:
        """Masks (T, H, W) of some objects, numbered from 1 in this order; all others are background."""
        pairs = zip(self.numbers, self.transforms, strict=True)
        return np.stack([transform.label(renumbered(self._mask(number), ids)) for number, transform in pairs])

    def frames(self, crop: Size) -> UInt8Array:
        """Frames (T, 3, H, W); padding is black."""
        images = {number: self.source.dataset.read_frame(self.clip, number) for number in dict.fromkeys(self.numbers)}
        frames = np.zeros((len(self.numbers), 3, *crop), np.uint8)
        for number, transform, out in zip(self.numbers, self.transforms, frames, strict=True):
            transform.frame(images[number], out)
        return frames

    def _mask(self, number: int) -> UInt8Array | Int32Array:
        if number not in self._masks:
            self._masks[number] = self.source.read(self.clip, number, verify=False)
        return self._masks[number]


@dataclass(frozen=True)
class VideoClips:
    """Draws clips of one video.

    Attributes:
        source: Reads frames and masks.
        video: The video and its masks.
        length: Frames of a clip.
        crop: Draws the crop, alike for all frames of a clip.
        curriculum: Translates a gap of frames to one of masks.
        weight: Factor on the loss of its clips.
    """

    source: MaskSource
    video: MaskedVideo
    length: int
    crop: ShorterSideCrop
    curriculum: GapCurriculum
    weight: float = 1.0

    def draw(self, rng: np.random.Generator, gap: int) -> Take:
        """Draw frames with masks in order, at most `gap` frames of the video between two of them, and a crop."""
        numbers = self.video.numbers
        skip = self.curriculum.masks_between(gap, self.video.step)
        chosen = [numbers[position] for position in draw_positions(rng, len(numbers), self.length, skip)]
        geometry = self.crop.draw(rng, *self.source.dataset.clip_size(self.video.clip))
        return Take(self.source, self.video.clip, chosen, [geometry] * self.length, self.weight)


@dataclass(frozen=True)
class PseudoClips:
    """Draws clips of one image.

    Attributes:
        source: Reads the image and its mask.
        clip: The video that holds it.
        number: Its native number.
        length: Frames of a clip.
        crop: Draws the crop.
        warps: Draws the warp of every frame, relative to that crop.
    """

    source: MaskSource
    clip: VOSClip
    number: int
    length: int
    crop: ShorterSideCrop
    warps: WarpConfig

    def draw(self, rng: np.random.Generator, gap: int) -> Take:
        """Draw a crop and a warp for every frame; there is no gap."""
        size = self.source.dataset.clip_size(self.clip)
        geometry = self.crop.draw(rng, *size)
        warps = [self.warps.draw(rng, geometry, *size) for _ in range(self.length)]
        return Take(self.source, self.clip, [self.number] * self.length, warps)


class TrainingClips(Dataset[dict[str, Any]]):
    """Clips to train on; everything random depends on (seed, epoch, position) and the gap alone.

    The objects of a clip are those that its first frame shows large enough in the crop, at most `max_objects` of them,
    chosen at random. Without any the clip is drawn again, after some attempts from other videos. All other objects are
    background in the whole clip: those that were not chosen, and those that enter later, because nobody has
    introduced them to the network. Ignored pixels stay ignored in every frame.

    Args:
        clips: What clips are drawn of.
        crop: Height and width of the frames.
        max_objects: Largest number of objects of a clip.
        min_share: Smallest share of the crop that an object covers in the first frame.
        photometric: Colour changes to draw factors for.
        seed: Non-negative seed.
    """

    def __init__(
        self,
        clips: Sequence[VideoClips | PseudoClips],
        crop: Size,
        *,
        max_objects: int = 5,
        min_share: float = 0.0,
        photometric: PhotometricConfig | None = None,
        seed: int = 0,
    ) -> None:
        self.clips, self.crop, self.max_objects = clips, crop, max_objects
        self.least_area = max(1, round(min_share * crop[0] * crop[1]))
        self.photometric, self.seed = photometric, seed

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, draw: ClipDraw) -> dict[str, Any]:
        """Item of a batch: frames and masks as uint8 tensors, everything small as numbers."""
        rng = np.random.default_rng((self.seed, draw.epoch, draw.position))
        take, ids = self._draw_take(rng, draw)
        if len(ids) > self.max_objects:
            ids = sorted(int(number) for number in rng.choice(ids, self.max_objects, replace=False))
        item: dict[str, Any] = {
            "frames": torch.from_numpy(take.frames(self.crop)),
            "masks": torch.from_numpy(take.masks(ids)),
            "num_objects": len(ids),
            "object_ids": ids,
            "shown": np.array(take.transforms[0].shown),
            "weight": np.float32(take.weight),
            "id": take.id,
        }
        if self.photometric is not None:
            item["photometric"] = self.photometric.draw(rng)
        return item

    def _draw_take(self, rng: np.random.Generator, draw: ClipDraw) -> tuple[Take, list[int]]:
        """A clip whose first frame shows objects, and their ids."""
        clips = self.clips[draw.sample]
        for attempt in range(1, MOST_DRAWS + 1):
            take = clips.draw(rng, draw.gap)
            visible = take.first_objects(self.least_area)
            if visible:
                return take, visible
            if attempt % DRAWS_PER_SOURCE == 0:
                clips = self.clips[int(rng.integers(len(self.clips)))]
        raise DatasetError(
            "no object found to train on",
            path=take.clip.labels.get(take.numbers[0]),
            expected=f"an object of at least {self.least_area} pixels in the crop of the first frame of a clip",
            found=f"none in {MOST_DRAWS} drawn clips",
            fix="check the masks (thriftseg data check), or use a larger crop or a smaller min_share",
        )


def renumbered(mask: UInt8Array | Int32Array, ids: Sequence[int]) -> UInt8Array:
    """Numbers 1, 2, ... of some objects, 0 for everything else, 255 where the label is ignored.

    Args:
        mask: (H, W) ids.
        ids: The objects, at most 254.

    Example:
        >>> renumbered(np.array([[0, 7, 300, 255, 9]], np.int32), [300, 7]).tolist()
        [[0, 2, 1, 255, 0]]
    """
    numbers = np.zeros(max(int(mask.max(initial=0)), *ids, IGNORE_INDEX) + 1, np.uint8)
    numbers[list(ids)] = np.arange(1, len(ids) + 1)
    numbers[IGNORE_INDEX] = IGNORE_INDEX
    return np.asarray(np.take(numbers, mask), np.uint8)
