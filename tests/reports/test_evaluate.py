from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import shutil
from itertools import pairwise
from pathlib import PurePosixPath

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from thriftseg.datasets.images import read_frame, write_label_png
from thriftseg.datasets.registry import VOS_DATASETS
from thriftseg.errors import ConfigError, DatasetError
from thriftseg.flow import DIS, FlowStore
from thriftseg.metrics import BoundaryIoU, ConfusionScores, JAndF, TemporalConsistency, class_totals, semantic_scores
from thriftseg.metrics.confusion import confusion_scores
from thriftseg.reports.evaluate import evaluate
from thriftseg.reports.scoring.bootstrap import Resampling
from thriftseg.reports.scoring.classes import category_iou
from thriftseg.reports.scoring.layouts import FOLDER_LAYOUTS
from thriftseg.reports.scoring.tables import print_evaluation
from thriftseg.taxonomies import CAMVID, CITYSCAPES

SIZE = (24, 32)


def blobs(rng, ids, size=SIZE):
    """A map of 4x4 patches."""
    patches = rng.choice(ids, (size[0] // 4, size[1] // 4)).astype(np.uint8)
    return patches.repeat(4, axis=0).repeat(4, axis=1)


def noisy(rng, label, ids):
    """About a quarter of the patches changed, everything shifted by a pixel."""
    changed = blobs(rng, ids, label.shape)
    where = blobs(rng, [0, 0, 0, 1], label.shape) == 1
    return np.roll(np.where(where, changed, label), 1, axis=1).astype(np.uint8)


def read(path):
    return np.array(Image.open(path))


def run(pred, gt, layout="camvid", metrics=None, **settings):
    return evaluate(pred, gt, layout, metrics, **{"devices": 1, "progress": False} | settings)


@pytest.fixture(scope="module")
def camvid(tmp_path_factory):
    """Truth and predictions of six recordings, at 1 Hz; the first one lacks the class `pole`."""
    root, rng = tmp_path_factory.mktemp("camvid"), np.random.default_rng(0)
    for recording in range(6):
        for number in (0, 30, 60):
            ids = [0, 1, 3, 4, 11] if recording == 0 else [0, 1, 2, 3, 4, 11]
            label = blobs(rng, ids)
            write_label_png(root / "data/testannot" / f"R{recording}_{number:05d}.png", label)
            pred = noisy(rng, np.where(label == 11, 255, label), [0, 1, 2, 3, 255])
            write_label_png(root / "pred" / f"R{recording}_{number:05d}.png", pred, CAMVID.flat_palette())
    return root / "pred", root / "data"


@pytest.fixture
def copies(tmp_path, camvid):
    """Predictions and truth that a test may spoil."""
    for name, folder in zip(("pred", "data"), camvid, strict=True):
        shutil.copytree(folder, tmp_path / name)
    return tmp_path / "pred", tmp_path / "data"


@pytest.fixture(scope="module")
def davis(tmp_path_factory):
    """Two sequences of four frames with two and one objects."""
    root, rng = tmp_path_factory.mktemp("davis"), np.random.default_rng(1)
    for video, ids in (("bear", [0, 1, 2]), ("swan", [0, 1])):
        for number in range(4):
            label = blobs(rng, ids)
            write_label_png(root / "data/Annotations/480p" / video / f"{number:05d}.png", label)
            write_label_png(root / "pred" / video / f"{number:05d}.png", noisy(rng, label, ids))
    return root / "pred", root / "data"


def by_hand(metric, pred, gt):
    for path in sorted((gt / "testannot").iterdir()):
        label = CAMVID.to_train_ids(read(path))
        metric.update(torch.from_numpy(read(pred / path.name))[None], torch.from_numpy(label)[None])
    return metric.compute()


def test_scores_equal_the_metrics(camvid):
    report = run(*camvid, metrics=["miou", "boundary_iou"], boundary_width=1)
    expected = by_hand(ConfusionScores(11), *camvid)
    for name in ("miou", "macc", "pixel_accuracy", "fwiou"):
        assert report.scores[name].value == pytest.approx(expected[name].item(), abs=1e-12)
    np.testing.assert_allclose(report.per_class["iou"], expected["iou"], atol=1e-12)
    np.testing.assert_allclose(report.per_class["accuracy"], expected["accuracy"], atol=1e-12)
    np.testing.assert_array_equal(report.confusion, expected["confusion"])
    boundary = by_hand(BoundaryIoU(11, width=1), *camvid)
    assert report.scores["boundary_iou"].value == pytest.approx(boundary["boundary_iou"].item(), abs=1e-12)
    np.testing.assert_allclose(report.per_class["boundary_iou"], boundary["per_class"], atol=1e-12)
    assert (report.frames, report.videos, report.settings["pred_ids"]) == (18, 6, "either")


@pytest.mark.parametrize("settings", [{"boundary_ratio": 0.05}, {"void": "none"}])
def test_rules_of_the_boundary(camvid, settings):
    renamed = {{"boundary_ratio": "ratio"}.get(name, name): value for name, value in settings.items()}
    expected = by_hand(BoundaryIoU(11, **renamed), *camvid)["boundary_iou"].item()
    assert run(*camvid, metrics=["boundary_iou"], **settings).scores["boundary_iou"].value == pytest.approx(expected)


def test_scores_per_video_are_those_of_the_video_alone(camvid, tmp_path):
    row = run(*camvid, resamples=0).per_video[2]
    assert (row.video, row.frames) == ("R2", 3)
    for path in (camvid[1] / "testannot").glob("R2_*"):
        write_label_png(tmp_path / "testannot" / path.name, read(path))
    alone = run(camvid[0], tmp_path)
    assert {name: score.value for name, score in alone.scores.items()} == row.scores


def test_two_processes_give_the_report_of_one(camvid, davis):
    def plain(report):
        return dataclasses.replace(report, settings={}).to_json()

    assert plain(run(*camvid, devices=2)) == plain(run(*camvid, devices=1))


def test_the_interval_is_that_of_a_slow_bootstrap(camvid):
    report = run(*camvid, resamples=200, seed=3)
    matrices = []
    for recording in range(6):
        metric = ConfusionScores(11)
        for path in (camvid[1] / "testannot").glob(f"R{recording}_*"):
            label = CAMVID.to_train_ids(read(path))
            metric.update(torch.from_numpy(read(camvid[0] / path.name)), torch.from_numpy(label))
        matrices.append(metric.confusion)
    draws = np.random.default_rng(3).integers(0, 6, (200, 6))
    values = [confusion_scores(sum(matrices[index] for index in draw))["miou"].item() for draw in draws]
    score = report.scores["miou"]
    assert (score.low, score.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=1e-12)
    assert score.low < score.value < score.high
    assert (score.unit, score.units) == ("video", 6)


def test_few_videos_are_drawn_by_the_second(copies):
    pred, data = copies
    for path in (data / "testannot").glob("R[2-5]*"):
        path.unlink()
    score = run(pred, data).scores["miou"]
    assert (score.unit, score.units) == ("second", 6)  # two recordings, three frames one second apart
    assert score.low < score.high
    assert run(pred, data, fps=15).scores["miou"].units == 6  # seconds without a frame do not count
    assert run(pred, data, fps=60).scores["miou"].units == 4
    single = run(pred, data, fps=1000).scores["miou"]
    assert single.units == 2
    for path in (data / "testannot").glob("R1*"):
        path.unlink()
    single = run(pred, data, fps=1000).scores["miou"]
    assert single.units == 1
    assert math.isnan(single.low)
    assert math.isnan(single.high)


def test_draws_are_pooled_exactly():
    counts = np.arange(12).reshape(3, 4)
    resampling = Resampling.draw(units=3, resamples=5, seed=1)
    draws = np.random.default_rng(1).integers(0, 3, (5, 3))
    np.testing.assert_array_equal(resampling.pool(counts), [counts[draw].sum(axis=0) for draw in draws])


def test_surplus_predictions_are_a_warning(copies):
    pred, data = copies
    write_label_png(pred / "R9_00000.png", np.zeros(SIZE, np.uint8))
    write_label_png(pred / "overview.png", np.zeros(SIZE, np.uint8))
    (warning,) = run(pred, data).warnings
    assert (
        warning == "2 PNGs among the predictions belong to nothing that is scored: pred/R9_00000.png, pred/overview.png"
    )


@pytest.mark.parametrize("kind", ["same", "link", "root", "copy", "hard links"])
def test_the_truth_is_refused_as_prediction(copies, tmp_path, kind):
    pred, data = copies
    target = {"same": data / "testannot", "root": data}.get(kind, tmp_path / "other")
    if kind == "link":
        target.symlink_to(data / "testannot")
    elif kind == "copy":
        shutil.copytree(data / "testannot", target)
    elif kind == "hard links":
        shutil.copytree(pred, target)
        (target / "R0_00030.png").unlink()
        (target / "R0_00030.png").hardlink_to(data / "testannot/R0_00030.png")
    messages = {
        "copy": "byte for byte",
        "root": "the file of the true label itself",
        "hard links": "R0_00030.png: a pred",
    }
    with pytest.raises(DatasetError, match=messages.get(kind, "are the same folder")):
        run(target, data)


def spoil_size(pred):
    write_label_png(pred / "R1_00030.png", np.zeros((SIZE[0], SIZE[1] - 1), np.uint8))


def spoil_id(pred):
    write_label_png(pred / "R1_00030.png", np.full(SIZE, 77, np.uint8))


def spoil_bytes(pred):
    path = pred / "R1_00030.png"
    path.write_bytes(path.read_bytes()[:60])


def spoil_name(pred):
    shutil.copy(pred / "R1_00030.png", pred / "R1_f030.png")


def spoil_colours(pred):
    Image.new("RGB", SIZE[::-1], (1, 2, 3)).save(pred / "R1_00030.png")


def empty(pred):
    for path in pred.iterdir():
        path.unlink()
    (pred / "notes.txt").write_text("")


def remove_two(pred):
    (pred / "R1_00030.png").unlink()
    (pred / "R2_00060.png").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            spoil_size,
            r"R1_00030.png: sizes differ; expected 32x24 as .*testannot/R1_00030.png; found 31x24; fix: resize",
        ),
        (spoil_id, r"R1_00030.png: ids outside the class table 'camvid'; .*found 77"),
        (spoil_bytes, r"R1_00030.png: cannot decode the image"),
        (spoil_name, r"two predictions for frame 30 of R1; found "),
        (spoil_colours, r"R1_00030.png: colours outside the class table.*found \(1, 2, 3\) at row 0, column 0"),
        (empty, r"no predictions in this folder; .*found 1 files, such as notes.txt"),
        (
            remove_two,
            r"2 of 18 labelled frames have no prediction; .*for R1_00030.png, R2_00060.png; found 16 PNGs, such as R0",
        ),
    ],
)
def test_faults_of_predictions_are_told(copies, spoil, message):
    pred, data = copies
    spoil(pred)
    with pytest.raises(DatasetError, match=message):
        run(pred, data)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layout": "kitti"}, "no such layout; expected cityscapes"),
        ({"metrics": ["iou"]}, "no such metric; expected miou, boundary_iou, tc, jf; found iou"),
        ({"metrics": ["jf"]}, "jf compares objects; found layout camvid"),
        ({"split": "night"}, "no such split; found night"),
        ({"devices": 0}, "number of devices; expected at least 1; found 0"),
        ({"resamples": -1}, "number of bootstrap resamples"),
        ({"fps": 0.0}, "fps is out of range"),
        ({"boundary_width": 0}, "width of the boundary is out of range"),
        ({"boundary_ratio": 1.5}, "ratio of the boundary is out of range"),
        ({"void": "keep"}, "unknown void rule"),
        ({"metrics": ["tc"], "flow_weights": "raft.pth"}, "DIS has no weights"),
        ({"metrics": ["tc"]}, "temporal consistency needs the pictures of the frames"),
        ({"layout": "davis", "metrics": ["miou"]}, "miou needs classes; found layout davis"),
    ],
)
def test_settings_that_cannot_be(camvid, settings, message):
    with pytest.raises(ConfigError, match=message):
        run(*camvid, **settings)


