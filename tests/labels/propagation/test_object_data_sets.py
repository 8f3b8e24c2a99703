"""Label generators on data sets of objects: ids are carried, inspected and exported like classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from thriftseg.cli.main import main
from thriftseg.costs import CostModel
from thriftseg.datasets import VOS_DATASETS, create_vos
from thriftseg.datasets.vos.base import ids_in
from thriftseg.errors import DatasetError
from thriftseg.exchange import export_labels
from thriftseg.exchange.coco import read_coco
from thriftseg.labels import inspect_labels, label_propagate
from thriftseg.stores import LabelStore
from thriftseg.synthetic import VOS_LAYOUTS, synthesize_objects
from thriftseg.taxonomies import OBJECT_IDS

QUIET = {"progress": False}


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("objects")
    for layout in VOS_LAYOUTS:
        synthesize_objects(base / layout, layout, 3, 2, frames=6, height=48, width=80, devices=1)
    return {layout: base / layout for layout in VOS_LAYOUTS}


@pytest.mark.parametrize("name", sorted(set(VOS_DATASETS) & set(VOS_LAYOUTS)))
def test_masks_are_carried_inspected_and_exported(roots: dict[str, Path], name: str, tmp_path: Path):
    dataset = create_vos(name, roots[name])
    made = label_propagate(
        dataset, "train", "1,2", store=tmp_path, annotated_every=3, on_missing="skip", cost_model="published", **QUIET
    )
    store = LabelStore(tmp_path, "flow", OBJECT_IDS)
    assert made.written == len(store.labels) > 0
    starts = {(row.video, int(row.parents[0].rpartition("/")[2])) for row in store.labels.values()}
    clips = {clip.video: clip for clip in dataset.clips("train")}
    drawn = sum(len(ids_in(dataset.read_mask(clips[video], number))) for video, number in starts)
    assert made.cost is not None
    assert made.cost.masks == drawn
    assert made.cost.seconds == pytest.approx(drawn * CostModel.named("published").mask().seconds)
    for (video, number), row in store.labels.items():
        assert row.space == "object_id"
        stored, start = store.read(video, number), int(row.parents[0].rpartition("/")[2])
        assert set(ids_in(stored)) <= set(ids_in(dataset.read_mask(clips[video], start)))
    assert made.agreement[1].miou > 0.3

    seen = inspect_labels(dataset, "train", "flow", store=tmp_path, **QUIET)
    assert len(seen.labels) == made.written
    assert seen.cost == made.cost
    used = set().union(*(np.unique(store.read(*frame)) for frame in store.labels)) - {255}
    assert used <= set(seen.listed)
    assert len(seen.listed) < 20

    exported = export_labels(dataset, "train", tmp_path / "out", "coco", source="flow", store=tmp_path, **QUIET)
    images = read_coco(tmp_path / "out")
    assert exported.frames == len(images) == made.written
    for image in images:
        video, _, file = image.name.rpartition("/")
        number = next(n for n, path in clips[video].frames.items() if path.name == file)
        ids = store.read(video, number)
        assert {shape.label for shape in image.shapes} == {f"object {k}" for k in ids_in(ids)}
        for shape in image.shapes:
            canvas = np.zeros(ids.shape, np.uint8)
            for region in shape.regions:
                region.paint(canvas, 1)
            np.testing.assert_array_equal(canvas == 1, ids == int(shape.label.split()[1]))


def test_what_follows_objects_alone_leaves_background_beside_them(roots: dict[str, Path], tmp_path: Path):
    from thriftseg.labels import create_propagator
    from thriftseg.zoo import create_model, save_weights

    weights = tmp_path / "stm.safetensors"
    save_weights(create_model("stm_r18", pretrained=False), weights)
    method = create_propagator("stm", weights=str(weights))
    dataset = create_vos("davis", roots["davis"])
    few = {"on_missing": "skip", "annotated_every": 5}
    label_propagate(dataset, "train", "1", method=method, store=tmp_path, **few, **QUIET)
    store = LabelStore(tmp_path, "stm", OBJECT_IDS)
    values = {value for frame in store.labels for value in np.unique(store.read(*frame)).tolist()}
    assert 255 not in values
    assert 0 in values


def test_commands(roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    chosen = ["--dataset", "mose", "--root", str(roots["mose"]), "--store", str(tmp_path / "store")]
    carry = ["--offsets=1..2", "--on_missing", "skip", "--annotated_every", "3"]
    assert main(["label", "propagate", *chosen, *carry]) == 0
    capsys.readouterr()
    sheet = tmp_path / "sheet.png"
    assert main(["label", "inspect", *chosen, "--source", "flow", "--sheet", str(sheet), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["cost"]["masks"] > 0
    assert "background" in report["class_share"]
    assert sheet.is_file()
    assert (
        main(["label", "export", *chosen, "--source", "flow", "--format", "davis", "--out", str(tmp_path / "d")]) == 0
    )
    assert list((tmp_path / "d").rglob("*.png"))


def test_an_id_that_no_label_can_hold_is_named(tmp_path: Path):
    from PIL import Image

    for folder in ("JPEGImages", "Annotations"):
        (tmp_path / "train" / folder / "one").mkdir(parents=True)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "train/JPEGImages/one/00000.jpg")
    Image.fromarray(np.full((8, 8), 300, np.uint16)).save(tmp_path / "train/Annotations/one/00000.png")
    dataset = create_vos("mose", tmp_path, held_out=0.0)
    (clip,) = dataset.clips("train")
    with pytest.raises(
        DatasetError, match=r"00000\.png: an object id does not fit a label; expected 1 to 254; found 300"
    ):
        dataset.read_label(clip, 0)
