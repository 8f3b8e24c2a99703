from __future__ import annotations

import copy
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from tests.fixtures.distributed import GlooPool, trainer_with
from tests.lightning_modules.objectives.preset import tdnet_distillation
from thriftseg.errors import ConfigError
from thriftseg.inference.checkpoints import load_network
from thriftseg.lightning_modules import PolyLR, SemanticSegmentation
from thriftseg.losses import CrossEntropy, OHEMCrossEntropy
from thriftseg.zoo import PSPNet, TDNetFANet, TDNetPSP

CLASSES = 5
HEIGHT, WIDTH = 32, 48
WEIGHTS = {"full_weight": 0.8, "sub_path_weight": 0.7, "sub_path_label_weight": 0.6, "auxiliary_weight": 0.3}
STUDENTS = {
    "fanet": lambda: TDNetFANet(CLASSES, auxiliary=True),
    "psp4": lambda: TDNetPSP(CLASSES, num_paths=4, auxiliary=True),
}


class Gradients(Callback):
    """Keeps the gradients that the optimiser is given, by name."""

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        self.values = {name: p.grad.clone() for name, p in pl_module.named_parameters() if p.grad is not None}


def make_teacher(num_classes: int) -> PSPNet:
    torch.manual_seed(7)
    network = PSPNet(num_classes, backbone="mobilenet_v2", decoder_channels=8)
    torch.nn.init.normal_(network.head[-1].weight, std=0.5)  # so that it has something to say
    return network


def make_module(student: str = "fanet", **settings: Any) -> SemanticSegmentation:
    torch.manual_seed(0)
    module = tdnet_distillation(STUDENTS[student](), **({"teacher": make_teacher} | settings))
    module.log = module.log_dict = lambda *args, **kwargs: None
    return module


def make_batch(past_frames: int, seed: int = 3, size: int = 2) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, CLASSES, (size, HEIGHT, WIDTH), generator=generator)
    label[:, : 6 + 2 * seed] = 255
    valid = torch.ones(size, HEIGHT, WIDTH, dtype=torch.bool)
    valid[0, :, 32:] = False
    return {
        "frames": torch.rand(size, past_frames + 1, 3, HEIGHT, WIDTH, generator=generator),
        "label": label,
        "weight": torch.tensor([1.0, 0.5])[:size],
        "valid": valid,
        "id": [f"{seed}/{place}" for place in range(size)],
    }


def ohem(logits: Tensor, label: Tensor, weight: Tensor) -> Tensor:
    """The hardest pixels: all below a probability of 0.7, or a sixteenth of the labelled ones."""
    losses = F.cross_entropy(logits, label, ignore_index=255, reduction="none")
    order = losses[label != 255].sort(descending=True).values
    number = max(int((order > -math.log(0.7)).sum()), math.ceil(len(order) / 16))
    kept = (losses >= order[number - 1]) & (label != 255)
    return (losses * weight[:, None, None])[kept].sum() / kept.sum()


