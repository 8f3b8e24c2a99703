"""WeClick against its equations, written out in plain torch."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader

from tests.lightning_modules.objectives.clicked_clips import (
    CLASSES,
    SIZE,
    UNEVEN,
    WEIGHTS,
    Tiny,
    make_batch,
    make_module,
    quiet,
)
from tests.lightning_modules.objectives.preset import weclick
from thriftseg.errors import ConfigError
from thriftseg.flow import RAFT
from thriftseg.lightning_modules import SemanticSegmentation
from thriftseg.losses import MemoryFlowDistillation

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def both_logits(network: Tiny, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of frames (B, 3, H, W) at their size, and at stride 4: both laid out as the padded frames are."""
    height, width = frames.shape[-2:]
    stride = network.size_multiple
    padded = F.pad((frames - MEAN) / STD, (0, -width % stride, 0, -height % stride), mode="replicate")
    low = network.layers(padded)
    full = F.interpolate(low, padded.shape[-2:], mode="bilinear")[..., :height, :width]
    cells = F.interpolate(low, [side // 4 for side in padded.shape[-2:]], mode="bilinear")
    return full, cells[..., : math.ceil(height / 4), : math.ceil(width / 4)]


def clicks_term(logits: Tensor, batch: dict[str, Any]) -> Tensor:
    clicks = (batch["label"] != 255).nonzero().tolist()
    costs = [-batch["weight"][b] * logits[b, :, y, x].log_softmax(0)[batch["label"][b, y, x]] for b, y, x in clicks]
    return torch.stack(costs).sum() / len(costs)


def crf_term(logits: Tensor, batch: dict[str, Any], radius: int = 5) -> Tensor:
    """Every pair of cells whose 4x4 pixels are all real."""
    cells, total, count = logits.shape[-2:], 0.0, 0
    rows, columns = (grid.flatten() for grid in torch.meshgrid(*map(torch.arange, cells), indexing="ij"))
    down, right = (rows[:, None] - rows).abs(), (columns[:, None] - columns).abs()
    near = (down <= radius) & (right <= radius) & (down + right > 0)
    for sample, image, valid in zip(logits, batch["frames_raw"][:, -1], batch["valid"], strict=True):
        colors = torch.zeros(len(rows), 3)
        real = torch.zeros(len(rows), dtype=torch.bool)
        for place, (row, column) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
            block = (slice(4 * row, 4 * row + 4), slice(4 * column, 4 * column + 4))
            real[place] = valid[block].all() and valid[block].numel() == 16
            colors[place] = ((image - MEAN) / STD)[:, *block].mean(dim=(1, 2))
        similar = (colors[:, None] - colors).square().sum(2) / 0.1**2
        affinity = torch.exp(-0.5 * (similar + (down**2 + right**2) / 6**2)) * near * real * real[:, None]
        p = sample.softmax(0).flatten(1)
        total, count = total + (affinity * (1 - p.T @ p)).sum(), count + real.sum()
    return total / count


def divergence_term(student: Tensor, teacher: Tensor, batch: dict[str, Any]) -> Tensor:
    """KL(teacher || student), mean over the cells without padding; a cell cut off by the border counts."""
    values = []
    for b, row, column in torch.ones_like(student[:, 0]).nonzero().tolist():
        if batch["valid"][b, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].all():
            taught, learned = (x[b, :, row, column].log_softmax(0) for x in (teacher, student))
            values.append((taught.exp() * (taught - learned)).sum())
    return torch.stack(values).mean()


def flow_term(student: Tensor, neighbour: Tensor, teacher: Tensor, batch: dict[str, Any], place: int) -> Tensor:
    """exp(-|difference to the teacher|) times squared differences, where flow is known and ends on a real pixel."""
    height, width = student.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    x, y = x + batch["neighbour_flow"][:, place, 0], y + batch["neighbour_flow"][:, place, 1]
    column, row = (x + 0.5).floor().long(), (y + 0.5).floor().long()
    counted = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    counted &= batch["valid"] & batch["neighbour_valid"][:, place]
    sample = torch.arange(2)[:, None, None]
    counted &= batch["valid"][sample, row.clamp(0, height - 1), column.clamp(0, width - 1)]
    grid = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], dim=-1)
    moved = F.grid_sample(neighbour.softmax(1), grid, padding_mode="border", align_corners=True).detach()
    trust = (-(moved - teacher.softmax(1)).abs()).exp().detach()
    return (trust * (moved - student.softmax(1)).square()).sum(1)[counted].mean()


