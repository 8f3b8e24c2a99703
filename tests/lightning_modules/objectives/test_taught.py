"""The teacher of a student: where it comes from, that it stays as it is, and what its labels cost."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.lightning_modules.objectives import preset
from thriftseg.datamodules import Mixture, MixturePart, SemanticDataModule
from thriftseg.datasets import CamVid
from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.inference.checkpoints import load_network
from thriftseg.labels import label_clicks
from thriftseg.lightning_modules import SemanticEvaluation, SemanticSegmentation
from thriftseg.reports import publish
from thriftseg.zoo import PSPNet, TDNetFANet, TMANet, load
from thriftseg.zoo.weights.files import weights_digest

weclick = functools.partial(preset.weclick, memory_flow_weight=0.0)  # the data have no neighbours
Build = Callable[..., Any]


def network(seed: int = 0, num_classes: int = 11, backbone: str = "mobilenet_v2") -> PSPNet:
    torch.manual_seed(seed)
    return PSPNet(num_classes, backbone=backbone, decoder_channels=8, dropout=0.0)


@pytest.fixture(scope="module")
def clicks(camvid_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("labels")
    label_clicks(CamVid(camvid_root), "train", store=store, min_component=10, progress=False)
    return store


@pytest.fixture(scope="module")
def click_data(clicks: Path, build_data: Build) -> Callable[..., SemanticDataModule]:
    def build(**settings: Any) -> SemanticDataModule:
        part = MixturePart("clicks", **settings)
        return build_data(mixture=Mixture(parts=[part], store=clicks), batch_size=2)

    return build


@pytest.fixture(scope="module")
def taught_on(build_trainer: Build, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that trains a module for one step and returns its checkpoint."""

    def fit(module: SemanticSegmentation, data: SemanticDataModule) -> Path:
        trainer = build_trainer(max_steps=1, limit_val_batches=0)
        trainer.fit(module, data)
        path = tmp_path_factory.mktemp("run") / "last.ckpt"
        trainer.save_checkpoint(path)
        return path

    return fit


@pytest.fixture(scope="module")
def manual_teacher(taught_on: Build, build_data: Build) -> Path:
    return taught_on(SemanticSegmentation(network(1)), build_data(batch_size=2))


def test_the_teacher_stays_and_the_student_learns(manual_teacher: Path, taught_on: Build, click_data: Build) -> None:
    student = weclick(network(0), teacher_weights=str(manual_teacher))
    before = weights_digest(student.network)
    path = taught_on(student, click_data())
    assert not student.teacher.network.training
    assert weights_digest(student.teacher.network) == weights_digest(load_network(manual_teacher).network)
    assert weights_digest(student.network) != before
    assert not any(parameter.requires_grad for parameter in student.teacher.network.parameters())
    held = {id(parameter) for parameter in student.parameters()}
    assert not any(id(parameter) in held for parameter in student.teacher.network.parameters())
    checkpoint = torch.load(path, weights_only=True)
    assert {name.partition(".")[0] for name in checkpoint["state_dict"]} == {"network"}
    assert checkpoint["hyper_parameters"]["teacher_weights"] is None
    assert checkpoint["thriftseg"]["teacher"]["network_sha256"] == weights_digest(student.teacher.network)


