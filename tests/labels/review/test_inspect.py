from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from thriftseg.cli.main import main
from thriftseg.costs import CostModel
from thriftseg.datasets import CamVid
from thriftseg.errors import ConfigError, LabelStoreError
from thriftseg.labels.clicking.generate import label_clicks
from thriftseg.labels.refining.coarse import label_coarse
from thriftseg.labels.refining.fill import Prediction, fill_gaps
from thriftseg.labels.review.inspect import inspect_labels
from thriftseg.labels.review.pictures import draw_sheet, plot_by_offset, write_sheet
from thriftseg.metrics.confusion import confusion_matrix, confusion_scores
from thriftseg.stores.label_source import LabelSource
from thriftseg.stores.label_store import LabelStore
from thriftseg.stores.rows import action_id
from thriftseg.types import LabelKind


@pytest.fixture(scope="module")
def propagated(camvid_root, tmp_path_factory) -> LabelStore:
    """Labels of every other annotated frame, worse and with more gaps at a larger distance from the first one."""
    dataset = CamVid(camvid_root)
    store = LabelStore(tmp_path_factory.mktemp("labels"), "carried", dataset.taxonomy)
    rng = np.random.default_rng(0)
    for clip in dataset.clips("train"):
        first = clip.annotated[0]
        for step, number in enumerate(clip.annotated[1:], start=1):
            label = dataset.read_label(clip, number).copy()
            label[rng.random(label.shape) < 0.02 * step] = 1
            label[rng.random(label.shape) < 0.05 * step] = 255
            parents = [action_id("manual", "camvid", clip.video, first)]
            confidence = 1 - 0.1 * step
            options = {"kind": LabelKind.PROPAGATED, "generator": "test", "parents": parents, "confidence": confidence}
            store.write(clip.video, number, label, **options)
    return store


@pytest.fixture(scope="module")
def inspection(camvid_root, propagated):
    return inspect_labels(CamVid(camvid_root), "train", "carried", store=propagated.root, progress=False)


def test_figures_are_those_of_the_metrics(camvid_root, propagated, inspection):
    dataset = CamVid(camvid_root)
    matrix, ignored, pixels = torch.zeros(11, 12, dtype=torch.int64), 0, 0
    for clip in dataset.clips("train"):
        for number in clip.annotated[1:]:
            label = propagated.read(clip.video, number)
            truth = dataset.read_label(clip, number)
            matrix += confusion_matrix(torch.from_numpy(label), torch.from_numpy(truth), 11)
            ignored, pixels = ignored + np.count_nonzero(label == 255), pixels + label.size
    scores = confusion_scores(matrix)
    assert inspection.agreement.miou == pytest.approx(scores["miou"].item())
    assert inspection.agreement.iou == pytest.approx(scores["iou"].numpy(), nan_ok=True)
    hits, found = matrix.diagonal(), matrix[:, :-1]
    assert inspection.agreement.kept_share == pytest.approx((found.sum(1) / matrix.sum(1)).numpy(), nan_ok=True)
    assert inspection.agreement.precision == pytest.approx((hits / found.sum(0)).numpy(), nan_ok=True)
    assert inspection.agreement.kept_accuracy == pytest.approx((hits.sum() / found.sum()).item())
    matrix[:, -1] = 0
    assert inspection.agreement.kept_iou == pytest.approx(confusion_scores(matrix)["iou"].numpy(), nan_ok=True)
    assert inspection.agreement.kept_miou > inspection.agreement.miou
    assert inspection.ignored_share == pytest.approx(ignored / pixels)
    assert sum(inspection.class_share) == pytest.approx(1)
    assert inspection.kinds == {"propagated": len(propagated.labels)}


