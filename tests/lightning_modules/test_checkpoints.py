from __future__ import annotations

import functools
import pickle
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule

from thriftseg.errors import CheckpointError
from thriftseg.inference.checkpoints import Unrecordable, load_network, read_checkpoint, to_record
from thriftseg.lightning_modules import PolyLR, SemanticEvaluation, SemanticSegmentation
from thriftseg.losses import CrossEntropy
from thriftseg.types import LabelKind
from thriftseg.zoo import PSPNet, SlidingWindow

NAMES = [f"class{i}" for i in range(11)]


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, build_data, build_module, build_trainer
) -> tuple[SemanticSegmentation, Path]:
    """A module built in Python and its checkpoint after one step."""
    module = build_module(
        objective=CrossEntropy(class_weights=[0.5] * 11, reduction="image"),
        optimizer=functools.partial(torch.optim.SGD, lr=0.01, momentum=0.9),
        lr_scheduler=functools.partial(PolyLR, power=0.5),
        class_names=NAMES,
        evaluation=SemanticEvaluation(inference=SlidingWindow(crop=(32, 32))),
    )
    trainer = build_trainer(max_steps=1, limit_val_batches=1)
    trainer.fit(module, build_data())
    path = tmp_path_factory.mktemp("trained") / "python.ckpt"
    trainer.save_checkpoint(path)
    return module.eval(), path


def save_changed(path: Path, target: Path, **changes: object) -> Path:
    torch.save(torch.load(path, weights_only=True) | changes, target)
    return target


def test_hyper_parameters_are_plain(trained) -> None:
    _, path = trained
    hyper_parameters = torch.load(path, weights_only=True)["hyper_parameters"]
    assert hyper_parameters["network"] == {
        "class_path": "thriftseg.zoo.PSPNet",
        "init_args": PSPNet(11, backbone="mobilenet_v2", decoder_channels=8, dropout=0.0).init_args,
    }
    assert hyper_parameters["objective"]["init_args"] == {
        "class_weights": [0.5] * 11,
        "reduction": "image",
        "ignore_index": 255,
    }
    assert hyper_parameters["optimizer"] == {
        "class_path": "torch.optim.sgd.SGD",
        "init_args": {"lr": 0.01, "momentum": 0.9},
    }
    inference = hyper_parameters["evaluation"]["init_args"]["inference"]
    assert inference["init_args"] == {"crop": [32, 32], "stride": None}


def test_module_reloads_by_path_alone(trained) -> None:
    module, path = trained
    again = SemanticSegmentation.load_from_checkpoint(path, weights_only=True).eval()
    frames = torch.rand(2, 3, 40, 56)
    assert torch.equal(again(frames), module(frames))
    (label,) = again.objective.terms
    assert isinstance(label.loss, CrossEntropy)
    assert label.loss.reduction == "image"
    assert again.evaluation.inference == SlidingWindow(crop=(32, 32))
    assert again.class_names == NAMES


def test_a_reloaded_module_trains_with_its_recorded_optimizer_and_reloads_again(
    trained, tmp_path: Path, build_data, build_trainer
) -> None:
    _, path = trained
    again = SemanticSegmentation.load_from_checkpoint(path, weights_only=True)
    trainer = build_trainer(max_steps=1, limit_val_batches=0)
    trainer.fit(again, build_data())
    assert isinstance(trainer.optimizers[0], torch.optim.SGD)
    assert trainer.optimizers[0].defaults["momentum"] == 0.9
    assert trainer.lr_scheduler_configs[0].scheduler.power == 0.5
    trainer.save_checkpoint(tmp_path / "second.ckpt")
    third = SemanticSegmentation.load_from_checkpoint(tmp_path / "second.ckpt", weights_only=True)
    assert third.hparams["optimizer"]["init_args"]["lr"] == 0.01


def test_network_reloads_by_path_alone(trained) -> None:
    module, path = trained
    loaded = load_network(path)
    frames = torch.rand(1, 3, 40, 56)
    assert not loaded.network.training
    assert torch.equal(loaded.network(frames), module.network(frames))
    assert loaded.class_names == tuple(NAMES)
    assert loaded.taxonomy == "camvid"
    assert loaded.metadata["cost"]["hours"] > 0
    assert loaded.metadata["global_step"] == 1
    assert "state_dict" not in loaded.metadata


def test_a_module_keeps_no_second_copy_of_its_network(build_module) -> None:
    module = build_module()
    for saved in (module.hparams, module.hparams_initial):
        assert not any(isinstance(value, torch.nn.Module) for value in saved.values())


