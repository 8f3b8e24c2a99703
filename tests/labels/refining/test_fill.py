from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from thriftseg.cli.main import main
from thriftseg.datamodules.mixing.mixture import Mixture, MixturePart
from thriftseg.datasets import CamVid, Cityscapes
from thriftseg.errors import ConfigError, LabelStoreError
from thriftseg.labels.refining.coarse import label_coarse
from thriftseg.labels.refining.fill import Prediction, fill_gaps, label_fill
from thriftseg.stores.label_store import LabelStore
from thriftseg.stores.rows import action_id
from thriftseg.types import LabelKind
from thriftseg.zoo import SemanticNetwork, SlidingWindow, create_model

CLASSES = 11


class ColourNetwork(SemanticNetwork):
    """Classifies each pixel by the colours of this frame and the frames before it."""

    size_multiple = 1

    def __init__(self, num_classes: int = CLASSES, past_frames: int = 0) -> None:
        super().__init__(num_classes)
        self.past_frames = past_frames
        self.weigh = nn.Conv2d(3 * (past_frames + 1), num_classes, 1)

    def compute_logits(self, frames: Tensor) -> Tensor:
        return 20 * self.weigh(frames.flatten(1, 2))


class TwoPhaseNetwork(ColourNetwork):
    """Adds 1 to the class of every second frame."""

    num_phases = 2

    def compute_logits(self, frames: Tensor, first_index: int = 0) -> Tensor:
        return super().compute_logits(frames).roll((first_index + self.past_frames) % 2, dims=1)


@pytest.fixture
def network() -> ColourNetwork:
    torch.manual_seed(0)
    return ColourNetwork().eval()


@pytest.fixture
def coarse(camvid_root, tmp_path) -> LabelStore:
    """Coarse labels of CamVid's train split."""
    dataset = CamVid(camvid_root)
    label_coarse(dataset, "train", store=tmp_path, progress=False)
    return LabelStore(tmp_path, "coarse", dataset.taxonomy)


def filled_store(coarse: LabelStore, source: str = "filled") -> LabelStore:
    return LabelStore(coarse.root, source, coarse.taxonomy)


def fill(root, network, coarse, **options):
    settings = {"source": "coarse", "out_source": "filled", "accelerator": "cpu", "progress": False} | options
    return label_fill(CamVid(root), "train", network, store=coarse.root, **settings)


def test_only_gaps_are_filled():
    rng = np.random.default_rng(0)
    label = rng.choice([0, 3, 255], (40, 60)).astype(np.uint8)
    before = label.copy()
    seen = Prediction(rng.integers(0, 11, (40, 60)).astype(np.uint8), rng.random((40, 60)).astype(np.float32))
    filled = fill_gaps(label, seen, min_confidence=0.6)
    labelled, sure = label != 255, seen.probability >= 0.6
    assert (label == before).all()
    assert filled.label.dtype == np.uint8
    assert (filled.label[labelled] == label[labelled]).all()
    assert (filled.label[~labelled & sure] == seen.label[~labelled & sure]).all()
    assert (filled.label[~labelled & ~sure] == 255).all()
    assert filled.confidence == pytest.approx(seen.probability[~labelled & sure].mean())


def test_nothing_to_fill():
    label = np.zeros((4, 4), np.uint8)
    filled = fill_gaps(label, Prediction(label + 1, np.ones((4, 4), np.float32)))
    assert (filled.label == label).all()
    assert filled.confidence is None


def test_coarse_labels_are_filled_and_keep_what_they_have(camvid_root, coarse, network):
    dataset = CamVid(camvid_root)
    summary = fill(camvid_root, network, coarse)
    store = filled_store(coarse)
    assert (summary.written, summary.kept, summary.ignored_after) == (len(coarse.labels), 0, 0)
    assert 0.1 < summary.ignored_before < 0.9
    assert "% before, 0.0 % now" in str(summary)
    for clip in dataset.clips("train"):
        for number in clip.annotated:
            before, after = coarse.read(clip.video, number), store.read(clip.video, number)
            labelled = before != 255
            assert after[labelled].tobytes() == before[labelled].tobytes()
            frame = torch.from_numpy(dataset.read_frame(clip, number)).permute(2, 0, 1)[None] / 255
            with torch.inference_mode():
                probability, seen = network(network.preprocessing(frame)).softmax(1)[0].max(0)
            assert (after[~labelled] == seen.numpy()[~labelled]).all()
            row = store.labels[clip.video, number]
            assert row.label_kind == LabelKind.FILLED
            assert row.parents == coarse.labels[clip.video, number].parents
            assert row.confidence == pytest.approx(probability.numpy()[~labelled].mean(), abs=1e-5)


