from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest
import torch

from thriftseg.annotation.ranking.superpixels import SLIC, NetworkSuperpixels, SuperpixelMethod, SuperpixelStore
from thriftseg.errors import CheckpointError, ConfigError, DatasetError
from thriftseg.zoo.spixelfcn import SpixelFCN

HEIGHT, WIDTH = 64, 96


def frame(seed: int = 0) -> np.ndarray:
    """Smooth colours, and a bright square with sharp edges."""
    rng = np.random.default_rng(seed)
    image = cv2.resize(rng.integers(0, 120, (4, 6, 3), dtype=np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    image[20:45, 30:60] = 250
    return np.asarray(image)


def network(seed: int = 0) -> SpixelFCN:
    torch.manual_seed(seed)
    return SpixelFCN().eval()


def test_slic_gives_a_super_pixel_per_256_pixels_that_keep_to_edges():
    image = frame()
    ids = SLIC().segment(image)
    assert (ids.shape, ids.dtype) == ((HEIGHT, WIDTH), np.int32)
    assert len(np.unique(ids)) == pytest.approx(HEIGHT * WIDTH / 256, rel=0.35)
    square = np.zeros((HEIGHT, WIDTH), bool)
    square[20:45, 30:60] = True
    share = np.bincount(ids.ravel(), square.ravel()) / np.bincount(ids.ravel())
    wrong = np.minimum(share, 1 - share) * np.bincount(ids.ravel())
    assert wrong.sum() < 0.1 * square.sum()


def test_smaller_area_gives_more_super_pixels():
    assert SLIC(area=64).segment(frame()).max() > 2 * SLIC(area=256).segment(frame()).max()


def test_frames_smaller_than_a_super_pixel_are_one():
    assert np.unique(SLIC().segment(frame()[:5, :7])).size == 1


@pytest.mark.parametrize("settings", [{"area": 0}, {"compactness": -1.0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError, match=f"{next(iter(settings))} of super-pixels; expected more than 0"):
        SLIC(**settings)


def test_without_scikit_image_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(ConfigError, match=r'not installed.*fix: pip install "thriftseg\[superpixel\]"'):
        SLIC().segment(frame())


def test_methods_are_told_apart_by_their_settings_and_weights():
    networks = [NetworkSuperpixels(network(seed)) for seed in (0, 1)]
    methods = [SLIC(), SLIC(area=64), SLIC(compactness=1.0), *networks]
    assert all(isinstance(method, SuperpixelMethod) for method in methods)
    assert len({repr(method) for method in methods}) == len(methods)
    assert repr(NetworkSuperpixels(network(0))) == repr(networks[0])


def test_network_super_pixels_are_those_of_the_network(tmp_path):
    path = tmp_path / "spixel.tar"
    torch.save({"state_dict": network().state_dict()}, path)
    assert (NetworkSuperpixels.from_checkpoint(path).segment(frame()) == network().superpixels(frame())).all()


def test_missing_weights_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"absent\.tar"):
        NetworkSuperpixels.from_checkpoint(tmp_path / "absent.tar")


def test_a_store_reads_what_it_has_written(tmp_path):
    store = SuperpixelStore(SLIC(), tmp_path / "maps")
    ids = store.segment(frame())
    (path,) = (tmp_path / "maps").iterdir()
    written = path.stat().st_mtime_ns
    again = store.segment(frame())
    assert (ids == again).all()
    assert (ids == SLIC().segment(frame())).all()
    assert again.dtype == np.int32
    assert path.stat().st_mtime_ns == written
    np.savez(path, superpixels=np.full((HEIGHT, WIDTH), 3, np.int32))
    assert (store.segment(frame()) == 3).all()  # nothing is computed again


def test_other_frames_and_other_settings_have_files_of_their_own(tmp_path):
    for method in (SLIC(), SLIC(area=64)):
        for seed in (0, 1):
            assert (SuperpixelStore(method, tmp_path).segment(frame(seed)) == method.segment(frame(seed))).all()
    assert len(list(tmp_path.iterdir())) == 4
    view = np.ascontiguousarray(frame().reshape(WIDTH, HEIGHT, 3))
    assert SuperpixelStore(SLIC(), tmp_path).segment(view).shape == (WIDTH, HEIGHT)  # the same bytes


@pytest.mark.parametrize("damage", [lambda content: content[:-40], lambda _: b"", lambda _: b"text"])
def test_damaged_files_are_refused(tmp_path, damage):
    store = SuperpixelStore(SLIC(), tmp_path)
    store.segment(frame())
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DatasetError, match=r"npz: holds no such arrays; expected superpixels.*delete the file"):
        store.segment(frame())