def test_quality_falls_with_the_offset(camvid_root, inspection):
    clip = CamVid(camvid_root).clips("train")[0]
    expected = {round(clip.offset_of(clip.annotated[0], number)) for number in clip.annotated[1:]}
    assert set(inspection.by_offset) == expected
    qualities = [part.miou for part in inspection.by_offset.values()]
    assert qualities == sorted(qualities, reverse=True)
    assert len(qualities) >= 3


def test_an_action_counts_once(camvid_root, inspection):
    dataset, model = CamVid(camvid_root), CostModel.named("polygon")
    costs = [
        model.manual_frame("camvid", dataset.read_label(clip, clip.annotated[0])) for clip in dataset.clips("train")
    ]
    assert inspection.cost.seconds == pytest.approx(sum(cost.seconds for cost in costs))
    assert inspection.cost.masks == 3 < len(inspection.labels)


def test_worst_and_spread(inspection):
    accuracies = [entry.accuracy for entry in inspection.labels]
    assert [entry.accuracy for entry in inspection.worst(3)] == sorted(accuracies)[:3]
    assert inspection.spread(100) == list(inspection.labels)
    assert inspection.spread(2) == [inspection.labels[0], inspection.labels[-1]]


def test_coarse_labels_keep_their_recorded_cost(camvid_root, tmp_path):
    dataset = CamVid(camvid_root)
    summary = label_coarse(dataset, "train", store=tmp_path, progress=False)
    found = inspect_labels(dataset, "train", "coarse", store=tmp_path, progress=False)
    assert found.cost.seconds == pytest.approx(summary.cost.seconds)
    assert found.by_offset == {}
    assert found.confidence is None
    assert found.ignored_share == pytest.approx(summary.ignored_share, abs=1e-5)
    with pytest.raises(LabelStoreError, match="priced by another cost model; expected published; found polygon"):
        inspect_labels(dataset, "train", "coarse", store=tmp_path, cost_model="published", progress=False)


def test_clicks_and_manual_labels(camvid_root, tmp_path):
    dataset = CamVid(camvid_root)
    clicks = label_clicks(dataset, "train", store=tmp_path, progress=False)
    found = inspect_labels(dataset, "train", "clicks", store=tmp_path, progress=False)
    assert sum(int(entry.counts[:-1].sum()) for entry in found.labels) == clicks.clicks
    assert found.agreement.kept_miou == 1
    assert found.cost == clicks.cost
    picture = draw_sheet(LabelSource(dataset, tmp_path, "clicks"), found.spread(1))
    assert picture.shape[1] == 400
    manual = inspect_labels(dataset, "train", "manual", store=tmp_path, progress=False)
    assert manual.agreement is None
    assert manual.kinds == {"manual": clicks.images}
    assert manual.to_json()["agreement"] is None


def test_filled_labels_are_compared_too(camvid_root, propagated, inspection):
    dataset = CamVid(camvid_root)
    store = LabelStore(propagated.root, "filled", dataset.taxonomy)
    for (video, number), row in propagated.labels.items():
        clip = next(clip for clip in dataset.clips("train") if clip.video == video)
        truth = dataset.read_label(clip, number)
        seen = Prediction(np.where(truth == 255, 0, truth).astype(np.uint8), np.ones(truth.shape, np.float32))
        label = fill_gaps(propagated.read(video, number), seen).label
        store.write(video, number, label, kind=LabelKind.FILLED, generator="test", parents=row.parents)
    filled = inspect_labels(dataset, "train", "filled", store=propagated.root, progress=False)
    assert inspection.agreement.miou < filled.agreement.miou == filled.agreement.kept_miou
    assert filled.ignored_share == 0
    assert set(filled.by_offset) == set(inspection.by_offset)


