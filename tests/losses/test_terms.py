"""What holds for every loss on label maps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from thriftseg.errors import ConfigError
from thriftseg.losses import (
    BootstrappedCrossEntropy,
    CrossEntropy,
    LabelMapLoss,
    OHEMCrossEntropy,
    PartialCrossEntropy,
    PartiallyHuberisedCrossEntropy,
    bootstrapped_cross_entropy,
    cross_entropy,
    ohem_cross_entropy,
    partial_cross_entropy,
    partially_huberised_cross_entropy,
)

LOSSES = [
    CrossEntropy,
    PartialCrossEntropy,
    OHEMCrossEntropy,
    PartiallyHuberisedCrossEntropy,
    BootstrappedCrossEntropy,
]
REDUCTIONS = ["pixel", "image"]

every_loss = pytest.mark.parametrize("loss_class", LOSSES)
every_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)


def random_batch(ignored: float = 0.3, batch: int = 3, classes: int = 5, dtype=torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    logits = 2 * torch.randn(batch, classes, 6, 9, generator=generator, dtype=dtype)
    target = torch.randint(0, classes, (batch, 6, 9), generator=generator)
    target[torch.rand(target.shape, generator=generator) < ignored] = 255
    return logits, target


@every_loss
@every_reduction
def test_gradcheck(loss_class, reduction):
    logits, target = random_batch(batch=2, classes=3)
    logits, target = logits[:, :, :2, :3].requires_grad_(), target[:, :2, :3]
    loss = loss_class(reduction=reduction)
    weight = torch.tensor([0.5, 2.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: loss(z, target, weight), logits)


@every_loss
@every_reduction
def test_ignored_pixels_have_no_say(loss_class, reduction):
    logits, target = random_batch()
    logits.requires_grad_()
    loss = loss_class(reduction=reduction)
    value = loss(logits, target)
    value.backward()
    ignored = (target == 255).unsqueeze(1).expand_as(logits)
    assert (logits.grad[ignored] == 0).all()
    elsewhere = torch.where(ignored, 1000 * torch.randn_like(logits), logits.detach())
    assert loss(elsewhere, target).item() == pytest.approx(value.item(), rel=1e-12)


@every_loss
@every_reduction
def test_another_ignore_index(loss_class, reduction):
    logits, target = random_batch()
    moved = torch.where(target == 255, -1, target)
    assert torch.equal(
        loss_class(reduction=reduction)(logits, target), loss_class(reduction=reduction, ignore_index=-1)(logits, moved)
    )


@every_loss
@every_reduction
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_nothing_labelled_gives_exactly_zero(loss_class, reduction, dtype):
    logits = (1e4 * torch.randn(2, 4, 5, 5)).to(dtype).requires_grad_()
    value = loss_class(reduction=reduction)(logits, torch.full((2, 5, 5), 255))
    value.backward()
    assert value.item() == 0.0
    assert (logits.grad == 0).all()


@every_loss
@every_reduction
def test_scale_does_not_depend_on_the_ignored_share(loss_class, reduction):
    logits, target = random_batch(ignored=0.0)
    padded_logits = torch.cat([logits, torch.randn_like(logits)], dim=-1)
    padded_target = torch.cat([target, torch.full_like(target, 255)], dim=-1)
    loss = loss_class(reduction=reduction)
    assert loss(padded_logits, padded_target).item() == pytest.approx(loss(logits, target).item(), rel=1e-12)


@every_loss
@every_reduction
def test_terms_of_two_halves_add_up_to_the_whole(loss_class, reduction):
    loss = loss_class(reduction=reduction)
    if isinstance(loss, OHEMCrossEntropy):
        loss.min_kept = 0.0  # each half would otherwise fill up from its own pixels
    logits, target = random_batch(batch=4)
    target[3] = 255  # a half without labels in its second image
    weight = torch.tensor([1.0, 0.5, 2.0, 3.0])
    whole = loss.terms(logits, target, weight)
    halves = [loss.terms(logits[part], target[part], weight[part]) for part in (slice(0, 2), slice(2, 4))]
    assert sum(half.sum for half in halves).item() == pytest.approx(whole.sum.item(), rel=1e-12)
    assert sum(half.count for half in halves).item() == whole.count.item()
    assert not whole.count.requires_grad
    assert loss(logits, target, weight).item() == pytest.approx((whole.sum / whole.count).item(), rel=1e-12)


@every_loss
def test_image_reduction_is_the_mean_of_single_images(loss_class):
    loss = loss_class(reduction="image")
    if isinstance(loss, OHEMCrossEntropy):
        loss.min_kept = 0.0
    logits, target = random_batch()
    target[1] = 255
    weight = torch.tensor([0.25, 1.0, 2.0], dtype=torch.float64)
    single = [loss(logits[b : b + 1], target[b : b + 1]).item() for b in range(3)]
    expected = (0.25 * single[0] + 2.0 * single[2]) / 2
    assert loss(logits, target, weight).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("reduction", "share"), [("pixel", 1 / 501), ("image", 1 / 2)])
def test_share_of_one_click_beside_a_mask(reduction, share):
    """The gradient share of a single click next to a mask of 500 pixels."""
    logits = torch.zeros(2, 3, 20, 25, dtype=torch.float64, requires_grad=True)
    target = torch.zeros(2, 20, 25, dtype=torch.long)
    target[1] = 255
    target[1, 4, 5] = 2
    CrossEntropy(reduction=reduction)(logits, target).backward()
    mass = logits.grad.abs().flatten(1).sum(1)
    assert (mass[1] / mass.sum()).item() == pytest.approx(share, rel=1e-9)


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(loss_class, dtype):
    logits, target = random_batch()
    logits = logits.to(dtype)
    value = loss_class()(logits, target)
    assert value.dtype is torch.float32
    assert torch.equal(value, loss_class()(logits.float(), target))


@every_loss
def test_shapes_that_do_not_fit_are_refused(loss_class):
    logits, target = random_batch()
    with pytest.raises(ValueError, match=r"do not fit: \(3, 5, 6, 9\) and \(3, 6, 8\)"):
        loss_class()(logits, target[..., :8])
    with pytest.raises(ValueError, match=r"weight must have shape \(3,\), got \(2,\)"):
        loss_class()(logits, target, torch.ones(2))


@every_loss
def test_unknown_reduction_is_refused(loss_class):
    with pytest.raises(ConfigError, match="unknown reduction; expected pixel or image; found mean"):
        loss_class(reduction="mean")


@every_loss
def test_has_no_state_to_store(loss_class):
    loss: LabelMapLoss = loss_class()
    assert loss.state_dict() == {}
    assert list(loss.parameters()) == []


@pytest.mark.parametrize(
    ("function", "module"),
    [
        (bootstrapped_cross_entropy, BootstrappedCrossEntropy),
        (cross_entropy, CrossEntropy),
        (partial_cross_entropy, PartialCrossEntropy),
        (ohem_cross_entropy, OHEMCrossEntropy),
        (partially_huberised_cross_entropy, PartiallyHuberisedCrossEntropy),
    ],
)
def test_functions_equal_modules(function, module):
    logits, target = random_batch()
    weight = torch.tensor([1.0, 0.5, 2.0])
    settings = {"reduction": "image", "ignore_index": 3}
    target[target == 255] = 0
    assert torch.equal(function(logits, target, weight, **settings), module(**settings)(logits, target, weight))
    assert torch.equal(function(logits, target), module()(logits, target))
