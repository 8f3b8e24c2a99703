"""What every data set reader offers."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from thriftseg.arrays import Int32Array, UInt8Array
from thriftseg.errors import DatasetError
from thriftseg.taxonomies import Taxonomy
from thriftseg.types import Clip


def resolve_root(dataset: str, root: str | Path | None, customary: str | None = None) -> tuple[Path, str]:
    """Find the folder of a data set.

    Args:
        dataset: Name of the data set, such as "CamVid".
        root: Folder given by the user; wins over the environment.
        customary: Environment variable that other tools of this data set read.

    Returns:
        The folder and where its name came from.

    Raises:
        DatasetError: No folder was named anywhere, or the named one does not exist.
    """
    own = f"THRIFTSEG_DATA_{dataset.upper()}"
    shared = os.environ.get("THRIFTSEG_DATA")
    candidates = [
        (root, "--root"),
        (os.environ.get(own), own),
        (Path(shared) / dataset.lower() if shared else None, "THRIFTSEG_DATA"),
        (os.environ.get(customary) if customary else None, customary or ""),
    ]
    for value, origin in candidates:
        if value:
            folder = Path(value).expanduser()
            if not folder.is_dir():
                raise DatasetError(
                    "no such folder",
                    path=folder,
                    expected=f"the root of {dataset} (from {origin})",
                    fix="pass --root DIR",
                )
            return folder, origin
    raise DatasetError(
        f"no root given for {dataset}", fix=f"pass --root DIR or set {own}, or THRIFTSEG_DATA to the folder above it"
    )


class VideoDataset(ABC):
    """Reads one data set's folder layout and yields clips.

    Nothing on disk is touched before `clips` is called, so a reader can be built from a config anywhere.

    Attributes:
        name: Name on the command line and in label stores.
        splits: Names of the splits.
        layout: Drawing of the expected folder tree, shown when files are missing.
        how_to_get: One sentence on where the data come from.
        customary_variable: Environment variable that other tools of this data set read.
    """

    name: ClassVar[str]
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")
    layout: ClassVar[str]
    how_to_get: ClassVar[str]
    customary_variable: ClassVar[str | None] = None

    def __init__(self, root: str | Path | None = None) -> None:
        self._root_argument = root
        self._clips: dict[str, list[Clip]] = {}

    @property
    @abstractmethod
    def taxonomy(self) -> Taxonomy:
        """The class table that labels are read into."""

    @abstractmethod
    def _scan(self, split: str) -> list[Clip]:
        """List the clips of a split from disk, in any order."""

    @abstractmethod
    def read_label(self, clip: Clip, number: int) -> UInt8Array:
        """Manual label of a frame.

        Returns:
            Train ids, (H, W) uint8, 255 = ignore.

        Raises:
            DatasetError: The file is missing, unreadable or holds an id outside the class table.
        """

    def read_coarse(self, clip: Clip, number: int) -> UInt8Array:
        """Coarse label of a frame, (H, W) uint8 train ids; only for data sets that have them."""
        raise DatasetError(
            f"{self.name} has no coarse labels", fix="use a data set with coarse labels or simulate them"
        )

    def read_instances(self, clip: Clip, number: int) -> Int32Array | None:
        """Instance ids of a frame, (H, W) int32 (class and instance as `train_id * 1000 + k`, 0 = none)."""
        return None

    def read_frame(self, clip: Clip, number: int) -> UInt8Array:
        """Frame as (H, W, 3) uint8 RGB."""
        from thriftseg.datasets.images import read_frame

        return read_frame(clip.frames[number])

    @cached_property
    def _resolved(self) -> tuple[Path, str]:
        return resolve_root(self.name, self._root_argument, self.customary_variable)

    @property
    def root(self) -> Path:
        """The folder the data are read from."""
        return self._resolved[0]

    @property
    def root_origin(self) -> str:
        """Where the name of the folder came from: `--root` or an environment variable."""
        return self._resolved[1]

    def clips(self, split: str) -> list[Clip]:
        """The clips of a split, sorted by video and therefore independent of directory order.

        Raises:
            DatasetError: The split is unknown or empty, or files are missing.
        """
        if split not in self.splits:
            raise DatasetError(f"{self.name} has no split {split!r}", expected=", ".join(self.splits))
        if split not in self._clips:
            clips = sorted(self._scan(split), key=lambda clip: clip.video)
            if not clips:
                raise self.missing(f"split {split!r} is empty", self.root)
            self._clips[split] = clips
        return self._clips[split]

    def missing(self, problem: str, path: Path, found: object = None) -> DatasetError:
        """An error that names the first missing file and draws the expected tree."""
        return DatasetError(
            problem,
            path=path,
            found=found,
            fix=self.how_to_get,
            detail=f"expected layout of {self.name}:\n{self.layout}",
        )
