"""A label generator as a job: what its tasks are, what it stores for them, and what its labels depend on."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from thriftseg.arrays import UInt8Array
from thriftseg.costs import CostModel
from thriftseg.datasets import ClipReader
from thriftseg.errors import LabelStoreError, ThriftsegError
from thriftseg.labels.methods import Licensed
from thriftseg.labels.propagation.propagators.protocol import MovesToDevice
from thriftseg.stores import ActionRow, LabelStore, SourceLabel
from thriftseg.taxonomies import OBJECT_IDS
from thriftseg.types import Clip, LabelKind
from thriftseg.workers import Job


@dataclass(frozen=True)
class LabelTask:
    """Frames of one clip that are labelled in one go.

    Attributes:
        clip: The clip.
        targets: Native numbers of the frames.

    Example:
        >>> LabelTask(Clip("drive", {}), targets=(7, 8)).name(8)
        'drive/000008'
    """

    clip: Clip
    targets: tuple[int, ...]

    def name(self, number: int) -> str:
        """How a message names one of the labels."""
        return f"{self.clip.video}/{number:06d}"


@dataclass(frozen=True)
class RelabelTask(LabelTask):
    """A frame whose label becomes another one.

    Attributes:
        label: The label that is there.

    Example:
        >>> from pathlib import Path
        >>> clip = Clip("drive", {7: Path("7.png")}, coarse={7: Path("7.json")})
        >>> task = RelabelTask.of(SourceLabel(clip, 7, "coarse", LabelKind.COARSE, (), clip.coarse[7]))
        >>> task.targets, task.label.kind.label
        ((7,), 'coarse')
    """

    label: SourceLabel

    @classmethod
    def of(cls, label: SourceLabel) -> RelabelTask:
        """The task of making another label from this one."""
        return cls(label.clip, (label.number,), label)


def annotated_frames(dataset: ClipReader[Any], split: str) -> list[LabelTask]:
    """One task per annotated frame of a split.

    Raises:
        LabelStoreError: There are none.

    Example:
        >>> from pathlib import Path
        >>> from thriftseg.datasets import CamVid
        >>> class Drive(CamVid):
        ...     def _scan(self, split):
        ...         paths = {number: Path(f"{number}.png") for number in range(10)}
        ...         return [Clip("drive", paths, labels={number: paths[number] for number in (8, 2)})]
        >>> [task.targets for task in annotated_frames(Drive("data"), "train")]
        [(2,), (8,)]
    """
    tasks = [LabelTask(clip, (number,)) for clip in dataset.clips(split) for number in clip.annotated]
    if not tasks:
        raise LabelStoreError(f"split {split!r} of {dataset.name} has no annotated frames", path=dataset.root)
    return tasks


@dataclass
class LabelOutcome:
    """What became of one task.

    Attributes:
        written: Labels that were stored.
        failures: One line per label that could not be made.
        notes: What the job has to say about each label that was made.

    Example:
        >>> outcome = LabelOutcome(written=1)
        >>> outcome.fail(LabelTask(Clip("drive", {}), (7, 8)), [8], ThriftsegError("no such file", path="8.png"))
        >>> outcome.failures
        ['drive/000008: 8.png: no such file']
    """

    written: int = 0
    failures: list[str] = field(default_factory=list)
    notes: list[Any] = field(default_factory=list)

    def fail(self, task: LabelTask, numbers: Collection[int], error: ThriftsegError) -> None:
        """Note labels that could not be made."""
        self.failures += [f"{task.name(number)}: {error.headline}" for number in numbers]


TaskT = TypeVar("TaskT", bound=LabelTask)
OutcomeT = TypeVar("OutcomeT", bound=LabelOutcome)


class LabelJob(Job[TaskT, OutcomeT], Generic[TaskT, OutcomeT]):
    """A label generator: `label` makes and stores the labels of a task, and `generate` does everything else.

    Args:
        dataset: Reader of the frames.
        store: Where the labels go.
        generator: Name of the generator in the manifest.
        arguments: Settings that the labels depend on, JSON values only.
        method: What is taken to the device of each process, if it is a `MovesToDevice`; labels note its licence, if
            it is `Licensed`.
        cost_model: Prices the labels of the data set that the labels descend from.
        description: Shown in front of the progress bar.

    Attributes:
        store: The store, as this process writes to it.
        shared: Whether machines that do not know of each other write to the source at the same time.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from thriftseg.datasets import CamVid
        >>> class Pairs(LabelJob[LabelTask, LabelOutcome]):
        ...     def label(self, task):
        ...         for number in task.targets:
        ...             self.write(task, number, np.full((4, 6), 3, np.uint8), LabelKind.FILLED, parents=())
        ...         return LabelOutcome(written=len(task.targets))
        >>> with tempfile.TemporaryDirectory() as root:
        ...     job = Pairs(CamVid(root), LabelStore(root, "road", CamVid.taxonomy), "pairs", {"width": 6})
        ...     outcome = job(LabelTask(Clip("drive", {}), (7, 8)))
        ...     outcome.written, job.is_done(Clip("drive", {}), 8), dict(job.store.labels["drive", 7].arguments)
        (2, True, {'width': 6})
    """

    shared: bool = False

    def __init__(
        self,
        dataset: ClipReader[Any],
        store: LabelStore,
        generator: str,
        arguments: Mapping[str, Any],
        *,
        method: object = None,
        cost_model: str | CostModel | None = None,
        description: str = "labels",
    ) -> None:
        self.dataset, self.store, self.generator, self.arguments = dataset, store, generator, dict(arguments)
        self.cost_model = None if cost_model is None else CostModel.named(cost_model)
        self.description = description
        self._method = method
        licence = method.licence if isinstance(method, Licensed) else None
        self._licences = (licence,) if licence else ()

    @abstractmethod
    def label(self, task: TaskT) -> OutcomeT:
        """Make and store the labels of a task; those that cannot be made are failures of the outcome."""

    def is_done(self, clip: Clip, number: int) -> bool:
        """Whether the label of a frame is there, with all that belongs to it."""
        return self.store.has(clip.video, number)

    def receive(self, outcome: OutcomeT) -> None:
        """Called in the process that asked for the work with each outcome, as soon as it is there."""

    def open(self, writer: str | None = None) -> None:
        """Open the store.

        Args:
            writer: Name of this process when several write at the same time, else `None`.
        """
        self.store = LabelStore(self.store.root, self.store.source, self.store.taxonomy, writer=writer)

    def start(self, device: str, writer: str | None) -> None:
        """Prepare a process."""
        self.open(writer)
        if isinstance(self._method, MovesToDevice):
            self._method.to(device)

    def __call__(self, task: TaskT) -> OutcomeT:
        """Label the frames of a task; networks compute without gradients."""
        torch: Any = sys.modules.get("torch")  # where it was not loaded, there is no network
        with torch.inference_mode() if torch else nullcontext():
            return self.label(task)

    def finish(self) -> None:
        """Merge what all processes wrote, now or in a run that was killed; not while others may still be writing."""
        if not self.shared:
            self.store.consolidate()

    def write(
        self,
        task: LabelTask,
        number: int,
        label: UInt8Array,
        kind: LabelKind,
        parents: Sequence[str],
        confidence: float | None = None,
        actions: Iterable[ActionRow] = (),
        *,
        licences: Iterable[str] = (),
        needs_review: bool = False,
    ) -> None:
        """Store the label of a frame; see `LabelStore.write`.

        Args:
            task: What the label was made for.
            number: Native frame number.
            label: (H, W) uint8, 255 = no label.
            kind: Kind of the label.
            parents: Identifiers of the human actions that it descends from.
            confidence: 0..1 as the generator defines it.
            actions: Those of the actions that the store shall record, as the data set does not have them.
            licences: Licences of what it was made with, other than those of the method and of the label that it
                replaces.
            needs_review: Whether a person has yet to look at it; holds on for labels made from one of these.
        """
        before = task.label if isinstance(task, RelabelTask) else None
        for action in actions:
            if self.store.actions.get(action.id) != action:
                self.store.record_action(action)
        self.store.write(
            task.clip.video,
            number,
            label,
            kind=kind,
            generator=self.generator,
            arguments=self.arguments,
            parents=parents,
            confidence=confidence,
            space="object_id" if self.store.taxonomy is OBJECT_IDS else "train_id",
            licences=[*self._licences, *licences, *(before.licences if before else ())],
            needs_review=needs_review or (before is not None and before.needs_review),
        )


class FrameJob(LabelJob[TaskT, LabelOutcome]):
    """A generator whose labels are made one by one.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from thriftseg.datasets import CamVid
        >>> class EvenFrames(FrameJob[LabelTask]):
        ...     def make(self, task, number):
        ...         if number % 2:
        ...             raise LabelStoreError("an odd frame")
        ...         self.write(task, number, np.full((4, 6), 3, np.uint8), LabelKind.FILLED, parents=())
        >>> with tempfile.TemporaryDirectory() as root:
        ...     job = EvenFrames(CamVid(root), LabelStore(root, "road", CamVid.taxonomy), "even frames", {})
        ...     outcome = job(LabelTask(Clip("drive", {}), (7, 8)))
        >>> outcome.written, outcome.failures
        (1, ['drive/000007: an odd frame'])
    """

    @abstractmethod
    def make(self, task: TaskT, number: int) -> Any:
        """Make and store the label of a frame.

        Returns:
            A note for whoever receives the outcome, picklable.

        Raises:
            ThriftsegError: It cannot be made.
        """

    def label(self, task: TaskT) -> LabelOutcome:
        """Make and store the labels of a task."""
        outcome = LabelOutcome()
        for number in task.targets:
            try:
                outcome.notes.append(self.make(task, number))
                outcome.written += 1
            except ThriftsegError as error:
                outcome.fail(task, [number], error)
        return outcome
