from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.cli import ReduceLROnPlateau

from thriftseg.datamodules import Mixture, MixturePart
from thriftseg.datasets import CamVid
from thriftseg.errors import ConfigError
from thriftseg.labels import label_clicks
from thriftseg.lightning_modules import (
    DistillationTerm,
    LabelTerm,
    PolyLR,
    SemanticEvaluation,
    SemanticSegmentation,
    usable_precision,
)
from thriftseg.lightning_modules.base import pooled_means
from thriftseg.losses import CrossEntropy, LossTerms, PartialCrossEntropy
from thriftseg.metrics import ConfusionScores, TemporalConsistency
from thriftseg.zoo import PSPNet, SemanticNetwork, TDNetFANet


class StepLosses(torch.nn.Module):
    """Cross entropy without terms, as a user may bring it."""

    def forward(self, logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(logits, target, ignore_index=255)


def training_batch(size: int = 2) -> dict[str, object]:
    generator = torch.Generator().manual_seed(3)
    label = torch.randint(0, 11, (size, 24, 32), generator=generator)
    label[:, :4] = 255
    return {
        "frames": torch.rand(size, 1, 3, 24, 32, generator=generator),
        "label": label,
        "weight": torch.tensor([1.0, 0.5])[:size],
        "id": ["a", "b"][:size],
    }


def weights_of(module: SemanticSegmentation) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.network.parameters()])


def fitted(build_module, build_data, build_trainer, **trainer_settings):
    module = build_module()
    trainer = build_trainer(**({"limit_val_batches": 0} | trainer_settings))
    trainer.fit(module, build_data())
    return module, trainer


def test_loss_is_that_of_the_normalised_frames(build_module, build_trainer) -> None:
    module = build_module(objective=CrossEntropy(reduction="image")).eval()
    batch = training_batch()
    module.log = lambda *args, **kwargs: None
    loss = module.training_step(batch, 0)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normal = (batch["frames"][:, 0] - mean[:, None, None]) / std[:, None, None]
    logits = module.network(normal)
    per_image = [
        torch.nn.functional.cross_entropy(logits[i : i + 1], batch["label"][i : i + 1], ignore_index=255)
        for i in range(2)
    ]
    assert loss.item() == pytest.approx(((per_image[0] + 0.5 * per_image[1]) / 2).item(), rel=1e-5)


def test_nothing_labelled_gives_zero_with_finite_gradients(build_module) -> None:
    module = build_module()
    module.log = lambda *args, **kwargs: None
    batch = training_batch()
    batch["label"] = torch.full_like(batch["label"], 255)
    loss = module.training_step(batch, 0)
    loss.backward()
    assert loss.item() == 0.0
    assert all(torch.count_nonzero(p.grad) == 0 for p in module.parameters() if p.grad is not None)


def test_pooled_means_of_one_process() -> None:
    terms = LossTerms(torch.tensor(6.0, requires_grad=True), torch.tensor(4.0))
    nothing = LossTerms(torch.tensor(0.0), torch.tensor(0.0))
    (loss, logged), (zero, _) = pooled_means([terms, nothing])
    assert loss.item() == logged.item() == 1.5
    assert not logged.requires_grad
    assert zero.item() == 0.0


def test_auxiliary_loss_is_weighted_and_logged() -> None:
    torch.manual_seed(0)
    network = PSPNet(11, backbone="mobilenet_v2", decoder_channels=8, dropout=0.0, auxiliary=True)
    logged: dict[str, float] = {}
    module = SemanticSegmentation(network, LabelTerm(auxiliary_weight=0.4))
    module.log = lambda name, value, **kwargs: logged.update({name: float(value)})
    loss = module.training_step(training_batch(), 0)
    loss.backward()
    assert set(logged) == {"train/loss", "train/loss/label", "train/loss/auxiliary"}
    assert logged["train/loss"] == pytest.approx(logged["train/loss/label"] + 0.4 * logged["train/loss/auxiliary"])
    assert loss.item() == pytest.approx(logged["train/loss"])
    assert all(p.grad is not None for p in network.parameters())


def test_a_loss_without_terms(build_module, build_data, build_trainer) -> None:
    module = build_module(objective=StepLosses())
    trainer = build_trainer(max_steps=1, limit_val_batches=0)
    trainer.fit(module, build_data())
    assert torch.isfinite(trainer.callback_metrics["train/loss"])


