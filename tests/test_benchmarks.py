from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from benchmarks import mask_noise
from benchmarks.__main__ import ITEMS, main
from benchmarks.exact_labels import mended
from benchmarks.mask_noise import by_distance, probabilities
from benchmarks.measure import Item, Outcome
from thriftseg.datasets import DAVIS
from thriftseg.lightning_modules import VideoObjectSegmentation
from thriftseg.stores import LabelStore
from thriftseg.synthetic import synthesize_objects
from thriftseg.types import LabelKind
from thriftseg.zoo import STM


@pytest.mark.parametrize(
    ("bounds", "ratio", "met"),
    [({"at_least": 6}, 6.0, True), ({"at_least": 6}, 5.9, False), ({"at_most": 1.05}, 1.06, False)],
)
def test_a_target_is_met_from_the_right_side(bounds, ratio, met):
    assert Item("x", "x", lambda: Outcome(ratio, ""), **bounds).met(Outcome(ratio, "")) is met


def test_the_memory_of_the_reference_can_have_a_target_too():
    item = Item("x", "x", lambda: Outcome(1, ""), at_least=6, memory_at_least=30)
    assert item.target == ">= 6, memory >= 30"
    assert item.met(Outcome(6, "", memory_ratio=30))
    assert not item.met(Outcome(6, "", memory_ratio=29))
    assert not item.met(Outcome(6, ""))


def test_items_have_names_of_their_own():
    names = [item.name for item in ITEMS]
    assert len(set(names)) == len(names)


def test_prints_what_it_measured_as_json(capsys):
    code = main(["--only", "boundary_iou_small", "--json"])
    row = json.loads(capsys.readouterr().out)
    assert row["name"] == "boundary_iou_small"
    assert row["ratio"] > 1
    assert code == (0 if row["met"] else 1)
    assert row["met"] == (row["ratio"] >= 6)


def test_an_unknown_item_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--only", "nothing_of_this_name"])
    assert f"choose from {ITEMS[0].name}" in capsys.readouterr().err


def test_regions_of_a_label_are_put_right_as_a_whole() -> None:
    truth, random = np.zeros((40, 40), np.uint8), np.random.default_rng(0)
    label = truth.copy()
    label[::4, ::4] = 255  # a hundred regions of two pixels
    label[::4, 1::4] = 7
    assert (mended(label, truth, 1.0, random) == truth).all()
    assert (mended(label, truth, 0.0, random) == label).all()
    half = mended(label, truth, 0.5, random)
    assert ((half[::4, ::4] == 0) == (half[::4, 1::4] == 0)).all()
    assert 35 <= (half[::4, ::4] == 0).sum() <= 65


def test_noise_of_masks_by_distance() -> None:
    truth = np.zeros((9, 9), np.uint8)
    truth[2:7, 2:7] = 1
    mask = truth.copy()
    mask[2, 2], mask[0, 0], mask[8, 8] = 0, 1, 255
    counts = by_distance(truth, mask)
    assert counts[:3].tolist() == [[40, 0, 1, 0], [40, 1, 1, 1], [1, 0, 0, 0]]  # 16 + 20 + 4 corners of distance 1.4
    assert counts[3:].sum() == 0
    assert by_distance(np.ones((9, 9), np.uint8), mask)[-1].tolist() == [81, 1, 55, 0]  # an object without a boundary


@pytest.mark.parametrize("grown", [0, 4])
def test_what_a_network_thinks_of_wrong_labels(grown: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mask_noise, "CLIPS", 2)
    synthesize_objects(tmp_path / "data", train_clips=1, val_clips=1, frames=4, height=96, width=160, devices=1)
    dataset = DAVIS(tmp_path / "data")
    store = LabelStore(tmp_path / "labels", "drawn", dataset.taxonomy)
    (clip,) = dataset.clips("train")
    for number in clip.annotated:
        mask = cv2.dilate(dataset.read_label(clip, number), np.ones((2 * grown + 1,) * 2, np.uint8))
        store.write(clip.video, number, mask, kind=LabelKind.BOXES, generator="test", space="object_id")
    network = VideoObjectSegmentation(STM("resnet18", decoder_channels=8)).eval()
    wrong, right = probabilities(network, dataset, "drawn", tmp_path / "labels", "train")
    assert len(wrong) + len(right) == 2 * 2 * 96 * 160  # two clips, two frames after the first
    assert (len(wrong) > 0) == (grown > 0)
    assert 0 <= torch.cat([wrong, right]).min() < torch.cat([wrong, right]).max() <= 1
