"""A generator as its author would write it: manual labels moved to the right."""

from __future__ import annotations

from pathlib import Path

from tests.labels.propagation.known_motion import shifted
from thriftseg.costs import CostModel
from thriftseg.datasets import VideoDataset
from thriftseg.labels import FrameJob, LabelTask, Summary, annotated_frames, generate
from thriftseg.stores import LabelStore, action_id
from thriftseg.types import IGNORE_INDEX, LabelKind
from thriftseg.workers import Workers


class ShiftJob(FrameJob[LabelTask]):
    """Moves the label of one frame."""

    dataset: VideoDataset

    def __init__(self, dataset: VideoDataset, store: LabelStore, columns: int, cost_model: str | CostModel) -> None:
        super().__init__(dataset, store, "shift", {"columns": columns}, cost_model=cost_model, description="shift")

    def make(self, task: LabelTask, number: int) -> None:
        label = shifted(self.dataset.read_label(task.clip, number), self.arguments["columns"], IGNORE_INDEX)
        parents = [action_id("manual", self.dataset.name, task.clip.video, number)]
        self.write(task, number, label, LabelKind.PROPAGATED, parents)


def label_shift(
    dataset: VideoDataset,
    split: str,
    columns: int,
    *,
    store: Path,
    source: str = "shifted",
    cost_model: str | CostModel = "polygon",
    workers: Workers | None = None,
) -> Summary:
    """Move the manual labels of a split to the right."""
    job = ShiftJob(dataset, LabelStore(store, source, dataset.taxonomy), columns, cost_model)
    return generate(job, annotated_frames(dataset, split), workers or Workers(accelerator="cpu"))
