"""Refining the coarse labels of a split, and what became of every instance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np

from thriftseg.arrays import UInt8Array
from thriftseg.atomic import write_bytes
from thriftseg.datasets import Regions, VideoDataset, draw_regions, read_polygons
from thriftseg.errors import ConfigError
from thriftseg.labels.jobs.generate import generate
from thriftseg.labels.jobs.job import FrameJob, RelabelTask
from thriftseg.labels.jobs.summary import Summary
from thriftseg.labels.refining.coarse import polygon_path
from thriftseg.labels.refining.instances import (
    Refined,
    RefineRule,
    instances_of,
    label_by_automatic_masks,
    refine_instances,
    regions_of_map,
    write_back,
)
from thriftseg.labels.refining.prompters.protocol import MaskGenerator, Prompter
from thriftseg.parsing import read_json
from thriftseg.stores import LabelSource, LabelStore, SourceLabel, store_root
from thriftseg.taxonomies import Taxonomy
from thriftseg.types import Clip, LabelKind
from thriftseg.workers import Workers

REFINED_CLASSES = ("pole", "traffic light", "traffic sign", "person", "rider", "car", "motorcycle", "bicycle")
"""The classes of Cityscapes that are refined by default."""


@dataclass(frozen=True, kw_only=True)
class RefineSummary(Summary):
    """What `label_refine` did.

    Attributes:
        instances: Instances or automatic masks looked at, over all labels of this call.
        accepted: Those that were written.

    Example:
        >>> summary = RefineSummary(Path("fine"), written=2, kept=0, ignored_share=0.25, instances=9, accepted=7)
        >>> str(summary).split("; ")[1:]
        ['7 of 9 masks accepted', '25.0 % of the pixels carry no label']
    """

    instances: int
    accepted: int

    def __str__(self) -> str:
        return (
            f"{self.written} refined labels written to {self.folder}, {self.kept} were there already; "
            f"{self.accepted} of {self.instances} masks accepted; "
            f"{100 * self.ignored_share:.1f} % of the pixels carry no label"
        )


def class_ids(taxonomy: Taxonomy, names: Sequence[str] | None) -> tuple[int, ...]:
    """Train ids of class names; of `REFINED_CLASSES`, as far as the table has them, when absent.

    Raises:
        ConfigError: The table lacks a name, or all of the default ones.
    """
    known = {name: index for index, name in enumerate(taxonomy.class_names)}
    wanted = [name for name in REFINED_CLASSES if name in known] if names is None else list(names)
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        raise ConfigError(
            f"classes to refine in {taxonomy.name!r}",
            expected=f"some of {', '.join(known)}",
            found=", ".join(unknown) or "none",
            fix="name them with --classes",
        )
    return tuple(known[name] for name in wanted)


def label_refine(
    dataset: VideoDataset,
    split: str,
    prompter: Prompter | MaskGenerator,
    *,
    automatic: bool = False,
    outline: bool = False,
    coarse: str = "coarse",
    classes: Sequence[str] | None = None,
    rule: RefineRule | None = None,
    seed: int = 0,
    store: str | Path | None = None,
    source: str | None = None,
    **workers: Any,
) -> RefineSummary:
    """Refine the coarse labels of a split.

    Instances are the polygons of a coarse label, or, where only a map exists, what `regions_of_map` finds. Beside each
    refined map lies `<frame>.instances.json`, which says what became of every instance. A killed run goes on where it
    stopped when it is started again.

    Args:
        dataset: The data set.
        split: Its split.
        prompter: Makes the masks, see `create_prompter`.
        automatic: Give classes to masks that the prompter finds without prompts, instead of refining instances.
        outline: Prompt with the polygon as a mask too, as GrabCut needs it and networks do not.
        coarse: Source of the coarse labels: "coarse" for those of the data set, or a source of the label store.
        classes: Names of the classes to refine; `REFINED_CLASSES` when absent. Automatic masks take all classes.
        rule: How masks are written back.
        seed: Seed of the points; every instance has its own.
        store: Folder of the label store; `labels/<dataset>` when absent.
        source: Name of the labels in the store; `<coarse>_<method>` when absent.
        workers: Those of `thriftseg.workers.Workers`: `devices`, `accelerator`, `engine` and so on.

    Raises:
        ConfigError: A class or setting is unknown, or the prompter makes no automatic masks.
        LabelStoreError: There are no coarse labels, the source holds labels that were made in another way, or a process
            died.
        UnfinishedError: Some labels could not be made (the others are stored).

    Example:
        >>> import tempfile
        >>> from thriftseg.datasets import Folder, write_label_png
        >>> from thriftseg.labels import GrabCutPrompter, label_coarse
        >>> with tempfile.TemporaryDirectory() as root:
        ...     size = Path(root, "classes.yaml").write_text("classes: [{name: road}, {name: car}]")
        ...     label, store = np.zeros((48, 64), np.uint8), Path(root, "labels")
        ...     label[10:30, 20:44] = 1
        ...     write_label_png(Path(root, "train/drive/labels/7.png"), label)
        ...     write_label_png(Path(root, "train/drive/frames/7.png"), 40 + 160 * label)
        ...     coarse = label_coarse(Folder(root), "train", store=store, progress=False)
        ...     refined = label_refine(
        ...         Folder(root), "train", GrabCutPrompter(), outline=True, classes=["car"], store=store, progress=False
        ...     )
        ...     found = LabelStore(store, refined.folder.name, Folder(root).taxonomy).read("drive", 7)
        >>> refined.accepted, int((found == 1).sum()), int((label == 1).sum())
        (1, 480, 480)
    """
    if automatic and not isinstance(prompter, MaskGenerator):
        raise ConfigError("this prompter makes no masks of its own", found=prompter.name, fix="take sam2")
    root = store_root(store, dataset.name)
    given = LabelSource(dataset, root, coarse)
    labels = given.labels(split)
    settings = _Settings(
        automatic, outline, () if automatic else class_ids(dataset.taxonomy, classes), rule or RefineRule(), seed
    )
    name = f"{coarse}_{'amg' if automatic else prompter.name}" if source is None else source
    target = LabelStore(root, name, dataset.taxonomy)
    job = _RefineJob(given, target, prompter, settings)

    def summarise(summary: Summary, outcomes: object) -> RefineSummary:
        paths = [job.log_path(label.clip, label.number) for label in labels]
        masks = [mask for path in paths if path.is_file() for mask in _logged_masks(path)]
        return RefineSummary(**vars(summary), instances=len(masks), accepted=sum(mask.accepted for mask in masks))

    tasks = [RelabelTask.of(label) for label in labels]
    return generate(job, tasks, Workers(shared=True, **workers), summarise)


class _LoggedMask(msgspec.Struct):
    accepted: bool


def _logged_masks(path: Path) -> list[_LoggedMask]:
    """What became of the masks of a frame."""
    return read_json(path, list[_LoggedMask], fix="delete it, and run the command again")


@dataclass(frozen=True)
class _Settings:
    automatic: bool
    outline: bool
    train_ids: tuple[int, ...]
    rule: RefineRule
    seed: int

    def arguments(self) -> dict[str, Any]:
        """What the labels depend on."""
        if self.automatic:
            return {"automatic": True}
        prompts = {"automatic": False, "outline": self.outline, "seed": self.seed}
        rule = {"shrink": self.rule.shrink, "overwrite": self.rule.beyond, "gate": self.rule.gate}
        return {**prompts, "classes": list(self.train_ids), **rule}


class _RefineJob(FrameJob[RelabelTask]):
    """Refines the label of one frame."""

    dataset: VideoDataset

    def __init__(
        self, given: LabelSource, store: LabelStore, prompter: Prompter | MaskGenerator, settings: _Settings
    ) -> None:
        method = {"coarse": given.source, "method": prompter.name, **prompter.arguments}
        super().__init__(
            given.dataset,
            store,
            "thriftseg.labels.refining.generate",
            {**method, **settings.arguments()},
            method=prompter,
            description="refined labels",
        )
        self._given, self._prompter, self._settings = given, prompter, settings

    def log_path(self, clip: Clip, number: int) -> Path:
        """Where it stands what became of every instance of a frame: beside its label map."""
        return self.store.path_of(clip.video, number).with_suffix(".instances.json")

    def is_done(self, clip: Clip, number: int) -> bool:
        return super().is_done(clip, number) and self.log_path(clip, number).is_file()

    def make(self, task: RelabelTask, number: int) -> None:
        label = self._given.read(task.label)
        frame = self.dataset.read_frame(task.clip, number)
        refine = self._automatically if self._settings.automatic else self._by_instances
        refined, log = refine(task.label, label, frame)
        write_bytes(self.log_path(task.clip, number), (json.dumps(log) + "\n").encode())
        scores = [entry["scores"][-1] for entry in log if "scores" in entry]
        confidence = float(np.clip(np.mean(scores), 0, 1)) if scores else None
        actions = self._given.recorded_actions(task.label)
        self.write(task, number, refined, LabelKind.REFINED, task.label.actions, confidence, actions)

    def _by_instances(
        self, task: SourceLabel, label: UInt8Array, frame: UInt8Array
    ) -> tuple[UInt8Array, list[dict[str, Any]]]:
        train_ids, rule = self._settings.train_ids, self._settings.rule
        instances = instances_of(self._regions(task, label), train_ids)
        seed = f"{self._settings.seed}/{task.clip.video}/{task.number}"
        prompter = cast("Prompter", self._prompter)
        image = prompter.embed(frame) if instances else None
        outline = self._settings.outline
        refined = (
            [] if image is None else refine_instances(instances, image, gate=rule.gate, seed=seed, outline=outline)
        )
        names = self.dataset.taxonomy.class_names
        return write_back(label, refined, train_ids, rule), [_record(entry, names) for entry in refined]

    def _automatically(
        self, task: SourceLabel, label: UInt8Array, frame: UInt8Array
    ) -> tuple[UInt8Array, list[dict[str, Any]]]:
        names = self.dataset.taxonomy.class_names
        refined, decisions = label_by_automatic_masks(
            label, cast("MaskGenerator", self._prompter).automatic_masks(frame)
        )
        return refined, [
            {"area": area, "accepted": train_id is not None, "class": None if train_id is None else names[train_id]}
            for area, train_id in decisions
        ]

    def _regions(self, task: SourceLabel, label: UInt8Array) -> Regions:
        clip, number = task.clip, task.number
        if self._given.is_given(clip):
            drawn = self.dataset.read_coarse_regions(clip, number)
            instances = self.dataset.read_coarse_instances(clip, number)
        else:
            path = polygon_path(self._given.store, clip.video, number)
            drawn = draw_regions(read_polygons(path), self.dataset.taxonomy) if path.is_file() else None
            instances = None
        return drawn or regions_of_map(label, instances, self._settings.train_ids)


def _record(entry: Refined, names: Sequence[str]) -> dict[str, Any]:
    """What became of an instance, as a JSON object."""
    return {
        "class": names[entry.instance.train_id],
        "place": entry.instance.place,
        "points": entry.points.astype(int).tolist(),
        "scores": [round(score, 6) for score in entry.scores],
        "area_before": int(np.count_nonzero(entry.instance.mask)),
        "area_after": int(np.count_nonzero(entry.mask)),
        "accepted": entry.accepted,
    }
