"""One object in one video: what is annotated on its own."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from thriftseg.arrays import BoolArray, Float64Array, UInt8Array
from thriftseg.datasets import VOSClip, VOSDataset, ids_in, resize_frame, resize_label
from thriftseg.errors import ConfigError, DatasetError
from thriftseg.metrics import sequence_scores
from thriftseg.parsing import decode_arrays


class FrameScores(NamedTuple):
    """J and F of the masks of an object in all frames of a video, NaN in those that do not show it.

    Unlike the tools of DAVIS, means take the first and the last frame along, and all annotated ones, as EVA-VOS does.

    Attributes:
        j: (N,) float64.
        f: (N,) float64.
    """

    j: Float64Array
    f: Float64Array

    @property
    def jf(self) -> Float64Array:
        """Mean of J and F in each frame, (N,)."""
        return (self.j + self.f) / 2

    @property
    def mean_j(self) -> float:
        """J over the frames that show the object."""
        return float(np.nanmean(self.j))

    @property
    def mean_f(self) -> float:
        """F over the frames that show the object."""
        return float(np.nanmean(self.f))

    @property
    def mean_jf(self) -> float:
        """J&F over the frames that show the object."""
        return (self.mean_j + self.mean_f) / 2


class ObjectVideo:
    """An object of a video. Frames are addressed by their place, from 0; `numbers` holds their native numbers.

    Frames are read when they are asked for. Truths stay in memory until `release`.

    Args:
        dataset: Reads the files.
        clip: The video.
        object_id: Id of the object in the masks.
        resize: Shorter side of the frames and masks to work with; that of the files if absent.

    Example:
        >>> from thriftseg.datasets import DAVIS
        >>> clip = VOSClip("cat", {4: Path("4.jpg"), 6: Path("6.jpg")}, labels={4: Path("4.png")})
        >>> video = ObjectVideo(DAVIS("davis"), clip, object_id=2)
        >>> video.name, len(video), video.numbers, video.has_truth
        ('cat__2', 2, (4, 6), False)
    """

    def __init__(self, dataset: VOSDataset, clip: VOSClip, object_id: int, resize: int | None = None) -> None:
        self._dataset, self.clip, self.object_id, self._resize = dataset, clip, object_id, resize
        self.numbers = tuple(clip.frames)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def video(self) -> str:
        """Name of the video."""
        return self.clip.video

    @property
    def name(self) -> str:
        """`video__id`."""
        return f"{self.video}__{self.object_id}"

    @property
    def files(self) -> tuple[Path, ...]:
        """Files of the frames, which objects of a video share and other videos of the same name do not."""
        return tuple(self.clip.frames.values())

    @property
    def native_size(self) -> tuple[int, int]:
        """Height and width of the files."""
        return self._dataset.clip_size(self.clip)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames."""
        height, width = self.native_size
        factor = 1.0 if self._resize is None else self._resize / min(height, width)
        return round(height * factor), round(width * factor)

    @property
    def has_truth(self) -> bool:
        """Whether the truth of all frames is known."""
        return self.clip.labels.keys() >= self.clip.frames.keys()

    def frame(self, place: int) -> UInt8Array:
        """A frame, (H, W, 3) uint8 RGB.

        Raises:
            DatasetError: The file is missing, unreadable or of another size.
        """
        return resize_frame(self._dataset.read_frame(self.clip, self.numbers[place]), self.size)

    def truth(self, place: int) -> BoolArray:
        """True mask in a frame, (H, W); what is to be ignored does not belong to it.

        Raises:
            DatasetError: The file is missing, unreadable or of another size.
        """
        if "truths" in self.__dict__:
            known: BoolArray = self.truths[place]
            return known.copy()  # a view would keep all of them in memory
        mask = self._dataset.read_object_mask(self.clip, self.numbers[place], self.object_id)
        return np.equal(resize_label(mask, self.size), 1)

    @cached_property
    def truths(self) -> BoolArray:
        """True masks in all frames, (N, H, W)."""
        return np.stack([self.truth(place) for place in range(len(self))])

    def release(self) -> None:
        """Forget the truths; they are read again when they are asked for."""
        self.__dict__.pop("truths", None)

    def scores(self, masks: BoolArray) -> FrameScores:
        """J and F of masks, (N, H, W), in the frames that show the object."""
        truths = self.truths
        present = np.array([truth.any() for truth in truths], np.bool_)
        found, true = masks.view(np.uint8), truths.view(np.uint8)
        j, f = sequence_scores(found, true, [1], scored=present[None])
        return FrameScores(j[0], f[0])