def test_colours_are_read_by_the_class_table(camvid, tmp_path):
    palette = np.zeros((256, 3), np.uint8)
    palette[: CAMVID.num_classes] = CAMVID.palette
    for path in camvid[0].iterdir():
        Image.fromarray(palette[read(path)]).save(tmp_path / path.name)
    coloured, expected = run(tmp_path, camvid[1]), run(*camvid)
    np.testing.assert_array_equal(coloured.confusion, expected.confusion)


def test_sixteen_bit_ids(camvid, tmp_path):
    for path in camvid[0].iterdir():
        Image.fromarray(read(path).astype(np.uint16)).save(tmp_path / path.name)
    np.testing.assert_array_equal(run(tmp_path, camvid[1]).confusion, run(*camvid).confusion)
    Image.fromarray(np.full(SIZE, 260, np.uint16)).save(tmp_path / "R0_00000.png")
    with pytest.raises(DatasetError, match=r"R0_00000.png: ids outside the class table 'camvid'.*found 260"):
        run(tmp_path, camvid[1])


def write_cityscapes(root, pred_ids, gt_ids=(7, 8, 11, 21, 23, 26, 0)):
    """Three labelled frames; predictions named as submissions are."""
    rng = np.random.default_rng(5)
    for city, sequence, number in (("ulm", 0, 19), ("ulm", 1, 19), ("bonn", 0, 294)):
        name = f"{city}_{sequence:06d}_{number:06d}"
        truth = root / "data/gtFine/val" / city
        write_label_png(truth / f"{name}_gtFine_labelIds.png", blobs(rng, gt_ids))
        write_label_png(truth / f"{name}_gtFine_color.png", blobs(rng, [99]))
        write_label_png(root / "pred/results" / f"{name}_leftImg8bit_run7.png", blobs(rng, pred_ids))
    return root / "pred", root / "data"


