"""Which frames to label first, before there is any network: those that look different, and those that move.

Frames are rows of a `SampleTable`, ranked by `SampleSelection`. Take "diversity" to touch as many unlike videos as
possible, and "kmeans" for frames that stand for many others. Both "kmeans" and "both" look at the frames with the most
motion only, unless their pool factor lets all frames in: narrow pools hold frames of few, fast videos.
"""

from __future__ import annotations

import cv2
import numpy as np

from thriftseg.annotation.ranking.selection import SampleTable
from thriftseg.arrays import Float32Array, Float64Array, UInt8Array
from thriftseg.flow import DIS, FlowEstimator

_SIDE = 64  # pixels per axis that descriptors look at
_COLOURS, _CELLS, _DIRECTIONS = 8, 4, 8  # colours per axis; histograms per axis, and their bins
_TINY = 1e-9  # sum of the edges of a frame without any
_MOTION_WIDTH = 256  # pixels; quick, and motion across the frame is still found


def cold_start_sample(
    number: int,
    image: UInt8Array,
    neighbour: UInt8Array | None = None,
    *,
    labelled: bool = False,
    video: int = 0,
    estimator: FlowEstimator | None = None,
) -> SampleTable:
    """A whole frame as a table of one sample, to be joined with those of other frames.

    Its feature is `frame_descriptor`, and `frame_motion` stands for the uncertainty.

    Args:
        number: Native frame number.
        image: Frame, (H, W, 3) uint8 RGB.
        neighbour: The frame before or after, of the same shape; without one the frame counts as still.
        labelled: Whether the frame has a label: then it is no candidate, and diversity keeps away from it.
        video: Index of the video.
        estimator: Estimates the flow; DIS by default.

    Raises:
        ValueError: The frames differ in shape.

    Example:
        >>> table = cold_start_sample(7, np.zeros((48, 64, 3), np.uint8))
        >>> table.sample(0), table.pixels.tolist(), table.uncertainty.tolist()
        (Sample(number=7, region=0), [3072], [0.0])
    """
    height, width = image.shape[:2]
    motion = 0.0 if neighbour is None else frame_motion(image, neighbour, estimator)
    return SampleTable(
        video=np.array([video]),
        number=np.array([number]),
        region=np.array([0]),
        pixels=np.array([0 if labelled else height * width]),
        uncertainty=np.array([motion]),
        features=frame_descriptor(image)[None],
    )


def frame_descriptor(image: UInt8Array) -> Float32Array:
    """What a frame looks like, without any network: its colours and the directions of its edges, place by place.

    Of 192 colours (8 x 8 places in CIE Lab), the distance of two frames is their root mean square difference, in
    hundreds. Of 128 shares of edges (4 x 4 places, 8 directions), it is the Hellinger distance.

    Args:
        image: Frame, (H, W, 3) uint8 RGB.

    Returns:
        (320,) float32; the Euclidean distance of two frames joins both.

    Example:
        >>> black, white = (frame_descriptor(np.full((48, 64, 3), value, np.uint8)) for value in (0, 255))
        >>> black.shape, round(float(np.linalg.norm(white - black)), 3)
        ((320,), 1.0)
    """
    small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    lab = np.asarray(cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), np.float32) / np.float32(100)
    colours = cv2.resize(lab, (_COLOURS, _COLOURS), interpolation=cv2.INTER_AREA).ravel() / _COLOURS
    return np.concatenate([colours, np.sqrt(_edge_shares(lab[..., 0]))]).astype(np.float32)


def _edge_shares(brightness: Float32Array) -> Float64Array:
    """Share of the edges, by length and contrast, that lie in each cell and direction; all 0 without edges."""
    down, across = np.gradient(brightness)
    turn = np.arctan2(down, across) / np.pi % 1  # an edge from dark to bright is one from bright to dark
    direction = np.rint(turn * _DIRECTIONS).astype(np.int64) % _DIRECTIONS
    cell = np.arange(_SIDE) * _CELLS // _SIDE
    place = (cell[:, None] * _CELLS + cell) * _DIRECTIONS + direction
    histogram = np.bincount(place.ravel(), np.hypot(down, across).ravel(), minlength=_CELLS**2 * _DIRECTIONS)
    return np.asarray(histogram / max(histogram.sum(), _TINY), np.float64)


def frame_motion(image: UInt8Array, neighbour: UInt8Array, estimator: FlowEstimator | None = None) -> float:
    """Mean length of the flow to a neighbour frame, as a share of the frame's width; 1 at most.

    Frames are looked at 256 pixels wide at most.

    Args:
        image: Frame, (H, W, 3) uint8 RGB.
        neighbour: The frame before or after, of the same shape.
        estimator: Estimates the flow; DIS by default.

    Raises:
        ValueError: The frames differ in shape.

    Example:
        >>> class Pan:
        ...     def estimate(self, a, b): return np.stack([np.full(a.shape[:2], x, np.float32) for x in (16, 0)])
        >>> frame = np.zeros((48, 64, 3), np.uint8)
        >>> frame_motion(frame, frame, Pan()), frame_motion(frame, frame)
        (0.25, 0.0)
    """
    if image.shape != neighbour.shape:
        raise ValueError(f"expected frames of the same shape, found {image.shape} and {neighbour.shape}")
    estimator = DIS() if estimator is None else estimator
    flow = estimator.estimate(_reduced(image), _reduced(neighbour))
    mean_length = np.hypot(flow[0], flow[1]).mean(dtype=np.float64)
    return float(min(1.0, mean_length / flow.shape[2]))


def _reduced(image: UInt8Array) -> UInt8Array:
    height, width = image.shape[:2]
    if width <= _MOTION_WIDTH:
        return image
    size = (_MOTION_WIDTH, max(1, round(height * _MOTION_WIDTH / width)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
