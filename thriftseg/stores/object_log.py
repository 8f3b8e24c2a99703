"""The log of tracked objects, kept or lost: JSON lines beside the labels, and PNGs of object ids.

Below `<root>/<source>/` lie `objects.jsonl`, with one row per label and kept like the manifest, and, where they were
asked for, `<video>/<frame:06d>.objects.png`: object ids, 0 = none, 16 bits where there are more than 254.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from thriftseg.arrays import UInt16Array
from thriftseg.atomic import write_bytes
from thriftseg.parsing import Count, Number, Record
from thriftseg.stores.manifest import Manifest
from thriftseg.types import Frame

_SCHEMA = 1
_MOST_IN_8_BITS = 254


class LoggedObject(Record, frozen=True):
    """One object in one frame.

    Attributes:
        id: Number of the object in the clip, from 1.
        train_id: Its class.
        instance: Number of the instance or component within the class; `None` for a whole class.
        pixels: How many pixels it has in this frame; an object without any is lost.
        score: Confidence 0..1; `None` where the method has none.

    Example:
        >>> car = LoggedObject(1, 13, instance=2, pixels=40, score=0.9)
        >>> car.lost, LoggedObject(1, 13, instance=2, pixels=0).lost, car.to_json()["train_id"]
        (False, True, 13)
    """

    id: Count
    train_id: Count
    instance: Count | None
    pixels: Count
    score: Number | None = None

    @property
    def lost(self) -> bool:
        """Whether nothing of the object is left."""
        return self.pixels == 0


class _FrameRow(Record, frozen=True):
    video: str
    frame: Count
    objects: tuple[LoggedObject, ...]


class ObjectLog:
    """The objects of the labels of one source; any number of processes may write to it.

    Args:
        folder: Folder of the source.
        writer: Name of this process when several write at the same time, else `None`.

    Attributes:
        path: The file that holds the rows when nobody is writing.

    Example:
        >>> import tempfile
        >>> log = ObjectLog(Path(tempfile.mkdtemp()))
        >>> log.write("drive", 30, [LoggedObject(1, 13, None, pixels=0)])
        >>> [item.lost for item in log.read()["drive", 30]]
        [True]
    """

    def __init__(self, folder: Path, writer: str | None = None) -> None:
        self._folder = folder
        self._lines = Manifest(folder, writer, stem="objects")
        self.path = self._lines.path

    def write(self, video: str, number: int, objects: Iterable[LoggedObject]) -> None:
        """Note the objects of a frame, before its label is stored.

        Args:
            video: Identifier of the clip.
            number: Native frame number.
            objects: All objects of the annotated frame, lost ones included.
        """
        self._lines.append([_line_of(video, number, objects)])

    def write_ids(self, video: str, number: int, ids: UInt16Array, count: int) -> None:
        """Store a map of object ids as PNG.

        Args:
            video: Identifier of the clip.
            number: Native frame number.
            ids: Object ids, (H, W), 0 = none.
            count: Number of objects in the clip, which decides between 8 and 16 bits.
        """
        stream = io.BytesIO()
        Image.fromarray(ids.astype(np.uint8 if count <= _MOST_IN_8_BITS else np.uint16)).save(stream, format="PNG")
        write_bytes(self.path_of_ids(video, number), stream.getvalue())

    def path_of_ids(self, video: str, number: int) -> Path:
        """Where the object ids of a frame lie or would lie."""
        return self._folder / video / f"{number:06d}.objects.png"

    def read(self) -> dict[Frame, tuple[LoggedObject, ...]]:
        """Objects by video and frame number; where a frame was written twice, those of the later row.

        Raises:
            LabelStoreError: The file is damaged or of an unknown version.
        """
        return {(row.video, row.frame): row.objects for row in self._lines.read(_FrameRow, _SCHEMA)}

    def consolidate(self) -> None:
        """Merge the files of all writers into one sorted one. No other writer may be at work."""
        found = self.read()
        self._lines.consolidate((_line_of(*frame, objects) for frame, objects in found.items()), len(found))


def _line_of(video: str, number: int, objects: Iterable[LoggedObject]) -> dict[str, Any]:
    items = [item.to_json() for item in objects]
    return {"schema": _SCHEMA, "video": video, "frame": number, "objects": items}
