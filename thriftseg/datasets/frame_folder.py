"""One video as a folder of frames."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import ClassVar

from thriftseg.datasets.files import list_files, usual_step
from thriftseg.datasets.folder import Folder
from thriftseg.taxonomies import Taxonomy
from thriftseg.types import Clip


class FrameFolder(Folder):
    """Reader of one video whose frames lie in a folder, without labels.

        root/{number}.{png|jpg}

    The only split is `all`, and its only clip is named like the folder. File names and frame steps are those of
    `Folder`.

    Args:
        root: Folder of the frames.
        classes: Class table that the video is to be labelled with, or its YAML file (see `Taxonomy.from_yaml`).

    Example:
        >>> from thriftseg.taxonomies import CAMVID
        >>> FrameFolder("drive/frames", CAMVID).taxonomy.num_classes
        11
    """

    name: ClassVar[str] = "frames"
    splits: tuple[str, ...] = ("all",)
    layout: ClassVar[str] = "  {number}.png|jpg"
    how_to_get: ClassVar[str] = "cut your video with: thriftseg data import VIDEO --out DIR"

    def __init__(self, root: str | Path, classes: Taxonomy | str | Path) -> None:
        super().__init__(root)
        self._classes = classes

    @cached_property
    def taxonomy(self) -> Taxonomy:
        """The class table.

        Raises:
            DatasetError: Its file is missing or wrong.
        """
        return self._classes if isinstance(self._classes, Taxonomy) else Taxonomy.from_yaml(self._classes)

    def _scan(self, split: str) -> list[Clip]:
        frames = self._numbered(self.root, list_files(self.root))
        if not frames:
            raise self.empty(split, self.root)
        return [Clip(self.root.resolve().name, frames, frame_step=usual_step(frames), drive=self.root.name)]
