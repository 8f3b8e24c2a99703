"""Synthetic video of objects that move, hide each other, enter late and leave, with exact masks and optical flow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thriftseg.arrays import BoolArray, Int64Array, UInt8Array
from thriftseg.synthetic.exposure import Exposure
from thriftseg.synthetic.motion import Drawing, DrawnVideo, Motion
from thriftseg.synthetic.objects.scene import Part, build_object_scene
from thriftseg.synthetic.objects.shapes import CATEGORIES
from thriftseg.synthetic.scene import SceneConfig
from thriftseg.synthetic.textures import warped

_UNIT_CORNERS = np.array([[0.0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]]).T


@dataclass
class ObjectDrawing(Drawing):
    """One drawn frame; `label` and `instances` hold the numbers of the objects, from 1.

    Attributes:
        silhouettes: (K, H, W) bool: the whole of each object inside the image, hidden or not.

    Example:
        >>> drawing = SyntheticObjectVideo(SceneConfig(height=48, width=80, num_frames=6, seed=3)).draw(0)
        >>> whole = drawing.silhouettes.sum(axis=(1, 2))
        >>> visible = np.bincount(drawing.label.ravel(), minlength=len(whole) + 1)[1:]
        >>> bool((whole >= visible).all()), bool(visible.any())
        (True, True)
    """

    silhouettes: BoolArray


class SyntheticObjectVideo(DrawnVideo):
    """A synthetic clip of moving objects; see `DrawnVideo`.

    Args:
        config: Size, length and seed.
        categories: What the objects may be; see `thriftseg.synthetic.objects.shapes.CATEGORIES`.

    Example:
        >>> video = SyntheticObjectVideo(SceneConfig(height=48, width=80, num_frames=6, seed=3))
        >>> first, last = video.draw(0), video.draw(5)
        >>> flow, occluded = video.flow(last, first, 5, 0)
        >>> first.image.shape, len(first.silhouettes) == len(video.categories), flow.shape
        ((48, 80, 3), True, (2, 48, 80))
    """

    def __init__(self, config: SceneConfig, categories: tuple[str, ...] = tuple(CATEGORIES)) -> None:
        self.config = config
        self._scene = build_object_scene(config, categories)
        self._owners = np.array([part.owner for part in self._scene.parts], np.uint8)
        self._exposure = Exposure(config, self._scene.light)
        poses = np.stack([part.poses for part in self._scene.parts], axis=1)
        self.motion = Motion(poses, config.height, config.width)

    @property
    def categories(self) -> list[str]:
        """Categories of the objects, in the order of their numbers."""
        return self._scene.categories

    def draw(self, t: int) -> ObjectDrawing:
        """Draw the frame at position `t`."""
        size = self.config.height, self.config.width
        canvas: UInt8Array = np.zeros((*size, 4), np.uint8)
        layers: Int64Array = np.zeros(size, np.int64)
        silhouettes: BoolArray = np.zeros((len(self.categories), *size), np.bool_)
        for index, part in enumerate(self._scene.parts):
            rows, columns, mask = _paint(canvas, part, t)
            np.copyto(layers[rows, columns], index, where=mask)
            if part.owner:
                silhouettes[part.owner - 1, rows, columns] |= mask
        ids = self._owners[layers]
        return ObjectDrawing(
            image=self._exposure.apply(canvas, t),
            label=ids,
            instances=ids.astype(np.int32),
            layers=layers,
            order=np.arange(len(self._owners)),
            silhouettes=silhouettes,
        )


def _paint(canvas: UInt8Array, part: Part, t: int) -> tuple[slice, slice, BoolArray]:
    """Draw a part into the canvas (H, W, 4); returns the window it fills and its pixels there."""
    matrix = part.poses[t]
    corners = (matrix @ _UNIT_CORNERS)[:2]
    limits = np.array(canvas.shape[1::-1])
    left, top = np.clip(np.floor(corners.min(axis=1)), 0, limits).astype(int).tolist()
    right, bottom = np.clip(np.ceil(corners.max(axis=1)) + 1, 0, limits).astype(int).tolist()
    rows, columns = slice(top, bottom), slice(left, right)
    if right <= left or bottom <= top:
        return rows, columns, np.zeros((max(bottom - top, 0), max(right - left, 0)), np.bool_)
    lengths = np.linalg.norm(matrix[:2, :2], axis=0)
    texture = part.texture.level_for(*lengths.tolist())
    patch = warped(texture, np.linalg.inv(matrix), (left, top), (right - left, bottom - top))
    mask: BoolArray = patch[..., 3] > 127
    np.copyto(canvas[rows, columns], patch, where=mask[..., None])
    return rows, columns, mask
