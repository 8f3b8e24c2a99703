"""The outcome of drawing a mixture: samples, where their labels come from, and what those cost."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from msgspec import structs

from thriftseg.costs import AnnotationCost
from thriftseg.stores import source_order
from thriftseg.types import Frame, LabelKind, TrainingSample


@dataclass(frozen=True)
class SourceRow:
    """One line of the source/cost table.

    Attributes:
        source: Source of labels, see `thriftseg.stores.LabelSource`; or "total".
        kind: Kinds of its labels.
        samples: Number of samples.
        clips: Number of annotated frames they were drawn from.
        hours: Human work behind its labels that no line above has counted, so that the lines add up.
        clicks: Clicks in that work.
    """

    source: str
    kind: str
    samples: int
    clips: int
    hours: float
    clicks: int


@dataclass(frozen=True)
class MixtureList:
    """A drawn mixture. Printing it shows the source/cost table.

    Attributes:
        dataset: Name of the data set.
        split: Its split.
        cost_model: Name of the model that priced the actions.
        samples: The samples, ordered by clip and offset.
        actions: Cost of every human action the samples descend from, by identifier.
        rejected: Labels left out since a person has rejected them.
        motion: Pixels per frame step around every annotated frame of the split, by video and number, where frames with
            the largest motion were drawn first; otherwise `None`.

    Example:
        >>> from thriftseg.types import Clip
        >>> clip, mask = Clip("drive", dict.fromkeys((28, 29, 30))), ("manual:camvid/drive/000030",)
        >>> drawn = TrainingSample(clip, 30, 30, "manual", LabelKind.MANUAL, actions=mask)
        >>> carried = [TrainingSample(clip, n, 30, "flow", LabelKind.PROPAGATED, actions=mask) for n in (28, 29)]
        >>> cost = {mask[0]: AnnotationCost(seconds=1800, masks=1)}
        >>> print(MixtureList("camvid", "train", "polygon", [*carried, drawn], cost))
        labels of camvid/train (cost model: polygon)
        source  kind        samples  clips  hours  clicks
        manual  manual            1      1   0.50       0
        flow    propagated        2      1   0.00       0
        total                     3      1   0.50       0
    """

    dataset: str
    split: str
    cost_model: str
    samples: Sequence[TrainingSample]
    actions: Mapping[str, AnnotationCost]
    rejected: int = 0
    motion: Mapping[Frame, float] | None = None

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def licences(self) -> list[str]:
        """Licences of the weights that had a part in the labels, sorted."""
        return sorted({licence for sample in self.samples for licence in sample.licences})

    def cost(self) -> AnnotationCost:
        """Sum over the distinct human actions: a mask that feeds several samples is paid once."""
        return sum(self.actions.values(), AnnotationCost())

    def table(self) -> list[SourceRow]:
        """Samples and cost per source, the labels of the data set first, and the total last."""
        rows, paid = [], set[str]()
        for source in sorted({sample.source for sample in self.samples}, key=source_order):
            samples = [sample for sample in self.samples if sample.source == source]
            new = {action for sample in samples for action in sample.actions} - paid
            paid |= new
            rows.append(_summarise(source, samples, sum((self.actions[a] for a in sorted(new)), AnnotationCost())))
        return [*rows, _summarise("total", self.samples, self.cost())]

    def as_rows(self) -> list[dict[str, str | int | float]]:
        """One printable row per sample."""
        rows: list[dict[str, str | int | float]] = [
            {
                "id": sample.id,
                "offset": sample.offset,
                "annotated": sample.annotated,
                "source": sample.source,
                "kind": sample.kind.label,
                "weight": sample.weight,
                "label": str(sample.label) if sample.label is not None else f"{len(sample.points or ())} clicks",
            }
            for sample in self.samples
        ]
        if self.motion is not None:
            for row, sample in zip(rows, self.samples, strict=True):
                row["motion"] = round(self.motion[sample.clip.video, sample.annotated], 3)
        return rows

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint: table, cost, a digest that tells lists apart, and licences."""
        licences = {"licences": self.licences} if self.licences else {}
        return {
            "dataset": self.dataset,
            "split": self.split,
            "cost_model": self.cost_model,
            "table": [asdict(row) for row in self.table()],
            "cost": structs.asdict(self.cost()),
            "digest": self.digest(),
            **licences,
        }

    def digest(self) -> str:
        """SHA-256 of which frame gets which label at which weight; independent of where files lie."""
        lines = [f"{s.id} {s.annotated} {s.source} {s.kind.label} {s.weight!r}" for s in self.samples]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def __str__(self) -> str:
        head = ("source", "kind", "samples", "clips", "hours", "clicks")
        cells = [
            (row.source, row.kind, str(row.samples), str(row.clips), f"{row.hours:.2f}", str(row.clicks))
            for row in self.table()
        ]
        widths = [max(len(line[column]) for line in [head, *cells]) for column in range(len(head))]
        lines = [
            "  ".join(
                cell.ljust(width) if column < 2 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            for line in [head, *cells]
        ]
        if self.rejected:
            lines.append(f"{self.rejected} rejected labels are left out")
        unseen = sum(sample.needs_review for sample in self.samples)
        if unseen:
            lines.append(f"{unseen} labels need a review that nobody has made")
        if self.licences:
            lines.append(f"labels made with weights under {', '.join(self.licences)}")
        if self.motion:
            drawn = fmean(self.motion[frame] for frame in {(s.clip.video, s.annotated) for s in self.samples})
            lines.append(
                f"clips with the largest motion first: {drawn:.2f} pixels per frame step on average, "
                f"{fmean(self.motion.values()):.2f} in the whole split"
            )
        return "\n".join([f"labels of {self.dataset}/{self.split} (cost model: {self.cost_model})", *lines])


def _summarise(source: str, samples: Sequence[TrainingSample], cost: AnnotationCost) -> SourceRow:
    kinds: set[LabelKind] = {sample.kind for sample in samples}
    return SourceRow(
        source=source,
        kind="+".join(kind.label for kind in sorted(kinds)) if source != "total" else "",
        samples=len(samples),
        clips=len({(sample.clip.video, sample.annotated) for sample in samples}),
        hours=cost.hours,
        clicks=cost.clicks,
    )
