from __future__ import annotations

import time
from typing import get_args

import numpy as np
import pytest

from thriftseg.annotation.ranking.granularity import Tiles
from thriftseg.annotation.ranking.selection import (
    Sample,
    SampleSelection,
    SampleTable,
    Strategy,
    cluster_medoids,
    farthest_first,
    frame_samples,
    region_features,
    region_means,
)
from thriftseg.errors import ConfigError

HEIGHT, WIDTH = 48, 64


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def table_of(
    uncertainty: list[float],
    features: list[list[float]] | np.ndarray | None = None,
    *,
    number: list[int] | None = None,
    video: list[int] | None = None,
    labelled: tuple[int, ...] = (),
) -> SampleTable:
    n = len(uncertainty)
    pixels = np.full(n, 100)
    pixels[list(labelled)] = 0
    return SampleTable(
        video=np.array(video if video is not None else [0] * n),
        number=np.array(number if number is not None else [0] * n),
        region=np.arange(n),
        pixels=pixels,
        uncertainty=np.array(uncertainty, np.float64),
        features=np.zeros((n, 0), np.float32) if features is None else np.array(features, np.float32),
    )


def random_table(n: int, channels: int = 5, seed: int = 0, labelled: tuple[int, ...] = ()) -> SampleTable:
    uncertainty, features = rng(seed).random(n), rng(seed + 1).standard_normal((n, channels))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return table_of(uncertainty.tolist(), features, labelled=labelled)


def brute_force(points: np.ndarray, anchors: np.ndarray, count: int) -> list[int]:
    """Farthest-first by its definition, from all distances."""
    points, anchors = points.astype(np.float64), anchors.astype(np.float64)
    chosen: list[int] = []
    while len(chosen) < min(count, len(points)):
        others = [*anchors, *points[chosen]]
        gaps = [
            -1 if index in chosen else min((np.linalg.norm(point - other) for other in others), default=np.inf)
            for index, point in enumerate(points)
        ]
        chosen.append(int(np.argmax(gaps)))
    return chosen


# farthest-first


def test_four_points_by_hand():
    points = np.array([[0, 0], [1, 0], [4, 0], [0, 3]], np.float32)
    nobody = points[:0]
    assert farthest_first(points, nobody, 4).tolist() == [0, 2, 3, 1]
    assert farthest_first(points, np.array([[4, 1]], np.float32), 4).tolist() == [3, 1, 0, 2]
    assert farthest_first(points, points[[1, 2]], 4).tolist() == [3, 0, 1, 2]
    assert farthest_first(points[[3, 2, 1, 0]], nobody, 2).tolist() == [0, 1]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("anchors", [0, 1, 7])
def test_against_brute_force(seed, anchors):
    points, others = rng(seed).standard_normal((40, 6)).astype(np.float32), rng(99).standard_normal((anchors, 6))
    others = others.astype(np.float32)
    assert farthest_first(points, others, 25).tolist() == brute_force(points, others, 25)


def test_the_first_of_equals_wins_wherever_they_stand():
    """Distances of equal points are equal to the last bit, and that to an equal point is 0."""
    base = rng().standard_normal((3, 37)).astype(np.float32)
    points = base[rng(1).integers(0, 3, 500)]
    first = [int(np.flatnonzero((points == row).all(axis=1))[0]) for row in base]
    chosen = farthest_first(points, points[:0], 500).tolist()
    assert sorted(chosen[:3]) == sorted(first)
    assert chosen[3:] == [index for index in range(500) if index not in first]


def test_no_more_than_there_are():
    points = rng().random((4, 2)).astype(np.float32)
    assert sorted(farthest_first(points, points, 9).tolist()) == [0, 1, 2, 3]
    assert farthest_first(points[:0], points, 9).tolist() == []
    assert farthest_first(points, points, 0).tolist() == []