def test_a_student_reloads_where_its_teacher_is_gone(
    manual_teacher: Path, taught_on: Build, click_data: Build, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "teacher.ckpt"
    elsewhere.write_bytes(manual_teacher.read_bytes())
    student = weclick(network(0), teacher_weights=str(elsewhere))
    path = taught_on(student, click_data())
    elsewhere.unlink()
    again = SemanticSegmentation.load_from_checkpoint(path, weights_only=True)
    assert again.teacher is None
    assert not again.has_teacher
    frame = torch.rand(1, 3, 32, 64)
    assert torch.equal(again.eval()(frame), student.eval()(frame))
    assert torch.equal(load_network(path).network(again.network.preprocessing(frame)), again(frame))


def test_other_labels_of_the_teacher_are_paid_for(
    manual_teacher: Path, taught_on: Build, click_data: Build, build_data: Build, tmp_path: Path
) -> None:
    data = click_data()
    path = taught_on(weclick(network(0), teacher_weights=str(manual_teacher)), data)
    manual = build_data()
    manual.setup("fit")
    hours = data.annotation_cost.hours + manual.annotation_cost.hours
    assert manual.annotation_cost.hours > 0
    cost = torch.load(path, weights_only=True)["thriftseg"]["cost"]
    assert cost["hours"] == pytest.approx(hours)
    assert cost["clicks"] == data.annotation_cost.clicks + manual.annotation_cost.clicks
    done = publish(path, "pspnet_mobilenetv2.taught", out=tmp_path)
    assert done.entry.hours == pytest.approx(hours)
    card = next(done.folder.glob("README.md")).read_text()
    assert "learned from other labels, which cost" in card
    # A student of that student pays for both, whether it is read from the run or from the published weights.
    for weights in (path, done.weights):
        grandchild = weclick(network(2), teacher_weights=str(weights))
        third = taught_on(grandchild, click_data(clips=3))
        few = click_data(clips=3)
        few.setup("fit")
        found = torch.load(third, weights_only=True)["thriftseg"]["cost"]["hours"]
        assert found == pytest.approx(hours + few.annotation_cost.hours)


def test_the_same_labels_are_paid_for_once(taught_on: Build, click_data: Build) -> None:
    path = taught_on(weclick(network(1)), click_data())
    data = click_data()
    student = taught_on(weclick(network(0), teacher_weights=str(path)), data)
    checkpoint = torch.load(student, weights_only=True)["thriftseg"]
    assert checkpoint["cost"]["hours"] == pytest.approx(data.annotation_cost.hours)
    assert checkpoint["teacher"]["added_cost"] == {}


def test_a_teacher_of_unknown_cost_is_announced(taught_on: Build, click_data: Build) -> None:
    student = weclick(network(0), teacher=lambda n: network(1, n))
    with pytest.warns(UserWarning, match="not known what the labels of the teacher cost"):
        taught_on(student, click_data())


def test_published_weights_teach(taught_on: Build, click_data: Build, manual_teacher: Path, tmp_path: Path) -> None:
    done = publish(manual_teacher, "pspnet_mobilenetv2.teacher", out=tmp_path)
    student = weclick(network(0), teacher_weights=str(done.weights))
    taught_on(student, click_data())
    assert weights_digest(student.teacher.network) == weights_digest(load(done.weights).network)


def test_a_network_that_sees_past_frames_sees_one_frame_again() -> None:
    torch.manual_seed(0)
    past = TMANet(11, depth=18, memory_frames=2, head_channels=16, key_channels=8, value_channels=8)
    student = weclick(network(0), teacher=lambda _: past)
    frames = torch.rand(2, 3, 33, 65)
    answer = student.teacher.answer(frames)
    window = past.preprocessing(frames)[:, None].repeat(1, 3, 1, 1, 1)
    assert torch.equal(answer.at(1), past(window))
    assert torch.equal(answer.values, past.low_resolution_logits(window))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: weclick(network(0), teacher=lambda _: network(1, 5)), "different numbers of classes.*found 5"),
        (lambda: weclick(network(0)).teacher_module(), "no teacher to train"),
    ],
    ids=["classes", "absent"],
)
def test_what_cannot_be_taught_is_refused(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build()


def test_weights_of_another_network_are_refused(manual_teacher: Path, taught_on: Build, click_data: Build) -> None:
    other = weclick(
        network(0), teacher=lambda n: network(1, n, backbone="resnet18"), teacher_weights=str(manual_teacher)
    )
    with pytest.raises(CheckpointError, match=r"last\.ckpt"):
        taught_on(other, click_data())
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        taught_on(weclick(network(0), teacher_weights="nowhere.ckpt"), click_data())


def test_stage_one_has_the_settings_of_the_student() -> None:
    student = weclick(
        network(0),
        teacher=lambda n: network(1, n),
        gated_crf_weight=0.3,
        gated_crf_start=0.2,
        evaluation=SemanticEvaluation(4),
    )
    stage = student.teacher_module()
    label, gated_crf = stage.objective.terms
    assert stage.teacher is None
    assert label is student.objective.terms[0]
    assert (gated_crf.weight, gated_crf.start, stage.evaluation.boundary_width) == (0.3, 0.2, 4)
    assert stage.network is student.teacher.network
    assert all(parameter.requires_grad for parameter in stage.parameters())


@pytest.mark.parametrize(
    ("build", "method"),
    [
        (lambda: weclick(network(0), compile=True), "compute_logits"),
        (lambda: preset.tdnet_distillation(TDNetFANet(11), compile=True), "compute_outputs"),
    ],
    ids=["weclick", "tdnet"],
)
def test_compiling_reaches_what_training_calls(build: Callable[[], Any], method: str) -> None:
    student = build()
    names = student.state_dict().keys()
    student.setup("validate")
    assert hasattr(getattr(student.network, method), "_torchdynamo_orig_callable")
    assert student.state_dict().keys() == names
