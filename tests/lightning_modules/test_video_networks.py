"""Networks that see past frames, and those whose parts take turns, in the training module."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from thriftseg.lightning_modules import SemanticSegmentation
from thriftseg.zoo import SemanticNetwork, SlidingWindow, create_model


class Keep(Callback):
    """Keeps every prediction of an evaluation by video and frame."""

    def __init__(self) -> None:
        self.predictions: dict[tuple[str, int], torch.Tensor] = {}

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *rest: Any) -> None:
        frames = zip(batch["video"], batch["number"].tolist(), outputs["prediction"], strict=True)
        self.predictions |= {(video, number): prediction for video, number, prediction in frames}


def small(name: str) -> SemanticNetwork:
    torch.manual_seed(0)
    return create_model(name, 11)


@pytest.mark.parametrize("name", ["td2_fanet18", pytest.param("tmanet_r18", marks=pytest.mark.slow)])
def test_evaluation_predicts_what_a_stream_predicts(name, build_data, build_trainer):
    module, data, keep = SemanticSegmentation(small(name)), build_data(eval_batch_size=3), Keep()
    build_trainer(callbacks=[keep]).validate(module, data, verbose=False)
    compared = 0
    for clip in data.dataset.clips("val"):
        network = module.network.eval()
        state = network.start()
        for number in sorted(clip.frames):
            frame = torch.from_numpy(data.dataset.read_frame(clip, number)).permute(2, 0, 1)[None] / 255
            with torch.no_grad():
                logits, state = network.step(network.preprocessing(frame), state)
            if (clip.video, number) in keep.predictions:
                agreement = keep.predictions[clip.video, number] == logits.argmax(1)[0]
                assert agreement.float().mean() > 0.999
                compared += 1
    assert compared == len(keep.predictions) > network.num_phases


def test_evaluation_encodes_each_frame_of_a_stretch_once_bit_for_bit(build_data, build_trainer, monkeypatch):
    module, data, encoded = SemanticSegmentation(small("tmanet_r18")), build_data(eval_size=(48, 64)), []
    module.network.encoder.register_forward_hook(lambda *_: encoded.append(1))
    keeps, counts = (Keep(), Keep()), []
    for keep, streamed in zip(keeps, (True, False), strict=True):
        monkeypatch.setattr(type(module.network), "can_resume", streamed)
        encoded.clear()
        build_trainer(callbacks=[keep]).validate(module, data, verbose=False)
        counts.append(len(encoded))
    assert counts == [2 * 8, 2 * (1 + 2 + 6 * 3)]  # two clips of 8 frames, the first two have fewer than 2 before them
    assert len(keeps[1].predictions) == 2 * 8
    assert all(torch.equal(keeps[1].predictions[key], found) for key, found in keeps[0].predictions.items())
    assert module._stream == (None, None)


def test_training_gives_every_phase_its_turn(build_data, build_trainer):
    module = SemanticSegmentation(small("td2_fanet18"))
    before = {name: parameter.clone() for name, parameter in module.network.named_parameters()}
    build_trainer(max_steps=2, limit_val_batches=0).fit(module, build_data())
    unchanged = [name for name, parameter in module.network.named_parameters() if torch.equal(parameter, before[name])]
    assert unchanged == []


def test_one_phase_leaves_parts_of_the_others_untouched(build_data, build_trainer):
    module = SemanticSegmentation(small("td2_fanet18"))
    before = {name: parameter.clone() for name, parameter in module.network.named_parameters()}
    build_trainer(max_steps=1, limit_val_batches=0).fit(module, build_data())
    unchanged = [name for name, parameter in module.network.named_parameters() if torch.equal(parameter, before[name])]
    assert "paths.0.head.0.weight" in before
    assert any(name.startswith("paths.0.head.") for name in unchanged)  # the first window ends with path 1
    assert not any(name.startswith("paths.1.head.") for name in unchanged)


def test_sliding_windows_keep_the_phase():
    network = small("td2_fanet18").eval()
    frames = torch.rand(1, 2, 3, 48, 64)
    with torch.no_grad():
        whole, windowed = network(frames, first_index=1), SlidingWindow(crop=(48, 64))(network, frames, 1)
        other = SlidingWindow(crop=(48, 64))(network, frames, 0)
    assert torch.equal(whole, windowed)
    assert not torch.equal(whole, other)
