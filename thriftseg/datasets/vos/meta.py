"""`meta.json` of YouTube-VOS: the objects of videos, what they are and in which frames they are annotated.

{"videos": {"0062f687f1": {"objects": {"1": {"category": "train", "frames": ["00015", "00020"]}}}}}
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import msgspec

from thriftseg.datasets.vos.base import VideoObject, VOSClip
from thriftseg.errors import DatasetError
from thriftseg.parsing import Digits, read_json

META_FILE = "meta.json"
"""Name of the file in the folder of a split."""


class _Object(msgspec.Struct):
    frames: Annotated[list[str | int], msgspec.Meta(min_length=1)]
    category: str = ""


class _Video(msgspec.Struct):
    objects: dict[Digits, _Object]


class _File(msgspec.Struct):
    videos: dict[str, _Video]


MetaObjects = dict[int, tuple[str, tuple[str, ...]]]
"""Category and names of frames by object id."""


def read_meta(path: Path) -> dict[str, MetaObjects]:
    """Read the objects of all videos.

    Args:
        path: The file.

    Returns:
        Objects by video; the category is empty where it is not told.

    Raises:
        DatasetError: The file is missing or malformed.
    """
    return {
        video: {int(number): (item.category, tuple(map(str, item.frames))) for number, item in entry.objects.items()}
        for video, entry in read_json(path, _File, lax=True).videos.items()
    }


def with_objects(clip: VOSClip, objects: MetaObjects, path: Path) -> VOSClip:
    """A clip that knows its objects and is scored in the frames listed for them.

    Args:
        clip: The clip as found in folders.
        objects: Its objects.
        path: The file they come from, for messages.

    Raises:
        DatasetError: A listed frame is not on disk.
    """
    numbers = {clip.frame_name(number): number for number in clip.frames}
    listed = []
    for object_id, (category, names) in sorted(objects.items()):
        absent = [name for name in names if name not in numbers]
        if absent:
            raise DatasetError(
                f"object {object_id} of video {clip.video} is listed in a frame that is not on disk",
                path=path,
                expected=f"{next(iter(clip.frames.values())).parent}/{absent[0]}.jpg",
                found=f"{len(numbers)} frames",
            )
        frames = tuple(sorted(numbers[name] for name in names))
        listed.append(VideoObject(object_id, frames[0], category, frames))
    scored = sorted({number for item in listed for number in item.frames})
    return replace(clip, listed=tuple(listed), scored=tuple(scored))
