"""Masks of objects with their quality: what a network that judges masks is trained on.

    <root>/set.json          see `thriftseg.stores.annotation_rounds`
    <root>/manifest.jsonl    {"video", "object", "round", "frames": [{"frame", "image", "quality"}, ...]}
    <root>/masks/<video>/<object:03d>/<round:02d>/<frame:06d>.png

In each round of annotating an object, a method gives its masks in all frames; `quality` compares each with the truth.
It is null where the truth does not show the object: such frames have no PNG and are no samples.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from thriftseg.arrays import UInt8Array
from thriftseg.datasets import resize_frame
from thriftseg.errors import DatasetError
from thriftseg.parsing import Count, FileName, Record, Share
from thriftseg.stores.annotation_rounds import MASK_SIZE, RoundFolder, RoundKey, RoundRow, check_quality


@dataclass(frozen=True)
class RatedMask:
    """The mask of an object in a frame.

    Attributes:
        number: Native frame number.
        frame: File of the frame, in the folder of the data set.
        mask: (H, W) uint8, 1 on the object, of any size.
        quality: In [0, 1]; `None` where the object is absent.

    Example:
        >>> import numpy as np
        >>> mask, frames = np.ones((48, 80), np.uint8), [Path(f"bear/{number:05d}.jpg") for number in range(3)]
        >>> rated = [RatedMask(n, frames[n], mask, quality) for n, quality in enumerate([0.75, None, 0.25])]
        >>> [item.frame.name for item in rated if item.quality is not None and item.quality < 0.5]
        ['00002.jpg']
    """

    number: int
    frame: Path
    mask: UInt8Array
    quality: float | None


@dataclass(frozen=True)
class QualitySample:
    """A stored mask of an object that the frame shows.

    Attributes:
        key: Video, object and round.
        number: Native frame number.
        image: Name of the frame.
        quality: In [0, 1].

    Example:
        >>> QualitySample(RoundKey("bear", 1, 0), number=15, image="bear/00015.jpg", quality=0.75).id
        'bear/001/00/000015'
    """

    key: RoundKey
    number: int
    image: str
    quality: float

    @property
    def id(self) -> str:
        """`video/object/round/frame`."""
        return f"{self.key}/{self.number:06d}"


class _Frame(Record, frozen=True):
    frame: Count
    image: FileName
    quality: Share | None


class _Row(RoundRow, frozen=True):
    frames: list[_Frame]


class QualitySet(RoundFolder[_Row]):
    """Masks with their quality; arguments as for `RoundFolder`.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> folder = Path(tempfile.mkdtemp())
        >>> rated = QualitySet.create(folder / "quality_set", "davis", folder)
        >>> mask, frame = np.ones((48, 80), np.uint8), folder / "bear" / "00000.jpg"
        >>> absent = RatedMask(1, folder / "bear" / "00001.jpg", mask, None)
        >>> rated.write_round(RoundKey("bear", 1, 0), [RatedMask(0, frame, mask, 0.75), absent])
        >>> [(sample.id, sample.image, sample.quality) for sample in rated.samples()]
        [('bear/001/00/000000', 'bear/00000.jpg', 0.75)]
    """

    kind = "quality set"
    row_type = _Row

    def write_round(self, key: RoundKey, masks: Iterable[RatedMask]) -> None:
        """Store the masks of a round.

        Args:
            key: Video, object and round.
            masks: One per frame.

        Raises:
            DatasetError: A mask or its quality is none, or a frame lies outside of the data set.
        """
        frames: list[_Frame] = []
        for item in masks:
            quality = None if item.quality is None else check_quality(item.quality)
            frames.append(_Frame(item.number, self._image_name(item.frame), quality))
            if quality is not None:
                self._write_mask(self._mask_path(key, f"{item.number:06d}"), item.mask)
        self._add(_Row(*key, frames))

    def samples(self) -> list[QualitySample]:
        """All masks of objects that their frame shows, sorted by video, object, round and frame.

        Raises:
            DatasetError: The set is missing or empty.
            LabelStoreError: A row is damaged.
        """
        found = [
            QualitySample(key, item.frame, item.image, item.quality)
            for key, row in sorted(self.rows.items())
            for item in sorted(row.frames, key=lambda item: item.frame)
            if item.quality is not None
        ]
        if not found:
            raise DatasetError("the quality set has no masks of present objects", path=self.root)
        return found

    def read(self, sample: QualitySample) -> tuple[UInt8Array, UInt8Array]:
        """Frame and mask of a sample, both resized to 224 x 224.

        Returns:
            (224, 224, 3) uint8 RGB, and (224, 224) uint8, 1 on the object.

        Raises:
            DatasetError: A file is missing or unreadable.
        """
        mask = self.read_mask(self._mask_path(sample.key, f"{sample.number:06d}"))
        return resize_frame(self.read_image(sample.image), MASK_SIZE), mask