def test_filled_labels_cost_what_the_coarse_ones_cost(camvid_root, coarse, network):
    fill(camvid_root, network, coarse)
    dataset = CamVid(camvid_root)
    costs = {
        names: Mixture(parts=[MixturePart(name, seed=seed) for seed, name in enumerate(names)], store=coarse.root)
        .draw(dataset, "train")
        .cost()
        .seconds
        for names in (("coarse",), ("filled",))
    }
    assert costs["filled",] == pytest.approx(costs["coarse",])
    assert costs["filled",] > 0


def test_unsure_pixels_stay_ignored(camvid_root, coarse, network):
    shares = [
        fill(camvid_root, network, coarse, out_source=f"at{level}", min_confidence=level).ignored_after
        for level in (0.0, 0.5, 0.8, 1.0)
    ]
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert shares[0] < shares[1] < shares[2]


@pytest.mark.parametrize("network_class", [ColourNetwork, TwoPhaseNetwork])
def test_video_networks_see_their_past(cityscapes_root, tmp_path, network_class):
    torch.manual_seed(1)
    network = network_class(19, past_frames=2).eval()
    dataset = Cityscapes(cityscapes_root)
    store = LabelStore(tmp_path, "gaps", dataset.taxonomy)
    clip = dataset.clips("train")[0]
    numbers = list(clip.frames)
    height, width = dataset.clip_size(clip)
    for position in (0, 1, 4, 5):
        gaps = np.full((height, width), 255, np.uint8)
        store.write(clip.video, numbers[position], gaps, kind=LabelKind.PROPAGATED, generator="test")
    options = {"source": "gaps", "out_source": "filled", "store": tmp_path, "accelerator": "cpu", "progress": False}
    assert label_fill(dataset, "train", network, **options).written == 4
    filled = LabelStore(tmp_path, "filled", dataset.taxonomy)
    state = network.start()
    for position, number in enumerate(numbers[:6]):
        frame = torch.from_numpy(dataset.read_frame(clip, number)).permute(2, 0, 1)[None] / 255
        with torch.inference_mode():
            logits, state = network.step(network.preprocessing(frame), state)
        if position in (0, 1, 4, 5):
            assert (filled.read(clip.video, number) == logits.argmax(1)[0].numpy()).all(), position


def test_inference_and_size_are_those_asked_for(camvid_root, coarse, network):
    plain, sliding, small = (
        fill(camvid_root, network, coarse, out_source=name, **options) and filled_store(coarse, name)
        for name, options in (
            ("plain", {}),
            ("sliding", {"inference": SlidingWindow((32, 32))}),
            ("small", {"resize": (16, 32)}),
        )
    )
    video, number = next(iter(coarse.labels))
    assert (plain.read(video, number) == sliding.read(video, number)).all()  # each pixel is seen alone
    agree = (plain.read(video, number) == small.read(video, number)).mean()
    assert 0.5 < agree < 1
    assert small.labels[video, number].arguments["resize"] == [16, 32]
    assert plain.labels[video, number].arguments["weights"] == sliding.labels[video, number].arguments["weights"]


def test_void_of_manual_labels_stays_unless_asked_for(camvid_root, coarse, network, tmp_path):
    dataset = CamVid(camvid_root)
    clip = dataset.clips("train")[0]
    number = clip.annotated[0]
    manual = LabelStore(tmp_path, "copied", dataset.taxonomy)
    label = dataset.read_label(clip, number).copy()
    label[:5] = 255
    parents = [action_id("manual", "camvid", clip.video, number)]
    manual.write(clip.video, number, label, kind=LabelKind.MANUAL, generator="test", parents=parents)
    fill(camvid_root, network, coarse, source="copied", out_source="kept")
    kept = filled_store(coarse, "kept")
    assert (kept.read(clip.video, number) == label).all()
    assert kept.labels[clip.video, number].label_kind == LabelKind.MANUAL
    fill(camvid_root, network, coarse, source="copied", out_source="whole", fill_void=True)
    whole = filled_store(coarse, "whole")
    assert (whole.read(clip.video, number) != 255).all()
    assert whole.labels[clip.video, number].label_kind == LabelKind.FILLED


