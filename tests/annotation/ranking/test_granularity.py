from __future__ import annotations

import numpy as np
import pytest

from thriftseg.annotation.ranking.granularity import Superpixels, Tiles, WholeFrame, create_granularity, in_raster_order
from thriftseg.annotation.ranking.superpixels import SLIC, NetworkSuperpixels, SuperpixelStore
from thriftseg.errors import ConfigError
from thriftseg.zoo.spixelfcn import SpixelFCN


def frame(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def first_pixels(regions: np.ndarray) -> list[int]:
    return [int(np.flatnonzero(regions == region)[0]) for region in range(regions.max() + 1)]


@pytest.mark.parametrize(
    ("height", "width", "name", "count"),
    [
        (240, 320, "rec40", 48),
        (600, 800, "rec40", 300),
        (45, 64, "rec20", 3 * 4),
        (5, 7, "rec80", 1),
        (5, 7, "rec1", 35),
    ],
)
def test_number_of_tiles(height, width, name, count):
    regions = create_granularity(name).regions(frame(height, width))
    assert (regions.shape, regions.dtype) == ((height, width), np.int32)
    assert np.unique(regions).tolist() == list(range(count))


def test_tiles_are_squares_but_for_the_border():
    regions = Tiles(20).regions(frame(45, 50))
    sides = [(np.ptp(rows) + 1, np.ptp(columns) + 1) for rows, columns in map(np.nonzero, _masks(regions))]
    full, right, below, corner = (20, 20), (20, 10), (5, 20), (5, 10)
    assert sides == [full, full, right, full, full, right, below, below, corner]
    assert [int(mask.sum()) for mask in _masks(regions)] == [rows * columns for rows, columns in sides]


def _masks(regions: np.ndarray) -> list[np.ndarray]:
    return [regions == region for region in range(regions.max() + 1)]


def test_a_frame_is_one_region():
    regions = create_granularity("frame").regions(frame(5, 7))
    assert (regions.shape, regions.dtype, regions.any()) == ((5, 7), np.int32, np.False_)


@pytest.mark.parametrize("name", ["frame", "rec16", "sp"])
def test_regions_are_numbered_by_their_first_pixels(name):
    first = first_pixels(create_granularity(name).regions(frame(48, 70)))
    assert first[0] == 0
    assert first == sorted(first)


def test_raster_order_keeps_the_partition():
    ids = np.random.default_rng(3).integers(-5, 90, (20, 30)).astype(np.int32)
    regions = in_raster_order(ids)
    pairs = np.unique(np.stack([ids.ravel(), regions.ravel()], axis=1), axis=0)
    assert len(pairs) == len(np.unique(ids)) == regions.max() + 1
    assert first_pixels(regions) == sorted(first_pixels(regions))


def test_names(tmp_path):
    assert create_granularity("frame") == WholeFrame()
    assert create_granularity("rec40") == Tiles(40)
    assert create_granularity("sp") == Superpixels(SLIC())
    assert create_granularity("sp", cache=tmp_path) == Superpixels(SuperpixelStore(SLIC(), tmp_path))


def test_super_pixels_of_given_weights(tmp_path):
    import torch

    torch.manual_seed(0)
    network = SpixelFCN().eval()
    path = tmp_path / "spixel.tar"
    torch.save({"state_dict": network.state_dict()}, path)
    granularity = create_granularity("sp", weights=path)
    assert isinstance(granularity, Superpixels)
    assert isinstance(granularity.method, NetworkSuperpixels)
    image = frame(48, 70)
    regions = granularity.regions(image)
    assert (regions == network.superpixels(image)).all()
    assert regions.max() > 3


@pytest.mark.parametrize("name", ["rec", "rec0", "rec-3", "rec4.5", "rec40x", "frames", "superpixel", ""])
def test_unknown_names_are_refused(name):
    with pytest.raises(ConfigError, match="no such granularity; expected frame, rec<N> such as rec40, or sp"):
        create_granularity(name)


def test_weights_without_use_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="'rec40' uses no weights"):
        create_granularity("rec40", weights=tmp_path / "weights.tar")


def test_a_size_of_0_is_refused():
    with pytest.raises(ConfigError, match="at least 1 pixel; found 0"):
        Tiles(0)