def test_logs_every_name(build_module, build_data, build_trainer) -> None:
    data = build_data()
    module = build_module(class_names=data.class_names)
    trainer = build_trainer(limit_train_batches=1)
    trainer.fit(module, data)
    fitted_names = set(trainer.callback_metrics)
    scores = {"miou", "macc", "pixel_accuracy", "boundary_iou", "tc"} | {f"iou/{name}" for name in data.class_names}
    assert fitted_names == {"train/loss", "train/loss/label", "cost/hours", "cost/clicks"} | {
        f"val/{name}" for name in scores
    }
    assert trainer.callback_metrics["cost/hours"].item() == pytest.approx(data.annotation_cost.hours)
    assert trainer.callback_metrics["cost/clicks"].item() == data.annotation_cost.clicks > 0
    trainer.test(module, data, verbose=False)
    assert {f"test/{name}" for name in scores} <= set(trainer.callback_metrics)


@pytest.mark.parametrize("eval_batch_size", [1, 3, 16])
def test_scores_do_not_depend_on_the_batches(build_module, build_data, build_trainer, eval_batch_size: int) -> None:
    module = build_module().eval()
    data = build_data(eval_batch_size=eval_batch_size)
    (scores,) = build_trainer().validate(module, data, verbose=False)
    confusion, consistency = ConfusionScores(11), TemporalConsistency(11)
    reference = build_data(eval_batch_size=1)
    reference.setup("validate")
    previous = None
    for batch in reference.val_dataloader():
        batch = reference.on_after_batch_transfer(batch)
        with torch.no_grad():
            prediction = module.network(module.network.preprocessing(batch["frames"])).argmax(1)
        if batch["scored"]:
            confusion.update(prediction, batch["label"])
        if batch["paired"]:
            consistency.update(prediction, previous, batch["flow_backward"], batch["flow_forward"])
        previous = prediction
    expected = confusion.compute()
    assert scores["val/tc"] == pytest.approx(consistency.compute()["tc"].item(), abs=1e-6)
    assert scores["val/miou"] == pytest.approx(expected["miou"].item(), abs=1e-6)
    assert scores["val/macc"] == pytest.approx(expected["macc"].item(), abs=1e-6)


def test_an_unscored_frame_serves_the_pair_only(build_module) -> None:
    module = build_module().eval()
    label = torch.zeros(2, 24, 32, dtype=torch.long)
    batch = {
        "frames": torch.rand(2, 1, 3, 24, 32),
        "label": label,
        "scored": torch.tensor([False, True]),
        "paired": torch.tensor([False, True]),
        "flow_backward": torch.zeros(2, 2, 24, 32),
        "flow_forward": torch.zeros(2, 2, 24, 32),
        "id": ["v/0", "v/1"],
        "position": torch.tensor([0, 1]),
    }
    with torch.no_grad():
        module.validation_step(batch, 0)
    assert module.confusion.confusion.sum() == 24 * 32
    assert module.consistency.confusion.sum() > 0


def test_a_pair_without_its_first_frame_is_an_error(build_module) -> None:
    module = build_module().eval()
    batch = {
        "frames": torch.rand(1, 1, 3, 24, 32),
        "label": torch.zeros(1, 24, 32, dtype=torch.long),
        "scored": torch.tensor([True]),
        "paired": torch.tensor([True]),
        "flow_backward": torch.zeros(1, 2, 24, 32),
        "flow_forward": torch.zeros(1, 2, 24, 32),
        "id": ["v/7"],
        "position": torch.tensor([7]),
    }
    with pytest.raises(RuntimeError, match="v/7 is paired with a frame that was not evaluated"):
        module.validation_step(batch, 0)


def test_the_schedule_spans_the_run(build_module, build_data, build_trainer) -> None:
    _, trainer = fitted(build_module, build_data, build_trainer, max_epochs=2, accumulate_grad_batches=2)
    schedule = trainer.lr_scheduler_configs[0]
    assert schedule.interval == "step"
    assert schedule.scheduler.total_steps == trainer.global_step == 6
    assert schedule.scheduler.get_last_lr() == [0.0]


def test_a_run_without_end_needs_a_limit(build_module, build_data, build_trainer) -> None:
    with pytest.raises(ConfigError, match="length of the run; fix: set max_epochs or max_steps"):
        build_trainer(max_epochs=-1).fit(build_module(), build_data())


def test_no_schedule_keeps_the_rate(build_module, build_data, build_trainer) -> None:
    trainer = build_trainer(max_steps=2, limit_val_batches=0)
    trainer.fit(build_module(lr_scheduler=None), build_data())
    assert trainer.optimizers[0].param_groups[0]["lr"] == 1e-3