class ObjectList(NamedTuple):
    """What there is to annotate.

    Attributes:
        videos: The objects, in order of the video and of their id.
        skipped: A line per object that is left out, saying why.
    """

    videos: tuple[ObjectVideo, ...]
    skipped: tuple[str, ...]


def list_objects(
    dataset: VOSDataset, split: str, videos: Iterable[str] | None = None, resize: int | None = None
) -> ObjectList:
    """The objects of a split that their first frame shows; later ones have no first mask to start from.

    Args:
        dataset: The data set.
        split: Its split.
        videos: Names of the videos, all by default; their order and repetitions do not matter.
        resize: Shorter side of the frames and masks to work with; that of the files if absent.

    Raises:
        ConfigError: The size is below 1.
        DatasetError: A video does not exist, has no mask of its first frame, or no video shows an object there.

    Example:
        >>> import tempfile
        >>> from thriftseg import datasets, synthetic
        >>> with tempfile.TemporaryDirectory() as root:
        ...     _ = synthetic.synthesize_objects(root, train_clips=1, val_clips=0, frames=2, height=32, width=48)
        ...     videos, skipped = list_objects(datasets.DAVIS(root), "train", resize=16)
        ...     [(video.name, video.size) for video in videos], skipped
        ([('scene-train-000__1', (16, 24))], ())
    """
    if resize is not None and resize < 1:
        raise ConfigError("shorter side to work with", expected="1 or more pixels", found=resize)
    clips = {clip.video: clip for clip in dataset.clips(split)}
    wanted = sorted(clips if videos is None else set(videos))
    unknown = [name for name in wanted if name not in clips]
    if unknown:
        raise DatasetError(f"split {split!r} of {dataset.name} has no video {unknown[0]!r}", path=dataset.root)
    found: list[ObjectVideo] = []
    skipped: list[str] = []
    for clip in (clips[name] for name in wanted):
        first = ids_in(dataset.read_mask(clip, next(iter(clip.frames))))
        found += [ObjectVideo(dataset, clip, object_id, resize) for object_id in first]
        skipped += [
            f"{clip.video}: object {item.id} is skipped, it appears in frame {item.first} only"
            for item in dataset.objects(clip)
            if item.id not in first
        ]
    if not found:
        raise DatasetError(f"no first frame of split {split!r} shows an object", path=dataset.root)
    return ObjectList(tuple(found), tuple(skipped))


def encode_masks(masks: BoolArray) -> bytes:
    """Pack masks, (N, H, W), into the content of an `.npz` file; equal masks give equal bytes.

    Example:
        >>> masks = np.zeros((50, 48, 80), bool)
        >>> masks[:, 8:20, 30:50] = True
        >>> content = encode_masks(masks)
        >>> len(content) < masks.size / 100, bool((decode_masks(content) == masks).all())
        (True, True)
    """
    stream = io.BytesIO()
    np.savez_compressed(stream, bits=np.packbits(masks), shape=np.array(masks.shape))
    return stream.getvalue()


def decode_masks(content: bytes, path: str | Path = "masks") -> BoolArray:
    """The inverse of `encode_masks`.

    Args:
        content: The packed masks.
        path: File that they come from, for messages.

    Raises:
        DatasetError: They are damaged.
    """
    packed, sides = decode_arrays(content, path, "bits", "shape")
    shape = tuple(sides.ravel().tolist())
    whole = len(shape) == 3 and sides.dtype.kind == "i" and min(shape) >= 0 and packed.dtype == np.uint8
    if not whole or packed.size != -(-math.prod(shape) // 8):
        raise DatasetError("damaged masks", path=path, found=f"{packed.size} bytes for a shape of {shape}")
    return np.unpackbits(packed.view(np.uint8), count=math.prod(shape)).view(np.bool_).reshape(shape)
