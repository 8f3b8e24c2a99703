"""How well generated labels agree with manual ones of the same frames."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from thriftseg.arrays import Float64Array, Int64Array, UInt8Array
from thriftseg.metrics import class_iou, class_totals, mean_of_known, ratio
from thriftseg.types import IGNORE_INDEX


@dataclass(frozen=True)
class Agreement:
    """Pixels counted by true and by generated class; add several frames with `sum`.

    Attributes:
        counts: (C, C + 1) int64, true class by generated class; the last column is ignored pixels.

    Example:
        >>> truth = np.array([[0, 0, 1, 1]], np.uint8)
        >>> frames = [Agreement.of(truth, np.array([label], np.uint8), 2) for label in ([0, 0, 1, 1], [0, 0, 0, 255])]
        >>> pooled = Agreement.sum(frames)
        >>> pooled.iou.tolist(), pooled.ignored_share
        ([0.8, 0.5], 0.125)
    """

    counts: Int64Array

    @classmethod
    def of(cls, truth: UInt8Array, label: UInt8Array, num_classes: int) -> Agreement:
        """Compare two label maps of train ids, (H, W) uint8; pixels that are 255 in `truth` do not count.

        Example:
            >>> truth = np.array([[0, 0, 1, 255]], np.uint8)
            >>> found = Agreement.of(truth, np.array([[0, 255, 1, 1]], np.uint8), num_classes=2)
            >>> found.miou, found.kept_miou, round(found.ignored_share, 3)
            (0.75, 1.0, 0.333)
        """
        known = truth != IGNORE_INDEX
        cells = truth[known].astype(np.int64) * (num_classes + 1) + np.minimum(label[known], num_classes)
        counts = np.bincount(cells, minlength=num_classes * (num_classes + 1))
        return cls(counts.reshape(num_classes, num_classes + 1))

    @classmethod
    def sum(cls, parts: Iterable[Agreement]) -> Agreement:
        """Pool frames; there must be at least one."""
        return cls(np.sum([part.counts for part in parts], axis=0))

    @property
    def iou(self) -> Float64Array:
        """IoU per class, (C,), ignored pixels counted as wrong; NaN for classes that do not occur."""
        return class_iou(class_totals(self.counts))

    @property
    def kept(self) -> Agreement:
        """The same over the pixels that carry a label."""
        return Agreement(np.pad(self.counts[:, :-1], ((0, 0), (0, 1))))

    @property
    def kept_iou(self) -> Float64Array:
        """IoU per class, (C,), over the pixels that carry a label; NaN for classes that do not occur there."""
        return self.kept.iou

    @property
    def kept_share(self) -> Float64Array:
        """Share of the pixels of each true class that carry a label, (C,); NaN for classes that do not occur."""
        return ratio(self.counts[:, :-1].sum(axis=1), self.counts.sum(axis=1))

    @property
    def precision(self) -> Float64Array:
        """Share of the pixels labelled as each class that are of it, (C,); NaN for classes that are not found."""
        return ratio(self.counts.diagonal(), self.counts[:, :-1].sum(axis=0))

    @property
    def kept_accuracy(self) -> float:
        """Share of the pixels with a label that are right; NaN without any."""
        return float(ratio(self.counts.trace(), self.counts[:, :-1].sum()))

    @property
    def miou(self) -> float:
        """Mean of `iou` over the classes that occur; NaN without labelled pixels."""
        iou = self.iou
        return float(mean_of_known(iou[~np.isnan(iou)]))  # cut out first: the order of adding moves the last digit

    @property
    def kept_miou(self) -> float:
        """Mean of `kept_iou` over the classes that occur; NaN without any."""
        return self.kept.miou

    @property
    def ignored_share(self) -> float:
        """Share of the pixels with a true label that carry no generated one."""
        return float(self.counts[:, -1].sum() / max(1, self.counts.sum()))
