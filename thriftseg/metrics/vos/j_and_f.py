"""J and F of the objects of whole data sets.

J is intersection over union, F compares outlines; `thriftseg.metrics.vos.boundary_f` defines both on a frame, and
`thriftseg.metrics.vos.protocols` tells which frames and objects count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from thriftseg.arrays import Float64Array, UInt8Array
from thriftseg.errors import ConfigError, DatasetError
from thriftseg.metrics.confusion import check_same_shape
from thriftseg.metrics.gathering import RowMetric
from thriftseg.metrics.joint_histogram import as_uint8
from thriftseg.metrics.vos.boundary_f import check_bound_th
from thriftseg.metrics.vos.protocols import VOSProtocol, score_sequence


@dataclass(frozen=True)
class FrameStatistics:
    """Summary of the values of an object in its scored frames.

    Attributes:
        mean: Mean value.
        recall: Share of frames with a value above 0.5.
        decay: Mean of the first quarter of the frames minus mean of the last.

    Example:
        >>> from thriftseg.metrics import frame_statistics
        >>> statistics = frame_statistics(np.array([1.0, np.nan, 0.5, 0.25]))
        >>> statistics.recall, round(statistics.mean, 4)  # 1 frame of 4, and 1.75 / 3
        (0.25, 0.5833)
    """

    mean: float
    recall: float
    decay: float


def frame_statistics(values: Sequence[float] | Float64Array) -> FrameStatistics:
    """Mean, recall and decay of values per frame.

    Quarters end at `round(linspace(1, n, 5) + 1e-10)`, counted from 1, and share the frames at their ends. NaN is left
    out of mean and decay, and is not above 0.5.

    Args:
        values: Values of n frames. Without any, all statistics are NaN.

    Example:
        >>> frame_statistics([1.0, 0.75, 0.5, 0.25])
        FrameStatistics(mean=0.625, recall=0.5, decay=0.5)
    """
    array = np.asarray(values, np.float64)
    if not array.size:
        return FrameStatistics(math.nan, math.nan, math.nan)
    edges = np.round(np.linspace(1, array.size, 5) + 1e-10).astype(np.int64) - 1
    first, last = array[: edges[1] + 1], array[edges[3] :]
    return FrameStatistics(_mean(array), float((array > 0.5).mean()), _mean(first) - _mean(last))


def _mean(values: Float64Array) -> float:
    """Mean without NaN; NaN where nothing else is left."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else math.nan


_SCORES = ("j_mean", "j_recall", "j_decay", "f_mean", "f_recall", "f_decay")
_FIELDS = (*_SCORES, "object", "frames", "seen", "name_bytes")


def _means(rows: Tensor) -> dict[str, Tensor]:
    """Means over objects, (N, fields); an object without a scored frame is left out."""
    means = dict(zip(_SCORES, rows[:, : len(_SCORES)].nanmean(dim=0), strict=True))
    return {"jf_mean": (means["j_mean"] + means["f_mean"]) / 2, **means}


def _table(means: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in means.items()}