def divergence(student: Tensor, teacher: Tensor, valid: Tensor) -> Tensor:
    p, q = teacher.softmax(1), student.softmax(1)
    rows, columns = (torch.arange(n) * full // n for n, full in zip(student.shape[2:], (HEIGHT, WIDTH), strict=True))
    cells = valid[:, rows][:, :, columns]
    return (p * (p / q).log()).sum(1)[cells].mean()


def alone(teacher: PSPNet, group: int, groups: int) -> PSPNet:
    """The teacher with the channels of one group alone; a group of four counts fourfold."""
    network = copy.deepcopy(teacher)
    convolution = network.head[0][0]
    weight = torch.zeros_like(convolution.weight)
    for start, stop in ((0, 1280), *((1280 + 8 * i, 1288 + 8 * i) for i in range(4))):
        step = (stop - start) // groups
        part = slice(start + group * step, start + (group + 1) * step)
        weight[:, part] = convolution.weight[:, part] * (1 if groups == 2 else groups)
    convolution.weight.data = weight
    return network


def reference_loss(
    module: SemanticSegmentation, weights: dict[str, float], batch: dict[str, Any], first_index: int, group: int
) -> Tensor:
    network, teacher = module.network, module.teacher.network
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    frames = (batch["frames"] - mean[:, None, None]) / std[:, None, None]
    logits, others = network.strided_outputs(frames, first_index)
    low, low_sub_path = logits.values, others["sub_path"].values
    with torch.no_grad():
        answers = [
            F.interpolate(
                each.low_resolution_logits(frames[:, -1]), low.shape[-2:], mode="bilinear", align_corners=True
            )
            for each in (teacher, alone(teacher, group, network.num_phases))
        ]
    labels = [
        ohem(each, batch["label"], batch["weight"])
        for each in (logits.at(1), others["sub_path"].at(1), others["auxiliary"].at(1))
    ]
    return (
        labels[0]
        + weights["sub_path_label_weight"] * labels[1]
        + weights["auxiliary_weight"] * labels[2]
        + weights["full_weight"] * divergence(low, answers[0], batch["valid"])
        + weights["sub_path_weight"] * divergence(low_sub_path, answers[1], batch["valid"])
    )


@pytest.mark.parametrize("without", [None, *WEIGHTS])
def test_loss_is_the_sum_of_its_terms(without):
    weights = WEIGHTS if without is None else WEIGHTS | {without: 0.0}
    module = make_module("fanet", **weights).eval()
    batch = make_batch(1)
    for step in range(2):
        # The last of two frames goes through the other path than the first.
        expected = reference_loss(module, weights, batch, first_index=step, group=1 - step)
        torch.testing.assert_close(module.training_step(batch, step), expected, rtol=1e-4, atol=1e-5)
    if without is not None:
        complete = make_module("fanet", **WEIGHTS).eval()
        assert complete.training_step(batch, 0).item() > module.training_step(batch, 0).item() + 1e-3


def test_four_paths_answer_to_four_groups():
    module = make_module("psp4", **WEIGHTS).eval()
    batch = make_batch(3)
    for step, group in enumerate((3, 0, 2, 1)):  # first through path `step`, so last through path `step` + 3
        expected = reference_loss(module, WEIGHTS, batch, first_index=step, group=group)
        torch.testing.assert_close(module.training_step(batch, step), expected, rtol=1e-4, atol=1e-5)


def test_defaults_are_those_of_the_authors():
    label, distillation = make_module().objective.terms
    assert isinstance(label.loss, OHEMCrossEntropy)
    assert (label.loss.threshold, label.loss.min_kept) == (0.7, 1 / 16)
    assert (distillation.weight, distillation.sub_path_weight, label.output_weights) == (1.0, 0.5, {"sub_path": 0.5})
    assert label.auxiliary_weight == 0.0
    assert (distillation.loss.direction, distillation.loss.temperature) == ("teacher", 1.0)


def test_logs_every_part(build_trainer):
    module = make_module(**WEIGHTS)
    del module.log, module.log_dict
    trainer = build_trainer(max_steps=1)
    trainer.fit(module, DataLoader([make_batch(1)], batch_size=None))
    logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
    parts = ("label", "sub_path", "auxiliary", "distillation", "sub_path_distillation")
    assert set(logged) == {"train/loss", *(f"train/loss/{name}" for name in parts)}
    full, sub_path, auxiliary, distilled, distilled_sub_path = (logged[f"train/loss/{name}"] for name in parts)
    total = full + 0.6 * sub_path + 0.3 * auxiliary + 0.8 * distilled + 0.7 * distilled_sub_path
    assert logged["train/loss"] == pytest.approx(total, rel=1e-5)


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.slow if name == "psp4" else ()) for name in STUDENTS])
def trained(request: pytest.FixtureRequest, build_trainer) -> tuple[SemanticSegmentation, Trainer, set[str]]:
    """A student after as many batches as it has phases, and the parameters that got a gradient."""
    sgd = partial(torch.optim.SGD, lr=0.01)  # without a state, checkpoints of the four backbones are small
    module = make_module(request.param, auxiliary_weight=0.1, optimizer=sgd, lr_scheduler=None)
    del module.log, module.log_dict
    moved: set[str] = set()
    gradients = Gradients()

    class Collect(Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            moved.update(name for name, value in gradients.values.items() if value.abs().sum() > 0)

    phases = module.network.num_phases
    trainer = build_trainer(max_steps=phases, callbacks=[gradients, Collect()])
    batches = [make_batch(module.network.past_frames, seed) for seed in range(phases)]
    trainer.fit(module, DataLoader(batches, batch_size=None))
    return module, trainer, moved


def test_every_phase_is_trained_and_the_teacher_is_not(trained, tmp_path: Path):
    module, trainer, moved = trained
    assert moved == {name for name, _ in module.named_parameters()}
    teacher, untouched = module.teacher.network, make_teacher(CLASSES).state_dict()
    assert not teacher.training
    assert all(torch.equal(value, untouched[name]) for name, value in teacher.state_dict().items())
    trainer.save_checkpoint(tmp_path / "student.ckpt")
    state = torch.load(tmp_path / "student.ckpt", weights_only=True)["state_dict"]
    assert set(state) == {f"network.{name}" for name in module.network.state_dict()}
    again = SemanticSegmentation.load_from_checkpoint(tmp_path / "student.ckpt", weights_only=True)
    assert (again.teacher, again.objective.terms[0].auxiliary_weight) == (None, 0.1)
    loaded = load_network(tmp_path / "student.ckpt").network
    assert all(torch.equal(value, module.network.state_dict()[name]) for name, value in loaded.state_dict().items())


def test_a_teacher_from_a_checkpoint(tmp_path: Path, build_trainer):
    teacher = make_teacher(CLASSES)
    trainer = build_trainer()
    trainer.strategy.connect(SemanticSegmentation(teacher))
    trainer.save_checkpoint(tmp_path / "teacher.ckpt")
    module = make_module(teacher=None, teacher_weights=str(tmp_path / "teacher.ckpt")).eval()
    module.setup("fit")
    batch = make_batch(1)
    expected = make_module().eval().training_step(batch, 0)
    assert module.training_step(batch, 0).item() == pytest.approx(expected.item(), rel=1e-5)


def test_stage_one_trains_the_teacher_on_the_same_labels():
    module = make_module(loss=CrossEntropy(), class_names=list("abcde"), lr_scheduler=PolyLR)
    first = module.teacher_module()
    assert type(first) is SemanticSegmentation
    assert first.network is module.teacher.network
    assert all(p.requires_grad for p in first.parameters())
    (label,) = first.objective.terms
    assert (type(label.loss), first.class_names) == (CrossEntropy, list("abcde"))
    assert label.output_weights == {}  # a PSPNet has no paths
    first.setup("fit")


def gradients_of(rank: int, world: int) -> tuple[dict[str, Tensor], float]:
    """Gradients of one training step; the only process of a world of one gets both batches."""
    batches = [make_batch(1, seed) for seed in range(2)]
    batches[1]["valid"][:, :20] = False
    joined = {k: torch.cat([batch[k] for batch in batches]) for k in ("frames", "label", "weight", "valid")}
    joined["id"] = [name for batch in batches for name in batch["id"]]
    module = make_module(loss=CrossEntropy(), auxiliary_weight=0.2)
    del module.log, module.log_dict
    module.network.eval()
    gradients = Gradients()
    trainer = trainer_with(world, gradients, turns=True, max_steps=1)
    trainer.fit(module, DataLoader([batches[rank] if world > 1 else joined], batch_size=None))
    values = {name: value for name, value in gradients.values.items() if value.abs().sum() > 0}
    return values, trainer.callback_metrics["train/loss"].item()


@pytest.mark.slow
def test_two_processes_are_one(gloo_pool: GlooPool):
    expected, expected_loss = gradients_of(0, 1)
    assert len(expected) > 100
    for found, loss in gloo_pool.run(gradients_of):
        assert loss == pytest.approx(expected_loss, rel=1e-5)
        assert set(found) == set(expected)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=name)


def learns_a_step(**settings: Any) -> None:
    tdnet_distillation(**settings).training_step(make_batch(1), 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": PSPNet(CLASSES, "mobilenet_v2", decoder_channels=8)}, "trains a TDNet; found PSPNet"),
        ({"teacher": TDNetFANet}, "only a PSPNet can teach a TDNet by groups of channels; found TDNetFANet"),
        ({"teacher": lambda classes: make_teacher(3)}, "different numbers of classes apart; expected 5"),
        ({"sub_path_weight": -1.0}, "sub_path_weight is out of range; expected 0 or more; found -1.0"),
    ],
)
def test_wrong_settings(change, message):
    with pytest.raises(ConfigError, match=message):
        learns_a_step(**({"network": TDNetFANet(CLASSES), "teacher": make_teacher} | change))


def test_distilling_without_a_teacher():
    with pytest.raises(ConfigError, match="no teacher to distil from; fix: give teacher or teacher_weights"):
        make_module(teacher=None).setup("fit")
    make_module(teacher=None, full_weight=0.0, sub_path_weight=0.0).setup("fit")
    make_module(teacher=None).setup("validate")
