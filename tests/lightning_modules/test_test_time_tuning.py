"""A network is tuned on one video."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn

from tests.fixtures.distributed import GlooPool
from tests.fixtures.square_and_disc import FRAMES, GROUND, HEIGHT, SQUARE, WIDTH, SquareFlow, truth, write_video
from tests.fixtures.two_layers import TwoLayers
from tests.lightning_modules.objectives.preset import tuned
from thriftseg.datamodules import VideoPairDataModule
from thriftseg.datasets import Folder
from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.inference.checkpoints import load_network, read_checkpoint
from thriftseg.lightning_modules import FramePrediction, SemanticSegmentation, predict_frames, tune
from thriftseg.losses import TemporalConsistencyLoss
from thriftseg.metrics import score_video
from thriftseg.zoo import IMAGENET, SemanticNetwork

CLASSES = 3
ON_CPU: dict[str, Any] = {"accelerator": "cpu"}


class OnlyLogits(SemanticNetwork):
    """A network without features, which gives all pixels the same logits."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.bias = nn.Parameter(torch.arange(float(num_classes)))

    def compute_logits(self, frames: Tensor) -> Tensor:
        return self.bias[None, :, None, None].expand(len(frames), -1, *frames.shape[-2:])


class Rates(Callback):
    """Notes the learning rate of each step."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        self.values.append(optimizer.param_groups[0]["lr"])


class Killed(RuntimeError):
    pass


class KillAfter(Callback):
    """Ends the run in the middle of an epoch."""

    def __init__(self, batches: int) -> None:
        self.left = batches

    def on_train_batch_end(self, *_: Any) -> None:
        self.left -= 1
        if not self.left:
            raise Killed


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return write_video(tmp_path_factory.mktemp("square") / "data")


@pytest.fixture(scope="module")
def flow_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("flow")


@pytest.fixture
def build(video: Folder, flow_cache: Path) -> Callable[..., VideoPairDataModule]:
    def make(dataset: Folder = video, **settings: Any) -> VideoPairDataModule:
        plain = {"labels": {1: truth(1)}, "flow": SquareFlow(), "seed": 0, "progress": False}
        if dataset is video:
            plain["flow_cache"] = flow_cache
        return VideoPairDataModule(dataset, "val", **(plain | settings))

    return make


def whole_batch(data: VideoPairDataModule) -> dict[str, Any]:
    """All pairs of a video."""
    data.setup("fit")
    data.batch_size = 2 * len(data.numbers)
    (batch,) = data.train_dataloader()
    return data.on_after_batch_transfer(batch)


def step(module: SemanticSegmentation, batch: dict[str, Any]) -> tuple[Tensor, dict[str, float], dict[str, Tensor]]:
    """Loss, what is logged, and the gradients of a training step outside of a trainer."""
    logged: dict[str, float] = {}
    module.log = lambda name, value, **_: logged.update({name: value.item()})
    module.zero_grad()
    loss = module.training_step(batch, 0)
    loss.backward()
    return loss.detach(), logged, {name: p.grad.clone() for name, p in module.network.named_parameters()}


def weights(module: SemanticSegmentation) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.network.state_dict().items()}


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []


def distance(p: Tensor, q: Tensor, name: str) -> Tensor:
    """Distance of the probabilities (C,) of two pixels."""
    if name == "l2":
        return ((p - q) ** 2).sum()
    if name == "l1":
        return (p - q).abs().sum()
    if name == "kl_sym":
        return (p * (p / q).log() + q * (q / p).log()).sum() / 2
    return -p[q.argmax()].log()


def reference_loss(
    network: SemanticNetwork, batch: dict[str, Any], name: str, detach: bool, weight: float
) -> tuple[Tensor, Tensor]:
    """Both terms by plain loops, for flow in whole pixels."""
    labelled, pairs = [], []
    keys = ("frames", "neighbours", "label", "neighbour_label", "neighbour_flow", "neighbour_agrees")
    for frame, before, label, label_before, (flow,), (mask,) in zip(*(batch[key] for key in keys), strict=True):
        labels = [label_before[0], label]
        logits = [network(IMAGENET(each))[0] for each in (before, frame)]
        for each, label in zip(logits, labels, strict=True):
            labelled += [-each.log_softmax(0)[label[y, x], y, x] for y, x in (label != 255).nonzero().tolist()]
        before, now = (each.softmax(0) for each in logits)
        before = before.detach() if detach else before
        distances = []
        for y, x in mask.nonzero().tolist():
            dx, dy = flow[:, y, x].int().tolist()
            distances.append(distance(now[:, y, x], before[:, y + dy, x + dx], name))
        pairs.append(torch.stack(distances).mean())
    return torch.stack(labelled).mean(), weight * torch.stack(pairs).mean()


class TestLoss:
    @pytest.mark.parametrize(
        ("name", "detach", "weight"),
        [("l2", False, 1.0), ("l1", False, 0.5), ("kl_sym", True, 2.0), ("ce_hard", False, 1)],
    )
    def test_equals_plain_loops(self, build: Any, name: str, detach: bool, weight: float) -> None:
        partial = truth(2)
        partial[:, 30:] = 255
        batch = whole_batch(build(labels={2: partial}, resize=(HEIGHT // 2, WIDTH // 2)))
        batch = {key: value[:3] for key, value in batch.items()}
        generator = torch.Generator().manual_seed(0)  # loops are slow: a few pixels will do
        drawn = torch.rand(batch["neighbour_agrees"].shape, generator=generator) < 0.1
        batch["neighbour_agrees"] = batch["neighbour_agrees"] & drawn
        for key in ("label", "neighbour_label"):
            batch[key][torch.rand(batch[key].shape, generator=generator) > 0.1] = 255
        module = tuned(TwoLayers(CLASSES), consistency=TemporalConsistencyLoss(name, detach), consistency_weight=weight)
        loss, logged, gradients = step(module, batch)
        semantic, consistency = reference_loss(module.network, batch, name, detach, weight)
        module.zero_grad()
        (semantic + consistency).backward()
        assert loss.item() == pytest.approx((semantic + consistency).item(), rel=1e-5)
        assert logged["train/loss"] == pytest.approx(loss.item())
        assert logged["train/loss/label"] == pytest.approx(semantic.item(), rel=1e-5)
        assert logged["train/loss/consistency"] * weight == pytest.approx(consistency.item(), rel=1e-4)
        for parameter, gradient in zip(module.network.parameters(), gradients.values(), strict=True):
            torch.testing.assert_close(gradient, parameter.grad, rtol=1e-3, atol=1e-6)

    def test_without_labels_only_the_consistency_is_left(self, build: Any) -> None:
        batch = whole_batch(build(labels={}))
        _, logged, gradients = step(tuned(TwoLayers(CLASSES)), batch)
        assert logged["train/loss/label"] == 0
        assert logged["train/loss"] == logged["train/loss/consistency"] > 0
        assert all(gradient.isfinite().all() for gradient in gradients.values())
        loss, logged, gradients = step(tuned(TwoLayers(CLASSES), consistency_weight=0), batch)
        assert loss == 0
        assert "train/loss/consistency" not in logged
        assert not any(gradient.any() for gradient in gradients.values())

    def test_a_constant_prediction_is_consistent(self, build: Any) -> None:
        _, logged, _ = step(tuned(OnlyLogits(CLASSES)), whole_batch(build()))
        assert logged["train/loss/consistency"] == pytest.approx(0, abs=1e-12)

    def test_a_single_frame_learns_from_its_labels_alone(self, build: Any, tmp_path: Path) -> None:
        batch = whole_batch(build(write_video(tmp_path, frames=1), labels={0: truth(0)}))
        module = tuned(TwoLayers(CLASSES))
        loss, logged, _ = step(module, batch)
        expected = F.cross_entropy(module(batch["frames"]), batch["label"])
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
        assert logged["train/loss/consistency"] == 0

    def test_padding_of_a_batch_counts_for_nothing(self, build: Any) -> None:
        data = build(labels={n: truth(n) for n in range(FRAMES)})
        batch = whole_batch(data)
        padding = whole_batch(build(labels={}))
        padding |= {key: torch.zeros_like(padding[key]) for key in ("neighbour_agrees", "neighbour_paired")}
        padded = {key: torch.cat([batch[key], padding[key]]) for key in batch if key != "id"}
        (loss, _, gradients), (other, _, others) = (step(tuned(TwoLayers(CLASSES)), b) for b in (batch, padded))
        assert other.item() == pytest.approx(loss.item(), rel=1e-6)
        for name, gradient in gradients.items():
            torch.testing.assert_close(others[name], gradient, rtol=1e-4, atol=1e-7)

    def test_an_absent_class(self, build: Any) -> None:
        label = truth(1)
        label[label == SQUARE] = GROUND
        loss, _, gradients = step(tuned(TwoLayers(CLASSES)), whole_batch(build(labels={1: label})))
        assert loss.isfinite()
        assert all(gradient.isfinite().all() for gradient in gradients.values())


class TestRound:
    def test_the_schedule_starts_again_in_each_round(self, build: Any, tmp_path: Path) -> None:
        module, data = tuned(TwoLayers(CLASSES)), build(batch_size=4)
        for number in range(2):
            data.start_round(number, {1: truth(1)})
            rates = Rates()
            tune(module, data, tmp_path / str(number), epochs=2, callbacks=[rates], **ON_CPU)
            assert rates.values == pytest.approx([0.004 * (1 - t / 6) ** 0.9 for t in range(6)])

    @pytest.mark.parametrize("killed_after", [2, 4, 8])
    def test_goes_on_as_if_it_had_not_been_interrupted(self, build: Any, tmp_path: Path, killed_after: int) -> None:
        def run(folder: str, *callbacks: Callback) -> dict[str, Tensor]:
            module = tuned(TwoLayers(CLASSES, noisy=True))
            torch.manual_seed(len(callbacks))  # what was drawn before does not matter
            tune(module, build(batch_size=4, seed=3), tmp_path / folder, epochs=3, callbacks=callbacks, **ON_CPU)
            return weights(module)

        expected = run("whole")
        with pytest.raises(Killed):
            run("killed", KillAfter(killed_after))
        rates = Rates()
        assert_equal(run("killed", rates), expected)
        assert len(rates.values) == 9 - 3 * ((killed_after - 1) // 3)

    def test_the_noise_of_dropout_is_new_in_each_epoch(self, build: Any, tmp_path: Path) -> None:
        class Noise(Callback):
            def __init__(self) -> None:
                self.values: list[float] = []

            def on_train_batch_start(self, *_: Any) -> None:
                self.values.append(torch.initial_seed())

        noise = Noise()
        tune(tuned(TwoLayers(CLASSES)), build(batch_size=10), tmp_path, epochs=3, callbacks=[noise], **ON_CPU)
        assert len(set(noise.values)) == len(noise.values) == 3

    def test_a_finished_round_is_only_read(self, build: Any, tmp_path: Path) -> None:
        module, data = tuned(TwoLayers(CLASSES)), build()
        path = tune(module, data, tmp_path, epochs=1, **ON_CPU)
        again, rates = tuned(TwoLayers(CLASSES)), Rates()
        assert tune(again, data, tmp_path, epochs=1, callbacks=[rates], **ON_CPU) == path
        assert rates.values == []
        assert_equal(weights(again), weights(module))
        assert_equal(load_network(path).network.state_dict(), weights(module))
        assert [file.name for file in tmp_path.iterdir()] == ["round.ckpt"]

    def test_another_round_is_refused(self, build: Any, tmp_path: Path) -> None:
        module, data = tuned(TwoLayers(CLASSES)), build()
        tune(module, data, tmp_path, epochs=1, **ON_CPU)
        data.start_round(1, {2: truth(2)})
        with pytest.raises(CheckpointError, match="begun in another way; expected round 1, labels"):
            tune(module, data, tmp_path, epochs=2, **ON_CPU)

    @pytest.mark.parametrize("frozen", [False, True])
    def test_batch_norm(self, build: Any, tmp_path: Path, frozen: bool) -> None:
        module = tuned(TwoLayers(CLASSES, noisy=True), freeze_batch_norm=frozen)
        before = weights(module)
        tune(module, build(), tmp_path, epochs=1, **ON_CPU)
        changed = {name for name, value in weights(module).items() if not torch.equal(value, before[name])}
        statistics = {f"body.1.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
        assert changed == set(before) - (statistics if frozen else set())

    def test_settings_reach_the_trainer(self, build: Any, tmp_path: Path) -> None:
        class Sees(Callback):
            precision = ""

            def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
                Sees.precision = trainer.precision

        module = tuned(TwoLayers(CLASSES))
        tune(module, build(), tmp_path, epochs=1, callbacks=[Sees()], precision="bf16-mixed", **ON_CPU)
        assert Sees.precision == "bf16-mixed"
        assert all(value.dtype == torch.float32 and value.isfinite().all() for value in weights(module).values())

    def test_checkpoints_name_their_objects(self, build: Any, tmp_path: Path) -> None:
        module = tuned(TwoLayers(CLASSES), consistency=TemporalConsistencyLoss("l1", True), consistency_weight=0.5)
        arguments = read_checkpoint(tune(module, build(), tmp_path, epochs=1, **ON_CPU))["hyper_parameters"]
        _, consistency = arguments["objective"]["init_args"]["terms"]
        assert consistency["init_args"]["loss"] == {
            "class_path": "thriftseg.losses.temporal_consistency.TemporalConsistencyLoss",
            "init_args": {"distance": "l1", "detach_previous": True},
        }
        assert consistency["init_args"]["weight"] == 0.5


class TestPrediction:
    def test_all_frames_in_order(self, build: Any) -> None:
        module, data = tuned(TwoLayers(CLASSES, noisy=True)), build(predict_batch_size=4)
        found: list[FramePrediction] = []
        predict_frames(module, data, found.append, **ON_CPU)
        assert [frame.number for frame in found] == list(range(FRAMES))
        network = module.network.eval()
        frames = torch.cat([data.on_after_batch_transfer(batch)["frames"] for batch in data.predict_dataloader()])
        with torch.inference_mode():
            expected = network(IMAGENET(frames)).softmax(1)
            features = network.features(IMAGENET(frames))
        for index, frame in enumerate(found):
            torch.testing.assert_close(frame.probabilities, expected[index])
            assert frame.probabilities.shape == (CLASSES, HEIGHT, WIDTH)
            torch.testing.assert_close(frame.features, features[index])
            assert torch.equal(frame.label.long(), frame.probabilities.argmax(0))
            assert frame.label.dtype == torch.uint8
            assert torch.equal(frame.confidence, frame.probabilities.max(0).values)

    def test_memory_holds_a_batch_at_a_time(self, build: Any) -> None:
        alive: list[int] = []

        def report(frame: FramePrediction) -> None:
            found = [each for each in gc.get_objects() if isinstance(each, Tensor) and each.is_floating_point()]
            alive.append(sum(each.numel() for each in found))

        gc.collect()
        gc.freeze()  # what other tests left is not counted, whenever it is freed
        try:
            predict_frames(tuned(TwoLayers(CLASSES)), build(), report, **ON_CPU)
        finally:
            gc.unfreeze()
        assert len(alive) == FRAMES
        assert alive[1] == alive[-1] <= alive[0] + 5 * HEIGHT * WIDTH  # no more than what one frame gives

    def test_features_are_told_on_demand(self, build: Any) -> None:
        found: list[FramePrediction] = []
        predict_frames(tuned(OnlyLogits(CLASSES)), build(), found.append, features=False, **ON_CPU)
        assert [frame.features for frame in found] == [None] * FRAMES
        with pytest.raises(ConfigError, match="OnlyLogits does not tell its features"):
            predict_frames(tuned(OnlyLogits(CLASSES)), build(), found.append, **ON_CPU)


def test_tuning_helps_and_the_consistency_steadies(build: Any, tmp_path: Path) -> None:
    def score(module: SemanticSegmentation, data: VideoPairDataModule) -> dict[str, float]:
        found: list[FramePrediction] = []
        predict_frames(module, data, found.append, features=False, **ON_CPU)
        return score_video(
            ((frame.label.numpy(), data.truth(frame.number), data.flow_into(frame.number)) for frame in found), CLASSES
        )

    scores = {}
    for weight in (0.0, 1.0):
        module = tuned(
            TwoLayers(CLASSES),
            consistency_weight=weight,
            optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
        )
        data = build()
        before = score(module, data)
        tune(module, data, tmp_path / str(weight), epochs=6, **ON_CPU)
        scores[weight] = score(module, data)
        assert scores[weight]["miou"] > before["miou"] + 0.2
        assert not math.isnan(scores[weight]["boundary_iou"])
    assert scores[1.0]["tc"] >= scores[0.0]["tc"]


class TestProcesses:
    def test_two_learn_what_one_does(self, gloo_pool: GlooPool, video: Folder, tmp_path: Path) -> None:
        """Five pairs in batches of two: for the last batch, one process has nothing but padding."""
        expected, losses = share_of_a_round(0, 1, str(video.root), str(tmp_path / "one"))
        assert len(losses) == 6
        for found, found_losses in gloo_pool.run(share_of_a_round, str(video.root), str(tmp_path / "two")):
            for name, value in found.items():
                torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-7)
            assert found_losses == pytest.approx(losses, rel=1e-5)

    def test_two_predict_what_one_does(self, gloo_pool: GlooPool, video: Folder, tmp_path: Path) -> None:
        expected = share_of_the_frames(0, 1, str(video.root), str(tmp_path))
        shares = gloo_pool.run(share_of_the_frames, str(video.root), str(tmp_path))
        assert all(shares)
        assert sorted(pair for share in shares for pair in share) == expected
        assert [number for number, _ in expected] == list(range(FRAMES))


class Losses(Callback):
    """Notes the loss of each step over all processes."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.values.append(trainer.callback_metrics["train/loss"].item())


