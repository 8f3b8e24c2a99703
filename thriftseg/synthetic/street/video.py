"""Procedural street video with exact labels, instances, boxes and optical flow.

A clip shows a street from a driving camera: houses with windows, trees, fences and walls on both sides, poles, signs
and lights, parked and moving vehicles, riders and people who enter late, hide each other and leave, under changing
light. Colours are drawn anew for every clip and object, so that classes differ by shape, texture and place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from thriftseg.arrays import BoolArray, Float32Array, Int32Array, UInt8Array
from thriftseg.synthetic.motion import Drawing, DrawnVideo
from thriftseg.synthetic.scene import SceneConfig
from thriftseg.synthetic.street.plan import build_scene
from thriftseg.synthetic.street.render import Renderer
from thriftseg.types import INSTANCES_PER_CLASS


@dataclass(frozen=True)
class ObjectBox:
    """The smallest box around the visible pixels of an object.

    Attributes:
        instance: Id in the instance map, the same in all frames of a clip.
        train_id: Class of the object.
        box: (x0, y0, x1, y1) in pixels, half-open.

    Example:
        >>> instances = np.zeros((6, 8), np.int32)
        >>> instances[1:4, 2:7] = 13002
        >>> [found] = boxes_of(instances)
        >>> x0, y0, x1, y1 = found.box
        >>> found.train_id, instances[y0:y1, x0:x1].shape
        (13, (3, 5))
    """

    instance: int
    train_id: int
    box: tuple[int, int, int, int]


@dataclass
class RenderedFrame:
    """A frame and everything that is known about it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        label: (H, W) uint8 Cityscapes train ids, 255 = clutter without a class.
        instances: (H, W) int32, `train_id * 1000 + k` with k from 1, 0 = none.
        boxes: One box per visible object, by instance id.
        flow_backward: (2, H, W) float32: what is at p in this frame is at p + flow in the previous one.
        flow_forward: (2, H, W) float32: what is at p in the previous frame is at p + flow in this one.
        occluded_backward: (H, W) bool: pixels of this frame that cannot be seen in the previous one.
        occluded_forward: (H, W) bool: pixels of the previous frame that cannot be seen in this one.

    The first frame of a clip has no previous one: its flows are 0 and everything counts as occluded.

    Example:
        >>> first, second = render_clip(SceneConfig(height=32, width=64, num_frames=2))
        >>> bool(first.occluded_backward.all()), bool(second.occluded_backward.all())
        (True, False)
        >>> {box.train_id for box in second.boxes} <= set(second.label.flat)
        True
    """

    image: UInt8Array
    label: UInt8Array
    instances: Int32Array
    boxes: list[ObjectBox]
    flow_backward: Float32Array
    flow_forward: Float32Array
    occluded_backward: BoolArray
    occluded_forward: BoolArray


class StreetVideo(DrawnVideo):
    """A synthetic drive along a street; see `DrawnVideo`.

    Args:
        config: Size, length and seed.

    Example:
        >>> video = StreetVideo(SceneConfig(height=64, width=128, num_frames=6, seed=3))
        >>> first, last = video.draw(0), video.draw(5)
        >>> flow, occluded = video.flow(last, first, 5, 0)
        >>> first.image.shape, flow.shape, occluded.dtype.name
        ((64, 128, 3), (2, 64, 128), 'bool')
    """

    def __init__(self, config: SceneConfig) -> None:
        self.config = config
        self._renderer = Renderer(build_scene(config))
        self.motion = self._renderer.motion

    def draw(self, t: int) -> Drawing:
        """Draw the frame at position `t`."""
        return self._renderer.draw(t)


def render_clip(config: SceneConfig) -> Iterator[RenderedFrame]:
    """Draw a clip frame by frame; the same configuration always gives the same bytes.

    Args:
        config: Size, length and seed.

    Yields:
        The frames in playing order.

    Example:
        >>> frames = list(render_clip(SceneConfig(height=32, width=64, num_frames=2, seed=1)))
        >>> len(frames), frames[1].image.shape, frames[1].flow_backward.shape
        (2, (32, 64, 3), (2, 32, 64))
    """
    video = StreetVideo(config)
    previous: Drawing | None = None
    for t in range(config.num_frames):
        drawing = video.draw(t)
        if previous is None:
            backward = forward = np.zeros((2, *drawing.label.shape), dtype=np.float32)
            hidden_backward = hidden_forward = np.ones(drawing.label.shape, dtype=np.bool_)
        else:
            backward, hidden_backward = video.flow(drawing, previous, t, t - 1)
            forward, hidden_forward = video.flow(previous, drawing, t - 1, t)
        yield RenderedFrame(
            image=drawing.image,
            label=drawing.label,
            instances=drawing.instances,
            boxes=boxes_of(drawing.instances),
            flow_backward=backward,
            flow_forward=forward,
            occluded_backward=hidden_backward,
            occluded_forward=hidden_forward,
        )
        previous = drawing


def boxes_of(instances: Int32Array) -> list[ObjectBox]:
    """Boxes around the visible pixels of every object.

    Args:
        instances: (H, W), `train_id * 1000 + k` with k from 1, 0 = none.

    Returns:
        One half-open box per id, in increasing order of id.

    Example:
        >>> boxes_of(np.array([[0, 13002], [13002, 0]], dtype=np.int32))
        [ObjectBox(instance=13002, train_id=13, box=(0, 0, 2, 2))]
    """
    rows, columns = np.nonzero(instances)
    values, inverse = np.unique(instances[rows, columns], return_inverse=True)
    low = np.full((len(values), 2), np.iinfo(np.int64).max)
    high = np.zeros((len(values), 2), dtype=np.int64)
    for axis, positions in enumerate((columns, rows)):
        np.minimum.at(low[:, axis], inverse, positions)
        np.maximum.at(high[:, axis], inverse, positions + 1)
    return [
        ObjectBox(int(value), int(value) // INSTANCES_PER_CLASS, (int(x0), int(y0), int(x1), int(y1)))
        for value, (x0, y0), (x1, y1) in zip(values, low, high, strict=True)
    ]