def reference_parts(module: SemanticSegmentation, batch: dict[str, Any]) -> dict[str, Tensor]:
    frames = [batch["frames"][:, -1], *batch.get("neighbours", torch.empty(2, 0)).unbind(1)]
    student = [both_logits(module.network, frame) for frame in frames]
    with torch.no_grad():
        teacher = [both_logits(module.teacher.network, frame) for frame in frames]
    pairs = zip(student, teacher, strict=True)
    parts = {
        "label": clicks_term(student[0][0], batch),
        "gated_crf": crf_term(student[0][1], batch),
        "distillation": torch.stack([divergence_term(s[1], t[1], batch) for s, t in pairs]).sum(),
    }
    moved = [flow_term(student[0][0], full, teacher[0][0], batch, place) for place, (full, _) in enumerate(student[1:])]
    return parts | ({"memory_flow": torch.stack(moved).sum()} if moved else {})


def reference_loss(weights: dict[str, float], parts: dict[str, Tensor]) -> Tensor:
    loss = weights["weak_weight"] * (parts["label"] + weights["gated_crf_weight"] * parts["gated_crf"])
    loss = loss + weights["distillation_weight"] * parts["distillation"]
    return loss + weights["memory_flow_weight"] * parts.get("memory_flow", 0)


def gradients(loss: Tensor, module: nn.Module) -> Tensor:
    return torch.cat([grad.flatten() for grad in torch.autograd.grad(loss, list(module.parameters()))])


