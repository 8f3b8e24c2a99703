from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from thriftseg.errors import ConfigError
from thriftseg.losses import GatedCRF, GaussianKernel, gated_crf_loss
from thriftseg.losses.gated_crf import gated_crf_terms

TWO_KERNELS = (GaussianKernel(0.9, xy=2, rgb=0.3), GaussianKernel(0.1, xy=1.5, rgb=None))


def potts(classes: int) -> Tensor:
    return 1 - torch.eye(classes, dtype=torch.float64)


def example(batch: int = 2, classes: int = 3, height: int = 6, width: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    logits = 2 * torch.randn(batch, classes, height, width, generator=generator, dtype=torch.float64)
    return logits.softmax(dim=1), torch.rand(batch, 3, height, width, generator=generator, dtype=torch.float64)


def random_masks(like: Tensor) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    source, destination = (torch.rand(like[:, 0].shape, generator=generator) > share for share in (0.3, 0.5))
    return source.double(), destination.double()


def by_loops(y, image, kernels, radius, source=None, destination=None, compatibility=None, outside="exclude") -> float:
    """The definition, pixel by pixel."""
    batch, classes, height, width = y.shape
    y, image = y.numpy(), image.numpy()
    ones = np.ones((batch, height, width))
    s = ones if source is None else source.numpy()
    d = ones if destination is None else destination.numpy()
    matrix = 1 - np.eye(classes) if compatibility is None else compatibility.numpy()
    total = 0.0
    for b, i, k in itertools.product(range(batch), range(height), range(width)):
        for dy, dx in itertools.product(range(-radius, radius + 1), repeat=2):
            row, column = i + dy, k + dx
            inside = 0 <= row < height and 0 <= column < width
            if (dy, dx) == (0, 0) or not (inside or outside == "zero_padded"):
                continue
            color = image[b, :, i, k] - (image[b, :, row, column] if inside else 0)
            distance = dy**2 + dx**2 if inside else i**2 + k**2
            affinity = sum(
                kernel.weight
                * (math.exp(-0.5 * distance / kernel.xy**2) if kernel.xy else 1)
                * (math.exp(-0.5 * float((color**2).sum()) / kernel.rgb**2) if kernel.rgb else 1)
                for kernel in kernels
            )
            neighbour_gate = s[b, row, column] if inside else float(source is None)
            cost = y[b, :, i, k] @ matrix @ y[b, :, row, column] if inside else 1.0
            total += d[b, i, k] * neighbour_gate * affinity * cost
    counted = d if destination is not None else s
    return float(total / max(1, counted.sum()))


class TestAgainstLoops:
    @pytest.mark.parametrize("outside", ["exclude", "zero_padded"])
    @pytest.mark.parametrize("masks", ["none", "source", "destination", "both"])
    def test_masks_and_borders(self, masks: str, outside: str) -> None:
        y, image = example()
        source, destination = random_masks(y)
        given = {
            "source": source if masks in ("source", "both") else None,
            "destination": destination if masks in ("destination", "both") else None,
        }
        value = gated_crf_loss(y, image, TWO_KERNELS, 2, **given, outside=outside)
        assert value.item() == pytest.approx(by_loops(y, image, TWO_KERNELS, 2, **given, outside=outside), rel=1e-12)

    @pytest.mark.parametrize(
        "kernels",
        [
            (GaussianKernel(),),
            (GaussianKernel(0.7, 3, 0.05), GaussianKernel(0.2, 1.5, None), GaussianKernel(0.4, None, 0.2)),
            (GaussianKernel(2.0, xy=1.0, rgb=None),),
        ],
    )
    @pytest.mark.parametrize("radius", [1, 3, 9])
    def test_kernels_and_radii(self, kernels: tuple[GaussianKernel, ...], radius: int) -> None:
        y, image = example(batch=1)
        value = gated_crf_loss(y, image, kernels, radius)
        assert value.item() == pytest.approx(by_loops(y, image, kernels, radius), rel=1e-12)

    def test_compatibility(self) -> None:
        y, image = example()
        matrix = torch.tensor([[0, 1, 3], [1, 0.5, 2], [3, 2, 0]], dtype=torch.float64)
        value = gated_crf_loss(y, image, TWO_KERNELS, 2, compatibility=matrix)
        assert value.item() == pytest.approx(by_loops(y, image, TWO_KERNELS, 2, compatibility=matrix), rel=1e-12)

    def test_potts_as_a_matrix_is_the_default(self) -> None:
        y, image = example()
        logits = y.log().requires_grad_()
        gradients = [
            torch.autograd.grad(gated_crf_loss(logits.softmax(1), image, compatibility=m), logits)[0]
            for m in (None, potts(3))
        ]
        torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-14)