@pytest.mark.parametrize("seed", range(5))
def test_gaps_only_shrink_and_cover_within_twice_the_best(seed):
    """Gonzalez, 1985: k points chosen so cover all points within twice the smallest radius that any k points need."""
    points = rng(seed).random((12, 2)).astype(np.float32)
    chosen = points[farthest_first(points, points[:0], 4)]
    gaps = [np.linalg.norm(chosen[k] - chosen[:k], axis=1).min() for k in range(1, 4)]
    assert gaps == sorted(gaps, reverse=True)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    best = min(
        distances[:, [a, b, c, d]].min(axis=1).max()
        for a in range(12) for b in range(a) for c in range(b) for d in range(c)
    )  # fmt: skip
    assert np.linalg.norm(points[:, None] - chosen[None], axis=2).min(axis=1).max() <= 2 * best + 1e-6


# k-means


def blobs(centres: list[tuple[float, float]], size: int, seed: int = 0) -> np.ndarray:
    noise = rng(seed).normal(0, 0.1, (len(centres), size, 2))
    return (np.array(centres)[:, None] + noise).reshape(-1, 2).astype(np.float32)


@pytest.mark.parametrize("seed", range(10))
def test_medoids_of_clear_clusters(seed):
    points = blobs([(0, 0), (5, 0), (0, 5), (9, 9)], 30)
    expected = []
    for k in range(4):
        cluster = points[30 * k : 30 * (k + 1)]
        gaps = np.square(cluster[:, None] - cluster[None]).sum(axis=(1, 2))
        expected.append(30 * k + int(gaps.argmin()))
    assert cluster_medoids(points, 4, rng(seed)).tolist() == expected


def test_clusters_of_few_different_points():
    points = np.repeat(np.array([[0, 0], [1, 0], [5, 5]], np.float32), 4, axis=0)
    assert cluster_medoids(points, 8, rng()).tolist() == [0, 4, 8]
    assert cluster_medoids(points, 1, rng()).tolist() == [4]  # the one nearest to the mean
    assert cluster_medoids(points, 0, rng()).size == 0
    assert cluster_medoids(points[:0], 3, rng()).size == 0


@pytest.mark.parametrize("seed", range(5))
def test_as_many_medoids_as_clusters(seed):
    points = rng(seed).standard_normal((200, 8)).astype(np.float32)
    medoids = cluster_medoids(points, 25, rng(seed))
    assert 20 <= len(set(medoids.tolist())) == len(medoids) <= 25
    assert (medoids == cluster_medoids(points, 25, rng(seed))).all()
    everything = cluster_medoids(points, 999, rng(seed))
    assert everything.tolist() == list(range(200))


# ranking


@pytest.mark.parametrize("strategy", get_args(Strategy))
@pytest.mark.parametrize("count", [0, 1, 7, 35, 1000])
def test_every_candidate_is_ranked_once_and_no_labelled_one(strategy, count):
    table = random_table(40, labelled=(3, 17, 39))
    order = SampleSelection(strategy).rank(table, count, rng())
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == [row for row in range(40) if row not in (3, 17, 39)]
    assert (order == SampleSelection(strategy).rank(table, count, rng())).all()


@pytest.mark.parametrize("strategy", get_args(Strategy))
def test_nothing_left_to_label(strategy):
    table = random_table(4, labelled=(0, 1, 2, 3))
    assert SampleSelection(strategy).rank(table, 2, rng()).size == 0


def test_random_depends_on_the_seed_and_on_nothing_else():
    table, other = random_table(40, seed=0), random_table(40, seed=5)
    select = SampleSelection("random").rank
    assert (select(table, 5, rng(0)) != select(table, 5, rng(1))).any()
    assert (select(table, 5, rng(0)) == select(other, 9, rng(0))).all()


def test_random_is_fair():
    table = table_of([0.9, 0.1, 0.5])
    firsts = [int(SampleSelection("random").rank(table, 1, rng(seed))[0]) for seed in range(600)]
    assert np.bincount(firsts, minlength=3).min() > 150