def test_label_ids_and_train_ids_give_equal_scores(tmp_path):
    label_ids = write_cityscapes(tmp_path / "label", [7, 8, 11, 21, 23, 26, 3])
    train_ids = write_cityscapes(tmp_path / "train", CITYSCAPES.lookup()[[7, 8, 11, 21, 23, 26, 3]])
    reports = [run(*folders, layout="cityscapes") for folders in (label_ids, train_ids)]
    assert [report.settings["pred_ids"] for report in reports] == ["label", "train"]
    assert reports[0].settings["gt_ids"] == "label"
    assert reports[0].settings["split"] == "val"
    assert [row.video for row in reports[0].per_video] == [
        "bonn_000000_000294",
        "ulm_000000_000019",
        "ulm_000001_000019",
    ]
    np.testing.assert_array_equal(reports[0].confusion, reports[1].confusion)
    assert reports[0].confusion[:, -1].any()


@pytest.mark.parametrize(
    ("pred_ids", "choice", "message"),
    [
        (
            [7, 8, 11],
            "auto",
            "cannot tell label ids from train ids.*fix: say which with --pred_ids label or --pred_ids",
        ),
        ([7, 26], "train", "ids outside the class table 'cityscapes'; expected train ids.*fix: pass --pred_ids label"),
        ([0, 13, 255], "label", "ids outside the class table.*found 255; fix: pass --pred_ids train"),
        ([21, 255], "auto", "ids outside the class table.*found 255"),
    ],
)
def test_ids_that_contradict_the_choice(tmp_path, pred_ids, choice, message):
    with pytest.raises(DatasetError, match=message):
        run(*write_cityscapes(tmp_path, pred_ids), layout="cityscapes", pred_ids=choice)


