"""The log of tracked objects, kept or lost: JSON lines beside the labels, and PNGs of object ids.

Below `<root>/<source>/` lie `objects.jsonl`, with one row per label and kept like the manifest, and, where they were
asked for, `<video>/<frame:06d>.objects.png`: object ids, 0 = none, 16 bits where there are more than 254.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from thriftseg.arrays import UInt16Array
from thriftseg.atomic import write_bytes
from thriftseg.errors import LabelStoreError
from thriftseg.stores.manifest import Manifest, check_schema
from thriftseg.types import Frame

_SCHEMA = 1
_MOST_IN_8_BITS = 254


@dataclass(frozen=True)
class LoggedObject:
    """One object in one frame.

    Attributes:
        id: Number of the object in the clip, from 1.
        train_id: Its class.
        instance: Number of the instance or component within the class; `None` for a whole class.
        pixels: How many pixels it has in this frame; an object without any is lost.
        score: Confidence 0..1; `None` where the method has none.
    """

    id: int
    train_id: int
    instance: int | None
    pixels: int
    score: float | None = None

    @property
    def lost(self) -> bool:
        """Whether nothing of the object is left."""
        return self.pixels == 0


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
        items = [asdict(item) for item in objects]
        self._lines.append([{"schema": _SCHEMA, "video": video, "frame": number, "objects": items}])

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
        found = {}
        for row in self._lines.read():
            check_schema(row, _SCHEMA, "object log", self.path)
            try:
                found[str(row["video"]), int(row["frame"])] = tuple(LoggedObject(**item) for item in row["objects"])
            except (TypeError, KeyError, ValueError) as error:
                raise LabelStoreError("damaged row in the object log", path=self.path, found=str(row)) from error
        return found

    def consolidate(self) -> None:
        """Merge the files of all writers into one sorted one. No other writer may be at work."""
        self._lines.consolidate(
            {"schema": _SCHEMA, "video": video, "frame": number, "objects": [asdict(item) for item in objects]}
            for (video, number), objects in self.read().items()
        )