class JAndF(RowMetric):
    """Region similarity J and contour accuracy F of video objects [0], as measured by the DAVIS benchmark [1].

    Every object has mean, recall and decay of its frames (`frame_statistics`); the scores of a data set are means over
    the objects of all sequences. The protocol decides what counts:

    - "davis": the semi-supervised challenge. Objects are 1 to the largest id of the first true frame; the first and the
      last frame are not scored. At least three frames.
    - "davis_unsupervised": all frames. Up to 20 proposals, whose ids mean nothing, are assigned one to one to the
      objects so that the mean of (J + F) / 2 is largest [2]. Void pixels are left out.
    - "all_frames": all frames, all ids that occur in the truth. Score TAO-VOS so, on the frames that have a truth.
    - "present_frames": the same, but an object counts only in frames where the truth has it, as EVA-VOS [3] does.
    - "youtube_vos": from the frame after an object's first appearance on [4], for objects may enter late. J and F of
      objects of seen and of unseen categories are given, too, and their mean, `overall`.

    An object that is absent from truth and prediction scores 1 in that frame; an object without a scored frame is left
    out of the means. Truth 255 is background, unless void pixels are left out; these are cleared from prediction and
    truth before outlines are taken. Ids that only the prediction has are an error, except for proposals.

    [0] Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation", CVPR 2016
    [1] https://github.com/davisvideochallenge/davis2017-evaluation
    [2] Caelles et al., "The 2019 DAVIS Challenge on VOS: Unsupervised Multi-Object Segmentation", arXiv 1905.00737
    [3] Delatolas et al., "Learning the What and How of Annotation in Video Object Segmentation", WACV 2024
    [4] Xu et al., "YouTube-VOS: A Large-Scale Video Object Segmentation Benchmark", arXiv 1809.03327

    Args:
        protocol: Which frames and objects count.
        bound_th: Tolerance of F: a share of the image diagonal below 1 (rounded up to pixels), else pixels.
        ignore_void: Leave pixels with truth 255 out; `None` does what the protocol does.

    Raises:
        ConfigError: The protocol is unknown, or `bound_th` is not above 0.

    Example:
        >>> target = torch.zeros(4, 6, 8, dtype=torch.uint8)
        >>> target[:, 1:4, 2:6] = 1
        >>> metric = JAndF(bound_th=1)
        >>> metric.update(target.roll(1, dims=2), target, "bear")
        >>> scores = metric.compute()
        >>> round(scores["j_mean"].item(), 3), round(scores["f_mean"].item(), 3), round(scores["jf_mean"].item(), 3)
        (0.6, 1.0, 0.8)
        >>> scores["per_object"]["bear"][1]["frames"]
        2
    """

    higher_is_better = True

    def __init__(
        self, protocol: VOSProtocol = "davis", bound_th: float = 0.008, ignore_void: bool | None = None
    ) -> None:
        super().__init__()
        if protocol not in get_args(VOSProtocol):
            raise ConfigError("unknown protocol", expected=", ".join(get_args(VOSProtocol)), found=protocol)
        check_bound_th(bound_th)
        self.protocol: VOSProtocol = protocol
        self.bound_th = bound_th
        self.ignore_void = ignore_void
        self.add_row_state("objects", len(_FIELDS), dtype=torch.float64)
        self.add_row_state("names", dtype=torch.uint8)  # of the sequences, one per row of objects, end to end in UTF-8

    def update(
        self,
        pred: Tensor,
        target: Tensor,
        sequence: str,
        objects: Sequence[int] | None = None,
        seen: Mapping[int, bool] | None = None,
    ) -> None:
        """Score a whole sequence.

        Args:
            pred: Predicted ids, (T, H, W), any integer type.
            target: True ids, (T, H, W).
            sequence: Its name, which no other sequence has.
            objects: Ids to score instead of those that the protocol chooses.
            seen: Whether the category of an object was seen in training; objects that are not in it belong to neither.

        Raises:
            DatasetError: See `score_sequence`.
            ValueError: The shapes differ or are not (T, H, W), or ids are not integers from 0 to 255.
        """
        check_same_shape(pred, target)
        scores = score_sequence(
            _narrow(pred),
            _narrow(target),
            protocol=self.protocol,
            objects=objects,
            bound_th=self.bound_th,
            ignore_void=self.ignore_void,
            sequence=sequence,
        )
        name, rows = sequence.encode(), []
        for entry in scores:
            j, f = frame_statistics(entry.j), frame_statistics(entry.f)
            values = (j.mean, j.recall, j.decay, f.mean, f.recall, f.decay)
            category = float((seen or {}).get(entry.object, math.nan))
            rows.append([*values, entry.object, entry.j.size, category, len(name)])  # in the order of `_FIELDS`
        self.append_rows("objects", torch.tensor(rows, dtype=torch.float64).reshape(-1, len(_FIELDS)))
        self.append_rows("names", torch.tensor(list(name) * len(rows), dtype=torch.uint8))

    def compute(self) -> dict[str, Any]:
        """The scores so far.

        Returns:
            `jf_mean`, `j_mean`, `j_recall`, `j_decay`, `f_mean`, `f_recall`, `f_decay`: float64, means over objects,
            NaN without any. For "youtube_vos" also `j_seen`, `f_seen`, `j_unseen`, `f_unseen`, `overall`.
            `per_sequence` has the first seven as floats by sequence, `per_object` by sequence and id, with the number
            of `frames`.

        Raises:
            DatasetError: A sequence was scored twice.
        """
        rows = self.rows("objects")
        by_sequence = self._rows_by_sequence(rows)
        scores: dict[str, Any] = _means(rows)
        if self.protocol == "youtube_vos":
            category = rows[:, _FIELDS.index("seen")]
            categories: dict[str, Tensor] = {}
            for name, value in (("seen", 1), ("unseen", 0)):
                means = _means(rows[category == value])
                categories |= {f"j_{name}": means["j_mean"], f"f_{name}": means["f_mean"]}
            scores |= {**categories, "overall": torch.stack(list(categories.values())).nanmean()}
        scores["per_sequence"] = {name: _table(_means(part)) for name, part in by_sequence.items()}
        object_id, frames = _FIELDS.index("object"), _FIELDS.index("frames")
        scores["per_object"] = {
            name: {int(row[object_id]): {**_table(_means(row[None])), "frames": int(row[frames])} for row in part}
            for name, part in by_sequence.items()
        }
        return scores

    def _rows_by_sequence(self, rows: Tensor) -> dict[str, Tensor]:
        """Rows of each sequence, in order of the names."""
        lengths = rows[:, _FIELDS.index("name_bytes")].long().tolist()
        names = [bytes(part.tolist()).decode() for part in self.rows("names").split(lengths)]
        parts: dict[str, list[Tensor]] = {}
        for name, row in zip(names, rows, strict=True):
            parts.setdefault(name, []).append(row)
        for name, part in parts.items():
            ids = [int(row[_FIELDS.index("object")]) for row in part]
            if len(set(ids)) < len(ids):
                raise DatasetError(
                    "sequence was scored twice", path=name, fix="give every sequence to one process, once"
                )
        return {name: torch.stack(parts[name]) for name in sorted(parts)}


def _narrow(ids: Tensor) -> UInt8Array:
    narrow = as_uint8(ids.cpu())
    if narrow is None:
        raise ValueError(f"object ids must be integers from 0 to 255, found {ids.min().item()} to {ids.max().item()}")
    return narrow
