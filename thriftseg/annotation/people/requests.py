"""Requests to label regions, the answers to them, and the protocol of those who answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from thriftseg.annotation.ranking.selection import Sample
from thriftseg.arrays import AnyArray, BoolArray, UInt8Array
from thriftseg.costs import AnnotationCost
from thriftseg.errors import ConfigError
from thriftseg.regions import bounding_box
from thriftseg.types import IGNORE_INDEX

RegionBox = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels, half-open: the right column and the bottom row lie outside."""

ImageType = TypeVar("ImageType", bound=AnyArray)


@dataclass(frozen=True, eq=False)
class Request:
    """A region of a frame that a person is asked to label.

    Attributes:
        video: Identifier of the clip.
        sample: The region.
        granularity: What a region is: "frame", "rec<N>" or "sp" (super-pixel).
        size: Height and width of the frame.
        box: Bounding box of the region.
        mask: Pixels of the box that belong to the region, (h, w).

    Example:
        >>> region = np.zeros((4, 6), bool)
        >>> region[1:3, 2:5] = True
        >>> request = Request.of("drive", Sample(30, 7), region, "rec3")
        >>> request.box, request.pixels
        ((2, 1, 5, 3), 6)
    """

    video: str
    sample: Sample
    granularity: str
    size: tuple[int, int]
    box: RegionBox
    mask: BoolArray

    @classmethod
    def of(cls, video: str, sample: Sample, region: BoolArray, granularity: str) -> Request:
        """Ask for the pixels of a map, of which only the part inside the box is kept.

        Args:
            video: Identifier of the clip.
            sample: The region.
            region: Its pixels, (H, W).
            granularity: What a region is.

        Raises:
            ConfigError: The region has no pixels.
        """
        if not region.any():
            raise ConfigError(f"region {sample.region} of frame {sample.number} of {video!r} has no pixels")
        left, top, width, height = bounding_box(region)
        mask = region[top : top + height, left : left + width].copy()
        own = Sample(int(sample.number), int(sample.region))  # numbers of numpy do not go into JSON
        return cls(video, own, granularity, region.shape, (left, top, left + width, top + height), mask)

    @property
    def frame(self) -> tuple[str, int]:
        """Video and native number of the frame."""
        return self.video, self.sample.number

    @property
    def region(self) -> BoolArray:
        """Pixels to label, (H, W)."""
        region = np.zeros(self.size, np.bool_)
        self.cut(region)[:] = self.mask
        return region

    @property
    def pixels(self) -> int:
        """Number of pixels to label."""
        return int(np.count_nonzero(self.mask))

    def cut(self, image: ImageType) -> ImageType:
        """The part of a map (H, W, ...) of the frame that lies in the box, as a view."""
        left, top, right, bottom = self.box
        return image[top:bottom, left:right]  # type: ignore[return-value]


@dataclass(frozen=True, eq=False)
class Answer:
    """What a person has labelled.

    Attributes:
        request: What was asked.
        patch: Train ids in the box of the request, (h, w) uint8; 255 outside of the region and where nothing is known.
        cost: What it cost.
        cost_model: Name of the cost model that the cost depends on, empty where it was measured.

    Example:
        >>> request = Request.of("drive", Sample(30, 0), np.array([[False, True, True]]), "rec2")
        >>> answer = Answer(request, np.array([[3, 255]], np.uint8), AnnotationCost(9.0, clicks=4))
        >>> answer.label.tolist(), answer.sample.number
        ([[255, 3, 255]], 30)
    """

    request: Request
    patch: UInt8Array
    cost: AnnotationCost
    cost_model: str = ""

    @property
    def sample(self) -> Sample:
        """The region that was asked for."""
        return self.request.sample

    @property
    def label(self) -> UInt8Array:
        """Train ids of the frame, (H, W) uint8, 255 where this answer says nothing."""
        label = np.full(self.request.size, IGNORE_INDEX, np.uint8)
        self.paint(label)
        return label

    def paint(self, label: UInt8Array) -> None:
        """Put the labelled pixels into a label map of the frame, (H, W), over what is there."""
        known = self.patch != IGNORE_INDEX
        self.request.cut(label)[known] = self.patch[known]


class Annotator(Protocol):
    """A person who labels regions, simulated or real.

    Example:
        >>> class Painter:
        ...     def ask(self, requests, round):
        ...         painted = [np.where(each.mask, 3, 255).astype(np.uint8) for each in requests]
        ...         return [Answer(*each, AnnotationCost(9.0)) for each in zip(requests, painted)]
        >>> person: Annotator = Painter()
        >>> region = np.array([[False, True, True]])
        >>> [answer] = person.ask([Request.of("drive", Sample(30, 0), region, "rec2")], round=1)
        >>> answer.label.tolist()
        [[255, 3, 3]]
    """

    def ask(self, requests: Sequence[Request], round: int) -> list[Answer]:
        """Have regions labelled.

        Asking the same again in the same round gives the same answers, at no further work for the person.

        Args:
            requests: The regions, none of them twice.
            round: Number of the round, from 1.

        Returns:
            An answer per request, in their order.

        Raises:
            WaitingForLabels: A real person has not labelled all of them yet; ask again later.
        """
