"""A request as a person sees it: an image cut around the region, and the part of its label that counts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from thriftseg.annotation.people.requests import RegionBox, Request
from thriftseg.arrays import BoolArray, UInt8Array
from thriftseg.types import IGNORE_INDEX

OUTLINE_COLOR = (255, 0, 255)
"""RGB of the line around a region; it runs outside, so that it hides nothing of what is to be labelled."""


@dataclass(frozen=True, eq=False)
class ImageTask:
    """A request and the part of its frame that is shown with it.

    Attributes:
        request: The request.
        margin: Pixels of the frame shown around the box of the region, where the frame has them.
    """

    request: Request
    margin: int

    @property
    def name(self) -> str:
        """Relative path of its files, without ending: the video, the frame number and the region."""
        sample = self.request.sample
        return f"{self.request.video}/{sample.number:06d}_{sample.region:05d}"

    @property
    def crop(self) -> RegionBox:
        """The part of the frame that is shown."""
        left, top, right, bottom = self.request.box
        height, width = self.request.size
        return (
            max(0, left - self.margin),
            max(0, top - self.margin),
            min(width, right + self.margin),
            min(height, bottom + self.margin),
        )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image that is shown."""
        left, top, right, bottom = self.crop
        return bottom - top, right - left

    def image_path(self, folder: Path) -> Path:
        """Where the image lies in the folder of its round."""
        return folder / "images" / f"{self.name}.png"

    def to_dict(self) -> dict[str, Any]:
        """The request as it stands in the task file, JSON values only."""
        request = self.request
        return {
            "name": self.name,
            "video": request.video,
            "frame": request.sample.number,
            "granularity": request.granularity,
            "region": request.sample.region,
            "pixels": request.pixels,
            "box": list(request.box),
            "crop": list(self.crop),
        }

    def picture(self, frame: UInt8Array) -> UInt8Array:
        """The image that is shown: the crop with a line around the region.

        Args:
            frame: (H, W, 3) RGB.
        """
        left, top, right, bottom = self.crop
        picture = frame[top:bottom, left:right].copy()
        region = self._region().view(np.uint8)
        picture[cv2.dilate(region, np.ones((3, 3), np.uint8)) != region] = OUTLINE_COLOR
        return picture

    def cut(self, label: UInt8Array) -> tuple[UInt8Array, int]:
        """What counts of the label of the image.

        Args:
            label: Train ids of the image, uint8 of `size`, 255 = no label.

        Returns:
            Train ids in the box of the request, 255 outside of the region, and the number of labelled pixels that lay
            outside.
        """
        region = self._region()
        outside = int(np.count_nonzero(label[~region] != IGNORE_INDEX))
        return np.where(self.request.mask, label[self._box_in_crop()], np.uint8(IGNORE_INDEX)), outside

    def _region(self) -> BoolArray:
        region = np.zeros(self.size, np.bool_)
        region[self._box_in_crop()] = self.request.mask
        return region

    def _box_in_crop(self) -> tuple[slice, slice]:
        left, top, right, bottom = self.request.box
        x, y = self.crop[:2]
        return np.s_[top - y : bottom - y, left - x : right - x]