def test_pretrained_weights_are_not_fetched_again(trained, tmp_path: Path) -> None:
    _, path = trained
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["hyper_parameters"]["network"]["init_args"]["pretrained"] = True
    target = tmp_path / "pretrained.ckpt"
    torch.save(checkpoint, target)
    assert load_network(target).network.init_args["pretrained"] is False


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nothing\.ckpt: no such checkpoint"):
        load_network(tmp_path / "nothing.ckpt")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_truncated_file(trained, tmp_path: Path, share: float) -> None:
    data = trained[1].read_bytes()
    short = tmp_path / "short.ckpt"
    short.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CheckpointError, match=r"short\.ckpt: not a checkpoint, or cut short"):
        load_network(short)


@pytest.mark.parametrize(("record", "changed"), [(b"PK\x01\x02", b"XXXX"), (b"PK\x06\x07", b"PK\x06\x07\x01")])
def test_a_flipped_byte_in_the_directory_of_the_file(trained, tmp_path: Path, record: bytes, changed: bytes) -> None:
    data = bytearray(trained[1].read_bytes())
    at = data.index(record)
    data[at : at + len(changed)] = changed
    damaged = tmp_path / "damaged.ckpt"
    damaged.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"damaged\.ckpt: damaged checkpoint"):
        load_network(damaged)


def test_a_text_file(tmp_path: Path) -> None:
    text = tmp_path / "config.yaml"
    text.write_text("trainer: {}\n")
    with pytest.raises(CheckpointError, match=r"not a checkpoint, or cut short; found 12 bytes"):
        load_network(text)


class Payload:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("code_was_run"),))


def test_pickled_code_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.ckpt"
    torch.save({"state_dict": {}, "payload": Payload()}, path)
    with pytest.raises(CheckpointError, match="holds pickled objects"):
        read_checkpoint(path)
    assert not Path("code_was_run").exists()


def test_a_bare_pickle(tmp_path: Path) -> None:
    path = tmp_path / "bare.ckpt"
    path.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(CheckpointError, match="not a checkpoint, or cut short"):
        read_checkpoint(path)


def test_a_file_of_tensors_that_is_no_training_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"weight": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="not a training checkpoint; expected a dict with state_dict"):
        load_network(path)


def test_a_checkpoint_of_another_project(tmp_path: Path) -> None:
    path = tmp_path / "other.ckpt"
    torch.save({"state_dict": {}, "hyper_parameters": {"lr": 0.1}}, path)
    with pytest.raises(CheckpointError, match="does not name its network"):
        load_network(path)


@pytest.mark.parametrize("class_path", ["torch.nn.Conv2d", "builtins.print", "no.such.Network", "plain"])
def test_only_networks_are_built(trained, tmp_path: Path, class_path: str) -> None:
    path = save_changed(
        trained[1], tmp_path / "class.ckpt", hyper_parameters={"network": {"class_path": class_path, "init_args": {}}}
    )
    with pytest.raises(CheckpointError, match=r"class\.ckpt: the recorded (network )?class"):
        load_network(path)


def test_weights_of_another_network(trained, tmp_path: Path) -> None:
    record = PSPNet(7, backbone="mobilenet_v2", decoder_channels=8).record
    path = save_changed(trained[1], tmp_path / "wrong.ckpt", hyper_parameters={"network": record})
    with pytest.raises(CheckpointError, match=r"another network than PSPNet; found 0 missing, 0 unknown, 2 of another"):
        load_network(path)


def test_resuming_with_another_network_is_refused(trained, build_data, build_trainer) -> None:
    other = SemanticSegmentation(PSPNet(11, backbone="mobilenet_v2", decoder_channels=4))
    with pytest.raises(CheckpointError, match="belong to another network"):
        build_trainer(max_steps=2).fit(other, build_data(), ckpt_path=trained[1])


def test_records() -> None:
    assert to_record(LabelKind.CLICKS) == 4
    assert to_record({"a": (1, Path("b"))}) == {"a": [1, "b"]}
    assert to_record(torch.optim.AdamW) == {"class_path": "torch.optim.adamw.AdamW", "init_args": {}}
    assert to_record(torch.nn.init.zeros_) == "torch.nn.init.zeros_"


class Forgetful:
    def __init__(self, size: int) -> None:
        pass


@pytest.mark.parametrize(
    "value", [lambda x: x, Forgetful(3), functools.partial(print)], ids=["lambda", "object", "print"]
)
def test_what_cannot_be_recorded(value: object) -> None:
    with pytest.raises(Unrecordable):
        to_record(value)


def test_a_lambda_is_left_out_with_a_warning(tmp_path: Path, build_module, build_data, build_trainer) -> None:
    with pytest.warns(UserWarning, match="will not record 'optimizer'"):
        module = build_module(optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1))
    trainer = build_trainer(max_steps=1, limit_val_batches=0)
    trainer.fit(module, build_data())
    trainer.save_checkpoint(tmp_path / "lambda.ckpt")
    assert isinstance(load_network(tmp_path / "lambda.ckpt").network, PSPNet)
    assert isinstance(
        SemanticSegmentation.load_from_checkpoint(tmp_path / "lambda.ckpt", weights_only=True), LightningModule
    )