def devices(world: int) -> dict[str, Any]:
    return {"devices": world, "strategy": "ddp" if world > 1 else "auto", **ON_CPU}


def share_of_a_round(rank: int, world: int, root: str, folder: str) -> tuple[dict[str, Tensor], list[float]]:
    """Weights after two epochs, and the losses."""
    module, losses, data = tuned(TwoLayers(CLASSES)), Losses(), data_of(world, root, folder)
    tune(module, data, Path(folder) / "round", epochs=2, callbacks=[losses], **devices(world))
    return weights(module), losses.values


def share_of_the_frames(rank: int, world: int, root: str, folder: str) -> list[tuple[int, float]]:
    """Number of each frame of this process, and how sure the network is."""
    found: list[FramePrediction] = []
    predict_frames(tuned(TwoLayers(CLASSES)), data_of(world, root, folder), found.append, **devices(world))
    return [(frame.number, frame.confidence.mean().item()) for frame in found]


def data_of(world: int, root: str, folder: str) -> VideoPairDataModule:
    return VideoPairDataModule(
        Folder(root),
        "val",
        labels={1: truth(1), 4: np.where(truth(4) == SQUARE, truth(4), 255).astype(np.uint8)},
        batch_size=4 // world,
        flow=SquareFlow(),
        flow_cache=Path(folder) / "flow",
        seed=0,
        progress=False,
    )


class TestSettings:
    def test_negative_weight(self) -> None:
        with pytest.raises(ConfigError, match="consistency_weight is out of range; expected 0 or more; found -1"):
            tuned(TwoLayers(CLASSES), consistency_weight=-1)

    def test_no_epoch(self, build: Any, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="number of epochs; expected at least 1; found 0"):
            tune(tuned(TwoLayers(CLASSES)), build(), tmp_path, epochs=0, **ON_CPU)
