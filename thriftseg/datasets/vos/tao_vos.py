"""TAO-VOS: long videos from seven sources with masks once a second."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from thriftseg.datasets.files import list_files
from thriftseg.datasets.vos.base import VOSClip, VOSDataset, read_list
from thriftseg.datasets.vos.meta import META_FILE, read_meta, with_objects

if TYPE_CHECKING:
    from thriftseg.metrics import VOSProtocol


class TAOVOS(VOSDataset):
    """Reader of TAO-VOS: 500 training and 126 validation videos.

        root/{train,valid}/JPEGImages/{video}/{frame}.jpg
        root/{train,valid}/Annotations/{video}/{frame}.png      0 = background; one mask a second
        root/ImageSets/{train,valid}.txt                        optional: one video a line
        root/{train,valid}/meta.json                            optional, in the form of YouTube-VOS

    The name of a video is its source and a path in it, such as `ArgoVerse/aebe6aaa-...`; on disk the slash may have
    become an underscore. Names of frames are those of the source, such as `frame0391` or
    `ring_front_center_315971768012624488`; they are sorted by the numbers in them. Not every object is annotated, and
    objects enter at any time. Predictions are asked for the frames that have a mask.

    Most training masks were made from boxes, by Box2Seg networks fine-tuned on one drawn mask per object; the
    validation masks are drawn. Non-commercial terms as of the sources. Cite Voigtlaender et al., "Reducing the
    Annotation Effort for Video Object Segmentation Datasets", WACV 2021.

    Args:
        root: Folder that holds `train` and `valid`.
        all_frames: Also read frames between those with a mask, where they are on disk.

    Example:
        >>> TAOVOS("data/tao_vos").splits
        ('train', 'valid')
    """

    name: ClassVar[str] = "tao_vos"
    splits: tuple[str, ...] = ("train", "valid")
    layout: ClassVar[str] = (
        "  {train,valid}/JPEGImages/{source}/{video}/{frame}.jpg\n"
        "  {train,valid}/Annotations/{source}/{video}/{frame}.png     one-channel PNG of object ids\n"
        "  ImageSets/{train,valid}.txt                                optional: one video a line\n"
        "  {train,valid}/meta.json                                    optional, as in YouTube-VOS"
    )
    how_to_get: ClassVar[str] = "take TAO-VOS from vision.rwth-aachen.de/page/taovos"
    protocol: VOSProtocol = "all_frames"

    def __init__(self, root: str | Path | None = None, all_frames: bool = False) -> None:
        super().__init__(root)
        self.all_frames = all_frames

    def _scan(self, split: str) -> list[VOSClip]:
        folder = self.root / split
        frames_root = folder / "JPEGImages"
        with_files = (Path(parent) for parent, _, files in os.walk(frames_root) if files)
        names = sorted(parent.relative_to(frames_root).as_posix() for parent in with_files if list_files(parent))
        found = {_as_folder(name): name for name in names}
        if not found:
            raise self.empty(split, folder / "JPEGImages" / "{source}" / "{video}")
        listing = self.root / "ImageSets" / f"{split}.txt"
        videos = read_list(listing)
        clips = []
        for video in list(found.values()) if videos is None else videos:
            if _as_folder(video) not in found:
                raise self.missing(f"video {video} is in the list but not on disk", listing)
            place = found[_as_folder(video)]
            frames, masks = folder / "JPEGImages" / place, folder / "Annotations" / place
            clip = self._make_clip(video, frames, masks, only_masked=not self.all_frames)
            clips.append(replace(clip, scored=clip.annotated or clip.scored))
        meta_file = folder / META_FILE
        if not meta_file.is_file():
            return clips
        meta = {_as_folder(video): objects for video, objects in read_meta(meta_file).items()}
        for clip in clips:
            if _as_folder(clip.video) not in meta:
                raise self.missing(f"video {clip.video} has no entry", meta_file)
        return [with_objects(clip, meta[_as_folder(clip.video)], meta_file) for clip in clips]


def _as_folder(video: str) -> str:
    """A name by which a video is known whether or not its slashes were kept."""
    return video.replace("/", "_")
