"""Labels of a task on a CVAT server: what people drew there is propagated, and what that makes goes back."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from thriftseg.datasets import VideoDataset
from thriftseg.errors import ConfigError
from thriftseg.exchange import CVATTask, FrameNames, ImportSummary, exported_frame, import_labels
from thriftseg.labels.propagation.again import RepropagationSummary, label_repropagate
from thriftseg.labels.propagation.propagators.protocol import Propagator
from thriftseg.stores import LabelSource, store_root


@dataclass(frozen=True)
class SyncSummary:
    """What `sync_cvat` did.

    Attributes:
        drawn: What came from the server.
        propagated: What was made of it.
        frames: Frames whose shapes of a machine were replaced on the server.
        shapes: Shapes that are there now.

    Example:
        >>> from thriftseg.costs import AnnotationCost
        >>> drawn = ImportSummary(Path("cvat"), 2, 0, empty=0, ignored_share=0.5, cost=AnnotationCost(seconds=900))
        >>> flow = RepropagationSummary(Path("cvat-flow"), written=8, kept=0, ignored_share=0.5, corrected=2, locked=0)
        >>> print(SyncSummary(drawn, flow, frames=8, shapes=24))
        2 labels written to cvat (0.25 h), 0 were there already; 50.0 % of their pixels carry no label
        8 labels of cvat-flow made again from 2 corrected frames
        24 shapes in 8 frames sent to the server
    """

    drawn: ImportSummary
    propagated: RepropagationSummary
    frames: int
    shapes: int

    def __str__(self) -> str:
        sent = f"{self.shapes} shapes in {self.frames} frames sent to the server"
        return "\n".join([str(self.drawn), str(self.propagated), sent])


def sync_cvat(
    dataset: VideoDataset,
    split: str,
    task: CVATTask,
    propagator: Propagator,
    *,
    reach: int = 10,
    source: str = "cvat",
    machine: str | None = None,
    store: str | Path | None = None,
    seconds_per_frame: float | None = None,
    devices: int = 1,
    progress: bool = True,
) -> SyncSummary:
    """Fetch what people drew in a task, propagate it, and put the result in the place of what a machine made there.

    Shapes that people drew or changed are never touched on the server, and frames that have any get none of a machine.
    Locked labels stay as they are. Doing it again after some more was drawn makes only those labels again that this can
    reach; a run that was cut off goes on when it is started again.

    Args:
        dataset: The data set, whose frames the task shows.
        split: Its split.
        task: The task.
        propagator: Carries what was drawn to other frames.
        reach: How many frames from a drawn one labels are made, to both sides.
        source: Source of the label store for what people drew.
        machine: Source for what is made of it; the two names joined if unset.
        store: Folder of the label store; `labels/<dataset>` when absent.
        seconds_per_frame: Working time per drawn frame, where it was measured.
        devices: Number of GPUs or CPU processes.
        progress: Whether to show progress bars.

    Raises:
        ConfigError: The server cannot be reached, or refuses, or `reach` is below 1.
        DatasetError: The task does not fit the data set.
        LabelStoreError: The sources hold labels that were made in another way.
        UnfinishedError: Some labels could not be made (the others are stored, and nothing was sent).
    """
    if reach < 1:
        raise ConfigError("reach", expected="at least 1 frame", found=reach)
    machine = machine or f"{source}-{propagator.name}"
    root = store_root(store, dataset.name)
    with tempfile.TemporaryDirectory() as scratch:
        drawn = import_labels(
            dataset,
            split,
            task.download(Path(scratch)),
            "cvat",
            source=source,
            store=root,
            seconds_per_frame=seconds_per_frame,
            drawn_only=True,
            progress=progress,
        )
    labelled = {(label.clip.video, label.number) for label in LabelSource(dataset, root, source).labels(split)}
    within: dict[str, list[int]] = {}
    for clip in dataset.clips(split):
        numbers = sorted(clip.frames)
        starts = [place for place, number in enumerate(numbers) if (clip.video, number) in labelled]
        if starts:
            near = {place for start in starts for place in range(start - reach, start + reach + 1)}
            within[clip.video] = [number for place, number in enumerate(numbers) if place in near]
    propagated = label_repropagate(
        dataset,
        split,
        machine,
        source,
        store=root,
        propagator=propagator,
        frames=within,
        devices=devices,
        progress=progress,
    )
    made = LabelSource(dataset, root, machine)
    labels = [label for label in made.labels(split) if (label.clip.video, label.number) not in labelled]
    frames = (exported_frame(made, label, "class") for label in labels)
    names = FrameNames(dataset.clips(split), dataset.root)
    shapes = task.upload(frames, names, dataset.taxonomy, drawn=labelled)
    return SyncSummary(drawn, propagated, len(labels), shapes)
