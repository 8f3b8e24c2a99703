"""Students of WeClick in the trainer: what learns, what stays, what is saved."""

from __future__ import annotations

import copy
import math
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from torch import nn
from torch.utils.data import DataLoader

from tests.lightning_modules.objectives.clicked_clips import (
    CLASSES,
    UNEVEN,
    Tiny,
    make_batch,
    make_module,
    quiet,
    tiny_teacher,
)
from tests.lightning_modules.objectives.preset import weclick
from thriftseg.flow import RAFT
from thriftseg.inference.checkpoints import load_network
from thriftseg.lightning_modules import SemanticSegmentation
from thriftseg.losses import GatedCRF, MemoryFlowDistillation
from thriftseg.zoo import PSPNet, create_model


def small_pspnet(num_classes: int, seed: int = 0) -> PSPNet:
    torch.manual_seed(seed)
    network = PSPNet(num_classes, backbone="mobilenet_v2", decoder_channels=8, output_stride=16, dropout=0.0)
    nn.init.normal_(network.head[-1].weight, std=0.5)
    return network


def test_teacher_and_flow_stay_as_they_are_and_are_not_saved(tmp_path: Path, build_trainer, raft) -> None:
    module = weclick(
        small_pspnet(CLASSES), lambda classes: small_pspnet(classes, seed=1), flow=raft, memory_flow_stride=4
    )
    teacher, estimator = module.teacher.network, raft._network
    before = [copy.deepcopy(network.state_dict()) for network in (teacher, estimator, module.network)]
    batches = [make_batch(seed=seed) for seed in range(2)]
    for batch in batches:
        del batch["neighbour_flow"]
    trainer = build_trainer(max_steps=2)
    trainer.fit(module, DataLoader(batches, batch_size=None))
    after = [network.state_dict() for network in (teacher, estimator, module.network)]
    for old, new in zip(before[:2], after[:2], strict=True):
        assert all(torch.equal(old[name], value) for name, value in new.items())
    moved = {name for name, value in after[2].items() if not torch.equal(before[2][name], value)}
    assert {name for name, _ in module.network.named_parameters()} <= moved
    assert not teacher.training
    assert not any("teacher" in name or "flow" in name for name, _ in module.named_modules())

    trainer.save_checkpoint(tmp_path / "student.ckpt")
    checkpoint = torch.load(tmp_path / "student.ckpt", weights_only=True)
    assert set(checkpoint["state_dict"]) == {f"network.{name}" for name in module.network.state_dict()}
    saved = checkpoint["hyper_parameters"]
    assert (saved["teacher"], saved["teacher_weights"]) == (None, None)
    assert "RAFT" not in str(saved["objective"])
    assert saved["network"]["class_path"] == "thriftseg.zoo.PSPNet"
    weights = sum(value.numel() * value.element_size() for value in module.network.state_dict().values())
    assert (tmp_path / "student.ckpt").stat().st_size < 3.5 * weights  # with both moments of the optimiser


def test_the_student_reloads_by_path_alone(tmp_path: Path, build_trainer) -> None:
    module = weclick(
        small_pspnet(CLASSES),
        lambda classes: small_pspnet(classes, seed=1),
        gated_crf=GatedCRF(radius=3),
        memory_flow=MemoryFlowDistillation("channel_l1", detach_source=False),
        memory_flow_weight=0.25,
        gated_crf_start=0.1,
    )
    trainer = build_trainer(max_steps=1)
    trainer.fit(module, DataLoader([make_batch()], batch_size=None))
    trainer.save_checkpoint(tmp_path / "student.ckpt")
    again = SemanticSegmentation.load_from_checkpoint(tmp_path / "student.ckpt", weights_only=True).eval()
    _, gated_crf, _, memory_flow = again.objective.terms
    assert (again.teacher, again.teacher_weights) == (None, None)
    assert (memory_flow.weight, gated_crf.start, gated_crf.loss.radius) == (0.25, 0.1, 3)
    assert (memory_flow.loss.weight, memory_flow.loss.detach_source) == ("channel_l1", False)
    frame = torch.rand(1, 3, *UNEVEN)
    with torch.inference_mode():
        expected = module.eval()(frame)
        assert torch.equal(again(frame), expected)
        student = load_network(tmp_path / "student.ckpt").network
        assert torch.equal(student(student.preprocessing(frame)), expected)
    assert student.past_frames == 0


def test_building_a_student_warns_of_nothing(raft: RAFT) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        weclick(small_pspnet(CLASSES), lambda classes: small_pspnet(classes), flow=raft)


def test_the_teacher_trains_in_stage_one(build_trainer) -> None:
    student = weclick(Tiny(CLASSES), tiny_teacher, gated_crf_weight=0.4, stride=8, distillation_weight=3.0)
    teacher = student.teacher_module()
    assert teacher.network is student.teacher.network
    _, gated_crf = teacher.objective.terms
    assert (gated_crf.weight, gated_crf.stride, teacher.has_teacher) == (0.4, 8, False)
    assert all(module.training for module in teacher.modules())
    before = copy.deepcopy(teacher.network.state_dict())
    build_trainer(max_steps=1).fit(teacher, DataLoader([make_batch(0)], batch_size=None))
    assert not any(torch.equal(before[name], value) for name, value in teacher.network.state_dict().items())
    assert student.network.layers[0].weight.grad is None


def test_a_video_network_teaches_frame_by_frame(build_trainer) -> None:
    teacher = create_model("tmanet_r18", CLASSES)
    module = weclick(Tiny(CLASSES), lambda _: teacher)
    logged, batch = quiet(module), make_batch()
    module.training_step(batch, 0).backward()
    frame = teacher.preprocessing(batch["frames"])
    with torch.no_grad():
        window = frame.expand(-1, teacher.past_frames + 1, -1, -1, -1)
        answer = module.teacher.answer(batch["frames"][:, 0]).at(1)
        torch.testing.assert_close(answer, teacher(window))
    assert all(math.isfinite(value.item()) for value in logged.values())
    assert logged["train/loss/distillation"].item() > 0


def test_mixed_precision(build_trainer) -> None:
    class Gradients(Callback):
        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            self.value = torch.cat([parameter.grad.flatten() for parameter in pl_module.parameters()])

    found = {}
    for precision in ("32-true", "bf16-mixed"):
        kept = Gradients()
        module = make_module(gated_crf_start=0.0)
        trainer = build_trainer(max_steps=1, precision=precision, callbacks=[kept])
        trainer.fit(module, DataLoader([make_batch()], batch_size=None))
        found[precision] = kept.value
    half, full = found["bf16-mixed"], found["32-true"]
    assert torch.isfinite(half).all()
    assert torch.linalg.vector_norm(half - full) < 0.05 * torch.linalg.vector_norm(full)