def test_train_ids_taken_for_label_ids_are_doubted(tmp_path):
    report = run(*write_cityscapes(tmp_path, [0, 1, 2, 13]), layout="cityscapes", pred_ids="label")
    assert report.warnings == ("more than half of the labelled pixels are predicted as no class: check --pred_ids",)


def test_categories_are_those_of_the_benchmark(reference_golden):
    golden = json.loads(reference_golden("cityscapes_miou").read_text())
    train_id = {row.id: row.train_id if not row.ignored else 19 for row in CITYSCAPES.table}
    for case in golden["cases"]:
        confusion = np.zeros((20, 20), np.int64)
        for ids, count in case["confusion_nonzero_gt_id,pred_id"].items():
            truth, pred = (train_id[int(value)] for value in ids.split(","))
            confusion[truth, pred] += count
        found = category_iou(confusion[:19], CITYSCAPES)
        expected = {name: value for name, value in case["category_iou"].items() if value is not None}
        assert {name: value for name, value in found.items() if not math.isnan(value)} == pytest.approx(
            expected, abs=1e-9
        )
        assert semantic_scores(class_totals(confusion[:19]))["miou"] == pytest.approx(case["mIoU"], abs=1e-9)


def test_scores_of_nothing_are_nan():
    scores = semantic_scores(np.zeros((2, 3, 4), np.int64))
    assert all(np.isnan(values).all() and values.shape == (2,) for values in scores.values())


@pytest.mark.parametrize("rule", ["thriftseg", "vspw", "etc"])
def test_tc_equals_the_metric(cityscapes_root, tmp_path, rule):
    """Predictions cover whole clips, of which one frame is labelled."""
    rng = np.random.default_rng(2)
    expected, pairs, flow = TemporalConsistency(19, rule=rule), 0, FlowStore(None, DIS())
    for clip in sorted((cityscapes_root / "leftImg8bit_sequence/val").rglob("*.png")):
        write_label_png(tmp_path / clip.name, noisy(rng, blobs(rng, [0, 1, 13], (64, 128)), [2, 8, 255]))
    names = sorted(path.name for path in tmp_path.iterdir())
    for before, after in pairwise(names):
        if before[:-23] == after[:-23]:  # all but the number
            frames = [next((cityscapes_root / "leftImg8bit_sequence/val").rglob(name)) for name in (before, after)]
            both = torch.from_numpy(flow.both("clip", 0, 1, *(read_frame(path) for path in frames)))
            previous, current = (torch.from_numpy(read(tmp_path / name))[None] for name in (before, after))
            expected.update(current, previous, both[:1], both[1:])
            pairs += 1
    report = run(tmp_path, cityscapes_root, "cityscapes", ["tc"], tc_rule=rule, flow_store=tmp_path / "flow")
    assert report.scores["tc"].value == pytest.approx(expected.compute()["tc"].item(), abs=1e-12)
    np.testing.assert_allclose(report.per_class["tc"], expected.compute()["per_class"], atol=1e-12)
    assert (report.pairs, report.frames, report.flow) == (pairs, 0, "DIS(preset='medium')")
    assert pairs == sum(row.pairs for row in report.per_video) == 14


