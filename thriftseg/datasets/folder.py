"""A user's own clips."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import ClassVar

from thriftseg.datasets.base import VideoDataset, resolve_root
from thriftseg.datasets.files import frame_number, keep_preferred, list_files, list_folders, usual_step
from thriftseg.datasets.video import VIDEO_SUFFIXES, is_clip_video, list_video
from thriftseg.taxonomies import Taxonomy
from thriftseg.types import Clip

CLASS_FILE = "classes.yaml"
"""Name of the class table in the root of a user's clips."""


class Folder(VideoDataset):
    """Reader of a user's own clips; `thriftseg data import` cuts videos into this layout.

        root/classes.yaml                                names, ids and colours of the classes
        root/{train,val,test}/{clip}/frames/{number}.{png|jpg}
        root/{train,val,test}/{clip}/labels/{number}.png         for the labelled frames only

    In place of the folder `frames` there may be a video `frames.mp4` (or .mov, .mkv, ...), whose frames count from 0 in
    the order in which they are shown; those of `frames_90.mp4` from 90, and those of `frames_90_3.mp4` are 90, 93, ...

    Labels are one-channel PNGs (greyscale or palette) with the ids of `classes.yaml`; they may be sparse, and a clip
    without any serves prediction. A file name may have text before its number, as in `frame_00012.jpg`. Numbers count
    the frames of the recording and need not be contiguous; the most frequent distance of neighbours is the frame step.
    Clips cut from one recording share what stands before `__` in their name (`street__000000`, `street__000900`), so
    that `thriftseg data check` finds splits that share footage.

    Args:
        root: Folder that holds `classes.yaml` and the splits.

    Example:
        >>> Folder("data/mine").splits
        ('train', 'val', 'test')
    """

    name: ClassVar[str] = "folder"
    official_splits: ClassVar[bool] = False
    layout: ClassVar[str] = (
        "  classes.yaml                                   classes: [{name: road, color: [128, 64, 128]}, ...]\n"
        "  {train,val,test}/{clip}/frames/{number}.png|jpg, or frames.mp4\n"
        "  {train,val,test}/{clip}/labels/{number}.png    for the labelled frames"
    )
    how_to_get: ClassVar[str] = "cut your videos with: thriftseg data import VIDEO... --out DIR"

    @cached_property
    def taxonomy(self) -> Taxonomy:
        """The classes of `classes.yaml`.

        Raises:
            DatasetError: The file is missing or wrong.
        """
        path = self.root / CLASS_FILE
        if not path.is_file():
            raise self.missing("no class table", path)
        return Taxonomy.from_yaml(path)

    def _scan(self, split: str) -> list[Clip]:
        folders = list_folders(self.root / split)
        if not folders:
            raise self.empty(split, self.root / split / "{clip}" / "frames")
        return [self._clip(folder) for folder in folders]

    def _clip(self, folder: Path) -> Clip:
        frames = self._numbered(folder / "frames", list_files(folder / "frames"))
        videos = [path for path in list_files(folder, VIDEO_SUFFIXES) if is_clip_video(path)]
        if len(videos) + bool(frames) > 1:
            raise self.missing("the clip has its frames twice", videos[-1], found="other videos, or pictures too")
        if not frames and not videos:
            raise self.missing("the clip has no frames", folder / "frames")
        frames = frames or list_video(videos[0])
        labels = self._numbered(folder / "labels", list_files(folder / "labels", (".png",)))
        for number, path in labels.items():
            if number not in frames:
                raise self.missing(
                    "a label has no frame of the same number", path, found=f"frames {min(frames)}..{max(frames)}"
                )
        return Clip(
            video=folder.name,
            frames=frames,
            labels=labels,
            frame_step=usual_step(frames),
            drive=folder.name.split("__")[0],
        )

    def _numbered(self, folder: Path, paths: list[Path]) -> dict[int, Path]:
        numbered: dict[int, Path] = {}
        for path in paths:
            number = frame_number(path.stem)
            if number is None:
                raise self.missing("a file name without a number", path)
            if number in numbered and numbered[number].stem != path.stem:
                raise self.missing(f"two files for frame {number} in {folder.name}", path, found=numbered[number].name)
            keep_preferred(numbered, number, path)
        return dict(sorted(numbered.items()))


class FrameFolder(Folder):
    """Reader of one video without labels: a folder of its frames, or the video file.

        root/{number}.{png|jpg}

    The only split is `all`, and its only clip is named like the folder or the file. File names and frame steps are
    those of `Folder`.

    Args:
        root: Folder of the frames, or video file.
        classes: Class table that the video is to be labelled with, or its YAML file (see `Taxonomy.from_yaml`).

    Example:
        >>> from thriftseg.taxonomies import CAMVID
        >>> FrameFolder("drive/frames", CAMVID).taxonomy.num_classes
        11
    """

    name: ClassVar[str] = "frames"
    splits: tuple[str, ...] = ("all",)
    layout: ClassVar[str] = "  {number}.png|jpg, or a video file"
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

    @cached_property
    def _resolved(self) -> tuple[Path, str]:
        given = Path(self._root_argument or "").expanduser()
        is_video = given.suffix.lower() in VIDEO_SUFFIXES and given.is_file()
        return (given, "--root") if is_video else resolve_root(self.name, self._root_argument)

    def _scan(self, split: str) -> list[Clip]:
        if self.root.is_file():
            return [Clip(self.root.stem, list_video(self.root), drive=self.root.stem)]
        frames = self._numbered(self.root, list_files(self.root))
        if not frames:
            raise self.empty(split, self.root)
        return [Clip(self.root.resolve().name, frames, frame_step=usual_step(frames), drive=self.root.name)]
