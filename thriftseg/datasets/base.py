"""Base classes of the readers: finding a root, listing clips, reading frames and labels, and messages about layouts."""

from __future__ import annotations

import copy
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from thriftseg.arrays import AnyArray, Int32Array, UInt8Array
from thriftseg.datasets.images import probe_size, read_frame, read_label_png
from thriftseg.errors import DatasetError
from thriftseg.shards import local_folder
from thriftseg.taxonomies import Taxonomy
from thriftseg.types import Clip

if TYPE_CHECKING:
    from thriftseg.datasets.polygons import Regions


def resolve_root(dataset: str, root: str | Path | None, customary: str | None = None) -> tuple[Path, str]:
    """Find the folder of a data set.

    Args:
        dataset: Name of the data set, such as "CamVid".
        root: Folder given by the user, or address of shards (see `thriftseg.shards`); wins over the environment.
        customary: Environment variable that other tools of this data set read.

    Returns:
        The folder and where its name came from.

    Raises:
        DatasetError: No folder was named anywhere, or the named one does not exist.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     root, origin = resolve_root("camvid", folder)
        ...     root.samefile(folder), origin
        (True, '--root')
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
            folder = local_folder(value)
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


class EmptySplitError(DatasetError):
    """A split has no files at all.

    Example:
        >>> import tempfile
        >>> from thriftseg.datasets import CamVid
        >>> with tempfile.TemporaryDirectory() as root:
        ...     try:
        ...         clips = CamVid(root).clips("train")
        ...     except EmptySplitError as error:
        ...         print(error.problem)
        split 'train' of camvid is empty
    """


ClipType = TypeVar("ClipType", bound=Clip)


class ClipReader(ABC, Generic[ClipType]):
    """Reads one data set's folder layout and yields clips.

    Nothing on disk is touched by the constructor, so a reader can be built from a config anywhere. `clips` lists
    folders and opens no images; `read_*` open one file each.

    Attributes:
        name: Name on the command line and in label stores.
        splits: Names of the splits.
        layout: Drawing of the expected folder tree, shown when files are missing.
        how_to_get: One sentence on where the data come from.
        customary_variable: Environment variable that other tools of this data set read.
        official_splits: Whether the splits were fixed by the authors of the data, so that their users cannot mend them.

    Example:
        >>> from thriftseg.taxonomies import CAMVID
        >>> class Halves(ClipReader[Clip]):
        ...     name, splits, taxonomy = "halves", ("all",), CAMVID
        ...     def _scan(self, split):
        ...         frames = {0: Path("0.png")}
        ...         return [Clip("west", frames), Clip("east", frames, labels={0: Path("0_label.png")})]
        ...     def read_label(self, clip, number):
        ...         return CAMVID.to_train_ids(read_label_png(clip.labels[number]))
        >>> [(clip.video, clip.annotated) for clip in Halves("data").clips("all")]
        [('east', (0,)), ('west', ())]
    """

    name: ClassVar[str]
    splits: tuple[str, ...] = ("train", "val", "test")
    layout: ClassVar[str]
    how_to_get: ClassVar[str]
    customary_variable: ClassVar[str | None] = None
    official_splits: ClassVar[bool] = True

    def __init__(self, root: str | Path | None = None) -> None:
        self._root_argument = root
        self._clips: dict[str, list[ClipType]] = {}
        self._sizes: dict[str, tuple[int, int]] = {}

    @property
    @abstractmethod
    def taxonomy(self) -> Taxonomy:
        """The class table that labels are read into; that of numbered objects where they have no class."""

    @abstractmethod
    def _scan(self, split: str) -> list[ClipType]:
        """List the clips of a split from disk, in any order."""

    def read_frame(self, clip: Clip, number: int) -> UInt8Array:
        """Frame as (H, W, 3) uint8 RGB.

        Raises:
            DatasetError: The frame is missing, unreadable or of another size than the first frame of its clip.
        """
        path = self._path_of(clip, number, clip.frames, "frame")
        frame = read_frame(path)
        self._check_size(clip, frame, path)
        return frame

    @abstractmethod
    def read_label(self, clip: ClipType, number: int) -> UInt8Array:
        """Manual label of a frame, (H, W) uint8 as in `taxonomy`, 255 = ignore.

        Raises:
            DatasetError: The file is missing, unreadable, not of the frame's size or holds other ids.
        """

    def read_coarse(self, clip: Clip, number: int) -> UInt8Array:
        """Coarse label of a frame, (H, W) uint8 train ids.

        Raises:
            DatasetError: As for `read_label`; also when the data set has no coarse labels.
        """
        raise DatasetError(f"{self.name} has no coarse labels")

    def read_instances(self, clip: Clip, number: int) -> Int32Array | None:
        """Instance ids of a frame, (H, W) int32 as `train_id * 1000 + k`, 0 = none; `None` where there are none."""
        return None

    def read_coarse_regions(self, clip: Clip, number: int) -> Regions | None:
        """The regions that a coarse label was drawn from; `None` where there is only a map."""
        return None

    def read_coarse_instances(self, clip: Clip, number: int) -> Int32Array | None:
        """Instance ids of a coarse label, as from `read_instances`; `None` where there are none."""
        return None

    def files_beside(self, clip: Clip, number: int) -> dict[str, Path]:
        """Files that are read of a frame beside those that its clip lists, by a short name."""
        return {}

    def at(self, root: str | Path) -> Self:
        """The same reader of another folder."""
        kept: dict[str, Any] = {"_root_argument": root, "_clips": {}, "_sizes": {}}
        reader = copy.copy(self)
        reader.__dict__ = {
            name: kept.get(name, value)
            for name, value in vars(self).items()
            if not isinstance(getattr(type(self), name, None), cached_property)
        }
        return reader

    def clip_size(self, clip: Clip) -> tuple[int, int]:
        """Height and width of a clip's frames, from the header of its first frame."""
        if clip.video not in self._sizes:
            self._sizes[clip.video] = probe_size(next(iter(clip.frames.values())))
        return self._sizes[clip.video]

    def _path_of(self, clip: Clip, number: int, files: Mapping[int, Path], kind: str) -> Path:
        if number in files:
            return files[number]
        nearest = min(files, key=lambda other: abs(other - number)) if files else None
        raise DatasetError(
            f"{self.name} clip {clip.video} has no {kind} for frame {number}",
            found=f"none (nearest: frame {nearest})" if files else f"no {kind}s at all",
        )

    def _check_size(self, clip: Clip, image: AnyArray, path: Path) -> None:
        found, first = image.shape[:2], self.clip_size(clip)
        if found != first:
            raise DatasetError(
                "sizes differ inside a clip",
                path=path,
                expected=f"{first[1]}x{first[0]} as the first frame of {clip.video}",
                found=f"{found[1]}x{found[0]}",
            )

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

    def describe_root(self) -> str:
        """One line that says which folder is read and where its name came from."""
        return f"{self.name}: reading {self.root} (from {self.root_origin})"

    def clips(self, split: str) -> list[ClipType]:
        """The clips of a split, sorted by video and therefore independent of directory order.

        Raises:
            DatasetError: The split is unknown or empty, or files are missing.
        """
        if split not in self.splits:
            raise DatasetError(f"{self.name} has no split {split!r}", expected=", ".join(self.splits))
        if split not in self._clips:
            clips = sorted(self._scan(split), key=lambda clip: clip.video)
            if not clips:
                raise self.empty(split, self.root)
            self._clips[split] = clips
        return self._clips[split]

    def missing(self, problem: str, path: Path | str, found: object = None) -> DatasetError:
        """An error that names the first missing file and draws the expected tree."""
        return DatasetError(problem, path=path, found=found, fix=self.how_to_get, detail=self._drawn_layout)

    def empty(self, split: str, path: Path | str) -> EmptySplitError:
        """An error for a split without any files; names where the first of them should be."""
        return EmptySplitError(
            f"split {split!r} of {self.name} is empty", path=path, fix=self.how_to_get, detail=self._drawn_layout
        )

    @property
    def _drawn_layout(self) -> str:
        return f"expected layout of {self.name} (below {self.root}):\n{self.layout.rstrip()}"


