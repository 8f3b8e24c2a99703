"""Scores of label maps for whole videos: right, sharp and steady."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import torch
from torch import Tensor

from thriftseg.arrays import BoolArray, Float32Array, UInt8Array
from thriftseg.metrics.boundary_iou import BoundaryIoU
from thriftseg.metrics.confusion import ConfusionScores
from thriftseg.metrics.temporal_consistency import TemporalConsistency

VideoFrame = tuple[UInt8Array, UInt8Array | None, tuple[Float32Array, BoolArray] | None]
"""Label map (H, W), truth (H, W) or `None`, and backward flow (2, H, W) with its check mask (H, W), or `None` where no
adjacent frame comes before."""


class VideoScores:
    """mIoU, pixel accuracy, Boundary-IoU and temporal consistency, each pooled over all frames of all videos.

    Frames are taken one after the other, so a video need not fit into memory. Pixels whose truth is 255 do not count,
    nor do classes that occur nowhere.

    Args:
        num_classes: Number of classes C.
        boundary_width: Width in pixels of the band that the Boundary-IoU scores.

    Raises:
        ConfigError: A number is below 1.

    Example:
        >>> import numpy as np
        >>> label = np.zeros((4, 6), np.uint8)
        >>> scores = VideoScores(num_classes=2)
        >>> scores.add([(label, label, None), (label, None, None)])
        >>> scores.compute()
        {'miou': 1.0, 'pixel_accuracy': 1.0, 'boundary_iou': 1.0, 'tc': nan}
    """

    def __init__(self, num_classes: int, boundary_width: int = 2) -> None:
        self.confusion = ConfusionScores(num_classes)
        self.boundary = BoundaryIoU(num_classes, width=boundary_width)
        self.consistency = TemporalConsistency(num_classes)

    def add(self, video: Iterable[VideoFrame]) -> None:
        """Count the frames of one video.

        Args:
            video: Its frames in playing order.

        Raises:
            ValueError: Shapes disagree, or a truth holds an unknown class.
        """
        previous: Tensor | None = None
        for label, truth, flow in video:
            prediction = torch.from_numpy(label)[None]
            if truth is not None:
                target = torch.from_numpy(truth)[None]
                self.confusion.update(prediction, target)
                self.boundary.update(prediction, target)
            if flow is not None and previous is not None:
                backward, mask = (torch.from_numpy(part)[None] for part in flow)
                self.consistency.update_checked(prediction, previous, backward, mask)
            previous = prediction

    def compute(self) -> dict[str, float]:
        """The scores so far.

        Returns:
            `miou`, `pixel_accuracy`, `boundary_iou` and `tc`; NaN where there is nothing to count.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*called before the ``update`` method")  # no truth, or no pair
            scores = self.confusion.compute() | self.boundary.compute() | self.consistency.compute()
        return {name: float(scores[name]) for name in ("miou", "pixel_accuracy", "boundary_iou", "tc")}

    def class_iou(self) -> list[float]:
        """IoU of each class so far; NaN for classes that occur nowhere."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*called before the ``update`` method")
            iou: list[float] = self.confusion.compute()["iou"].tolist()
        return iou


def score_video(video: Iterable[VideoFrame], num_classes: int, boundary_width: int = 2) -> dict[str, float]:
    """Scores of one video; see `VideoScores`.

    Example:
        >>> import numpy as np
        >>> truth = np.array([[0, 0, 1, 1]] * 4, np.uint8)
        >>> label = np.array([[0, 1, 1, 1]] * 4, np.uint8)
        >>> scores = score_video([(label, truth, None)], num_classes=2)
        >>> round(scores["miou"], 4), scores["pixel_accuracy"]  # (1/2 + 2/3) / 2
        (0.5833, 0.75)
    """
    scores = VideoScores(num_classes, boundary_width)
    scores.add(video)
    return scores.compute()
