"""The outcome of an evaluation, and its files."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from thriftseg.arrays import Int64Array
from thriftseg.atomic import write_bytes


@dataclass(frozen=True)
class Score:
    """A pooled score and its 95 % bootstrap interval.

    Attributes:
        value: The score.
        low: Lower end; NaN without an interval.
        high: Upper end; NaN without an interval.
        unit: What was drawn: `video`, or `second` where there are few videos.
        units: How many there are.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    unit: str = "video"
    units: int = 0


@dataclass(frozen=True)
class VideoResult:
    """Scores of one video.

    Attributes:
        video: Name of the video.
        frames: Frames compared with their label.
        pairs: Pairs of adjacent frames compared.
        scores: Scores by name.
    """

    video: str
    frames: int
    pairs: int
    scores: dict[str, float]


@dataclass(frozen=True)
class ObjectResult:
    """Scores of one object over its video.

    Attributes:
        video: Name of the video.
        object: Id of the object.
        scores: `j`, `f` and `jf`, and recall and decay of J and F.
    """

    video: str
    object: int
    scores: dict[str, float]


@dataclass(frozen=True)
class EvaluationReport:
    """Scores of a folder of predictions.

    Attributes:
        settings: Arguments of `evaluate`, and what it chose where they left it open.
        version: Version of thriftseg.
        frames: Frames compared with their label.
        pairs: Pairs of adjacent frames compared for temporal consistency.
        videos: Number of videos.
        scores: Pooled scores by name: `miou`, `macc`, `pixel_accuracy`, `fwiou`, `boundary_iou`, `tc`, `jf`, `j`, `f`,
            `j_recall`, ...
        class_names: Names in train id order; empty where only objects are scored.
        per_class: `iou`, `accuracy`, `boundary_iou` and `tc` of each class; NaN for absent ones.
        per_category: IoU per category of classes, where the class table has categories.
        per_video: Scores of each video, by name.
        per_object: Scores of each object.
        confusion: (C, C + 1) pixels by true and predicted class, as from `confusion_matrix`.
        flow: What estimated the flow of temporal consistency.
        warnings: What a reader of the scores should know.

    Example:
        >>> videos = [VideoResult("drive", 2, 0, {"miou": 0.75}), VideoResult("park", 4, 0, {"miou": 0.5})]
        >>> report = EvaluationReport({}, "1.0", 6, 0, 2, {"miou": Score(0.625)}, per_video=videos)
        >>> [row.video for row in report.worst_first()], json.loads(report.to_json())["scores"]["miou"]["value"]
        (['park', 'drive'], 0.625)
    """

    settings: dict[str, Any]
    version: str
    frames: int
    pairs: int
    videos: int
    scores: dict[str, Score]
    class_names: list[str] = field(default_factory=list)
    per_class: dict[str, list[float]] = field(default_factory=dict)
    per_category: dict[str, float] = field(default_factory=dict)
    per_video: list[VideoResult] = field(default_factory=list)
    per_object: list[ObjectResult] = field(default_factory=list)
    confusion: Int64Array | None = None
    flow: str | None = None
    warnings: tuple[str, ...] = ()

    def worst_first(self) -> list[VideoResult]:
        """The videos by their first score, worst first; those without a score last."""
        main = next(iter(self.scores))

        def rank(row: VideoResult) -> tuple[bool, float]:
            value = row.scores.get(main, math.nan)
            return math.isnan(value), value if not math.isnan(value) else 0.0

        return sorted(self.per_video, key=rank)

    def to_json(self) -> str:
        """Everything as JSON; what has no value is null."""
        content = asdict(self)
        content["confusion"] = None if self.confusion is None else self.confusion.tolist()
        return json.dumps(_plain(content), indent=2) + "\n"

    def write(self, out: str | Path) -> None:
        """Write the files of a report; each is there in full or not at all, `report.json` last.

            per_class.csv   per_video.csv   per_object.csv   confusion.png   report.json

        Args:
            out: Folder for them. Files of an earlier report that this one lacks are removed.
        """
        out = Path(out)
        of_classes = [
            [name, *(column[index] for column in self.per_class.values())]
            for index, name in enumerate(self.class_names)
        ]
        of_videos = [[row.video, row.frames, row.pairs, *row.scores.values()] for row in self.per_video]
        of_objects = [[row.video, row.object, *row.scores.values()] for row in self.per_object]
        video_scores, object_scores = (
            list(rows[0].scores) if rows else [] for rows in (self.per_video, self.per_object)
        )
        contents = {
            "per_class.csv": _csv(["class", *self.per_class], of_classes) if self.per_class else None,
            "per_video.csv": _csv(["video", "frames", "pairs", *video_scores], of_videos),
            "per_object.csv": _csv(["video", "object", *object_scores], of_objects) if self.per_object else None,
            "confusion.png": None,
            "report.json": self.to_json().encode(),
        }
        if self.confusion is not None:
            from thriftseg.reports.scoring.confusion_picture import draw_confusion

            contents["confusion.png"] = draw_confusion(self.confusion, self.class_names)
        for name, content in contents.items():
            if content is None:
                (out / name).unlink(missing_ok=True)
            else:
                write_bytes(out / name, content)


def _csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(["" if isinstance(cell, float) and math.isnan(cell) else cell for cell in row] for row in rows)
    return stream.getvalue().encode()


def _plain(value: Any) -> Any:
    """The same as plain values of JSON."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value