class TestGradients:
    @pytest.mark.parametrize("settings", [{}, {"compatibility": potts(2)}, {"outside": "zero_padded"}])
    def test_gradcheck(self, settings: dict) -> None:
        y, image = example(batch=1, classes=2, height=4, width=3)
        source, destination = random_masks(y)
        for masks in ({}, {"source": source, "destination": destination}):
            assert torch.autograd.gradcheck(
                lambda p, m=masks: gated_crf_loss(p, image, TWO_KERNELS, 2, **m, **settings), y.requires_grad_()
            )

    def test_the_image_and_the_masks_get_none(self) -> None:
        y, image = example()
        mask = torch.ones(2, 6, 7, dtype=torch.float64, requires_grad=True)
        gated_crf_loss(y.requires_grad_(), image.requires_grad_(), source=mask).backward()
        assert image.grad is None
        assert mask.grad is None
        assert y.grad.abs().sum() > 0

    def test_a_second_derivative_is_refused(self) -> None:
        y, image = example()
        y.requires_grad_()
        (gradient,) = torch.autograd.grad(gated_crf_loss(y, image), y, create_graph=True)
        with pytest.raises(RuntimeError, match="gated_crf_loss is differentiable once"):
            gradient.square().sum().backward()

    def test_create_graph_for_other_terms_is_allowed(self) -> None:
        y, image = example()
        y.requires_grad_()
        other = y.pow(3).sum()
        (gradient,) = torch.autograd.grad(other, y, create_graph=True)
        gradient.sum().backward()
        gated_crf_loss(y, image).backward()
        assert torch.isfinite(y.grad).all()


class TestMeaning:
    def test_a_constant_one_hot_map_costs_nothing(self) -> None:
        _, image = example()
        y = torch.zeros(2, 3, 6, 7).index_fill_(1, torch.tensor(1), 1.0)
        assert gated_crf_loss(y, image.float()).item() == 0.0

    def test_two_pixels_by_hand(self) -> None:
        y = torch.tensor([[0.75, 0.25], [0.25, 0.75]], dtype=torch.float64).T.reshape(1, 2, 1, 2)
        image = torch.tensor([0.0, 0.1], dtype=torch.float64).expand(1, 3, 1, 2)
        affinity = math.exp(-0.5 / 36 - 0.5 * 3)
        assert gated_crf_loss(y, image).item() == pytest.approx(affinity * (1 - 2 * 0.75 * 0.25), rel=1e-12)

    def test_an_edge_on_a_color_edge_is_cheaper(self) -> None:
        image = torch.zeros(1, 3, 8, 12)
        image[..., 6:] = 1
        labels = torch.zeros(8, 12, dtype=torch.long)
        cost = []
        for edge in (4, 6):
            labels[:] = torch.arange(12) >= edge
            cost.append(gated_crf_loss(torch.eye(2)[labels].permute(2, 0, 1)[None], image).item())
        assert cost[1] < 1e-3 * cost[0]

    def test_padding_adds_nothing(self) -> None:
        y, image = example()
        generator = torch.Generator().manual_seed(5)
        wide_logits = torch.randn(2, 3, 9, 11, generator=generator, dtype=torch.float64)
        wide_logits[..., :6, :7] = y.log()
        wide_image = torch.rand(2, 3, 9, 11, generator=generator, dtype=torch.float64)
        wide_image[..., :6, :7] = image
        valid = torch.zeros(2, 9, 11, dtype=torch.bool)
        valid[:, :6, :7] = True
        loss = GatedCRF()
        assert loss(wide_logits, wide_image, valid).item() == pytest.approx(loss(y.log(), image).item(), rel=1e-12)

    def test_the_image_is_averaged_to_the_prediction(self) -> None:
        y, image = example()
        large = image.repeat_interleave(4, 2).repeat_interleave(2, 3)
        large[..., ::2] += 0.1
        large[..., 1::2] -= 0.1
        assert gated_crf_loss(y, large).item() == pytest.approx(gated_crf_loss(y, image).item(), rel=1e-12)

    def test_masks_below_one_are_closed_and_never_edited(self) -> None:
        y, image = example(batch=1)
        mask = torch.ones(1, 6, 7, dtype=torch.float64)
        mask[0, 2, 3], mask[0, 4, 4], mask[0, 0, 0] = 0.99, torch.nan, 1.5
        closed = torch.where(mask >= 1, mask, 0)
        before = mask.clone()
        assert gated_crf_loss(y, image, source=mask).item() == gated_crf_loss(y, image, source=closed).item()
        torch.testing.assert_close(mask, before, equal_nan=True)

    def test_terms_of_two_halves_add_up(self) -> None:
        y, image = example()
        valid = random_masks(y)[0]
        whole = gated_crf_terms(y, image, source=valid, destination=valid)
        parts = [
            gated_crf_terms(y[b : b + 1], image[b : b + 1], source=valid[b : b + 1], destination=valid[b : b + 1])
            for b in range(2)
        ]
        assert sum(part.sum for part in parts).item() == pytest.approx(whole.sum.item(), rel=1e-12)
        assert sum(part.count for part in parts).item() == whole.count.item() == valid.sum().item()


