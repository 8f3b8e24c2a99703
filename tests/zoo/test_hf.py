"""EoMT and VidEoMT of transformers, at small sizes with random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.inference import FrameSegmenter, load_weights
from thriftseg.lightning_modules import SemanticSegmentation
from thriftseg.reports import publish
from thriftseg.reports.publishing.lineage import lineage_of
from thriftseg.zoo import (
    FrameWindow,
    HFNetwork,
    QueryState,
    architectures_of,
    create_model,
    export_onnx,
    rebuild,
    semantic_logits,
)
from thriftseg.zoo.hf import MODELS

transformers = pytest.importorskip("transformers")

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_blocks": 2,
    "num_queries": 10,
    "image_size": 64,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "eomt": {"model_type": "eomt", **SIZES},
    "eomt_dinov3": {"model_type": "eomt_dinov3", **SIZES, "intermediate_size": 64},
    "videomt": {"model_type": "videomt", **SIZES},
}


def build(model_type: str, seed: int = 0, **arguments: Any) -> HFNetwork:
    torch.manual_seed(seed)
    return HFNetwork(4, CONFIGS[model_type], **arguments).eval()


def library(network: HFNetwork) -> Any:
    """The model of transformers with the same weights, after its training: without masked attention."""
    settings = network.model.config
    model = getattr(transformers, MODELS[settings.model_type])(settings).eval()
    absent, unknown = model.load_state_dict(network.model.state_dict(), strict=False)
    assert set(absent) <= {"attn_mask_probs", "criterion.empty_weight", "embeddings.mask_token"}
    assert not unknown
    model.attn_mask_probs.zero_()
    return model


def scores(classes: Tensor, masks: Tensor) -> Tensor:
    """As the post-processing of transformers for semantic segmentation, before it enlarges them."""
    return torch.einsum("bqc,bqhw->bchw", classes.softmax(dim=-1)[..., :-1], masks.sigmoid())


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("model_type", ["eomt", "eomt_dinov3"])
def test_scores_are_those_of_the_library(model_type: str, seed: int) -> None:
    network = build(model_type, seed)
    frames = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        theirs = library(network)(frames)
        expected = scores(theirs.class_queries_logits, theirs.masks_queries_logits)
        found = network.low_resolution_logits(frames)
    assert expected.std() > 0.01
    assert torch.allclose(found.exp(), expected, atol=1e-5)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_clip_and_a_stream_give_the_scores_of_the_library(seed: int) -> None:
    frames = torch.randn(2, 4, 3, 64, 64)
    with torch.inference_mode():
        network = build("videomt", seed, past_frames=3)
        theirs = library(network)(pixel_values_videos=frames)  # frame by frame, each with the whole batch
        classes, masks = (x.unflatten(0, (4, 2)) for x in (theirs.class_queries_logits, theirs.masks_queries_logits))
        assert torch.allclose(network.low_resolution_logits(frames).exp(), scores(classes[3], masks[3]), atol=1e-5)
        stream = build("videomt", seed, whole_video=True)
        state = stream.start()
        for index in range(4):
            logits, state = stream.step(frames[:, index], state)
            assert torch.equal(logits.argmax(1), enlarged(scores(classes[index], masks[index]).log()).argmax(1))
            assert len(state.queries) == 1


def enlarged(logits: Tensor) -> Tensor:
    return torch.nn.functional.interpolate(logits, scale_factor=4, mode="bilinear")


@pytest.mark.parametrize("past_frames", [0, 1, 3])
def test_a_stream_equals_windows(past_frames: int) -> None:
    network = build("videomt", past_frames=past_frames)
    frames = torch.randn(6, 2, 3, 33, 47)
    state = network.start()
    with torch.inference_mode():
        for index, frame in enumerate(frames):
            window = [frames[max(past, 0)] for past in range(index - past_frames, index + 1)]
            logits, state = network.step(frame, state)
            assert torch.allclose(logits, network(torch.stack(window, dim=1)), atol=1e-5)
            assert len(state.queries) == past_frames


def test_a_stream_remembers_only_as_far_as_it_says() -> None:
    frames = torch.randn(4, 1, 3, 32, 32)
    changed = torch.cat([torch.randn(1, 1, 3, 32, 32), frames[1:]])
    last: dict[bool, list[Tensor]] = {True: [], False: []}
    with torch.inference_mode():
        for whole_video in last:
            network = build("videomt", past_frames=2, whole_video=whole_video)
            for video in (frames, changed):
                state = network.start()
                for frame in video:
                    logits, state = network.step(frame, state)
                last[whole_video].append(logits)
    assert torch.equal(*last[False])
    assert not torch.allclose(*last[True], atol=1e-4)


def test_learns_by_cross_entropy() -> None:
    torch.manual_seed(0)
    network = build("eomt").train()
    label = torch.randint(4, (4, 4, 6)).repeat_interleave(16, dim=1).repeat_interleave(16, dim=2)
    frames = torch.randn(4, 3)[label].permute(0, 3, 1, 2) + 0.3 * torch.randn(4, 3, 64, 96)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(40):
        logits = network(frames)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, label).backward()
        optimizer.step()
    assert (logits.argmax(1) == label).float().mean() > 0.9


def test_the_state_of_another_network_is_refused() -> None:
    with pytest.raises(ConfigError, match="state of another network; expected QueryState; found FrameWindow"):
        build("videomt").step(torch.zeros(1, 3, 32, 32), FrameWindow())
    with pytest.raises(ConfigError, match="state of another network; expected FrameWindow; found QueryState"):
        build("eomt").step(torch.zeros(1, 3, 32, 32), QueryState())


class TestSemanticLogits:
    def test_are_the_logarithm_of_the_summed_scores(self) -> None:
        torch.manual_seed(0)
        classes, masks = torch.randn(2, 7, 4), torch.randn(2, 7, 5, 6)
        assert torch.allclose(semantic_logits(classes, masks).exp(), scores(classes, masks), atol=1e-6)

    def test_cross_entropy_is_that_of_normalised_scores(self) -> None:
        torch.manual_seed(0)
        classes, masks, label = torch.randn(1, 7, 4), torch.randn(1, 7, 5, 6), torch.randint(3, (1, 5, 6))
        shares = scores(classes, masks)
        shares = shares / shares.sum(dim=1, keepdim=True)
        expected = -shares.gather(1, label[:, None]).log().mean()
        assert torch.allclose(torch.nn.functional.cross_entropy(semantic_logits(classes, masks), label), expected)

    @pytest.mark.parametrize("extent", [1e2, 1e4])
    def test_stay_finite_with_their_gradients(self, extent: float) -> None:
        torch.manual_seed(0)
        classes, masks = (extent * torch.randn(*shape) for shape in ((1, 7, 4), (1, 7, 5, 6)))
        classes, masks = classes.requires_grad_(), masks.requires_grad_()
        logits = semantic_logits(classes, masks)
        assert logits.isfinite().all()
        torch.nn.functional.cross_entropy(logits, torch.zeros(1, 5, 6, dtype=torch.long)).backward()
        assert classes.grad.isfinite().all()
        assert masks.grad.isfinite().all()

    def test_do_not_vanish_where_every_mask_is_faint(self) -> None:
        logits = semantic_logits(torch.tensor([[[3.0, 0.0, 400.0]]]), torch.full((1, 1, 1, 1), -500.0))
        assert logits.flatten().tolist() == [-897, -900]

    def test_in_half_precision_are_computed_in_single(self) -> None:
        torch.manual_seed(0)
        classes, masks = torch.randn(1, 7, 4).bfloat16(), torch.randn(1, 7, 5, 6).bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            found = semantic_logits(classes, masks)
        assert torch.equal(found, semantic_logits(classes.float(), masks.float()))


def test_another_size_resizes_the_positions() -> None:
    network = build("eomt")
    with torch.no_grad():
        network.model.embeddings.position_embeddings.weight.copy_(torch.arange(16.0)[:, None].expand(-1, 32))
    positions = network._positions(torch.zeros(1, 3, 128, 64))[0, :, 0].view(8, 4)
    assert torch.allclose(positions.mean(), torch.tensor(7.5), atol=1e-4)
    assert torch.allclose(positions[:, 1:] - positions[:, :-1], torch.tensor(1.0), atol=1e-5)
    assert (positions[1:] > positions[:-1]).all()


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"past_frames": 2}, {"whole_video": True}])
def test_exported_to_onnx(tmp_path: Path, options: dict[str, Any]) -> None:
    pytest.importorskip("onnxruntime")
    network = build("videomt" if options else "eomt", **options)
    report = export_onnx(network, tmp_path / "x.onnx", (33, 50), max_size=(64, 80), check_frames=8)
    assert report.frames == 8 * 3
    assert report.max_difference <= 1e-3 * report.max_logit
    assert report.equal_classes > 0.999


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights as transformers stores them, of a model with four classes."""
    path = tmp_path_factory.mktemp("eomt")
    library(build("eomt", seed=5)).save_pretrained(path)
    return path


