"""Outcomes of each way to annotate an object in a frame, which the choice between the ways is learned from.

    <root>/set.json          see `thriftseg.stores.annotation_rounds`
    <root>/manifest.jsonl    {"video", "object", "round", "frame", "image", "quality", "overhead",
                              "clicks": [{"quality", "cost"}, ...], "drawn": {"quality", "cost"}}
    <root>/masks/<video>/<object:03d>/<round:02d>/before.png, clicks01.png, clicks02.png, ..., drawn.png
    <root>/embeddings/<encoder>/<video>/<frame:06d>.npy    (256,) float32, where an encoder was asked for

In each round of annotating an object, a frame is chosen, and all ways to annotate it are tried from the same mask:
drawing it, or clicks one after the other. `quality` compares a mask with the truth, `cost` is that of the single
action, `overhead` what the first click costs beside it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thriftseg.arrays import Float32Array, UInt8Array
from thriftseg.atomic import write_bytes
from thriftseg.costs import AnnotationCost
from thriftseg.errors import ConfigError, DatasetError
from thriftseg.parsing import Count, FileName, Record, Share, decode_arrays, read_bytes
from thriftseg.stores.annotation_rounds import RoundFolder, RoundKey, RoundRow, check_quality
from thriftseg.types import EMBEDDING_CHANNELS


@dataclass(frozen=True)
class Annotated:
    """A mask after an action.

    Attributes:
        mask: (H, W) uint8, 1 on the object, of any size.
        quality: In [0, 1].
        cost: Of this action alone.

    Example:
        >>> mask = np.ones((48, 80), np.uint8)
        >>> clicks = [Annotated(mask, quality, AnnotationCost(seconds=1.5, clicks=1)) for quality in (0.5, 0.75)]
        >>> sum((item.cost for item in clicks), AnnotationCost()).seconds, clicks[-1].quality
        (3.0, 0.75)
    """

    mask: UInt8Array
    quality: float
    cost: AnnotationCost


@dataclass(frozen=True)
class Outcome:
    """A stored mask after an action.

    Attributes:
        mask: Its file.
        quality: In [0, 1].
        cost: Of this action alone.

    Example:
        >>> click = Outcome(Path("clicks01.png"), 0.75, AnnotationCost(seconds=2.5, clicks=1))
        >>> drawn = Outcome(Path("drawn.png"), 1.0, AnnotationCost(seconds=80, masks=1))
        >>> [(outcome.quality - 0.5) / outcome.cost.seconds for outcome in (click, drawn)]  # gain per second
        [0.1, 0.00625]
    """

    mask: Path
    quality: float
    cost: AnnotationCost


@dataclass(frozen=True)
class TypeState:
    """An object in a frame that is to be annotated, and what comes of each way to do so.

    Attributes:
        key: Video, object and round.
        number: Native frame number.
        image: Name of the frame.
        mask: File of the mask so far.
        quality: Of that mask.
        overhead: What the first click costs beside itself.
        clicks: After each of the clicks.
        drawn: After drawing the mask.

    Example:
        >>> drawn = Outcome(Path("drawn.png"), 1.0, AnnotationCost(seconds=80, masks=1))
        >>> click = Outcome(Path("clicks01.png"), 0.75, AnnotationCost(seconds=1.5, clicks=1))
        >>> state = TypeState(
        ...     RoundKey("bear", 1, 0), 15, "bear/00015.jpg", Path("before.png"), quality=0.5,
        ...     overhead=AnnotationCost(seconds=1.0), clicks=(click,), drawn=drawn,
        ... )
        >>> state.id, state.image_id, state.overhead.seconds + state.clicks[0].cost.seconds
        ('bear/001/00', 'bear/000015', 2.5)
    """

    key: RoundKey
    number: int
    image: str
    mask: Path
    quality: float
    overhead: AnnotationCost
    clicks: tuple[Outcome, ...]
    drawn: Outcome

    @property
    def id(self) -> str:
        """`video/object/round`."""
        return str(self.key)

    @property
    def image_id(self) -> str:
        """`video/frame`; objects and rounds of a frame share it."""
        return f"{self.key.video}/{self.number:06d}"


class _Outcome(Record, frozen=True):
    quality: Share
    cost: AnnotationCost


class _Row(RoundRow, frozen=True):
    frame: Count
    image: FileName
    quality: Share
    overhead: AnnotationCost
    clicks: list[_Outcome]
    drawn: _Outcome


class TypeSet(RoundFolder[_Row]):
    """States with the outcomes of all ways to annotate them; arguments as for `RoundFolder`.

    Example:
        >>> import tempfile
        >>> from thriftseg.costs import CostModel
        >>> folder, price = Path(tempfile.mkdtemp()), CostModel.named("polygon")
        >>> states = TypeSet.create(folder / "type_set", "davis", folder)
        >>> mask = np.ones((48, 80), np.uint8)
        >>> states.write_round(
        ...     RoundKey("bear", 1, 0), 15, folder / "bear" / "00015.jpg", mask=mask, quality=0.5,
        ...     clicks=[Annotated(mask, 0.75, price.clicks(1, objects=0))],
        ...     drawn=Annotated(mask, 1.0, price.mask()), overhead=price.clicks(0, objects=1),
        ... )
        >>> state = states.states()[0]
        >>> state.id, state.image_id, state.overhead.seconds, state.clicks[0].cost.seconds
        ('bear/001/00', 'bear/000015', 1.0, 1.5)
    """

    kind = "type set"
    row_type = _Row

    def write_round(
        self,
        key: RoundKey,
        number: int,
        frame: Path,
        *,
        mask: UInt8Array,
        quality: float,
        clicks: Sequence[Annotated],
        drawn: Annotated,
        overhead: AnnotationCost,
    ) -> None:
        """Store what came of annotating a frame.

        Args:
            key: Video, object and round.
            number: Native frame number; the object is in the frame.
            frame: File of the frame, in the folder of the data set.
            mask: The mask that the first click corrects, (H, W) uint8, 1 on the object, of any size.
            quality: Of that mask, in [0, 1].
            clicks: After each of the clicks, one at least.
            drawn: After drawing the mask.
            overhead: What the first click costs beside itself.

        Raises:
            DatasetError: A mask or quality is none, there is no click, or the frame lies outside of the data set.
        """
        if not clicks:
            raise DatasetError(f"{key} has no clicks", path=self.root, expected="the outcome of one click at least")
        outcomes = [_Outcome(check_quality(item.quality), item.cost) for item in (*clicks, drawn)]
        row = _Row(
            *key,
            frame=number,
            image=self._image_name(frame),
            quality=check_quality(quality),
            overhead=overhead,
            clicks=outcomes[:-1],
            drawn=outcomes[-1],
        )
        self._write_mask(self._mask_path(key, "before"), mask)
        for count, item in enumerate(clicks, start=1):
            self._write_mask(self._mask_path(key, f"clicks{count:02d}"), item.mask)
        self._write_mask(self._mask_path(key, "drawn"), drawn.mask)
        self._add(row)

    def states(self) -> list[TypeState]:
        """All states, sorted by video, object and round.

        Raises:
            DatasetError: The set is missing or empty.
            LabelStoreError: A row is damaged.
        """
        found = []
        for key, row in sorted(self.rows.items()):
            clicked = [self._mask_path(key, f"clicks{count:02d}") for count in range(1, len(row.clicks) + 1)]
            state = TypeState(
                key=key,
                number=row.frame,
                image=row.image,
                mask=self._mask_path(key, "before"),
                quality=row.quality,
                overhead=row.overhead,
                clicks=tuple(
                    Outcome(mask, item.quality, item.cost) for mask, item in zip(clicked, row.clicks, strict=True)
                ),
                drawn=Outcome(self._mask_path(key, "drawn"), row.drawn.quality, row.drawn.cost),
            )
            found.append(state)
        if not found:
            raise DatasetError("the type set has no states", path=self.root)
        return found

    def embedding(
        self, state: TypeState, encoder: str, compute: Callable[[UInt8Array], Float32Array] | None = None
    ) -> Float32Array:
        """Embedding of the frame of a state by an image encoder, averaged over the frame.

        Args:
            state: The state.
            encoder: Name of the encoder and its weights, such as "sam"; a folder of the set is named like it.
            compute: Embeds a frame, (H, W, 3) uint8 RGB, as (256, h, w) or (256,); called where nothing is stored yet,
                and its average is stored.

        Returns:
            (256,) float32.

        Raises:
            DatasetError: Nothing is stored and nothing can be computed, or the file is damaged.
            ConfigError: `compute` gives another shape.
        """
        path = self.root / "embeddings" / encoder / state.key.video / f"{state.number:06d}.npy"
        if path.is_file():
            return _read_embedding(path)
        if compute is None:
            raise DatasetError(
                f"no embedding of {encoder} for this frame", path=path, fix="compute the embeddings first"
            )
        embedding = np.asarray(compute(self.read_image(state.image)), np.float32)
        if embedding.shape[:1] != (EMBEDDING_CHANNELS,) or embedding.ndim not in (1, 3):
            expected = f"({EMBEDDING_CHANNELS}, h, w) or ({EMBEDDING_CHANNELS},)"
            raise ConfigError(f"{encoder} gives no image embedding", expected=expected, found=embedding.shape)
        average: Float32Array = embedding.reshape(EMBEDDING_CHANNELS, -1).mean(axis=1)
        stream = io.BytesIO()
        np.save(stream, average, allow_pickle=False)
        write_bytes(path, stream.getvalue())
        return average


def _read_embedding(path: Path) -> Float32Array:
    (embedding,) = decode_arrays(read_bytes(path), path, fix="delete the file")
    if embedding.shape != (EMBEDDING_CHANNELS,) or embedding.dtype != np.float32:
        found = f"{embedding.shape} {embedding.dtype}"
        raise DatasetError("no embedding", path=path, expected=f"({EMBEDDING_CHANNELS},) float32", found=found)
    return np.asarray(embedding, np.float32)
