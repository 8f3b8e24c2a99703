"""Settings beside the segmentation of each box: which frames have drawn masks, and which masks are bad."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
import numpy as np

from thriftseg.datasets import BoxAugmentation
from thriftseg.errors import ConfigError
from thriftseg.labels.boxes.masks import DRAWN
from thriftseg.labels.boxes.table import MaskRow
from thriftseg.parsing import Count, Integer, read_csv

DrawnFrame = Literal["middle", "first", "random"]
"""Which frame of an object gets a drawn mask."""


def drawn_frame(numbers: Sequence[int], which: DrawnFrame, seed: Sequence[int] = (0,)) -> int:
    """The frame of an object whose mask is drawn.

    Args:
        numbers: Native numbers of the frames in which the object appears; gaps do not matter.
        which: The one in the middle of these frames (of two, the later one), the first, or any.
        seed: Seed of the choice of any.

    Example:
        >>> [drawn_frame(range(0, 10 * n, 10), "middle") for n in (1, 2, 3, 4)]
        [0, 10, 10, 20]
    """
    ordered = sorted(numbers)
    if which == "random":
        return int(np.random.default_rng(list(seed)).choice(ordered))
    return ordered[len(ordered) // 2 if which == "middle" else 0]


class _BadMask(msgspec.Struct):
    video: str
    frame: Count
    object: Integer


@dataclass(frozen=True)
class MaskFilter:
    """Which masks are bad; their boxes are left without a label. Drawn masks are never bad.

    Attributes:
        source: "oracle" for those whose IoU with the truth is too low, "list" for those of a list.
        threshold: Least IoU of a good mask, for the oracle.
        listed: Video, native frame number and object of the bad masks, for the list.

    Raises:
        ConfigError: A setting is out of range.

    Example:
        >>> row = MaskRow("bear", 0, 1, (0, 0, 4, 4), "mask", "grabcut", area=16, confidence=0.9, iou=0.6, kept=True)
        >>> MaskFilter("oracle", 0.7).is_bad(row), MaskFilter("list", listed=frozenset({("bear", 1, 1)})).is_bad(row)
        (True, False)
    """

    source: Literal["oracle", "list"]
    threshold: float = 0.5
    listed: frozenset[tuple[str, int, int]] = frozenset()

    def __post_init__(self) -> None:
        if self.source not in ("oracle", "list"):
            raise ConfigError("no such filter of masks", expected="oracle or list", found=self.source)
        if not 0 < self.threshold <= 1:
            raise ConfigError("threshold of bad masks", expected="above 0, at most 1", found=self.threshold)

    @classmethod
    def from_file(cls, path: str | Path) -> MaskFilter:
        """Read a list of bad masks: a CSV with the columns `video`, `frame` and `object`, such as rows of `masks.csv`.

        Raises:
            DatasetError: The file is missing or malformed.
        """
        rows = read_csv(path, _BadMask, _BadMask.__struct_fields__).values()
        return cls("list", listed=frozenset((row.video, row.frame, row.object) for row in rows))

    @property
    def arguments(self) -> dict[str, Any]:
        """Settings that the labels depend on, JSON values only."""
        if self.source == "oracle":
            return {"filter": "oracle", "threshold": self.threshold}
        return {"filter": "list", "bad": [list(entry) for entry in sorted(self.listed)]}

    def is_bad(self, row: MaskRow) -> bool:
        """Whether the mask of a row is bad; the oracle says nothing of masks whose truth is not known."""
        if row.status == "invalid_box" or row.source == DRAWN:
            return False
        if self.source == "oracle":
            return row.iou is not None and row.iou < self.threshold
        return (row.video, row.frame, row.object) in self.listed


@dataclass(frozen=True)
class BoxSettings:
    """What is done beside segmenting each box.

    Attributes:
        finetune: Which frame of an object has a drawn mask that the method learns; `None` without drawn masks.
        seed: Seed of fine-tuning and of the choice of that frame.
        mask_filter: Which masks are bad.
        keep_soft: Store the probabilities of each object too, as `<frame>.<object>.soft.png`, 255 = 1.

    Raises:
        ConfigError: There is no such frame.
    """

    finetune: DrawnFrame | None = None
    seed: int = 0
    mask_filter: MaskFilter | None = None
    keep_soft: bool = False

    def __post_init__(self) -> None:
        if self.finetune is not None and self.finetune not in get_args(DrawnFrame):
            raise ConfigError(
                "no such frame to draw", expected=", ".join(get_args(DrawnFrame)), found=repr(self.finetune)
            )

    def is_bad(self, row: MaskRow) -> bool:
        """Whether the filter, if there is one, takes the mask of a row out."""
        return self.mask_filter is not None and self.mask_filter.is_bad(row)

    @property
    def arguments(self) -> dict[str, Any]:
        """Settings that the labels depend on, JSON values only."""
        tuning = {"finetune": self.finetune, "seed": self.seed} if self.finetune else {}
        return {**tuning, **(self.mask_filter.arguments if self.mask_filter else {}), "keep_soft": self.keep_soft}


@dataclass(frozen=True)
class FineTuning:
    """How Box2Seg learns one object, by default as it is trained.

    Attributes:
        steps: Optimiser steps on the single example.
        lr: Learning rate of Adam.
        augmentation: How the example is varied; its crop and margin are those of the prediction.
        share: Share of the hardest pixels that enter the loss.

    Raises:
        ConfigError: A setting is out of range.

    Example:
        >>> from thriftseg.labels import Box2SegSegmenter
        >>> from thriftseg.zoo import Box2Seg
        >>> tuning = FineTuning(steps=100, augmentation=BoxAugmentation(jitter=0.1))
        >>> Box2SegSegmenter(Box2Seg("resnet18", decoder_channels=16), tuning=tuning).tuning_arguments
        {'steps': 100, 'lr': 1e-05, 'share': 0.25, 'jitter': 0.1, 'flip': 0.5, 'gamma': 0.1}
    """

    steps: int = 300
    lr: float = 1e-5
    augmentation: BoxAugmentation = field(default_factory=BoxAugmentation)
    share: float = 0.25

    def __post_init__(self) -> None:
        if self.steps < 0 or self.lr <= 0:
            raise ConfigError(
                "setting of fine-tuning", expected="steps of at least 0, lr above 0", found=f"{self.steps}, {self.lr}"
            )
