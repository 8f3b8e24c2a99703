"""Flow from the frame to segment to its neighbours, in training batches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from thriftseg.datamodules import NeighbourPolicy, SemanticDataModule
from thriftseg.datasets.images import write_label_png
from thriftseg.errors import ConfigError
from thriftseg.flow import DIS, warp

SIZE = (64, 96)
MOTION = (3, -2)  # pixels to the right and down per frame
LABELLED = 5
PAST = NeighbourPolicy("forward", n=3, distance=1)
BOTH_SIDES = NeighbourPolicy("two_sided", n=3, distance=2)


class Pan:
    """Flow between frames that move as a whole, by whole pixels; counts its calls."""

    def __init__(self, unknown_rows: int = 0) -> None:
        self.unknown_rows, self.calls = unknown_rows, 0

    def __repr__(self) -> str:
        return f"Pan(unknown_rows={self.unknown_rows})"

    def estimate(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        self.calls += 1
        middle = a[16:-16, 16:-16]
        corner = cv2.minMaxLoc(cv2.matchTemplate(b, middle, cv2.TM_SQDIFF))[2]
        flow = np.empty((2, *a.shape[:2]), np.float32)
        flow[:] = np.subtract(corner, 16)[:, None, None]
        flow[:, : self.unknown_rows] = np.nan
        return flow


def write_pan(folder: Path, seed: int, frames: int = 10) -> None:
    """A smooth random picture behind a window that moves; the picture moves the other way."""
    folder.mkdir(parents=True)
    wide = np.random.default_rng(seed).integers(0, 256, (SIZE[0] + 40, SIZE[1] + 60, 3), dtype=np.uint8)
    wide = cv2.normalize(cv2.GaussianBlur(wide, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)
    for number in range(frames):
        left, top = 30 - MOTION[0] * number, 10 - MOTION[1] * number
        image = wide[top : top + SIZE[0], left : left + SIZE[1]]
        cv2.imwrite(str(folder / f"{number:06d}.png"), image)
    write_label_png(folder / f"{LABELLED:06d}_label.png", np.zeros(SIZE, np.uint8))


@pytest.fixture(scope="module")
def pans(tmp_path_factory: pytest.TempPathFactory, open_squares: Callable[..., Any]) -> Any:
    """Four clips that move as a whole, one label each."""
    root = tmp_path_factory.mktemp("pans")
    for split, count in (("train", 4), ("val", 1)):
        for seed in range(count):
            write_pan(root / split / f"{split}{seed}", seed)
    return open_squares(root)


def make(dataset: Any, scale: float | tuple[float, float] = 1.0, **settings: Any) -> SemanticDataModule:
    scale = scale if isinstance(scale, tuple) else (scale, scale)
    defaults = {"crop": (32, 48), "batch_size": 4, "num_workers": 0, "neighbours": PAST, "flow": Pan()}
    module = SemanticDataModule(dataset, scale=scale, neighbour_flow=True, **(defaults | settings))
    module.setup("fit")
    return module


def batches(module: SemanticDataModule, *epochs: int) -> list[dict[str, Any]]:
    loader, found = module.train_dataloader(), []
    for epoch in epochs or (0,):
        loader.sampler.set_epoch(epoch)
        found += [module.on_after_batch_transfer(batch) for batch in loader]
    return found


def ends_inside(flow: torch.Tensor, shown: tuple[int, int], crop: tuple[int, int]) -> torch.Tensor:
    """Where constant flow (dx, dy) starts and ends between the centres of the outermost shown pixels."""
    y, x = torch.meshgrid(*(torch.arange(side) for side in crop), indexing="ij")
    starts = (y < shown[0]) & (x < shown[1])
    x, y = x + flow[0], y + flow[1]
    return starts & (x >= 0) & (x <= shown[1] - 1) & (y >= 0) & (y <= shown[0] - 1)


@pytest.mark.parametrize(("policy", "offsets"), [(PAST, (-1, -2)), (BOTH_SIDES, (-2, 2))])
def test_at_their_own_size_pixels_are_found_again_exactly(pans: Any, policy: NeighbourPolicy, offsets: tuple) -> None:
    flips = set()
    for batch in batches(make(pans, neighbours=policy), 0, 1):
        for sample in range(4):
            frame = batch["frames_raw"][sample, -1]
            for place, offset in enumerate(offsets):
                flow, valid = batch["neighbour_flow"][sample, place], batch["neighbour_valid"][sample, place]
                dx, dy = (int(flow[channel, 0, 0]) for channel in (0, 1))
                assert (flow == torch.tensor([dx, dy]).view(2, 1, 1)).all()
                assert (abs(dx), dy) == (3 * abs(offset), -2 * offset)
                flips.add(dx == MOTION[0] * offset)
                assert torch.equal(valid, ends_inside(flow[:, 0, 0], (32, 48), (32, 48)))
                neighbour = batch["neighbours_raw"][sample, place]
                assert torch.equal(neighbour.roll((-dy, -dx), (1, 2))[:, valid], frame[:, valid])
    assert flips == {True, False}


@pytest.mark.parametrize("scale", [2.0, 0.5])
def test_flow_grows_with_the_frames_and_stays_in_the_crop(pans: Any, scale: float) -> None:
    (batch,) = batches(make(pans, scale=scale))
    assert batch["valid"].all()
    for sample in range(4):
        for place, offset in enumerate((-1, -2)):
            flow, valid = batch["neighbour_flow"][sample, place], batch["neighbour_valid"][sample, place]
            first = flow[:, 0, 0]
            assert (flow == first.view(2, 1, 1)).all()
            assert (first[0].abs(), first[1]) == (3 * scale * -offset, -2 * scale * offset)
            assert torch.equal(valid, ends_inside(first, (32, 48), (32, 48)))


def test_padding_has_no_flow(pans: Any) -> None:
    padded = 0
    for batch in batches(make(pans, scale=(0.4, 1.0), crop=(56, 72)), 0, 1, 2):
        for sample, real in enumerate(batch["valid"]):
            shown = (int(real[:, 0].sum()), int(real[0].sum()))
            for flow, valid in zip(batch["neighbour_flow"][sample], batch["neighbour_valid"][sample], strict=True):
                assert (flow[:, ~real] == 0).all()
                assert torch.equal(valid, ends_inside(flow[:, 0, 0], shown, (56, 72)))
            if shown[0] < 56 and shown[1] < 72:  # the frame is seen as a whole, but for a pixel
                padded += 1
                grown = torch.tensor([shown[1] / SIZE[1] * MOTION[0], shown[0] / SIZE[0] * -MOTION[1]])
                found = batch["neighbour_flow"][sample, 0, :, 0, 0].abs()
                torch.testing.assert_close(found, grown, rtol=0.02, atol=0)
    assert padded >= 3


@pytest.mark.parametrize("estimator", [Pan(), DIS()])
def test_neighbours_along_their_flow_show_the_frame(pans: Any, estimator: Any) -> None:
    errors = {1: [], -1: [], 0: []}
    for batch in batches(make(pans, scale=(0.7, 2.0), flow=estimator, photometric=False), 0, 1, 2):
        for place in range(2):
            valid = batch["neighbour_valid"][:, place]
            for direction, found in errors.items():
                moved, _ = warp(batch["neighbours"][:, place], direction * batch["neighbour_flow"][:, place])
                gap = (moved - batch["frames"][:, -1]).abs().mean(1)
                found.append(gap[valid].mean().item())
    assert np.mean(errors[1]) < 0.015
    assert 5 * np.mean(errors[1]) < np.mean(errors[0]) < np.mean(errors[-1]) / 1.2


def test_flow_of_another_program_is_used(pans: Any, tmp_path: Path) -> None:
    """16-bit PNG of KITTI: red and green hold 64 times the flow plus 32768, blue whether it is known."""
    for clip in pans.clips("train"):
        for neighbour, (dx, dy) in ((4, (-6.5, 1.25)), (3, (-2.0, 9.0))):
            codes = np.empty((*SIZE, 3), np.uint16)
            codes[:] = (1, 64 * dy + 32768, 64 * dx + 32768)  # blue first
            codes[:20, :, 0] = 0
            path = tmp_path / "96x64" / clip.video / f"{LABELLED:06d}_{neighbour:06d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), codes)
    estimator = Pan()
    module = make(pans, flow=estimator, flow_cache=tmp_path, crop=SIZE, flip=False)
    (batch,) = batches(module)
    assert estimator.calls == 0
    assert sorted(path.suffix for path in tmp_path.rglob("*.*")) == [".png"] * 8
    for place, expected in enumerate(([-6.5, 1.25], [-2.0, 9.0])):
        flow, valid = batch["neighbour_flow"][:, place], batch["neighbour_valid"][:, place]
        known = ends_inside(torch.tensor(expected), SIZE, SIZE)
        known[:20] = False
        assert torch.equal(valid, known.expand(4, -1, -1))
        assert (flow.movedim(1, -1)[valid] == torch.tensor(expected)).all()


def test_unknown_flow_is_not_valid(pans: Any) -> None:
    (batch,) = batches(make(pans, flow=Pan(unknown_rows=30), crop=SIZE))
    assert torch.isfinite(batch["neighbour_flow"]).all()
    assert not batch["neighbour_valid"][:, :, :30].any()
    assert batch["neighbour_valid"][:, :, 30:56].float().mean() > 0.9


def test_kept_flow_is_estimated_once(pans: Any, tmp_path: Path) -> None:
    first, second = Pan(), Pan()
    module = make(pans, flow=first, flow_cache=tmp_path)
    begun = batches(module, 0)
    assert first.calls == 4 * 2
    more = batches(module, 1)
    assert first.calls == 4 * 2
    assert not torch.equal(begun[0]["frames"], more[0]["frames"])
    again = batches(make(pans, flow=second, flow_cache=tmp_path), 0, 1)
    assert second.calls == 0
    for found, expected in zip(again, begun + more, strict=True):
        assert torch.equal(found["neighbour_flow"], expected["neighbour_flow"])
    unkept = batches(make(pans), 0, 1)
    for found, expected in zip(unkept, begun + more, strict=True):
        assert torch.equal(found["neighbour_flow"], expected["neighbour_flow"])


def test_workers_change_nothing(pans: Any) -> None:
    settings = {"scale": (0.5, 2.0), "flow": DIS(), "neighbours": NeighbourPolicy("two_sided"), "batch_size": 2}
    alone, forked = (batches(make(pans, num_workers=workers, **settings), 0, 3) for workers in (0, 2))
    assert len(alone) == len(forked) == 4
    for found, expected in zip(forked, alone, strict=True):
        assert found["id"] == expected["id"]
        for key in ("frames", "neighbours", "neighbour_flow", "neighbour_valid"):
            assert torch.equal(found[key], expected[key])


def test_flow_changes_nothing_else(pans: Any) -> None:
    (with_flow,) = batches(make(pans))
    plain = SemanticDataModule(pans, crop=(32, 48), batch_size=4, num_workers=0, scale=(1, 1), neighbours=PAST)
    plain.setup("fit")
    (without,) = batches(plain)
    assert with_flow.keys() - without.keys() == {"neighbour_flow", "neighbour_valid"}
    for key in ("frames", "neighbours", "label", "valid"):
        assert torch.equal(with_flow[key], without[key])
    (no_neighbours,) = batches(make(pans, neighbours=None))
    assert not any(key.startswith("neighbour") for key in no_neighbours)


def test_the_store_of_another_estimator_is_refused(pans: Any, tmp_path: Path) -> None:
    batches(make(pans, flow_cache=tmp_path))
    with pytest.raises(
        ConfigError, match=r"holds flow of another estimator; expected estimator DIS.*; found estimator Pan"
    ):
        make(pans, flow=DIS(), flow_cache=tmp_path)
