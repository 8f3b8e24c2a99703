"""Training examples of Box2Seg: the surroundings of an object, its box, and its mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from thriftseg.arrays import UInt8Array
from thriftseg.datasets.boxes.windows import CROP, MARGIN, BoxWindow, box_of, jitter_box, pixel_box
from thriftseg.errors import ConfigError
from thriftseg.types import Size


class BoxSample(NamedTuple):
    """One example at the size of the crop.

    Attributes:
        frame: (h, w, 3) uint8 RGB.
        box: (h, w) uint8, 1 in the box.
        target: (h, w) uint8, 1 on the object, 0 beside it, 255 = ignore.

    Example:
        >>> frame, mask = np.full((60, 80, 3), 9, np.uint8), np.zeros((60, 80), np.uint8)
        >>> mask[20:30, 30:50] = 1
        >>> exact = BoxAugmentation(crop=(60, 80), jitter=0, flip=0, gamma=0)
        >>> sample: BoxSample = exact.draw(frame, mask, np.random.default_rng(0))
        >>> sample.frame.shape, int(sample.box.sum()), int((sample.target == 1).sum())
        ((60, 80, 3), 200, 200)
    """

    frame: UInt8Array
    box: UInt8Array
    target: UInt8Array


@dataclass(frozen=True)
class BoxAugmentation:
    """How the box of a mask and the frame around it are varied in training.

    Attributes:
        crop: Height and width of an example.
        margin: Pixels shown on each side of the box.
        jitter: Standard deviation of the shift of a side of the box, by the length of the box.
        flip: Probability of mirroring.
        gamma: Intensities are raised to a power from 1 / (1 + gamma) to 1 + gamma.

    Raises:
        ConfigError: A setting is out of range.

    Example:
        >>> frame, mask = np.full((60, 80, 3), 9, np.uint8), np.zeros((60, 80), np.uint8)
        >>> mask[20:30, 30:50] = 1
        >>> sample = BoxAugmentation(crop=(33, 33)).draw(frame, mask, np.random.default_rng(0))
        >>> sample.frame.shape, sample.target.shape
        ((33, 33, 3), (33, 33))
    """

    crop: Size = CROP
    margin: int = MARGIN
    jitter: float = 0.05
    flip: float = 0.5
    gamma: float = 0.1

    def __post_init__(self) -> None:
        if min(self.crop) < 1 or self.margin < 0 or not 0 <= self.jitter < 0.2 or self.gamma < 0:
            raise ConfigError(
                "setting of box augmentation",
                expected="crop of at least 1, margin and gamma of at least 0, jitter from 0 to below 0.2",
                found=f"crop={self.crop}, margin={self.margin}, jitter={self.jitter}, gamma={self.gamma}",
            )
        if not 0 <= self.flip <= 1:
            raise ConfigError("probability of mirroring", expected="0 to 1", found=self.flip)

    def draw(self, frame: UInt8Array, mask: UInt8Array, rng: np.random.Generator) -> BoxSample:
        """Draw an example of the object of a mask.

        Args:
            frame: (H, W, 3) uint8 RGB.
            mask: (H, W) uint8, 1 on the object, 0 beside it, 255 = ignore.
            rng: Source of randomness.

        Raises:
            ConfigError: The mask is empty.
        """
        size = (mask.shape[0], mask.shape[1])
        box = box_of(mask == 1)
        if box is None:
            raise ConfigError("an empty mask has no box", fix="leave it out")
        jittered = pixel_box(jitter_box(box, rng, self.jitter), size)
        window = BoxWindow.around(jittered or box, size, self.margin)
        shown, plane = window.show(frame, self.crop)
        power = np.exp(rng.uniform(-1, 1) * np.log1p(self.gamma))
        brightness = np.rint(255 * (np.arange(256) / 255) ** power).astype(np.uint8)
        sample = BoxSample(brightness[shown], plane, window.show_label(mask, self.crop))
        if rng.random() < self.flip:
            return BoxSample(*(np.ascontiguousarray(image[:, ::-1]) for image in sample))
        return sample
