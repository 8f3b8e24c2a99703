"""Options that name objects of videos."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from thriftseg.errors import ConfigError

if TYPE_CHECKING:
    from thriftseg.annotation import ObjectVideo
    from thriftseg.datasets import VOSDataset


@dataclass(frozen=True)
class ObjectOptions:
    """The objects.

    Attributes:
        videos: Videos; all of them if unset.
        video_list: Files that name them instead, one a line.
        resize: Shorter side to work at, such as 480; that of the files if unset.
    """

    videos: list[str] = field(default_factory=list)
    video_list: list[str] = field(default_factory=list)
    resize: int | None = None

    def find(self, dataset: VOSDataset, split: str) -> tuple[ObjectVideo, ...]:
        """The objects, after printing which are skipped.

        Raises:
            ConfigError: Videos are named twice over.
            DatasetError: A video does not exist, or a list of them.
        """
        from thriftseg.annotation import list_objects, read_lists

        if self.videos and self.video_list:
            raise ConfigError("videos are named by --videos and by --video_list", fix="drop one of them")
        names = self.videos or read_lists([Path(path) for path in self.video_list])
        found, skipped = list_objects(dataset, split, names or None, self.resize)
        for line in skipped:
            print(line)
        return found
