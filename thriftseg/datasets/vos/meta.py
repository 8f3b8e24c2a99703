"""`meta.json` of YouTube-VOS: the objects of videos, what they are and in which frames they are annotated.

{"videos": {"0062f687f1": {"objects": {"1": {"category": "train", "frames": ["00015", "00020"]}}}}}
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from thriftseg.datasets.vos.base import VideoObject, VOSClip
from thriftseg.errors import DatasetError
from thriftseg.parsing import load_json, located

META_FILE = "meta.json"
"""Name of the file in the folder of a split."""

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
    content = load_json(path)
    with located(path, "the file"):
        videos = dict(content["videos"])
    meta: dict[str, MetaObjects] = {}
    for video, entry in videos.items():
        meta[video] = {}
        with located(path, f"video {video}"):
            for object_id, value in entry["objects"].items():
                frames = value["frames"]
                if not isinstance(frames, list) or not frames:
                    raise ValueError(f"frames {frames!r}, expected a list of names")
                meta[video][int(object_id)] = str(value.get("category", "")), tuple(str(name) for name in frames)
    return meta


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