def test_plateau_schedule(build_module, build_data, build_trainer) -> None:
    schedule = functools.partial(ReduceLROnPlateau, monitor="val/miou", mode="max", factor=0.5, patience=0)
    trainer = build_trainer(max_epochs=3, limit_train_batches=1, limit_val_batches=2)
    trainer.fit(build_module(lr_scheduler=schedule, optimizer=functools.partial(torch.optim.SGD, lr=0.0)), build_data())
    assert trainer.lr_scheduler_configs[0].scheduler.num_bad_epochs + 1 > 0
    assert trainer.lr_scheduler_configs[0].monitor == "val/miou"


def test_gradient_clipping(build_module, build_data, build_trainer) -> None:
    settings = {"optimizer": functools.partial(torch.optim.SGD, lr=1.0), "lr_scheduler": None}
    before = weights_of(build_module(**settings))
    moved = {}
    for clip in (None, 1e-3):
        module = build_module(**settings)
        build_trainer(max_steps=1, limit_val_batches=0, gradient_clip_val=clip).fit(module, build_data())
        moved[clip] = torch.linalg.vector_norm(weights_of(module) - before).item()
    assert moved[1e-3] == pytest.approx(1e-3, rel=1e-2)
    assert moved[None] > 1e-2


def test_bf16_mixed_is_near_full_precision(build_module, build_data, build_trainer) -> None:
    losses = {}
    for precision in ("32-true", "bf16-mixed"):
        module, trainer = fitted(build_module, build_data, build_trainer, max_steps=1, precision=precision)
        losses[precision] = trainer.callback_metrics["train/loss"].item()
        assert all(p.dtype == torch.float32 for p in module.parameters())
    assert losses["bf16-mixed"] != losses["32-true"]
    assert losses["bf16-mixed"] == pytest.approx(losses["32-true"], rel=0.02)


@pytest.mark.parametrize("native", [True, False])
def test_bfloat16_is_not_emulated(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: native)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    asked = ["bf16-mixed", "bf16-true", "16-mixed", None]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = [usable_precision(precision, "cpu") for precision in asked]
    assert found == (asked if native else ["32-true", *asked[1:]])
    assert ["only emulates bfloat16" in str(each.message) for each in said] == ([] if native else [True])
    assert usable_precision("bf16-mixed", "cuda") == "bf16-mixed"
    assert usable_precision("bf16-mixed", CPUAccelerator()) == found[0]
    assert usable_precision("bf16-mixed") == ("bf16-mixed" if torch.cuda.is_available() else found[0])