def test_uncertainty_and_its_ties():
    table = table_of([0.5, 0.9, 0.5, 0.5, 0.9, 0.5], number=[8, 3, 8, 2, 3, 1], video=[0, 0, 0, 0, 0, 1])
    assert SampleSelection("uncertainty").rank(table, 2, rng()).tolist() == [1, 4, 3, 0, 2, 5]


def test_both_by_hand():
    """Of six candidates two are wanted: with factor 2 the four most uncertain are looked at."""
    features = [[1, 0], [1, 0], [0, 1], [0.8, 0.6], [-1, 0], [0, -1]]
    table = table_of([0.9, 0.8, 0.5, 0.7, 0.1, 0.2], features)
    assert SampleSelection("both", pool_factor=2).rank(table, 2, rng()).tolist() == [0, 2, 1, 3, 5, 4]
    assert SampleSelection("both", pool_factor=1).rank(table, 2, rng()).tolist()[:2] == [0, 1]
    assert SampleSelection("diversity").rank(table, 2, rng()).tolist() == [0, 4, 1, 3, 2, 5]


def test_labelled_samples_keep_diversity_away():
    features = [[1, 0], [1, 0], [0, 1], [0.8, 0.6], [-1, 0], [0, -1]]
    table = table_of([0.9, 0.8, 0.5, 0.7, 0.1, 0.2], features, labelled=(0, 4))
    assert SampleSelection("diversity").rank(table, 3, rng()).tolist()[:3] == [2, 5, 3]


def test_equally_far_samples_follow_uncertainty_then_place():
    features = [[1, 0], [0, 1], [0, 1], [0, 1], [0, 1]]
    table = table_of([0.9, 0.2, 0.4, 0.4, 0.4], features, number=[9, 0, 7, 2, 2])
    select = SampleSelection("diversity").rank
    assert select(table, 2, rng()).tolist()[:2] == [0, 3]
    later = table_of([0.9, 0.2, 0.4, 0.4, 0.4], features, number=[9, 0, 2, 2, 2], video=[0, 0, 1, 2, 1])
    assert select(later, 2, rng()).tolist()[:2] == [0, 2]


@pytest.mark.parametrize("seed", range(4))
def test_both_against_brute_force(seed):
    table = random_table(60, seed=seed, labelled=(5, 6, 50))
    candidates = [row for row in range(60) if row not in (5, 6, 50)]
    pool = sorted(candidates, key=lambda row: -table.uncertainty[row])[: 5 * 7]
    expected = [pool[index] for index in brute_force(table.features[pool], table.features[[5, 6, 50]], 7)]
    rest = sorted(set(candidates) - set(expected), key=lambda row: -table.uncertainty[row])
    assert SampleSelection("both").rank(table, 7, rng()).tolist() == expected + rest


def test_candidates_as_uncertain_as_the_last_one_are_looked_at_too():
    """Otherwise an untrained network, or no uncertainty at all, would leave nothing but the first frames."""
    points = rng().standard_normal((50, 4))
    same = SampleSelection("both").rank(table_of([0.5] * 50, points), 3, rng())
    assert (same == SampleSelection("diversity").rank(table_of([0.5] * 50, points), 3, rng())).all()
    mixed = [0.9] + [0.5] * 20 + [0.1] * 29
    first = SampleSelection("both", pool_factor=1).rank(table_of(mixed, points), 3, rng())[:3]
    assert (first == farthest_first(points[:21].astype(np.float32), np.zeros((0, 4), np.float32), 3)).all()


def test_kmeans_takes_one_of_each_cluster_of_the_most_uncertain():
    points = blobs([(0, 0), (5, 0), (0, 5), (9, 9)], 10)
    uncertainty = [0.9] * 30 + [0.1] * 10
    order = SampleSelection("kmeans").rank(table_of(uncertainty, points), 3, rng())
    assert sorted(order[:3] // 10) == [0, 1, 2]
    assert (order[3:30] < 30).all()


@pytest.mark.parametrize("strategy", ["diversity", "both", "kmeans"])
def test_diversity_needs_features(strategy):
    with pytest.raises(ConfigError, match=f"selection by '{strategy}' needs features"):
        SampleSelection(strategy).rank(table_of([0.5, 0.4]), 1, rng())


def test_settings_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="random, uncertainty, diversity, both, kmeans; found entropy"):
        SampleSelection("entropy")
    with pytest.raises(ConfigError, match="pool_factor of selection; expected at least 1; found 0"):
        SampleSelection(pool_factor=0)
    with pytest.raises(ValueError, match="count of at least 0, found -1"):
        SampleSelection().rank(table_of([0.5]), -1, rng())


