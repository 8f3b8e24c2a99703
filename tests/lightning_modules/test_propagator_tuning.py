"""Video networks of transformers, tuned on masks of one's own and used by label propagation."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.fixtures.distributed import GlooPool, trainer_with
from tests.fixtures.moving_squares import write_squares
from tests.labels.small_video_networks import MODEL_TYPES, SIDES, write_video_network
from thriftseg.cli.main import main
from thriftseg.datasets import MOSE
from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.inference import load_as
from thriftseg.labels import HFPropagator, create_propagator
from thriftseg.lightning_modules import PropagatorTuning
from thriftseg.stores import LabelStore, ObjectMap, TrackedObject
from thriftseg.taxonomies import OBJECT_IDS
from thriftseg.zoo import ObjectTracker, PromptableVideoNetwork, rebuild

pytest.importorskip("transformers")
PARTS = ("memory_attention", "mask_decoder")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("networks")
    return {name: write_video_network(root / name, name) for name in MODEL_TYPES}


def clip(seed: int, frames: int = 4, side: int = 64) -> tuple[Tensor, Tensor]:
    """A bright square that moves over a dark ground: frames (T, 3, H, W) and its mask (T, H, W)."""
    rng = np.random.default_rng(seed)
    ground, paint = (
        torch.from_numpy(rng.uniform(*span, (3, 1, 1)).astype(np.float32)) for span in ((0, 0.5), (0.6, 1))
    )
    at, step, half = rng.uniform(8, 30, 2), rng.uniform(-4, 6, 2), rng.uniform(10, 16)
    grid, masks = torch.arange(side), []
    for t in range(frames):
        x, y = at + step * t
        masks.append(((grid - x).abs() < half) & ((grid[:, None] - y).abs() < half))
    mask = torch.stack(masks)
    return torch.where(mask[:, None], paint, ground.expand(3, side, side)), mask.long()


def batch(*clips: tuple[Tensor, Tensor]) -> dict[str, Any]:
    frames, masks = (torch.stack(values) for values in zip(*clips, strict=True))
    ones = torch.ones(len(clips))
    return {"frames": frames, "masks": masks, "num_objects": ones.long(), "weight": ones}


def quality(network: PromptableVideoNetwork, frames: Tensor, masks: Tensor) -> float:
    """J of all frames but the first."""
    with torch.no_grad():
        logits = network(network.preprocessing(frames[None]), masks[None, :1].float())
    found, truth = logits[0, 1:].argmax(dim=1) == 1, masks[1:] == 1
    return ((found & truth).sum() / (found | truth).sum()).item()


def step_loss(module: PropagatorTuning, *clips: tuple[Tensor, Tensor]) -> Tensor:
    module.log = module.log_dict = lambda *_, **__: None
    return module.training_step(batch(*clips), 0)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_gradients_reach_what_is_named_and_nothing_else(folders: dict[str, Path], model_type: str) -> None:
    module = PropagatorTuning(PromptableVideoNetwork(str(folders[model_type]), trained=PARTS))
    step_loss(module.train(), clip(0), clip(1)).backward()
    reached = {name for name, value in module.network.model.named_parameters() if value.grad is not None}
    assert {name.partition(".")[0] for name in reached} == set(PARTS)
    moved = {name for name in reached if module.network.model.get_parameter(name).grad.any()}
    assert {"memory_attention", "mask_decoder"} == {name.partition(".")[0] for name in moved}
    for head in ("iou_prediction_head", "pred_obj_score_head", "conv_s0"):
        assert any(head in name for name in moved)
    assert not module.network.model.training


def test_additions_of_low_rank(folders: dict[str, Path]) -> None:
    plain = PromptableVideoNetwork(str(folders["sam2_video"]))
    network = PromptableVideoNetwork(str(folders["sam2_video"]), trained=(), lora_rank=2)
    frames, masks = clip(0)
    assert quality(network, frames, masks) == quality(plain, frames, masks)  # they begin at nothing
    trained = [name for name, value in network.named_parameters() if value.requires_grad]
    assert trained
    assert all(".down." in name or ".up." in name for name in trained)
    module = PropagatorTuning(network)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(2):  # the first step moves the second factor only
        optimizer.zero_grad()
        step_loss(module, (frames, masks)).backward()
        assert all(network.get_parameter(name).grad.any() for name in trained if ".up." in name)
        optimizer.step()
    assert all(network.get_parameter(name).grad.any() for name in trained if ".down." in name)
    again = rebuild(network.record)
    again.load_state_dict(network.state_dict())
    expected = again(again.preprocessing(frames[None]), masks[None, :1].float())
    merged = network.merged()
    assert merged is network.model
    torch.testing.assert_close(
        network(network.preprocessing(frames[None]), masks[None, :1].float()), expected, rtol=1e-3, atol=1e-3
    )
    with pytest.raises(ConfigError, match="lora_rank; expected 0: the image encoder has no attention; found 2"):
        PromptableVideoNetwork(str(folders["edgetam_video"]), lora_rank=2)


@pytest.mark.slow
def test_three_clips_are_learned_and_a_fourth_is_better_than_before(folders: dict[str, Path]) -> None:
    network = PromptableVideoNetwork(str(folders["sam2_video"]), trained=PARTS)
    clips = [clip(seed) for seed in range(4)]
    before = [quality(network, *each) for each in clips]
    assert max(before) < 0.25
    module = PropagatorTuning(network)
    optimizer = torch.optim.AdamW([value for value in module.parameters() if value.requires_grad], lr=3e-3)
    for _ in range(12):
        optimizer.zero_grad()
        step_loss(module, *clips[:3]).backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
    after = [quality(network, *each) for each in clips]
    assert min(after[:3]) > 0.8
    assert after[3] > before[3] + 0.3


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_a_stream_is_label_propagation(folders: dict[str, Path], model_type: str) -> None:
    """Frames of the size of the network, so that nothing is resized."""
    frames, masks = clip(2, frames=4, side=SIDES[model_type])
    rounded = (frames * 255).byte()
    tracker = ObjectTracker(PromptableVideoNetwork(str(folders[model_type])))
    found = [tracker.step(frame.float() / 255, masks[0] if index == 0 else None) for index, frame in enumerate(rounded)]
    objects = ObjectMap(masks[0].numpy().astype(np.uint16), (TrackedObject(1, train_id=0),))
    steps = HFPropagator(folders[model_type]).probabilities(objects, rounded.permute(0, 2, 3, 1).numpy())
    for mine, step in zip(found[1:], steps, strict=True):
        assert (mine.numpy() == step.decide().ids).mean() > 0.999


def test_objects_that_appear_late(folders: dict[str, Path]) -> None:
    frames, masks = clip(3)
    tracker = ObjectTracker(PromptableVideoNetwork(str(folders["sam2_video"])))
    assert not tracker.step(frames[0]).any()
    assert tracker.step(frames[1], masks[1] * 7).unique().tolist() == [0, 7]
    both = masks[2] * 7
    both[:6, :6] = 9
    assert tracker.step(frames[2], both).unique().tolist() == [0, 7, 9]
    assert set(tracker.step(frames[3]).unique().tolist()) <= {0, 7, 9}


def test_a_record_reads_nothing(folders: dict[str, Path]) -> None:
    network = PromptableVideoNetwork(str(folders["edgetam_video"]))
    assert network.record["init_args"]["weights"] is None
    again = rebuild(network.record)
    again.load_state_dict(network.state_dict())
    frames, masks = clip(0)
    arguments = network.preprocessing(frames[None]), masks[None, :1].float()
    torch.testing.assert_close(again(*arguments), network(*arguments), rtol=0.01, atol=0.01)
    for change in ({"weights": "facebook/sam3"}, {"config": None}):
        with pytest.raises(CheckpointError, match="names weights"):
            rebuild({**network.record, "init_args": {**network.init_args, **change}})
    for part, entry in (
        ("vision_config", {"backbone_config": {"model_type": "timm_wrapper", "architecture": "hf-hub:evil/net"}}),
        ("memory_attention", {"attn_implementation": "evil/attention"}),
        ("vision_config", {"backbone_config": {"model_type": "dpt", "names": ["evil/net"]}}),
        ("vision_config", {"model_args": {"checkpoint_path": "evil.pth"}}),
    ):
        config = {**network.init_args["config"], part: entry}
        with pytest.raises(CheckpointError, match=r"names weights.*evil"):
            rebuild({**network.record, "init_args": {**network.init_args, "config": config}})


def test_the_licence_goes_along(folders: dict[str, Path], tmp_path: Path) -> None:
    network = PromptableVideoNetwork(str(folders["sam3_tracker_video"]))
    assert network.weights_licence == rebuild(network.record).weights_licence == "SAM License"
    assert PromptableVideoNetwork(str(folders["sam2_video"]), weights_licence="mit").weights_licence == "mit"


def test_refusals(folders: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="the image encoder learns additions"):
        PromptableVideoNetwork(str(folders["sam2_video"]), trained=["vision_encoder"], lora_rank=2)
    with pytest.raises(ConfigError, match="found PromptableVideoNetwork; fix: take --method hf"):
        create_propagator("stm", weights=PromptableVideoNetwork(str(folders["sam2_video"]))).to("cpu")
    with pytest.raises(ConfigError, match=r"no such part of the network; expected .*mask_decoder.*; found 'decoder'"):
        PromptableVideoNetwork(str(folders["sam2_video"]), trained=["decoder"])
    with pytest.raises(ConfigError, match="weights and a config; expected one of the two"):
        PromptableVideoNetwork("x", {"model_type": "sam2_video"})
    with pytest.raises(ConfigError, match="no video network of transformers; expected sam2_video"):
        PromptableVideoNetwork(config={"model_type": "bert"})
    with pytest.raises(ConfigError, match="focal_weight is out of range"):
        PropagatorTuning(PromptableVideoNetwork(str(folders["sam2_video"])), focal_weight=-1)


def gradients(rank: int, world: int, folder: str) -> dict[str, Tensor]:
    """Of a batch of which each process has a part."""
    clips = [clip(seed) for seed in range(2)]
    module = PropagatorTuning(PromptableVideoNetwork(folder), optimizer=functools.partial(torch.optim.SGD, lr=0.0))
    share = clips if world == 1 else clips[rank : rank + 1]
    trainer = trainer_with(world, turns=True, max_steps=1)
    trainer.fit(module, torch.utils.data.DataLoader([batch(*share)], batch_size=None))
    return {name: value.grad for name, value in module.named_parameters() if value.grad is not None}


@pytest.mark.slow
def test_two_processes_compute_the_gradient_of_the_joint_batch(folders: dict[str, Path], gloo_pool: GlooPool) -> None:
    alone = gradients(0, 1, str(folders["sam2_video"]))
    for found in gloo_pool.run(gradients, str(folders["sam2_video"])):
        for name, value in found.items():
            torch.testing.assert_close(value, alone.get(name, torch.zeros_like(value)), rtol=1e-3, atol=1e-5)


def test_from_the_config_to_propagated_labels(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    objects = {name: {place: [1, 2] for place in range(5)} for name in ("abc", "bcd", "cde")}
    write_squares(tmp_path / "data", objects, void=False)
    config = ["--config", "vos/hf_sam2_finetune.yaml", "--name", "tuned"]
    data = ["--data.dataset=thriftseg.datasets.MOSE", "--data.dataset.root=data", "--data.val_split=train"]
    small = ["--data.resize=null", "--data.crop=[48,48]", "--data.frames=3", "--data.num_workers=0"]
    trainer = ["max_steps=2", "val_check_interval=2", "accelerator=cpu", "strategy=auto", "enable_progress_bar=false"]
    weights = f"--model.network.init_args.weights={folders['sam2_video']}"
    assert main(["fit", *config, *data, *small, *(f"--trainer.{each}" for each in trainer), weights]) == 0
    checkpoint = Path("runs/tuned/checkpoints/last.ckpt")
    label = [
        "label",
        "propagate",
        "--dataset",
        "mose",
        "--root",
        "data",
        "--method",
        "hf",
        "--offsets=1",
        "--on_missing=skip",
    ]
    assert main([*label, "--weights", str(checkpoint), "--devices", "1", "--accelerator", "cpu"]) == 0
    capsys.readouterr()
    store = LabelStore("labels/mose", "hf", OBJECT_IDS)
    row = next(iter(store.labels.values()))
    tuned = load_as(checkpoint, PromptableVideoNetwork)
    assert row.arguments["weights"] == HFPropagator(checkpoint).arguments["weights"]
    assert row.arguments["weights"] != HFPropagator(folders["sam2_video"]).arguments["weights"]
    assert row.arguments["image_size"] == tuned.side
    assert MOSE("data").clips("train")