def test_tc_needs_adjacent_predictions(cityscapes_root, tmp_path):
    for path in (cityscapes_root / "gtFine/val").rglob("*_labelIds.png"):
        write_label_png(tmp_path / path.name, np.zeros_like(read(path)))
    with pytest.raises(
        DatasetError, match=r"predictions of adjacent frames.*found 2 predictions in 2 videos, 2 of them"
    ):
        run(tmp_path, cityscapes_root, "cityscapes", ["tc"])


def sequence(folder):
    return torch.from_numpy(np.stack([read(path) for path in sorted(folder.iterdir())]))


@pytest.mark.parametrize("protocol", ["davis", "all_frames", "present_frames", "youtube_vos"])
def test_jf_equals_the_metric(davis, protocol):
    pred, data = davis
    metric = JAndF(protocol)
    for video in ("bear", "swan"):
        metric.update(sequence(pred / video), sequence(data / "Annotations/480p" / video), video)
    expected = metric.compute()
    report = run(pred, data, "davis", jf_protocol=protocol)
    for name, score in report.scores.items():
        assert score.value == pytest.approx(float(expected[name]), abs=1e-12)
    assert [(row.video, row.object) for row in report.per_object] == [("bear", 1), ("bear", 2), ("swan", 1)]
    mean = np.mean([row.scores["j_mean"] for row in report.per_object[:2]])
    assert report.per_video[0].scores["j_mean"] == pytest.approx(mean)


def test_the_interval_of_objects_over_seconds(davis):
    """One frame per second: the four seconds of each sequence are drawn with those of the other."""
    report = run(*davis, "davis", jf_protocol="all_frames", fps=1, resamples=50)
    score = report.scores["j_mean"]
    assert (score.unit, score.units) == ("second", 8)
    j = {}
    for video, ids in (("bear", (1, 2)), ("swan", (1,))):
        pred, target = sequence(davis[0] / video), sequence(davis[1] / "Annotations/480p" / video)
        for k in ids:
            both, either = (pred == k) & (target == k), (pred == k) | (target == k)
            j[video, k] = (both.sum((1, 2)) / either.sum((1, 2))).double().numpy()
    blocks = [(video, second) for video in ("bear", "swan") for second in range(4)]
    values = []
    for draw in np.random.default_rng(0).integers(0, 8, (50, 8)):
        drawn = {key: [j[key][s] for v, s in (blocks[b] for b in draw) if v == key[0]] for key in j}
        values.append(np.mean([np.mean(frames) for frames in drawn.values() if frames]))
    assert (score.low, score.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=1e-6)
    assert math.isnan(report.scores["j_decay"].low)


def test_objects_of_many_videos_are_drawn_by_video(davis, tmp_path):
    for copy in range(3):
        for video in ("bear", "swan"):
            shutil.copytree(davis[0] / video, tmp_path / f"pred/{video}{copy}")
            shutil.copytree(davis[1] / "Annotations/480p" / video, tmp_path / f"gt/{video}{copy}")
    report = run(tmp_path / "pred", tmp_path / "gt", "tao_vos", resamples=40)
    names = sorted({row.video for row in report.per_object})
    rows = [[row.scores["j_decay"] for row in report.per_object if row.video == name] for name in names]
    draws = np.random.default_rng(0).integers(0, 6, (40, 6))
    values = [np.mean([value for index in draw for value in rows[index]]) for draw in draws]
    score = report.scores["j_decay"]
    assert (score.low, score.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=1e-12)
    assert (score.unit, score.units, report.settings["jf_protocol"]) == ("video", 6, "all_frames")


@pytest.mark.parametrize("layout", ["davis", "youtube_vos", "mose", "tao_vos"])
def test_predictions_are_scored_by_the_rules_that_training_is_validated_by(davis, tmp_path, layout):
    """Copies of the sequences in the layout; the protocol of the reader decides."""
    below = "Annotations/480p" if layout == "davis" else "Annotations"
    shutil.copytree(davis[1] / "Annotations/480p", tmp_path / below)
    protocol = VOS_DATASETS[layout]().protocol
    report = run(davis[0], tmp_path / below, layout, resamples=0)
    assert report.settings["jf_protocol"] == protocol
    metric = JAndF(protocol)
    for video in ("bear", "swan"):
        metric.update(sequence(davis[0] / video), sequence(tmp_path / below / video), video)
    assert report.scores["jf_mean"].value == pytest.approx(float(metric.compute()["jf_mean"]), abs=1e-12)


def test_mose_leaves_the_frame_out_that_introduces_an_object(davis, tmp_path):
    """A first frame that is wrong costs nothing, as it was given; by other rules it does."""
    pred = shutil.copytree(davis[0], tmp_path / "pred")
    for video in ("bear", "swan"):
        first = pred / video / "00000.png"
        write_label_png(first, np.zeros_like(read(first)))
    gt = davis[1] / "Annotations/480p"
    assert run(pred, gt, "mose").scores["jf_mean"] == run(davis[0], gt, "mose").scores["jf_mean"]
    other = run(pred, gt, "mose", jf_protocol="all_frames").scores["jf_mean"].value
    assert other < run(pred, gt, "mose").scores["jf_mean"].value