def test_fifty_of_thirty_thousand_superpixels_take_less_than_two_seconds():
    table = random_table(30_000, channels=270)
    start = time.process_time()
    for strategy in ("diversity", "both", "kmeans"):
        SampleSelection(strategy).rank(table, 50, rng())
    assert time.process_time() - start < 2


# regions


def test_region_means_against_a_plain_loop():
    rng = np.random.default_rng(0)
    regions = rng.integers(0, 9, (HEIGHT, WIDTH)).astype(np.int32)
    regions[0, 0] = 9
    values = rng.random((HEIGHT, WIDTH)).astype(np.float32)
    counted = rng.random((HEIGHT, WIDTH)) < 0.4
    counted[regions == 4] = False
    means, pixels = region_means(values, regions, counted)
    assert (means.dtype, pixels.dtype, len(means)) == (np.float64, np.int64, 10)
    for region in range(10):
        inside = [
            float(values[y, x])
            for y in range(HEIGHT)
            for x in range(WIDTH)
            if regions[y, x] == region and counted[y, x]
        ]
        assert pixels[region] == len(inside)
        assert means[region] == pytest.approx(sum(inside) / len(inside) if inside else 0)
    assert pixels[4] == 0


@pytest.mark.parametrize("value", [0.1, 1 / 3, 0.7])
def test_means_of_a_constant_are_equal_whatever_the_size(value):
    regions = np.repeat(np.arange(30, dtype=np.int32), np.arange(1, 31))[None]
    means, _ = region_means(np.full(regions.shape, value, np.float32), regions)
    assert np.unique(means).tolist() == [np.float32(value)]


def test_maps_of_other_shapes_are_refused():
    regions = np.zeros((3, 4), np.int32)
    with pytest.raises(ValueError, match="maps of the same shape"):
        region_means(np.zeros((4, 3), np.float32), regions)
    with pytest.raises(ValueError, match="maps of the same shape"):
        region_means(np.zeros((3, 4), np.float32), regions, np.ones(12, bool))


