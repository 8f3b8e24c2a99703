"""The parts a synthetic street consists of: a moving camera, a ground plane and flat textured surfaces.

The world has x to the right, y up and z along the street, in metres; the ground is y = 0. The camera looks along z and
pans and nods by moving its principal point, so every flat surface is related to its image by a homography, and the
motion of every pixel between any two frames is known in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from thriftseg.arrays import Float32Array, Float64Array
from thriftseg.synthetic.exposure import Light
from thriftseg.synthetic.scene import SceneConfig
from thriftseg.synthetic.textures import Texture
from thriftseg.taxonomies import CITYSCAPES, Color

BACKDROP, OUTER, STREET = 0, 1, 2
"""Layers painted in this order: the skyline, what lies beyond the building line, what stands on the street."""

VIEW_DISTANCE = 110.0
"""Metres ahead of the camera up to which objects are placed and drawn."""

TRAIN_ID = {name: train_id for train_id, name in enumerate(CITYSCAPES.class_names)}
"""Train ids by class name."""


@dataclass(frozen=True)
class StreetPlan:
    """Widths in metres; pairs are (left, right)."""

    road: float
    sidewalk: tuple[float, float]
    verge: tuple[float, float]
    crossings: list[tuple[float, float]]

    def line(self, side: int) -> float:
        """Signed x of the building line on a side (-1 left, +1 right)."""
        index = (side + 1) // 2
        return side * (self.road / 2 + self.sidewalk[index] + self.verge[index])

    def pavement(self, side: int) -> tuple[float, float]:
        """Signed x of the inner and outer edge of the sidewalk on a side."""
        inner = self.road / 2
        return side * inner, side * (inner + self.sidewalk[(side + 1) // 2])


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that drives along the street.

    Attributes:
        focal: Focal length in pixels.
        height: Metres above the ground.
        x: Sideways position per frame, (T,).
        z: Position along the street per frame, (T,).
        principal: Principal point (column, row) per frame, (T, 2).
    """

    focal: float
    height: float
    x: Float64Array
    z: Float64Array
    principal: Float64Array

    def homographies(self, poses: Float64Array) -> Float64Array:
        """Project planes given by (right, down, origin) columns.

        Args:
            poses: (T, S, 3, 3), world coordinates.

        Returns:
            (T, S, 3, 3) maps from texture coordinates in [0, 1] to image columns and rows; the third homogeneous
            coordinate is the depth in metres.
        """
        position = np.stack([self.x, np.full_like(self.x, self.height), self.z], axis=-1)
        relative = poses.copy()
        relative[..., 2] -= position[:, None]
        projection = np.zeros((len(self.x), 3, 3))
        projection[:, 0, 0], projection[:, 1, 1] = self.focal, -self.focal
        projection[:, :2, 2], projection[:, 2, 2] = self.principal, 1
        return np.asarray(projection[:, None] @ relative)


@dataclass
class Surface:
    """A flat textured rectangle of one class that moves through the world.

    Attributes:
        texture: Colours and silhouette.
        train_id: Cityscapes train id, 255 for clutter.
        instance: `train_id * 1000 + k` with k from 1, 0 for what has no instances.
        poses: (T, 3, 3): columns right edge, down edge and upper left corner in world coordinates.
        depth: (T,) position along the street; farther ones are painted first.
        layer: (T,) `BACKDROP`, `OUTER` or `STREET`.
        part: Order among the parts of one object.
        facing: -1 if it is seen only from smaller x, +1 only from larger x, 0 from everywhere.
        footprint: Width and length in metres of the shadow on the ground, if it casts one.
    """

    texture: Texture
    train_id: int
    instance: int
    poses: Float64Array
    depth: Float64Array
    layer: npt.NDArray[np.int64]
    part: int = 0
    facing: int = 0
    footprint: tuple[float, float] | None = None


@dataclass
class Ground:
    """The ground plane: stripes of road, sidewalk and terrain along the street, crossed by side streets.

    Attributes:
        edges: Increasing x of the borders between stripes.
        classes: Train id of each stripe, one more than there are edges.
        crossings: (z0, z1) of the side streets, where everything is road.
        colors: Base colour by train id.
        grain: Strength of the texture by train id.
        noise: Seamless noise tiles from fine to coarse, each half the size of the one before.
        shade: Seamless noise tile of large soft shadows.
        shade_strength: How dark those shadows are, in [0, 1].
        lines: x of the painted lines, and dash period in metres (0: solid).
        rails: x of the rails.
        slab: Length of sidewalk slabs in metres.
    """

    edges: list[float]
    classes: list[int]
    crossings: list[tuple[float, float]]
    colors: dict[int, Color]
    grain: dict[int, float]
    noise: list[Float32Array]
    shade: Float32Array
    shade_strength: float
    lines: list[tuple[float, float]] = field(default_factory=list)
    rails: list[float] = field(default_factory=list)
    slab: float = 0.8


@dataclass
class Scene:
    """Everything needed to draw any frame of a clip.

    Attributes:
        config: Size and length.
        camera: Camera path.
        ground: Ground plane.
        sky: Sky texture, larger than the frame; it only follows the pan of the camera.
        light: Illumination.
        surfaces: All flat surfaces, in no particular order.
    """

    config: SceneConfig
    camera: Camera
    ground: Ground
    sky: Texture
    light: Light
    surfaces: list[Surface]


def upright(x: Float64Array, y: float, z: Float64Array, width: float, height: float, yaw: float = 0.0) -> Float64Array:
    """Poses of an upright rectangle centred at x, with its upper edge at height y.

    Args:
        x: (T,) centre.
        y: Height of the upper edge.
        z: (T,) position along the street.
        width: Metres.
        height: Metres.
        yaw: Angle in radians by which it is turned about its vertical axis.

    Returns:
        (T, 3, 3) columns right, down, upper left corner.
    """
    right = np.array([width * np.cos(yaw), 0.0, width * np.sin(yaw)])
    center = np.stack([x, np.full_like(x, y), z], axis=-1)
    return assemble(right, np.array([0.0, -height, 0.0]), center - right / 2)


def along_street(x: Float64Array, y: float, start: Float64Array, end: Float64Array, height: float) -> Float64Array:
    """Poses of an upright rectangle parallel to the street whose left image edge lies at `start`.

    Args:
        x: (T,) sideways position.
        y: Height of the upper edge.
        start: (T,) z of the edge that is left in the image.
        end: (T,) z of the other edge.
        height: Metres.

    Returns:
        (T, 3, 3) columns right, down, upper left corner.
    """
    zero = np.zeros_like(start)
    right = np.stack([zero, zero, end - start], axis=-1)
    corner = np.stack([x, np.full_like(start, y), start], axis=-1)
    return assemble(right, np.array([0.0, -height, 0.0]), corner)


def assemble(right: Float64Array, down: Float64Array, corner: Float64Array) -> Float64Array:
    """Stack edge vectors, each (3,) or (T, 3), and corners (T, 3) into poses (T, 3, 3)."""
    return np.stack([np.broadcast_to(right, corner.shape), np.broadcast_to(down, corner.shape), corner], axis=-1)