class TestEquation:
    @pytest.mark.parametrize("size", [SIZE, UNEVEN])
    @pytest.mark.parametrize("neighbours", [0, 1, 2])
    def test_loss_and_gradient_are_those_of_the_paper(self, neighbours: int, size: tuple[int, int]) -> None:
        weights = WEIGHTS if neighbours else WEIGHTS | {"memory_flow_weight": 0.0}
        module, batch = make_module(**weights), make_batch(neighbours, size)
        logged = quiet(module)
        parts = reference_parts(module, batch)
        expected, found = reference_loss(weights, parts), module.training_step(batch, 0)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        wanted = gradients(expected, module.network)
        torch.testing.assert_close(gradients(found, module.network), wanted, rtol=1e-4, atol=1e-6)
        assert logged.keys() == {"train/loss", *(f"train/loss/{name}" for name in parts)}
        torch.testing.assert_close(logged["train/loss"], expected.detach(), rtol=1e-5, atol=1e-6)
        for name, part in parts.items():
            assert part.item() > 1e-2
            torch.testing.assert_close(logged[f"train/loss/{name}"], part.detach(), rtol=1e-5, atol=1e-6)

    def test_weights_are_one_and_a_tenth_by_default(self) -> None:
        module, batch = make_module(), make_batch()
        logged = quiet(module)
        loss = module.training_step(batch, 0).item()
        parts = {name.removeprefix("train/loss/"): value.item() for name, value in logged.items()}
        expected = parts["label"] + 0.1 * parts["gated_crf"] + parts["memory_flow"] + parts["distillation"]
        assert loss == pytest.approx(expected, rel=1e-6)

    @pytest.mark.parametrize("weight", WEIGHTS)
    def test_a_weight_of_zero_removes_its_term_alone(self, weight: str) -> None:
        batch, complete, without = make_batch(), make_module(**WEIGHTS), make_module(**(WEIGHTS | {weight: 0.0}))
        parts, left = quiet(complete), quiet(without)
        difference = complete.training_step(batch, 0).item() - without.training_step(batch, 0).item()
        name = f"train/loss/{weight.removesuffix('_weight')}"
        if weight == "weak_weight":
            removed = WEIGHTS[weight] * (parts["train/loss/label"] + 0.3 * parts["train/loss/gated_crf"])
        else:
            outer = WEIGHTS["weak_weight"] if weight == "gated_crf_weight" else 1
            removed = outer * WEIGHTS[weight] * parts[name]
            assert name not in left
        assert difference == pytest.approx(removed.item(), rel=1e-4)
        kept = left.keys() - {"train/loss"}
        assert {key: left[key].item() for key in kept} == pytest.approx({key: parts[key].item() for key in kept})

    def test_distillation_counts_every_frame(self) -> None:
        """Neighbours that equal the target cost as much as it does."""
        alone_module, module, batch = make_module(memory_flow_weight=0.0), make_module(), make_batch(0)
        logged = quiet(alone_module)
        alone_module.training_step(batch, 0)
        alone = logged["train/loss/distillation"].item()
        logged = quiet(module)
        batch["neighbours"] = batch["frames"].expand(-1, 3, -1, -1, -1)
        batch |= {"neighbour_flow": torch.zeros(2, 3, 2, *SIZE), "neighbour_valid": torch.ones(2, 3, *SIZE).bool()}
        module.training_step(batch, 0)
        assert logged["train/loss/distillation"].item() == pytest.approx(4 * alone, rel=1e-5)
        assert logged["train/loss/memory_flow"].item() == pytest.approx(0, abs=1e-9)

    def test_without_clicks_the_other_terms_remain(self) -> None:
        module, batch = make_module(), make_batch()
        logged = quiet(module)
        batch["label"][:] = 255
        loss = module.training_step(batch, 0)
        assert logged["train/loss/label"].item() == 0
        assert loss.item() > 0.1
        assert torch.isfinite(gradients(loss, module.network)).all()

    def test_a_teacher_changes_nothing_without_its_terms(self) -> None:
        """Stage one, and the student that learns from clicks alone, are the same."""
        alone = make_module(teacher=None)
        weightless = make_module(distillation_weight=0.0, memory_flow_weight=0.0)
        for module in (alone, weightless):
            quiet(module)
        batch = make_batch()
        found = weightless.training_step(batch, 0)
        for key in [key for key in batch if key.startswith("neighbour")]:
            del batch[key]
        assert found.item() == pytest.approx(alone.training_step(batch, 0).item(), rel=1e-6)


class TestGatedCRF:
    def test_sees_colors_before_they_are_changed(self) -> None:
        module, batch = make_module(), make_batch()
        first, second, third = {}, {}, {}
        for logged, changes in (
            (first, {}),
            (second, {"frames_raw": batch["frames_raw"].flip(-1)}),
            (third, {"frames_raw": batch["frames"]}),
        ):
            found = quiet(module)
            module.training_step(batch | changes, 0)
            logged |= found
        changed = {name for name in first if not torch.equal(first[name], second[name])}
        assert changed == {"train/loss", "train/loss/gated_crf"}
        found = quiet(module)
        module.training_step({key: value for key, value in batch.items() if key != "frames_raw"}, 0)
        assert found["train/loss/gated_crf"] == third["train/loss/gated_crf"] != first["train/loss/gated_crf"]

    @pytest.mark.parametrize(("start", "steps", "joins"), [(0.005, 400, 2), (0.005, 401, 3), (0.0, 400, 0)])
    def test_joins_after_a_share_of_the_run(self, build_trainer, start: float, steps: int, joins: int) -> None:
        seen = PartsOfSteps(stop_after=4)
        trainer = build_trainer(max_epochs=-1, max_steps=steps, callbacks=[seen])
        module = make_module(gated_crf_start=start, gated_crf_weight=0.5)
        trainer.fit(module, DataLoader([make_batch()], batch_size=None))
        assert ["gated_crf" in parts for parts in seen.parts] == [step >= joins for step in range(4)]
        for parts in seen.parts:
            others = parts["label"] + parts["memory_flow"] + parts["distillation"]
            assert parts["loss"] == pytest.approx(others + 0.5 * parts.get("gated_crf", 0), rel=1e-5)


