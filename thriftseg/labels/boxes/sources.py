"""Where boxes come from: a file of tracks, or the true masks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from thriftseg.datasets import Box, VOSClip, VOSDataset, box_of, ids_in, jitter_box
from thriftseg.errors import ConfigError
from thriftseg.exchange import BoxTracks


class BoxSource(Protocol):
    """Gives the boxes of a frame."""

    @property
    def action(self) -> str:
        """Names the drawing of these boxes, equal where they are the same boxes."""

    @property
    def arguments(self) -> Mapping[str, Any]:
        """What the boxes depend on, JSON values only."""

    def numbers(self, clip: VOSClip) -> tuple[int, ...]:
        """Native numbers of the frames of a video that have boxes, increasing; no frame is opened."""

    def boxes(self, clip: VOSClip, number: int) -> Mapping[int, Box]:
        """Boxes of a frame by id of the object, as they were given."""


class TrackBoxes:
    """Boxes of a file.

    Args:
        tracks: As `read_box_tracks` reads them.
    """

    def __init__(self, tracks: BoxTracks) -> None:
        self._tracks = tracks

    @property
    def action(self) -> str:
        """The file by its digest."""
        return f"box-{self._tracks.digest[:8]}"

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Digest of the file."""
        return {"boxes": self._tracks.digest}

    def numbers(self, clip: VOSClip) -> tuple[int, ...]:
        """Frames of the file; see `BoxSource.numbers`."""
        return tuple(sorted(self._tracks.boxes.get(clip.video, {})))

    def boxes(self, clip: VOSClip, number: int) -> Mapping[int, Box]:
        """Boxes of the file; see `BoxSource.boxes`."""
        return dict(sorted(self._tracks.boxes[clip.video][number].items()))


class MaskBoxes:
    """Boxes around the true masks, in all frames that have one.

    Args:
        dataset: Reader of the masks.
        noise: Standard deviation of the shift of each side, by the length of the box; see `jitter_box`.
        seed: Seed of the noise.

    Raises:
        ConfigError: The noise is not in 0 to below 0.2.
    """

    def __init__(self, dataset: VOSDataset, noise: float = 0.0, seed: int = 0) -> None:
        if not 0 <= noise < 0.2:
            raise ConfigError("noise of boxes", expected="0 to below 0.2", found=noise)
        self._dataset, self._noise, self._seed = dataset, noise, seed

    @property
    def action(self) -> str:
        """The same for all box-derived labels of a data set."""
        return "box"

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Noise, and its seed."""
        return {"boxes": "masks", **({"box_noise": self._noise, "box_seed": self._seed} if self._noise else {})}

    def numbers(self, clip: VOSClip) -> tuple[int, ...]:
        """Frames with a mask; see `BoxSource.numbers`."""
        return clip.annotated

    def boxes(self, clip: VOSClip, number: int) -> Mapping[int, Box]:
        """Boxes around the objects of the mask; see `BoxSource.boxes`."""
        mask = self._dataset.read_mask(clip, number)
        found = {object_id: box_of(mask == object_id) for object_id in ids_in(mask)}
        boxes: dict[int, Box] = {key: box for key, box in found.items() if box is not None}
        if self._noise:
            rngs = {key: np.random.default_rng(seed_of(self._seed, clip.video, number, key)) for key in boxes}
            boxes = {key: jitter_box(box, rngs[key], self._noise) for key, box in boxes.items()}
        return boxes


def seed_of(*words: object) -> list[int]:
    """Integers that depend on all words, to seed what is random about one of many things.

    Example:
        >>> seed_of(0, "bear", 7) == seed_of(0, "bear", 7), seed_of(0, "bear", 7) == seed_of(0, "bear", 8)
        (True, False)
    """
    digest = hashlib.sha256("/".join(map(str, words)).encode()).digest()
    return [int(word) for word in np.frombuffer(digest, np.uint32)]
