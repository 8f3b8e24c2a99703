"""Labels of the frames of a split from words alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from thriftseg.datasets import VideoDataset
from thriftseg.errors import ConfigError
from thriftseg.labels.jobs.generate import generate
from thriftseg.labels.jobs.job import FrameJob, LabelTask
from thriftseg.labels.jobs.summary import Summary
from thriftseg.labels.propagation.plan import plan_propagation
from thriftseg.labels.text.concepts import ConceptFinder
from thriftseg.labels.text.painting import paint_objects
from thriftseg.labels.text.words import class_thresholds
from thriftseg.stores import LabelStore, store_root
from thriftseg.types import IGNORE_INDEX, LabelKind
from thriftseg.workers import Workers


@dataclass(frozen=True, kw_only=True)
class TextSummary(Summary):
    """What `label_text` did.

    Attributes:
        empty: Frames in which nothing was found, over all labels of this call.
        licence: Licence of the weights; `None` where it is not known.

    Example:
        >>> summary = TextSummary(Path("text"), written=8, kept=0, ignored_share=0.5, empty=0, licence="sam-license")
        >>> print(summary)
        8 labels written to text, 0 were there already; 50.0 % of their pixels carry no label
        nobody has looked at them yet: thriftseg label review --source text
        made with weights under sam-license, as networks trained on them will say
    """

    empty: int
    licence: str | None

    def __str__(self) -> str:
        lines = [super().__str__() + (f"; {self.empty} frames show nothing of it" if self.empty else "")]
        lines.append(f"nobody has looked at them yet: thriftseg label review --source {self.folder.name}")
        if self.licence is not None:
            lines.append(f"made with weights under {self.licence}, as networks trained on them will say")
        return "\n".join(lines)


def label_text(
    dataset: VideoDataset,
    split: str,
    weights: str | Path,
    words: Mapping[str, Sequence[str]],
    *,
    threshold: float = 0.5,
    thresholds: dict[str, float] | None = None,
    background: str | None = None,
    every: int = 1,
    offsets: str | int | None = None,
    on_missing: Literal["error", "skip"] = "error",
    licence: str | None = None,
    mixed_precision: bool = True,
    store: str | Path | None = None,
    source: str = "text",
    **workers: Any,
) -> TextSummary:
    """Label frames with the objects that words name.

    Every pixel goes to the object of the highest score; the confidence of a label is the mean score of its pixels.
    The labels cost no time of a person and need a review (`thriftseg label review`). A killed run goes on where it
    stopped when it is started again.

    Args:
        dataset: The data set; it needs no labels.
        split: Its split.
        weights: Weights of SAM 3: a folder, or an id of the Hugging Face hub such as facebook/sam3.
        words: Words by class, see `class_words`.
        threshold: Objects of a higher score count, 0..1.
        thresholds: The same for single classes, such as '{car: 0.4}'.
        background: Class of the pixels that belong to no object, which is not looked for; without one they are 255.
        every: Label every such frame of a clip.
        offsets: Label frames at these offsets from annotated ones instead, such as `-10..10`.
        on_missing: error, or skip to leave out offsets at which a clip has no frame.
        licence: Licence of the weights; by default what their repository states.
        mixed_precision: Compute in bfloat16 on CUDA.
        store: Folder of the label store; `labels/<dataset>` when absent.
        source: Name of the labels in the store.
        workers: Those of `thriftseg.workers.Workers`: `devices`, `accelerator`, `engine` and so on.

    Raises:
        ConfigError: A class is unknown, a setting is out of range, or the extra `hf` is not installed.
        CheckpointError: The weights are missing, damaged, cannot be fetched, or belong to another network.
        LabelStoreError: The source holds labels that were made in another way, or a process died.
        UnfinishedError: Some labels could not be made (the others are stored).
    """
    names = dataset.taxonomy.class_names
    if background is not None and background not in names:
        raise ConfigError("background is no class", expected=", ".join(names), found=background)
    for name, each in words.items():
        if name not in names or isinstance(each, str):
            found = f"{name}: {each}"
            raise ConfigError("words by class", expected=f"lists of words for some of {', '.join(names)}", found=found)
    sought = {name: tuple(words[name]) for name in names if name in words and name != background}
    if not sought:
        raise ConfigError(
            "nothing to look for", expected="words of a class other than the background", found=background
        )
    limits = class_thresholds(list(sought), threshold, thresholds)
    tasks = _tasks(dataset, split, every, offsets, on_missing)
    by_id = {names.index(name): each for name, each in sought.items()}
    finder = ConceptFinder(weights, by_id, device="cpu", mixed_precision=mixed_precision, licence=licence)
    target = LabelStore(store_root(store, dataset.name), source, dataset.taxonomy)
    job = _TextJob(dataset, target, finder, sought, limits, background)
    frames = [(task.clip.video, number) for task in tasks for number in task.targets]

    def summarise(summary: Summary, _: object) -> TextSummary:
        rows = [job.store.labels[frame] for frame in frames if frame in job.store.labels]
        return TextSummary(**vars(summary), empty=sum(row.confidence == 0 for row in rows), licence=finder.licence)

    return generate(job, tasks, Workers(shared=True, **workers), summarise)


def _tasks(
    dataset: VideoDataset,
    split: str,
    every: int,
    offsets: str | int | None,
    on_missing: Literal["error", "skip"],
) -> list[LabelTask]:
    """One task per frame."""
    if every < 1 or (every > 1 and offsets is not None):
        found = f"{every}" if offsets is None else f"every {every} and offsets {offsets}"
        raise ConfigError("which frames to label", expected="every at least 1, or offsets", found=found)
    clips = dataset.clips(split)
    if offsets is None:
        return [LabelTask(clip, (number,)) for clip in clips for number in list(clip.frames)[::every]]
    if not any(clip.annotated for clip in clips):
        raise ConfigError(
            f"split {split!r} of {dataset.name} has no annotated frames",
            found=f"offsets {offsets}",
            fix="leave them out",
        )
    planned = plan_propagation(clips, offsets, include_annotated=True, on_missing=on_missing).tasks
    return [LabelTask(task.clip, (number,)) for task in planned for number in task.targets]


class _TextJob(FrameJob[LabelTask]):
    """Labels one frame."""

    dataset: VideoDataset

    def __init__(
        self,
        dataset: VideoDataset,
        store: LabelStore,
        finder: ConceptFinder,
        words: Mapping[str, Sequence[str]],
        thresholds: Mapping[str, float],
        background: str | None,
    ) -> None:
        asked = {name: list(each) for name, each in words.items()}
        settings = {"words": asked, "thresholds": dict(thresholds), "background": background}
        super().__init__(
            dataset,
            store,
            "thriftseg.labels.text.generate",
            {**finder.arguments, **settings},
            method=finder,
            description="labels from words",
        )
        names = dataset.taxonomy.class_names
        self._finder = finder
        self._thresholds = {names.index(name): value for name, value in thresholds.items()}
        self._background = IGNORE_INDEX if background is None else names.index(background)

    def make(self, task: LabelTask, number: int) -> None:
        frame = self.dataset.read_frame(task.clip, number)
        found = self._finder.find(frame, self._thresholds)
        painted = paint_objects(found, (frame.shape[0], frame.shape[1]), self._background)
        self.write(task, number, painted.label, LabelKind.TEXT, (), painted.confidence, needs_review=True)