class VideoDataset(ClipReader[Clip]):
    """Reader of videos with labels of classes.

    A reader implements `taxonomy` and `_scan`, and `_decode_label` where labels are not PNGs of raw ids.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from thriftseg.datasets import write_label_png
        >>> from thriftseg.taxonomies import CAMVID
        >>> class OneFrame(VideoDataset):
        ...     name, splits, taxonomy = "one_frame", ("all",), CAMVID
        ...     def _scan(self, split):
        ...         return [Clip("drive", {7: self.root / "7.png"}, labels={7: self.root / "7_label.png"})]
        >>> with tempfile.TemporaryDirectory() as root:
        ...     write_label_png(Path(root, "7.png"), np.full((2, 3), 90, np.uint8))
        ...     write_label_png(Path(root, "7_label.png"), np.array([[0, 1, 2], [2, 2, 11]], np.uint8))
        ...     reader = OneFrame(root)
        ...     [clip] = reader.clips("all")
        ...     reader.read_frame(clip, 7).shape, reader.read_label(clip, 7).tolist()
        ((2, 3, 3), [[0, 1, 2], [2, 2, 255]])
    """

    def _decode_label(self, path: Path) -> UInt8Array:
        """Read a label file into train ids."""
        return self.taxonomy.to_train_ids(read_label_png(path), path)

    def read_label(self, clip: Clip, number: int) -> UInt8Array:
        """Manual label of a frame.

        Returns:
            Train ids, (H, W) uint8, 255 = ignore.

        Raises:
            DatasetError: The file is missing, unreadable, not of the frame's size or holds an id outside the class
                table.
        """
        return self._read_label_of(clip, number, clip.labels, "manual label")

    def read_coarse(self, clip: Clip, number: int) -> UInt8Array:
        """Coarse label of a frame, (H, W) uint8 train ids.

        Raises:
            DatasetError: As for `read_label`; also when the data set has no coarse labels.
        """
        return self._read_label_of(clip, number, clip.coarse, "coarse label")

    def _read_label_of(self, clip: Clip, number: int, files: Mapping[int, Path], kind: str) -> UInt8Array:
        path = self._path_of(clip, number, files, kind)
        label = self._decode_label(path)
        self._check_size(clip, label, path)
        return label
