"""What jobs share that store one label per frame."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from thriftseg.datasets import VideoDataset
from thriftseg.errors import LabelStoreError, ThriftsegError
from thriftseg.labels.jobs.engine import LabelJob
from thriftseg.stores import LabelStore

Task = TypeVar("Task")


class Summary(Protocol):
    """What a command that may leave labels out tells at its end."""

    @property
    def folder(self) -> Path:
        """Folder of the source."""

    @property
    def written(self) -> int:
        """Labels made now."""

    @property
    def kept(self) -> int:
        """Labels that were there already."""

    @property
    def failures(self) -> tuple[str, ...]:
        """One line per label that could not be made."""


class UnfinishedError(LabelStoreError):
    """Some labels could not be made; the others are stored.

    Attributes:
        summary: What was done.
    """

    summary: Any


class StoringJob(LabelJob[Task, "str | None"], Generic[Task]):
    """Makes and stores the label of one frame; returns the reason where it could not be made.

    Args:
        dataset: The data set.
        root: Folder of the label store.
        source: Name of the labels in the store.
        arguments: Settings the labels depend on, JSON values only.

    Attributes:
        generator: Name of the generator in the manifest.
        device: What to compute on, as torch names it.
    """

    generator: ClassVar[str]

    def __init__(self, dataset: VideoDataset, root: Path, source: str, arguments: Mapping[str, Any]) -> None:
        self.dataset, self.arguments = dataset, dict(arguments)
        self._root, self._source = root, source
        self._store: LabelStore | None = None
        self.device = "cpu"

    @property
    def store(self) -> LabelStore:
        """The store, as this process writes to it."""
        if self._store is None:
            self._store = self._open(None)
        return self._store

    def start(self, device: str, writer: str | None) -> None:
        """Open the store under the name of this process."""
        self.device, self._store = device, self._open(writer)

    def finish(self) -> None:
        """Merge the manifests of all processes."""
        self._open(None).consolidate()

    def __call__(self, task: Task) -> str | None:
        """Make and store one label."""
        try:
            self.make(task)
        except ThriftsegError as error:
            return error.headline
        return None

    @abstractmethod
    def make(self, task: Task) -> None:
        """Make and store the label of one frame.

        Raises:
            ThriftsegError: It cannot be made.
        """

    def prepare(self) -> LabelStore:
        """The store, free of what a killed run left behind.

        Raises:
            LabelStoreError: It holds labels that were made in another way.
        """
        store = self._open(None)
        store.consolidate()
        store.require_recipe(self.generator, self.arguments)
        return store

    def _open(self, writer: str | None) -> LabelStore:
        return LabelStore(self._root, self._source, self.dataset.taxonomy, writer=writer)


def raise_failures(results: Sequence[str | None], store: LabelStore, what: str) -> None:
    """Report the frames whose label could not be made.

    Args:
        results: What a `StoringJob` returned, for every frame that was to be labelled.
        store: The store of the others.
        what: Name of the labels, such as "coarse labels".

    Raises:
        LabelStoreError: There are such frames.
    """
    failures = sorted(result for result in results if result is not None)
    if failures:
        raise LabelStoreError(
            f"{len(failures)} of {len(results)} frames got no {what}",
            path=store.folder,
            fix="mend the files below and run the command again; finished labels are kept",
            detail="\n".join(failures),
        )


def raise_unfinished(summary: Summary) -> None:
    """Report the labels that could not be made, with what was done beside them.

    Raises:
        UnfinishedError: There are such labels.
    """
    if summary.failures:
        total = summary.written + summary.kept + len(summary.failures)
        error = UnfinishedError(
            f"{len(summary.failures)} of {total} labels could not be made",
            path=summary.folder,
            fix="mend the files below and run the command again; finished labels are kept",
            detail="\n".join(summary.failures),
        )
        error.summary = summary
        raise error
