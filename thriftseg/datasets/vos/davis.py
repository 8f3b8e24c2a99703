"""DAVIS: densely labelled video with one to several objects per sequence."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from thriftseg.datasets.vos.base import MasksOfSplit, VOSClip, VOSDataset, read_list
from thriftseg.errors import ConfigError

if TYPE_CHECKING:
    from thriftseg.metrics import VOSProtocol

DAVISTask = Literal["semi-supervised", "unsupervised"]
Resolution = Literal["480p", "Full-Resolution"]


class DAVIS(VOSDataset):
    """Reader of DAVIS-2017: 60 / 30 / 30 / 30 sequences in `train`, `val`, `test-dev` and `test-challenge`.

        root/JPEGImages/{480p|Full-Resolution}/{sequence}/{number:05d}.jpg
        root/Annotations/{480p|Full-Resolution}/{sequence}/{number:05d}.png      0 = background, 255 = void
        root/Annotations_unsupervised/480p/...                                   the masks of the unsupervised task
        root/ImageSets/2017/{train,val,test-dev,test-challenge}.txt              one sequence a line
        root/ImageSets/2019/{test-dev,test-challenge}.txt                        those of the unsupervised task

    Every frame of `train` and `val` has a mask; the other splits have that of the first frame, or none for the
    unsupervised task. The first mask of a sequence introduces all its objects; predictions are asked for all frames,
    and the first and the last are not scored, except in the unsupervised task. Scores of `test-*` come from a server.

    Data for research. Cite Pont-Tuset et al., "The 2017 DAVIS Challenge on Video Object Segmentation", arXiv
    1704.00675, and for the unsupervised task Caelles et al., "The 2019 DAVIS Challenge on VOS", arXiv 1905.00737.

    Args:
        root: Folder that holds `JPEGImages`.
        task: `semi-supervised` or `unsupervised`.
        resolution: `480p` or `Full-Resolution`.

    Raises:
        ConfigError: There is no such task or resolution.

    Example:
        >>> DAVIS("data/DAVIS", task="unsupervised").protocol
        'davis_unsupervised'
    """

    name: ClassVar[str] = "davis"
    splits: tuple[str, ...] = ("train", "val", "test-dev", "test-challenge")
    layout: ClassVar[str] = (
        "  ImageSets/2017/{train,val,test-dev,test-challenge}.txt       one sequence a line\n"
        "  JPEGImages/{480p|Full-Resolution}/{sequence}/00000.jpg\n"
        "  Annotations/{480p|Full-Resolution}/{sequence}/00000.png      palette PNG of object ids\n"
        "  Annotations_unsupervised/...                                 for the unsupervised task"
    )
    how_to_get: ClassVar[str] = "take DAVIS 2017 from davischallenge.org"
    submission_folder: ClassVar[str | None] = ""

    def __init__(
        self, root: str | Path | None = None, task: DAVISTask = "semi-supervised", resolution: Resolution = "480p"
    ) -> None:
        super().__init__(root)
        for setting, value, allowed in (("task", task, DAVISTask), ("resolution", resolution, Resolution)):
            if value not in get_args(allowed):
                raise ConfigError(f"no such {setting} of DAVIS", expected=", ".join(get_args(allowed)), found=value)
        self.task, self.resolution = task, resolution
        self.protocol: VOSProtocol = "davis" if task == "semi-supervised" else "davis_unsupervised"

    def masks_of(self, split: str) -> MasksOfSplit:
        """All masks of `train` and `val`; the first ones elsewhere, or none in the unsupervised task."""
        if split in ("train", "val"):
            return "all"
        return "first" if self.task == "semi-supervised" else "none"

    def _introducing(self, clip: VOSClip) -> Iterable[int]:
        return clip.annotated[:1] if self.task == "semi-supervised" else clip.annotated

    def _scan(self, split: str) -> list[VOSClip]:
        year = "2019" if self.masks_of(split) == "none" else "2017"
        path = self.root / "ImageSets" / year / f"{split}.txt"
        sequences = read_list(path)
        if sequences is None:
            raise self.empty(split, path)
        annotations = "Annotations" if self.task == "semi-supervised" else "Annotations_unsupervised"
        frames, masks = (self.root / folder / self.resolution for folder in ("JPEGImages", annotations))
        return [self._make_clip(sequence, frames / sequence, masks / sequence) for sequence in sequences]