def test_ema_is_what_is_scored_saved_and_reloaded(tmp_path: Path, build_module, build_data, build_trainer) -> None:
    decay = 0.5
    steps: list[torch.Tensor] = []
    module = build_module()

    module.on_train_batch_end = lambda *args: steps.append(weights_of(module))
    trainer = build_trainer(
        max_epochs=1, limit_train_batches=3, limit_val_batches=0, callbacks=[EMAWeightAveraging(decay=decay)]
    )
    trainer.fit(module, build_data())
    average = steps[0]
    for weights in steps[1:]:
        average = decay * average + (1 - decay) * weights
    trainer.save_checkpoint(tmp_path / "ema.ckpt")
    again = SemanticSegmentation.load_from_checkpoint(tmp_path / "ema.ckpt", weights_only=True)
    torch.testing.assert_close(weights_of(again), average, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(steps[-1], average, atol=1e-6)


@pytest.mark.slow
def test_resuming_gives_the_uninterrupted_run(tmp_path: Path, build_module, build_data, build_trainer) -> None:
    whole, _ = fitted(build_module, build_data, build_trainer, max_epochs=2)
    half = build_module(lr_scheduler=functools.partial(PolyLR, total_steps=12))
    first = build_trainer(max_epochs=1, limit_val_batches=0)
    first.fit(half, build_data())
    first.save_checkpoint(tmp_path / "half.ckpt")
    resumed = build_module(seed=7)
    build_trainer(max_epochs=2, limit_val_batches=0).fit(resumed, build_data(), ckpt_path=tmp_path / "half.ckpt")
    torch.testing.assert_close(weights_of(resumed), weights_of(whole), rtol=0, atol=1e-6)


def test_compiling_keeps_the_names_of_weights(build_module) -> None:
    plain, module = build_module().eval(), build_module(compile=True).eval()
    module.setup("fit")
    assert module.state_dict().keys() == plain.state_dict().keys()
    assert module.network._compiled_call_impl is not None


@pytest.mark.slow
def test_compiled_training(build_module, build_data, build_trainer) -> None:
    losses = []
    for compiled in (False, True):
        module = build_module(compile=compiled)
        trainer = build_trainer(max_steps=2, limit_val_batches=1)
        trainer.fit(module, build_data())
        losses.append(trainer.callback_metrics["train/loss"].item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_class_names_must_fit() -> None:
    with pytest.raises(ConfigError, match="expected 11 names; found 2"):
        SemanticSegmentation(PSPNet(11, backbone="mobilenet_v2", decoder_channels=8), class_names=["a", "b"])


def test_negative_auxiliary_weight() -> None:
    with pytest.raises(ConfigError, match="auxiliary_weight is out of range"):
        LabelTerm(auxiliary_weight=-1)


@pytest.mark.parametrize(
    "network",
    [
        lambda auxiliary: PSPNet(11, backbone="mobilenet_v2", decoder_channels=8, auxiliary=auxiliary),
        lambda auxiliary: TDNetFANet(11, auxiliary=auxiliary),
    ],
)
def test_an_auxiliary_weight_needs_a_head(network: Callable[[bool], SemanticNetwork]) -> None:
    with pytest.raises(ConfigError, match=r"expected auxiliary_weight 0; found 0.4 for a \w+ without; fix: build"):
        SemanticSegmentation(network(False), LabelTerm(auxiliary_weight=0.4))
    for auxiliary, weight in ((True, 0.4), (True, 0.0), (False, 0.0)):
        assert SemanticSegmentation(network(auxiliary), LabelTerm(auxiliary_weight=weight)).network.num_classes == 11


def test_a_teacher_without_heads_learns_without_their_loss() -> None:
    network = PSPNet(11, backbone="mobilenet_v2", decoder_channels=8, auxiliary=True)
    objective = [LabelTerm(PartialCrossEntropy(), 0.5, auxiliary_weight=0.4), DistillationTerm()]
    for auxiliary in (False, True):
        teacher = functools.partial(PSPNet, backbone="mobilenet_v2", decoder_channels=8, auxiliary=auxiliary)
        (term,) = SemanticSegmentation(network, objective, teacher=teacher).teacher_module().objective.terms
        assert isinstance(term, LabelTerm)
        assert isinstance(term.loss, PartialCrossEntropy)
        assert (term.weight, term.auxiliary_weight) == (0.5, 0.4 if auxiliary else 0.0)


@pytest.mark.parametrize(
    ("network", "known"),
    [
        (lambda: PSPNet(11, backbone="mobilenet_v2", decoder_channels=8), "none"),
        (lambda: PSPNet(11, backbone="mobilenet_v2", decoder_channels=8, auxiliary=True), "auxiliary"),
        (lambda: TDNetFANet(11, auxiliary=True), "sub_path, auxiliary"),
    ],
)
def test_output_weights_name_outputs_of_the_network(network: Callable[[], SemanticNetwork], known: str) -> None:
    module = SemanticSegmentation(network(), LabelTerm(output_weights={"subpath": 0.5, "other": 0.0}))
    with pytest.raises(
        ConfigError, match=rf"output_weights of what a \w+ does not give; expected {known}; found subpath"
    ):
        module.setup("fit")
    module.setup("validate")
    given = dict.fromkeys(known.split(", "), 0.5) if known != "none" else {}
    SemanticSegmentation(network(), LabelTerm(output_weights=given)).setup("fit")


def test_boundary_ratio_replaces_the_width() -> None:
    network = PSPNet(11, backbone="mobilenet_v2", decoder_channels=8)
    module = SemanticSegmentation(network, evaluation=SemanticEvaluation(boundary_ratio=0.1))
    label = torch.from_numpy(np.repeat(np.arange(2), 20)[None].repeat(40, 0)[None])
    module.boundary.update(label, label)
    assert module.boundary.compute()["boundary_iou"].item() == 1.0


@pytest.mark.parametrize(("reduction", "warns"), [("pixel", True), ("image", False)])
def test_clicks_pooled_with_masks_are_warned_about(
    build_data, build_module, build_trainer, camvid_root, tmp_path, reduction, warns
):
    label_clicks(CamVid(camvid_root), "train", store=tmp_path, min_component=4, progress=False)
    parts = [MixturePart("manual", clips=4), MixturePart("clicks", clips=4)]
    data = build_data(mixture=Mixture(parts=parts, store=tmp_path))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        build_trainer(max_steps=1, limit_val_batches=0).fit(
            build_module(objective=CrossEntropy(reduction=reduction)), datamodule=data
        )
    assert any("clicks hardly count" in str(each.message) for each in caught) == warns