class TestWeights:
    def test_are_those_of_the_folder(self, folder: Path) -> None:
        network = HFNetwork(4, weights=str(folder)).eval()
        frames = torch.randn(1, 3, 45, 71)
        with torch.inference_mode():
            assert torch.equal(network(frames), build("eomt", seed=5)(frames))

    def test_another_number_of_classes_draws_only_the_classifier(self, folder: Path) -> None:
        torch.manual_seed(1)
        state, stored = HFNetwork(7, weights=str(folder)).state_dict(), build("eomt", seed=5).state_dict()
        differing = {key for key in stored if not torch.equal(state[key], stored[key])}
        assert differing == {"model.class_predictor.weight", "model.class_predictor.bias"}

    def test_the_record_needs_no_folder(self, folder: Path, tmp_path: Path) -> None:
        copy = shutil.copytree(folder, tmp_path / "copy")
        record = json.dumps(HFNetwork(4, weights=str(copy)).record)
        shutil.rmtree(copy)
        assert str(tmp_path) not in record
        again = rebuild(json.loads(record)).eval()
        assert json.dumps(again.record) == record
        assert again.model.config.hidden_size == 32

    def test_their_licence_stays_in_the_record(
        self, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        copy = shutil.copytree(folder, tmp_path / "copy")
        (copy / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
        record = HFNetwork(4, weights=str(copy)).record
        assert caplog.messages == [f"the use of the weights {copy} is restricted: cc-by-nc-4.0"]
        assert record["init_args"]["weights_licence"] == "cc-by-nc-4.0"
        rebuild(record)
        assert caplog.messages[1:] == ["the use of weights from elsewhere is restricted: cc-by-nc-4.0"]
        lineage = lineage_of("camvid", None, None, None, record["init_args"])["lineage"]
        assert {"what": "start", "name": "weights from elsewhere", "licence": "cc-by-nc-4.0"} in lineage

    def test_that_still_mask_the_attention(self, tmp_path: Path) -> None:
        model = library(build("eomt"))
        model.attn_mask_probs.fill_(0.5)
        model.save_pretrained(tmp_path)
        with pytest.raises(
            CheckpointError, match=r"still mask the attention.*expected attn_mask_probs of 0.*found \[0.5"
        ):
            HFNetwork(4, weights=str(tmp_path))

    def test_that_lack_entries(self, folder: Path, tmp_path: Path) -> None:
        from safetensors.torch import load_file, save_file

        copy = shutil.copytree(folder, tmp_path / "copy")
        tensors = load_file(copy / "model.safetensors")
        del tensors["query.weight"]
        save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(
            CheckpointError, match=r"no weights of this eomt; found 1 entries that are .* such as query.weig"
        ):
            HFNetwork(4, weights=str(copy))

    def test_of_another_model(self, tmp_path: Path) -> None:
        transformers.ViTConfig().save_pretrained(tmp_path)
        with pytest.raises(CheckpointError, match="no weights of eomt, eomt_dinov3, videomt; found vit"):
            HFNetwork(4, weights=str(tmp_path))

    def test_that_are_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="none: no such folder"):
            HFNetwork(4, weights=str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "no such model type; expected eomt, eomt_dinov3, videomt$"),
        ({"config": {"model_type": "bert"}}, "no such model type; .* found bert"),
        (
            {"config": {**CONFIGS["eomt"], "hiden_size": 3}},
            "eomt has no entry 'hiden_size'; fix: did you mean hidden_size",
        ),
        (
            {"config": {**CONFIGS["eomt"], "hidden_size": "3"}},
            "entry 'hidden_size' of eomt; found '3', where the default",
        ),
        ({"config": {**CONFIGS["eomt"], "hidden_size": 31}}, "transformers cannot build this eomt"),
        ({"config": {**CONFIGS["eomt"], "num_blocks": 3}}, "found 3 of 3, 10"),
        (
            {"config": {**CONFIGS["eomt"], "num_upscale_blocks": 5}},
            "patch_size and num_upscale_blocks; .* found 16 and 5",
        ),
        ({"config": {**CONFIGS["eomt"], "image_size": [64, 32]}}, "image_size and patch_size; expected whole numbers"),
        ({"config": CONFIGS["eomt"], "past_frames": 2}, "eomt reads single frames"),
        ({"config": CONFIGS["videomt"], "past_frames": -1}, "past_frames; expected 0 or more; found -1"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        HFNetwork(4, **arguments)


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": "org/evil"},
        {"weights": "/etc"},
        {"config": "org/evil"},
        {"config": None},
        {"config": {**CONFIGS["eomt"], "_attn_implementation": "org/evil-kernel"}},
        {"config": {**CONFIGS["eomt"], "attn_implementation": "org/evil-kernel"}},
        {"config": {**CONFIGS["eomt"], "auto_map": {"AutoConfig": "org/evil--code.Config"}}},
        {"config": {**CONFIGS["eomt"], "architectures": ["Evil"]}},
        {"config": {**CONFIGS["eomt"], "hidden_act": "os.system"}},
    ],
)
def test_a_record_fetches_and_reads_nothing(changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("a record must fetch and read nothing")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", refuse)
    monkeypatch.setattr(transformers.EomtForUniversalSegmentation, "from_pretrained", refuse)
    arguments = {"num_classes": 4, "config": CONFIGS["eomt"], "weights": None, **changes}
    with pytest.raises((CheckpointError, ConfigError)):
        rebuild({"class_path": "thriftseg.zoo.HFNetwork", "init_args": arguments})


def test_are_published_under_their_names() -> None:
    assert architectures_of(create_model("eomt_tiny", 4)) == ["eomt_tiny"]
    assert architectures_of(build("videomt")) == ["hf"]


def test_a_checkpoint_of_training_segments_a_frame(tmp_path: Path) -> None:
    module = SemanticSegmentation(build("videomt"))
    content = {
        "state_dict": module.state_dict(),
        "hyper_parameters": dict(module.hparams),
        "epoch": 0,
        "global_step": 1,
    }
    torch.save(content, tmp_path / "last.ckpt")
    done = publish(tmp_path / "last.ckpt", "hf.mine", tmp_path / "out")
    frames = [np.random.default_rng(index).integers(0, 256, (33, 47, 3), dtype=np.uint8) for index in range(3)]
    labels = [list(FrameSegmenter(load_weights(path))(frames)) for path in (tmp_path / "last.ckpt", done.weights)]
    assert labels[0][2].shape == (33, 47)
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(*labels, strict=True))


def test_names_fix_the_sizes_of_the_authors() -> None:
    with torch.device("meta"):
        sizes = [create_model(f"eomt_{size}", 19) for size in ("tiny", "small", "base", "large")]
    assert [round(sum(p.numel() for p in network.parameters()) / 1e6) for network in sizes] == [6, 24, 93, 316]
