"""Finding the frame of a data set that an image in an annotation file stands for."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from thriftseg.errors import DatasetError
from thriftseg.exchange.records import AnnotatedImage, image_name
from thriftseg.types import Clip, ClipFrame, Frame

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
_KINDS = re.compile(r"_(leftImg8bit|gt(Fine|Coarse)(_\w+)?)$")
_UPLOAD = re.compile(r"^[0-9a-f]{8}-")  # Label Studio puts it in front of uploaded files
_LAST_NUMBER = re.compile(r"0+(\d+)$")
_SHOWN = 5


class FrameNames:
    """Frames by the names that annotation tools may know them by.

    A name fits a frame when it ends in the frame's path below the root, in `video/file name`, `video/number`,
    `video_number` or its file name; endings and leading zeros of the number do not matter. The longest ending that
    fits any frame decides. A file name that is only a number says nothing without its video.

    Args:
        clips: The clips.
        root: Folder of the data set.

    Example:
        >>> names = FrameNames([Clip("drive", {7: Path("data/drive/f_007.png")})], Path("data"))
        >>> images = [AnnotatedImage(Path("a.json"), name, ()) for name in ("drive/f_7.jpg", "drive_7", "f_8.png")]
        >>> [[(clip.video, number) for clip, number in names.find(image)] for image in images]
        [[('drive', 7)], [('drive', 7)], []]
    """

    def __init__(self, clips: Sequence[Clip], root: Path) -> None:
        self._clips = {clip.video: clip for clip in clips}
        self._index: dict[str, set[Frame]] = defaultdict(set)
        for clip in clips:
            for number, path in clip.frames.items():
                for alias in _aliases(clip, number, path, root):
                    self._index[alias].add((clip.video, number))

    def find(self, image: AnnotatedImage) -> list[ClipFrame]:
        """The frames that an image may stand for: one if all is well."""
        if image.position is not None:
            return self._at_position(image, image.position)
        name = _plain(image.name)
        folder, separator, last = name.rpartition("/")
        return self._lookup(name) or self._lookup(folder + separator + _without_zeros(_UPLOAD.sub("", last)))

    def match(self, images: Sequence[AnnotatedImage]) -> list[ClipFrame]:
        """The frame of every image.

        Raises:
            DatasetError: An image fits no frame, or several, or two images fit the same one.
        """
        found = [(image, self.find(image)) for image in images]
        unknown = [image for image, frames in found if not frames]
        if unknown:
            raise self._mismatch("fit no frame of the split", unknown, len(images))
        ambiguous = [image for image, frames in found if len(frames) > 1]
        if ambiguous:
            raise self._mismatch("fit several frames", ambiguous, len(images))
        keys = [frames[0] for _, frames in found]
        first: dict[Frame, AnnotatedImage] = {}
        twice = [
            image
            for image, (clip, number) in zip(images, keys, strict=True)
            if first.setdefault((clip.video, number), image) is not image
        ]
        if twice:
            raise self._mismatch("fit a frame that another image fits too", twice, len(images))
        return keys

    def _at_position(self, image: AnnotatedImage, position: int) -> list[ClipFrame]:
        clip = self._clips.get(image.name) or self._clips.get(PurePosixPath(image.name).stem)
        clip = clip or self._clips.get(image.path.stem)
        numbers = sorted(clip.frames) if clip is not None else []
        return [(clip, numbers[position])] if clip is not None and 0 <= position < len(numbers) else []

    def _lookup(self, name: str) -> list[ClipFrame]:
        parts = name.split("/")
        for start in range(len(parts)):
            ending = "/".join(parts[start:])
            if ending in self._index and not (start and ending.isdigit()):
                return [(self._clips[video], number) for video, number in sorted(self._index[ending])]
        return []

    def _mismatch(self, problem: str, images: Sequence[AnnotatedImage], total: int) -> DatasetError:
        clip = next(iter(self._clips.values()))
        number = next(iter(clip.frames))
        return DatasetError(
            f"{len(images)} of {total} images {problem}",
            path=images[0].path,
            expected=f"names such as {image_name(clip, number)} or {clip.video}/{number:06d}",
            found=", ".join(image.title for image in images[:_SHOWN]) + (", ..." if len(images) > _SHOWN else ""),
            fix="choose the right --split, or give the images these names",
        )


def _aliases(clip: Clip, number: int, path: Path, root: Path) -> Iterable[str]:
    name = _plain(path.name)
    below = path.relative_to(root) if path.is_relative_to(root) else path
    return {name, _plain(below.as_posix()), f"{clip.video}/{name}", f"{clip.video}/{number}", f"{clip.video}_{number}"}


def _plain(name: str) -> str:
    """A name without file ending, kind of the file and leading zeros of the number, which tools change."""
    path = PurePosixPath(name.replace("\\", "/"))
    path = path.with_suffix("") if path.suffix.lower() in _SUFFIXES else path
    return _without_zeros(_KINDS.sub("", str(path)))


def _without_zeros(name: str) -> str:
    return _LAST_NUMBER.sub(r"\1", name)