class PartsOfSteps(Callback):
    """Keeps what each step logs."""

    def __init__(self, stop_after: int) -> None:
        self.parts: list[dict[str, float]] = []
        self.stop_after = stop_after

    def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
        found = trainer.callback_metrics.items()
        self.parts.append({name.split("/")[-1]: value.item() for name, value in found})
        trainer.should_stop = len(self.parts) >= self.stop_after


class TestMemoryFlow:
    def only(self, **settings: Any) -> SemanticSegmentation:
        module = make_module(weak_weight=0.0, gated_crf_weight=0.0, distillation_weight=0.0, **settings)
        quiet(module)
        return module

    def test_at_a_stride_the_flow_is_scaled(self) -> None:
        """8 pixels to the right and 4 down are 2 cells and 1 cell."""
        module, batch = self.only(memory_flow_stride=4), make_batch(1)
        batch["neighbour_flow"] = torch.tensor([8.0, 4.0]).view(1, 1, 2, 1, 1).expand(2, 1, 2, *SIZE)
        batch |= {"neighbour_valid": torch.ones(2, 1, *SIZE).bool(), "valid": torch.ones(2, *SIZE).bool()}
        target, neighbour = (both_logits(module.network, batch[key][:, 0])[1] for key in ("frames", "neighbours"))
        taught = both_logits(module.teacher.network, batch["frames"][:, 0])[1].softmax(1)[..., :-1, :-2]
        own, moved = target.softmax(1)[..., :-1, :-2], neighbour.softmax(1)[..., 1:, 2:]
        expected = ((-(moved - taught).abs()).exp() * (moved - own).square()).sum(1).mean()
        assert module.training_step(batch, 0).item() == pytest.approx(expected.item(), rel=1e-4)

    def test_at_a_stride_a_cell_needs_flow_and_real_pixels_throughout(self) -> None:
        module, batch = self.only(memory_flow_stride=4), make_batch(1, UNEVEN)
        batch["neighbour_flow"] = torch.zeros(2, 1, 2, *UNEVEN)
        batch |= {"neighbour_valid": torch.ones(2, 1, *UNEVEN).bool(), "valid": torch.ones(2, *UNEVEN).bool()}
        batch["neighbour_valid"][0, 0, 9, 13] = False
        batch["valid"][1, 28:] = False
        target, neighbour = (
            both_logits(module.network, batch[key][:, 0])[1].softmax(1) for key in ("frames", "neighbours")
        )
        taught = both_logits(module.teacher.network, batch["frames"][:, 0])[1].softmax(1)
        costs = ((-(neighbour - taught).abs()).exp() * (neighbour - target).square()).sum(1)
        counted = torch.ones(2, 8, 11).bool()
        counted[0, 2, 3], counted[1, 7] = False, False
        assert module.training_step(batch, 0).item() == pytest.approx(costs[counted].mean().item(), rel=1e-4)

    @pytest.mark.parametrize("detach_source", [True, False])
    def test_who_gets_a_gradient(self, detach_source: bool) -> None:
        module, batch = self.only(memory_flow=MemoryFlowDistillation(detach_source=detach_source)), make_batch()
        module.teacher.network.requires_grad_(True)
        for key in ("frames", "neighbours", "neighbour_flow"):
            batch[key] = batch[key].requires_grad_()
        module.training_step(batch, 0).backward()
        assert batch["frames"].grad.abs().sum() > 0
        assert bool((batch["neighbours"].grad == 0).all()) == detach_source
        assert batch["neighbour_flow"].grad is None
        assert all(parameter.grad is None for parameter in module.teacher.network.parameters())

    def test_unknown_flow_and_padding_leave_nothing(self) -> None:
        module, batch = self.only(), make_batch()
        batch["neighbour_valid"][:] = False
        loss = module.training_step(batch, 0)
        assert loss.item() == 0
        assert (gradients(loss, module.network) == 0).all()

    def test_raft_in_the_model_equals_its_flow_in_the_batch(self, raft: RAFT) -> None:
        estimated, batch = self.only(flow=raft), make_batch()
        given = {key: batch.pop(key) for key in ("neighbour_flow", "neighbour_valid")}
        targets = batch["frames_raw"].expand_as(batch["neighbours_raw"])
        pairs = zip(targets.unbind(1), batch["neighbours_raw"].unbind(1), strict=True)
        given["neighbour_flow"] = torch.stack([raft.forward(a, b) for a, b in pairs], dim=1)
        given["neighbour_valid"][:] = True
        assert given["neighbour_flow"].abs().mean() > 0.1
        expected = self.only().training_step(batch | given, 0)
        assert estimated.training_step(batch, 0).item() == pytest.approx(expected.item(), rel=1e-4)
        given["neighbour_flow"] = torch.zeros_like(given["neighbour_flow"])
        assert self.only().training_step(batch | given, 0).item() != pytest.approx(expected.item(), rel=1e-3)

    def test_flow_of_the_batch_comes_first(self, raft: RAFT) -> None:
        batch = make_batch()
        found = self.only(flow=raft).training_step(batch, 0)
        assert found.item() == self.only().training_step(batch, 0).item()

    def test_no_flow(self) -> None:
        batch = make_batch()
        del batch["neighbour_flow"]
        with pytest.raises(
            ConfigError, match=r"have no flow; fix: set neighbour_flow of the data, or flow of the term"
        ):
            self.only().training_step(batch, 0)
        module = make_module(memory_flow_weight=0.0)
        logged = quiet(module)
        module.training_step(batch, 0)
        assert "train/loss/distillation" in logged

    def test_no_teacher(self) -> None:
        with pytest.raises(ConfigError, match=r"no teacher to distil from; fix: give teacher or teacher_weights"):
            self.only(teacher=None, memory_flow_weight=1.0).training_step(make_batch(), 0)
        module = self.only(teacher=None, memory_flow_weight=1.0, memory_flow=MemoryFlowDistillation("none"))
        assert module.training_step(make_batch(), 0).item() > 1e-3