def test_davis_frames_that_do_not_count_need_no_prediction(davis, tmp_path):
    pred, data = davis
    for video in ("bear", "swan"):
        for number in (1, 2):
            (tmp_path / video).mkdir(exist_ok=True)
            shutil.copy(pred / video / f"{number:05d}.png", tmp_path / video)
    assert run(tmp_path, data, "davis").scores == run(pred, data, "davis").scores
    with pytest.raises(DatasetError, match=r"4 of 8 labelled frames have no prediction.*bear/00000.png"):
        run(tmp_path, data, "davis", jf_protocol="all_frames")


def test_objects_need_ids(davis, tmp_path):
    shutil.copytree(davis[0], tmp_path / "pred")
    path = tmp_path / "pred/bear/00001.png"
    Image.new("RGB", SIZE[::-1]).save(path)
    with pytest.raises(DatasetError, match=r"bear/00001.png: a label map with colours instead of ids"):
        run(tmp_path / "pred", davis[1], "davis")


def test_sixteen_bit_objects(davis, tmp_path):
    for path in davis[0].glob("*/*.png"):
        (tmp_path / path.parent.name).mkdir(exist_ok=True)
        Image.fromarray(read(path).astype(np.uint16)).save(tmp_path / path.parent.name / path.name)
    assert run(tmp_path, davis[1], "davis").scores == run(*davis, "davis").scores
    Image.fromarray(np.full(SIZE, 300, np.uint16)).save(tmp_path / "bear/00001.png")
    with pytest.raises(DatasetError, match=r"bear/00001.png: ids that no object can have; .*found 300 to 300"):
        run(tmp_path, davis[1], "davis")


def test_objects_without_a_frame_that_counts(tmp_path):
    for folder in ("pred", "gt"):
        write_label_png(tmp_path / folder / "owl/00000.png", np.eye(*SIZE, k=len(folder), dtype=np.uint8))
    with pytest.raises(DatasetError, match=r"no object has a frame that counts; .*found 1 objects in 1 labelled"):
        run(tmp_path / "pred", tmp_path / "gt", "youtube_vos")
    assert run(tmp_path / "pred", tmp_path / "gt", "tao_vos").frames == 1


def test_numbers_off_by_one_and_copies_are_doubted(davis, tmp_path):
    for path in (davis[1] / "Annotations/480p").glob("*/*.png"):
        write_label_png(tmp_path / "copy" / path.parent.name / path.name, read(path), CAMVID.flat_palette())
        write_label_png(tmp_path / "late" / path.parent.name / f"{int(path.stem) + 1:05d}.png", read(path))
    (warning,) = run(tmp_path / "copy", davis[1], "davis").warnings
    assert warning == "every object is right in every frame: make sure that --pred is no copy of the truth"
    (warning,) = run(tmp_path / "late", davis[1], "davis").warnings
    assert warning.startswith("2 PNGs among the predictions belong to nothing that is scored: bear/00004.png")


def test_a_split_may_be_a_list_of_videos(davis, tmp_path):
    pred, data = davis
    shutil.copytree(data, tmp_path / "data")
    lists = tmp_path / "data/ImageSets/2017"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("swan\n")
    report = run(pred, tmp_path / "data/Annotations/480p", "davis")
    assert (report.videos, report.settings["split"]) == (1, "val")
    assert report.warnings[0].startswith(
        "4 PNGs among the predictions belong to nothing that is scored: bear/00000.png"
    )
    assert run(pred, tmp_path / "data", "davis", split="all").videos == 2
    with pytest.raises(ConfigError, match="no such split; found train"):
        run(pred, tmp_path / "data", "davis", split="train")
    (lists / "val.txt").write_text("swan\nlion\n")
    with pytest.raises(DatasetError, match=r"val.txt: lists 1 videos without labels; found lion"):
        run(pred, tmp_path / "data", "davis")
    (lists / "val.txt").write_text("\n")
    with pytest.raises(DatasetError, match=r"val.txt: lists no video"):
        run(pred, tmp_path / "data", "davis")