def test_sheet(camvid_root, propagated, inspection, tmp_path):
    labels = LabelSource(CamVid(camvid_root), propagated.root, "carried")
    picture = draw_sheet(labels, inspection.worst(5), columns=3)
    assert picture.shape[1] == 3 * 400 + 2 * 4
    assert picture.shape[0] > 2 * (200 + 22)
    path = write_sheet(picture, tmp_path / "deep/sheet.png")
    assert Image.open(path).size == (picture.shape[1], picture.shape[0])
    with pytest.raises(ConfigError, match="the sheet is a PNG"):
        write_sheet(picture, tmp_path / "sheet.jpg")
    with pytest.raises(ConfigError, match="at least 1 label and 1 column; found 0 labels, 4 columns"):
        draw_sheet(labels, [])


def test_plot(inspection, tmp_path):
    path = plot_by_offset(inspection.by_offset, tmp_path / "plot.png")
    assert Image.open(path).size[0] > 600
    assert plot_by_offset(inspection.by_offset, tmp_path / "plot.svg").read_text().startswith("<?xml")
    with pytest.raises(ConfigError, match="no such format of a plot"):
        plot_by_offset(inspection.by_offset, tmp_path / "plot.txt")
    with pytest.raises(ConfigError, match="no quality to plot against offset"):
        plot_by_offset({}, tmp_path / "plot.png")


def test_missing_source(camvid_root, tmp_path):
    with pytest.raises(LabelStoreError, match="source 'none' has no labels for split 'train' of camvid"):
        inspect_labels(CamVid(camvid_root), "train", "none", store=tmp_path)


def test_an_action_that_nobody_recorded(camvid_root, tmp_path):
    dataset = CamVid(camvid_root)
    clip = dataset.clips("train")[0]
    store = LabelStore(tmp_path, "odd", dataset.taxonomy)
    label = dataset.read_label(clip, clip.annotated[0])
    store.write(clip.video, clip.annotated[0], label, kind=LabelKind.COARSE, generator="test", parents=["coarse:x"])
    with pytest.raises(LabelStoreError, match=r"an action that nobody recorded.*found coarse:x"):
        inspect_labels(dataset, "train", "odd", store=tmp_path, progress=False)


class TestCommand:
    def test_tables_sheet_and_plot(self, camvid_root, propagated, inspection, tmp_path, capsys, monkeypatch):
        monkeypatch.setenv("COLUMNS", "120")
        where = ["--dataset=camvid", f"--root={camvid_root}", f"--store={propagated.root}", "--source=carried"]
        outputs = [f"--sheet={tmp_path / 's.png'}", f"--plot={tmp_path / 'p.png'}", f"--json={tmp_path / 'r.json'}"]
        assert main(["label", "inspect", *where, *outputs, "--frames=3", "--order=spread"]) == 0
        out = capsys.readouterr().out
        assert f"mIoU {100 * inspection.agreement.miou:.1f} % with ignored" in out
        assert f"manual work behind them: {inspection.cost.hours:.2f} h (cost model polygon)" in out
        for name in ("s.png", "p.png", "r.json"):
            assert f"written: {tmp_path / name}" in out
        assert json.loads((tmp_path / "r.json").read_text()) == inspection.to_json()

    def test_json_alone_on_stdout(self, camvid_root, propagated, inspection, capsys):
        where = ["--dataset=camvid", f"--root={camvid_root}", f"--store={propagated.root}", "--source=carried"]
        assert main(["label", "inspect", *where, "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["agreement"]["miou"] == inspection.agreement.miou
        assert report["by_offset"].keys() == {str(offset) for offset in inspection.by_offset}

    def test_damaged_label(self, camvid_root, tmp_path, capsys):
        dataset = CamVid(camvid_root)
        label_coarse(dataset, "train", store=tmp_path, progress=False)
        store = LabelStore(tmp_path, "coarse", dataset.taxonomy)
        path = store.path_of(*next(iter(store.labels)))
        path.write_bytes(path.read_bytes()[:-20])
        where = ["--dataset=camvid", f"--root={camvid_root}", f"--store={tmp_path}", "--source=coarse"]
        assert main(["label", "inspect", *where]) == 2
        message = capsys.readouterr().err
        assert "1 of " in message
        assert str(path) in message
