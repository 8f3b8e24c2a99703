"""The state of a frame on the page: a map of object ids, the class of each object, and patches that change them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from thriftseg.annotation.page.refusals import PatchError
from thriftseg.arrays import BoolArray, Int64Array, UInt8Array, UInt16Array
from thriftseg.stores import NO_OBJECT, Patch
from thriftseg.types import IGNORE_INDEX, Size

_KEEP = -1


@dataclass
class FrameState:
    """What a frame looks like.

    Attributes:
        ids: Object ids, (H, W) uint16, 0 = no object.
        classes: Train id of every object by its id.

    Example:
        >>> state = FrameState(np.zeros((2, 3), np.uint16), {7: 4})
        >>> state.apply(Patch(1, 0, 2, 2, (7, 1, -1, 1, 7, 2)))
        >>> state.ids.tolist(), state.to_label().tolist()
        ([[0, 7, 0], [0, 7, 7]], [[255, 4, 255], [255, 4, 4]])
    """

    ids: UInt16Array
    classes: dict[int, int] = field(default_factory=dict)

    @classmethod
    def empty(cls, size: Size) -> FrameState:
        """A frame without objects."""
        return cls(np.zeros(size, np.uint16))

    def copy(self) -> FrameState:
        """A copy, whose changes leave this one as it is."""
        return FrameState(self.ids.copy(), dict(self.classes))

    def apply(self, patch: Patch, locked: Collection[int] = ()) -> None:
        """Change pixels.

        Args:
            patch: The new values.
            locked: Ids of objects that must keep their pixels.

        Raises:
            PatchError: The box is not inside of the frame, the runs do not fill it, or an object is unknown or locked.
        """
        values = expanded(patch, self.ids.shape)
        known = np.array([_KEEP, NO_OBJECT, *self.classes])
        unknown = np.setdiff1d(values, known)
        if unknown.size:
            raise PatchError("a patch with an object that the frame does not have", found=int(unknown[0]))
        box = self.ids[patch.y : patch.y + patch.height, patch.x : patch.x + patch.width]
        changed = (values != _KEEP) & (values != box)
        if locked:
            held = [*locked]
            if (changed & (np.isin(box, held) | np.isin(values, held))).any():
                raise PatchError("the patch changes a locked object", fix="unlock it first")
        box[changed] = values[changed]

    def to_label(self) -> UInt8Array:
        """Train ids, (H, W) uint8; 255 where there is no object."""
        table = np.full(max(self.classes, default=0) + 1, IGNORE_INDEX, np.uint8)
        for number, train_id in self.classes.items():
            table[number] = train_id
        label: UInt8Array = table[self.ids]
        return label

    def shows_the_same_as(self, other: FrameState) -> bool:
        """Whether all pixels belong to the same objects, and these to the same classes."""
        return np.array_equal(self.ids, other.ids) and np.array_equal(self.to_label(), other.to_label())

    @property
    def areas(self) -> dict[int, int]:
        """Pixels of every object by its id."""
        counts = np.bincount(self.ids.ravel(), minlength=max(self.classes, default=0) + 1)
        return {number: int(counts[number]) for number in self.classes}


def expanded(patch: Patch, size: tuple[int, ...]) -> Int64Array:
    """Values of a patch as a map of its box, (height, width) int64.

    Args:
        patch: The patch.
        size: Height and width of its frame.

    Raises:
        PatchError: The box is not inside of the frame, or the runs do not fill it.
    """
    height, width = size[0], size[1]
    if patch.x + patch.width > width or patch.y + patch.height > height:
        raise PatchError(
            "a patch outside of its frame",
            expected=f"a box in {width}x{height}",
            found=f"{patch.width}x{patch.height} at {patch.x}, {patch.y}",
        )
    runs = np.array(patch.runs, np.int64)
    if len(runs) % 2 or (runs[1::2] < 1).any() or runs[1::2].sum() != patch.width * patch.height:
        raise PatchError("runs that do not fill the patch", expected=f"{patch.width * patch.height} pixels")
    values: Int64Array = np.repeat(runs[::2], runs[1::2]).reshape(patch.height, patch.width)
    return values


def patch_of(mask: BoolArray) -> Patch:
    """The smallest patch that is 1 where a mask holds, and 0 beside it.

    Args:
        mask: (H, W).

    Example:
        >>> patch_of(np.array([[0, 0, 0], [0, 1, 1], [0, 0, 1]], bool))
        Patch(x=1, y=1, width=2, height=2, runs=(1, 2, 0, 1, 1, 1))
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return Patch(0, 0, 0, 0)
    top, left = int(rows[0]), int(columns[0])
    height, width = int(rows[-1]) - top + 1, int(columns[-1]) - left + 1
    values = mask[top : top + height, left : left + width].ravel()
    starts = np.concatenate([[0], np.flatnonzero(np.diff(values)) + 1])
    counts = np.diff(np.append(starts, values.size))
    runs = np.stack([values[starts], counts], axis=1).ravel().tolist()
    return Patch(left, top, width, height, tuple(runs))


def mask_of_patch(patch: Patch, size: Size) -> BoolArray:
    """Where a patch is 1, (H, W).

    Args:
        patch: The patch.
        size: Height and width of its frame.

    Raises:
        PatchError: As for `expanded`.
    """
    mask = np.zeros(size, np.bool_)
    mask[patch.y : patch.y + patch.height, patch.x : patch.x + patch.width] = expanded(patch, size) == 1
    return mask