def test_own_clips_with_their_class_table(folder_root, tmp_path):
    """Predictions as `thriftseg predict --out predictions/CLIP` writes them; classes and objects at once."""
    rng = np.random.default_rng(4)
    labels = folder_root / "val/street3/labels"
    for path in labels.iterdir():
        write_label_png(tmp_path / "street3/labels" / path.name, noisy(rng, read(path), [0, 1, 2]))
    for number in (0, 2, 4):
        write_label_png(tmp_path / "street3/labels" / f"{number:06d}.png", blobs(rng, [0, 1, 2], (64, 128)))
    (tmp_path / "street3/overlay.png").write_bytes(b"no label")
    report = run(tmp_path, folder_root, "folder", ["miou", "tc", "jf"])
    metric = ConfusionScores(3)
    for path in labels.iterdir():
        metric.update(torch.from_numpy(read(tmp_path / "street3/labels" / path.name)), torch.from_numpy(read(path)))
    assert report.scores["miou"].value == pytest.approx(metric.compute()["miou"].item(), abs=1e-12)
    assert report.class_names == ["ground", "vehicle", "other"]
    assert (report.frames, report.pairs) == (3, 5)
    assert {"tc", "jf_mean"} <= set(report.scores)
    assert run(tmp_path / "street3", labels, "folder", ["miou"], classes=folder_root / "classes.yaml").frames == 3


def test_every_label_counts_once_where_all_frames_are_labelled(cityscapes_root, tmp_path):
    labels = cityscapes_root / "gtFine_sequence/val"
    rng, pixels = np.random.default_rng(0), 0
    for path in labels.rglob("*_labelIds.png"):
        write_label_png(tmp_path / path.name, noisy(rng, read(path), [7, 26]))
        pixels += int((CITYSCAPES.to_train_ids(read(path)) != 255).sum())
    report = run(tmp_path, labels, "cityscapes", ["miou"])
    assert (report.videos, report.frames, int(report.confusion.sum())) == (2, 16, pixels)


@pytest.mark.parametrize(("layout", "frames"), [("idd", 2), ("veis", 16), ("scenenet", 16)])
def test_layouts_written_by_the_generator(layout, frames, request, tmp_path):
    root = request.getfixturevalue(f"{layout}_root")
    located = FOLDER_LAYOUTS[layout].locate(root)
    rng = np.random.default_rng(0)
    pattern = {"idd": "*labellevel3Ids.png", "scenenet": "class/*.png"}.get(layout, "*.png")
    for path in sorted(located.labels.rglob(pattern)):
        target = tmp_path / path.relative_to(located.labels)
        write_label_png(
            target.with_name(target.name.replace("_gtFine_labellevel3Ids", "")), noisy(rng, read(path), [0, 1])
        )
    report = run(tmp_path, root, layout)
    assert (report.frames, report.videos, report.settings["split"]) == (frames, 2, "val")
    assert 0.1 < report.scores["miou"].value < 0.9


def test_true_labels_of_scenenet_are_label_ids_though_they_look_like_train_ids(tmp_path):
    """Neither has a window, whose id 13 would tell: 0 is "unknown" in the truth and a bed in the prediction."""
    write_label_png(tmp_path / "data/val/0/7/class/25.png", np.array([[0, 1, 5, 5]], np.uint8))
    write_label_png(tmp_path / "pred/val_0_7/000025.png", np.array([[0, 0, 4, 11]], np.uint8))
    report = run(tmp_path / "pred", tmp_path / "data", "scenenet", ["miou"])
    assert report.scores["miou"].value == pytest.approx((1 + 1 / 2 + 0) / 3)  # bed, floor, wall
    assert (report.settings["gt_ids"], report.settings["pred_ids"]) == ("label", "train")


def test_idd_in_the_classes_of_cityscapes(tmp_path):
    label = np.array([[0, 13, 255]], np.uint8)
    write_label_png(tmp_path / "gt/7/frame01_gtFine_labelcsTrainIds.png", label)
    write_label_png(tmp_path / "gt/7/frame01_gtFine_labellevel3Ids.png", label + 1)
    write_label_png(tmp_path / "pred/00007/frame01_leftImg8bit.png", np.array([[0, 0, 0]], np.uint8))
    report = run(tmp_path / "pred", tmp_path / "gt", "idd", ["miou"], classes="idd19")
    assert report.scores["miou"].value == 0.25  # road 1 of 2, car 0 of 1
    assert len(report.class_names) == 19


@pytest.mark.parametrize(
    ("layout", "path", "expected"),
    [
        ("cityscapes", "frankfurt/frankfurt_000001_047552_leftImg8bit.png", ("frankfurt_000001", 47552)),
        ("cityscapes", "frankfurt_000001_047552*.png", ("frankfurt_000001", 47552)),
        ("cityscapes", "readme.png", None),
        ("camvid", "0006R0_f02250_L.png", ("0006R0", 2250)),
        ("idd", "00119/638495_leftImg8bit.png", ("119_638495", 638495)),
        ("idd", "119/frame0014_gtFine_labellevel3Ids.png", ("119_frame0014", 14)),
        ("scenenet", "0/223/class/25.png", ("0_223", 25)),
        ("scenenet", "val/0/223/photo/25.jpg", ("0_223", 25)),
        ("scenenet", "val_0_223/000025.png", ("0_223", 25)),
        ("davis", "480p/bear/00012.png", ("bear", 12)),
        ("folder", "street/labels/frame_0007.png", ("street", 7)),
    ],
)
def test_names_tell_the_frame(layout, path, expected):
    assert FOLDER_LAYOUTS[layout].parse(PurePosixPath(path)) == expected