def test_a_second_run_makes_what_is_missing_only(camvid_root, coarse, network):
    total = fill(camvid_root, network, coarse).written
    store = filled_store(coarse)
    lost = store.path_of(*next(iter(store.labels)))
    content = lost.read_bytes()
    lost.unlink()
    summary = fill(camvid_root, network, coarse)
    assert (summary.written, summary.kept) == (1, total - 1)
    assert lost.read_bytes() == content
    with torch.no_grad():
        network.weigh.bias += 1
    with pytest.raises(LabelStoreError, match="made in another way"):
        fill(camvid_root, network, coarse)


@pytest.mark.slow
def test_two_processes_write_the_files_of_one(camvid_root, tmp_path):
    dataset = CamVid(camvid_root)
    torch.manual_seed(0)
    network = create_model("deeplabv3plus_mobilenetv2", CLASSES, decoder_channels=8)
    for devices in (1, 2):
        options = {"store": tmp_path / str(devices), "devices": devices, "accelerator": "cpu", "progress": False}
        label_coarse(dataset, "train", **options)
        label_fill(dataset, "train", network, source="coarse", out_source="filled", **options)
    for source in ("coarse", "filled"):
        one, two = (LabelStore(tmp_path / name, source, dataset.taxonomy) for name in ("1", "2"))
        assert two.manifest_path.read_bytes() == one.manifest_path.read_bytes()
        assert len(two.labels) == sum(len(clip.annotated) for clip in dataset.clips("train"))
        assert two.verify() == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out_source": "coarse"}, "the filled labels would replace their source"),
        ({"source": "manual"}, "manual labels have void pixels only, which stay as they are; fix: set fill_void"),
        ({"min_confidence": 1.5}, "min_confidence; expected 0..1; found 1.5"),
    ],
)
def test_settings_out_of_range(camvid_root, coarse, network, options, message):
    with pytest.raises(ConfigError, match=message):
        fill(camvid_root, network, coarse, **options)


def test_network_of_other_classes(camvid_root, coarse):
    with pytest.raises(ConfigError, match="expected the 11 classes of camvid; found 19 classes"):
        fill(camvid_root, ColourNetwork(19), coarse)


class TestCommand:
    def test_checkpoint(self, camvid_root, coarse, tiny_weights, capsys):
        where = ["--dataset=camvid", f"--root={camvid_root}", f"--store={coarse.root}"]
        command = ["label", "fill", *where, "--source=coarse", "--out_source=filled", "--accelerator=cpu"]
        assert main([*command, f"--weights={tiny_weights}", "--min_confidence=0.1"]) == 0
        assert f"{len(coarse.labels)} labels written to {coarse.root / 'filled'}" in capsys.readouterr().out
        assert {row.label_kind for row in filled_store(coarse).labels.values()} == {LabelKind.FILLED}

    def test_other_classes(self, cityscapes_root, tiny_weights, tmp_path, capsys):
        where = ["--dataset=cityscapes", f"--root={cityscapes_root}", f"--store={tmp_path}"]
        command = ["label", "fill", *where, "--source=coarse", "--out_source=filled"]
        assert main([*command, f"--weights={tiny_weights}"]) == 2
        message = capsys.readouterr().err
        assert "the network was trained on other classes" in message
        assert message.count("\n") == 1

    def test_missing_frame_is_listed_and_the_others_are_made(self, camvid_copy, tmp_path, tiny_weights, capsys):
        dataset = CamVid(camvid_copy)
        frames = label_coarse(dataset, "train", store=tmp_path / "s", progress=False).written
        clip = dataset.clips("train")[1]
        clip.frames[clip.annotated[1]].write_bytes(b"no image")
        where = ["--dataset=camvid", f"--root={camvid_copy}", f"--store={tmp_path / 's'}"]
        command = ["label", "fill", *where, "--source=coarse", "--out_source=filled", "--accelerator=cpu"]
        assert main([*command, f"--weights={tiny_weights}"]) == 2
        message = capsys.readouterr().err
        assert f"1 of {frames} labels could not be made" in message
        assert clip.frames[clip.annotated[1]].name in message
        assert len(LabelStore(tmp_path / "s", "filled", dataset.taxonomy).labels) == frames - 1
