"""The motion between frames whose parts move by homographies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from thriftseg.arrays import BoolArray, Float32Array, Float64Array, Int32Array, UInt8Array
from thriftseg.synthetic.scene import SceneConfig

LayerMap = npt.NDArray[np.int64]


@dataclass
class Drawing:
    """One drawn frame.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        label: (H, W) uint8 Cityscapes train ids, 255 = clutter without a class.
        instances: (H, W) int32, `train_id * 1000 + k` with k from 1, 0 = none.
        layers: (H, W) int64: which part of the scene each pixel shows.
        order: (S + 2,) rank of every part in painting order; what has a higher rank hides what has a lower one.
    """

    image: UInt8Array
    label: UInt8Array
    instances: Int32Array
    layers: LayerMap
    order: LayerMap


class Motion:
    """Exact flow between the frames of a clip and what is hidden in them.

    Every part of a scene is flat, so a homography H_t takes its texture to frame t, whatever the camera and the part
    do. What a pixel p of frame a shows is then at H_b H_a^-1 p in frame b: one product of matrices per part, looked up
    for each pixel by the part that it shows, gives the flow of the whole frame without any search.

    Args:
        homographies: (T, L, 3, 3) from each part of the scene to the image.
        height: Rows of a frame.
        width: Columns of a frame.
    """

    def __init__(self, homographies: Float64Array, height: int, width: int) -> None:
        self._homographies = homographies
        self.height, self.width = height, width
        self._columns = np.arange(width, dtype=np.float32)[None]
        self._rows = np.arange(height, dtype=np.float32)[:, None]

    def flow(self, source: Drawing, a: int, b: int) -> Float32Array:
        """Exact flow from frame `a` to frame `b`, seen from `a`.

        Args:
            source: Frame `a` as drawn.
            a: Position of the first frame.
            b: Position of the second frame.

        Returns:
            (2, H, W) float32 (dx, dy): what is at p in frame `a` is at p + flow in frame `b`, visible there or not.
        """
        present = np.flatnonzero(np.bincount(source.layers.ravel(), minlength=self._homographies.shape[1]))
        table = np.zeros((self._homographies.shape[1], 9))
        table[:, [0, 4, 8]] = 1
        maps = self._homographies[b, present] @ np.linalg.inv(self._homographies[a, present])
        table[present] = maps.reshape(-1, 9)
        coefficients = np.ascontiguousarray(_increments(table, self.width / 2, self.height / 2).T.astype(np.float32))
        x, y = self._columns - self.width / 2, self._rows - self.height / 2
        c = [np.take(row, source.layers) for row in coefficients]
        depth_ratio = np.maximum(c[6] * x + c[7] * y + c[8], np.float32(0.02))
        dx = (c[0] * x + c[1] * y + c[2]) / depth_ratio
        dy = (c[3] * x + c[4] * y + c[5]) / depth_ratio
        dx -= x * (1 - 1 / depth_ratio)
        dy -= y * (1 - 1 / depth_ratio)
        limit = 4.0 * self.width
        return np.asarray(np.clip(np.stack([dx, dy]), -limit, limit), dtype=np.float32)

    def occluded(self, flow: Float32Array, source: Drawing, target: Drawing) -> BoolArray:
        """Pixels of the source that cannot be seen in the target.

        Args:
            flow: (2, H, W) exact flow from source to target.
            source: Frame the flow is defined on.
            target: Frame the flow points to.

        Returns:
            (H, W) bool: True where the flow leaves the image or something nearer covers the point.
        """
        columns = np.rint(self._columns + flow[0]).astype(np.int64)
        rows = np.rint(self._rows + flow[1]).astype(np.int64)
        outside = (columns < 0) | (columns >= self.width) | (rows < 0) | (rows >= self.height)
        np.clip(columns, 0, self.width - 1, out=columns)
        np.clip(rows, 0, self.height - 1, out=rows)
        there = target.layers.ravel()[rows * self.width + columns]
        covered = target.order[there] > target.order[source.layers]
        return np.asarray(outside | covered)


class DrawnVideo(ABC):
    """A synthetic clip whose frames can be drawn in any order and related to each other at any distance.

    Attributes:
        config: Size, length and seed.
        motion: How its parts move.
    """

    config: SceneConfig
    motion: Motion

    @abstractmethod
    def draw(self, t: int) -> Drawing:
        """Draw the frame at position `t`."""

    def flow(self, source: Drawing, target: Drawing, a: int, b: int) -> tuple[Float32Array, BoolArray]:
        """Exact flow from frame `a` to frame `b` and where it cannot be followed.

        Args:
            source: Frame `a` as drawn.
            target: Frame `b` as drawn.
            a: Position of the source.
            b: Position of the target.

        Returns:
            (2, H, W) float32 (dx, dy) on the source, and (H, W) bool, True where the point is hidden or outside in `b`.
        """
        flow = self.motion.flow(source, a, b)
        return flow, self.motion.occluded(flow, source, target)


def _increments(table: Float64Array, center_x: float, center_y: float) -> Float64Array:
    """Homographies (n, 9) as acting on coordinates relative to a centre, less x and y.

    Single precision would lose the small difference of two large coordinates.
    """
    forth = np.array([[1, 0, center_x], [0, 1, center_y], [0, 0, 1]])
    back = np.array([[1, 0, -center_x], [0, 1, -center_y], [0, 0, 1]])
    moved = back @ table.reshape(-1, 3, 3) @ forth
    moved[:, 0, 0] -= 1
    moved[:, 1, 1] -= 1
    return np.asarray(moved.reshape(-1, 9))
