"""Draws synthetic scenes frame by frame, with exact labels and exact optical flow."""

from __future__ import annotations

import cv2
import numpy as np

from thriftseg.arrays import BoolArray, Float32Array, Float64Array, UInt8Array
from thriftseg.synthetic.exposure import Exposure
from thriftseg.synthetic.motion import Drawing, LayerMap, Motion
from thriftseg.synthetic.street.scene import BACKDROP, TRAIN_ID, VIEW_DISTANCE, Ground, Scene
from thriftseg.synthetic.textures import warped
from thriftseg.types import IGNORE_INDEX

SKY, GROUND, FIRST_SURFACE = 0, 1, 2
"""Values of a layer map: the sky, the ground plane, and then the surfaces in the order of the scene."""

_NEAR = 0.4  # metres in front of the camera below which nothing is drawn
_TEXELS_PER_METRE = 14.0
_ROAD, _SIDEWALK, _SKY = TRAIN_ID["road"], TRAIN_ID["sidewalk"], TRAIN_ID["sky"]
_CIRCLE = np.stack([np.cos(np.arange(16) * np.pi / 8), np.sin(np.arange(16) * np.pi / 8), np.ones(16)])
_UNIT_CORNERS = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=np.float64)


class Renderer:
    """Draws the frames of one scene, in any order.

    Args:
        scene: What to draw.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        config, camera = scene.config, scene.camera
        self.height, self.width = config.height, config.width
        surfaces = scene.surfaces
        poses = (
            np.stack([surface.poses for surface in surfaces], axis=1)
            if surfaces
            else np.zeros((len(camera.z), 0, 3, 3))
        )
        # The endless planes come first: the sky, which only follows the pan, and the ground (x, z).
        sky = np.tile(np.eye(3), (len(camera.z), 1, 1, 1))
        sky[:, 0, :2, 2] = camera.principal
        ground = np.tile(np.array([[1.0, 0, 0], [0, 0, 0], [0, 1.0, 0]]), (len(camera.z), 1, 1, 1))
        self._homographies = np.concatenate([sky, camera.homographies(ground), camera.homographies(poses)], axis=1)
        self._train_ids = np.array([_SKY, IGNORE_INDEX, *(s.train_id for s in surfaces)], dtype=np.uint8)
        self._instance_ids = np.array([0, 0, *(s.instance for s in surfaces)], dtype=np.int32)
        self._ranks = np.stack([self._rank(t) for t in range(config.num_frames)])
        self._plane_x = (
            np.stack([s.poses[:, 0, 2] for s in surfaces], axis=1) if surfaces else np.zeros((len(camera.z), 0))
        )
        self._facing = np.array([s.facing for s in surfaces], dtype=np.int64)
        self._columns = np.arange(self.width, dtype=np.float32)[None]
        self._rows = np.arange(self.height, dtype=np.float32)[:, None]
        self.motion = Motion(self._homographies, self.height, self.width)
        self._exposure = Exposure(config, scene.light)

    def _rank(self, t: int) -> LayerMap:
        """Painting order: skyline, sky behind it, ground in front of it, then layer by layer from far to near."""
        surfaces = self.scene.surfaces
        layers = np.array([s.layer[t] for s in surfaces], dtype=np.int64)
        depths = np.array([s.depth[t] for s in surfaces], dtype=np.float64)
        parts = np.array([s.part for s in surfaces], dtype=np.int64)
        order = np.lexsort((parts, -depths, layers))
        ranks = np.empty(len(surfaces), dtype=np.int64)
        ranks[order] = np.arange(len(surfaces))
        distant = layers == BACKDROP
        ground = int(distant.sum()) + 1
        return np.concatenate([[0, ground], np.where(distant, ranks + 1, ranks + 2)]).astype(np.int64)

    # --- drawing ---

    def draw(self, t: int) -> Drawing:
        """Draw frame `t`.

        Args:
            t: Position in the clip, from 0.
        """
        canvas = self._draw_sky(t)
        layers = np.zeros((self.height, self.width), dtype=np.int64)
        quads, visible = self._project(t)
        order = np.argsort(self._ranks[t][FIRST_SURFACE:])
        order = order[visible[order]]
        distant = np.array([self.scene.surfaces[k].layer[t] == BACKDROP for k in order], dtype=bool)
        self._paint_all(canvas, layers, t, order[distant], quads)
        ground_top, ground_label = self._draw_ground(canvas, layers, t, order[~distant])
        self._paint_all(canvas, layers, t, order[~distant], quads)
        label = self._train_ids[layers]
        lower = layers[ground_top:] == GROUND
        label[ground_top:][lower] = ground_label[lower]
        return Drawing(self._exposure.apply(canvas, t), label, self._instance_ids[layers], layers, self._ranks[t])

    def _project(self, t: int) -> tuple[Float64Array, BoolArray]:
        """Image corners (S, 4, 2) of all surfaces, cut at the near plane, and which of them can be seen."""
        matrices = self._homographies[t, FIRST_SURFACE:]
        depth_left, depth_change = matrices[:, 2, 2], matrices[:, 2, 0]
        depth_right = depth_left + depth_change
        with np.errstate(divide="ignore", invalid="ignore"):
            cut = np.clip(np.nan_to_num((_NEAR - depth_left) / depth_change), 0, 1)
        left = np.where(depth_left < _NEAR, cut, 0.0)
        right = np.where(depth_right < _NEAR, cut, 1.0)
        corners = np.broadcast_to(_UNIT_CORNERS, (len(matrices), 4, 2)).copy()
        corners[:, :, 0] = np.where(corners[:, :, 0] == 0, left[:, None], right[:, None])
        homogeneous = np.concatenate([corners, np.ones((len(matrices), 4, 1))], axis=2)
        projected = homogeneous @ matrices.transpose(0, 2, 1)
        points = projected[..., :2] / np.maximum(projected[..., 2:], 1e-6)
        nearest = np.minimum(depth_left, depth_right)
        farthest = np.maximum(depth_left, depth_right)
        limit = (
            4 * VIEW_DISTANCE
            if not len(matrices)
            else np.array([np.inf if s.layer[t] == BACKDROP else VIEW_DISTANCE for s in self.scene.surfaces])
        )
        inside = (points.max(axis=1) > -0.5).all(axis=1) & (points.min(axis=1) < (self.width, self.height)).all(axis=1)
        side = self._facing * (self.scene.camera.x[t] - self._plane_x[t])
        seen = (self._facing == 0) | (side > 1e-3)
        return points, (farthest > _NEAR) & (nearest < limit) & inside & seen

    def _paint_all(self, canvas: UInt8Array, layers: LayerMap, t: int, order: LayerMap, quads: Float64Array) -> None:
        """Draw surfaces in order into the canvas (H, W, 4) and their numbers into the layer map."""
        inverses = np.linalg.inv(self._homographies[t, order + FIRST_SURFACE])
        low = np.floor(np.maximum(quads[order].min(axis=1), 0)).astype(int).tolist()
        edge = (self.width - 1, self.height - 1)
        high = (np.ceil(np.minimum(quads[order].max(axis=1), edge)).astype(int) + 1).tolist()
        extents = np.ptp(quads[order], axis=1).tolist()
        for k, inverse, (x0, y0), (x1, y1), extent in zip(order.tolist(), inverses, low, high, extents, strict=True):
            if x1 <= x0 or y1 <= y0:
                continue
            patch = warped(self.scene.surfaces[k].texture.level_for(*extent), inverse, (x0, y0), (x1 - x0, y1 - y0))
            mask = patch[..., 3] > 127
            np.copyto(canvas[y0:y1, x0:x1], patch, where=mask[..., None])
            np.copyto(layers[y0:y1, x0:x1], k + FIRST_SURFACE, where=mask)

    def _draw_sky(self, t: int) -> UInt8Array:
        texture = self.scene.sky.rgba
        offset = (np.array(texture.shape[1::-1]) - (self.width, self.height * 0.75)) / 2
        pan = self.scene.camera.principal[t] - self.scene.camera.principal.mean(axis=0)
        matrix = np.array([[1.0, 0, offset[0] - pan[0]], [0, 1.0, offset[1] - pan[1]]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (self.width, self.height)
        return np.asarray(cv2.warpAffine(texture, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8)

    def _draw_ground(self, canvas: UInt8Array, layers: LayerMap, t: int, standing: LayerMap) -> tuple[int, UInt8Array]:
        """Draw the ground below the horizon.

        Returns:
            The first row of the ground and the classes from that row on, (rows, W).
        """
        camera, ground = self.scene.camera, self.scene.ground
        column, horizon = camera.principal[t]
        top = max(0, int(np.floor(horizon)) + 1)
        depth = (camera.focal * camera.height / (self._rows[top:] - horizon)).astype(np.float32)
        x = (self._columns - np.float32(column)) * (depth / np.float32(camera.focal)) + np.float32(camera.x[t])
        z = depth + np.float32(camera.z[t])
        stripe = _stripes(ground, x, z)
        label = np.array(ground.classes, dtype=np.uint8)[stripe]
        colors = np.array([ground.colors[train_id] for train_id in ground.classes], dtype=np.float32)
        grain = np.array([ground.grain[train_id] for train_id in ground.classes], dtype=np.float32)
        noise = _ground_noise(ground, x, z, depth, camera.focal * camera.height)
        brightness = 1 + grain[stripe] * noise
        brightness *= self._ground_shadows(x, z, t, standing, top)
        painted = colors[stripe]
        _paint_markings(ground, painted, label, x, z, depth)
        np.multiply(painted, brightness[..., None], out=painted)
        canvas[top:, :, :3] = np.clip(painted, 0, 255)
        layers[top:] = GROUND
        return top, label

    def _ground_shadows(self, x: Float32Array, z: Float32Array, t: int, standing: LayerMap, top: int) -> Float32Array:
        """Factor on the brightness of the ground: large soft patches, and a dark spot under every object."""
        ground = self.scene.ground
        scale = np.float32(6.0)
        patches = _sample(ground.shade, x * scale, np.broadcast_to(z * scale, x.shape))
        light = 1 - np.float32(ground.shade_strength) * np.clip(0.5 + 0.8 * patches, 0, 1)
        spots = np.zeros((self.height, self.width), dtype=np.uint8)
        matrix = self._homographies[t, GROUND]
        for k in standing:
            surface = self.scene.surfaces[k]
            if surface.footprint is not None:
                _fill_footprint(spots, matrix, surface.poses[t], surface.footprint)
        spots = np.asarray(cv2.GaussianBlur(spots[top:], (0, 0), 0.004 * self.width), dtype=np.uint8)
        return np.asarray(light * (1 - spots * np.float32(0.55 / 255)), dtype=np.float32)


def _stripes(ground: Ground, x: Float32Array, z: Float32Array) -> LayerMap:
    """Index of the stripe of every ground point; side streets count as road."""
    stripe = np.zeros(x.shape, dtype=np.uint8)
    for edge in ground.edges:
        stripe += x >= edge
    road = ground.classes.index(_ROAD)
    for start, end in ground.crossings:
        stripe[((z >= start) & (z < end)).ravel()] = road
    return stripe.astype(np.int64)


def _ground_noise(ground: Ground, x: Float32Array, z: Float32Array, depth: Float32Array, scale: float) -> Float32Array:
    """Texture of the ground, sampled more coarsely with distance so that it does not flicker."""
    footprint = (depth**2 / scale).ravel()
    levels = np.floor(np.log2(np.maximum(footprint * _TEXELS_PER_METRE * 0.5, 1.0))).astype(int)
    levels = np.clip(levels, 0, len(ground.noise) - 1)
    noise = np.empty_like(x)
    for level in np.unique(levels):
        rows = np.flatnonzero(levels == level)
        block = slice(rows[0], rows[-1] + 1)
        scale_level = np.float32(_TEXELS_PER_METRE / 2**level)
        noise[block] = _sample(
            ground.noise[level], x[block] * scale_level, np.broadcast_to(z[block] * scale_level, x[block].shape)
        )
    return noise


def _sample(tile: Float32Array, u: Float32Array, v: Float32Array) -> Float32Array:
    """Look a seamless tile up at any coordinates."""
    size = len(tile)
    sampled = cv2.remap(tile, _modulo(u, size), _modulo(v, size), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(sampled, dtype=np.float32)


def _modulo(values: Float32Array, divisor: float) -> Float32Array:
    """Remainder of a division; a few times as fast as `np.mod`."""
    return np.asarray(values - np.float32(divisor) * np.floor(values * np.float32(1 / divisor)), dtype=np.float32)


def _paint_markings(
    ground: Ground, painted: Float32Array, label: UInt8Array, x: Float32Array, z: Float32Array, depth: Float32Array
) -> None:
    """Paint lane lines, rails, zebra crossings and slab joints into the colours (rows, W, 3)."""
    near = int(np.searchsorted(-depth.ravel(), -45.0))  # rows are ordered from far to near
    x, z, label, painted = x[near:], z[near:], label[near:], painted[near:]
    road = label == _ROAD
    zebra = np.zeros(len(x), dtype=bool)
    free = np.ones(len(x), dtype=bool)
    for start, end in ground.crossings:
        zebra |= ((z > start - 2.6) & (z < start - 0.4)).ravel()
        free &= ~((z > start - 3) & (z < end)).ravel()
    bright = np.zeros(x.shape, dtype=np.bool_)
    for position, dash in ground.lines:
        drawn = free & ((_modulo(z, dash) < 0.5 * dash).ravel() if dash else True)
        bright |= (np.abs(x - np.float32(position)) < 0.08) & drawn[:, None]
    bright[zebra] |= _modulo(x[zebra], 1.0) < 0.5
    painted[bright & road] = 210
    for position in ground.rails:
        painted[np.abs(x - np.float32(position)) < 0.06] = 70
    joints = (_modulo(x, ground.slab) < 0.06) | (_modulo(z, ground.slab) < 0.08)
    painted[joints & (label == _SIDEWALK)] *= 0.82


def _fill_footprint(
    spots: UInt8Array, ground: Float64Array, pose: Float64Array, footprint: tuple[float, float]
) -> None:
    """Mark the shadow that an object leaves on the ground around its foot."""
    center_x, front = pose[0, 2] + pose[0, 0] / 2, pose[2, 2] + pose[2, 0] / 2
    width, length = footprint
    size = np.array([[0.6 * width], [0.6 * length], [1.0]])
    points = _CIRCLE * size + np.array([[center_x], [front + length / 2], [0.0]])
    projected = ground @ points
    if projected[2].min() <= _NEAR:
        return
    pixels = np.clip(projected[:2] / projected[2], -4000, 4000).T
    cv2.fillConvexPoly(spots, np.round(pixels).astype(np.int32), 255)
