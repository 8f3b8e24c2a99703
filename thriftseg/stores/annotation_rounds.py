"""Base of the training sets of EVA-VOS: rounds in which an object was annotated, with small masks as PNG.

    <root>/set.json          what the set is of: kind, data set, arguments of whoever made it
    <root>/manifest.jsonl    a row per round of an object, see `thriftseg.stores.manifest`
    <root>/masks/<video>/<object>/<round>/*.png    224 x 224, 1 on the object

Frames stay where they are, in the folder of the data set; rows name them relative to it. Masks are written before the
row of their round, and each file in full or not at all: a round that has a row is complete, a killed run goes on after
the last of them. Several processes may write different rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar, cast

import numpy as np

from thriftseg.arrays import UInt8Array
from thriftseg.datasets import read_frame, read_label_png, resize_label, resolve_root, write_label_png
from thriftseg.errors import DatasetError
from thriftseg.folders import claim_folder
from thriftseg.parsing import Count, FileName, Record, check, read_json
from thriftseg.stores.manifest import Manifest

MASK_SIZE = (224, 224)
"""Height and width of the masks, as the networks read them; the aspect ratio is not kept."""

_SCHEMA = 1


class RoundKey(NamedTuple):
    """A round of annotating an object.

    Attributes:
        video: Identifier of the clip.
        object_id: Id of the object in the masks of the data set.
        round: Number of the round, from 0.

    Example:
        >>> keys = [RoundKey("bear", 1, 1), RoundKey("bear", 1, 0)]
        >>> [str(key) for key in sorted(keys)]
        ['bear/001/00', 'bear/001/01']
    """

    video: str
    object_id: int
    round: int

    def __str__(self) -> str:
        """`video/object/round`."""
        return f"{self.video}/{self.object_id:03d}/{self.round:02d}"


class RoundRow(Record, frozen=True):
    """A row of the manifest: the key of a round, and what subclasses add."""

    video: FileName
    object: Count
    round: Count

    @property
    def key(self) -> RoundKey:
        """The round."""
        return RoundKey(self.video, self.object, self.round)


RowOfRound = TypeVar("RowOfRound", bound=RoundRow)


class _Header(Record, frozen=True):
    schema: int
    kind: str
    dataset: str
    arguments: dict[str, Any]


class RoundFolder(Generic[RowOfRound]):
    """A training set made of rounds; read it by its folder, or make or continue it with `create`.

    Args:
        root: Folder of the set.
        frames_root: Folder of the data set it was made from; see `resolve_root` for where it comes from when absent.
        writer: Name of this process when several write at the same time, else `None`.

    Attributes:
        kind: Which set it is.
        row_type: What its manifest holds.
        header_path: The file that says what the set is of.

    Example:
        >>> import tempfile
        >>> from thriftseg.stores import QualitySet
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     rounds: RoundFolder = QualitySet.create(Path(folder, "set"), "davis", folder, arguments={"seed": 0})
        ...     again = QualitySet(Path(folder, "set"))
        ...     again.dataset, again.has(RoundKey("bear", 1, 0))
        ('davis', False)
    """

    kind: ClassVar[str]
    row_type: ClassVar[type[RoundRow]]

    def __init__(self, root: str | Path, frames_root: str | Path | None = None, *, writer: str | None = None) -> None:
        self.root, self._frames_argument = Path(root), frames_root
        self.header_path = self.root / "set.json"
        self._manifest = Manifest(self.root, writer)

    @classmethod
    def create(
        cls,
        root: str | Path,
        dataset: str,
        frames_root: str | Path | None = None,
        *,
        arguments: Mapping[str, Any] | None = None,
        writer: str | None = None,
    ) -> Self:
        """Make a set, or continue one that was made in the same way.

        Args:
            root: Folder of the set.
            dataset: Name of the data set whose frames it shows.
            frames_root: Folder of that data set.
            arguments: How it is made, JSON values only.
            writer: Name of this process when several write at the same time.

        Raises:
            ConfigError: The folder holds a set that was made in another way.
        """
        made = cls(root, frames_root, writer=writer)
        claim_folder(
            made.root,
            {"schema": _SCHEMA, "kind": cls.kind, "dataset": dataset, "arguments": dict(arguments or {})},
            record=made.header_path.name,
            problem=f"the {cls.kind} was begun in another way",
            fix="go on with those settings, or choose another folder",
        )
        return made

    @cached_property
    def dataset(self) -> str:
        """Name of the data set that the set was made from.

        Raises:
            DatasetError: There is no set, or one of another kind or version.
        """
        if not self.header_path.exists():
            raise DatasetError(f"no {self.kind} here", path=self.root, expected="a folder with set.json")
        header = read_json(self.header_path, dict[str, Any])
        expected = {"schema": _SCHEMA, "kind": self.kind}
        found = {name: header.get(name) for name in expected}
        if found != expected:
            raise DatasetError(
                f"not a {self.kind} of this version", path=self.header_path, expected=expected, found=found
            )
        return check(header, _Header, self.header_path).dataset

    @cached_property
    def frames_root(self) -> Path:
        """Folder that the frames are read from.

        Raises:
            DatasetError: It is named nowhere, or does not exist.
        """
        return resolve_root(self.dataset, self._frames_argument)[0]

    def has(self, key: RoundKey) -> bool:
        """Whether a round is complete."""
        return key in self.rows

    @cached_property
    def rows(self) -> dict[RoundKey, RowOfRound]:
        """Rows by round, in the order of writing; where a round was written twice, the later row.

        Raises:
            LabelStoreError: The manifest is damaged.
            DatasetError: There is no set.
        """
        _ = self.dataset  # refuses other folders
        return {row.key: row for row in self._manifest.read(cast("type[RowOfRound]", self.row_type))}

    def consolidate(self) -> None:
        """Merge the rows of all writers into one sorted file. No other writer may be at work."""
        self.__dict__.pop("rows", None)  # other processes have written since
        self._manifest.consolidate((row.to_json() for row in self.rows.values()), len(self.rows))

    def read_image(self, image: str) -> UInt8Array:
        """A frame, (H, W, 3) uint8 RGB, by the name that a row has for it."""
        return read_frame(self.frames_root / image)

    def read_mask(self, path: Path) -> UInt8Array:
        """A mask of the set, (224, 224) uint8, 1 on the object.

        Raises:
            DatasetError: The file is missing, or no such mask.
        """
        mask = read_label_png(path)
        if mask.shape != MASK_SIZE or mask.dtype != np.uint8 or mask.max() > 1:
            expected = f"{MASK_SIZE} of 0 and 1"
            raise DatasetError(
                "not a mask of this set", path=path, expected=expected, found=f"{mask.shape} {mask.dtype}"
            )
        return mask.astype(np.uint8, copy=False)

    def _mask_path(self, key: RoundKey, name: str) -> Path:
        return self.root / "masks" / key.video / f"{key.object_id:03d}" / f"{key.round:02d}" / f"{name}.png"

    def _image_name(self, frame: Path) -> str:
        try:
            return frame.relative_to(self.frames_root).as_posix()
        except ValueError:
            raise DatasetError("a frame outside of its data set", path=frame, expected=self.frames_root) from None

    def _write_mask(self, path: Path, mask: UInt8Array) -> None:
        if mask.ndim != 2 or mask.dtype != np.uint8 or mask.max(initial=0) > 1:
            raise DatasetError(
                "not a mask", path=path, expected="(H, W) uint8 of 0 and 1", found=f"{mask.shape} {mask.dtype}"
            )
        write_label_png(path, resize_label(mask, MASK_SIZE))

    def _add(self, row: RowOfRound) -> None:
        known = self.rows
        self._manifest.append([row.to_json()])
        known[row.key] = row


def check_quality(value: float) -> float:
    """Refuse a quality that makes no sense.

    Raises:
        DatasetError: It is not in [0, 1].
    """
    if not 0 <= value <= 1:
        raise DatasetError("a quality that is none", expected="0 to 1, or None where the object is absent", found=value)
    return float(value)