@pytest.mark.parametrize(
    ("labelled", "expected"),
    [
        ([294], [("x_000294", -math.inf, math.inf)]),
        ([19, 49, 300], [("x_000019", 0, 29), ("x_000049", 30, 59), ("x_000300", 281, 310)]),
        ([0, 1, 2, 100, 120], [("x_000000", -19, 12), ("x_000100", 81, 130)]),
        ([0, 1, 2], [("x_000000", -math.inf, math.inf)]),
    ],
)
def test_snippets_of_cityscapes_never_overlap(labelled, expected):
    assert FOLDER_LAYOUTS["cityscapes"].cut("x", labelled) == expected


def test_videos_of_camvid_end_at_gaps():
    stretches = FOLDER_LAYOUTS["camvid"].cut("0016E5", [2, 4, 6, 12, 14])
    assert [(s.video, s.first, s.last) for s in stretches] == [("0016E5_00002", 2, 6), ("0016E5_00012", 12, 14)]


def test_labels_are_found_from_any_folder_on_the_way(cityscapes_root):
    for start in ("", "gtFine", "gtFine/val"):
        located = FOLDER_LAYOUTS["cityscapes"].locate(cityscapes_root / start)
        assert located.labels == cityscapes_root / "gtFine/val"
        assert located.frames == cityscapes_root / "leftImg8bit_sequence/val"
    assert FOLDER_LAYOUTS["cityscapes"].locate(cityscapes_root, "train").labels == cityscapes_root / "gtFine/train"


def test_files_of_a_report(camvid, tmp_path):
    report = run(*camvid)
    (tmp_path / "per_object.csv").write_text("of an earlier report")
    report.write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "confusion.png",
        "per_class.csv",
        "per_video.csv",
        "report.json",
    ]
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["scores"]["miou"]["value"] == report.scores["miou"].value
    assert content["settings"]["layout"] == "camvid"
    assert content["per_class"]["iou"][10] is None  # no bicyclist anywhere
    with (tmp_path / "per_video.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["miou"]) for row in rows] == [row.scores["miou"] for row in report.per_video]
    with (tmp_path / "per_class.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["class"] for row in rows] == CAMVID.class_names
    assert rows[10]["iou"] == ""
    assert Image.open(tmp_path / "confusion.png").width > 300


def test_the_worst_video_comes_first(camvid):
    report = run(*camvid)
    values = [row.scores["miou"] for row in report.worst_first()]
    assert values == sorted(values)
    assert len(values) == 6


def test_names_are_printed_as_they_are(copies, tmp_path):
    """Brackets are markup to the tables, and paths need not be text."""
    pred, data = copies
    report = run(pred.rename(tmp_path / "run [b] [2]"), data)
    report.per_video[0] = dataclasses.replace(report.per_video[0], video="clip [/b]")
    console = Console(width=200, file=io.StringIO())
    print_evaluation(report, console)
    printed = "".join(console.file.getvalue().split())  # long names are broken over lines
    assert "run[b][2]" in printed
    assert "clip[/b]" in printed


def test_a_folder_behind_a_link_is_searched_once(copies, tmp_path):
    pred, data = copies
    (tmp_path / "results").mkdir()
    (tmp_path / "results/run").symlink_to(pred)
    (pred / "loop").symlink_to(tmp_path / "results")
    expected = run(pred, data).scores
    assert run(tmp_path / "results", data).scores == expected
    shutil.copytree(data / "testannot", pred / ".ipynb_checkpoints")
    assert run(pred, data).scores == expected


def test_real_video(reference_dir, tmp_path):
    """Shifted labels of CamVid's val clip and of DAVIS sequences."""
    camvid, davis = reference_dir / "data/camvid", reference_dir / "data/davis_half"
    for path in sorted((camvid / "valannot").iterdir())[:40]:
        write_label_png(tmp_path / "gt" / path.name, read(path))
        write_label_png(tmp_path / "pred" / path.name, np.roll(read(path), 2, axis=0))
    report = run(tmp_path / "pred", tmp_path / "gt", metrics=["miou"])
    assert (report.frames, report.scores["miou"].unit) == (40, "second")
    assert 0.7 < report.scores["miou"].value < 0.95
    goat = davis / "Annotations/480p/goat"
    for path in goat.iterdir():
        write_label_png(tmp_path / "goat" / path.name, np.roll(read(path), 3, axis=1))
    report = run(tmp_path / "goat", goat, "davis")
    assert (report.frames, report.videos, report.scores["j_mean"].unit) == (90, 1, "second")
    assert 0.7 < report.scores["j_mean"].value < report.scores["f_mean"].value