class TestSettings:
    def test_no_neighbours(self) -> None:
        with pytest.raises(ConfigError, match="and the batch has none; fix: set neighbours of the data"):
            make_module().training_step(make_batch(0), 0)

    def test_another_number_of_classes(self) -> None:
        with pytest.raises(ConfigError, match=r"different numbers of classes apart; expected 4; found 3"):
            weclick(Tiny(CLASSES), lambda _: Tiny(3))

    @pytest.mark.parametrize(
        ("setting", "value", "message"),
        [
            ("stride", 0, "stride is out of range; expected 1 or more; found 0"),
            ("memory_flow_stride", 0, "memory_flow_stride is out of range"),
            ("weak_weight", -1, "weak_weight is out of range; expected 0 or more; found -1"),
            ("gated_crf_weight", -0.1, "gated_crf_weight is out of range"),
            ("memory_flow_weight", -1, "memory_flow_weight is out of range"),
            ("distillation_weight", math.nan, "distillation_weight is out of range"),
            ("gated_crf_start", 1.5, "gated_crf_start is out of range; expected 0 to 1; found 1.5"),
        ],
    )
    def test_out_of_range(self, setting: str, value: float, message: str) -> None:
        with pytest.raises(ConfigError, match=re.escape(message)):
            weclick(Tiny(CLASSES), **{setting: value})
