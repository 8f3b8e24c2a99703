"""Knowledge distillation, memory flow distillation and temporal consistency: losses between two predictions."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from thriftseg.errors import ConfigError
from thriftseg.losses import (
    KnowledgeDistillation,
    MemoryFlowDistillation,
    TemporalConsistencyLoss,
    knowledge_distillation,
    memory_flow_distillation,
    temporal_consistency_loss,
)
from thriftseg.losses.memory_flow_distillation import ConsistencyWeight
from thriftseg.losses.temporal_consistency import Distance

WEIGHTS, DISTANCES = get_args(ConsistencyWeight), get_args(Distance)
SIZE = (2, 3, 4, 5)


def maps(count: int, size: tuple[int, ...] = SIZE) -> list[Tensor]:
    generator = torch.Generator().manual_seed(11)
    return [torch.randn(size, generator=generator, dtype=torch.float64) for _ in range(count)]


def example_flow(size: tuple[int, ...] = SIZE) -> Tensor:
    generator = torch.Generator().manual_seed(12)
    return 1.7 * torch.randn(size[0], 2, *size[2:], generator=generator, dtype=torch.float64)


def example_mask(size: tuple[int, ...] = SIZE) -> Tensor:
    return torch.rand(size[0], *size[2:], generator=torch.Generator().manual_seed(13)) < 0.7


def softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - logits.max())
    return exponents / exponents.sum()


def sample(probabilities: np.ndarray, row: float, column: float) -> np.ndarray | None:
    """(C, H, W) at a real position, clamped to the image; `None` where the nearest pixel lies outside."""
    _, height, width = probabilities.shape
    if not (0 <= math.floor(row + 0.5) < height and 0 <= math.floor(column + 0.5) < width):
        return None
    row, column = min(max(row, 0), height - 1), min(max(column, 0), width - 1)
    top, left = min(int(row), height - 2), min(int(column), width - 2)
    down, right = row - top, column - left
    return (
        (1 - down) * (1 - right) * probabilities[:, top, left]
        + (1 - down) * right * probabilities[:, top, left + 1]
        + down * (1 - right) * probabilities[:, top + 1, left]
        + down * right * probabilities[:, top + 1, left + 1]
    )


def moved_pixels(logits: Tensor, other: Tensor, flow: Tensor, mask: Tensor):
    """Yield (image, row, column, prediction, moved prediction of the other frame) of the comparable pixels."""
    batch, _, height, width = logits.shape
    for b in range(batch):
        probabilities = np.stack([softmax(pixel) for pixel in other[b].flatten(1).T.numpy()], axis=1)
        probabilities = probabilities.reshape(-1, height, width)
        for i in range(height):
            for k in range(width):
                dx, dy = flow[b, :, i, k].tolist()
                moved = sample(probabilities, i + dy, k + dx)
                if moved is not None and mask[b, i, k]:
                    yield b, i, k, softmax(logits[b, :, i, k].numpy()), moved


class TestKnowledgeDistillation:
    def test_by_hand_both_directions_differ(self) -> None:
        student = torch.tensor([0.5, 0.25, 0.25]).double().log().view(1, 3, 1, 1)
        teacher = torch.tensor([0.75, 0.125, 0.125]).double().log().view(1, 3, 1, 1)
        forward = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
        backward = 0.5 * math.log(2 / 3) + 0.5 * math.log(2)
        assert knowledge_distillation(student, teacher).item() == pytest.approx(forward, rel=1e-12)
        assert knowledge_distillation(student, teacher, "student").item() == pytest.approx(backward, rel=1e-12)

    @pytest.mark.parametrize("direction", ["teacher", "student"])
    def test_zero_for_equal_outputs_and_positive_else(self, direction: str) -> None:
        student, teacher = maps(2)
        loss = KnowledgeDistillation(direction)
        assert loss(student, student + 3).item() == pytest.approx(0, abs=1e-15)
        assert loss(student, teacher).item() > 0.1

    @pytest.mark.parametrize("direction", ["teacher", "student"])
    def test_mean_over_valid_pixels_by_loops(self, direction: str) -> None:
        student, teacher = maps(2)
        valid, total = example_mask(), 0.0
        for b, i, k in valid.nonzero().tolist():
            t, s = softmax(teacher[b, :, i, k].numpy()), softmax(student[b, :, i, k].numpy())
            p, q = (t, s) if direction == "teacher" else (s, t)
            total += float((p * np.log(p / q)).sum())
        value = KnowledgeDistillation(direction)(student, teacher, valid)
        assert value.item() == pytest.approx(total / valid.sum().item(), rel=1e-12)

    def test_temperature_keeps_the_size_of_the_gradient(self) -> None:
        student, teacher = (1e-3 * logits for logits in maps(2))
        plain = knowledge_distillation(student, teacher)
        softened = knowledge_distillation(student, teacher, temperature=4.0)
        assert softened.item() == pytest.approx(plain.item(), rel=1e-2)

    def test_settings(self) -> None:
        with pytest.raises(ConfigError, match="expected teacher or student; found both"):
            KnowledgeDistillation("both")
        with pytest.raises(ConfigError, match="temperature of distillation is out of range"):
            KnowledgeDistillation(temperature=0)


class TestMemoryFlowDistillation:
    @pytest.mark.parametrize("weight", WEIGHTS)
    def test_by_loops(self, weight: str) -> None:
        student, neighbour, teacher = maps(3)
        flow, mask, values = example_flow(), example_mask(), []
        for b, i, k, prediction, moved in moved_pixels(student, neighbour, flow, mask):
            dx, dy = flow[b, :, i, k].tolist()
            if not mask[b, math.floor(i + dy + 0.5), math.floor(k + dx + 0.5)]:
                continue
            gap = np.abs(moved - softmax(teacher[b, :, i, k].numpy()))
            factor = {"exp_neg": np.exp(-gap), "channel_l1": np.exp(-gap.sum()), "printed": np.exp(gap), "none": 1}
            values.append((factor[weight] * (moved - prediction) ** 2).sum())
        value = MemoryFlowDistillation(weight)(student, neighbour, flow, teacher, mask)
        assert 5 < len(values) < mask.sum()
        assert value.item() == pytest.approx(np.mean(values), rel=1e-10)

    @pytest.mark.parametrize(
        ("weight", "agree", "oppose"), [("exp_neg", 1, -1), ("channel_l1", 1, -2), ("printed", 1, 1)]
    )
    def test_weights_of_certain_predictions(self, weight: str, agree: float, oppose: float) -> None:
        """Squared difference 2 of opposite one-hots, weighted by an agreeing and by an opposite teacher."""
        first = torch.tensor([60.0, -60.0], dtype=torch.float64).view(1, 2, 1, 1)
        still = torch.zeros(1, 2, 1, 1, dtype=torch.float64)
        assert memory_flow_distillation(-first, first, still, first, weight).item() == pytest.approx(2 * agree)
        assert memory_flow_distillation(-first, first, still, -first, weight).item() == pytest.approx(
            2 * math.exp(oppose)
        )

    def test_the_wrong_direction_of_flow_costs(self) -> None:
        """An object three pixels wide that moves three pixels: the wrong direction is six pixels off."""
        neighbour = torch.full((1, 2, 1, 20), -40.0)
        neighbour[:, 0] = 40
        neighbour[0, :, 0, 5:8] *= -1
        target = neighbour.roll(3, dims=3)
        back = torch.tensor([-3.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 1, 20)
        assert memory_flow_distillation(target, neighbour, back, weight="none").item() == 0
        wrong = memory_flow_distillation(target, neighbour, -back, weight="none").item()
        assert wrong == pytest.approx(6 * 2 / 17)  # 17 pixels stay inside, 6 of them differ

    @pytest.mark.parametrize("detach_source", [True, False])
    def test_who_gets_a_gradient(self, detach_source: bool) -> None:
        student, neighbour, teacher = (logits.requires_grad_() for logits in maps(3))
        flow = example_flow().requires_grad_()
        MemoryFlowDistillation(detach_source=detach_source)(student, neighbour, flow, teacher).backward()
        assert student.grad.abs().sum() > 0
        assert teacher.grad is None
        assert flow.grad is None
        assert (neighbour.grad is None) == detach_source

    def test_a_teacher_is_needed(self) -> None:
        student, neighbour = maps(2)
        with pytest.raises(ValueError, match="weight 'exp_neg' of memory flow distillation needs teacher_logits"):
            MemoryFlowDistillation()(student, neighbour, example_flow())
        assert MemoryFlowDistillation("none")(student, neighbour, example_flow()).item() > 0
        with pytest.raises(ConfigError, match="expected exp_neg, channel_l1, printed, none; found exp"):
            MemoryFlowDistillation("exp")


class TestTemporalConsistency:
    @pytest.mark.parametrize("distance", DISTANCES)
    def test_by_loops(self, distance: str) -> None:
        current, previous = maps(2)
        flow, mask = example_flow(), example_mask()
        values: list[list[float]] = [[] for _ in range(SIZE[0])]
        for b, _, _, p, q in moved_pixels(current, previous, flow, mask):
            rules = {
                "l2": ((p - q) ** 2).sum(),
                "l1": np.abs(p - q).sum(),
                "kl_sym": ((p * np.log(p / q)).sum() + (q * np.log(q / p)).sum()) / 2,
                "ce_hard": -np.log(p[q.argmax()]),
            }
            values[b].append(rules[distance])
        expected = np.mean([np.mean(pair) for pair in values])
        value = TemporalConsistencyLoss(distance)(current, previous, flow, mask)
        assert value.item() == pytest.approx(expected, rel=1e-10)

    def test_a_pair_without_pixels_counts_as_zero(self) -> None:
        current, previous = maps(2)
        mask = torch.ones(2, 4, 5, dtype=torch.bool)
        mask[1] = False
        both = temporal_consistency_loss(current, previous, example_flow(), mask).item()
        alone = temporal_consistency_loss(current[:1], previous[:1], example_flow()[:1], mask[:1]).item()
        assert both == pytest.approx(alone / 2, rel=1e-12)

    @pytest.mark.parametrize("distance", DISTANCES)
    @pytest.mark.parametrize("detach_previous", [True, False])
    def test_who_gets_a_gradient(self, distance: str, detach_previous: bool) -> None:
        current, previous = (logits.requires_grad_() for logits in maps(2))
        TemporalConsistencyLoss(distance, detach_previous)(current, previous, example_flow()).backward()
        assert current.grad.abs().sum() > 0
        assert (previous.grad is None) == (detach_previous or distance == "ce_hard")

    def test_certain_predictions_stay_finite(self) -> None:
        first = torch.tensor([200.0, -200.0]).view(1, 2, 1, 1).requires_grad_()
        second = torch.tensor([-200.0, 200.0]).view(1, 2, 1, 1).requires_grad_()
        for distance in DISTANCES:
            loss = temporal_consistency_loss(first, second, torch.zeros(1, 2, 1, 1), distance=distance)
            loss.backward()
            assert torch.isfinite(loss)
            assert torch.isfinite(first.grad).all()
            assert torch.isfinite(second.grad).all()

    def test_settings(self) -> None:
        with pytest.raises(ConfigError, match="expected l2, l1, kl_sym, ce_hard; found l3"):
            TemporalConsistencyLoss("l3")


def cases() -> dict[str, Callable[..., Tensor]]:
    """Every loss as a function of two differentiable predictions and a mask."""
    flow, (teacher,) = example_flow(), maps(1)
    losses: dict[str, Callable[..., Tensor]] = {}
    for direction in ("teacher", "student"):
        losses[f"kd {direction}"] = lambda a, b, m, d=direction: knowledge_distillation(a, b, d, valid=m)
    for weight in WEIGHTS:
        losses[f"mfd {weight}"] = lambda a, b, m, w=weight: memory_flow_distillation(
            a, b, flow.to(a), teacher.to(a), w, detach_source=False, valid=m
        )
    for distance in DISTANCES:
        losses[f"tc {distance}"] = lambda a, b, m, d=distance: temporal_consistency_loss(
            a, b, flow.to(a), m, distance=d
        )
    return losses


CASES = cases()
every_loss = pytest.mark.parametrize("loss", CASES.values(), ids=CASES.keys())


@pytest.mark.parametrize("name", CASES)
def test_gradcheck(name: str) -> None:
    first, second = maps(2)
    # A weight is not differentiated, so the neighbour is checked without one only.
    both = name in ("mfd none", "tc l2", "tc l1", "tc kl_sym")
    loss = functools.partial(CASES[name], m=example_mask())
    inputs = (first.requires_grad_(), second.requires_grad_()) if both else (first.requires_grad_(), second)
    assert torch.autograd.gradcheck(lambda a, b: loss(a, b), inputs, fast_mode=True)


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_nothing_valid_gives_exactly_zero(loss: Callable[..., Tensor], dtype: torch.dtype) -> None:
    first, second = ((1e4 * logits).to(dtype).requires_grad_() for logits in maps(2))
    value = loss(first, second, torch.zeros(2, 4, 5, dtype=torch.bool))
    value.backward()
    assert value.item() == 0.0
    assert (first.grad == 0).all()


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(loss: Callable[..., Tensor], dtype: torch.dtype) -> None:
    first, second = (logits.to(dtype) for logits in maps(2))
    value = loss(first, second, None)
    assert value.dtype is torch.float32
    assert value.item() == pytest.approx(loss(first.float(), second.float(), None).item(), rel=1e-2)
    assert torch.isfinite(loss(1e4 * first, -1e4 * second, None))


@every_loss
def test_shapes_that_do_not_fit_are_refused(loss: Callable[..., Tensor]) -> None:
    first, second = maps(2)
    with pytest.raises(ValueError, match=r"must both be \(B, C, H, W\), found \(2, 3, 4, 5\) and \(2, 3, 4, 4\)"):
        loss(first, second[..., :4], None)


@pytest.mark.gpu
@every_loss
def test_gpu_gives_the_same_loss(loss: Callable[..., Tensor]) -> None:
    first, second = maps(2)
    expected = loss(first, second, example_mask())
    torch.testing.assert_close(loss(first.cuda(), second.cuda(), example_mask().cuda()).cpu(), expected)
