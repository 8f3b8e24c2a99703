from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from thriftseg.cli.main import main
from thriftseg.datasets import Cityscapes
from thriftseg.errors import ConfigError, LabelStoreError
from thriftseg.labels import create_prompter, inspect_labels, label_coarse, label_refine
from thriftseg.labels.refining.generate import class_ids
from thriftseg.stores.label_store import LabelStore
from thriftseg.taxonomies import CAMVID, CITYSCAPES

CAR, BUILDING, PERSON = 13, 2, 11
FRAMES = (("aachen", 0), ("aachen", 1), ("bonn", 0))


def polygon(label: str, left: int, top: int, right: int, bottom: int) -> dict:
    return {"label": label, "polygon": [[left, top], [right, top], [right, bottom], [left, bottom]]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Bright cars on a dark street, each outlined by a polygon that is a few pixels too small."""
    rng = np.random.default_rng(0)
    for city, sequence in FRAMES:
        name = f"{city}_{sequence:06d}_000019"
        image = rng.normal(60, 4, (64, 128, 3))
        image[20:44, 30:70] = rng.normal(190, 4, (24, 40, 3))
        files = {"leftImg8bit": image.clip(0, 255).astype(np.uint8), "labelIds": np.full((64, 128), 11, np.uint8)}
        files["labelIds"][24:40, 36:64] = 26
        for kind, package in (("leftImg8bit", "leftImg8bit"), ("labelIds", "gtCoarse"), ("labelIds", "gtFine")):
            ending = kind if package == "leftImg8bit" else f"{package}_{kind}"
            path = tmp_path / package / "train" / city / f"{name}_{ending}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), files[kind])
        objects = [
            polygon("building", 0, 0, 127, 63),
            polygon("car", 36, 24, 63, 39),
            polygon("cargroup", 90, 50, 99, 59),
        ]
        content = {"imgHeight": 64, "imgWidth": 128, "objects": objects}
        path = tmp_path / "gtCoarse" / "train" / city / f"{name}_gtCoarse_polygons.json"
        path.write_text(json.dumps(content))
    return tmp_path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "labels"


def refine(root: Path, store: Path, **settings):
    settings = {"store": store, "progress": False, "accelerator": "cpu", "outline": True, **settings}
    return label_refine(Cityscapes(root), "train", create_prompter("grabcut"), **settings)


def iou(label: np.ndarray) -> float:
    truth = np.zeros(label.shape, np.bool_)
    truth[20:44, 30:70] = True
    return float((truth & (label == CAR)).sum() / (truth | (label == CAR)).sum())


def test_polygons_grow_to_the_objects(root: Path, store: Path):
    summary = refine(root, store)
    assert (summary.written, summary.kept, summary.instances, summary.accepted) == (3, 0, 3, 3)
    labels = LabelStore(store, "coarse_grabcut", CITYSCAPES)
    before = iou(Cityscapes(root).read_coarse(Cityscapes(root).clips("train")[0], 19))
    assert before == pytest.approx(28 * 16 / (24 * 40))
    for city, sequence in FRAMES:
        label = labels.read(f"{city}_{sequence:06d}_000019", 19, verify=True)
        assert iou(label) > 0.95
        assert label[0, 0] == BUILDING
    row = labels.labels["aachen_000000_000019", 19]
    assert (row.kind, row.parents) == ("refined", ("coarse:cityscapes/aachen_000000_000019/000019",))
    log = json.loads(labels.path_of("aachen_000000_000019", 19).with_suffix(".instances.json").read_bytes())
    assert [(entry["class"], entry["place"], entry["area_before"], entry["accepted"]) for entry in log] == [
        ("car", 2, 448, True)
    ]
    assert len(log[0]["points"]) == 2
    assert len(log[0]["scores"]) == 3


def test_simulated_coarse_labels_bring_their_cost_along(root: Path, store: Path):
    dataset = Cityscapes(root)
    coarse = label_coarse(dataset, "train", store=store, source="drawn", progress=False)
    refine(root, store, coarse="drawn")
    refined = inspect_labels(dataset, "train", "drawn_grabcut", store=store)
    assert coarse.cost.seconds > 0
    assert refined.cost == coarse.cost


def test_a_second_run_keeps_what_is_there(root: Path, store: Path):
    refine(root, store)
    labels = LabelStore(store, "coarse_grabcut", CITYSCAPES)
    path = labels.path_of("aachen_000001_000019", 19)
    content = path.read_bytes()
    path.unlink()
    summary = refine(root, store)
    assert (summary.written, summary.kept) == (1, 2)
    assert path.read_bytes() == content
    with pytest.raises(LabelStoreError, match="holds labels that were made in another way"):
        refine(root, store, seed=1)


def test_without_polygons_it_takes_components(root: Path, store: Path):
    for path in (root / "gtCoarse").rglob("*.json"):
        path.unlink()
    summary = refine(root, store)
    assert summary.accepted == 3


def test_a_broken_frame_is_named_and_the_others_are_kept(root: Path, store: Path, capsys: pytest.CaptureFixture):
    broken = root / "leftImg8bit/train/aachen/aachen_000001_000019_leftImg8bit.png"
    broken.write_bytes(broken.read_bytes()[:200])
    command = ["label", "refine", "--dataset", "cityscapes", "--root", str(root), "--store", str(store)]
    assert main([*command, "--method", "grabcut", "--classes", "car,person", "--gate", "off"]) == 2
    message = capsys.readouterr().err
    assert "1 of 3 labels could not be made" in message
    assert str(broken) in message
    assert len(LabelStore(store, "coarse_grabcut", CITYSCAPES).labels) == 2


def test_settings():
    assert class_ids(CITYSCAPES, None) == (5, 6, 7, 11, 12, 13, 17, 18)
    assert class_ids(CAMVID, ["car"]) == (CAMVID.class_names.index("car"),)
    with pytest.raises(ConfigError, match="found lorry"):
        class_ids(CAMVID, ["lorry"])


def test_grabcut_makes_no_automatic_masks(root: Path, store: Path):
    with pytest.raises(ConfigError, match="makes no masks of its own; found grabcut; fix: take sam2"):
        refine(root, store, automatic=True)


@pytest.mark.parametrize("method", ["sam2", "amg"])
def test_refines_with_the_real_sam2(root: Path, store: Path, sam2_checkpoint: Path, method: str):
    """Random weights: what is tested is that masks come out of the true predictor and are written back."""
    settings = {"image_size": 64, "points_per_side": 2, "min_quality": 0, "min_stability": 0}
    command = ["label", "refine", "--dataset", "cityscapes", "--root", str(root), "--store", str(store)]
    options = ["--weights", str(sam2_checkpoint), "--settings", json.dumps(settings), "--accelerator", "cpu"]
    assert main([*command, "--method", method, *options]) == 0
    labels = LabelStore(store, f"coarse_{method}", CITYSCAPES)
    row = labels.labels["bonn_000000_000019", 19]
    assert row.arguments["method"] == "sam2"
    assert row.arguments["automatic"] is (method == "amg")
    log = json.loads(labels.path_of("bonn_000000_000019", 19).with_suffix(".instances.json").read_bytes())
    if method == "sam2":
        assert [entry["class"] for entry in log] == ["car"]
        assert len(set(log[0]["scores"])) == 3  # each round sees the logits of the one before
    else:
        assert log
        assert all(entry["accepted"] == (entry["class"] is not None) for entry in log)