def plain_features(features: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Region means cell by cell."""
    _, rows, columns = features.shape
    height, width = regions.shape
    found = []
    for region in range(regions.max() + 1):
        cells = [
            (i, j)
            for i in range(rows)
            for j in range(columns)
            if regions[int((i + 0.5) * height / rows), int((j + 0.5) * width / columns)] == region
        ]
        if not cells:
            inside = np.argwhere(regions == region)
            y, x = inside.mean(axis=0) + 0.5
            i = min(range(rows), key=lambda i: abs(y - (i + 0.5) * height / rows))
            j = min(range(columns), key=lambda j: abs(x - (j + 0.5) * width / columns))
            cells = [(i, j)]
        mean = np.mean([features[:, i, j] for i, j in cells], axis=0)
        found.append(mean / np.linalg.norm(mean))
    return np.array(found)


@pytest.mark.parametrize(("rows", "columns"), [(12, 16), (20, 30), (7, 9), (3, 2), (1, 1)])
@pytest.mark.parametrize("side", [5, 16])
def test_features_against_a_plain_loop(rows, columns, side):
    """Squares of 5 pixels are smaller than a cell for most grids, so that many have none."""
    regions = Tiles(side).regions(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    features = rng(rows).standard_normal((6, rows, columns)).astype(np.float32)
    found = region_features(features, regions)
    assert (found.dtype, found.shape) == (np.float32, (regions.max() + 1, 6))
    np.testing.assert_allclose(found, plain_features(features, regions), atol=1e-5)


def test_features_without_length_stay_zero():
    regions = np.array([[0, 0, 1, 1]], np.int32)
    found = region_features(np.array([[[0.0, 0.0, 3.0, 3.0]]], np.float32), regions)
    assert found.tolist() == [[0], [1]]


def test_features_of_half_precision():
    regions = Tiles(16).regions(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    features = rng().standard_normal((6, 12, 16)).astype(np.float16)
    assert (region_features(features, regions) == region_features(features.astype(np.float32), regions)).all()


# tables


def test_samples_of_a_frame():
    regions = np.array([[0, 0, 1], [2, 2, 1]], np.int32)
    uncertainty = np.array([[0.25, 0.75, 0.5], [1, 1, 0]], np.float32)
    unlabelled = np.array([[False, True, True], [False, False, True]])
    features = np.array([[[3.0, 3, 0], [1, 1, 0]], [[4.0, 4, 2], [0, 0, 2]]])
    table = frame_samples(30, regions, uncertainty, features, unlabelled, video=4)
    assert table.uncertainty.tolist() == [0.75, 0.25, 0]
    assert table.pixels.tolist() == [1, 2, 0]
    assert table.video.tolist() == [4, 4, 4]
    assert [table.sample(row) for row in range(3)] == [Sample(30, 0), Sample(30, 1), Sample(30, 2)]
    np.testing.assert_allclose(table.features, [[0.6, 0.8], [0, 1], [1, 0]], atol=1e-6)
    assert table.candidates.tolist() == [0, 1]
    assert table.labelled.tolist() == [2]
    assert type(table.sample(0).number) is type(table.sample(0).region) is int


def test_frames_are_joined_in_their_order():
    regions = Tiles(32).regions(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    features = rng().standard_normal((2, 3, 12, 16)).astype(np.float32)
    frames = [frame_samples(number, regions, features=features[k]) for k, number in enumerate((8, 5))]
    table = SampleTable.concatenate(iter(frames))
    assert len(table) == 8
    assert table.number.tolist() == [8] * 4 + [5] * 4
    assert table.region.tolist() == [0, 1, 2, 3] * 2
    assert (table.features == np.concatenate([frame.features for frame in frames])).all()
    assert table.candidates.tolist() == [4, 5, 6, 7, 0, 1, 2, 3]


def test_without_uncertainty_features_and_labels():
    table = frame_samples(3, np.array([[0, 1, 1]], np.int32))
    assert table.uncertainty.tolist() == [0, 0]
    assert table.pixels.tolist() == [1, 2]
    assert table.features.shape == (2, 0)


@pytest.mark.parametrize("where", ["uncertainty", "features"])
def test_a_diverged_network_is_refused(where):
    maps = {"uncertainty": np.zeros((2, 3), np.float32), "features": np.ones((4, 2, 3), np.float32)}
    maps[where][..., 1] = np.nan
    with pytest.raises(ConfigError, match="frame 12 are not finite; fix: the network has diverged"):
        frame_samples(12, np.zeros((2, 3), np.int32), **maps)


def test_feature_maps_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"expected features \(D, h, w\), found \(2, 3\)"):
        region_features(np.zeros((2, 3), np.float32), np.zeros((2, 3), np.int32))


def test_rounds_until_everything_is_labelled_choose_nothing_twice():
    regions = Tiles(16).regions(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    features = rng().standard_normal((3, 5, 12, 16)).astype(np.float32)
    uncertainty = rng(1).random((3, HEIGHT, WIDTH)).astype(np.float32)
    unlabelled, chosen = np.ones((3, HEIGHT, WIDTH), bool), []
    while unlabelled.any():
        frames = (frame_samples(k, regions, uncertainty[k], features[k], unlabelled[k]) for k in range(3))
        table = SampleTable.concatenate(frames)
        for row in SampleSelection("both").rank(table, 5, rng())[:5]:
            sample = table.sample(row)
            chosen.append(sample)
            unlabelled[sample.number][regions == sample.region] = False
    assert len(chosen) == len(set(chosen)) == 3 * 12