class TestPrecision:
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision(self, dtype: torch.dtype) -> None:
        logits = (1e4 * torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))).to(dtype).requires_grad_()
        image = torch.rand(1, 3, 8, 8, dtype=dtype)
        loss = GatedCRF()(logits, image)
        loss.backward()
        assert loss.dtype is torch.float32
        assert loss.item() == GatedCRF()(logits.float(), image.float()).item()
        assert torch.isfinite(logits.grad).all()

    def test_autocast(self) -> None:
        y, image = example()
        logits, image = y.log().float(), image.float()
        compatibility = potts(3).tolist()
        expected = GatedCRF(compatibility=compatibility)(logits, image)
        with torch.autocast("cpu", torch.bfloat16):
            assert GatedCRF(compatibility=compatibility)(logits, image).item() == expected.item()

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
    def test_nothing_but_padding_gives_exactly_zero(self, dtype: torch.dtype) -> None:
        logits = torch.randn(2, 3, 8, 8).to(dtype).requires_grad_()
        loss = GatedCRF()(logits, torch.rand(2, 3, 16, 16), torch.zeros(2, 16, 16, dtype=torch.bool))
        loss.backward()
        assert loss.item() == 0.0
        assert (logits.grad == 0).all()


class TestFaults:
    def test_settings(self) -> None:
        with pytest.raises(ConfigError, match="rgb of a Gated CRF kernel is out of range; expected above 0; found 0"):
            GaussianKernel(rgb=0)
        with pytest.raises(ConfigError, match="needs xy, rgb or both"):
            GaussianKernel(xy=None, rgb=None)
        with pytest.raises(ConfigError, match="radius of Gated CRF is out of range; expected at least 1; found 0"):
            GatedCRF(radius=0)
        with pytest.raises(ConfigError, match="Gated CRF has no kernel"):
            GatedCRF(kernels=())
        with pytest.raises(ConfigError, match="expected exclude or zero_padded; found wrap"):
            GatedCRF(outside="wrap")

    def test_shapes(self) -> None:
        y, image = example()
        with pytest.raises(ValueError, match=r"image must be .* multiples of \(6, 7\).*found \(2, 3, 6, 8\)"):
            gated_crf_loss(y, torch.zeros(2, 3, 6, 8))
        with pytest.raises(ValueError, match=r"image must be floating point.*found torch.uint8"):
            gated_crf_loss(y, image.to(torch.uint8))
        with pytest.raises(ValueError, match=r"source must be \(B, H, W\) or \(B, 1, H, W\)"):
            gated_crf_loss(y, image, source=torch.ones(2, 2, 6, 7))
        with pytest.raises(ValueError, match=r"compatibility must be a symmetric \(3, 3\) matrix"):
            gated_crf_loss(y, image, compatibility=torch.tensor([[0.0, 1, 2], [1, 0, 1], [1, 1, 0]]))
        with pytest.raises(ValueError, match=r"probabilities must be \(B, C, H, W\)"):
            gated_crf_loss(y[0], image)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gpu_gives_the_same_loss(dtype: torch.dtype) -> None:
    y, image = (tensor.to(dtype) for tensor in example(height=40, width=50))
    results = []
    for device in ("cpu", "cuda"):
        logits = y.log().to(device).requires_grad_()
        loss = GatedCRF(TWO_KERNELS)(logits, image.to(device))
        loss.backward()
        results.append((loss.detach().cpu(), logits.grad.cpu()))
    torch.testing.assert_close(*results)
