"""Which samples a person should label next: the ones a network is unsure of, and that differ from each other.

In the style of Qiao et al., "Human-in-the-Loop Video Semantic Segmentation Auto-Annotation", WACV 2023: uncertainty and
diversity of network features. How it combines them is not known to us: this is a reconstruction, greedy
farthest-first over the most uncertain samples. The authors published no code.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple, get_args

import numpy as np

from thriftseg.arrays import BoolArray, Float32Array, Float64Array, Int32Array, Int64Array
from thriftseg.errors import ConfigError

Strategy = Literal["random", "uncertainty", "diversity", "both", "kmeans"]

_BLOCK = 4096  # points whose distances to all centres are held at once
_MOST_STEPS = 20  # of k-means


class Sample(NamedTuple):
    """A region of a frame; of all samples of a frame, each pixel belongs to one.

    Attributes:
        number: Native frame number.
        region: Number of the region in its frame, from 0 in raster order of the first pixels.

    Example:
        >>> table = frame_samples(30, np.array([[0, 0, 1]], np.int32))
        >>> table.sample(1), table.sample(0) < table.sample(1)
        (Sample(number=30, region=1), True)
    """

    number: int
    region: int


@dataclass(frozen=True, eq=False)
class SampleTable:
    """Samples of one or many videos, a row each: n rows.

    Rows without an unlabelled pixel are no candidates; diversity keeps away from them.

    Attributes:
        video: (n,) index of the video.
        number: (n,) native frame number.
        region: (n,) number of the region in its frame.
        pixels: (n,) pixels that nobody has labelled yet.
        uncertainty: (n,) mean over those pixels, 0 where there is none.
        features: (n, D) float32; samples that are alike lie near each other.

    Example:
        >>> doubts = {30: np.array([[0.1, 0.4]], np.float32), 31: np.array([[0.9, 0.2]], np.float32)}
        >>> regions = np.array([[0, 1]], np.int32)
        >>> table = SampleTable.concatenate(frame_samples(number, regions, doubt) for number, doubt in doubts.items())
        >>> [tuple(table.sample(row)) for row in table.candidates]
        [(31, 0), (30, 1), (31, 1), (30, 0)]
    """

    video: Int64Array
    number: Int64Array
    region: Int64Array
    pixels: Int64Array
    uncertainty: Float64Array
    features: Float32Array

    def __len__(self) -> int:
        return len(self.region)

    @classmethod
    def concatenate(cls, tables: Iterable[SampleTable]) -> SampleTable:
        """Tables of several frames as one.

        Raises:
            ValueError: There is none, or their features differ in length.
        """
        parts = list(tables)
        return cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})

    @property
    def candidates(self) -> Int64Array:
        """Rows that can be labelled, most uncertain first; then by video, frame and region."""
        order = np.lexsort((self.region, self.number, self.video, -self.uncertainty))
        return order[self.pixels[order] > 0]

    @property
    def labelled(self) -> Int64Array:
        """Rows that are labelled in full."""
        return np.flatnonzero(self.pixels == 0)

    def sample(self, row: int) -> Sample:
        """The sample of a row."""
        return Sample(int(self.number[row]), int(self.region[row]))


def frame_samples(
    number: int,
    regions: Int32Array,
    uncertainty: Float32Array | None = None,
    features: Float32Array | None = None,
    unlabelled: BoolArray | None = None,
    video: int = 0,
) -> SampleTable:
    """The samples of one frame, so that no more than one feature map need be held at a time.

    Args:
        number: Native frame number.
        regions: (H, W) ids 0..n-1, as from `Granularity.regions`.
        uncertainty: (H, W), as from `pixel_uncertainty`; 0 by default.
        features: Feature map over the whole frame at any stride, (D, h, w); samples have none by default.
        unlabelled: (H, W), False where a person has been asked before, whatever the answer; True by default.
        video: Index of the video.

    Raises:
        ConfigError: Uncertainty or features are not finite.
        ValueError: The shapes disagree.

    Example:
        >>> regions = np.array([[0, 0, 1, 1]], np.int32)
        >>> table = frame_samples(7, regions, features=np.array([[[3.0, 0.0]], [[4.0, 2.0]]], np.float32))
        >>> table.sample(1), table.features.tolist()
        (Sample(number=7, region=1), [[0.6000000238418579, 0.800000011920929], [0.0, 1.0]])
    """
    values = np.zeros(regions.shape, np.float32) if uncertainty is None else uncertainty
    means, pixels = region_means(values, regions, unlabelled)
    n = len(pixels)
    described = np.zeros((n, 0), np.float32) if features is None else region_features(features, regions)
    if not (np.isfinite(means).all() and np.isfinite(described).all()):
        raise ConfigError(
            f"uncertainty or features of frame {number} are not finite",
            fix="the network has diverged: lower its learning rate",
        )
    return SampleTable(np.full(n, video), np.full(n, number), np.arange(n), pixels, means, described)


def region_means(
    values: Float32Array | Float64Array, regions: Int32Array, counted: BoolArray | None = None
) -> tuple[Float64Array, Int64Array]:
    """Mean of a map over the counted pixels of every region.

    Args:
        values: (H, W).
        regions: (H, W) ids 0..n-1.
        counted: (H, W), which pixels count; all by default.

    Returns:
        Means, (n,), 0 for a region without a counted pixel; and numbers of counted pixels, (n,).

    Raises:
        ValueError: The shapes disagree.

    Example:
        >>> means, pixels = region_means(np.array([[1.0, 2.0, 6.0]]), np.array([[0, 1, 1]], np.int32))
        >>> means.tolist(), pixels.tolist()
        ([1.0, 4.0], [1, 2])
    """
    counted = np.ones(regions.shape, np.bool_) if counted is None else counted
    if not values.shape == regions.shape == counted.shape:
        raise ValueError(
            f"expected maps of the same shape, found {values.shape} and {counted.shape} for regions {regions.shape}"
        )
    number, inside = int(regions.max()) + 1, regions[counted]
    pixels = np.bincount(inside, minlength=number)
    sums = np.bincount(inside, values[counted], minlength=number)
    return sums / np.maximum(pixels, 1), pixels


def region_features(features: Float32Array, regions: Int32Array) -> Float32Array:
    """Mean feature of every region, scaled to length 1.

    A cell of the feature map belongs to the region at its centre. A region without a cell takes the one that holds its
    centroid.

    Args:
        features: (D, h, w) over the whole frame.
        regions: (H, W) ids 0..n-1.

    Returns:
        (n, D) float32; 0 stays 0.

    Raises:
        ValueError: The feature map is not (D, h, w).
    """
    if features.ndim != 3:
        raise ValueError(f"expected features (D, h, w), found {features.shape}")
    (height, width), (_, rows, columns) = regions.shape, features.shape
    row = (2 * np.arange(rows) + 1) * height // (2 * rows)
    column = (2 * np.arange(columns) + 1) * width // (2 * columns)
    flat, cells = features.reshape(len(features), -1), regions[np.ix_(row, column)].ravel()
    count = np.bincount(cells, minlength=int(regions.max()) + 1)
    sums = np.stack([np.bincount(cells, channel, minlength=len(count)) for channel in flat], axis=1)
    means = sums / np.maximum(count, 1)[:, None]
    without = np.flatnonzero(count == 0)
    means[without] = flat[:, _centroid_cells(regions, rows, columns)[without]].T
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    return (means / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def _centroid_cells(regions: Int32Array, rows: int, columns: int) -> Int64Array:
    """Flat index of the cell of a grid that holds the centroid of every region."""
    height, width = regions.shape
    row, _ = region_means(np.broadcast_to(np.arange(height, dtype=np.float64)[:, None], regions.shape), regions)
    column, _ = region_means(np.broadcast_to(np.arange(width, dtype=np.float64), regions.shape), regions)
    cell = np.floor((row + 0.5) * rows / height) * columns + np.floor((column + 0.5) * columns / width)
    return np.asarray(cell, np.int64)


@dataclass(frozen=True)
class SampleSelection:
    """In which order samples should be labelled.

    - "random": at random;
    - "uncertainty": the most uncertain first;
    - "diversity": farthest-first: again and again the candidate whose feature is farthest from those of all chosen
      and labelled samples, the most uncertain one among equals;
    - "both": the same among the most uncertain candidates only;
    - "kmeans": clusters of the most uncertain candidates, of each the one in the middle.

    Equals follow each other by video, frame and region, in that order.

    Attributes:
        strategy: By uncertainty (or motion), by diversity of features (or looks), by both, by k-means, or at random.
        pool_factor: "both" and "kmeans" look at the most uncertain candidates only: at this many times more than are
            wanted, and at those that are as uncertain as the last of them.

    Raises:
        ConfigError: There is no such strategy, or the factor is below 1.

    Example:
        >>> table = frame_samples(0, np.array([[0, 1, 2]], np.int32), np.array([[0.1, 0.9, 0.5]], np.float32))
        >>> SampleSelection("uncertainty").rank(table, 2, np.random.default_rng(0)).tolist()
        [1, 2, 0]
    """

    strategy: Strategy = "both"
    pool_factor: int = 5

    def __post_init__(self) -> None:
        if self.strategy not in get_args(Strategy):
            expected = ", ".join(get_args(Strategy))
            raise ConfigError("unknown strategy of selection", expected=expected, found=self.strategy)
        if self.pool_factor < 1:
            raise ConfigError("pool_factor of selection", expected="at least 1", found=self.pool_factor)

    def rank(self, table: SampleTable, count: int, rng: np.random.Generator) -> Int64Array:
        """Order all candidates; the first `count` follow the strategy, all others their uncertainty.

        The others matter where a budget has no room for some of the first.

        Args:
            table: The samples.
            count: Samples that are wanted.
            rng: Source of randomness of "random" and "kmeans".

        Returns:
            Rows of the table.

        Raises:
            ConfigError: The strategy needs features, and the table has none.
            ValueError: The count is negative.
        """
        if count < 0:
            raise ValueError(f"expected a count of at least 0, found {count}")
        order = table.candidates
        if self.strategy == "random":
            return rng.permutation(np.sort(order))
        if self.strategy == "uncertainty":
            return order
        first = self._diverse(table, order, count, rng)
        return np.concatenate([first, order[~np.isin(order, first)]])

    def _diverse(self, table: SampleTable, order: Int64Array, count: int, rng: np.random.Generator) -> Int64Array:
        if not table.features.shape[1]:
            raise ConfigError(f"selection by {self.strategy!r} needs features", fix='select by "uncertainty"')
        everybody = self.strategy == "diversity"
        pool = order if everybody else _most_uncertain(order, table.uncertainty, self.pool_factor * count)
        points = table.features[pool]
        if self.strategy == "kmeans":
            return pool[cluster_medoids(points, count, rng)]
        return pool[farthest_first(points, table.features[table.labelled], count)]


def _most_uncertain(order: Int64Array, uncertainty: Float64Array, size: int) -> Int64Array:
    """The first `size` rows of an order, and those that are as uncertain as the last of them."""
    if not 0 < size < len(order):
        return order[:size]
    decreasing = uncertainty[order]
    return order[: np.searchsorted(-decreasing, -decreasing[size - 1], side="right")]


def farthest_first(points: Float32Array, anchors: Float32Array, count: int) -> Int64Array:
    """Choose points, each the farthest from all anchors and from those chosen before it.

    Takes time in proportion to points times (anchors + chosen), and memory for the points alone.

    Args:
        points: (n, D); the first one wins among equals.
        anchors: (m, D). Without any, the first point is chosen first.
        count: Points to choose; all at most.

    Returns:
        Indices of the chosen points in order of choice.

    Example:
        >>> points = np.array([[0, 0], [1, 0], [5, 0], [3, 0]], np.float32)
        >>> farthest_first(points, points[:0], 4).tolist(), farthest_first(points, points[1:2], 2).tolist()
        ([0, 2, 3, 1], [2, 3])
    """
    points = np.ascontiguousarray(points)
    squares = np.vecdot(points, points)
    nearest = np.full(len(points), np.inf, points.dtype)
    for anchor in anchors:
        np.minimum(nearest, _squared_distances(points, squares, anchor), out=nearest)
    chosen = np.empty(min(count, len(points)), np.int64)
    for step in range(len(chosen)):
        chosen[step] = farthest = nearest.argmax()
        np.minimum(nearest, _squared_distances(points, squares, points[farthest]), out=nearest)
        nearest[farthest] = -1  # below every distance
    return chosen


def _squared_distances(points: Float32Array, squares: Float32Array, point: Float32Array) -> Float32Array:
    """Squared distances (n,) of (n, D) points, with their squared lengths, to one (D,): exactly 0 to an equal point."""
    products = np.vecdot(points, point)  # a matrix product may sum each row in another order
    return np.asarray(np.maximum(squares + np.vecdot(point, point) - 2 * products, 0), points.dtype)


def cluster_medoids(points: Float32Array, count: int, rng: np.random.Generator) -> Int64Array:
    """Cluster points by k-means and choose the one nearest to the centre of each cluster.

    Clusters start from k-means++ (Arthur and Vassilvitskii, SODA 2007).

    Args:
        points: (n, D).
        count: Number of clusters; fewer where fewer points differ.
        rng: Draws the first centres.

    Returns:
        Indices of the chosen points, increasing.
    """
    count = min(count, len(points))
    if count < 1:
        return np.zeros(0, np.int64)
    centres = _first_centres(points, count, rng)
    nearest = _nearest_centres(points, centres)
    for _ in range(_MOST_STEPS):
        _, assigned = np.unique(nearest, return_inverse=True)  # a cluster may have lost all its points
        sizes = np.bincount(assigned)
        sums = np.add.reduceat(points[np.argsort(assigned, kind="stable")], np.cumsum(sizes) - sizes, axis=0)
        centres = np.asarray(sums / sizes[:, None], points.dtype)
        nearest = _nearest_centres(points, centres)
        if (nearest == assigned).all():
            break
    difference = points - centres[nearest]
    order = np.lexsort((np.vecdot(difference, difference), nearest))
    return np.sort(order[np.unique(nearest[order], return_index=True)[1]])


def _first_centres(points: Float32Array, count: int, rng: np.random.Generator) -> Float32Array:
    """Points drawn one after the other, in proportion to the squared distance from those drawn before."""
    squares = np.vecdot(points, points)
    chosen = [int(rng.integers(len(points)))]
    nearest = _squared_distances(points, squares, points[chosen[0]])
    while len(chosen) < count and nearest.any():
        weights = nearest.astype(np.float64)
        chosen.append(int(rng.choice(len(points), p=weights / weights.sum())))
        np.minimum(nearest, _squared_distances(points, squares, points[chosen[-1]]), out=nearest)
    return points[chosen]


def _nearest_centres(points: Float32Array, centres: Float32Array) -> Int64Array:
    """Index of the centre, of (k, D), that is nearest to each of (n, D) points."""
    squares = np.vecdot(centres, centres)
    nearest = np.empty(len(points), np.int64)
    for start in range(0, len(points), _BLOCK):
        block = slice(start, start + _BLOCK)
        nearest[block] = (squares - 2 * points[block] @ centres.T).argmin(axis=1)
    return nearest
