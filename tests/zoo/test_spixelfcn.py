from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.golden.fill import fill, make_inputs
from thriftseg import zoo
from thriftseg.cli.main import main
from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.zoo import Preprocessing, SpixelFCN, create_model, list_models
from thriftseg.zoo.spixelfcn import connected_regions, nearest_cells
from thriftseg.zoo.weights.official import load_official

GOLDEN = Path(__file__).parents[1] / "golden" / "models" / "spixelfcn.json"
OWN, RIGHT, BOTTOM_LEFT = 4, 5, 6
OFFSETS = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 0), (0, 1), (1, -1), (1, 0), (1, 1)]


@pytest.fixture(scope="module")
def network() -> SpixelFCN:
    torch.manual_seed(0)
    return SpixelFCN().eval()


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(GOLDEN.read_text())
    return content


@pytest.fixture(scope="module")
def checkpoint(golden: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as the training of the authors stores it."""
    weights = fill(golden["keys"], golden["kinds"], golden["fill"])
    path = tmp_path_factory.mktemp("authors") / "SpixelNet_bsd_ckpt.tar"
    content = {"epoch": 3, "arch": "SpixelNet1l_bn", "state_dict": weights, "best_EPE": 0.5, "dataset": "BSD500"}
    content["optimizer"] = torch.optim.Adam(SpixelFCN().parameters()).state_dict()
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return path


def pointing_to(channel: int) -> SpixelFCN:
    """A network that gives every pixel the same place."""
    network = SpixelFCN()
    torch.nn.init.zeros_(network.pred_mask0.weight)
    with torch.no_grad():
        network.pred_mask0.bias[channel] = 10
    return network


def always(channel: int, height: int, width: int) -> Tensor:
    return torch.eye(9)[channel].view(1, 9, 1, 1).expand(1, 9, height, width)


def grid(height: int, width: int) -> np.ndarray:
    rows, columns = np.indices((height, width)) // 16
    return rows * -(-width // 16) + columns


def noise(*size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)


class TestNetwork:
    def test_is_of_its_own_kind(self):
        assert list_models("superpixels") == ["spixelfcn"]
        assert isinstance(create_model("spixelfcn"), SpixelFCN)
        assert SpixelFCN.preprocessing == Preprocessing((0.411, 0.432, 0.45), (1.0, 1.0, 1.0), "rgb")

    def test_nine_probabilities_per_pixel(self, network: SpixelFCN):
        with torch.inference_mode():
            association = network(torch.randn(2, 3, 45, 71))
        assert association.shape == (2, 9, 45, 71)
        assert (association >= 0).all()
        torch.testing.assert_close(association.sum(dim=1), torch.ones(2, 45, 71))

    def test_other_sizes_repeat_the_border(self, network: SpixelFCN):
        frames = torch.randn(1, 3, 45, 71)
        rows, columns = torch.arange(48).clamp(max=44), torch.arange(80).clamp(max=70)
        with torch.inference_mode():
            padded = network(frames[:, :, rows][..., columns])
            torch.testing.assert_close(network(frames), padded[..., :45, :71])

    def test_is_differentiable(self, network: SpixelFCN):
        frames = torch.randn(1, 3, 20, 33, requires_grad=True)
        network(frames)[:, OWN].log().mean().backward()
        assert torch.isfinite(frames.grad).all()
        assert (frames.grad != 0).float().mean() > 0.9

    @pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 32, 32), (1, 1, 3, 32, 32)])
    def test_wrong_frames(self, network: SpixelFCN, shape: tuple[int, ...]):
        with pytest.raises(ConfigError, match=r"SpixelFCN cannot take these frames; expected \(B, 3, H, W\); found \("):
            network(torch.zeros(shape))


class TestCells:
    @pytest.mark.parametrize("channel", range(9))
    def test_channels_are_places_in_the_neighbourhood(self, channel: int):
        height, width = 64, 48
        dy, dx = OFFSETS[channel]
        rows, columns = np.indices((height, width)) // 16
        expected = np.clip(rows + dy, 0, 3) * 3 + np.clip(columns + dx, 0, 2)
        np.testing.assert_array_equal(nearest_cells(always(channel, height, width))[0], expected)

    def test_one_pixel_may_differ_from_its_cell(self):
        association = always(OWN, 32, 32).clone()
        association[0, :, 3, 15] = torch.eye(9)[RIGHT]
        cells = nearest_cells(association)[0]
        assert (cells[3, 15], cells[3, 14], cells[4, 15]) == (1, 0, 0)

    def test_the_first_of_equal_ones_counts(self):
        cells = nearest_cells(torch.full((1, 9, 32, 32), 1 / 9))[0]
        np.testing.assert_array_equal(cells, np.zeros((32, 32)))

    def test_images_of_a_batch_are_apart(self):
        both = torch.cat([always(OWN, 32, 48), always(RIGHT, 32, 48)])
        own, right = nearest_cells(both)
        np.testing.assert_array_equal(own, nearest_cells(both[:1])[0])
        np.testing.assert_array_equal(right, nearest_cells(both[1:])[0])
        assert not torch.equal(own, right)


class TestSuperpixels:
    def test_own_cells_are_the_grid(self):
        regions = pointing_to(OWN).superpixels(noise(48, 64))
        np.testing.assert_array_equal(regions, grid(48, 64))
        assert regions.dtype == np.int32

    def test_right_neighbours_shift_the_grid(self):
        """The first column of cells is empty, and the last holds two of them."""
        regions = pointing_to(RIGHT).superpixels(noise(48, 64))
        rows, columns = np.indices((48, 64)) // 16
        np.testing.assert_array_equal(regions, rows * 3 + np.minimum(columns, 2))

    def test_other_sizes_are_cut_into_as_many_cells_as_a_multiple_of_16(self):
        """45 x 71 becomes 48 x 80 and the map of that is read at the pixel centres."""
        regions = pointing_to(OWN).superpixels(noise(45, 71))
        rows = np.floor((np.arange(45) + 0.5) * 48 / 45).astype(int)
        columns = np.floor((np.arange(71) + 0.5) * 80 / 71).astype(int)
        np.testing.assert_array_equal(regions, grid(48, 80)[rows][:, columns])

    def test_images_smaller_than_a_cell(self):
        np.testing.assert_array_equal(pointing_to(BOTTOM_LEFT).superpixels(noise(5, 7)), np.zeros((5, 7)))

    @pytest.mark.parametrize("size", [(64, 48), (50, 37), (17, 90)])
    def test_regions_are_connected_numbered_and_not_small(self, network: SpixelFCN, size: tuple[int, int]):
        regions = network.superpixels(noise(*size))
        _, first = np.unique(regions, return_index=True)
        assert regions.shape == size
        assert regions[0, 0] == 0
        assert (np.diff(first) > 0).all()
        np.testing.assert_array_equal(searched_components(regions), regions)
        cells = -(-size[0] // 16) * -(-size[1] // 16)
        assert np.bincount(regions.ravel()).min() >= int(0.06 * size[0] * size[1] / cells)
        np.testing.assert_array_equal(network.superpixels(noise(*size)), regions)

    def test_reads_normalised_rgb(self, network: SpixelFCN):
        image = noise(32, 48)
        frames = (torch.from_numpy(image) / 255 - torch.tensor([0.411, 0.432, 0.45])).permute(2, 0, 1).unsqueeze(0)
        with torch.inference_mode():
            cells = nearest_cells(network(frames))[0].numpy()
        np.testing.assert_array_equal(network.superpixels(image), connected_regions(cells.astype(np.int32), 15))

    def test_mode_and_statistics_stay(self, network: SpixelFCN):
        training = create_model("spixelfcn").train()
        training.load_state_dict(network.state_dict())
        regions = training.superpixels(noise(32, 48))
        assert training.training
        assert all(
            torch.equal(ours, theirs) for ours, theirs in zip(training.buffers(), network.buffers(), strict=True)
        )
        np.testing.assert_array_equal(regions, network.superpixels(noise(32, 48)))

    @pytest.mark.parametrize(
        ("shape", "dtype"),
        [((32, 48), np.uint8), ((32, 48, 4), np.uint8), ((32, 48, 3), np.float32), ((0, 4, 3), "u1")],
    )
    def test_wrong_image(self, network: SpixelFCN, shape: tuple[int, ...], dtype: Any):
        with pytest.raises(ConfigError, match=r"cannot take this image; expected \(H, W, 3\) uint8; found \("):
            network.superpixels(np.zeros(shape, dtype))


def searched_components(labels: np.ndarray) -> np.ndarray:
    """4-connected components by search, numbered in raster order."""
    found = np.full(labels.shape, -1)
    for start in np.ndindex(*labels.shape):
        if found[start] >= 0:
            continue
        number, open_pixels = found.max() + 1, [start]
        while open_pixels:
            y, x = open_pixels.pop()
            inside = 0 <= y < labels.shape[0] and 0 <= x < labels.shape[1]
            if inside and found[y, x] < 0 and labels[y, x] == labels[start]:
                found[y, x] = number
                open_pixels += [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
    return found


class TestConnectedRegions:
    def regions(self, rows: list[str], smallest: int) -> list[str]:
        labels = np.array([[ord(letter) for letter in row] for row in rows], np.int32)
        return ["".join(chr(ord("a") + number) for number in row) for row in connected_regions(labels, smallest)]

    def test_corners_do_not_connect(self):
        assert self.regions(["xo", "ox"], 1) == ["ab", "cd"]

    def test_parts_of_a_label_become_regions_of_their_own(self):
        assert self.regions(["xxoxx", "xxoxx"], 1) == ["aabcc", "aabcc"]

    def test_a_small_region_joins_the_longest_border(self):
        assert self.regions(["xxoo", "opoo", "oooo"], 2) == ["aabb", "bbbb", "bbbb"]

    def test_of_equal_borders_the_first_region_wins(self):
        assert self.regions(["xxpoo"], 2) == ["aaabb"]

    def test_small_regions_may_join_each_other_first(self):
        """Each has two pixels, and the longest borders are those between p and r and between q and s."""
        assert self.regions(["ppqq", "rrss"], 3) == ["aabb", "aabb"]
        assert self.regions(["ppqq", "rrss"], 5) == ["aaaa", "aaaa"]
        assert self.regions(["xxxx", "xpqx", "xxxx"], 2) == ["aaaa"] * 3

    def test_large_regions_never_join(self):
        labels = np.repeat(np.arange(6, dtype=np.int32), 4).reshape(6, 4)
        np.testing.assert_array_equal(connected_regions(labels, 4), labels)

    def test_a_map_below_the_limit_is_one_region(self):
        np.testing.assert_array_equal(
            connected_regions(np.arange(6, dtype=np.int32).reshape(2, 3), 100), np.zeros((2, 3))
        )

    @pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
    def test_lines(self, shape: tuple[int, int]):
        labels = (np.arange(9, dtype=np.int32) // 3)[: shape[0] * shape[1]].reshape(shape)
        np.testing.assert_array_equal(connected_regions(labels, 2), labels)

    @pytest.mark.parametrize("seed", range(5))
    def test_components_of_random_maps(self, seed: int):
        labels = np.random.default_rng(seed).integers(0, 3, (23, 31), dtype=np.int32)
        np.testing.assert_array_equal(connected_regions(labels, 1), searched_components(labels))

    @pytest.mark.parametrize("smallest", [2, 5, 20])
    def test_random_maps_only_merge(self, smallest: int):
        labels = np.random.default_rng(smallest).integers(0, 3, (40, 50), dtype=np.int32)
        parts, regions = searched_components(labels), connected_regions(labels, smallest)
        sizes = np.bincount(regions.ravel())
        assert sizes.min() >= smallest
        np.testing.assert_array_equal(searched_components(regions), regions)
        for part in range(parts.max() + 1):
            assert np.unique(regions[parts == part]).size == 1
        large = [regions[parts == part][0] for part in np.flatnonzero(np.bincount(parts.ravel()) >= smallest)]
        assert len(set(large)) == len(large)


class TestCheckpoints:
    def test_predictors_that_never_run_are_left_out(self, golden: dict[str, Any]):
        weights = fill(golden["keys"], golden["kinds"], golden["fill"])
        report = load_official(SpixelFCN(), weights)
        unused = {f"pred_mask{level}.{kind}" for level in (1, 2, 3) for kind in ("weight", "bias")}
        assert set(report.unused) == unused
        assert set(report.loaded) == weights.keys() - unused == SpixelFCN().state_dict().keys()

    def test_file_of_the_authors(self, checkpoint: Path, golden: dict[str, Any]):
        network = SpixelFCN.from_checkpoint(checkpoint)
        assert not network.training
        with torch.inference_mode():
            probabilities = network(make_inputs(golden["inputs"])["frames"])
        row = next(row for row in golden["outputs"] if row["name"] == "probabilities")
        positions = (np.arange(64) * 1000003 + 17) % probabilities.numel()
        np.testing.assert_allclose(probabilities.flatten()[positions], row["sample"], atol=1e-4)

    def test_import(self, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        out = tmp_path / "spixelfcn.safetensors"
        assert main(["zoo", "import", "--arch", "spixelfcn", str(checkpoint), "--out", str(out)]) == 0
        assert "6 stored but never used; licence of the weights: MIT" in capsys.readouterr().out
        imported, direct = zoo.load(out).network, SpixelFCN.from_checkpoint(checkpoint)
        for again in (imported, SpixelFCN.from_checkpoint(out)):
            np.testing.assert_array_equal(again.superpixels(noise(40, 50)), direct.superpixels(noise(40, 50)))

    def test_missing_file(self, tmp_path: Path):
        with pytest.raises(CheckpointError, match=r"nowhere\.tar: no such checkpoint"):
            SpixelFCN.from_checkpoint(tmp_path / "nowhere.tar")

    def test_weights_of_another_network(self, tmp_path: Path):
        torch.save({"state_dict": {"fc.weight": torch.ones(2, 2)}}, tmp_path / "other.tar")
        with pytest.raises(CheckpointError, match=r"other\.tar: entries do not fit this SpixelFCN"):
            SpixelFCN.from_checkpoint(tmp_path / "other.tar")
